"""Objects that one window does not show whole: what is asked of other windows, and from further away.

A prompted object that its window cuts is followed through the windows around as long as they agree in every pixel
(`grow`). Where they do not, or where the result does not fit the prompt, it is looked at from further away, so that it
fits into one window, and drawn anew at full resolution (`refine`). If that shows nothing, it grows as best it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from samgeo.errors import ResourceLimitError
from samgeo.pipeline.journal import write_part
from samgeo.pipeline.parts import Arrays, pack_masks, read_masks, require_part, unpack_mask
from samgeo.pipeline.placing import lattice_window
from samgeo.pipeline.prompting import NO_MASK, ObjectPrompt, segment_objects
from samgeo.pipeline.tilejob import Run, clip, look
from samgeo.pipeline.witness import Witness
from samgeo.pixels import FOREGROUND, Mask, PixelPrompts, Window
from samgeo.stitch.grow import Grown, grow
from samgeo.stitch.overlap import SAME
from samgeo.stitch.refine import Guide, iou, refine
from samgeo.stitch.table import is_cut
from samgeo.tiling import Tiling

EMBEDDINGS_AT_HAND = 9
"""How many windows a job keeps at hand: one and its neighbours."""


@dataclass(frozen=True, kw_only=True)
class GrowJob:
    """The prompted objects of one window that it does not show whole."""

    run: Run
    """What it shares with the other jobs."""
    window: Window
    """The window that they were first looked for in."""
    prompts: tuple[ObjectPrompt, ...]
    """These objects, in pixels of the grid."""
    seeds: Path
    """The part file of that window."""
    part: Path
    """The file that the whole objects go to, in pieces that share no pixel."""

    def __str__(self) -> str:
        return f"objects that reach beyond the {self.window.in_words()}"


@dataclass(frozen=True, kw_only=True)
class RefineJob:
    """The objects of one window, seen from further away, that are wanted at full resolution."""

    run: Run
    """What it shares with the other jobs, at full resolution."""
    window: Window
    """The window that shows them, in pixels of the grid."""
    scale: int
    """Pixels of the grid along the side of one pixel that they were seen in."""
    seeds: Path
    """The part file of that window."""
    indices: tuple[int, ...]
    """Positions of the objects in it."""
    part: Path
    """The file that the objects go to, in pieces that share no pixel."""

    def __str__(self) -> str:
        return f"large objects of the {self.window.in_words()}"


def run_growth(job: GrowJob) -> int:
    """Find the whole of each object, and write the part file. Returns the number of objects.

    A prompt that reaches through too many windows is refused in the part file, so that the others do not suffer.
    """
    seeds = dict(read_masks(job.seeds))
    ask = _Asking(job.run)
    found: dict[int, Grown] = {}
    refused: dict[int, str] = {}
    unheard: list[int] = []
    for prompt in job.prompts:
        try:
            grown, heard = _whole(prompt, seeds.get(prompt.key), job.window, ask)
        except ResourceLimitError as error:
            refused[prompt.key] = str(error)
            continue
        if grown is not None:
            found[prompt.key] = grown
        if not heard:
            unheard.append(prompt.key)
    _write(job.part, found, ask.witness, refused=refused, partial=unheard)
    return len(job.prompts)


def run_refinement(job: RefineJob) -> int:
    """Draw each object anew, and write the part file under the objects' positions. Returns the number of objects."""
    arrays = require_part(job.seeds)
    none = np.zeros((0, 2)), np.zeros(0, np.int64)
    guides = [Guide(mask=unpack_mask(arrays, k), scale=job.scale, points=none[0], labels=none[1]) for k in job.indices]
    ask = _Asking(job.run)
    drawn = refine(guides, tiling=job.run.tiling, decode=ask.decode)
    _write(job.part, dict(zip(job.indices, drawn, strict=True)), ask.witness)
    return len(guides)


def needs_more(prompt: ObjectPrompt, mask: Mask | None, window: Window, tiling: Tiling) -> bool:
    """True if a window cannot be all there is to an object: it cuts the mask, or the prompt reaches beyond it."""
    return not window.contains(prompt.extent) or (mask is not None and is_cut(mask.window, window, tiling))


@dataclass(frozen=True, kw_only=True)
class GrownObject:
    """One object of the part file of a `GrowJob` or `RefineJob`."""

    key: int
    """Its key, or position."""
    pieces: tuple[Mask, ...]
    """Masks in pixels of the grid that share no pixel and together are the object."""
    windows: int
    """Number of windows that it was put together from."""
    open_ends: int
    """How often a window did not show the object where it should be."""


@dataclass(frozen=True, kw_only=True)
class Growths:
    """What a part file of a `GrowJob` or `RefineJob` says."""

    objects: tuple[GrownObject, ...]
    """Those that were found."""
    refused: Mapping[int, str]
    """Keys of objects that were given up, and why."""
    partial: frozenset[int]
    """Keys of objects of which only the clicks in the first window were heard."""

    @classmethod
    def read(cls, part: Path) -> Growths:
        """Read a part file. Raises `OutputError` if it is gone or damaged."""
        arrays = require_part(part)
        pieces: dict[int, list[int]] = {}
        for row, key in enumerate(arrays["key"].tolist()):
            pieces.setdefault(key, []).append(row)
        return cls(
            objects=tuple(_grown(key, rows, arrays) for key, rows in pieces.items()),
            refused=dict(zip(arrays["refused"].tolist(), arrays["reasons"].tolist(), strict=True)),
            partial=frozenset(arrays["partial"].tolist()),
        )


def _grown(key: int, rows: Sequence[int], arrays: Arrays) -> GrownObject:
    return GrownObject(
        key=key,
        pieces=tuple(unpack_mask(arrays, row) for row in rows),
        windows=int(arrays["windows"][rows[0]]),
        open_ends=int(arrays["open_ends"][rows[0]]),
    )


def _write(
    part: Path,
    found: Mapping[int, Grown],
    witness: Witness,
    *,
    refused: Mapping[int, str] | None = None,
    partial: Sequence[int] = (),
) -> None:
    rows = [(key, piece, grown) for key, grown in found.items() for piece in grown.pieces]
    refused = refused or {}
    facts: Arrays = {
        "windows": np.array([grown.windows for _, _, grown in rows], np.int32),
        "open_ends": np.array([grown.open_ends for _, _, grown in rows], np.int32),
        "refused": np.array(list(refused), np.int64),
        "reasons": np.array(list(refused.values()), dtype="U"),
        "partial": np.array(partial, np.int64),
    }
    write_part(
        part, pack_masks([piece for _, piece, _ in rows], [key for key, _, _ in rows]) | facts | witness.arrays()
    )


class _Asking:
    """Windows of a run, near and far, with the latest embeddings at hand."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.witness = Witness()
        self._look = lru_cache(maxsize=EMBEDDINGS_AT_HAND)(partial(look, witness=self.witness))

    def decode(self, window: Window, prompts: PixelPrompts) -> list[list[Mask]]:
        """What `grow` and `refine` ask at full resolution."""
        seen = self._look(self.run, window)
        if seen is None:
            return [[NO_MASK]] * len(prompts)
        model, embedding, valid = seen
        size = self.run.everything.points_per_batch
        batches = [prompts[slice(start, start + size)] for start in range(0, len(prompts), size)]
        found = [row for batch in batches for row in model.decode(embedding, batch).to_masks()]
        return [[clip(mask, valid) for mask in row] for row in found]

    def from_afar(self, prompt: ObjectPrompt, scale: int, window: Window) -> Mask:
        """The object of a prompt, in a window in pixels `scale` times as large, in their frame."""
        seen = self._look(self.run.from_afar(scale), window)
        if seen is None:
            return NO_MASK
        model, embedding, valid = seen
        asked = prompt.from_afar(scale).inside(window)
        (mask,) = segment_objects(model, embedding, [asked], granularity=self.run.granularity)
        return clip(mask, valid).shift(window.row, window.col)


def _whole(prompt: ObjectPrompt, seed: Mask | None, window: Window, ask: _Asking) -> tuple[Grown | None, bool]:
    """The whole object, and whether all that the prompt says was heard."""
    tiling = ask.run.tiling
    if seed is not None:
        followed = grow(seed, window, tiling=tiling, decode=ask.decode, while_agreed=True)
        if followed.agreed and _fits(prompt, followed):
            return followed, True
    guide = _guide(prompt, seed, window, ask)
    if guide is not None:
        return refine([guide], tiling=tiling, decode=ask.decode)[0], True
    heard = window.contains(prompt.extent)
    return (None if seed is None else grow(seed, window, tiling=tiling, decode=ask.decode)), heard


def _fits(prompt: ObjectPrompt, grown: Grown) -> bool:
    """True if an object has much the prompted box, holds the clicks on it and none of those beside it."""
    if prompt.box is not None and _box_iou(prompt.box, [piece.window for piece in grown.pieces]) < SAME:
        return False
    clicks = zip(np.rint(prompt.points).astype(int).tolist(), prompt.labels.tolist(), strict=True)
    return all(_holds(grown, row, col) == (label == FOREGROUND) for (col, row), label in clicks)


def _holds(grown: Grown, row: int, col: int) -> bool:
    pixel = Window(row=row, col=col, height=1, width=1)
    return any(
        piece.window.contains(pixel) and bool(piece.pixels[row - piece.window.row, col - piece.window.col])
        for piece in grown.pieces
    )


def _box_iou(box: tuple[float, float, float, float], windows: Sequence[Window]) -> float:
    """IoU of a prompted box with the bounding box of some windows."""
    if not windows:
        return 0.0
    edges = np.array([(w.col, w.row, w.col_end, w.row_end) for w in windows]) - 0.5
    low, high = edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)
    given_low, given_high = np.array(box[:2]), np.array(box[2:])
    common = np.prod(np.maximum(0, np.minimum(high, given_high) - np.maximum(low, given_low)))
    return float(common / (np.prod(high - low) + np.prod(given_high - given_low) - common))


def _guide(prompt: ObjectPrompt, seed: Mask | None, window: Window, ask: _Asking) -> Guide | None:
    """The object as it is seen whole from the nearest distance that will do, if it can be.

    A prompt of clicks alone must mean, from there, what it meant in its first window.
    """
    tiling = ask.run.tiling
    seen = window.intersection(Window(row=0, col=0, height=tiling.height, width=tiling.width))
    for scale, far in _distances(prompt, tiling):
        mask = ask.from_afar(prompt, scale, far)
        if mask.window.is_empty or is_cut(mask.window, far, tiling.coarser(scale)):
            continue
        guide = Guide(mask=mask, scale=scale, points=prompt.points, labels=prompt.labels)
        if prompt.box is not None or seed is None or iou(seed, guide.inside(seen), seen) >= SAME:
            return guide
    return None


def _distances(prompt: ObjectPrompt, tiling: Tiling) -> Iterator[tuple[int, Window]]:
    """The scales from which a prompt takes at most half of a window, the last one anyway, and that window."""
    for scale in tiling.scales:
        extent = prompt.from_afar(scale).extent
        if 2 * max(extent.shape) <= tiling.tile_px or scale == tiling.scales[-1]:
            yield scale, lattice_window(tiling.coarser(scale), extent)
