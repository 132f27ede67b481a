"""EdgeTAM's spatial perceiver (Zhou et al. 2025): a memory of 4096 cells becomes one of 512 tokens.

Some latent tokens attend to the whole memory; others, laid out as a map, each to a window of its own, so that they keep
their places. Both go through the same layers.

    memory (B, 64, 64, 64) -> 256 tokens of the whole and 16 x 16 of windows, (B, 512, 64)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.positions import sine_map
from samgeo.model.windows import to_windows


class PerceiverResampler(nn.Module):
    """A map of memory to a fixed number of tokens."""

    def __init__(self, dim: int, *, num_latents: int, num_latents_2d: int, depth: int = 2) -> None:
        """num_latents: tokens of the whole. num_latents_2d: tokens of windows, a square number."""
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(num_latents, dim))
        self.latents_2d = nn.Parameter(torch.zeros(num_latents_2d, dim))
        self.layers = nn.ModuleList(PerceiverEncoderLayer(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    @property
    def side(self) -> int:
        """Rows, and columns, of the windows."""
        return math.isqrt(len(self.latents_2d))

    def forward(self, memory: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, T + T2, C): tokens of the whole, then those of windows row by row."""
        b, c, h, w = memory.shape
        places = sine_map(h, w, c, device=memory.device).flatten(1).T  # (hw, C)
        cells = memory.permute(0, 2, 3, 1)  # (B, h, w, C)
        whole = self._attend(self.latents.expand(b, -1, -1), cells.flatten(1, 2), places)
        windows = to_windows(cells, h // self.side).flatten(1, 2)  # (B T2, cells, C)
        own = self._attend(self.latents_2d.repeat(b, 1)[:, None], windows, None)  # (B T2, 1, C)
        return torch.cat([whole, own.reshape(b, -1, c)], dim=1)

    def _attend(self, latents: Tensor, cells: Tensor, places: Tensor | None) -> Tensor:
        """Latents (N, T, C) that know of cells (N, M, C)."""
        for layer in self.layers:
            latents = layer(latents, cells, places)
        return self.norm(latents)  # type: ignore[no-any-return]


class PerceiverEncoderLayer(nn.Module):
    """Latents attend to cells, then to each other; an MLP after either."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = PerceiverAttention(dim)
        self.ff = feed_forward(dim)
        self.self_attn = SelfAttention(dim)
        self.self_ff = feed_forward(dim)

    def forward(self, latents: Tensor, cells: Tensor, places: Tensor | None) -> Tensor:
        """Latents (N, T, C), cells (N, M, C), places (M, C) -> latents (N, T, C)."""
        latents = latents + self.attn(latents, cells, places)
        latents = latents + self.ff(latents)
        latents = latents + self.self_attn(latents)
        return latents + self.self_ff(latents)  # type: ignore[no-any-return]


class LatentAttention(nn.Module):
    """Attention with one head and without biases; norms are those of the classes below."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def attend(self, latents: Tensor, cells: Tensor, places: Tensor | None = None) -> Tensor:
        """Latents (N, T, C), cells (N, M, C) -> (N, T, C). places: (M, C), added to keys and to values."""
        k, v = self.to_kv(cells).chunk(2, dim=-1)  # (N, M, C)
        if places is not None:
            k, v = k + places, v + places
        return self.to_out(F.scaled_dot_product_attention(self.to_q(latents), k, v))  # type: ignore[no-any-return]


class PerceiverAttention(LatentAttention):
    """Latents to cells."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.norm_x = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)

    def forward(self, latents: Tensor, cells: Tensor, places: Tensor | None) -> Tensor:
        """As `attend`, normalised."""
        return self.attend(self.norm_latents(latents), self.norm_x(cells), places)


class SelfAttention(LatentAttention):
    """Latents to latents."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, latents: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, C)."""
        normed = self.norm(latents)
        return self.attend(normed, normed)


def feed_forward(dim: int) -> nn.Sequential:
    """An MLP of four times the width, normalised before."""
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, 4 * dim, bias=False), nn.GELU(), nn.Linear(4 * dim, dim, bias=False)
    )
