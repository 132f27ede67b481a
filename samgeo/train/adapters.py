"""Low-rank adapters (Hu et al. 2022): a weight learns a change of few numbers, which is added to it in the end.

W' = W + scale * B A, with A (rank, in) and B (out, rank); B starts at zero, so that nothing changes at first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK = 8
"""Of what is added to a weight."""
SCALE = 2.0
"""How much what was learned counts."""
ATTENTION = ("qkv", "proj")
"""The last part of the names of layers that get adapters: those of attention, in every encoder."""


class LowRank(nn.Module):
    """What is added to the weight of a linear layer."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1], device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)."""
        return weight + SCALE * self.up @ self.down


def add_adapters(encoder: nn.Module, *, rank: int = RANK) -> int:
    """Give the linear layers of an image encoder's attention adapters; returns how many. All else of it is frozen."""
    encoder.requires_grad_(requires_grad=False)
    layers = [layer for name, layer in encoder.named_modules() if _is_attention(name, layer)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    return len(layers)


def merge_adapters(encoder: nn.Module) -> None:
    """Add to each weight what its adapter learned; names and shapes are as they were without."""
    for layer in list(encoder.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _is_attention(name: str, layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and name.rpartition(".")[2] in ATTENTION
