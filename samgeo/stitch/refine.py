"""An object that was found from further away is drawn anew, window by window, at full resolution.

Seen in pixels `scale` times as large, the object fits into one window; what is known of it there is its *guide*. Where
the guide fills a window there is nothing to ask. Where its border passes, the window is asked with the box, an inner
and an outer point of the guide inside it, and the answer that agrees best with the guide counts; if none does, the
guide itself stays. Every tile decides in its own core, so the result does not depend on the order of tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import BACKGROUND, FOREGROUND, PADDING, Mask, PixelPrompts, Window
from samgeo.stitch.grow import Decode, Grown, deepest
from samgeo.tiling import Tile, Tiling

AGREES = 0.7
"""IoU from which an answer is about the guide's object: between what was as good as any on fields, .5 and .85."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Guide:
    """What is known of an object from further away."""

    mask: Mask
    """The object, whole, in pixels of `scale` x `scale` pixels of the grid."""
    scale: int
    """Pixels of the grid along the side of one of these pixels."""
    points: NDArray[np.float64]
    """(K, 2) x,y of the user's clicks in pixels of the grid; K may be 0."""
    labels: NDArray[np.int64]
    """(K,): 1 on the object, 0 beside it."""

    @property
    def window(self) -> Window:
        """Its bounding box in pixels of the grid; it may reach beyond the grid by less than `scale`."""
        return self.mask.window.scaled(self.scale)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """(window.height, window.width) bool: the object in a window of the grid."""
        coarse = self._coarse(window)
        rows = np.arange(window.row, window.row_end) // self.scale - coarse.row
        cols = np.arange(window.col, window.col_end) // self.scale - coarse.col
        return self._pixels(coarse)[rows[:, None], cols[None, :]]

    def fills(self, window: Window) -> bool:
        """True if every pixel of a window of the grid is on the object."""
        return bool(self._pixels(self._coarse(window)).all())

    def passes(self, window: Window) -> bool:
        """True if the border of the object may lie in a window of the grid: it is known to within `scale` pixels."""
        near = self._pixels(_wider(self._coarse(window)))
        return bool(near.any() and not near.all())

    def _coarse(self, window: Window) -> Window:
        row, col = window.row // self.scale, window.col // self.scale
        row_end, col_end = -(-window.row_end // self.scale), -(-window.col_end // self.scale)
        return Window(row=row, col=col, height=row_end - row, width=col_end - col)

    def _pixels(self, coarse: Window) -> NDArray[np.bool_]:
        return self.mask.shift(-coarse.row, -coarse.col).to_array(*coarse.shape)


def _wider(window: Window, by: int = 1) -> Window:
    return Window(row=window.row - by, col=window.col - by, height=window.height + 2 * by, width=window.width + 2 * by)


def refine(guides: Sequence[Guide], *, tiling: Tiling, decode: Decode) -> list[Grown]:
    """The objects of some guides at full resolution, in their order; `open_ends` counts windows without an answer.

    guides: they share windows best if they lie near each other, since each window is asked once for all of them.
    """
    grid = Window(row=0, col=0, height=tiling.height, width=tiling.width)
    pieces: list[list[Mask]] = [[] for _ in guides]
    unanswered = [0] * len(guides)
    for tile, near in _tiles(guides, tiling):
        seen = tile.read.intersection(grid)
        asked = [number for number in near if guides[number].passes(seen)]
        answers = dict(zip(asked, _ask(tile, [guides[number] for number in asked], seen, decode), strict=True))
        for number in near:
            answer = answers.get(number)
            unanswered[number] += number in answers and answer is None
            piece = _in_core(tile, guides[number], answer)
            if not piece.window.is_empty:
                pieces[number].append(piece)
    return [
        Grown(pieces=tuple(own), windows=len(own), open_ends=open_ends)
        for own, open_ends in zip(pieces, unanswered, strict=True)
    ]


def _tiles(guides: Sequence[Guide], tiling: Tiling) -> Iterator[tuple[Tile, list[int]]]:
    """The tiles whose cores guides fill or pass, row by row, each with the positions of these guides."""
    near: dict[int, list[int]] = {}
    for number, guide in enumerate(guides):
        for tile in tiling.tiles_meeting(_wider(guide.window, guide.scale)):
            if guide.passes(tile.core) or guide.fills(tile.core):
                near.setdefault(tile.index, []).append(number)
    return ((tiling[index], near[index]) for index in sorted(near))


def _ask(tile: Tile, guides: Sequence[Guide], seen: Window, decode: Decode) -> list[Mask | None]:
    """What a tile shows of each guide's object, in pixels of the grid; None where nothing agrees with the guide."""
    shown = [guide.inside(seen) for guide in guides]
    answers: list[Mask | None] = [None] * len(guides)
    some = [number for number, pixels in enumerate(shown) if pixels.any()]
    if not some:
        return answers
    prompts = _prompts([guides[k] for k in some], [shown[k] for k in some], tile.read)
    for number, candidates in zip(some, decode(tile.read, prompts), strict=True):
        masks = [mask.shift(tile.read.row, tile.read.col) for mask in candidates]
        ious = [iou(mask, shown[number], seen) for mask in masks]
        best = max(range(len(masks)), key=lambda k: (ious[k], masks[k].score))
        answers[number] = masks[best] if ious[best] >= AGREES else None
    return answers


def _prompts(guides: Sequence[Guide], shown: Sequence[NDArray[np.bool_]], read: Window) -> PixelPrompts:
    """Box, inner and outer point of each guide inside the window, and the user's clicks there."""
    clicks = [_clicks(guide, read) for guide in guides]
    most = max(len(labels) for _, labels in clicks)
    points = np.zeros((len(guides), 2 + most, 2), np.float32)
    labels = np.full((len(guides), 2 + most), PADDING, np.int64)
    boxes = np.zeros((len(guides), 4), np.float32)
    for row, (pixels, (own, kinds)) in enumerate(zip(shown, clicks, strict=True)):
        box = Mask.from_array(pixels).window  # what is seen starts where `read` does
        boxes[row] = np.array([box.col, box.row, box.col_end, box.row_end]) - 0.5
        points[row, 0], labels[row, 0] = deepest(pixels)[0][::-1], FOREGROUND
        outer, distance = deepest(~pixels)
        if distance > guides[row].scale:  # nearer ones may still lie on the object
            points[row, 1], labels[row, 1] = outer[::-1], BACKGROUND
        points[row, 2 : 2 + len(kinds)], labels[row, 2 : 2 + len(kinds)] = own, kinds
    return PixelPrompts(points=points, labels=labels, boxes=boxes)


def _clicks(guide: Guide, read: Window) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points = guide.points - np.array([read.col, read.row])
    inside = ((points > -0.5) & (points < np.array([read.width, read.height]) - 0.5)).all(axis=1)
    return points[inside], guide.labels[inside]


def iou(mask: Mask, pixels: NDArray[np.bool_], seen: Window) -> float:
    """IoU of a mask, in pixels of the grid, with what a window shows, (seen.height, seen.width) bool."""
    own = mask.shift(-seen.row, -seen.col).to_array(*seen.shape)
    return int(np.count_nonzero(own & pixels)) / max(1, int(np.count_nonzero(own | pixels)))


def _in_core(tile: Tile, guide: Guide, answer: Mask | None) -> Mask:
    """The object in the core of a tile, in pixels of the grid."""
    score, stability = guide.mask.score, guide.mask.stability
    if answer is not None:
        part = answer.crop(tile.core)
        return Mask(window=part.window, pixels=part.pixels, score=score, stability=stability)
    if guide.fills(tile.core):
        return Mask(
            window=tile.core,
            pixels=np.broadcast_to(np.True_, tile.core.shape),
            score=score,
            stability=stability,
        )
    piece = Mask.from_array(guide.inside(tile.core), score=score, stability=stability)
    return piece.shift(tile.core.row, tile.core.col)
