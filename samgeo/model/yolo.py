"""The network of FastSAM (Zhao et al. 2023): a YOLOv8 detector with the mask branch of YOLACT (Bolya et al. 2019).

A pyramid of convolutions sees strides 8, 16 and 32. Each of their cells proposes one object: a box, by four
distributions over distances (Li et al. 2020), a score, and 32 coefficients. An object's mask is the sum of 32
prototypes, maps of stride 4 that all objects share, with its coefficients.

Written from the papers. Parameters carry the names of the published checkpoints: the layers of the network by number.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.frame import LetterboxFrame

STRIDES = (8, 16, 32)
BINS = 16
"""Distances from a cell to a side of its box, in cells, that the network weighs."""
PROTOTYPES = 32


class Proposals(NamedTuple):
    """What the cells of all strides propose, A = H W / 64 + H W / 256 + H W / 1024."""

    boxes: Tensor
    """(B, A, 4) x_min, y_min, x_max, y_max in pixels, an integer is a pixel's corner."""
    scores: Tensor
    """(B, A), 0 to 1."""
    coefficients: Tensor
    """(B, A, 32)."""
    prototypes: Tensor
    """(B, 32, H/4, W/4)."""


class FastSamNetwork(nn.Module):
    """RGB in 0..1, of whole multiples of 32 px, to `Proposals`."""

    def __init__(self, *, width: float, depth: float, max_channels: int, size_px: int = 1024) -> None:
        """width, depth, max_channels: what tells the sizes of YOLOv8 apart. size_px: longest side of an image."""
        super().__init__()
        self.frame = LetterboxFrame(size_px=size_px)

        def wide(channels: int) -> int:
            return -(-int(min(channels, max_channels) * width) // 8) * 8

        def deep(blocks: int) -> int:
            return max(round(blocks * depth), 1)

        c2, c4, c8, c16, c32 = (wide(channels) for channels in (64, 128, 256, 512, 1024))
        self.model = nn.ModuleList(
            [
                Conv(3, c2, 3, stride=2),
                Conv(c2, c4, 3, stride=2),
                Bottlenecks(c4, c4, deep(3), shortcut=True),
                Conv(c4, c8, 3, stride=2),
                Bottlenecks(c8, c8, deep(6), shortcut=True),
                Conv(c8, c16, 3, stride=2),
                Bottlenecks(c16, c16, deep(6), shortcut=True),
                Conv(c16, c32, 3, stride=2),
                Bottlenecks(c32, c32, deep(3), shortcut=True),
                PooledPyramid(c32),
                nn.Identity(),  # enlarging and putting together have no parameters, but numbers
                nn.Identity(),
                Bottlenecks(c32 + c16, c16, deep(3)),
                nn.Identity(),
                nn.Identity(),
                Bottlenecks(c16 + c8, c8, deep(3)),
                Conv(c8, c8, 3, stride=2),
                nn.Identity(),
                Bottlenecks(c8 + c16, c16, deep(3)),
                Conv(c16, c16, 3, stride=2),
                nn.Identity(),
                Bottlenecks(c16 + c32, c32, deep(3)),
                Head((c8, c16, c32), wide(256)),
            ]
        )

    def forward(self, image: Tensor) -> Proposals:
        """(B, 3, H, W) -> one object for each cell."""
        m = self.model
        x8 = m[4](m[3](m[2](m[1](m[0](image)))))  # (B, C8, H/8, W/8)
        x16 = m[6](m[5](x8))  # (B, C16, H/16, W/16)
        x32 = m[9](m[8](m[7](x16)))  # (B, C32, H/32, W/32)
        up16 = m[12](torch.cat([_doubled(x32), x16], dim=1))
        y8 = m[15](torch.cat([_doubled(up16), x8], dim=1))
        y16 = m[18](torch.cat([m[16](y8), up16], dim=1))
        y32 = m[21](torch.cat([m[19](y16), x32], dim=1))
        return m[22](y8, y16, y32)  # type: ignore[no-any-return]


class Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        return F.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions, beside a shortcut if there is one."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels, 3), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class Bottlenecks(nn.Module):
    """Half of the channels goes through bottlenecks one after the other; everything on the way is kept."""

    def __init__(self, channels_in: int, channels_out: int, count: int, *, shortcut: bool = False) -> None:
        super().__init__()
        half = channels_out // 2
        self.cv1 = Conv(channels_in, 2 * half, 1)
        self.cv2 = Conv((2 + count) * half, channels_out, 1)
        self.m = nn.ModuleList(Bottleneck(half, shortcut=shortcut) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        kept = list(self.cv1(x).chunk(2, dim=1))
        for bottleneck in self.m:
            kept.append(bottleneck(kept[-1]))
        return self.cv2(torch.cat(kept, dim=1))  # type: ignore[no-any-return]


class PooledPyramid(nn.Module):
    """What lies around at three distances, by pooling three times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels // 2, 1), Conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        kept = [self.cv1(x)]
        for _ in range(3):
            kept.append(F.max_pool2d(kept[-1], 5, stride=1, padding=2))
        return self.cv2(torch.cat(kept, dim=1))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Boxes, scores and coefficients from all strides; prototypes from stride 8."""

    def __init__(self, channels: tuple[int, int, int], prototype_channels: int) -> None:
        super().__init__()
        first = channels[0]
        sides, shares = max(16, first // 4, 4 * BINS), max(first // 4, PROTOTYPES)
        self.cv2 = nn.ModuleList(_branch(c, sides, 4 * BINS) for c in channels)
        self.cv3 = nn.ModuleList(_branch(c, first, 1) for c in channels)
        self.dfl = nn.Sequential(OrderedDict[str, nn.Module](conv=nn.Conv2d(BINS, 1, 1, bias=False)))
        self.proto = Prototypes(first, prototype_channels)
        self.cv4 = nn.ModuleList(_branch(c, shares, PROTOTYPES) for c in channels)

    def forward(self, *maps: Tensor) -> Proposals:
        """(B, C_s, H/s, W/s) of strides 8, 16 and 32."""
        boxes = [self._boxes(cv(x), stride) for cv, x, stride in zip(self.cv2, maps, STRIDES, strict=True)]
        scores = [cv(x).flatten(1) for cv, x in zip(self.cv3, maps, strict=True)]
        coefficients = [cv(x).flatten(2).transpose(1, 2) for cv, x in zip(self.cv4, maps, strict=True)]
        return Proposals(
            boxes=torch.cat(boxes, dim=1),
            scores=torch.cat(scores, dim=1).sigmoid(),
            coefficients=torch.cat(coefficients, dim=1),
            prototypes=self.proto(maps[0]),
        )

    def _boxes(self, sides: Tensor, stride: int) -> Tensor:
        """(B, 64, h, w): BINS weights for left, top, right and bottom -> (B, h w, 4) boxes in pixels."""
        b, _, h, w = sides.shape
        weights = sides.view(b, 4, BINS, h * w).transpose(1, 2).softmax(dim=1)  # (B, BINS, 4, hw)
        left, top, right, bottom = self.dfl(weights)[:, 0].float().unbind(dim=1)  # (B, hw) in cells
        y, x = torch.meshgrid(
            torch.arange(h, device=sides.device) + 0.5, torch.arange(w, device=sides.device) + 0.5, indexing="ij"
        )
        x, y = x.flatten(), y.flatten()
        return stride * torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)


class Prototypes(nn.Module):
    """The maps that all masks are sums of."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels_in, channels, 3)
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.cv2 = Conv(channels, channels, 3)
        self.cv3 = Conv(channels, PROTOTYPES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H/8, W/8) -> (B, 32, H/4, W/4)."""
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))  # type: ignore[no-any-return]


def _branch(channels_in: int, channels: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(channels_in, channels, 3), Conv(channels, channels, 3), nn.Conv2d(channels, channels_out, 1)
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
