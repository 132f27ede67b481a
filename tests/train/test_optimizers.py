"""Optimizers: all parameters move, and the step of a matrix is as its definition says, however it lies in memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from samgeo.model.nano_network import build_nano
from samgeo.train.optimizers import ADAMW_RMS, FEWEST_ROWS, Muon, make_optimizers, orthogonal

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
    values = torch.linalg.svdvals(step) / (RATE * ADAMW_RMS * math.sqrt(max(step.shape)))
    assert values.min() > 0.5
    assert values.max() < 1.4
    assert float((step * grad.reshape(step.shape)).sum()) < 0, "downhill"


@pytest.mark.parametrize("shape", [(32, 48), (64, 24), (16, 200)])
def test_a_matrix_goes_where_pytorchs_muon_takes_it(shape: tuple[int, int]) -> None:
    """Which multiplies in 16 bit: to a twentieth of a step, through several of them."""
    torch.manual_seed(1)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first = Muon([ours], learning_rate=RATE, weight_decay=0.1)
    second = torch.optim.Muon([theirs], lr=RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        first.step()
        second.step()
    moved, apart = (ours - start).detach(), (ours - theirs).detach()
    assert float(apart.square().mean() / moved.square().mean()) < 0.05**2


def test_the_iteration_keeps_its_accuracy_on_a_matrix_whose_directions_differ_much() -> None:
    torch.manual_seed(2)
    left, right = torch.linalg.qr(torch.randn(48, 48))[0], torch.linalg.qr(torch.randn(200, 48))[0]
    values = torch.logspace(-5, 0, 48)
    a, b, c = 3.4445, -4.7750, 2.0315
    expected = (values / values.norm()).double()
    for _ in range(5):
        expected = a * expected + b * expected**3 + c * expected**5
    found = left.T @ orthogonal((left * values) @ right.T) @ right
    assert torch.allclose(found, torch.diag(expected).float(), atol=5e-3)


def test_tokens_are_left_to_adamw() -> None:
    tokens, matrix = nn.Parameter(torch.zeros(4, 128)), nn.Parameter(torch.zeros(FEWEST_ROWS, 128))
    first, second = make_optimizers([tokens, matrix], "muon", learning_rate=RATE, weight_decay=0)
    assert [p.shape for p in first.param_groups[0]["params"]] == [matrix.shape]
    assert second.param_groups[0]["params"] == [tokens]
    (alone,) = make_optimizers([tokens], "muon", learning_rate=RATE, weight_decay=0)
    assert isinstance(alone, torch.optim.AdamW)
