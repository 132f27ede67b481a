"""Layers that the parts of a network share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of an (N, C, H, W) tensor."""

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel; (N, C, H, W) -> (N, C, H, W)."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)  # (N, H, W, C)
        return x.permute(0, 3, 1, 2)  # (N, C, H, W)


class ConvBN(nn.Sequential):
    """A convolution without bias, then batch normalisation: (B, C, H, W) -> (B, C', H', W')."""

    def __init__(self, dim: int, dim_out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(dim, dim_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict[str, nn.Module](c=conv, bn=nn.BatchNorm2d(dim_out)))


class MLP(nn.Module):
    """Linear layers with an activation between them: the heads of SAM's mask decoder."""

    def __init__(
        self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int, *, activation: Activation = F.relu
    ) -> None:
        super().__init__()
        self.activation = activation
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., input_dim) -> (..., output_dim)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


class MLPBlock(nn.Module):
    """The feed-forward part of a transformer block."""

    def __init__(self, embedding_dim: int, mlp_dim: int, *, activation: Activation = F.relu) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.lin2(self.activation(self.lin1(x)))  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """One strided convolution: patches of the image to tokens."""

    def __init__(self, embed_dim: int, *, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel, stride=stride, padding=padding)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / stride, W / stride, C)."""
        return self.proj(image).permute(0, 2, 3, 1)  # type: ignore[no-any-return]
