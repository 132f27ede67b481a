"""MaskScorer: how good is a mask, judged by the mask itself.

SAM predicts the IoU from a token that has not seen the mask. A small network learns little that way: its scores hardly
tell good masks from bad ones. This one looks at what was drawn (how sure, how stable, how compact), and at whether what
lies inside looks alike and unlike what lies around, by the unit vectors of `likeness`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.drawing import inside_box
from samgeo.model.likeness import STRIDE_PX, cells_at, total

FACTS = 14
"""What `describe` says of a mask."""
_RING_CELLS = 4


class MaskScorer(nn.Module):
    """Facts of a mask and its token to the IoU that it probably has with the true object."""

    def __init__(self, *, token_dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(FACTS + token_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, 1),
        )

    def forward(self, facts: Tensor, tokens: Tensor) -> Tensor:
        """facts (N, M, FACTS) from `describe`, mask tokens (N, M, C) -> IoU (N, M) in 0..1."""
        return self.layers(torch.cat([facts, tokens.float()], dim=-1)).squeeze(-1).sigmoid()  # type: ignore[no-any-return]


@torch.no_grad()
def describe(
    logits: Tensor, predicted: Tensor, units: Tensor, points: Tensor, labels: Tensor, *, zoom: float = 1
) -> Tensor:
    """Facts about M masks of each of N objects, (N, M, FACTS), each about 0 to 1.

    logits: (N, M, h, w). predicted: (N, M) IoU from SAM's head. units: (B, D, h, w) of B images, N / B consecutive
    objects in each. points: (N, T, 2) x,y; labels: (N, T), box corners 2 and 3. zoom: size at which the image was seen.
    """
    logits, units = logits.float(), units.float()
    h, w = logits.shape[-2:]
    probability, inside = logits.sigmoid(), logits > 0
    mask = inside.float()
    area = mask.sum(dim=(2, 3))
    safe = area.clamp(min=1)
    sure = (probability * mask).sum(dim=(2, 3))
    stable = (logits > 1).sum(dim=(2, 3)) / (logits > -1).sum(dim=(2, 3)).clamp(min=1)
    ring = (_grown(inside, cells=_RING_CELLS) & ~inside).float()
    within, around = total(units, mask), total(units, ring)  # (N, M, D)
    inner, outer = F.normalize(within, dim=2), F.normalize(around, dim=2)
    edge = inside & _grown(~inside, cells=1)
    frame = (
        mask[..., 0].sum(dim=2) + mask[..., -1].sum(dim=2) + mask[..., 0, :].sum(dim=2) + mask[..., -1, :].sum(dim=2)
    )
    box = inside_box(points, labels, size=(h, w), stride_px=STRIDE_PX)[:, None]  # (N, 1, h, w)
    boxed = (mask * box).sum(dim=(2, 3))
    return torch.stack(
        [
            predicted.float(),
            sure / safe,
            sure / torch.maximum(probability, mask).sum(dim=(2, 3)).clamp(min=1),
            stable,
            area.clamp(min=1).log2() / 16,
            (inner * within).sum(dim=2) / safe,  # the mean cosine with the mean direction
            (inner * around).sum(dim=2) / ring.sum(dim=(2, 3)).clamp(min=1),
            (inner * outer).sum(dim=2),
            edge.sum(dim=(2, 3)) / (8 * safe.sqrt()),
            frame / (4 * safe.sqrt()),
            _at_first_click(probability, points, labels),
            boxed / safe,
            boxed / box.sum(dim=(2, 3)).clamp(min=1),
            torch.full_like(area, math.log2(zoom)),
        ],
        dim=2,
    ).clamp(-2, 2)


def _grown(mask: Tensor, *, cells: int) -> Tensor:
    """The mask (N, M, h, w) bool and what is within some cells of it, along rows and columns."""
    side = 2 * cells + 1
    grown = F.pad(mask, (cells, cells, cells, cells))
    for axis in (2, 3):
        reach = 1  # cells that each place knows of; it doubles until it is the whole side
        while reach < side:
            step = min(reach, side - reach)
            length = grown.shape[axis] - step
            grown = grown.narrow(axis, 0, length) | grown.narrow(axis, step, length)
            reach += step
    return grown


def _at_first_click(probability: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Probability (N, M) at the first click on the object; 0 where there is none."""
    n, m, h, w = probability.shape
    if not labels.shape[1]:
        return probability.new_zeros(n, m)
    on = (labels == 1).float()
    first = on.argmax(dim=1)  # (N,)
    row, column = cells_at(points[torch.arange(n), first], (h, w))  # (N,) each
    return probability[torch.arange(n), :, row, column] * on.amax(dim=1)[:, None]
