"""Prompts drawn as small maps: clicks as spots, a box as a soft rectangle."""

from __future__ import annotations

import torch
from torch import Tensor

BOX_CORNERS = (2, 3)
"""Labels of a box's first (top left) and second (bottom right) corner; 0, 1 and -1 are those of `PixelPrompts`."""
MAPS = ("positive, narrow", "positive, wide", "negative, narrow", "negative, wide", "box")
"""The drawn maps of one object."""
_NARROW_PX, _WIDE_PX, _BOX_EDGE_PX, _SHARP_EDGE_PX = 6.0, 40.0, 4.0, 1.0


def draw_prompts(points: Tensor, labels: Tensor, *, size: tuple[int, int], stride_px: int) -> Tensor:
    """Clicks as Gaussian spots and the box as a soft rectangle: (N, 5, h, w), see `MAPS`.

    points: (N, T, 2) x,y, an integer is a pixel's centre. labels: (N, T). A box is one pair of labels 2 and 3.
    """
    x, y = _centres(points, size, stride_px)  # (w,), (h,)
    px, py = points[..., 0, None].float(), points[..., 1, None].float()  # (N, T, 1)
    spots = []
    for label in (1, 0):
        present = (labels == label)[..., None].float()  # (N, T, 1)
        for sigma in (_NARROW_PX, _WIDE_PX):
            along_x = torch.exp(-((x - px) ** 2) / (2 * sigma**2)) * present  # (N, T, w)
            along_y = torch.exp(-((y - py) ** 2) / (2 * sigma**2))  # (N, T, h)
            spots.append(torch.einsum("nth,ntw->nhw", along_y, along_x))  # separable: no (N, T, h, w)
    box = inside_box(points, labels, size=size, stride_px=stride_px)  # (N, h, w)
    return torch.stack([*(spot.clamp(max=2) for spot in spots), box], dim=1)  # (N, 5, h, w)


def outside_box(points: Tensor, labels: Tensor, *, size: tuple[int, int], stride_px: int) -> Tensor:
    """1 outside of an object's box, about the share of the cell at its edges, 0 where it has none: (N, h, w)."""
    _, _, boxed = corners(points, labels)
    inside = inside_box(points, labels, size=size, stride_px=stride_px, edge_px=_SHARP_EDGE_PX)
    return boxed[:, None, None].float() - inside


def inside_box(
    points: Tensor,
    labels: Tensor,
    *,
    size: tuple[int, int],
    stride_px: int,
    margin: float = 0.0,
    edge_px: float = _BOX_EDGE_PX,
) -> Tensor:
    """1 inside an object's box, 0 outside and where it has none, soft at its edges: (N, h, w).

    margin: widens the box on each side by this share of its own sides. edge_px: how soft its edges are.
    """
    x, y = _centres(points, size, stride_px)
    low, high, boxed = corners(points, labels)  # (N, 2), (N, 2), (N,)
    extra = margin * (high - low)
    low, high = (low - extra)[..., None], (high + extra)[..., None]  # (N, 2, 1)
    in_x = torch.sigmoid(torch.minimum(x - low[:, 0], high[:, 0] - x) / edge_px)  # (N, w)
    in_y = torch.sigmoid(torch.minimum(y - low[:, 1], high[:, 1] - y) / edge_px)  # (N, h)
    return in_y[:, :, None] * in_x[:, None, :] * boxed[:, None, None]  # (N, h, w)


def corners(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x,y of the first and the second corner of each object's box, (N, 2) each, 0 without one; who has one, (N,)."""
    first, second = ((labels == corner)[..., None] for corner in BOX_CORNERS)  # (N, T, 1)
    low, high = ((points.float() * own).sum(dim=1) for own in (first, second))  # (N, 2)
    return low, high, first.any(dim=1)[:, 0]


def _centres(points: Tensor, size: tuple[int, int], stride_px: int) -> tuple[Tensor, Tensor]:
    """x (w,) and y (h,) of the middles of the cells."""
    return (
        (torch.arange(size[1], device=points.device) + 0.5) * stride_px - 0.5,
        (torch.arange(size[0], device=points.device) + 0.5) * stride_px - 0.5,
    )
