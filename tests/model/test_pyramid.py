"""A network asked at two sizes: which size answers, that both speak of the same pixels, and the contract throughout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samgeo.errors import PromptError
from samgeo.model import pyramid
from samgeo.model.frame import NativeFrame
from samgeo.model.merged import Answer
from samgeo.model.predict import Model
from samgeo.model.pyramid import PyramidModel
from samgeo.model.spec import MODELS
from samgeo.model.weights import load_model, load_network
from samgeo.pixels import Mask, PixelPrompts
from samgeo.train.scenes import make_scene
from tests.contract_suite import ContractSuite, points
from tests.model.seeded import random_nano, red_square


@pytest.fixture(scope="module")
def model() -> PyramidModel:
    return PyramidModel(random_nano(), 2)


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return red_square()


class TestSure(ContractSuite):
    """The first answer to clicks is always good enough."""

    tolerance = 2e-3
    differing_px = 2

    @pytest.fixture(autouse=True)
    def sure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pyramid, "UNSURE", 0.0)


class TestUnsure(ContractSuite):
    """It never is."""

    tolerance = 2e-3
    differing_px = 2

    @pytest.fixture(autouse=True)
    def unsure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pyramid, "UNSURE", 1.0)


def test_the_default_looks_twice_and_the_network_alone_once() -> None:
    assert isinstance(load_model(), PyramidModel)
    assert isinstance(load_network(), Model)
    assert MODELS["sam-vit-b"].zoom == 1


def test_the_size_of_a_box_decides(model: PyramidModel, image: NDArray[np.uint8]) -> None:
    embedding = model.encode(image)
    large = PixelPrompts(boxes=np.array([[5, 5, 5 + pyramid.SMALL_PX, 20]], np.float32))
    decoded = model.decode(embedding, large, multimask=False)
    assert not embedding.enlarged, "the large image is encoded when it is asked for"
    alone = model.plain.decode(embedding.plain, large, multimask=False)
    np.testing.assert_array_equal(decoded.scores, alone.scores)
    assert _same(decoded.to_masks(), alone.to_masks(), image)

    small = PixelPrompts(boxes=np.array([[20, 25, 60, 64], [5, 5, 20, 20]], np.float32))
    decoded = model.decode(embedding, small, multimask=False)
    alone = model.large.decode(embedding.enlarged[0], small, multimask=False)
    np.testing.assert_array_equal(decoded.logits, alone.logits)
    assert _same(decoded.to_masks(), alone.to_masks(), image)

    mixed = PixelPrompts(boxes=np.concatenate([large.boxes, small.boxes, large.boxes]))  # type: ignore[list-item]
    together = model.decode(embedding, mixed, multimask=False)
    np.testing.assert_allclose(together.scores[1:3], decoded.scores, atol=1e-4)
    np.testing.assert_allclose(together.scores[0], together.scores[3], atol=1e-4)


def test_an_earlier_mask_has_a_size_too(model: PyramidModel, image: NDArray[np.uint8]) -> None:
    embedding = model.encode(image)
    logits = np.full((2, 48, 40), -4, np.float32)  # 2 px a cell, 96 x 80 px padded to 192 x 160 enlarged
    logits[0, 10:20, 10:20] = 4
    logits[1, 4:40, 4:40] = 4
    decoded = model.decode(embedding, PixelPrompts(masks=logits), multimask=False)
    small = model.large.decode(embedding.enlarged[0], PixelPrompts(masks=logits[:1]), multimask=False)
    np.testing.assert_allclose(decoded.logits[:1], small.logits, atol=1e-4)
    assert not np.allclose(decoded.logits[1:], small.logits)
    with pytest.raises(PromptError, match=r"mask prompts of \(24, 20\): expected logits of \(48, 40\)"):
        model.decode(embedding, PixelPrompts(masks=logits[:, ::2, ::2]))


@pytest.mark.parametrize("multimask", [True, False])
def test_the_best_mask_of_a_click_is_drawn_again_as_if_it_were_an_earlier_one(
    model: PyramidModel, image: NDArray[np.uint8], multimask: bool
) -> None:
    embedding, prompts = model.encode(image), points((40, 45), (3, 4))
    first, decoded = (ask(embedding, prompts, multimask=multimask) for ask in (model.glance, model.decode))
    np.testing.assert_array_equal(decoded.scores, first.scores)
    rows, best = np.arange(2), first.scores.argmax(axis=1)
    expected = first.logits
    earlier = replace(prompts, masks=expected[rows, best])
    expected[rows, best] = model.glance(embedding, earlier, multimask=False).logits[:, 0]
    assert not np.array_equal(expected, first.logits)
    np.testing.assert_array_equal(decoded.logits, expected)
    with_box = PixelPrompts(boxes=np.array([[5, 5, 20, 20]], np.float32))
    np.testing.assert_array_equal(model.decode(embedding, with_box).logits, model.glance(embedding, with_box).logits)


@pytest.mark.parametrize("shape", [(96, 80), (33, 47), (100, 70), (16, 16)])
def test_plain_logits_come_back_as_they_were(
    model: PyramidModel, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """A mask that was drawn at the plain size, given back as a prompt, is what the plain size sees."""
    monkeypatch.setattr(pyramid, "UNSURE", 0.0)
    embedding = model.encode(np.random.default_rng(1).integers(0, 255, (*shape, 3)).astype(np.uint8))
    prompts = points((9, 12), (9, 13))
    again = model._reduce(model.glance(embedding, prompts).logits[:, 0], embedding.plain.features.logits_size)
    drawn = model.plain.decode(embedding.plain, prompts).logits
    inner = tuple(-(-side // 4) for side in shape)
    best = drawn[np.arange(2), model.plain.decode(embedding.plain, prompts).scores.argmax(axis=1)]
    np.testing.assert_allclose(again[:, : inner[0] - 1, : inner[1] - 1], best[:, : inner[0] - 1, : inner[1] - 1])


def test_the_embedding_keeps_its_own_image(model: PyramidModel, image: NDArray[np.uint8]) -> None:
    small = PixelPrompts(boxes=np.array([[5, 5, 20, 20]], np.float32))
    wanted = model.decode(model.encode(image), small, multimask=False).logits
    embedding = model.encode(buffer := image.copy())
    buffer[:] = 0
    np.testing.assert_array_equal(model.decode(embedding, small, multimask=False).logits, wanted)


def test_masks_of_both_sizes_are_compared(model: PyramidModel) -> None:
    """A mask drawn at one size is like itself drawn at the other, and unlike its other half."""

    class Drawn:
        def __init__(self, logits: NDArray[np.float32]) -> None:
            self.logits, self.scores = logits, np.zeros(logits.shape[:2], np.float32)

        def __getitem__(self, keep: NDArray[np.bool_]) -> Drawn:
            return Drawn(self.logits[keep][:, None])

        def to_masks(self) -> list[list[Mask]]:
            raise NotImplementedError

    plain = np.full((1, 2, 8, 8), -1, np.float32)
    plain[0, 0, 2:6, :4] = plain[0, 1, 2:6, 4:] = 1
    large = plain.repeat(2, axis=2).repeat(2, axis=3)[:, :, :15]  # padded to other blocks
    rows = np.array([0])
    answers = [Answer(objects=rows, masks=Drawn(plain), times=2), Answer(objects=rows, masks=Drawn(large))]
    (alike,) = pyramid._alike(answers, rows, 2)
    assert alike.tolist() == [[k % 2 == n % 2 for k in range(4)] for n in range(4)]


def test_candidates_differ(model: PyramidModel, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the six masks of both sizes come the best three that are not alike, best first."""
    assert pyramid._differing_first(np.array([2, 0, 1]), np.eye(3, dtype=bool)).tolist() == [2, 0, 1]
    alike = np.eye(4, dtype=bool)
    alike[2, 0] = alike[0, 2] = True
    assert pyramid._differing_first(np.array([2, 0, 3, 1]), alike).tolist() == [2, 3, 1, 0]
    monkeypatch.setattr(pyramid, "UNSURE", 1.0)
    monkeypatch.setattr(pyramid, "ALIKE", 1.0)
    embedding = model.encode(image)
    decoded = model.decode(embedding, points((40, 45), (3, 4)))
    every = np.concatenate(
        [
            model.plain.decode(embedding.plain, points((40, 45), (3, 4))).scores,
            model.large.decode(embedding.enlarged[0], points((40, 45), (3, 4))).scores,
        ],
        axis=1,
    )
    np.testing.assert_allclose(decoded.scores, -np.sort(-every, axis=1)[:, :3], atol=1e-4)


def test_an_enlarged_frame_speaks_of_the_same_pixels() -> None:
    frame = NativeFrame(block_px=32, zoom=2)
    image = np.zeros((40, 50, 3), np.uint8)
    image[21, 33] = 255
    prepared = frame.prepare(image)
    assert prepared.shape == (1, 3, 96, 128)
    rows, cols = np.nonzero(prepared[0, 0].numpy() > 0.5)
    middle = frame.to_frame(np.array([33, 21], np.float32), (40, 50))
    np.testing.assert_allclose(middle, [cols.mean(), rows.mean()])
    logits = torch.full(frame.logits_size((40, 50)), -9.0)
    logits[3:7, 5:11] = 9
    fine, row, col = frame.to_image(logits, (40, 50))
    rows, cols = np.nonzero(fine.numpy() > 0)
    assert (rows.min() + row, rows.max() + row) == (6, 13)
    assert (cols.min() + col, cols.max() + col) == (10, 21)


def test_small_boxes_are_seen_better_enlarged() -> None:
    """What it is for, with the embedded weights, on a scene that they were not trained on."""
    scene = make_scene(1_000_005, height_px=384, width_px=384, gsd_m=0.6)
    small = [mask for mask in scene.objects if mask.area_px >= 60 and max(mask.window.shape) < 24][:40]
    boxes = np.array([(w.col, w.row, w.col_end, w.row_end) for w in (m.window for m in small)], np.float32) - 0.5
    model, ious = load_model(precision="exact"), []
    assert isinstance(model, PyramidModel)
    embedding = model.encode(scene.image)
    for decoded in (
        model.decode(embedding, PixelPrompts(boxes=boxes), multimask=False),
        model.plain.decode(embedding.plain, PixelPrompts(boxes=boxes), multimask=False),
    ):
        shared = [m.common_px(t) for (m,), t in zip(decoded.to_masks(), small, strict=True)]
        union = [m.area_px + t.area_px - c for (m,), t, c in zip(decoded.to_masks(), small, shared, strict=True)]
        ious.append(np.mean(np.array(shared) / np.array(union)))
    assert ious[0] > ious[1]


def _same(some, others, image: NDArray[np.uint8]) -> bool:
    height, width = image.shape[:2]
    pairs = [(a, b) for row, other in zip(some, others, strict=True) for a, b in zip(row, other, strict=True)]
    return all(np.array_equal(a.to_array(height, width), b.to_array(height, width)) for a, b in pairs)
