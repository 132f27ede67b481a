"""What a map in a browser and a session say to each other; no widget library in sight.

    browser ─► hear(message) ─► Session ─► send(message, buffers) ─► every browser that shows the map

Messages are small JSON objects; positions in them are columns and rows of the working grid, where (0, 0) is the upper
left corner of the first pixel. Outlines and tiles travel as bytes beside them. Whatever is asked with an `n` is
answered with it, also if it fails or is interrupted; the session is then as it was before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from samgeo.errors import PromptError, SamgeoError, SamgeoWarning, UsageError
from samgeo.grid import has_ground_units
from samgeo.notebook.outlines import pack
from samgeo.notebook.tiles import TILE_PX, levels, tile
from samgeo.pixels import FOREGROUND
from samgeo.session import Candidate, Session

Message = Mapping[str, Any]
Send = Callable[[dict[str, Any], list[bytes]], None]


class Conversation:
    """Answers what browsers ask about one session, and tells all of them what has changed."""

    def __init__(self, session: Session, send: Send, *, labels: Iterable[str] = ()) -> None:
        """send: takes a message and the bytes that belong to it. labels: what objects may be, in the order of keys."""
        self.session = session
        self.labels = list(dict.fromkeys(labels))
        self._send = send
        self._view: dict[str, Any] = {}
        self._told = 0  # features that the browsers know
        self._revision = session.revision  # when they were told of them

    def hear(self, message: Message) -> None:
        """Do what a browser asks for. Errors of samgeo are told; others, and an interruption, are told and raised."""
        name = message.get("op")
        act = self._acts.get(name) if isinstance(name, str) else None
        n = message.get("n")
        text = ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SamgeoWarning)
            try:
                if act is None:
                    raise UsageError(f"op {name!r}: expected one of {', '.join(self._acts)}")
                act(self, message)
            except SamgeoError as error:
                text = str(error)
            except KeyboardInterrupt:
                text = "Interrupted."
                raise
            except Exception as error:
                text = f"{type(error).__name__}: {error}. Please report this; the kernel's log has more"
                raise
            finally:
                said = [str(one.message) for one in caught if issubclass(one.category, SamgeoWarning)]
                if text or said or name not in QUIET:
                    self.show(n=n, error=text, warning=" ".join(said))

    def show(self, *, n: object = None, error: str = "", warning: str = "") -> None:
        """Tell all browsers what the session holds now: clicks, candidates, what was accepted."""
        self._show_features()
        prompt = self.session.prompt
        found = self.session.candidates
        rings, corners = pack([candidate.geometry for candidate in found], self.session.grid)
        # A prompt's integers are the centres of pixels, a browser's their corners.
        points = [
            [float(col) + 0.5, float(row) + 0.5, int(label == FOREGROUND)]
            for (col, row), label in zip(prompt.points, prompt.labels, strict=True)
        ]
        state = {
            "type": "state",
            "n": n,
            "error": error,
            "warning": warning,
            "points": points,
            "box": None if prompt.box is None else [float(edge) + 0.5 for edge in prompt.box],
            "candidates": [_about(one) | {"rings": r} for one, r in zip(found, rings, strict=True)],
            "chosen": self.session.chosen_index,
            "undo": self.session.can_undo,
            "redo": self.session.can_redo,
        }
        self._send(state, [corners])

    def look_at(self, cols: tuple[float, float], rows: tuple[float, float]) -> None:
        """Have all browsers show these columns and rows, and those that come later."""
        self._view = {"type": "view", "cols": list(cols), "rows": list(rows)}
        self._send(dict(self._view), [])

    def look_at_all(self) -> None:
        """Have all browsers show the whole raster."""
        self.look_at((0.0, float(self.session.grid.width)), (0.0, float(self.session.grid.height)))

    # What is asked for

    def _hello(self, message: Message) -> None:  # noqa: ARG002
        """All there is to know, for a browser that knows nothing yet."""
        session, grid = self.session, self.session.grid
        scene = {
            "type": "scene",
            "width": grid.width,
            "height": grid.height,
            "transform": list(grid.transform)[:6],
            "crs": None if grid.crs is None else grid.crs.to_string() if grid.crs.to_epsg() else grid.crs.name,
            "pixel_m": grid.pixel_size_m[0] if has_ground_units(grid.crs) else None,
            "tile": TILE_PX,
            "levels": levels(session.raster),
            "labels": self.labels,
            "view": self._view or None,
        }
        self._send(scene, [])
        self._told = 0
        self.show()

    def _tile(self, message: Message) -> None:
        answer: dict[str, Any] = {"type": "tile"} | {name: message.get(name) for name in "zxy"}
        told, buffers = {"error": "interrupted", "again": True}, []
        try:
            z, x, y = (_whole(message, name) for name in "zxy")
            mime, data = tile(self.session.raster, z, x, y)
            told, buffers = {"mime": mime}, [data]
        except SamgeoError as error:
            told = {"error": str(error)}
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
            raise
        finally:
            self._send(answer | told, buffers)

    def _click(self, message: Message) -> None:
        positive = message.get("positive", True) is True
        self.session.add_point(*self._place(message), positive=positive)

    def _box(self, message: Message) -> None:
        grid, native = self.session.grid, self.session.raster.native_grid
        across, down = native.width / grid.width, native.height / grid.height
        left, right = sorted(across * _number(message, name) for name in ("left", "right"))
        top, bottom = sorted(down * _number(message, name) for name in ("top", "bottom"))
        self.session.add_box(left, top, right, bottom, crs="pixel")  # on a turned raster, a box of the map is larger

    def _hover(self, message: Message) -> None:
        """What one more click would show, if that takes no encoding; changes nothing and complains of nothing."""
        found, ready = None, True
        try:
            with suppress(PromptError):
                place = self._place(message)
                ready = self.session.is_ready(*place)
                found = self.session.preview(*place, positive=message.get("positive", True) is True) if ready else None
        finally:
            rings, corners = pack([] if found is None else [found.geometry], self.session.grid)
            self._send({"type": "hover", "n": message.get("n"), "ready": ready, "rings": rings}, [corners])

    def _prefetch(self, message: Message) -> None:
        try:
            with suppress(PromptError):  # where nothing lies there is nothing to do ahead
                self.session.prefetch(*self._place(message))
        finally:
            self._send({"type": "fetched", "n": message.get("n")}, [])

    def _choose(self, message: Message) -> None:
        self.session.choose(_whole(message, "index"))

    def _accept(self, message: Message) -> None:
        label = message.get("label")
        label = label.strip() if isinstance(label, str) else ""
        self.session.accept(label or None)
        if label and label not in self.labels:
            self.labels.append(label)

    def _remove(self, message: Message) -> None:  # noqa: ARG002
        """Forget the feature that was accepted last."""
        count = len(self.session.features)
        self.session.remove(count)
        if self.session.revision == self._revision + 1:  # nobody else has removed any: the others are known
            self._revision = self.session.revision
            self._told = min(self._told, count - 1)
        self._show_features(always=True)

    def _show_features(self, *, always: bool = False) -> None:
        """Tell of the features that were accepted since the last time; `first` is where they begin."""
        features = self.session.features
        if self.session.revision != self._revision:  # somebody else has removed some, or undo brought some back
            self._told, self._revision, always = 0, self.session.revision, True
        new = [features[index] for index in range(self._told, len(features))]
        if not new and not always and self._told:
            return
        for feature in new:
            label = feature.attributes["label"]
            if label is not None and label not in self.labels:
                self.labels.append(label)
        rings, corners = pack([feature.geometry for feature in new], self.session.grid)
        items = [
            {"id": one.attributes["id"], "label": one.attributes["label"], "area_m2": one.attributes["area_m2"]}
            | {"rings": each}
            for one, each in zip(new, rings, strict=True)
        ]
        header = {"type": "features", "first": self._told, "items": items, "labels": self.labels}
        self._told = len(features)
        self._send(header, [corners])

    def _place(self, message: Message) -> tuple[float, float]:
        """Map coordinates of the place that a message names."""
        x, y = self.session.grid.to_map(_number(message, "col"), _number(message, "row"))
        return float(x), float(y)

    _acts: Mapping[str, Callable[[Conversation, Message], object]] = {
        "hello": _hello,
        "tile": _tile,
        "click": _click,
        "box": _box,
        "hover": _hover,
        "prefetch": _prefetch,
        "undo": lambda self, _: self.session.undo(),
        "redo": lambda self, _: self.session.redo(),
        "clear": lambda self, _: self.session.clear(),
        "choose": _choose,
        "accept": _accept,
        "remove": _remove,
    }


QUIET = frozenset({"hello", "tile", "hover", "prefetch"})
"""What changes nothing, and has an answer of its own."""


def _about(candidate: Candidate) -> dict[str, Any]:
    return {"score": candidate.score, "label": candidate.label, "label_score": candidate.label_score}


def _number(message: Message, name: str) -> float:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{name} {value!r}: expected a number")
    return float(value)


def _whole(message: Message, name: str) -> int:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} {value!r}: expected a whole number")
    return value
