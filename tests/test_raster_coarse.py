"""A raster seen from further away: the mean of valid pixels, whatever the window and the strips it is read in."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from samgeo.grid import Grid
from samgeo.pixels import Window
from samgeo.raster import coarse
from samgeo.raster.coarse import read_rgb_coarse
from samgeo.raster.reader import Raster, Resampling


def raster(seed: int, height: int, width: int, resampling: Resampling = "auto") -> Raster:
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 256, (height, width, 3), dtype=np.uint8)
    masked = np.ma.masked_array(image, np.repeat(rng.random((height, width, 1)) < 0.3, 3, axis=2))
    crs = pyproj.CRS.from_epsg(32633)
    grid = Grid(height=height, width=width, transform=Affine(1, 0, 5e5, 0, -1, 5e6), crs=crs)
    return Raster(masked, grid=grid, resampling=resampling)


@given(seed=st.integers(0, 99), scale=st.sampled_from([2, 4, 8]), row=st.integers(-3, 9), col=st.integers(-3, 9))
def test_pixels_are_means_of_what_is_valid_in_them(seed: int, scale: int, row: int, col: int) -> None:
    near = raster(seed, 37, 29)
    window = Window(row=row, col=col, height=5, width=6)
    rgb, valid = read_rgb_coarse(near, window, scale)
    for i, j in np.ndindex(5, 6):
        block = Window(row=(row + i) * scale, col=(col + j) * scale, height=scale, width=scale)
        pixels, there = near.read_rgb(block)
        assert valid[i, j] == (2 * there.sum() >= scale * scale)
        mean = pixels[there].mean(axis=0) if valid[i, j] else np.zeros(3)
        assert np.abs(rgb[i, j] - mean).max() <= 0.5


@pytest.mark.parametrize("pixels", [2 * 7, 3, 0], ids=["rows", "pieces of rows", "pixels"])
def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    window = Window(row=-1, col=0, height=9, width=7)
    at_once = read_rgb_coarse(raster(1, 37, 29), window, 4)
    monkeypatch.setattr(coarse, "BLOCK_PX", 16 * pixels)
    in_blocks = read_rgb_coarse(raster(1, 37, 29), window, 4)
    assert all(np.array_equal(a, b) for a, b in zip(at_once, in_blocks, strict=True))


def test_nearest_takes_the_pixel_in_the_middle() -> None:
    near = raster(2, 32, 32, "nearest")
    rgb, valid = read_rgb_coarse(near, Window(row=0, col=0, height=8, width=8), 4)
    pixels, there = near.read_rgb(Window(row=0, col=0, height=32, width=32))
    assert np.array_equal(rgb, pixels[2::4, 2::4])
    assert np.array_equal(valid, there[2::4, 2::4])
