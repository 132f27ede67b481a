"""Patch order: the pixels of fine maps, sorted by the cell of the coarse map that they refine.

A cell becomes four, and each of those four again. A layer that enlarges a map in such steps, and sees one cell at a
time, is then a plain product: its output lies where it was computed, and only what is drawn in the end, a few masks
instead of all features, is put into rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def to_patches(x: Tensor, halvings: int) -> Tensor:
    """Rows and columns to patch order: (N, C, 2^k h, 2^k w) -> (N, h w 4^k, C), contiguous, k `halvings`."""
    n, c, height, width = x.shape
    k, halves = halvings, [2] * halvings
    cells = x.permute(0, 2, 3, 1).reshape(n, height >> k, *halves, width >> k, *halves, c)  # a view, also in training
    levels = [axis for level in range(k) for axis in (2 + level, 3 + k + level)]  # the coarsest first
    return cells.permute(0, 1, 2 + k, *levels, 3 + 2 * k).reshape(n, height * width, c)


def from_patches(x: Tensor, size: Sequence[int], halvings: int) -> Tensor:
    """The way back, channels first: (N, C, h w 4^k) -> (N, C, 2^k h, 2^k w), k `halvings` and (h, w) `size`."""
    n, c = x.shape[:2]
    height, width = size
    for step in range(halvings, 0, -1):  # the coarsest first
        x = x.reshape(n, c, height, width, 2, 2, 4 ** (step - 1)).permute(0, 1, 2, 4, 3, 5, 6)
        height, width = 2 * height, 2 * width
    return x.reshape(n, c, height, width)
