"""Which masks of two overlapping windows show the same object.

Both windows see the overlap, so there a mask of one and a mask of the other can be compared. What is compared are the
connected parts of a mask inside the overlap: the two legs of a U that is cut above its bend are two parts, each of
which may have another partner. A *whole* mask, which touches no border of its window, says more: where it ends the
object ends, so its partner must not reach beyond it. A *cut* mask says nothing of what lies outside its window.

Partners are one to one, best first. Two masks of one window are never the same object, so a mask whose partner is
found is out of the way of all others; this keeps nested and touching objects apart that a threshold would merge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from samgeo.pixels import Window
from samgeo.stitch.table import Crops, MaskTable

SAME = 0.5
"""IoU from which two masks can be the same object. Above one half a mask has at most one such partner among disjoint
ones (Kirillov et al. 2019, Panoptic Segmentation, theorem 1)."""

CROSS = ndimage.generate_binary_structure(2, 1)
"""Pixels are connected by their four edges."""

PAIR = np.dtype([("one", np.int32), ("other", np.int32), ("iou", np.float32), ("partner", np.bool_)])
"""Two rows of the mask table, how well they agree, and whether they are partners or only alike enough to be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip:
    """What the masks of one window show inside an overlap, in connected parts."""

    shown: sparse.csr_array
    """(parts, pixels of the overlap) int32, 1 where the part has a pixel."""
    row: NDArray[np.int64]
    """(parts,) row of the part's mask in the table."""
    area: NDArray[np.int64]
    """(parts,) number of pixels."""
    first: NDArray[np.int64]
    """(parts,) first pixel of the overlap, row-major, that the part has."""


def strip(table: MaskTable, tile_index: int, overlap: Window, crops: Crops) -> Strip:
    """Cut the masks of a tile to an overlap and take them apart."""
    rows = table.rows_of(tile_index)
    near = (table.top[rows] < overlap.row_end) & (table.bottom[rows] > overlap.row)
    near &= (table.left[rows] < overlap.col_end) & (table.right[rows] > overlap.col)
    owner: list[int] = []
    pixels: list[NDArray[np.int64]] = []
    for row in rows[near].tolist():
        inside = table.box(row).intersection(overlap)
        found, count = ndimage.label(table.pixels(row, inside, crops), CROSS)
        y, x = np.nonzero(found)
        flat = (y + inside.row - overlap.row) * overlap.width + (x + inside.col - overlap.col)
        if count > 1:
            part = found[y, x]
            flat = flat[np.argsort(part, kind="stable")]  # part by part, row-major within
            pixels += np.split(flat, np.cumsum(np.bincount(part)[1:-1]))
        elif count:
            pixels.append(flat)
        owner += [row] * count
    area = np.array([len(part) for part in pixels], dtype=np.int64)
    flat = np.concatenate(pixels) if pixels else np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(area)])
    shape = (len(owner), overlap.height * overlap.width)
    return Strip(
        shown=sparse.csr_array((np.ones(len(flat), dtype=np.int32), flat, starts), shape=shape),
        row=np.array(owner, dtype=np.int64),
        area=area,
        first=flat[starts[:-1]],
    )


def compare(table: MaskTable, one: Strip, other: Strip) -> NDArray[np.void]:
    """(pairs,) of dtype PAIR: partners among the masks of two strips of one overlap, and rivals of the whole ones."""
    if not len(one.row) or not len(other.row):
        return np.zeros(0, dtype=PAIR)
    common = (one.shown @ other.shown.T).tocoo()
    a, b = common.row, common.col  # parts that share a pixel
    fits = table.word[one.row[a]] == table.word[other.row[b]]
    a, b, shared = a[fits], b[fits], common.data[fits].astype(np.int64)
    agreement = _agreement(table, one, other, (a, b, shared))
    good = agreement >= SAME
    a, b, agreement = a[good], b[good], agreement[good]
    # Best first; of equals the larger, then the one further up and left.
    order = np.lexsort((other.first[b], one.first[a], -(one.area[a] + other.area[b]), -agreement))
    a, b, agreement = a[order], b[order], agreement[order]
    pairs = np.zeros(len(a), dtype=PAIR)
    pairs["one"], pairs["other"], pairs["iou"] = one.row[a], other.row[b], agreement
    pairs["partner"] = _one_to_one(a, b)
    # One line for a pair of masks: partners before rivals, then the best agreement, which comes first already.
    pairs = pairs[np.argsort(~pairs["partner"], kind="stable")]
    _, line = np.unique(pairs["one"] * np.int64(len(table)) + pairs["other"], return_index=True)
    pairs = pairs[line]
    return np.asarray(pairs[pairs["partner"] | ~table.cut[pairs["one"]] | ~table.cut[pairs["other"]]])


def _agreement(
    table: MaskTable,
    one: Strip,
    other: Strip,
    shared: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """How well the masks agree, for each two parts that share pixels: (part of one, part of other, shared pixels).

    Two cut masks: IoU of the two parts. Where one is whole: IoU of the two masks, each entire if the other is whole
    and else as far as the other's window reaches; or IoU of a part of the whole mask with the entire cut mask.
    """
    a, b, pixels = shared
    row_a, row_b = one.row[a], other.row[b]
    whole_a, whole_b = ~table.cut[row_a], ~table.cut[row_b]
    entire_a, entire_b = table.area[row_a].astype(np.int64), table.area[row_b].astype(np.int64)
    parts = _iou(pixels, one.area[a], other.area[b])
    _, pair = np.unique(row_a * len(table) + row_b, return_inverse=True)
    both = np.bincount(pair, pixels)[pair] if len(pair) else pixels
    inside_a, inside_b = _inside(one)[a], _inside(other)[b]
    masks = _iou(both, np.where(whole_b, entire_a, inside_a), np.where(whole_a, entire_b, inside_b))
    ends = np.where(whole_a, _iou(pixels, one.area[a], entire_b), _iou(pixels, entire_a, other.area[b]))
    with_whole = np.where(whole_a & whole_b, masks, np.maximum(masks, ends))
    return np.where(whole_a | whole_b, with_whole, parts)


def _inside(side: Strip) -> NDArray[np.int64]:
    """(parts,) pixels that the mask of each part has inside the overlap."""
    _, mask = np.unique(side.row, return_inverse=True)
    return np.bincount(mask, side.area).astype(np.int64)[mask] if len(mask) else side.area


def _iou(
    shared: NDArray[np.int64] | NDArray[np.float64], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.asarray(shared / (one + other - shared), dtype=np.float64)


def _one_to_one(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the pairs that are first for both of their sides, in the order given."""
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    chosen = np.zeros(len(a), dtype=bool)
    for k, (left, right) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        if left not in taken_a and right not in taken_b:
            chosen[k] = True
            taken_a.add(left)
            taken_b.add(right)
    return chosen
