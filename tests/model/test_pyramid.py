"""A network asked at three sizes: which one answers, that all speak of the same pixels, and the contract throughout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from samgeo.errors import PromptError
from samgeo.model import pyramid
from samgeo.model.frame import NativeFrame
from samgeo.model.mask_decoder import EVERY_MASK
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


class TestContract(ContractSuite):
    """All that is expected of a promptable model."""

    tolerance = 2e-3
    differing_px = 2


def test_the_default_looks_at_three_sizes_and_the_network_alone_at_one() -> None:
    assert isinstance(load_model(), PyramidModel)
    assert isinstance(load_network(), Model)
    assert MODELS["sam-vit-b"].zoom == 1


def test_the_size_of_a_box_decides(
    model: PyramidModel, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid, "UNSURE_BOX", 0.0)
    embedding = model.encode(image)
    large = PixelPrompts(boxes=np.array([[5, 5, 5 + pyramid.SMALL_PX, 20]], np.float32))
    decoded = model.decode(embedding, large, multimask=False)
    assert not embedding.others, "the large image is encoded when it is asked for"
    alone = model.plain.decode(embedding.plain, large, multimask=False)
    np.testing.assert_array_equal(decoded.scores, alone.scores)
    assert _same(decoded.to_masks(), alone.to_masks(), image)

    small = PixelPrompts(boxes=np.array([[20, 25, 60, 64], [5, 5, 20, 20]], np.float32))
    decoded = model.decode(embedding, small, multimask=False)
    alone = model.large.decode(embedding.others[2], small, multimask=False)
    np.testing.assert_array_equal(decoded.logits, alone.logits)
    assert _same(decoded.to_masks(), alone.to_masks(), image)

    mixed = PixelPrompts(boxes=np.concatenate([large.boxes, small.boxes, large.boxes]))  # type: ignore[list-item]
    together = model.decode(embedding, mixed, multimask=False)
    np.testing.assert_allclose(together.scores[1:3], decoded.scores, atol=1e-4)
    np.testing.assert_allclose(together.scores[0], together.scores[3], atol=1e-4)


def test_a_box_that_is_unsure_is_asked_for_at_all_sizes(
    model: PyramidModel, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its masks of three sizes the surest is taken; objects that are sure stay as they are."""
    boxes = PixelPrompts(boxes=np.array([[5, 5, 70, 60], [20, 25, 60, 64]], np.float32))
    monkeypatch.setattr(pyramid, "UNSURE_BOX", 0.0)
    sure = model.decode(model.encode(image), boxes, multimask=False)
    monkeypatch.setattr(pyramid, "UNSURE_BOX", float(np.mean(sure.scores)))
    embedding = model.encode(image)
    decoded = model.decode(embedding, boxes, multimask=False)
    assert sorted(embedding.others) == [0.5, 2]
    (kept,) = np.flatnonzero(sure.scores[:, 0] > pyramid.UNSURE_BOX)
    np.testing.assert_array_equal(decoded.logits[kept], sure.logits[kept])
    (unsure,) = np.flatnonzero(sure.scores[:, 0] <= pyramid.UNSURE_BOX)
    scores = [answer.masks.scores[answer.objects == unsure].tolist() for answer in decoded._answers]
    scores = [score for found in scores for (score,) in found]
    assert len(set(scores)) == 3
    assert decoded.scores[unsure] == max(scores)
    assert [answer.objects.tolist() for answer in decoded._answers] == [[0], [1], [unsure], [unsure]]
    assert all(answer.masks.scores.shape[1] == 1 for answer in decoded._answers)


def test_an_earlier_mask_has_a_size_too(model: PyramidModel, image: NDArray[np.uint8]) -> None:
    embedding = model.encode(image)
    logits = np.full((2, 48, 40), -4, np.float32)  # 2 px a cell, 96 x 80 px padded to 192 x 160 enlarged
    logits[0, 10:20, 10:20] = 4
    logits[1, 4:40, 4:40] = 4
    decoded = model.decode(embedding, PixelPrompts(masks=logits), multimask=False)
    small = model.large.decode(embedding.others[2], PixelPrompts(masks=logits[:1]), multimask=False)
    np.testing.assert_allclose(decoded.logits[:1], small.logits, atol=1e-4)
    assert not np.allclose(decoded.logits[1:], small.logits)
    with pytest.raises(PromptError, match=r"mask prompts of \(24, 20\): expected logits of \(48, 40\)"):
        model.decode(embedding, PixelPrompts(masks=logits[:, ::2, ::2]))


@pytest.mark.parametrize("shape", [(96, 80), (33, 47), (100, 70), (16, 16)])
def test_plain_logits_come_back_as_they_were(
    model: PyramidModel, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """A mask that was drawn at the plain size, given back as a prompt, is what the plain size sees."""
    monkeypatch.setattr(pyramid, "UNSURE_BOX", 0.0)
    embedding = model.encode(np.random.default_rng(1).integers(0, 255, (*shape, 3)).astype(np.uint8))
    box = PixelPrompts(boxes=np.array([[1, 2, 2 + pyramid.SMALL_PX, 13]], np.float32))
    drawn = model.plain.decode(embedding.plain, box, multimask=False).logits[:, 0]
    decoded = model.decode(embedding, box, multimask=False).logits[:, 0]
    again = pyramid._reduce(decoded, embedding.plain.features.logits_size, times=2)
    inner = tuple(-(-side // 4) for side in shape)
    np.testing.assert_allclose(again[:, : inner[0] - 1, : inner[1] - 1], drawn[:, : inner[0] - 1, : inner[1] - 1])


def test_the_embedding_keeps_its_own_image(model: PyramidModel, image: NDArray[np.uint8]) -> None:
    small = PixelPrompts(boxes=np.array([[5, 5, 20, 20]], np.float32))
    wanted = model.decode(model.encode(image), small, multimask=False).logits
    embedding = model.encode(buffer := image.copy())
    buffer[:] = 0
    np.testing.assert_array_equal(model.decode(embedding, small, multimask=False).logits, wanted)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Masks that are given as logits (N, M, h, w)."""

    logits: NDArray[np.float32]

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N, M)."""
        return np.zeros(self.logits.shape[:2], np.float32)

    def __getitem__(self, keep: NDArray[np.bool_]) -> Drawn:
        return Drawn(self.logits[keep][:, None])

    def to_masks(self) -> list[list[Mask]]:
        """Not asked for."""
        raise NotImplementedError


def test_masks_of_all_sizes_are_compared() -> None:
    """A mask drawn at one size is like itself drawn at another, and unlike its other half; where there is none, 0."""
    plain = np.full((2, 2, 8, 8), -1, np.float32)
    plain[:, 0, 2:6, :4] = plain[:, 1, 2:6, 4:] = 1
    large = plain[1:].repeat(2, axis=2).repeat(2, axis=3)[:, :, :15]  # padded to other blocks
    small = np.pad(plain[:, :, ::2, ::2], ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-1)
    rows = np.arange(2)
    answers = [
        Answer(objects=rows, masks=Drawn(plain), times=2),
        Answer(objects=rows, masks=Drawn(small), times=4),
        Answer(objects=rows[1:], masks=Drawn(large)),
    ]
    overlaps = pyramid._overlaps(answers, rows, (8, 8), 2)
    same = np.array([[k % 2 == n % 2 for k in range(6)] for n in range(6)])
    assert (overlaps[1][same] > 0.7).all()
    assert (overlaps[1][~same] < 0.2).all()
    np.testing.assert_array_equal(overlaps[0][:4, :4], overlaps[1][:4, :4])
    assert not overlaps[0][4:].any()


def test_masks_that_tell_most_are_given() -> None:
    """The surest first; two that agree come before one that is surer than both but alone; then what is not covered."""
    overlaps = np.eye(5, dtype=np.float32)[None]
    overlaps[0, 2, 3] = overlaps[0, 3, 2] = 0.9
    scores = np.array([[0.5, 0.46, 0.45, 0.44, 0.1]], np.float32)
    assert pyramid._telling(scores, overlaps, 4).tolist() == [[0, 2, 1, 4]]
    assert pyramid._telling(scores, np.eye(5, dtype=np.float32)[None], 4).tolist() == [[0, 1, 2, 3]]
    missing = np.array([[0.4, -np.inf, 0.5, -np.inf, -np.inf]], np.float32)
    assert pyramid._telling(missing, overlaps, 2).tolist() == [[2, 0]]


@given(
    scores=hnp.arrays(np.float32, (3, 6), elements=st.floats(0, 1, width=32)),
    masks=hnp.arrays(np.bool_, (3, 6, 12)),
    some=st.integers(3, 6),
)
def test_different_candidates_are_given_and_the_surest_first(
    scores: NDArray[np.float32], masks: NDArray[np.bool_], some: int
) -> None:
    cells = masks.astype(np.float32)
    common, area = cells @ cells.transpose(0, 2, 1), cells.sum(axis=2)
    overlaps = common / np.maximum(area[:, :, None] + area[:, None] - common, 1)
    scores[:, some:] = -np.inf
    taken = pyramid._telling(scores, overlaps, 3)
    assert (taken < some).all()
    assert all(len(set(row)) == 3 for row in taken.tolist())
    assert (scores[np.arange(3), taken[:, 0]] == scores.max(axis=1)).all()


def test_a_click_is_asked_for_at_all_sizes(model: PyramidModel, image: NDArray[np.uint8]) -> None:
    embedding, prompts = model.encode(image), points((40, 45), (3, 4))
    every = np.concatenate(
        [
            model.plain.answer(embedding.plain, prompts, EVERY_MASK).scores,
            model.reduced.answer(model.reduced.encode(image), prompts, EVERY_MASK).scores,
            model.large.answer(model.large.encode(image), prompts, EVERY_MASK).scores,
        ],
        axis=1,
    )
    first = model._by_clicks(embedding, prompts, EVERY_MASK, unsure=1.0)
    assert sorted(embedding.others) == [0.5, 2]
    np.testing.assert_array_equal(model.decode(embedding, prompts).logits, first.logits)
    candidates = np.concatenate([answer.masks.scores for answer in first._answers], axis=1)
    np.testing.assert_allclose(candidates, every, atol=1e-4)
    sure = model.encode(image)
    model._by_clicks(sure, prompts, EVERY_MASK, unsure=0.0)
    assert list(sure.others) == [0.5], "enlarged only where no answer is sure"


def test_a_reduced_frame_speaks_of_the_same_pixels() -> None:
    frame = NativeFrame(block_px=32, zoom=0.5)
    image = np.zeros((41, 51, 3), np.uint8)
    image[20:22, 32:34] = 255
    image[40, 50] = 200
    prepared = frame.prepare(image)
    assert prepared.shape == (1, 3, 32, 32)
    assert prepared[0, 0, 10, 16] == 1
    assert prepared[0, 0, 20, 25] == pytest.approx(200 / 255), "the last pixel is not darkened by what is beyond"
    np.testing.assert_allclose(frame.to_frame(np.array([32.5, 20.5], np.float32), (41, 51)), [16, 10])
    assert frame.logits_size((41, 51)) == (8, 8)
    logits = torch.full((8, 8), -9.0)
    logits[1:3, 2:5] = 9
    fine, row, col = frame.to_image(logits, (41, 51))
    rows, cols = np.nonzero(fine.numpy() > 0)
    assert (rows.min() + row, rows.max() + row) == (8, 23)
    assert (cols.min() + col, cols.max() + col) == (16, 39)


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


def test_ships_on_the_open_sea_stand_out() -> None:
    """In an image whose sides are no multiples of a cell, and of which a part is nodata."""
    rng = np.random.default_rng(0)
    image = (np.array([20, 50, 70]) + rng.normal(0, 3, (250, 301, 3))).clip(0, 255).astype(np.uint8)
    ships = [(40, 60), (90, 210), (133, 33), (200, 260)]
    for row, col in ships:
        image[row : row + 9, col : col + 14] = 215
    valid = np.ones(image.shape[:2], bool)
    valid[:, :20] = False
    model = load_model()
    assert isinstance(model, PyramidModel)
    found = model.details(model.encode(image), valid, 8)
    assert found.shape == (8, 2)
    assert all(((found >= (col, row)) & (found < (col + 14, row + 9))).all(axis=1).any() for row, col in ships)


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
