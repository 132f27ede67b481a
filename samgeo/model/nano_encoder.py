"""The image encoder of samgeo-nano: dense 3x3 convolutions, with windowed attention at strides 16 and 32.

Dense convolutions run near the peak of a CPU's matrix units where depthwise ones do not; attention stays inside
windows of 8 x 8 cells, so that what was learned on small crops holds on tiles of any size. As in SAM 2, the embedding
has stride 16 and features of strides 8 and 4 go to the mask decoder (Ravi et al. 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 8
PIXEL_MEAN, PIXEL_STD = (0.45, 0.45, 0.42), (0.23, 0.22, 0.22)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.conv2(F.silu(self.norm(self.conv1(x))))  # type: ignore[no-any-return]


class Down(nn.Module):
    """Halve the resolution and change the width."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / 2, W / 2)."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class WindowBlock(nn.Module):
    """Attention inside windows of 8 x 8 cells, then an MLP; `shift` moves the windows by half their side."""

    def __init__(self, channels: int, *, num_heads: int, shift: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.shift = WINDOW // 2 if shift else 0
        self.position = nn.Parameter(torch.randn(WINDOW * WINDOW, channels) * 0.02)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.lin1 = nn.Linear(channels, 3 * channels)
        self.lin2 = nn.Linear(3 * channels, channels)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.lin2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C)
        x = x + self._attend(self.norm1(x))
        x = x + self.lin2(F.silu(self.lin1(self.norm2(x))))
        return x.permute(0, 3, 1, 2)  # (N, C, H, W)

    def _attend(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        s = self.shift
        x = F.pad(x, (0, 0, s, -(w + s) % WINDOW, s, -(h + s) % WINDOW))  # windows that start before the image
        rows, cols = x.shape[1] // WINDOW, x.shape[2] // WINDOW
        x = x.view(n, rows, WINDOW, cols, WINDOW, c).transpose(2, 3).reshape(-1, WINDOW * WINDOW, c)  # (nW, 64, C)
        q, k, v = self.qkv(x + self.position.to(x.dtype)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (nW, 64, C)
        x = self.proj(x).view(n, rows, cols, WINDOW, WINDOW, c).transpose(2, 3)
        return x.reshape(n, rows * WINDOW, cols * WINDOW, c)[:, s : s + h, s : s + w]  # (N, H, W, C)


class NanoEncoder(nn.Module):
    """RGB to an embedding of stride 16, `out_channels` wide, and features of strides 8 and 4, `fine_channels` wide."""

    def __init__(
        self,
        *,
        widths: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        out_channels: int,
        fine_channels: int,
    ) -> None:
        super().__init__()
        w4, w8, w16, w32 = widths
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, w4 // 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(w4 // 2),
            nn.SiLU(),
            Down(w4 // 2, w4),
        )
        self.stage4 = nn.Sequential(*[ConvBlock(w4) for _ in range(depths[0])])
        self.stage8 = nn.Sequential(Down(w4, w8), *[ConvBlock(w8) for _ in range(depths[1])])
        self.stage16 = nn.Sequential(Down(w8, w16), *_mixed(w16, depths[2]))
        self.stage32 = nn.Sequential(Down(w16, w32), *_mixed(w32, depths[3]))
        coarse, fine = out_channels, fine_channels
        self.lateral = nn.ModuleList(
            nn.Conv2d(w, c, 1) for w, c in zip(widths, (fine, fine, coarse, coarse), strict=True)
        )
        self.smooth = nn.ModuleList(ConvBlock(c) for c in (coarse, fine, fine))
        self.narrow = nn.Conv2d(coarse, fine, 1)
        # Without these the features of stride 4 outgrow what prompts add to them in the mask decoder, and its last
        # activation dies.
        self.norm = nn.ModuleList(nn.BatchNorm2d(c) for c in (fine, fine, coarse))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) RGB in 0..1, H and W multiples of 32 -> strides 16, 8 and 4: (N, C or C', H / s, W / s)."""
        mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in (PIXEL_MEAN, PIXEL_STD))
        x = ((image - mean) / std).contiguous(memory_format=torch.channels_last)
        x4 = self.stage4(self.stem(x))  # (N, w4, H/4, W/4)
        x8 = self.stage8(x4)  # (N, w8, H/8, W/8)
        x16 = self.stage16(x8)  # (N, w16, H/16, W/16)
        x32 = self.stage32(x16)  # (N, w32, H/32, W/32)
        y16 = self.smooth[0](self.lateral[2](x16) + _up(self.lateral[3](x32)))  # (N, C, H/16, W/16)
        y8 = self.smooth[1](self.lateral[1](x8) + _up(self.narrow(y16)))  # (N, C', H/8, W/8)
        y4 = self.smooth[2](self.lateral[0](x4) + _up(y8))  # (N, C', H/4, W/4)
        return self.norm[2](y16), self.norm[1](y8), self.norm[0](y4)


def _mixed(channels: int, depth: int) -> list[nn.Module]:
    """Convolutions, each but the first followed by attention; the windows of every second one are shifted."""
    blocks: list[nn.Module] = [ConvBlock(channels)]
    for i in range(depth):
        blocks.append(WindowBlock(channels, num_heads=channels // 32, shift=i % 2 == 1))
        blocks.append(ConvBlock(channels))
    return blocks


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
