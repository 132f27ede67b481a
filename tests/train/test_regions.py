"""Regions: what stands out is found whole, what does not is left alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.pixels import Mask
from samgeo.train.metrics import iou
from samgeo.train.nano_regions import PORT_PX, around_ships
from samgeo.train.regions import FRAGMENT_PX, SAME, find_regions, join


def _fields(seed: int) -> tuple[NDArray[np.float64], list[Mask]]:
    """Twelve rectangles on grey, of colours far apart from it, as soft and noisy as a satellite sees them."""
    rng = np.random.default_rng(seed)
    values, truth = np.full((96, 128, 4), 0.5), []
    for k in range(12):
        row, col = 4 + 32 * (k // 4), 4 + 32 * (k % 4)
        height, width = rng.integers(8, 24, size=2)
        inside = np.zeros(values.shape[:2], dtype=bool)
        inside[row : row + height, col : col + width] = True
        values[inside] += rng.choice([-0.3, 0.3], size=4)
        truth.append(Mask.from_array(inside))
    return ndimage.gaussian_filter(values, (0.5, 0.5, 0)) + rng.normal(0, 0.03, size=values.shape), truth


def test_fields_are_found_whole() -> None:
    values, truth = _fields(0)
    found = find_regions(values)
    assert all(max(iou(region, field) for region in found) > 0.8 for field in truth)


def test_noise_holds_no_regions() -> None:
    assert find_regions(np.random.default_rng(0).normal(0.5, 0.05, size=(96, 96, 4))) == []


def test_no_region_comes_twice() -> None:
    found = find_regions(_fields(1)[0])
    assert all(iou(a, b) < SAME for k, a in enumerate(found) for b in found[:k])


def test_a_bend_is_no_region() -> None:
    values = np.full((80, 80, 3), 0.5)
    values[10:50, 10:16] = values[44:50, 10:50] = 0.9
    assert find_regions(values) == []


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 5))
def test_joined_regions_are_connected_and_no_fragments(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    numbers = join(ndimage.gaussian_filter(rng.random((20, 24, 2)), (2, 2, 0)), scale)
    assert numbers.shape == (20, 24)
    for number, area in enumerate(np.bincount(numbers.ravel())):
        assert area >= FRAGMENT_PX
        assert ndimage.label(numbers == number, structure=np.ones((3, 3)))[1] == 1


def test_what_hardly_differs_is_joined_at_any_scale_and_what_does_at_none() -> None:
    values = np.zeros((16, 16, 1))
    values[:, 8:] = 1
    values[4:12, 2:6] = 1e-4
    halves = join(values, 0.9)
    assert len(np.unique(halves)) == 2
    assert (halves[:, :8] == halves[0, 0]).all()
    assert len(np.unique(join(values, 1e3))) == 1


def test_around_ships_are_roofs_and_no_ships() -> None:
    image = np.random.default_rng(0).integers(40, 48, (96, 96, 3)).astype(np.uint8)
    roof, ship, hut = np.s_[10:24, 10:30], np.s_[60:68, 20:44], np.s_[20:26, 70:76]
    for place in (roof, ship, hut):
        image[place] += 150
    hull = np.zeros((96, 96), dtype=bool)
    hull[ship] = True
    (found,) = around_ships(image, [Mask.from_array(hull)])
    drawn = np.zeros((96, 96), dtype=bool)
    drawn[roof] = True
    assert iou(found, Mask.from_array(drawn)) > 0.95
    without = around_ships(image, [])
    assert len(without) == 2, f"what is smaller than {PORT_PX} px is left out, the ship is not known"
