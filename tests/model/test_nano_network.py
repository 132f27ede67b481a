"""The network behind samgeo-nano against the contract, with random weights: training is not tested here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from samgeo.errors import ModelError
from samgeo.model import likeness
from samgeo.model.frame import NativeFrame
from samgeo.model.mask_decoder import MAPS
from samgeo.model.predict import Model, full_size
from samgeo.model.sam import with_corners
from samgeo.model.scoring import describe
from samgeo.pixels import PixelPrompts
from tests.contract_suite import ContractSuite
from tests.model.seeded import random_nano, red_square


@pytest.fixture(scope="module")
def model() -> Model:
    return random_nano()


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return red_square()


class TestNano(ContractSuite):
    tolerance = 2e-3
    differing_px = 2


def test_drawing_later_is_drawing_at_once(model: Model, image: NDArray[np.uint8]) -> None:
    """The masks that `decode` draws on demand are those of the decoder's own forward pass."""
    embedding = model.encode(image)
    prompts = PixelPrompts(points=np.array([[[40, 45]], [[3, 4]]], np.float32), labels=np.ones((2, 1), np.int64))
    assert prompts.points is not None
    assert prompts.labels is not None
    features, scorer = embedding.features, model.sam.mask_scorer
    assert features.units is not None
    assert scorer is not None
    with torch.inference_mode():
        clicks, kinds = with_corners(torch.from_numpy(prompts.points), torch.from_numpy(prompts.labels), None)
        logits, iou, tokens = model.sam.decode(features, clicks, kinds)
        scores = scorer(describe(logits, iou.clip(0, 1), features.units, clicks, kinds), tokens)
    several, one = model.decode(embedding, prompts), model.decode(embedding, prompts, multimask=False)
    np.testing.assert_allclose(several.logits, logits[:, 1:].numpy(), atol=1e-4)
    np.testing.assert_allclose(one.logits, logits[:, :1].numpy(), atol=1e-4)
    np.testing.assert_allclose(several.scores, scores[:, 1:].numpy(), atol=1e-5)


def test_a_mask_can_be_a_product_with_what_was_asked(model: Model, image: NDArray[np.uint8]) -> None:
    """What is outside of the box, the clicks and the earlier mask, where they are; without one it is 0 throughout."""
    features = model.encode(image).features
    height, width = features.logits_size
    earlier = torch.linspace(-20, 20, height * width).reshape(1, 1, height, width)
    points, kinds = torch.tensor([[[41.5, 45.5], [5.5, 1.5]]]), torch.tensor([[1, 0]])
    box, corners = torch.tensor([[[15.5, 15.5], [47.5, 63.5]]]), torch.tensor([[2, 3]])
    with torch.inference_mode():
        clicked = model.sam.embed_prompts(features, points, kinds, earlier).maps
        boxed = model.sam.embed_prompts(features, box, corners).maps
    assert clicked is not None
    assert boxed is not None
    assert clicked.shape == boxed.shape == (1, MAPS, height, width)
    first, last = len(likeness.MAPS), MAPS - len(likeness.REACHED)
    outside, positive, _, negative, _, before = clicked[0, first:last]
    assert not outside.any()
    assert divmod(int(positive.argmax()), width) == (11, 10)
    assert divmod(int(negative.argmax()), width) == (0, 1)
    np.testing.assert_allclose(before, earlier[0, 0].clamp(-8, 8) / 8)
    assert boxed[0, first].numpy()[5:15, 5:11].max() < 0.01
    assert boxed[0, first].numpy()[17:].min() > 0.99
    assert not boxed[0, first + 1 : last].any()


def test_position_of_the_crop_in_the_frame_changes_little(model: Model, image: NDArray[np.uint8]) -> None:
    """Training places crops anywhere in the frame; an origin of zero is the same as none."""
    embedding = model.encode(image)
    clicks, kinds = with_corners(torch.tensor([[[40.0, 45.0]]]), torch.ones(1, 1, dtype=torch.long), None)
    with torch.inference_mode():
        without, _, _ = model.sam.decode(embedding.features, clicks, kinds)
        zero, _, _ = model.sam.decode(embedding.features, clicks, kinds, origin_px=torch.zeros(1, 2))
    np.testing.assert_allclose(without.numpy(), zero.numpy(), atol=1e-5)


def test_a_mask_is_upsampled_as_part_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(-6, 1, (24, 20)).astype(np.float32)
    logits[8:14, 5:12] += 9
    whole = interpolate(torch.from_numpy(logits)[None, None], scale_factor=4.0, mode="bilinear")[0, 0].numpy()
    mask = full_size(NativeFrame(block_px=32), logits, 0.5, (93, 77))
    assert np.array_equal(mask.to_array(93, 77), whole[:93, :77] > 0)
    assert mask.stability == pytest.approx((whole[:93, :77] > 1).sum() / (whole[:93, :77] > -1).sum())


def test_precision_is_checked() -> None:
    from samgeo.model.weights import load_model

    with pytest.raises(ModelError, match="expected auto or exact"):
        load_model("samgeo-nano", precision="half")
