"""Likeness: how much each pixel looks like what a prompt points at.

The image encoder gives every pixel of stride 4 a unit vector. Its cosine with the mean vector under a prompt is a map
of what else looks like that (a prototype, Snell et al. 2017); what no prompt speaks of is 0. A small network that is
shown these maps follows outlines long before it would have learned to compare pixels by itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from samgeo.model.drawing import inside_box

MAPS = ("positive clicks", "negative clicks", "inside the box", "around the box", "earlier mask")
"""The likeness maps of one object."""
STRIDE_PX = 4
"""Image pixels to a cell of the unit vectors."""
DETAIL_CELLS, AROUND_CELLS, APART_CELLS = 3, 9, 5
"""Sides of squares: what may stand out, what it may stand out against, and of which one place alone does."""


def compare(units: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """The `MAPS` of N objects (N, 5, h, w), and the vector that each of their T prompt points stands for (N, T, D).

    units: (B, D, h, w) of B images, N / B consecutive objects in each. points: (N, T, 2) x,y. labels: (N, T), box
    corners 2 and 3, which stand for the inside of the box. masks: (N, 1, h, w) logits or None.
    """
    clicked = _sample(units, points) * (labels >= 0)[..., None]  # (N, T, D)
    size = (units.shape[-2], units.shape[-1])
    inside = inside_box(points, labels, size=size, stride_px=STRIDE_PX)  # (N, h, w)
    wider = inside_box(points, labels, size=size, stride_px=STRIDE_PX, margin=0.3)  # (N, h, w)
    earlier = torch.zeros_like(inside) if masks is None else masks[:, 0].float().sigmoid()  # (N, h, w)
    means = mean_direction(units, torch.stack([inside, (wider - inside).clamp(min=0), earlier], dim=1))  # (N, 3, D)
    clicked = torch.where((labels >= 2)[..., None], means[:, :1], clicked)
    alike = cosines(units, torch.cat([means, clicked], dim=1))  # (N, 3 + T, h, w)
    clicks = [
        torch.where((labels == kind)[..., None, None], alike[:, 3:], -1).amax(dim=1).masked_fill(_none(labels, kind), 0)
        for kind in (1, 0)
    ]
    return torch.cat([torch.stack(clicks, dim=1), alike[:, :3]], dim=1), clicked


def standing_out(units: Tensor, valid: Tensor, count: int) -> Tensor:
    """Where an image of unit vectors (1, D, h, w) looks unlike what lies around: (n, 2) x,y, n at most `count`.

    valid: (h, w), the share of each cell that shows something. The places that stand out most come first.
    """
    seen = units.float() * valid
    near, wide = (
        F.normalize(F.avg_pool2d(seen, side, stride=1, padding=side // 2), dim=1)
        for side in (DETAIL_CELLS, AROUND_CELLS)
    )
    unlike = (1 - (near * wide).sum(dim=1)) * (valid > 0.5)  # (1, h, w)
    peaks = unlike == F.max_pool2d(unlike, APART_CELLS, stride=1, padding=APART_CELLS // 2)
    row, column = (peaks & (unlike > 0))[0].nonzero(as_tuple=True)
    order = unlike[0, row, column].argsort(descending=True, stable=True)[:count]
    return (torch.stack([column[order], row[order]], dim=1) + 0.5) * STRIDE_PX - 0.5


def _none(labels: Tensor, kind: int) -> Tensor:
    return ~(labels == kind).any(dim=1)[:, None, None]  # (N, 1, 1)


def _sample(units: Tensor, points: Tensor) -> Tensor:
    """Unit vectors at points (N, T, 2) x,y, between cells by bilinear weights: (N, T, D)."""
    n, t, _ = points.shape
    b, d = units.shape[:2]
    size = points.new_tensor([units.shape[-1], units.shape[-2]])
    places = 2 * (points.float() + 0.5) / (size * STRIDE_PX) - 1  # (N, T, 2) in [-1, 1]
    places = places.view(b, n // b, t, 2)  # (B, K, T, 2)
    found = F.grid_sample(units.float(), places, padding_mode="border", align_corners=False)  # (B, D, K, T)
    return F.normalize(found, dim=1).permute(0, 2, 3, 1).reshape(n, t, d)


def mean_direction(units: Tensor, weights: Tensor) -> Tensor:
    """Directions of the weighted means of the unit vectors. weights: (N, M, h, w) -> (N, M, D)."""
    return F.normalize(total(units, weights), dim=-1)


def total(units: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of the unit vectors. weights: (N, M, h, w) -> (N, M, D)."""
    n, m = weights.shape[:2]
    b, d = units.shape[:2]
    by_image = weights.flatten(2).to(units.dtype).reshape(b, n // b * m, units[0, 0].numel())  # (B, K M, hw)
    return (by_image @ units.flatten(2).transpose(1, 2)).float().reshape(n, m, d)


def cosines(units: Tensor, vectors: Tensor) -> Tensor:
    """Cosines of the unit vectors with M vectors of each object, (N, M, D) -> (N, M, h, w)."""
    n, m, d = vectors.shape
    b = len(units)
    product = vectors.to(units.dtype).reshape(b, n // b * m, d) @ units.flatten(2)  # (B, K M, hw)
    return product.reshape(n, m, *units.shape[-2:])
