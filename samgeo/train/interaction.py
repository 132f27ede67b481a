"""Simulated prompts: what a user would click, given what is still wrong (Kirillov et al. 2023, appendix A).

Everything happens on the decoder's grid of stride 4; a click lands somewhere inside the cell that was drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samgeo.model.likeness import cells_at
from samgeo.stitch.grow import depths

STRIDE_PX = 4


def noisy_boxes(masks: Tensor, *, noise: float, generator: torch.Generator) -> Tensor:
    """Bounding boxes with each side moved by a normal deviate of `noise` times the box's side, at most 20 px.

    masks: (N, H, W) bool, none empty. -> (N, 4) x_min, y_min, x_max, y_max; an integer is a pixel's centre.
    """
    x_any, y_any = masks.any(dim=1).float(), masks.any(dim=2).float()  # (N, W), (N, H)
    low = torch.stack([x_any.argmax(dim=1), y_any.argmax(dim=1)], dim=1)  # (N, 2)
    high = torch.stack(
        [x_any.shape[1] - 1 - x_any.flip(1).argmax(dim=1), y_any.shape[1] - 1 - y_any.flip(1).argmax(dim=1)], dim=1
    )
    side = (high - low + 1).float()  # (N, 2)
    moved = torch.randn(2, *side.shape, generator=generator, device=side.device) * noise * side
    moved = moved.clamp(-20, 20)
    low_moved, high_moved = low - 0.5 + moved[0], high + 0.5 + moved[1]
    return torch.cat([torch.minimum(low_moved, high_moved - 1), high_moved], dim=1)


def first_clicks(target: Tensor, *, generator: torch.Generator) -> Tensor:
    """One click on each object, anywhere on it or towards its middle. target (N, 1, h, w) in 0..1 -> (N, 1, 2) x,y."""
    inside = (target > 0.5).float()
    inside = torch.where(inside.sum(dim=(-2, -1), keepdim=True) > 0, inside, target)  # thinner than a cell
    return _draw(_towards_middle(inside, generator), generator)


def next_clicks(logits: Tensor, target: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A click in each object's error region: 1 where the mask misses the object, 0 where it runs over.

    logits: (N, 1, h, w) of the last round. target: (N, 1, h, w) in 0..1. -> points (N, 1, 2), labels (N, 1)
    """
    truth, mask = target > 0.5, logits > 0
    error = (truth ^ mask).float()
    nothing = error.sum(dim=(-2, -1), keepdim=True) == 0
    error = torch.where(nothing, target, error)
    points = _draw(_towards_middle(error, generator), generator)
    row, column = cells_at(points, (target.shape[-2], target.shape[-1]))  # (N, 1) each
    at = row * target.shape[-1] + column  # (N, 1)
    labels = truth.flatten(1).gather(1, at) | nothing.flatten(1)
    return points, labels.long()


def _towards_middle(region: Tensor, generator: torch.Generator) -> Tensor:
    """Weights of drawing a cell: for half of the objects uniform, else larger deep inside the region, as users aim."""
    inside = region[:, 0].cpu().numpy() > 0
    depth = torch.from_numpy(np.stack([depths(one) for one in inside])[:, None]).to(region)  # (N, 1, h, w) in cells
    near = region * (depth / depth.amax(dim=(-2, -1), keepdim=True)) ** 6
    chosen = torch.rand(len(region), 1, 1, 1, generator=generator, device=region.device) < 0.5
    return torch.where(chosen, region, near)


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    """A random position in a cell drawn by weight. (N, 1, h, w) -> (N, 1, 2) x,y in pixels."""
    index = torch.multinomial(weights.flatten(1), 1, generator=generator)  # (N, 1)
    row, column = index // weights.shape[-1], index % weights.shape[-1]
    cell = torch.stack([column, row], dim=-1).float()  # (N, 1, 2)
    return (cell + torch.rand(cell.shape, generator=generator, device=cell.device)) * STRIDE_PX - 0.5
