"""TinyViT (Wu et al. 2022), the image encoder of MobileSAM (Zhang et al. 2023) and Light HQ-SAM.

Convolutions, then three stages of attention in windows. Norms lie inside attention and MLP, so that a window's padding
is normalised like everything else; between the two a convolution mixes neighbours of other windows. Where tokens lie in
a window, attention knows from one bias for each distance in rows and columns.

    image (B, 3, H, W) -> stem: stride 4 -> stages: strides 4, 8, 16, 16 -> neck -> embedding (B, 256, H/16, W/16)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.layers import ConvBN
from samgeo.model.vit import neck
from samgeo.model.windows import from_windows, to_windows

EARLY = 1
"""The stage whose output, already at stride 16, is the early feature that Light HQ-SAM reads."""


class TinyViT(nn.Module):
    """RGB, normalised, to the image embedding of stride 16."""

    def __init__(
        self,
        *,
        embed_dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        num_heads: tuple[int, int, int, int],
        window_sizes: tuple[int, int, int, int],
        out_channels: int,
        early: bool = False,
    ) -> None:
        """Widths, blocks, heads and sides of windows of each stage; the first stage has neither heads nor windows.

        early: return the early feature too, the output of stage `EARLY`.
        """
        super().__init__()
        self.early_stage = EARLY if early else -1
        self.early_dim = embed_dims[EARLY + 1]
        self.patch_embed = PatchEmbed(embed_dims[0])
        self.layers = nn.ModuleList()
        for stage, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True)):
            blocks = [
                TinyViTBlock(dim, num_heads[stage], window=window_sizes[stage]) if stage else MBConv(dim)
                for _ in range(depth)
            ]
            last = stage == len(embed_dims) - 1
            # the last stage keeps the resolution of the one before: SAM's embedding has stride 16, not 32
            merge = None if last else PatchMerging(dim, embed_dims[stage + 1], stride=1 if stage == 2 else 2)
            self.layers.append(Stage(blocks, merge))
        self.neck = neck(embed_dims[-1], out_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> stride 16: (B, 256, H/16, W/16), and the early feature (B, C, H/16, W/16) if asked."""
        x = self.patch_embed(image)  # (B, C, H/4, W/4)
        early: tuple[Tensor, ...] = ()
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if index == self.early_stage:
                early = (x,)
        return self.neck(x), *early


class PatchEmbed(nn.Module):
    """The stem: two strided convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvBN(3, dim // 2, kernel=3, stride=2), nn.GELU(), ConvBN(dim // 2, dim, kernel=3, stride=2)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/4, W/4)."""
        return self.seq(image)  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Blocks, and what brings their output to the next stage."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class MBConv(nn.Module):
    """Inverted bottleneck (Sandler et al. 2018): wider by 4, each channel convolved alone, narrow again; a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim, 4 * dim, kernel=1)
        self.conv2 = ConvBN(4 * dim, 4 * dim, kernel=3, groups=4 * dim)
        self.conv3 = ConvBN(4 * dim, dim, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    """From the width and resolution of one stage to those of the next."""

    def __init__(self, dim: int, dim_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim, dim_out, kernel=1)
        self.conv2 = ConvBN(dim_out, dim_out, kernel=3, stride=stride, groups=dim_out)
        self.conv3 = ConvBN(dim_out, dim_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))  # type: ignore[no-any-return]


class TinyViTBlock(nn.Module):
    """Attention in windows beside a shortcut, a convolution of each channel alone, an MLP beside a shortcut."""

    def __init__(self, dim: int, num_heads: int, *, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(dim, num_heads, side=window)
        self.local_conv = ConvBN(dim, dim, kernel=3, groups=dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        tokens = x.permute(0, 2, 3, 1)  # (B, h, w, C)
        attended = self.attn(to_windows(tokens, self.window))
        tokens = tokens + from_windows(attended, (x.shape[2], x.shape[3]))
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention among the s x s tokens of a window, with a bias for each distance."""

    def __init__(self, dim: int, num_heads: int, *, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, side * side))

    def forward(self, x: Tensor) -> Tensor:
        """(B, s, s, C) -> (B, s, s, C). q, k and v of one head lie together in what `qkv` gives."""
        side = x.shape[1]
        heads = self.qkv(self.norm(x)).flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        q, k, v = heads.chunk(3, dim=-1)  # (B, heads, s s, D)
        bias = self.attention_biases[:, _distances(side, x.device)].to(q.dtype)  # (heads, s s, s s)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, heads, s s, D)
        return self.proj(out.transpose(1, 2).flatten(2)).unflatten(1, (side, side))  # type: ignore[no-any-return]


def _distances(side: int, device: torch.device) -> Tensor:
    """(s s, s s), for each pair of tokens the place of their bias: rows apart times s, plus columns apart."""
    place = torch.arange(side, device=device)
    apart = (place[:, None] - place[None, :]).abs()  # (s, s)
    return (apart[:, None, :, None] * side + apart[None, :, None, :]).reshape(side**2, side**2)


class Mlp(nn.Module):
    """The feed-forward part of a block, with its norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))  # type: ignore[no-any-return]
