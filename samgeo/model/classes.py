"""What is it? A head that tells the classes of masks from what the image encoder saw under and around them.

One probability a class, each by itself: labels of one source say nothing of the classes that another one draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from samgeo.model.frame import LOGIT_PX
from samgeo.model.sam import Features
from samgeo.model.vocabulary import CLASSES
from samgeo.pixels import Mask

SHAPES = 3
"""Numbers that say how large and how compact a mask is."""
AT_ONCE = 32
"""Masks that are looked at together."""
RING_CELLS = 6
"""Cells of 4 px around a mask that are looked at too."""


class ClassHead(nn.Module):
    """What `pool` says of a mask to the probability of each class."""

    def __init__(self, *, coarse_dim: int, fine_dim: int, unit_dim: int, hidden_dim: int = 192) -> None:
        """coarse_dim, fine_dim, unit_dim: channels of the features of stride 16 and 4 and of the unit vectors."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * (coarse_dim + fine_dim + unit_dim) + SHAPES, hidden_dim),
            nn.SiLU(),
            nn.Dropout(0.1),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, len(CLASSES)),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, F) of `pool` -> (N, len(CLASSES)) logits."""
        return self.layers(pooled)  # type: ignore[no-any-return]


class ClassMap(nn.Module):
    """What is where: a class for each cell, a linear map of what the mask decoder sees of it.

    It teaches an encoder, which otherwise learns of roads only from outlines of whole networks, what a road looks like.
    """

    def __init__(self, *, coarse_dim: int, middle_dim: int, fine_dim: int) -> None:
        """coarse_dim, middle_dim, fine_dim: channels of the features of stride 16, 8 and 4."""
        super().__init__()
        self.coarse, self.middle = (nn.Conv2d(dim, len(CLASSES), 1, bias=False) for dim in (coarse_dim, middle_dim))
        self.fine = nn.Conv2d(fine_dim, len(CLASSES), 1)
        for layer in (self.coarse, self.middle, self.fine):
            nn.init.zeros_(layer.weight)
        assert self.fine.bias is not None
        nn.init.constant_(self.fine.bias, -3)

    def forward(self, features: Features) -> Tensor:
        """Of B images -> (B, len(CLASSES), 4h, 4w) logits of stride 4."""
        assert features.stride8 is not None
        assert features.stride4 is not None
        logits: Tensor = F.interpolate(self.coarse(features.stride16), scale_factor=2, mode="bilinear")
        logits = F.interpolate(logits + self.middle(features.stride8), scale_factor=2, mode="bilinear")
        return logits + self.fine(features.stride4)  # type: ignore[no-any-return]


def classify(head: nn.Module, features: Features, masks: Sequence[Mask]) -> NDArray[np.float32]:
    """(N, len(CLASSES)) probabilities of masks in the pixels of an image with these features, whose size is its own."""
    h, w = features.logits_size
    found = [np.zeros((0, len(CLASSES)), np.float32)]
    for start in range(0, len(masks), AT_ONCE):
        full = np.stack([mask.to_array(h * LOGIT_PX, w * LOGIT_PX) for mask in masks[start : start + AT_ONCE]])
        cells = to_cells(torch.from_numpy(full)).to(features.stride16.device)
        with torch.inference_mode():
            found.append(head(pool(features, cells)).sigmoid().cpu().numpy())
    return np.concatenate(found)


def to_cells(masks: Tensor) -> Tensor:
    """(N, H, W) bool -> (N, H/4, W/4) bool, cells of which at least half is inside; the fullest where none is."""
    share = F.avg_pool2d(masks[:, None].float(), LOGIT_PX)[:, 0]
    return share >= share.flatten(1).amax(dim=1).clamp(max=0.5)[:, None, None]


@torch.no_grad()
def pool(features: Features, masks: Tensor) -> Tensor:
    """Means of the features under each mask and in a ring around it, and its shape: (N, F).

    features: of one image. masks: (N, 4h, 4w) bool, cells of 4 px.
    """
    assert features.stride4 is not None
    assert features.units is not None
    inside = masks.float()
    ring = F.max_pool2d(inside[:, None], 2 * RING_CELLS + 1, stride=1, padding=RING_CELLS)[:, 0] - inside
    parts: list[Tensor] = []
    for weights in (inside, ring):
        parts += [
            _mean(features.stride16, F.avg_pool2d(weights[:, None], 4)[:, 0]),
            _mean(features.stride4, weights),
            _mean(features.units, weights),
        ]
    area = inside.sum(dim=(1, 2)).clamp(min=1)
    rows, cols = inside.amax(dim=2).sum(dim=1).clamp(min=1), inside.amax(dim=1).sum(dim=1).clamp(min=1)
    shape = [area.log2() / 16, area / (rows * cols), torch.minimum(rows, cols) / torch.maximum(rows, cols)]
    return torch.cat([*parts, torch.stack(shape, dim=1)], dim=1)


def _mean(features: Tensor, weights: Tensor) -> Tensor:
    """(1, C, h, w) and (N, h, w) -> (N, C)."""
    total = weights.flatten(1) @ features[0].float().flatten(1).T
    return total / weights.flatten(1).sum(dim=1, keepdim=True).clamp(min=1e-3)
