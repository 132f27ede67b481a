"""Stretch: one look for one raster, for every type of value and every odd value."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samgeo.errors import UsageError
from samgeo.stretch import SAMPLE_PX, Stretch, sample_windows

REAL_TYPES = ["int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"]
samples = st.sampled_from(REAL_TYPES).flatmap(lambda dtype: hnp.arrays(dtype, (3, 40)))


def all_valid(bands: np.ndarray) -> np.ndarray:
    return np.ones(bands.shape[1:], dtype=bool)


def test_eight_bits_stay_as_they_are() -> None:
    bands = np.arange(3 * 256).reshape(3, 16, 16).astype(np.uint8)
    rgb = Stretch.identity(3).apply(bands, all_valid(bands))
    assert np.array_equal(rgb, np.moveaxis(bands, 0, -1))


def test_one_band_is_repeated() -> None:
    bands = np.array([[[0, 50], [100, 200]]], dtype=np.uint16)
    rgb = Stretch(low=(0.0,), high=(200.0,)).apply(bands, all_valid(bands))
    assert rgb.shape == (2, 2, 3)
    assert np.array_equal(rgb[..., 0], [[0, 64], [128, 255]])
    assert (rgb == rgb[..., :1]).all()


def test_not_valid_is_black() -> None:
    bands = np.full((3, 2, 2), 255, dtype=np.uint8)
    valid = np.array([[True, False], [False, True]])
    assert np.array_equal(Stretch.identity(3).apply(bands, valid)[..., 1], np.where(valid, 255, 0))


def test_percentiles_leave_out_the_tails() -> None:
    bands = np.arange(10_001, dtype=np.float32)[None]
    fitted = Stretch.fit(bands, all_valid(bands))
    assert (fitted.low, fitted.high) == ((200.0,), (9800.0,))


def test_values_that_do_not_count_do_not_move_the_fit() -> None:
    bands = np.concatenate([np.arange(1000.0), [np.nan, np.inf, -np.inf, -9999.0, 1e30]])[None]
    valid = np.arange(1005) < 1003
    assert Stretch.fit(bands, valid) == Stretch.fit(bands[:, :1000], valid[:1000])


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e30])
def test_a_constant_band_is_black_and_harmless(value: float) -> None:
    bands = np.full((1, 5, 5), value)
    fitted = Stretch.fit(bands.reshape(1, -1), np.ones(25, dtype=bool))
    assert (fitted.apply(bands, all_valid(bands)) == 0).all()


def test_few_bright_pixels_on_an_even_ground_remain_visible() -> None:
    bands = np.zeros((1, 1000), dtype=np.uint16)
    bands[0, :5] = 4000
    fitted = Stretch.fit(bands, all_valid(bands))
    assert (fitted.low, fitted.high) == ((0.0,), (4000.0,))


def test_nothing_valid_gives_a_stretch_that_can_be_applied() -> None:
    bands = np.full((3, 10), np.nan)
    fitted = Stretch.fit(bands, np.zeros(10, dtype=bool))
    assert (fitted.apply(bands.reshape(3, 2, 5), np.ones((2, 5), dtype=bool)) == 0).all()


@pytest.mark.parametrize(("low", "high"), [(0, 5e-324), (-1e308, 1.7e308), (1e-310, 2e-310)])
def test_the_smallest_and_the_widest_ranges_are_filled(low: float, high: float) -> None:
    stretch = Stretch(low=(low,), high=(high,))
    rgb = stretch.apply(np.array([[[low, high]]]), np.ones((1, 2), dtype=bool))
    assert rgb[0, :, 0].tolist() == [0, 255]


@given(samples)
def test_any_values_give_a_picture_and_keep_their_order(bands: np.ndarray) -> None:
    fitted = Stretch.fit(bands, all_valid(bands))
    rgb = fitted.apply(bands[:, None, :], np.ones((1, 40), dtype=bool))
    for channel, band in enumerate(bands):
        numbers = np.isfinite(band)
        order = np.argsort(band[numbers], kind="stable")
        assert (np.diff(rgb[0, numbers, channel][order].astype(int)) >= 0).all()


@given(samples, st.integers(1, 39))
def test_equal_pixels_get_equal_values_in_every_tile(bands: np.ndarray, cut: int) -> None:
    fitted = Stretch.fit(bands, all_valid(bands))
    valid = np.ones((1, 40), dtype=bool)
    whole = fitted.apply(bands[:, None, :], valid)
    parts = [fitted.apply(bands[:, None, half], valid[:, half]) for half in (slice(None, cut), slice(cut, None))]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


@given(samples)
def test_json_gives_back_an_equal_stretch(bands: np.ndarray) -> None:
    fitted = Stretch.fit(bands, all_valid(bands))
    assert Stretch.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_refuses_what_cannot_be_a_stretch() -> None:
    with pytest.raises(UsageError, match="1 or 3"):
        Stretch(low=(0.0, 0.0), high=(1.0, 1.0))
    with pytest.raises(UsageError, match="finite"):
        Stretch(low=(float("nan"),), high=(1.0,))
    with pytest.raises(UsageError, match="same number"):
        Stretch.identity(1).apply(np.zeros((3, 2, 2), dtype=np.uint8), np.ones((2, 2), dtype=bool))


@given(st.integers(1, 50_000), st.integers(1, 50_000))
def test_sample_is_bounded_inside_and_disjoint(height: int, width: int) -> None:
    windows = sample_windows(height, width)
    assert sum(w.height * w.width for w in windows) <= SAMPLE_PX
    assert all(w.row >= 0 and w.col >= 0 and w.row_end <= height and w.col_end <= width for w in windows)
    assert not any(w.is_empty for w in windows)
    assert all(a.intersection(b).is_empty for a, b in pairwise(sorted(windows)))


@given(st.integers(1, 50_000), st.integers(1, 50_000))
def test_sample_is_spread_and_of_useful_size(height: int, width: int) -> None:
    windows = sample_windows(height, width)
    assert sum(w.height * w.width for w in windows) >= min(height * width, SAMPLE_PX // 2)
    assert min(w.row for w in windows) <= height // 2 <= max(w.row_end for w in windows)
    assert max(w.row_end for w in windows) >= height * 7 // 8
    assert max(w.col_end for w in windows) >= width * 7 // 8


def test_a_small_raster_is_its_own_sample() -> None:
    (window,) = sample_windows(1000, 2000)
    assert window.shape == (1000, 2000)
