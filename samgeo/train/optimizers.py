"""What moves the weights: AdamW, or Muon for matrices beside it.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") makes the step of a matrix
orthogonal, so that rare directions of its gradient count as much as common ones. Steps are as long as AdamW's (Liu et
al. 2025, "Muon is scalable for LLM training"), and so need no other learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, overload

import torch
from torch import nn

Optimizer = Literal["adamw", "muon"]
FEWEST_ROWS = 16
"""Matrices with fewer rows or columns, such as single tokens, are left to AdamW."""


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


class Muon(torch.optim.Muon):
    """PyTorch's Muon, for convolutions too: output channels by all that each of them weighs."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, learning_rate: float, weight_decay: float) -> None:
        self._own = list(parameters)
        matrices = [nn.Parameter(p.detach().flatten(1).clone()) for p in self._own]
        super().__init__(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of all parameters that have gradients."""
        pairs = list(zip(self._own, self.param_groups[0]["params"], strict=True))
        for parameter, matrix in pairs:
            matrix.copy_(parameter.flatten(1))
            matrix.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        loss = super().step(closure)  # type: ignore[no-untyped-call]
        for parameter, matrix in pairs:
            parameter.copy_(matrix.view(parameter.shape))
        return loss  # type: ignore[no-any-return]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the parameters."""
        super().zero_grad(set_to_none)
        for parameter in self._own:
            parameter.grad = None
