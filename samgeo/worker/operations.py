"""What a client may ask for: plain functions from a frame to a frame, so that another transport can carry them too.

Coordinates are those of the session's CRS. An outline travels as rings: `rings` in the header counts the corners of
each ring of each polygon, and the payload holds the corners, x and y as little-endian float64, ring after ring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from affine import Affine

from samgeo import __version__
from samgeo.embeddings import EmbeddingCache
from samgeo.errors import UsageError
from samgeo.grid import Grid, parse_crs
from samgeo.model.contract import NamesMasks, PromptableModel
from samgeo.model.spec import DEFAULT_MODEL
from samgeo.session import Candidate, Session
from samgeo.settings import Settings
from samgeo.worker.frames import PROTOCOL, Frame

MOST_SESSIONS = 8
"""Each holds the embeddings of a few windows."""
CORNER = np.dtype("<f8")
"""A coordinate in a payload."""
SETTINGS = {
    "bands": list,
    "layer": str,
    "max_vertices": int,
    "overlap_px": int,
    "raster_crs": str,
    "resolution_m": float,
    "simplify_m": float,
    "smooth": bool,
    "square": bool,
    "tile_px": int,
    "use_cache": bool,
}
"""Those of `Settings` that `open` takes, and what each is."""


@dataclass
class Desk:
    """What is open."""

    load: Callable[..., PromptableModel]
    """`load_model`, or what stands for it."""
    models: dict[tuple[str, str, str], PromptableModel] = field(default_factory=dict)
    """By name, device and precision."""
    sessions: dict[str, Session] = field(default_factory=dict)
    """By the id that the client was told."""
    opened: int = 0
    """How many sessions there were so far."""

    def close(self) -> None:
        """Close all sessions."""
        while self.sessions:
            self.sessions.popitem()[1].close()


def answer(desk: Desk, frame: Frame) -> Frame:
    """Do what a frame asks for. Raises an error of `samgeo.errors`; what is open stays as it was then."""
    name = frame.header.get("op")
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise UsageError(f"op {name!r}: expected one of {', '.join(OPERATIONS)}")
    return operation(desk, frame.header, frame.payload)


def _hello(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Who is here. `protocol`: what the client speaks."""
    spoken = _get(header, "protocol", int)
    if spoken != PROTOCOL:
        raise UsageError(f"hello: protocol {spoken}: expected {PROTOCOL}. Fix: install matching versions of both sides")
    return Frame({"protocol": PROTOCOL, "samgeo": __version__, "ops": list(OPERATIONS), "default_model": DEFAULT_MODEL})


def _load(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Load a model ahead. `model`, `device`, `precision`: as of `load_model`."""
    model = _model(desk, header)
    classes = list(model.classes) if isinstance(model, NamesMasks) else []
    return Frame(
        {"model": model.name, "sha256": model.sha256, "precision": model.precision, "tile_px": model.tile_px}
        | {"classes": classes}
    )


def _open(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:
    """Open a raster by `path`, or the RGB crop in the payload: `width`, `height`, `transform`, `crs`; `settings`."""
    if len(desk.sessions) >= MOST_SESSIONS:
        raise UsageError(f"open: {MOST_SESSIONS} sessions are open. Fix: close one of {', '.join(desk.sessions)}")
    settings = _settings(_get(header, "settings", dict, {}))
    model = _model(desk, header)
    if "path" in header:
        session = Session(_get(header, "path", str), model=model, settings=settings)
    else:
        session = Session(*_crop(header, payload), model=model, settings=settings)
    desk.opened += 1
    name = f"s{desk.opened}"
    desk.sessions[name] = session
    grid = session.grid
    return Frame(
        {
            "session": name,
            "crs": None if grid.crs is None else grid.crs.to_wkt(),
            "width": grid.width,
            "height": grid.height,
            "transform": list(grid.transform)[:6],
        }
    )


def _settings(said: Mapping[str, Any]) -> Settings:
    """What a client wants; null is the default, as if nothing had been said."""
    unknown = sorted(said.keys() - SETTINGS.keys())
    if unknown:
        raise UsageError(f"open: settings {', '.join(unknown)}: expected some of {', '.join(SETTINGS)}")
    chosen = {
        name: _fitting(value, SETTINGS[name], f"open: {name}") for name, value in said.items() if value is not None
    }
    if not all(type(band) is int for band in chosen.get("bands", ())):
        raise UsageError(f"open: bands {chosen['bands']}: expected a list of band numbers from 1")
    return Settings(**chosen)


def _crop(header: Mapping[str, Any], payload: bytes) -> tuple[np.ndarray[Any, Any], Grid]:
    width, height = _get(header, "width", int), _get(header, "height", int)
    if width < 1 or height < 1 or len(payload) != 3 * width * height:
        raise UsageError(
            f"open: {len(payload)} bytes of pixels for {width} x {height} px: expected 3 a pixel, red, green, blue"
        )
    numbers = _get(header, "transform", list)
    if len(numbers) != 6:
        raise UsageError(f"open: transform {numbers}: expected the six numbers of an affine transform, a to f")
    transform = Affine(*(_fitting(number, float, "open: transform") for number in numbers))
    crs = header.get("crs")
    grid = Grid(width=width, height=height, transform=transform, crs=parse_crs(crs) if crs else None)
    return np.frombuffer(payload, np.uint8).reshape(height, width, 3), grid


def _point(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """A click at `x`, `y`; `positive`: on the object or beside it."""
    session = _session(desk, header)
    session.add_point(*_place(header), positive=_get(header, "positive", bool, True))
    return _candidates(session)


def _box(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """A box: `x_min`, `y_min`, `x_max`, `y_max`."""
    session = _session(desk, header)
    session.add_box(*(_get(header, name, float) for name in ("x_min", "y_min", "x_max", "y_max")))
    return _candidates(session)


def _preview(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """What one more click at `x`, `y` would show; nothing changes. Without `encode` only if that takes no encoding."""
    session = _session(desk, header)
    place, positive = _place(header), _get(header, "positive", bool, True)
    if not _get(header, "encode", bool, True) and not session.is_ready(*place):
        return Frame({"candidates": [], "ready": False})
    found = session.preview(*place, positive=positive)
    told = _told([] if found is None else [found])
    return Frame(told.header | {"ready": True}, told.payload)


def _after(act: Callable[[Session], object]) -> Operation:
    """An operation that needs nothing but the session."""

    def operation(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
        session = _session(desk, header)
        act(session)
        return _candidates(session)

    return operation


def _choose(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Take candidate `index`."""
    session = _session(desk, header)
    session.choose(_get(header, "index", int))
    return _candidates(session)


def _accept(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Make the chosen candidate a feature; `label`: what it is."""
    session = _session(desk, header)
    number = session.accept(_get(header, "label", str, None))
    feature = session.features[number - 1]
    rings, corners = _rings(feature.geometry)
    return Frame({"attributes": dict(feature.attributes), "rings": rings}, corners)


def _prefetch(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Encode the window that a click at `x`, `y` would use."""
    _session(desk, header).prefetch(*_place(header))
    return Frame({})


def _save(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Write what was accepted to `path`; `overwrite`."""
    session = _session(desk, header)
    path = session.save(_get(header, "path", str), overwrite=_get(header, "overwrite", bool, False))
    return Frame({"path": str(path), "features": len(session.features)})


def _cache(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """What is kept on disk of what was encoded; `clear`: nothing any more."""
    cache = EmbeddingCache()
    if _get(header, "clear", bool, False):
        cache.clear()
    return Frame({"folder": str(cache.folder), "bytes": cache.used_bytes(), "most_bytes": cache.max_bytes})


def _close(desk: Desk, header: Mapping[str, Any], payload: bytes) -> Frame:  # noqa: ARG001
    """Close a session and forget what it held."""
    _session(desk, header).close()
    del desk.sessions[header["session"]]
    return Frame({})


Operation = Callable[[Desk, Mapping[str, Any], bytes], Frame]
OPERATIONS: dict[str, Operation] = {
    "hello": _hello,
    "load": _load,
    "open": _open,
    "point": _point,
    "box": _box,
    "preview": _preview,
    "undo": _after(Session.undo),
    "redo": _after(Session.redo),
    "choose": _choose,
    "clear": _after(Session.clear),
    "accept": _accept,
    "prefetch": _prefetch,
    "save": _save,
    "cache": _cache,
    "close": _close,
}
"""By the name that a header gives as `op`."""


def _model(desk: Desk, header: Mapping[str, Any]) -> PromptableModel:
    name = _get(header, "model", str, DEFAULT_MODEL)
    device, precision = _get(header, "device", str, "auto"), _get(header, "precision", str, "auto")
    key = name, device, precision
    if key not in desk.models:
        loaded = desk.load(name, device=device, precision=precision)
        desk.models = {key: loaded}  # one at a time: two may not fit
    return desk.models[key]


def _session(desk: Desk, header: Mapping[str, Any]) -> Session:
    name = _get(header, "session", str)
    if name not in desk.sessions:
        raise UsageError(f"session {name!r}: expected one of those that are open: {', '.join(desk.sessions) or 'none'}")
    return desk.sessions[name]


def _candidates(session: Session) -> Frame:
    chosen = session.chosen
    index = None if chosen is None else session.candidates.index(chosen)
    told = _told(session.candidates)
    return Frame(told.header | {"chosen": index}, told.payload)


def _told(candidates: Sequence[Candidate]) -> Frame:
    parts, corners = [], []
    for candidate in candidates:
        rings, data = _rings(candidate.geometry)
        parts.append(
            {
                "score": candidate.score,
                "stability": candidate.stability,
                "label": candidate.label,
                "label_score": candidate.label_score,
                "area_px": candidate.mask.area_px,
                "rings": rings,
            }
        )
        corners.append(data)
    return Frame({"candidates": parts}, b"".join(corners))


def _rings(geometry: Any) -> tuple[list[list[int]], bytes]:
    """Corners of each ring of each polygon, outer ring first; and the corners themselves."""
    counts, corners = [], []
    for polygon in shapely.get_parts(geometry):
        rings = shapely.get_rings(polygon)
        counts.append([len(shapely.get_coordinates(ring)) for ring in rings])
        corners += [shapely.get_coordinates(ring).astype(CORNER).tobytes() for ring in rings]
    return counts, b"".join(corners)


def _place(header: Mapping[str, Any]) -> tuple[float, float]:
    return _get(header, "x", float), _get(header, "y", float)


_MISSING = object()
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "an object",
}


def _get(header: Mapping[str, Any], name: str, kind: type, default: Any = _MISSING) -> Any:
    """A value of a header by its name. Raises UsageError if it is missing without default, or of another kind."""
    value = header.get(name, default)
    if value is _MISSING:
        raise UsageError(f"{header.get('op')}: {name} is missing: expected {_WORDS[kind]}")
    if value is None and default is None:
        return None
    return _fitting(value, kind, f"{header.get('op')}: {name}")


def _fitting(value: Any, kind: type, what: str) -> Any:
    """A value that must be of a kind. Raises UsageError that calls it `what` if it is of another."""
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (kind is not bool and isinstance(value, bool)):
        raise UsageError(f"{what} is {value!r}: expected {_WORDS[kind]}")
    if kind is not float:
        return value
    try:
        return float(value)
    except OverflowError as error:
        raise UsageError(f"{what} has {len(str(value))} digits: expected a number") from error
