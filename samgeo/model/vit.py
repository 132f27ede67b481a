"""The image encoder of Segment Anything: a plain vision transformer with windows (ViTDet, Li et al. 2022).

Patches of 16 px become tokens. Most blocks attend inside windows of 14 x 14 tokens, four of them among all. Attention
knows where tokens lie from decomposed relative positions (MViTv2, Li et al. 2021): a query q at (i, j) adds
q . R_h[i - i'] + q . R_w[j - j'] to its product with the key at (i', j').

    image (B, 3, H, W) -> tokens (B, H/16, W/16, C) -> blocks -> neck -> embedding (B, 256, H/16, W/16)
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.attention import attend
from samgeo.model.layers import LayerNorm2d, MLPBlock, PatchEmbed
from samgeo.model.windows import from_windows, to_windows

PATCH_PX = 16
WINDOW = 14


class ImageEncoderViT(nn.Module):
    """RGB, normalised, to the image embedding of stride 16."""

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        global_attn_indexes: Collection[int],
        image_size_px: int,
        out_channels: int,
        early: bool = False,
    ) -> None:
        """global_attn_indexes: the blocks that attend among all tokens. image_size_px: side of the square input.

        early: return the early feature too that HQ-SAM reads, the output of the first block of global attention.
        """
        super().__init__()
        self.early_block = min(global_attn_indexes) if early else -1
        self.early_dim = embed_dim
        side = image_size_px // PATCH_PX
        self.patch_embed = PatchEmbed(embed_dim, kernel=PATCH_PX, stride=PATCH_PX)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, embed_dim))
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, side=side, window=0 if i in global_attn_indexes else WINDOW)
            for i in range(depth)
        )
        self.neck = neck(embed_dim, out_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W), H = W = image_size_px -> stride 16, (B, 256, H/16, W/16), and the early feature if asked."""
        x = self.patch_embed(image) + self.pos_embed  # (B, h, w, C)
        early: tuple[Tensor, ...] = ()
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.early_block:
                early = (x.permute(0, 3, 1, 2),)
        return self.neck(x.permute(0, 3, 1, 2)), *early


def neck(channels_in: int, channels_out: int) -> nn.Sequential:
    """From the width of an encoder to that of the mask decoder: (B, C, h, w) -> (B, C', h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        LayerNorm2d(channels_out),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        LayerNorm2d(channels_out),
    )


class Block(nn.Module):
    """Attention, then an MLP, each on normalised tokens and beside a shortcut."""

    def __init__(self, dim: int, num_heads: int, *, side: int, window: int) -> None:
        """side: of the token map. window: side of the windows, or 0 for attention among all tokens."""
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, side=window or side)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, 4 * dim, activation=F.gelu)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            return self.attn(x)  # type: ignore[no-any-return]
        return from_windows(self.attn(to_windows(x, self.window)), (x.shape[1], x.shape[2]))


class Attention(nn.Module):
    """Multi-head attention among the s x s tokens of a square, with decomposed relative positions."""

    def __init__(self, dim: int, num_heads: int, *, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, s, s, C) -> (B, s, s, C)."""
        side = x.shape[1]
        q, k, v = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        grid = q.unflatten(2, (side, side))  # q, k, v: (B, heads, s s, D); grid: (B, heads, s, s, D)
        rows = torch.einsum("nahwd,hkd->nahwk", grid, _relative(self.rel_pos_h)).flatten(2, 3)  # (B, heads, s s, s)
        cols = torch.einsum("nahwd,wkd->nahwk", grid, _relative(self.rel_pos_w)).flatten(2, 3)  # (B, heads, s s, s)
        out = attend(q, k, v, rows=rows, cols=cols)  # (B, heads, s s, D)
        return self.proj(out.transpose(1, 2).flatten(2)).unflatten(1, (side, side))  # type: ignore[no-any-return]


def _relative(table: Tensor) -> Tensor:
    """(2s - 1, D) vectors of the distances 1 - s .. s - 1 -> (s, s, D), that of query place i and key place k."""
    side = (len(table) + 1) // 2
    place = torch.arange(side, device=table.device)
    return table[place[:, None] - place[None, :] + side - 1]
