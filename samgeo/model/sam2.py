"""SAM 2 on single images (Ravi et al. 2024): what it does differently around SAM's prompt encoder and mask decoder."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samgeo.model.frame import Frame
from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.sam import Features, Sam, with_corners

STABILITY_OFFSET, STABLE = 0.05, 0.98
"""The first mask is stable if its cuts at plus and minus this logit have at least this IoU."""


class Sam2(Sam):
    """SAM 2 in image mode: no frame before, no memory."""

    stable_or_best = True
    logit_limit = 32.0

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder, *, frame: Frame
    ) -> None:
        super().__init__(image_encoder, prompt_encoder, mask_decoder, frame=frame)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, prompt_encoder.embed_dim))

    def encode(self, image: Tensor) -> Features:
        """Features of B images (B, 3, H, W); the embedding says that there is no memory."""
        features = super().encode(image)
        return features._replace(stride16=features.stride16 + self.no_mem_embed[0, 0, :, None, None])

    def list_prompts(self, points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The box's corners first, then clicks, then a padding point, unless there is only a mask."""
        if boxes is not None:
            corners, kinds = with_corners(points[:, :0], labels[:, :0], boxes)
            points, labels = torch.cat([corners, points], dim=1), torch.cat([kinds, labels], dim=1)
        return super().list_prompts(points, labels, None)


def stable_or_best(logits: NDArray[np.float32], iou: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of four masks answers a prompt for one: the first if it is stable, else the best of the others.

    logits: (N, 4, h, w). iou: (N, 4) as predicted. -> (N, 4), True at one mask of each object.
    """
    first = logits[:, 0]
    inner, outer = ((first > cut).sum(axis=(1, 2)) for cut in (STABILITY_OFFSET, -STABILITY_OFFSET))
    stable = (outer == 0) | (inner >= STABLE * outer - 1e-6)
    chosen = np.where(stable, 0, 1 + iou[:, 1:].argmax(axis=1))
    return np.asarray(np.arange(logits.shape[1]) == chosen[:, None])
