"""Tiling: cores partition the grid, read windows cover it, and every query agrees with a brute-force search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samgeo.errors import UsageError
from samgeo.pixels import Window
from samgeo.tiling import Tiling


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    tile = draw(st.integers(6, 16))
    return Tiling(
        height=draw(st.integers(1, 30)),
        width=draw(st.integers(1, 30)),
        tile_px=tile,
        overlap_px=draw(st.integers(2, tile // 2)),
    )


@st.composite
def windows(draw: st.DrawFn) -> Window:
    row, col = draw(st.integers(-20, 40)), draw(st.integers(-20, 40))
    return Window(row=row, col=col, height=draw(st.integers(0, 40)), width=draw(st.integers(0, 40)))


@given(tilings())
def test_cores_partition_the_grid(tiling: Tiling) -> None:
    owners = np.zeros((tiling.height, tiling.width), dtype=int)
    for tile in tiling:
        assert not tile.core.is_empty
        owners[tile.core.slices()] += 1
    assert (owners == 1).all()


@given(tilings())
def test_read_windows_lie_on_the_lattice_and_hold_their_cores(tiling: Tiling) -> None:
    for tile in tiling:
        assert (tile.read.row, tile.read.col) == (tile.row_index * tiling.stride_px, tile.col_index * tiling.stride_px)
        assert tile.read.shape == (tiling.tile_px, tiling.tile_px)
        assert tile.read.contains(tile.core)


@given(tilings())
def test_cores_keep_half_an_overlap_from_inner_edges(tiling: Tiling) -> None:
    half = tiling.overlap_px // 2
    for tile in tiling:
        assert tile.row_index == 0 or tile.core.row - tile.read.row >= half
        assert tile.row_index == tiling.rows - 1 or tile.read.row_end - tile.core.row_end >= half
        assert tile.col_index == 0 or tile.core.col - tile.read.col >= half
        assert tile.col_index == tiling.cols - 1 or tile.read.col_end - tile.core.col_end >= half


@given(tilings())
def test_no_tile_could_be_left_out(tiling: Tiling) -> None:
    before = (tiling.rows - 2) * tiling.stride_px + tiling.tile_px
    assert tiling.rows == 1 or before < tiling.height


@given(tilings(), windows())
def test_queries_agree_with_a_search_through_all_tiles(tiling: Tiling, window: Window) -> None:
    inside = window.intersection(Window(row=0, col=0, height=tiling.height, width=tiling.width))
    assert tiling.tiles_meeting(window) == [t for t in tiling if not t.core.intersection(inside).is_empty]
    assert tiling.tiles_reading(window) == [t for t in tiling if not t.read.intersection(inside).is_empty]


@given(tilings())
def test_neighbours_are_the_tiles_with_overlapping_read_windows(tiling: Tiling) -> None:
    tiles = list(tiling)
    for tile in tiles:
        expected = [t for t in tiles if t != tile and not t.read.intersection(tile.read).is_empty]
        assert tiling.neighbours(tile) == expected
        assert len(expected) <= 8


@given(tilings())
def test_index_finds_its_tile(tiling: Tiling) -> None:
    assert [tiling[i] for i in range(len(tiling))] == list(tiling)
    assert [t.index for t in tiling] == list(range(len(tiling)))
    with pytest.raises(IndexError):
        tiling[len(tiling)]


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "count"),
    [
        (1, 8, 2, 1),
        (8, 8, 2, 1),
        (9, 8, 2, 2),
        (14, 8, 2, 2),
        (15, 8, 2, 3),
        (1024, 1024, 128, 1),
        (10000, 1024, 128, 12),
    ],
)
def test_number_of_tiles(size: int, tile: int, overlap: int, count: int) -> None:
    tiling = Tiling(height=size, width=1, tile_px=tile, overlap_px=overlap)
    assert (tiling.rows, tiling.cols, len(tiling)) == (count, 1, count)


@pytest.mark.parametrize(("tile", "overlap"), [(8, 1), (8, 5), (3, 2), (9, 5), (8, -2)])
def test_refuses_overlaps_that_cannot_work(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="--overlap"):
        Tiling(height=10, width=10, tile_px=tile, overlap_px=overlap)


def test_refuses_an_empty_grid() -> None:
    with pytest.raises(UsageError, match="at least 1 x 1"):
        Tiling(height=0, width=10, tile_px=8, overlap_px=2)
