"""Tiling: a grid cut into read windows that overlap and cores that partition it. Integers only.

    read window k   [k * stride, k * stride + tile)      stride = tile - overlap
    core line k     k * stride + overlap // 2            in the middle of what k - 1 and k share

Read windows all have one size, since networks like that; the last ones reach beyond the grid and are padded. Because
the overlap is at most half a tile, a read window meets at most its eight neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from samgeo.errors import UsageError
from samgeo.pixels import Window


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One unit of work: what is read for it and which pixels it answers for."""

    index: int
    """Position in row-major order, from 0."""
    row_index: int
    """Row of tiles, from 0."""
    col_index: int
    """Column of tiles, from 0."""
    read: Window
    """What the model sees, tile_px square; it may reach below and to the right of the grid."""
    core: Window
    """The pixels that belong to this tile alone; always inside the grid."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """All tiles of a grid of height x width pixels, in row-major order."""

    height: int
    """Rows of the grid."""
    width: int
    """Columns of the grid."""
    tile_px: int
    """Side of a read window."""
    overlap_px: int
    """Rows, or columns, that neighbouring read windows share; from 2 to tile_px / 2."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(f"a grid of {self.width} x {self.height} px: expected at least 1 x 1")
        if not 2 <= self.overlap_px <= self.tile_px // 2:
            raise UsageError(
                f"--overlap {self.overlap_px} with --tile {self.tile_px}: "
                f"expected an overlap from 2 to half a tile ({self.tile_px // 2})"
            )

    @property
    def stride_px(self) -> int:
        """Distance between the starts of neighbouring read windows."""
        return self.tile_px - self.overlap_px

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return self._count(self.height)

    @property
    def cols(self) -> int:
        """Number of columns of tiles."""
        return self._count(self.width)

    @property
    def scales(self) -> tuple[int, ...]:
        """2, 4, 8 and so on, until the grid in pixels so many times as large fits into one read window."""
        scales: list[int] = []
        while max(self.height, self.width) > self.tile_px * 2 ** len(scales):
            scales.append(2 ** (len(scales) + 1))
        return tuple(scales)

    def coarser(self, scale: int) -> Tiling:
        """The tiling of the same grid in pixels `scale` times as large; the last ones may reach beyond the grid."""
        return replace(self, height=-(-self.height // scale), width=-(-self.width // scale))

    def __len__(self) -> int:
        return self.rows * self.cols

    def __iter__(self) -> Iterator[Tile]:
        return (self._tile(row, col) for row in range(self.rows) for col in range(self.cols))

    def __getitem__(self, index: int) -> Tile:
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index}: expected 0 to {len(self) - 1}")
        return self._tile(*divmod(index, self.cols))

    def tiles_meeting(self, window: Window) -> list[Tile]:
        """The tiles whose cores share a pixel with `window`, in row-major order. Outside the grid there are none."""
        inside = self._inside(window)
        rows = self._cores_meeting(inside.row, inside.row_end, self.height)
        cols = self._cores_meeting(inside.col, inside.col_end, self.width)
        return [] if inside.is_empty else [self._tile(row, col) for row in rows for col in cols]

    def tiles_reading(self, window: Window) -> list[Tile]:
        """The tiles that read a pixel of the grid inside `window`, in row-major order."""
        inside = self._inside(window)
        rows = self._reads_meeting(inside.row, inside.row_end, self.height)
        cols = self._reads_meeting(inside.col, inside.col_end, self.width)
        return [] if inside.is_empty else [self._tile(row, col) for row in rows for col in cols]

    def neighbours(self, tile: Tile) -> list[Tile]:
        """The at most eight other tiles whose read windows overlap that of `tile`, in row-major order."""
        rows = range(max(0, tile.row_index - 1), min(self.rows, tile.row_index + 2))
        cols = range(max(0, tile.col_index - 1), min(self.cols, tile.col_index + 2))
        here = (tile.row_index, tile.col_index)
        return [self._tile(row, col) for row in rows for col in cols if (row, col) != here]

    def _inside(self, window: Window) -> Window:
        return window.intersection(Window(row=0, col=0, height=self.height, width=self.width))

    def _count(self, size: int) -> int:
        return 1 + max(0, -(-(size - self.tile_px) // self.stride_px))

    def _line(self, k: int, size: int) -> int:
        """First row, or column, of core k; past the last core, the end of the grid."""
        if k == 0:
            return 0
        return size if k == self._count(size) else k * self.stride_px + self.overlap_px // 2

    def _tile(self, row: int, col: int) -> Tile:
        top, bottom = self._line(row, self.height), self._line(row + 1, self.height)
        left, right = self._line(col, self.width), self._line(col + 1, self.width)
        return Tile(
            index=row * self.cols + col,
            row_index=row,
            col_index=col,
            read=Window(row=row * self.stride_px, col=col * self.stride_px, height=self.tile_px, width=self.tile_px),
            core=Window(row=top, col=left, height=bottom - top, width=right - left),
        )

    def _cores_meeting(self, start: int, end: int, size: int) -> range:
        last, half = self._count(size) - 1, self.overlap_px // 2
        first = max(0, (start - half) // self.stride_px)
        return range(min(first, last), min(max(0, (end - 1 - half) // self.stride_px), last) + 1)

    def _reads_meeting(self, start: int, end: int, size: int) -> range:
        last = self._count(size) - 1
        first = max(0, -(-(start - self.tile_px + 1) // self.stride_px))
        return range(first, min((end - 1) // self.stride_px, last) + 1)
