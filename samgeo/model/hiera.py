"""The image encoder of SAM 2: a Hiera trunk (Ryali et al. 2023) and a feature pyramid (Ravi et al. 2024, section 4).

Tokens of 4 px pass four stages; each but the first begins with a block that halves the resolution, by pooling its
queries, and doubles the width. Blocks attend inside windows, three of the third stage among all tokens. Positions are a
small map, stretched over the image, plus one window of positions, repeated (Bolya et al. 2023).

    image (B, 3, H, W) -> trunk: strides 4, 8, 16, 32 -> neck: strides 16, 8, 4, all 256 channels wide
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.attention import attend
from samgeo.model.layers import MLPBlock, PatchEmbed
from samgeo.model.windows import from_windows, to_windows


class PyramidEncoder(nn.Module):
    """A trunk with features of four strides, and the feature pyramid behind it."""

    def __init__(self, trunk: nn.Module, channels: list[int], out_channels: int) -> None:
        """channels: of the trunk's features of strides 4, 8, 16, 32."""
        super().__init__()
        self.trunk = trunk
        self.neck = FpnNeck(channels, out_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> strides 16, 8 and 4: (B, C, H/s, W/s)."""
        return self.neck(*self.trunk(image))  # type: ignore[no-any-return]


class HieraEncoder(PyramidEncoder):
    """RGB, normalised, to features of strides 16, 8 and 4."""

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        stages: tuple[int, int, int, int],
        global_att_blocks: Collection[int],
        window_pos_embed_bkg_spatial_size: int,
        window_spec: tuple[int, int, int, int] = (8, 4, 14, 7),
        out_channels: int,
    ) -> None:
        """Arguments of the trunk by its official names; sizes are the side of a square."""
        trunk = Hiera(
            embed_dim=embed_dim,
            num_heads=num_heads,
            stages=stages,
            global_att_blocks=global_att_blocks,
            background=window_pos_embed_bkg_spatial_size,
            window_spec=window_spec,
        )
        super().__init__(trunk, [embed_dim * 2**stage for stage in range(4)], out_channels)


class FpnNeck(nn.Module):
    """Brings all strides to one width, and adds what stride 32 saw to stride 16; strides 8 and 4 stay as they are."""

    def __init__(self, channels: list[int], out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(OrderedDict[str, nn.Module](conv=nn.Conv2d(width, out_channels, 1)))
            for width in reversed(channels)
        )

    def forward(self, x4: Tensor, x8: Tensor, x16: Tensor, x32: Tensor) -> tuple[Tensor, ...]:
        """Features of the trunk (B, C_s, H/s, W/s) -> strides 16, 8, 4: (B, C, H/s, W/s)."""
        y32, y16, y8, y4 = (conv(x) for conv, x in zip(self.convs, (x32, x16, x8, x4), strict=True))
        return y16 + F.interpolate(y32.float(), scale_factor=2.0, mode="nearest"), y8, y4


class Hiera(nn.Module):
    """The trunk: four stages of blocks."""

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        stages: tuple[int, int, int, int],
        global_att_blocks: Collection[int],
        background: int,
        window_spec: tuple[int, int, int, int],
    ) -> None:
        """stages: number of blocks in each. background: side of the small map of positions."""
        super().__init__()
        self.patch_embed = PatchEmbed(embed_dim, kernel=7, stride=4, padding=3)
        self.pos_embed = nn.Parameter(torch.zeros(1, embed_dim, background, background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, embed_dim, window_spec[0], window_spec[0]))
        self.stage_ends = [sum(stages[: i + 1]) - 1 for i in range(len(stages))]
        self.blocks = nn.ModuleList()
        for stage, blocks in enumerate(stages):
            for block in range(blocks):
                enters = stage > 0 and block == 0  # the block that pools still has the windows of the stage before
                window = window_spec[stage - 1 if enters else stage]
                index = len(self.blocks)
                width = embed_dim * 2**stage
                self.blocks.append(
                    MultiScaleBlock(
                        width // 2 if enters else width,
                        width,
                        num_heads * 2**stage,
                        window=0 if index in global_att_blocks else window,
                    )
                )

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> what each stage ends with, strides 4, 8, 16, 32: (B, C_s, H/s, W/s)."""
        x = self.patch_embed(image)  # (B, h, w, C)
        x = x + self._positions(x.shape[1], x.shape[2])
        outputs = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                outputs.append(x.permute(0, 3, 1, 2))
        return outputs

    def _positions(self, height: int, width: int) -> Tensor:
        """(1, h, w, C)."""
        background = F.interpolate(self.pos_embed, (height, width), mode="bicubic")  # (1, C, h, w)
        side = self.pos_embed_window.shape[-1]
        return (background + self.pos_embed_window.repeat(1, 1, height // side, width // side)).permute(0, 2, 3, 1)


class MultiScaleBlock(nn.Module):
    """Attention, then an MLP, each on normalised tokens and beside a shortcut; pools 2 x 2 where the width changes."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, *, window: int) -> None:
        """window: side of the windows, before pooling; 0 for attention among all tokens."""
        super().__init__()
        self.window = window
        self.pools = dim != dim_out
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MultiScaleAttention(dim, dim_out, num_heads)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = MLPBlock(dim_out, 4 * dim_out, activation=F.gelu)
        if self.pools:
            self.proj = nn.Linear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C'), or (B, h/2, w/2, C') where it pools."""
        normed = self.norm1(x)
        shortcut = pool(self.proj(normed)) if self.pools else x
        x = shortcut + self._attend(normed, (shortcut.shape[1], shortcut.shape[2]))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """(B, h, w, C) -> (B, *shape, C'); windows halve with their contents where the block pools."""
        if not self.window:
            return self.attn(x)  # type: ignore[no-any-return]
        return from_windows(self.attn(to_windows(x, self.window)), shape)


class MultiScaleAttention(nn.Module):
    """Multi-head attention among the tokens of a square, with fewer queries where the width changes."""

    def __init__(self, dim: int, dim_out: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pools = dim != dim_out
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C'), or (B, h/2, w/2, C') where it pools."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, h, w, C')
        if self.pools:
            q = pool(q)
        shape = q.shape[1:3]
        q, k, v = (t.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = attend(q, k, v)  # (B, heads, T, D)
        return self.proj(out.transpose(1, 2).flatten(2)).unflatten(1, shape)  # type: ignore[no-any-return]


def pool(x: Tensor) -> Tensor:
    """The largest of each 2 x 2 tokens: (B, h, w, C) -> (B, h/2, w/2, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
