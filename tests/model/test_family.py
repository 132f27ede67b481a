"""Members of the family against the one contract and through the pipeline, small and with seeded weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from samgeo.errors import SamgeoWarning, WeightsError
from samgeo.model.build import assemble, official_names
from samgeo.model.efficient_sam import box_of
from samgeo.model.frame import LongestSideFrame, SquareFrame
from samgeo.model.predict import Model
from samgeo.model.sam2 import stable_or_best
from samgeo.pixels import PixelPrompts
from tests.contract_suite import ContractSuite
from tests.model.seeded import TINY, picture, seeded_model


@pytest.fixture(scope="module", params=TINY)
def model(request) -> Model:
    return seeded_model(TINY[request.param])


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return picture(96, 80)


class TestFamily(ContractSuite):
    tolerance = 2e-4
    differing_px = 2


def test_sam_resizes_as_pillow_does_and_pads_after_normalising() -> None:
    image = picture(60, 100)
    framed = LongestSideFrame(size_px=64).prepare(image)[0].permute(1, 2, 0).numpy()
    resized = np.asarray(Image.fromarray(image).resize((64, 38), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_allclose(framed[:38], (resized - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375), atol=1e-5)
    assert not framed[38:].any()


def test_sam2_squeezes_into_a_square_without_rounding() -> None:
    image = np.repeat(np.repeat(picture(16, 8), 4, axis=0), 4, axis=1)
    framed = SquareFrame(size_px=32).prepare(image)
    assert framed.shape == (1, 3, 32, 32)
    shrunk = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(), (32, 32), mode="bilinear", antialias=True
    )
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(framed, (shrunk / 255 - mean) / std, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frame", [LongestSideFrame(size_px=64), SquareFrame(size_px=64)], ids=["sam", "sam2"])
@pytest.mark.parametrize("shape", [(64, 64), (64, 40), (30, 50), (130, 64), (1, 90)])
def test_places_in_the_frame_are_those_of_the_image(frame, shape: tuple[int, int]) -> None:
    """A ramp of logits in the frame comes out as a ramp over the image, corner to corner."""
    corner = np.array([shape[::-1]], np.float32)
    inner = frame.to_frame(corner, shape)[0]
    assert inner.max() == 64
    ramp = (torch.arange(16) + 0.5).expand(16, 16) * 4  # x in the frame, at the centre of each cell
    values, row, col = frame.to_image(ramp, shape)
    assert (row, col) == (0, 0)
    assert tuple(values.shape) == shape
    wanted = (np.arange(shape[1]) + 0.5) * inner[0] / shape[1]
    np.testing.assert_allclose(values[0], wanted.clip(2, 62), atol=1.1)


def test_a_mask_prompt_takes_back_at_most_what_sam2_was_trained_with() -> None:
    model = seeded_model(TINY["tiny-sam2"])
    for mlp in model.sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.mul_(100)
    image = picture(64, 64)
    prompts = PixelPrompts(points=np.array([[[20, 30]]], np.float32), labels=np.array([[1]]))
    decoded = model.decode(model.encode(image), prompts)
    assert np.abs(decoded.logits).max() == 32
    assert all(0 < mask.area_px < 64 * 64 for mask in decoded.to_masks()[0])


def test_an_unstable_mask_gives_way_to_the_best_of_the_others() -> None:
    logits = np.zeros((3, 4, 10, 10), np.float32)
    logits[0, 0, :7, :7] = 1  # 49 cells are sure, one more is not: just stable
    logits[0, 0] -= 0.5
    logits[0, 0, 9, 9] = 0
    logits[1, 0] = logits[0, 0]
    logits[1, 0, 9, 8] = 0  # 49 of 51
    logits[2, 0] = -3  # nothing at all is stable
    iou = np.array([[0.1, 0.9, 0.2, 0.3], [0.9, 0.2, 0.5, 0.3], [0.1, 0.9, 0.2, 0.3]], np.float32)
    assert np.flatnonzero(stable_or_best(logits, iou)).tolist() == [0, 4 + 2, 8]


def test_a_box_comes_before_clicks_in_sam2_and_after_them_in_sam() -> None:
    points, labels = torch.tensor([[[5.0, 6.0]]]), torch.tensor([[1]])
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    sam, sam2 = (seeded_model(TINY[name]).sam for name in ("tiny-sam", "tiny-sam2"))
    assert sam.list_prompts(points, labels, boxes)[1].tolist() == [[1, 2, 3]]
    assert sam.list_prompts(points, labels, None)[1].tolist() == [[1, -1]]
    assert sam2.list_prompts(points, labels, boxes)[1].tolist() == [[2, 3, 1, -1]]
    assert sam2.list_prompts(points, labels, boxes)[0].tolist() == [[[1, 2], [3, 4], [5, 6], [0, 0]]]
    for network in (sam, sam2):
        assert network.list_prompts(points[:, :0], labels[:, :0], None)[1].shape == (1, 0)


def test_foreign_tensors_are_refused_by_name() -> None:
    spec = TINY["tiny-sam"]
    tensors = official_names("sam", seeded_model(spec).sam.state_dict())
    tensors["mask_decoder.hf_token.weight"] = tensors.pop("mask_decoder.iou_token.weight")
    with pytest.raises(
        WeightsError, match=r"1 missing \(mask_decoder.iou_token.weight\), 1 unknown \(mask_decoder.hf_"
    ):
        assemble(spec, tensors, source="weights.pth")


def test_efficient_sam_reads_six_points_and_says_when_there_are_more() -> None:
    """Padding of a batch does not count, and corners come before clicks."""
    model = seeded_model(TINY["tiny-efficient-sam"])
    embedding = model.encode(picture(64, 64))
    rng = np.random.default_rng(3)
    points, labels = rng.uniform(0, 64, (1, 9, 2)).astype(np.float32), np.array([[1, -1, 0, -1, 1, 1, -1, 0, 1]])
    sparse = model.decode(embedding, PixelPrompts(points=points, labels=labels)).logits
    dense = model.decode(embedding, PixelPrompts(points=points[labels >= 0][None], labels=labels[labels >= 0][None]))
    np.testing.assert_array_equal(sparse, dense.logits)
    boxes = np.array([[5, 6, 40, 50]], np.float32)
    with pytest.warns(SamgeoWarning, match="reads 6 points an object"):
        cut = model.decode(embedding, PixelPrompts(points=points, labels=labels, boxes=boxes))
    kept = PixelPrompts(points=points[labels >= 0][None, :4], labels=labels[labels >= 0][None, :4], boxes=boxes)
    np.testing.assert_array_equal(cut.logits, model.decode(embedding, kept).logits)


def test_efficient_sam_takes_the_box_around_a_mask_where_there_is_nothing_else() -> None:
    masks = np.full((3, 1, 16, 16), -1.0, np.float32)
    masks[0, 0, 3:7, 5:6] = 1
    masks[1, 0, 15, 0] = 1
    expected = [[[20, 12], [23, 27]], [[0, 60], [3, 63]], [[0, 0], [63, 63]]]  # the last is empty
    assert box_of(torch.from_numpy(masks)).tolist() == expected
    model = seeded_model(TINY["tiny-efficient-sam"])
    embedding = model.encode(picture(256, 256))
    mask = np.full((2, 64, 64), -1.0, np.float32)
    mask[:, 10:30, 20:50] = 1
    by_mask = model.decode(embedding, PixelPrompts(masks=mask[:1])).logits[0]
    by_box = model.decode(embedding, PixelPrompts(boxes=np.array([[80, 40, 199, 119]], np.float32))).logits[0]
    np.testing.assert_allclose(by_mask, by_box, atol=1e-4)
    points, labels = np.full((2, 1, 2), 70, np.float32), np.array([[1], [-1]])  # the second object has no click
    both = model.decode(embedding, PixelPrompts(points=points, labels=labels, masks=mask)).logits
    click = model.decode(embedding, PixelPrompts(points=points[:1], labels=labels[:1])).logits[0]
    np.testing.assert_allclose(both, np.stack([click, by_box]), atol=1e-4)


def test_hq_sam_adds_one_mask_to_all_three() -> None:
    model = seeded_model(TINY["tiny-hq-sam"])
    embedding = model.encode(picture(64, 64))
    decoded = model.decode(embedding, PixelPrompts(points=np.array([[[20, 30]]], np.float32), labels=np.array([[1]])))
    added = decoded.logits - decoded.unrefined
    assert np.abs(added).max() > 1
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1], added.shape), atol=1e-4)
