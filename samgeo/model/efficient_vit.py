"""The image encoder of EfficientSAM (Xiong et al. 2024): a plain vision transformer, all tokens among all.

Positions were learned for 14 x 14 patches and a class token; they are stretched over the image without the latter.

    image (B, 3, H, W) -> tokens (B, H/16, W/16, C) -> blocks -> neck -> embedding (B, 256, H/16, W/16)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.hiera import MultiScaleBlock
from samgeo.model.layers import PatchEmbed
from samgeo.model.vit import PATCH_PX, neck

POSITIONS = 14
"""Side of the map of positions."""


class EfficientViT(nn.Module):
    """RGB, normalised, to the image embedding of stride 16."""

    def __init__(self, *, patch_embed_dim: int, depth: int, num_heads: int, out_channels: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(patch_embed_dim, kernel=PATCH_PX, stride=PATCH_PX)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + POSITIONS**2, patch_embed_dim))
        self.blocks = nn.Sequential(
            *(MultiScaleBlock(patch_embed_dim, patch_embed_dim, num_heads, window=0) for _ in range(depth))
        )
        self.neck = neck(patch_embed_dim, out_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> only stride 16: (B, 256, H/16, W/16)."""
        x = self.patch_embed(image)  # (B, h, w, C)
        x = self.blocks(x + self._positions(x.shape[1], x.shape[2]))
        return (self.neck(x.permute(0, 3, 1, 2)),)

    def _positions(self, height: int, width: int) -> Tensor:
        """(1, h, w, C)."""
        learned = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (POSITIONS, POSITIONS))  # (1, C, 14, 14)
        return F.interpolate(learned, (height, width), mode="bicubic").permute(0, 2, 3, 1)
