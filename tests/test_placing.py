from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samgeo.pipeline.placing import fine_window, lattice_window, margin_px
from samgeo.pixels import Window
from samgeo.tiling import Tiling

TILING = Tiling(height=1000, width=1000, tile_px=256, overlap_px=32)


def box(row, col, height=1, width=1):
    return Window(row=row, col=col, height=height, width=width)


@given(st.integers(0, 999), st.integers(0, 999))
def test_a_click_goes_to_the_tile_whose_core_it_is_in(row, col):
    window = lattice_window(TILING, box(row, col))
    assert window == TILING.tiles_meeting(box(row, col))[0].read


@given(st.integers(0, 900), st.integers(0, 900), st.integers(1, 100), st.integers(1, 100))
def test_what_fits_with_room_gets_room(row, col, height, width):
    target = box(row, col, height, width)
    assert margin_px(lattice_window(TILING, target), target, TILING) >= TILING.overlap_px // 2
    assert margin_px(fine_window(TILING, target), target, TILING) >= TILING.tile_px // 8


def test_all_boxes_of_one_core_share_its_window():
    windows = {lattice_window(TILING, box(row, col, 9, 9)) for row in range(20, 200, 20) for col in range(20, 200, 20)}
    assert windows == {Window(row=0, col=0, height=256, width=256)}


def test_a_window_that_is_encoded_is_preferred_as_long_as_it_leaves_room():
    encoded = Window(row=64, col=64, height=256, width=256)
    assert fine_window(TILING, box(200, 200), [encoded]) == encoded
    assert fine_window(TILING, box(310, 200), [encoded]) != encoded


def test_the_border_of_the_grid_is_no_border():
    window = Window(row=0, col=0, height=256, width=256)
    assert margin_px(window, box(0, 0), TILING) == 255
    assert margin_px(Window(row=744, col=744, height=300, width=300), box(999, 999), TILING) == 255
    small = Tiling(height=100, width=100, tile_px=256, overlap_px=32)
    assert fine_window(small, box(3, 97)) == window


@given(st.integers(-50, 1100), st.integers(-50, 1100), st.integers(1, 2000), st.integers(1, 2000))
def test_every_box_gets_a_window_that_meets_the_grid(row, col, height, width):
    for window in (
        lattice_window(TILING, box(row, col, height, width)),
        fine_window(TILING, box(row, col, height, width)),
    ):
        assert window.shape == (256, 256)
        assert not window.intersection(Window(row=0, col=0, height=1000, width=1000)).is_empty
