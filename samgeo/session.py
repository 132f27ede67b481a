"""Session: one raster, one model, and a user who clicks. What widget, plugin and server stand on.

    clicks, box ─► window of the fine lattice ─► embedding (kept) ─► up to three candidates ─► accept ─► features

A click changes a snapshot into the next one; undo and redo go back and forth between snapshots, and over removals of
what was accepted. What a candidate shows is what is saved, vertex for vertex.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from samgeo import __version__
from samgeo.embeddings import EmbeddingCache
from samgeo.errors import NoUsablePromptError, PromptError, UsageError
from samgeo.grid import Grid
from samgeo.model.contract import Embedding, PromptableModel
from samgeo.pipeline.placing import fine_window, margin_px
from samgeo.pipeline.prompting import ObjectPrompt, stack_prompts
from samgeo.pipeline.result import Origin, Segmentation, outline
from samgeo.pipeline.store import PolygonStore
from samgeo.pipeline.tilejob import ModelAddress, as_address, clip, encode, name_masks
from samgeo.pixels import BACKGROUND, FOREGROUND, Mask, PixelPrompts, Window
from samgeo.polygons import check_vertices, pixel_polygons
from samgeo.prompts.assembly import REASONS
from samgeo.prompts.placed import PlacedPrompts
from samgeo.prompts.placement import NODATA, OUTSIDE
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from samgeo.settings import Settings
from samgeo.tiling import Tiling

WINDOWS_AT_HAND = 4
"""So many embeddings are kept in memory: going back to a place costs nothing."""
UNDO_STEPS = 100
"""How far back undo goes."""
_LOGIT = 10.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One mask that the model proposes."""

    geometry: Any
    """Polygon or MultiPolygon in map coordinates, as it would be saved."""
    score: float
    """IoU with the true object that the model expects, 0 to 1."""
    stability: float
    """IoU of the mask cut at a logit of +1 with the one cut at -1, 0 to 1."""
    mask: Mask = field(repr=False)
    """The same in pixels of the working grid."""
    label: str | None = None
    """What the model calls it, if it does."""
    label_score: float = 0.0
    """How sure the model is of that, 0 to 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Snapshot:
    """All that is known of the object after one more click."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    window: Window | None = None
    candidates: tuple[Candidate, ...] = ()
    logits: NDArray[np.float32] | None = None
    """(M, h, w) of the candidates, in their order."""
    chosen: int = 0

    def prompt(self) -> ObjectPrompt:
        """In pixels of the grid."""
        points = np.array(self.points, dtype=float).reshape(-1, 2)
        return ObjectPrompt(key=0, points=points, labels=np.array(self.labels, np.int64), box=self.box)

    def extent(self) -> Window:
        """The pixels that hold the box and the clicks on the object."""
        xy = [point for point, label in zip(self.points, self.labels, strict=True) if label == FOREGROUND]
        xy += [] if self.box is None else [self.box[:2], self.box[2:]]
        if not xy:
            raise PromptError("only clicks beside the object: expected a box or a click on it first")
        (left, top), (right, bottom) = (np.rint(f(np.array(xy), axis=0)).astype(int).tolist() for f in (np.min, np.max))
        return Window(row=top, col=left, height=bottom - top + 1, width=right - left + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Removal:
    """A feature that was taken back."""

    index: int
    """Where it was."""
    row: np.void
    """What the store knows of it."""


class Session:
    """Clicks in map coordinates in, features out. A context manager; not for several threads at once."""

    def __init__(
        self,
        source: object,
        grid: Grid | None = None,
        *,
        model: PromptableModel | ModelAddress | str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Open a raster for clicking; nothing is encoded before the first click, or `prefetch`.

        source: path, URL, open dataset, DataArray, or an RGB array (H, W, 3) with its `grid`.
        settings: bands, resolution_m, raster_crs, tile_px, use_cache, simplify_m, square, smooth, max_vertices and
            layer count.
        """
        self._settings = settings or Settings()
        self._raster = Raster(source, grid=grid, **self._settings.look)
        address = as_address(model)
        self._model = address.load() if isinstance(address, ModelAddress) else address
        self.grid = self._raster.grid
        """The working grid."""
        tile_px, overlap_px = self._settings.tile(self._model.tile_px)
        self._tiling = Tiling(height=self.grid.height, width=self.grid.width, tile_px=tile_px, overlap_px=overlap_px)
        self._cache = EmbeddingCache() if self._settings.use_cache else None
        self._seen: OrderedDict[Window, tuple[Embedding, NDArray[np.bool_]]] = OrderedDict()
        self._past: list[_Snapshot | _Removal] = []
        self._now = _Snapshot()
        self._future: list[_Snapshot | _Removal] = []
        self._store = PolygonStore()
        self._labels: list[str] = []
        self._revision = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the raster and forget what was accepted; files that were saved stay."""
        self._raster.close()
        self._store.close()
        self._seen.clear()

    @property
    def crs(self) -> CRS | None:
        """CRS of all coordinates that go in and come out."""
        return self.grid.crs

    @property
    def raster(self) -> Raster:
        """What is clicked on."""
        return self._raster

    @property
    def prompt(self) -> ObjectPrompt:
        """The clicks and the box so far, in pixels of the working grid (an integer is a pixel's centre)."""
        return self._now.prompt()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What the clicks so far may mean, the most likely first; empty without clicks, or if nothing was found."""
        return self._now.candidates

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that `accept` takes; None if there are none."""
        return self._now.candidates[self._now.chosen] if self._now.candidates else None

    @property
    def chosen_index(self) -> int | None:
        """Where that candidate is among `candidates`; None if there are none."""
        return self._now.chosen if self._now.candidates else None

    @property
    def revision(self) -> int:
        """Grows when features vanish, or come back among others: they are then not the old ones and more."""
        return self._revision

    @property
    def can_undo(self) -> bool:
        """Whether `undo` would change anything."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether `redo` would change anything."""
        return bool(self._future)

    @property
    def features(self) -> Segmentation:
        """What was accepted so far; lazy. It ends with the session."""
        origin = Origin(model=self._model.name, labels=tuple(self._labels))
        metadata = {
            "samgeo": __version__,
            **self._raster.describe(),
            "model": self._model.name,
            "model_sha256": self._model.sha256,
            "precision": self._model.precision,
            "tile_px": self._tiling.tile_px,
            "overlap_px": self._tiling.overlap_px,
        }
        return Segmentation(
            self._store,
            grid=self.grid,
            settings=self._settings,
            origin=origin,
            metadata=metadata,
            report={},
            owns_store=False,
        )

    def add_point(self, x: float, y: float, *, positive: bool = True) -> tuple[Candidate, ...]:
        """A click at map coordinates: on the object, or beside it. Returns the new candidates.

        Raises `PromptError` for a place that is not on the raster or has no data, or if the first click is beside the
        object.
        """
        return self._go(self._with_point(x, y, positive=positive))

    def add_box(
        self, x_min: float, y_min: float, x_max: float, y_max: float, *, crs: object = "raster"
    ) -> tuple[Candidate, ...]:
        """A box around the object, which replaces an earlier one. Returns the new candidates.

        crs: of the box, as `Prompts` takes it: "pixel" counts columns and rows of the raster as it is stored.
        Raises `PromptError` for a box that is not on the raster.
        """
        placed = self._placed(Prompts(boxes=[(x_min, y_min, x_max, y_max)], crs=crs), "box")
        return self._go(replace(self._now, box=placed[0].box))

    def preview(self, x: float, y: float, *, positive: bool = True) -> Candidate | None:
        """What one more click at map coordinates would show, without clicking; None if nothing was found.

        Raises as `add_point`.
        """
        answered = self._answer(self._with_point(x, y, positive=positive))
        return answered.candidates[0] if answered.candidates else None

    def undo(self) -> tuple[Candidate, ...]:
        """Take the last click, box or removal back. Returns the candidates as they were."""
        if self._past:
            step = self._past.pop()
            if isinstance(step, _Removal):
                self._revision += step.index < len(self._store)
                self._store.put_back(step.index, step.row)
            else:
                step, self._now = self._now, step
            self._future.append(step)
        return self.candidates

    def redo(self) -> tuple[Candidate, ...]:
        """Do again what was taken back. Returns the candidates."""
        if self._future:
            step = self._future.pop()
            if isinstance(step, _Removal):
                self._take_out(step.index)
            else:
                step, self._now = self._now, step
            self._past.append(step)
        return self.candidates

    def clear(self) -> None:
        """Forget all clicks, for good; what was accepted stays, and `undo` still brings back what was removed."""
        self._past = [step for step in self._past if isinstance(step, _Removal)]
        self._now, self._future = _Snapshot(), []

    def choose(self, index: int) -> Candidate:
        """Take another candidate than the most likely; later clicks refine it."""
        if not 0 <= index < len(self.candidates):
            raise UsageError(f"candidate {index}: there are {len(self.candidates)}, counted from 0")
        self._now = replace(self._now, chosen=index)
        return self.candidates[index]

    def accept(self, label: str | None = None) -> int:
        """Make the chosen candidate a feature, and begin with the next object. Returns the feature's id.

        label: what it is; None: what the model calls it.
        Raises `UsageError` if there is no candidate.
        """
        candidate = self.chosen
        if candidate is None:
            raise UsageError("nothing to accept: expected a click or a box that finds an object first")
        sure = candidate.label_score if label is None else 1.0
        label = candidate.label if label is None else label
        if label is not None and label not in self._labels:
            self._labels.append(label)
        self._store.add(
            pixel_polygons(candidate.mask),
            key=len(self._store),
            score=candidate.score,
            stability=candidate.stability,
            tiles=1,
            label=-1 if label is None else self._labels.index(label),
            label_score=sure,
        )
        self.clear()
        return len(self._store)

    def remove(self, number: int) -> None:
        """Take the accepted feature with this id back; those after it move up by one. `undo` brings it back.

        Raises `UsageError` if there is none.
        """
        if not 1 <= number <= len(self._store):
            raise UsageError(f"feature {number}: there are {len(self._store)}, counted from 1")
        self._remember(self._take_out(number - 1))
        self._future = []

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write what was accepted; see `Segmentation.to_file`."""
        return self.features.to_file(path, overwrite=overwrite)

    def prefetch(self, x: float, y: float) -> None:
        """Encode the window that a click at map coordinates would use, so that the click is answered at once.

        Raises as `add_point`.
        """
        self._look(self._window_of(self._with_point(x, y, positive=True)))

    def is_ready(self, x: float, y: float) -> bool:
        """Whether a click at map coordinates would be answered without encoding. Raises as `add_point`."""
        return self._window_of(self._with_point(x, y, positive=True)) in self._seen

    def _with_point(self, x: float, y: float, *, positive: bool) -> _Snapshot:
        """The present clicks and one more, not answered yet."""
        placed = self._placed(Prompts(points=[(x, y)], crs="raster"), "place")
        col, row = placed.points[0].tolist()
        label = FOREGROUND if positive else BACKGROUND
        return replace(self._now, points=(*self._now.points, (col, row)), labels=(*self._now.labels, label))

    def _placed(self, prompts: Prompts, what: str) -> PlacedPrompts:
        """One click or box in pixels; one that cannot be used is spoken of as `what`, not as a list of prompts."""
        try:
            return prompts.to_pixels(self.grid, native_grid=self._raster.native_grid, valid=self._raster.valid_at)
        except NoUsablePromptError as error:
            (reason,), name = error.reasons, self._raster.name.rpartition("/")[2]
            told = {
                REASONS[NODATA]: f"{name} has no data at this {what}",
                REASONS[OUTSIDE]: f"this {what} is not on {name}",
            }
            raise PromptError(told.get(reason, f"this {what}: {reason}")) from error

    def _go(self, wanted: _Snapshot) -> tuple[Candidate, ...]:
        """Answer a new snapshot of clicks and make it the present one; the present stays if that fails."""
        answered = self._answer(wanted)
        self._remember(self._now)
        self._now, self._future = answered, []
        return self.candidates

    def _remember(self, step: _Snapshot | _Removal) -> None:
        self._past = [*self._past, step][-UNDO_STEPS:]

    def _take_out(self, index: int) -> _Removal:
        self._revision += 1
        return _Removal(index=index, row=self._store.take_out(index))

    def _window_of(self, wanted: _Snapshot) -> Window:
        """Where to look for the object: where it was looked for before, if that leaves enough around the clicks."""
        extent, window = wanted.extent(), wanted.window
        if window is None or margin_px(window, extent, self._tiling) < self._tiling.tile_px // 8:
            window = fine_window(self._tiling, extent, self._seen)
        if margin_px(window, extent, self._tiling) < 0:
            raise PromptError(
                f"clicks and box span {extent.width} x {extent.height} px: expected what fits into a window of "
                f"{window.width} px. Fix: begin a new object with clear() or accept(), or open the session with a "
                "coarser resolution_m"
            )
        return window

    def _answer(self, wanted: _Snapshot) -> _Snapshot:
        window = self._window_of(wanted)
        embedding, valid = self._look(window)
        prompt = wanted.prompt().inside(window)
        prompts = stack_prompts([prompt])
        known = self._known_logits(wanted, window)
        if known is not None:
            prompts = PixelPrompts(points=prompts.points, labels=prompts.labels, boxes=prompts.boxes, masks=known[None])
        decoded = self._model.decode(embedding, prompts, multimask=prompt.is_ambiguous and known is None)
        masks = [clip(mask, valid) for mask in decoded.to_masks()[0]]
        masks = [mask.shift(window.row, window.col) for mask in name_masks(self._model, embedding, masks)]
        order = _distinct(masks)
        return replace(
            wanted,
            window=window,
            candidates=tuple(self._candidate(masks[position]) for position in order),
            logits=decoded.logits[0][order],
            chosen=0,
        )

    def _known_logits(self, before: _Snapshot, window: Window) -> NDArray[np.float32] | None:
        """(h, w) what was chosen before the new click, for the decoder of a window; None at the first click."""
        if before.logits is None or before.window is None or not before.candidates:
            return None
        if before.window == window:
            return np.asarray(before.logits[before.chosen])
        mask = before.candidates[before.chosen].mask.crop(window).shift(-window.row, -window.col)
        height, width = before.logits.shape[1:]
        return to_logits(mask, window.shape, (height, width))

    def _candidate(self, mask: Mask) -> Candidate:
        polygon = pixel_polygons(mask)
        check_vertices(polygon, self._settings.max_vertices, "the object under the click")
        geometry = outline(polygon, self.grid, self._settings)
        return Candidate(
            geometry=geometry,
            score=mask.score,
            stability=mask.stability,
            mask=mask,
            label=mask.label,
            label_score=mask.label_score,
        )

    def _look(self, window: Window) -> tuple[Embedding, NDArray[np.bool_]]:
        """The embedding of a window and its valid pixels (h, w)."""
        if window not in self._seen:
            rgb, valid = self._raster.read_rgb(window)
            self._seen[window] = encode(self._model, rgb, valid, self._cache), valid
            if len(self._seen) > WINDOWS_AT_HAND:
                self._seen.popitem(last=False)
        self._seen.move_to_end(window)
        return self._seen[window]


def to_logits(mask: Mask, shape: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """A mask of an image of `shape` as logits of `size`: the share of each cell that is covered decides its sign."""
    step_rows, step_cols = -(-shape[0] // size[0]), -(-shape[1] // size[1])
    full = mask.to_array(size[0] * step_rows, size[1] * step_cols)
    share = full.reshape(size[0], step_rows, size[1], step_cols).mean(axis=(1, 3))
    return np.asarray(_LOGIT * (2 * share - 1), dtype=np.float32)


def _distinct(masks: list[Mask]) -> list[int]:
    """Positions of the masks that have pixels, best first, each set of pixels once."""
    seen: set[tuple[Window, bytes]] = set()
    order = []
    for position in sorted(range(len(masks)), key=lambda position: -masks[position].score):
        mask = masks[position]
        key = (mask.window, mask.pixels.tobytes())
        if not mask.window.is_empty and key not in seen:
            seen.add(key)
            order.append(position)
    return order
