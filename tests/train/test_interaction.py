"""Simulated users click where something is wrong, and losses are lowest where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from samgeo.train.interaction import STRIDE_PX, first_clicks, next_clicks, noisy_boxes
from samgeo.train.losses import iou_loss, mask_iou, mask_loss


def masks(seed: int, count: int = 6, side: int = 64) -> torch.Tensor:
    """(N, S, S) bool: one rectangle each."""
    rng = np.random.default_rng(seed)
    stack = np.zeros((count, side, side), dtype=bool)
    for mask in stack:
        row, col = rng.integers(0, side - 12, 2)
        mask[row : row + rng.integers(8, 30), col : col + rng.integers(8, 30)] = True
    return torch.from_numpy(stack)


def at(masks: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """What the masks hold under the points (N, 1, 2): the cell of the decoder's grid that a point lies in."""
    cells = avg_pool2d(masks[:, None].float(), STRIDE_PX)[:, 0]
    col, row = ((points[:, 0] + 0.5) / STRIDE_PX).long().clamp(0, cells.shape[-1] - 1).unbind(dim=-1)
    return cells[torch.arange(len(masks)), row, col]


@given(st.integers(0, 10_000))
def test_first_clicks_are_on_the_object(seed: int) -> None:
    truth = masks(seed)
    clicks = first_clicks(avg_pool2d(truth[:, None].float(), STRIDE_PX), generator=torch.Generator().manual_seed(seed))
    assert clicks.shape == (6, 1, 2)
    assert (at(truth, clicks) > 0).all()


@given(st.integers(0, 10_000))
def test_next_clicks_are_where_the_mask_is_wrong(seed: int) -> None:
    truth, guess = masks(seed), masks(seed + 1)
    target = avg_pool2d(truth[:, None].float(), STRIDE_PX)
    logits = avg_pool2d(guess[:, None].float(), STRIDE_PX) - 0.5
    points, labels = next_clicks(logits, target, generator=torch.Generator().manual_seed(seed))
    on_object = at(truth, points) > 0.5
    on_guess = at(guess, points) > 0.5
    assert torch.equal(labels[:, 0].bool(), on_object)
    perfect = ((target > 0.5) == (logits > 0)).flatten(1).all(dim=1)
    assert ((on_object != on_guess) | perfect).all()


def test_half_of_the_clicks_aim_at_the_middle() -> None:
    target = torch.zeros(400, 1, 32, 32)
    target[..., 4:25, 4:25] = 1  # cells; the middle one is 14
    clicks = first_clicks(target, generator=torch.Generator().manual_seed(0))[:, 0]
    near = ((clicks + 0.5) / STRIDE_PX - 14.5).abs().amax(dim=1) < 4.5
    assert 0.45 < near.float().mean() < 0.65  # were none aimed, (9 / 21) ** 2 = 0.18; were all, 0.91


def test_a_click_on_a_perfect_mask_confirms_it() -> None:
    target = avg_pool2d(masks(0)[:, None].float(), STRIDE_PX)
    _, labels = next_clicks(20 * (target - 0.5), target, generator=torch.Generator().manual_seed(0))
    assert (labels == 1).all()


def test_boxes_without_noise_are_the_bounding_boxes() -> None:
    truth = masks(3)
    boxes = noisy_boxes(truth, noise=0.0, generator=torch.Generator().manual_seed(0))
    for mask, box in zip(truth, boxes, strict=True):
        rows, cols = np.nonzero(mask.numpy())
        assert box.tolist() == [cols.min() - 0.5, rows.min() - 0.5, cols.max() + 0.5, rows.max() + 0.5]


@given(st.integers(0, 10_000), st.floats(0, 0.3))
def test_noise_moves_sides_by_at_most_20_px_and_keeps_boxes_open(seed: int, noise: float) -> None:
    truth = masks(seed)
    exact = noisy_boxes(truth, noise=0.0, generator=torch.Generator().manual_seed(seed))
    boxes = noisy_boxes(truth, noise=noise, generator=torch.Generator().manual_seed(seed))
    assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
    assert ((boxes - exact)[:, 2:].abs() <= 20).all()


def test_losses_fall_towards_the_truth() -> None:
    target = avg_pool2d(masks(5)[:, None].float(), STRIDE_PX)
    steps = [mask_loss((target - 0.5) * scale, target).mean().item() for scale in (-8.0, 0.0, 8.0, 24.0)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 0.25  # cells that an edge crosses cannot be told for sure


def test_iou_of_a_half() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    logits = torch.full((1, 2, 8, 8), -1.0)
    logits[0, 0, :, :2] = 1
    logits[0, 1, :, :4] = 1
    assert mask_iou(logits, target).tolist() == [[0.5, 1.0]]
    assert iou_loss(torch.tensor([[0.5, 1.0]]), logits, target).tolist() == [[pytest.approx(0), pytest.approx(0)]]
