"""SAM 2's memory encoder (Ravi et al. 2024, section 4): a frame and a mask on it become a memory.

The mask is convolved down to stride 16 and added to the frame's features, without what they know of the past; two
ConvNeXt blocks (Liu et al. 2022) fuse them.

    mask (B, 1, 16 h, 16 w), features (B, 256, h, w) -> memory (B, 64, h, w)
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.layers import LayerNorm2d


class MemoryEncoder(nn.Module):
    """Image features and a mask to a memory."""

    def __init__(self, *, dim: int, memory_dim: int) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownSampler(dim)
        self.pix_feat_proj = nn.Conv2d(dim, dim, 1)
        self.fuser = Fuser(dim, num_layers=2)
        self.out_proj = nn.Conv2d(dim, memory_dim, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """image (B, C, h, w), mask (B, 1, 16h, 16w) of -10 to +10 -> (B, Cm, h, w)."""
        fused = self.fuser(self.pix_feat_proj(image) + self.mask_downsampler(mask))  # (B, C, h, w)
        return self.out_proj(fused)  # type: ignore[no-any-return]


class MaskDownSampler(nn.Module):
    """Four convolutions of stride 2, each with four times the channels of the one before."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = (1, 4, 16, 64, 256)
        layers: list[nn.Module] = []
        for width, wider in pairwise(widths):
            layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), LayerNorm2d(wider), nn.GELU()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(widths[-1], dim, 1))

    def forward(self, mask: Tensor) -> Tensor:
        """(B, 1, 16h, 16w) -> (B, C, h, w)."""
        return self.encoder(mask)  # type: ignore[no-any-return]


class Fuser(nn.Module):
    """ConvNeXt blocks in a row."""

    def __init__(self, dim: int, *, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CXBlock(dim) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        for layer in self.layers:
            x = layer(x)
        return x


class CXBlock(nn.Module):
    """A ConvNeXt block: 7 x 7 in each channel, then an MLP in each pixel, scaled by channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)  # (B, h, w, C)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)  # type: ignore[no-any-return]
