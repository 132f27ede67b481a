"""Optimizers: all parameters move, and the step of a matrix is as its definition says, however it lies in memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from samgeo.model.nano_network import build_nano
from samgeo.train.optimizers import FEWEST_ROWS, Muon, make_optimizers

RATE = 0.01


def test_every_parameter_is_moved_by_one_optimizer() -> None:
    parameters = list(build_nano().parameters())
    before = [p.detach().clone() for p in parameters]
    optimizers = make_optimizers(parameters, "muon", learning_rate=RATE, weight_decay=0.05)
    assert [type(o) for o in optimizers] == [Muon, torch.optim.AdamW]
    count = sum(p.numel() for o in optimizers for group in o.param_groups for p in group["params"])
    assert count == sum(p.numel() for p in parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    assert not any(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    assert all(p.grad is None for p in parameters)


@pytest.mark.parametrize("shape", [(32, 48), (64, 24), (24, 16, 3, 3), (48, 96, 1, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_step_of_a_matrix_is_orthogonal(shape: tuple[int, ...], memory_format: torch.memory_format) -> None:
    """Rare directions count as much as common ones: all singular values of the step lie near each other."""
    torch.manual_seed(0)
    start, grad = (
        torch.randn(shape),
        torch.randn(shape) * torch.logspace(-2, 0, shape[1]).view(-1, *[1] * (len(shape) - 2)),
    )
    if len(shape) == 2:
        memory_format = torch.contiguous_format
    parameter = nn.Parameter(start.clone().contiguous(memory_format=memory_format))
    parameter.grad = grad.clone()
    Muon([parameter], learning_rate=RATE, weight_decay=0).step()
    step = (parameter.detach() - start).reshape(shape[0], -1)
    values = torch.linalg.svdvals(step) / (RATE * 0.2 * math.sqrt(max(step.shape)))
    assert values.min() > 0.5
    assert values.max() < 1.4
    assert float((step * grad.reshape(step.shape)).sum()) < 0, "downhill"


def test_tokens_are_left_to_adamw() -> None:
    tokens, matrix = nn.Parameter(torch.zeros(4, 128)), nn.Parameter(torch.zeros(FEWEST_ROWS, 128))
    first, second = make_optimizers([tokens, matrix], "muon", learning_rate=RATE, weight_decay=0)
    assert [p.shape for p in first.param_groups[0]["params"]] == [matrix.shape]
    assert second.param_groups[0]["params"] == [tokens]
    (alone,) = make_optimizers([tokens], "muon", learning_rate=RATE, weight_decay=0)
    assert isinstance(alone, torch.optim.AdamW)
