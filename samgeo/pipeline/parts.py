"""Masks in part files: a table of them, and their pixels with 8 a byte, one mask after the other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import OutputError
from samgeo.pipeline.journal import read_part
from samgeo.pixels import Mask, Window
from samgeo.stitch.table import MaskTable

Arrays = dict[str, NDArray[Any]]
AT_HAND_BYTES = 128 * 2**20
"""So much of the part files is kept in memory while objects are put together, and half as much seen from twice as far
away, and so on: a row of windows is worth keeping, and from there it has half as many."""


def pack_masks(masks: Sequence[Mask], keys: Sequence[int], *, labels: Sequence[str] = ()) -> Arrays:
    """The arrays of masks in pixels of the grid; `keys` says which prompt each belongs to. labels: all there are.

    A mask that fills its window has no bits: the inside of an object of any size costs nothing.
    """
    bits = [np.packbits(mask.pixels) if not mask.pixels.all() else np.zeros(0, np.uint8) for mask in masks]
    windows = [(mask.window.row, mask.window.col, mask.window.height, mask.window.width) for mask in masks]
    return {
        "key": np.array(keys, np.int64),
        "window": np.array(windows, np.int32).reshape(-1, 4),
        "mask_score": np.array([mask.score for mask in masks], np.float32),
        "mask_stability": np.array([mask.stability for mask in masks], np.float32),
        "label": np.array([-1 if m.label is None else labels.index(m.label) for m in masks], np.int8),
        "label_score": np.array([mask.label_score for mask in masks], np.float32),
        "ends": np.cumsum([len(part) for part in bits], dtype=np.int64),
        "bits": np.concatenate([*bits, np.zeros(0, np.uint8)]),
    }


def unpack_mask(arrays: Arrays, row: int) -> Mask:
    """One mask, in pixels of the grid."""
    top, left, height, width = arrays["window"][row].tolist()
    start = int(arrays["ends"][row - 1]) if row else 0
    bits = arrays["bits"][start : int(arrays["ends"][row])]
    full = np.broadcast_to(np.True_, (height, width))
    return Mask(
        window=Window(row=top, col=left, height=height, width=width),
        pixels=np.unpackbits(bits, count=full.size).astype(bool).reshape(full.shape) if len(bits) else full,
        score=float(arrays["mask_score"][row]),
        stability=float(arrays["mask_stability"][row]),
    )


def read_masks(path: Path) -> list[tuple[int, Mask]]:
    """Key and mask of everything in a part file, in its order."""
    arrays = require_part(path)
    return [(int(key), unpack_mask(arrays, row)) for row, key in enumerate(arrays["key"])]


def read_table(path: Path) -> MaskTable:
    """The table of the masks of a tile; their pixels stay on disk."""
    arrays = require_part(path)
    return MaskTable(**{column.name: arrays[column.name].copy() for column in fields(MaskTable)})


def require_part(path: Path) -> Arrays:
    """The arrays of a part file that must be there. Raises `OutputError` if it is not, or is damaged."""
    arrays = read_part(path)
    if arrays is None:
        raise OutputError(
            f"{path}: the part file is gone or damaged, expected it whole. Fix: run the same command again"
        )
    return arrays


class PartReader:
    """The pixels of masks in part files, for `stitch`: (tile index, index of the mask in its tile) -> (h, w) bool."""

    def __init__(self, path_of: Callable[[int], Path], *, max_bytes: int = AT_HAND_BYTES) -> None:
        """path_of: where the part file of a tile is. max_bytes: of part files that are kept in memory."""
        self._path_of = path_of
        self._max_bytes = max_bytes
        self._parts: OrderedDict[int, Arrays] = OrderedDict()
        self._bytes = 0

    def __call__(self, tile: int, index: int) -> NDArray[np.bool_]:
        """The pixels of one mask's bounding box."""
        return unpack_mask(self._part(tile), index).pixels

    def _part(self, tile: int) -> Arrays:
        if tile in self._parts:
            self._parts.move_to_end(tile)
            return self._parts[tile]
        arrays = require_part(self._path_of(tile))
        self._parts[tile] = arrays
        self._bytes += _size(arrays)
        while self._bytes > self._max_bytes and len(self._parts) > 1:
            self._bytes -= _size(self._parts.popitem(last=False)[1])
        return arrays


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
