"""Likeness: how much each pixel looks like what a prompt points at.

The image encoder gives every pixel of stride 4 a unit vector. Its cosine with the mean vector under a prompt is a map
of what else looks like that (a prototype, Snell et al. 2017); what no prompt speaks of is 0. A small network that is
shown these maps follows outlines long before it would have learned to compare pixels by itself.

What looks like a click may lie anywhere, but the object lies around it. So each cell is also told how alike the least
alike cell is on the best way to it from a click: what region growing joins, for all tolerances at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from samgeo.model.drawing import corners, inside_box

MAPS = ("positive clicks", "negative clicks", "inside the box", "around the box", "earlier mask")
"""The likeness maps of one object."""
REACHED = ("from positive clicks", "from negative clicks")
"""Its maps of what is reached, see `reach`."""
SWEEPS = 3
"""How often ways go along all columns and rows, so how winding they may be."""
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


@torch.no_grad()
def reach(units: Tensor, alike: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """How alike the least alike cell is on the best way from a click to each cell: (N, 2, h, w), see `REACHED`.

    Without a positive click the middle of the box stands for one. 0 where there is nothing of a kind, else at most the
    likeness of the cell itself. units, points, labels: as of `compare`. alike: (N, 5, h, w), from there.
    """
    h, w = alike.shape[-2:]
    low, high, boxed = corners(points, labels)  # (N, 2), (N, 2), (N,)
    middle = (low + high) / 2
    stands_in = (boxed & _none(labels, 1)[:, 0, 0])[:, None]  # (N, 1)
    of_middle = cosines(units, _sample(units, middle[:, None]))[:, 0]  # (N, h, w)
    limit = torch.stack([torch.where(stands_in[..., None], of_middle, alike[:, 0]), alike[:, 1]], dim=1).float()
    points = torch.cat([points.float(), middle[:, None]], dim=1)  # (N, T + 1, 2)
    labels = torch.cat([labels, torch.where(stands_in, 1, -1)], dim=1)  # (N, T + 1)
    row, column = cells_at(points, (h, w))  # (N, T + 1) each
    in_row = row[..., None] == torch.arange(h, device=row.device)  # (N, T + 1, h)
    in_column = column[..., None] == torch.arange(w, device=row.device)  # (N, T + 1, w)
    of_kind = labels[:, None] == torch.tensor([[1], [0]], device=row.device)  # (N, 2, T + 1)
    clicked = torch.einsum("nkt,nth,ntw->nkhw", of_kind.float(), in_row.float(), in_column.float()) > 0
    reached = torch.where(clicked, limit, -1)
    sweep = _swept_in_few_steps if torch.compiler.is_exporting() else _swept
    for axis in (3, 2) * SWEEPS:
        reached = sweep(reached, limit, axis)
    return reached * of_kind.any(dim=2)[..., None, None]


def _swept(reached: Tensor, limit: Tensor, axis: int) -> Tensor:
    """What is reached after ways have gone on along an axis, there and back; nowhere above the limit."""
    lines, limits = list(reached.unbind(axis)), limit.unbind(axis)
    last = len(lines) - 1
    for at, before in [*((k, k - 1) for k in range(1, last + 1)), *((k, k + 1) for k in range(last - 1, -1, -1))]:
        lines[at] = torch.clamp(lines[before], lines[at], limits[at])
    return torch.stack(lines, dim=axis)


def _swept_in_few_steps(reached: Tensor, limit: Tensor, axis: int) -> Tensor:
    """The same for graphs, where each line of a loop would be a node; takes three times as long.

    A clamp of a clamp is a clamp, so each step puts ways together that are twice as long as those before.
    """
    for sign in (1, -1):
        low, high, step = reached, limit, 1
        while step < limit.shape[axis]:
            shift = (sign * step, -sign * step) if axis == 3 else (0, 0, sign * step, -sign * step)
            moved = (F.pad(x, shift, value=end) for x, end in ((low, -1), (high, 1)))
            low, high = [torch.minimum(torch.maximum(x, low), high) for x in moved]
            step *= 2
        reached = low
    return reached


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


def cells_at(points: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows and columns, (...) each, of the cells of a map (h, w) that points (..., 2) x,y lie in or are nearest to."""
    column, row = ((points.float() + 0.5) / STRIDE_PX).long().unbind(dim=-1)
    return row.clamp(0, size[0] - 1), column.clamp(0, size[1] - 1)


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
