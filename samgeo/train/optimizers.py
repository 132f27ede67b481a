"""What moves the weights: AdamW, or Muon for matrices beside it.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") makes the step of a matrix
orthogonal, so that rare directions of its gradient count as much as common ones. Steps are as long as AdamW's (Liu et
al. 2025, "Muon is scalable for LLM training"), and so need no other learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn

Optimizer = Literal["adamw", "muon"]
FEWEST_ROWS = 16
"""Matrices with fewer rows or columns, such as single tokens, are left to AdamW."""
MOMENTUM = 0.95
"""Share of the past in Muon's moving mean of gradients."""
ADAMW_RMS = 0.2
"""Root of the mean square of a step of AdamW, as a share of the learning rate; Muon's steps are brought to it."""


def make_optimizers(
    parameters: Sequence[nn.Parameter], name: Optimizer, *, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """One or two optimizers for all parameters. weight_decay: of matrices and convolutions."""
    adamw = {"lr": learning_rate, "fused": True}
    if name == "adamw":
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, **adamw)]  # type: ignore[arg-type]
    wide = [p for p in parameters if p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= FEWEST_ROWS]
    known = set(map(id, wide))
    others = [p for p in parameters if id(p) not in known]
    optimizers: list[torch.optim.Optimizer] = []
    if wide:
        optimizers.append(Muon(wide, learning_rate=learning_rate, weight_decay=weight_decay))
    if others:
        optimizers.append(torch.optim.AdamW(others, weight_decay=0.0, **adamw))  # type: ignore[arg-type]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolutions: output channels by all that each of them weighs.

    `torch.optim.Muon` takes matrices only, and multiplies in 16-bit numbers even on processors without instructions for
    them, which takes them a hundred times as long.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, learning_rate: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of all parameters that have gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    if "mean" not in state:
                        state["mean"] = torch.zeros_like(parameter.grad)
                    mean = state["mean"]
                    mean.lerp_(parameter.grad, 1 - MOMENTUM)
                    downhill = orthogonal(parameter.grad.lerp(mean, MOMENTUM).flatten(1))  # Nesterov's
                    length = ADAMW_RMS * math.sqrt(max(downhill.shape))
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(downhill.view(parameter.shape), alpha=group["lr"] * length)
        return loss


def orthogonal(matrix: Tensor) -> Tensor:
    """(m, n) with the same singular vectors and all singular values near 1, by Newton and Schulz's iteration.

    Each of five steps makes of X what lies nearer, (a + b G + c G^2) X with G = X X^T. As these polynomials of G
    commute, they are multiplied alone, and the far larger X once in the end.
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # quick rather than exact: values end between .7 and 1.2 (Jordan et al. 2024)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    scaled = wide / wide.norm().clamp(min=1e-7)
    gram = scaled @ scaled.T
    product = torch.eye(*gram.shape, dtype=gram.dtype, device=gram.device)
    for _ in range(5):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product, gram = polynomial @ product, polynomial @ gram @ polynomial
    near: Tensor = product @ scaled
    return near if matrix.shape[0] <= matrix.shape[1] else near.T
