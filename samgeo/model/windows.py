"""Windows: attention among the tokens of a small square instead of the whole image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_windows(x: Tensor, size: int) -> Tensor:
    """Cut (B, H, W, C) into squares, row by row: (B * windows, size, size, C).

    The map is padded with zeros at the right and the bottom to whole windows, and no attention masks that padding: the
    networks of the family were trained so.
    """
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
    rows, cols = x.shape[1] // size, x.shape[2] // size
    return x.view(b, rows, size, cols, size, c).transpose(2, 3).reshape(-1, size, size, c)


def from_windows(windows: Tensor, shape: tuple[int, int]) -> Tensor:
    """Put windows (B * windows, size, size, C) together and drop the padding: (B, H, W, C) with `shape` (H, W)."""
    size, c = windows.shape[1], windows.shape[-1]
    h, w = shape
    rows, cols = -(-h // size), -(-w // size)
    x = windows.view(-1, rows, cols, size, size, c).transpose(2, 3)
    return x.reshape(-1, rows * size, cols * size, c)[:, :h, :w]
