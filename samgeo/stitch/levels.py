"""Objects larger than a window: what is seen from further away joins what windows could not.

An object that every window cuts is chained through the overlaps (`link`). A model that is sure of its masks leaves no
chain undone, and then nothing here changes anything. Others leave *open ends*: places at which a mask leaves its
window and the next window does not show it. Seen in larger pixels such an object fits into one window. An object that
is whole there

    joins       chains with open ends that lie within it, and takes their place, or
    is added    if no object holds half of it already;

a finer level goes before a coarser one. Everything else stays as the full resolution has it. So does what things are
called: from far enough away a heap of fields looks like a roof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.pixels import Mask, Window
from samgeo.stitch.link import Stitched, most_called, union
from samgeo.stitch.overlap import SAME
from samgeo.stitch.table import Crops
from samgeo.tiling import Tiling

WITHIN = 0.8
"""Share of a chain that lies within an object that joins it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """A raster seen from one distance, stitched."""

    scale: int
    """Pixels of the grid along the side of one of its pixels."""
    stitched: Stitched
    """Its objects, in its pixels."""
    crops: Crops
    """The pixels of their masks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Distant:
    """An object that is taken from a coarser level. Its pixels stay where they are: there may be many."""

    level: Level
    """The level that shows it whole."""
    tile: int
    """Index of the tile that shows it, in the level's tiling."""
    index: int
    """Position of the mask in its tile."""
    window: Window
    """Its bounding box, in pixels of the level."""
    area_px: int
    """Number of pixels of the level."""
    word: int
    """Number of the word that it was sought as, -1 for none."""
    label: int
    """Number of what it is called, -1 for none."""
    label_score: float
    """How sure the model is of the label."""

    @property
    def scale(self) -> int:
        """Of the level."""
        return self.level.scale

    @property
    def mask(self) -> Mask:
        """The object in pixels of the level."""
        return Mask(window=self.window, pixels=self.level.crops(self.tile, self.index))

    @property
    def edges(self) -> NDArray[np.int64]:
        """Row, column, end row, end column of its bounding box in pixels of the grid."""
        w = self.window
        return np.array([w.row, w.col, w.row_end, w.col_end], dtype=np.int64) * self.scale


def take_from_afar(
    near: Level, ends: NDArray[np.int32], far: Sequence[Level]
) -> tuple[NDArray[np.bool_], list[Distant]]:
    """Which objects of the full resolution stay, (objects,) bool, and which come from further away.

    ends: what `open_ends` says of the near ones. far: from near to far.
    """
    kept = np.ones(len(near.stitched), dtype=bool)
    taken: list[Distant] = []
    is_open, boxes, words = ends > 0, _boxes(near.stitched), near.stitched.words
    for level in far:
        for seen in _whole(level):
            # Fewer pixels cannot touch half of what is seen.
            asked = kept & (words == seen.word) & (is_open | (near.stitched.area >= SAME * seen.area_px))
            held, within = _compare(seen, near, boxes, asked)
            held_by_taken = any(_share(seen, [other.mask], other.scale)[0] >= SAME for other in _meeting(seen, taken))
            joined = is_open & (within >= WITHIN)
            if held_by_taken or (held[~joined] >= SAME).any():
                continue
            kept[joined] = False
            taken.append(_renamed(seen, near))
    return kept, taken


def open_ends(stitched: Stitched, crops: Crops) -> NDArray[np.int32]:
    """(objects,) how often an object goes on beyond its window and the next one does not show it."""
    ends = np.zeros(len(stitched), dtype=np.int32)
    table = stitched.table
    cut = table.cut[stitched.rows]
    owner = np.repeat(np.arange(len(stitched)), np.diff(stitched.starts))
    for k in np.unique(owner[cut]).tolist():
        rows = stitched.rows[stitched.starts[k] : stitched.starts[k + 1]].astype(np.int64)
        for row in rows[table.cut[rows]].tolist():
            for across, line in _borders(int(table.tile[row]), table.box(row), stitched.tiling):
                there = union(rows[table.tile[rows] == across], line, table, crops)
                ends[k] += _uncovered(table.pixels(row, line, crops).ravel(), there.ravel())
    return ends


def _borders(tile_index: int, box: Window, tiling: Tiling) -> Iterator[tuple[int, Window]]:
    """The sides of a tile that lie inside the grid and that a box touches: (tile across, the line inside the box)."""
    tile = tiling[tile_index]
    read = tile.read
    if read.row > 0 and box.row == read.row:
        yield tile_index - tiling.cols, Window(row=read.row, col=box.col, height=1, width=box.width)
    if read.row_end < tiling.height and box.row_end == read.row_end:
        yield tile_index + tiling.cols, Window(row=read.row_end - 1, col=box.col, height=1, width=box.width)
    if read.col > 0 and box.col == read.col:
        yield tile_index - 1, Window(row=box.row, col=read.col, height=box.height, width=1)
    if read.col_end < tiling.width and box.col_end == read.col_end:
        yield tile_index + 1, Window(row=box.row, col=read.col_end - 1, height=box.height, width=1)


def _uncovered(shown: NDArray[np.bool_], there: NDArray[np.bool_]) -> int:
    """Number of runs along a line of which less than half is there."""
    runs, count = ndimage.label(shown)
    if not count:
        return 0
    length = np.bincount(runs, minlength=count + 1)[1:]
    return int((2 * np.bincount(runs[there], minlength=count + 1)[1:] < length).sum())


def _boxes(stitched: Stitched) -> NDArray[np.int32]:
    """(objects, 4) row, column, end row, end column of every object."""
    if not len(stitched):
        return np.zeros((0, 4), dtype=np.int32)
    table, first = stitched.table, stitched.starts[:-1]
    low = [np.minimum.reduceat(column[stitched.rows], first) for column in (table.top, table.left)]
    high = [np.maximum.reduceat(column[stitched.rows], first) for column in (table.bottom, table.right)]
    return np.stack([*low, *high], axis=1)


def _whole(level: Level) -> Iterator[Distant]:
    """The objects of a level that one of its windows shows whole, from small to large."""
    stitched, table = level.stitched, level.stitched.table
    for k in np.argsort(stitched.area, kind="stable").tolist():
        rows = stitched.rows[stitched.starts[k] : stitched.starts[k + 1]]
        if len(rows) == 1 and not table.cut[rows[0]]:
            row = int(rows[0])
            yield Distant(
                level=level,
                tile=int(table.tile[row]),
                index=int(table.index[row]),
                window=table.box(row),
                area_px=int(stitched.area[k]),
                word=int(table.word[row]),
                label=int(table.label[row]),
                label_score=float(table.label_score[row]),
            )


def _renamed(seen: Distant, near: Level) -> Distant:
    """The distant object with the label that most of it has at full resolution; unchanged if less than half has one.

    What lies within it is what has the middle of its box there.
    """
    table, ratio, window = near.stitched.table, seen.scale, seen.window
    rows = near.stitched.rows
    rows = rows[table.word[rows] == seen.word]
    row = (table.top[rows] + table.bottom[rows]) // 2 // ratio - window.row
    col = (table.left[rows] + table.right[rows]) // 2 // ratio - window.col
    inside = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
    inside[inside] = seen.mask.pixels[row[inside], col[inside]]
    rows = rows[inside]
    shares = table.area[rows] / (seen.area_px * ratio**2)
    label, covered = most_called(table.label[rows], shares)
    if covered < SAME:
        return seen
    own = table.label[rows] == label
    return replace(seen, label=label, label_score=float(np.average(table.label_score[rows][own], weights=shares[own])))


def _meeting(seen: Distant, others: Iterable[Distant]) -> Iterator[Distant]:
    """Those of the same word whose boxes share a pixel with that of an object."""
    own = seen.edges
    for other in others:
        edges = other.edges
        if other.word == seen.word and (np.minimum(own[2:], edges[2:]) > np.maximum(own[:2], edges[:2])).all():
            yield other


def _compare(
    seen: Distant, near: Level, boxes: NDArray[np.int32], asked: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(objects,) share of the distant object that each near one touches, and share of each that lies within it."""
    edges = seen.edges
    sides = np.minimum(boxes[:, 2:], edges[2:]) - np.maximum(boxes[:, :2], edges[:2])
    held, within = np.zeros(len(asked)), np.zeros(len(asked))
    for k in np.flatnonzero(asked & (sides > 0).all(axis=1)).tolist():
        held[k], inside = _share(seen, near.stitched.pieces(k, near.crops), 1)
        within[k] = inside / int(near.stitched.area[k])
    return held, within


def _share(seen: Distant, pieces: Iterable[Mask], scale: int) -> tuple[float, int]:
    """Share of the distant object's pixels that pieces touch, and how many pixels of the pieces lie within it.

    pieces: in pixels of `scale` x `scale` pixels of the grid, no larger than the object's own.
    """
    ratio, window, pixels = seen.scale // scale, seen.window, seen.mask.pixels
    touched = np.zeros(window.shape, dtype=bool)
    inside = 0
    for piece in pieces:
        rows, cols = np.nonzero(piece.pixels)
        rows, cols = (rows + piece.window.row) // ratio - window.row, (cols + piece.window.col) // ratio - window.col
        near = (rows >= 0) & (rows < window.height) & (cols >= 0) & (cols < window.width)
        rows, cols = rows[near], cols[near]
        touched[rows, cols] = True
        inside += int(np.count_nonzero(pixels[rows, cols]))
    return int(np.count_nonzero(touched & pixels)) / seen.area_px, inside
