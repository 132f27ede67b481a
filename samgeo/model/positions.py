"""Encodings of place and time that nobody learned: sines (Vaswani et al. 2017) and rotations (Su et al. 2021).

Half the channels of a place tell its row and half its column; each channel is a sine of its own wavelength.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10_000.0
"""Ratio of the longest wavelength to the shortest."""


def sine_map(height: int, width: int, dim: int, *, device: torch.device) -> Tensor:
    """Places of a map's cells: (dim, height, width); first half row, second half column, sine and cosine by turns."""
    wavelengths = _wavelengths(dim // 2, device)
    row, col = (_turns(n, device)[:, None] / wavelengths for n in (height, width))  # (h, dim / 2), (w, dim / 2)
    row, col = (torch.stack([x[:, 0::2].sin(), x[:, 1::2].cos()], dim=2).flatten(1) for x in (row, col))
    return torch.cat([row[:, None].expand(-1, width, -1), col[None].expand(height, -1, -1)], dim=2).permute(2, 0, 1)


def sine_line(distance: Tensor, dim: int) -> Tensor:
    """Distances in time (T,) -> (T, dim): first half sines, second half cosines."""
    angle = distance[:, None] / _wavelengths(dim // 2, distance.device)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def axial_rotation(height: int, width: int, dim: int, *, device: torch.device) -> Tensor:
    """Angles by which queries and keys of a map's cells are turned: (height * width, dim / 2), rows one by one.

    The first half of the pairs of channels turns with the column, the second with the row (Heo et al. 2024).
    """
    frequency = 1.0 / TEMPERATURE ** (torch.arange(0, dim, 4, device=device).float() / dim)  # (dim / 4,)
    col = torch.arange(width, device=device).float().repeat(height)  # (h w,)
    row = torch.arange(height, device=device).float().repeat_interleave(width)
    return torch.cat([torch.outer(col, frequency), torch.outer(row, frequency)], dim=1)


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn each pair of channels of x (..., T, D) by its angle (T, D / 2)."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # (..., T, D / 2)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def _wavelengths(channels: int, device: torch.device) -> Tensor:
    """(channels,), two by two the same."""
    pair = torch.arange(channels, device=device).float().div(2, rounding_mode="floor")
    return TEMPERATURE ** (2 * pair / channels)


def _turns(cells: int, device: torch.device) -> Tensor:
    """(cells,) from above 0 to a full turn at the last cell."""
    place = torch.arange(1, cells + 1, device=device).float()
    return place / (cells + 1e-6) * (2 * math.pi)
