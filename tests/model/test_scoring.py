"""What the scorer is told of a mask, on an image of two kinds of pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from samgeo.model.scoring import FACTS, MaskScorer, describe

(
    PREDICTED,
    SURE,
    SOFT_IOU,
    STABLE,
    AREA,
    INSIDE,
    AROUND,
    CONTRAST,
    OUTLINE,
    FRAME,
    CLICKED,
    IN_BOX,
    BOX_COVERED,
    SIZE,
) = range(FACTS)


@pytest.fixture
def units() -> Tensor:
    """(1, 2, 32, 32): a square of cells (8..19, 8..19) with one vector, the rest with another."""
    units = torch.zeros(1, 2, 32, 32)
    units[0, 0], units[0, 0, 8:20, 8:20], units[0, 1, 8:20, 8:20] = 1, 0, 1
    return units


def facts(units: Tensor, *masks: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """(M, FACTS) of masks (h, w) bool, drawn without doubt."""
    logits = 20 * (torch.stack(masks).float() * 2 - 1)[None]
    return describe(logits, torch.full((1, len(masks)), 0.5), units, points, labels)[0]


def test_a_good_mask_looks_alike_inside_and_unlike_around(units: Tensor) -> None:
    true = units[0, 1] == 1
    large, shifted = torch.zeros(32, 32, dtype=torch.bool), true.roll(6, dims=1)
    large[4:28, 4:28] = True
    click = torch.tensor([[[56.0, 56.0]]])
    good, wide, wrong = facts(units, true, large, shifted, points=click, labels=torch.tensor([[1]]))
    assert good[INSIDE] > max(wide[INSIDE], wrong[INSIDE])
    assert good[AROUND] < min(wide[AROUND], wrong[AROUND])
    assert good[CONTRAST] < min(wide[CONTRAST], wrong[CONTRAST])
    assert good[[SURE, SOFT_IOU, STABLE, CLICKED]].min() > 0.99
    assert good[PREDICTED] == 0.5
    assert good[OUTLINE] == pytest.approx(44 / (8 * 12))
    assert not good[[FRAME, IN_BOX, BOX_COVERED]].any()


def test_a_mask_may_miss_its_click_and_touch_the_frame(units: Tensor) -> None:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[:, :4] = True
    (found,) = facts(units, mask, points=torch.tensor([[[56.0, 56.0]]]), labels=torch.tensor([[1]]))
    assert found[CLICKED] < 0.01
    assert found[FRAME] == pytest.approx((32 + 2 * 4) / (4 * 128**0.5))


def test_the_size_at_which_an_image_was_seen_is_all_that_it_changes(units: Tensor) -> None:
    logits, predicted = units[:, 1:] * 8 - 4, torch.full((1, 1), 0.5)
    click = (torch.tensor([[[56.0, 56.0]]]), torch.tensor([[1]]))
    plain, enlarged = (describe(logits, predicted, units, *click, zoom=zoom)[0, 0] for zoom in (1, 2))
    assert plain[SIZE] == 0
    assert enlarged[SIZE] == 1
    assert torch.equal(plain[:SIZE], enlarged[:SIZE])


def test_a_box_is_compared_with_the_mask(units: Tensor) -> None:
    true = units[0, 1] == 1
    corners = torch.tensor([[[31.5, 31.5], [79.5, 127.5]]])  # as wide as the square, and twice as high
    (found,) = facts(units, true, points=corners, labels=torch.tensor([[2, 3]]))
    assert found[IN_BOX] > 0.8
    assert found[BOX_COVERED] == pytest.approx(0.5, abs=0.1)
    assert found[CLICKED] == 0


def test_an_empty_mask_has_facts_too(units: Tensor) -> None:
    empty = torch.zeros(32, 32, dtype=torch.bool)
    (found,) = facts(units, empty, points=torch.zeros(1, 0, 2), labels=torch.zeros(1, 0, dtype=torch.long))
    assert torch.isfinite(found).all()
    scores = MaskScorer(token_dim=4)(found[None, None], torch.zeros(1, 1, 4))
    assert scores.shape == (1, 1)
    assert 0 < float(scores.detach()) < 1
