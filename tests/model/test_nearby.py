"""Decoding in a window around a prompt: the same pixels, the whole image where the window is too small, no seams."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from samgeo.model import nearby
from samgeo.model.mask_decoder import MULTIMASK, SINGLE
from samgeo.model.merged import MergedMasks
from samgeo.model.nearby import CELL_PX, decode_nearby
from samgeo.model.predict import ImageEmbedding, Model
from samgeo.model.weights import load_network
from samgeo.pixels import Mask, PixelPrompts

SIDE_PX = 768
SQUARE = (slice(350, 420), slice(300, 380))


@pytest.fixture(scope="module")
def model() -> Model:
    found = load_network()
    assert isinstance(found, Model)
    return found


@pytest.fixture(scope="module")
def seen(model: Model) -> ImageEmbedding:
    """A bright square in the middle, and a bright band from one side to the other."""
    image = np.random.default_rng(0).integers(40, 70, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    image[SQUARE] = 210
    image[600:640] = 160
    return model.encode(image)


def decode(model: Model, seen: ImageEmbedding, prompts: PixelPrompts, *, small: bool = False, multimask: bool = True):
    which = MULTIMASK if multimask else SINGLE
    return decode_nearby(model, seen, prompts, which, small=np.full(len(prompts), small))


def square_box() -> PixelPrompts:
    rows, cols = SQUARE
    return PixelPrompts(boxes=np.array([[cols.start, rows.start, cols.stop - 1, rows.stop - 1]], np.float32))


def truth() -> NDArray[np.bool_]:
    full = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    full[SQUARE] = True
    return full


def test_an_object_is_found_where_it_is(model: Model, seen: ImageEmbedding) -> None:
    answered, masks = decode(model, seen, square_box(), multimask=False)
    assert answered.tolist() == [0]
    assert isinstance(masks, MergedMasks)
    assert len(masks._answers) == 1, "the window is enough"
    found = masks.to_masks()[0][0].to_array(SIDE_PX, SIDE_PX)
    assert np.count_nonzero(found & truth()) / np.count_nonzero(found | truth()) > 0.9
    coarse = masks.logits[0, 0] > 0
    assert coarse.shape == seen.features.logits_size
    again = coarse.repeat(4, axis=0).repeat(4, axis=1)
    assert np.count_nonzero(again & found) / np.count_nonzero(again | found) > 0.9


def test_what_a_window_cuts_is_asked_for_in_the_whole_image(model: Model, seen: ImageEmbedding) -> None:
    band = PixelPrompts(points=np.array([[[380, 620]]], np.float32), labels=np.ones((1, 1), np.int64))
    answered, masks = decode(model, seen, band)
    whole = model.decode(seen, band)
    assert answered.tolist() == [0]
    np.testing.assert_array_equal(masks.scores, whole.scores)
    for one, other in zip(masks.to_masks()[0], whole.to_masks()[0], strict=True):
        assert one.window == other.window
    answered, masks = decode(model, seen, band, small=True)
    assert answered.size == 0
    assert len(masks.to_masks()) == 0


def test_prompts_that_no_window_holds(model: Model, seen: ImageEmbedding) -> None:
    large = PixelPrompts(boxes=np.array([[20, 20, 740, 740]], np.float32))
    both = PixelPrompts(boxes=np.concatenate([large.boxes, square_box().boxes]))  # type: ignore[list-item]
    answered, masks = decode(model, seen, both, multimask=False)
    assert answered.tolist() == [0, 1]
    np.testing.assert_array_equal(masks.scores[:1], model.decode(seen, large, multimask=False).scores)
    assert decode(model, seen, both, small=True, multimask=False)[0].tolist() == [1]


def test_an_objects_answer_does_not_depend_on_the_others(model: Model, seen: ImageEmbedding) -> None:
    xy = np.random.default_rng(1).uniform(10, SIDE_PX - 10, (12, 1, 2)).astype(np.float32)
    prompts = PixelPrompts(points=xy, labels=np.ones((12, 1), np.int64))
    _, together = decode(model, seen, prompts)
    for k in (0, 5, 11):
        _, alone = decode(model, seen, prompts[np.array([k])])
        np.testing.assert_allclose(together.scores[k], alone.scores[0], atol=1e-4)
        np.testing.assert_allclose(together.logits[k], alone.logits[0], atol=2e-3)


def test_an_earlier_mask_moves_with_the_window(model: Model, seen: ImageEmbedding) -> None:
    _, first = decode(model, seen, square_box(), multimask=False)
    refined = PixelPrompts(masks=first.logits[:, 0])
    answered, masks = decode(model, seen, refined, multimask=False)
    assert answered.tolist() == [0]
    found = masks.to_masks()[0][0].to_array(SIDE_PX, SIDE_PX)
    assert np.count_nonzero(found & truth()) / np.count_nonzero(found | truth()) > 0.7


@pytest.mark.parametrize("place", [(0, 0), (SIDE_PX - 1, SIDE_PX - 1), (400, 3), (200.5, 611.25)])
def test_windows_hold_their_prompts_with_a_margin(place: tuple[float, float]) -> None:
    cells = (SIDE_PX // CELL_PX, SIDE_PX // CELL_PX)
    prompts = PixelPrompts(points=np.array([[place]], np.float32), labels=np.ones((1, 1), np.int64))
    ((row, col),) = nearby._corners(prompts, cells=cells, cell_px=CELL_PX).tolist()
    for at, first, count in zip(place[::-1], (row, col), cells, strict=True):
        assert first % nearby.STEP == 0
        assert 0 <= first <= count - nearby.WINDOW
        assert first == 0 or at / CELL_PX >= first + nearby.MARGIN
        assert first + nearby.WINDOW == count or at / CELL_PX <= first + nearby.WINDOW - nearby.MARGIN


def test_padding_points_say_nothing_of_the_place() -> None:
    points = np.array([[[300, 300], [0, 0]]], np.float32)
    given = PixelPrompts(points=points, labels=np.array([[1, -1]], np.int64))
    alone = PixelPrompts(points=points[:, :1], labels=np.ones((1, 1), np.int64))
    both = [nearby._corners(p, cells=(48, 48), cell_px=CELL_PX).tolist() for p in (given, alone)]
    assert both[0] == both[1]


def test_empty_masks_hold_nothing() -> None:
    nothing = PixelPrompts(masks=np.full((1, 192, 192), -5, np.float32))
    assert nearby._corners(nothing, cells=(48, 48), cell_px=CELL_PX).tolist() == [[-1, -1]]
    assert Mask.from_array(np.zeros((4, 4), bool)).window.is_empty
