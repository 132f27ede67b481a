"""Made-up scenes: the same bytes for the same seed, and masks that are what they promise to be."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from samgeo.errors import UsageError
from samgeo.pixels import Window
from samgeo.train.scenes import LABELS, Scene, make_scene

SEEDS = tuple(range(16))
SIDE_PX = 256


@cache
def scene(seed: int) -> Scene:
    return make_scene(seed, height_px=SIDE_PX, width_px=SIDE_PX + 32)


def test_same_seed_gives_the_same_bytes() -> None:
    for seed in (1, 8):
        again = make_scene(seed, height_px=SIDE_PX, width_px=SIDE_PX + 32)
        assert np.array_equal(again.image, scene(seed).image)
        assert again.parents == scene(seed).parents
        for one, two in zip(again.objects, scene(seed).objects, strict=True):
            assert one.window == two.window
            assert np.array_equal(one.pixels, two.pixels)


@pytest.mark.parametrize("seed", SEEDS)
def test_scene_has_the_promised_shape(seed: int) -> None:
    one = scene(seed)
    assert one.image.shape == (SIDE_PX, SIDE_PX + 32, 3)
    assert one.image.dtype == np.uint8
    assert one.image.std() > 3
    assert 0.07 <= one.gsd_m <= 10
    assert len(one.objects) == len(one.parents)


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_lie_in_the_image_and_have_known_labels(seed: int) -> None:
    frame = Window(row=0, col=0, height=SIDE_PX, width=SIDE_PX + 32)
    for mask in scene(seed).objects:
        assert frame.contains(mask.window)
        assert mask.label in LABELS
        assert 16 <= mask.area_px <= 0.85 * SIDE_PX * (SIDE_PX + 32)
        assert mask.pixels.any(axis=1)[[0, -1]].all()
        assert mask.pixels.any(axis=0)[[0, -1]].all()


@pytest.mark.parametrize("seed", SEEDS)
def test_siblings_are_disjoint_and_parts_lie_in_their_wholes(seed: int) -> None:
    one = scene(seed)
    taken: dict[int, np.ndarray] = {}
    for index, (mask, parent) in enumerate(zip(one.objects, one.parents, strict=True)):
        assert -1 <= parent < index
        full = mask.to_array(SIDE_PX, SIDE_PX + 32)
        family = taken.setdefault(parent, np.zeros_like(full))
        assert not (family & full).any()
        family |= full
        if parent >= 0:
            whole = one.objects[parent]
            assert not (full & ~whole.to_array(SIDE_PX, SIDE_PX + 32)).any()
            assert mask.area_px < whole.area_px


def test_seeds_differ_in_kind_and_distance() -> None:
    labels = set(itertools.chain.from_iterable((mask.label for mask in scene(seed).objects) for seed in SEEDS))
    assert labels >= {"building", "field", "tree", "road", "water"}
    distances = [scene(seed).gsd_m for seed in SEEDS]
    assert max(distances) > 10 * min(distances)


def test_ground_sample_distance_may_be_chosen() -> None:
    assert make_scene(3, height_px=128, width_px=96, gsd_m=0.3).gsd_m == 0.3


@pytest.mark.parametrize("wrong", [{"height_px": 8}, {"gsd_m": 0.0}, {"gsd_m": 100.0}])
def test_impossible_scenes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        make_scene(0, **wrong)  # type: ignore[arg-type]
