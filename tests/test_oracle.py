from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.model.contract import PromptableModel
from samgeo.pixels import Mask, PixelPrompts
from tests.contract_suite import ContractSuite, points
from tests.oracle import NoisyOracle, OracleModel, OracleScene, code_of
from tests.scenes import random_scene


def scene_of(*texts: str) -> OracleScene:
    """One text an object; every word is a row, # is on the object."""
    masks = [np.array([[letter == "#" for letter in row] for row in text.split()]) for text in texts]
    return OracleScene.from_masks(masks, masks[0].shape)


U = "#..# #..# #### ...."
INNER = ".... .... .##. ...."


class TestOracleContract(ContractSuite):
    tolerance = 0.0

    @pytest.fixture
    def model(self) -> PromptableModel:
        return OracleModel(random_scene(3))

    @pytest.fixture
    def image(self) -> NDArray[np.uint8]:
        return random_scene(3).image


class TestNoisyOracleContract(ContractSuite):
    tolerance = 0.0

    @pytest.fixture
    def model(self) -> PromptableModel:
        return NoisyOracle(random_scene(3), jitter_px=1.0, miss=0.1)

    @pytest.fixture
    def image(self) -> NDArray[np.uint8]:
        return random_scene(3).image


@pytest.mark.parametrize("seed", range(20))
def test_the_colours_tell_the_objects(seed: int) -> None:
    scene = random_scene(seed)
    codes = code_of(scene.image)
    assert (codes != 0).all(), "black is left for nodata"
    for number, mask in enumerate(scene.masks):
        assert ndimage.label(mask)[1] == 1
        shown = np.isin(codes, [code for code, members in scene.objects_of.items() if number in members])
        np.testing.assert_array_equal(shown, mask)


def test_disjoint_scenes_share_no_pixel() -> None:
    assert np.sum(random_scene(5, disjoint=True).masks, axis=0).max() == 1


def test_point_gives_smallest_middle_and_largest() -> None:
    model = OracleModel(scene := scene_of(U, INNER))
    masks = model.decode(model.encode(scene.image), points((1, 2), (0, 0), (1, 0))).to_masks()
    assert [mask.area_px for mask in masks[0]] == [2, 8, 8]
    assert [mask.area_px for mask in masks[1]] == [8, 8, 8]
    assert [mask.score for mask in masks[2]] == [0, 0, 0]


def test_a_window_that_cuts_an_object_in_two_gives_the_part_under_the_point() -> None:
    model = OracleModel(scene := scene_of(U))
    embedding = model.encode(scene.image[:2])
    assert model.decode(embedding, points((0, 1)), multimask=False).to_masks()[0][0].area_px == 2
    both = PixelPrompts(points=np.array([[[0, 1], [3, 1]]], np.float32), labels=np.array([[1, 1]]))
    assert model.decode(embedding, both, multimask=False).to_masks()[0][0].area_px == 4
    box = PixelPrompts(boxes=np.array([[-0.5, -0.5, 3.5, 1.5]], np.float32))
    assert model.decode(embedding, box, multimask=False).to_masks()[0][0].area_px == 4


def test_negative_points_box_and_mask_choose_among_nested_objects() -> None:
    model = OracleModel(scene := scene_of(U, INNER))
    embedding = model.encode(scene.image)
    clicks = PixelPrompts(
        points=np.array([[[0, 0], [1, 2]], [[1, 2], [0, 0]]], np.float32), labels=np.array([[1, 0]] * 2)
    )
    assert [m[0].area_px for m in model.decode(embedding, clicks, multimask=False).to_masks()] == [8, 2]
    boxes = PixelPrompts(boxes=np.array([[0.5, 1.5, 2.5, 2.5], [0, 0, 3, 2]], np.float32))
    first = model.decode(embedding, boxes, multimask=False)
    assert [m[0].area_px for m in first.to_masks()] == [2, 8]
    again = model.decode(embedding, PixelPrompts(masks=first.logits[:, 0]), multimask=False)
    assert [m[0].area_px for m in again.to_masks()] == [2, 8]


def test_one_grid_point_a_pixel_reaches_every_pixel() -> None:
    pixels = np.eye(4, dtype=bool)
    masks = [np.roll(pixels, k, axis=1) & (np.arange(4) == c) for k in range(4) for c in range(4)]
    model = OracleModel(scene := OracleScene.from_masks(masks, (4, 4)))
    grid = (np.arange(4) + 0.5) / 4 * 4
    found = model.decode(model.encode(scene.image), points(*[(x, y) for y in grid for x in grid]), multimask=False)
    assert sorted(Mask.from_array(m[0]).window for m in found.pixels) == sorted(
        Mask.from_array(m).window for m in masks
    )


def test_noise_is_repeatable_differs_between_windows_and_misses() -> None:
    scene = random_scene(11, objects=12)
    model = NoisyOracle(scene, jitter_px=1.5, miss=0.3)
    one, two = (model.encode(scene.image[:, :64]) for _ in range(2))
    prompts = points(*[(x, y) for y in range(0, 96, 8) for x in range(0, 64, 8)])
    np.testing.assert_array_equal(model.decode(one, prompts).logits, model.decode(two, prompts).logits)
    exact = OracleModel(scene)
    true = exact.decode(exact.encode(scene.image[:, :64]), prompts)
    assert (model.decode(one, prompts).logits != true.logits).any()
