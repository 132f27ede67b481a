from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from samgeo.errors import RasterError
from samgeo.grid import Grid
from samgeo.pipeline import witness
from samgeo.pipeline.witness import Ahead, Witness
from samgeo.pixels import Window
from samgeo.quiet import QuietThread
from samgeo.raster.reader import Raster

WINDOW = Window(row=1, col=2, height=5, width=4)


@pytest.fixture
def raster() -> Raster:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    return Raster(pixels, grid=Grid(width=9, height=8, transform=Affine.scale(1, -1), crs=None))


def test_what_was_read_ahead_is_what_would_be_read_and_is_taken_once(raster: Raster) -> None:
    plain = Witness()
    expected = plain.look(raster, WINDOW, 1)
    ahead = Ahead(QuietThread())
    ahead.expect(raster, WINDOW, 1)
    seen = Witness(ahead)
    for one, other in zip(seen.look(raster, WINDOW, 1), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert ahead.take(WINDOW, 1) is None
    np.testing.assert_array_equal(seen.arrays()["seen_sha256"], plain.arrays()["seen_sha256"])


def test_an_error_comes_out_where_the_window_is_needed_and_another_try_reads_again(
    raster: Raster, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read = [], witness.read_rgb_coarse

    def once(*arguments: object) -> object:
        reads.append(arguments)
        if len(reads) == 1:
            raise RasterError("gone for a moment")
        return read(*arguments)

    monkeypatch.setattr(witness, "read_rgb_coarse", once)
    ahead = Ahead(QuietThread())
    ahead.expect(raster, WINDOW, 1)
    with pytest.raises(RasterError, match="for a moment"):
        Witness(ahead).look(raster, WINDOW, 1)
    rgb, _ = Witness(ahead).look(raster, WINDOW, 1)
    assert rgb.shape == (5, 4, 3)
    assert len(reads) == 2
