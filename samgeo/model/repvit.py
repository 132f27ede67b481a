"""RepViT (Wang et al. 2024), the image encoder of EdgeTAM (Zhou et al. 2025), before SAM 2's feature pyramid.

Convolutions alone, in four stages; each but the first begins with a block that halves the resolution. A block mixes
neighbours in each channel, then, every other one, weighs channels by what they are on average, then mixes channels.

    image (B, 3, H, W) -> stem: stride 4 -> strides 4, 8, 16, 32 -> neck: strides 16, 8, 4, all 256 channels wide
"""

from __future__ import annotations

from torch import Tensor, nn

from samgeo.model.hiera import PyramidEncoder
from samgeo.model.layers import ConvBN


class RepViTEncoder(PyramidEncoder):
    """RGB, normalised, to features of strides 16, 8 and 4."""

    def __init__(
        self, *, embed_dim: tuple[int, int, int, int], depth: tuple[int, int, int, int], out_channels: int
    ) -> None:
        """embed_dim: widths of the stages. depth: blocks of each."""
        super().__init__(RepViT(embed_dim, depth), list(embed_dim), out_channels)


class RepViT(nn.Module):
    """The trunk: a stem and four stages."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Stem(widths[0])
        before = (widths[0], *widths)
        self.stages = nn.ModuleList(Stage(a, b, depth) for a, b, depth in zip(before, widths, depths, strict=False))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> what each stage ends with, strides 4, 8, 16, 32: (B, C_s, H/s, W/s)."""
        x = self.stem(image)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Stem(nn.Module):
    """Two strided convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, dim // 2, kernel=3, stride=2)
        self.act1 = nn.GELU()
        self.conv2 = ConvBN(dim // 2, dim, kernel=3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/4, W/4)."""
        return self.conv2(self.act1(self.conv1(image)))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Half the resolution, where the width changes, then blocks; the first and every other one weighs channels."""

    def __init__(self, dim: int, dim_out: int, depth: int) -> None:
        super().__init__()
        self.downsample = Downsample(dim, dim_out) if dim != dim_out else nn.Identity()
        self.blocks = nn.Sequential(*(Block(dim_out, weighs=index % 2 == 0) for index in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h/2, w/2), or (B, C, h, w) in the first stage."""
        return self.blocks(self.downsample(x))  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Half the resolution and another width, between a block and a channel mixer."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.pre_block = Block(dim, weighs=False)
        self.spatial_downsample = ConvBN(dim, dim, kernel=3, stride=2, groups=dim)
        self.channel_downsample = ConvBN(dim, dim_out, kernel=1)
        self.ffn = ChannelMixer(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h/2, w/2)."""
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return x + self.ffn(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Neighbours, channels' weights, channels."""

    def __init__(self, dim: int, *, weighs: bool) -> None:
        super().__init__()
        self.token_mixer = TokenMixer(dim)
        self.se = SqueezeExcite(dim) if weighs else nn.Identity()
        self.channel_mixer = ChannelMixer(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        x = self.se(self.token_mixer(x))
        return x + self.channel_mixer(x)  # type: ignore[no-any-return]


class TokenMixer(nn.Module):
    """In each channel: 3 x 3, 1 x 1, and the channel itself, added (Ding et al. 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = ConvBN(dim, dim, kernel=3, groups=dim)
        self.conv1 = ConvBN(dim, dim, kernel=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.conv(x) + self.conv1(x) + x  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """Channels weighed by what all of them are on average (Hu et al. 2018)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        squeezed = max(8, (dim // 4 + 4) // 8 * 8)  # a quarter, to the nearest multiple of 8
        self.fc1 = nn.Conv2d(dim, squeezed, 1)
        self.act = nn.ReLU()
        self.fc2 = nn.Conv2d(squeezed, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return x * self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()  # type: ignore[no-any-return]


class ChannelMixer(nn.Module):
    """An MLP in each pixel, twice as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim, 2 * dim, kernel=1)
        self.act = nn.GELU()
        self.conv2 = ConvBN(2 * dim, dim, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.conv2(self.act(self.conv1(x)))  # type: ignore[no-any-return]
