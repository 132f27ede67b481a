"""Placing: which window of the lattice shows a box best. Integers only.

    lattice         the read windows of a tiling
    fine lattice    the same windows, also shifted down and right by one, two and three quarters of a tile

A window shows a box the better, the farther the box stays from the window's border: objects reach beyond the clicks on
them, and networks need to see what lies around. The border of the grid itself does not count: nothing lies beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable

from samgeo.pixels import Window
from samgeo.tiling import Tiling


def margin_px(window: Window, box: Window, tiling: Tiling) -> int:
    """Pixels between `box` and the nearest border of `window` that is not the grid's; negative if it sticks out.

    A box with no border to come near to has a margin of a whole tile.
    """
    margins = [tiling.tile_px]
    if window.row > 0:
        margins.append(box.row - window.row)
    if window.col > 0:
        margins.append(box.col - window.col)
    if window.row_end < tiling.height:
        margins.append(window.row_end - box.row_end)
    if window.col_end < tiling.width:
        margins.append(window.col_end - box.col_end)
    return min(margins)


def lattice_window(tiling: Tiling, box: Window) -> Window:
    """The window to segment a box in, when many boxes share the windows.

    The read window whose core holds the middle of the box, as long as half an overlap is left around it; else the best
    window of the fine lattice.
    """
    read = tiling.tiles_meeting(_middle(tiling, box))[0].read
    return read if margin_px(read, box, tiling) >= tiling.overlap_px // 2 else fine_window(tiling, box)


def fine_window(tiling: Tiling, box: Window, encoded: Iterable[Window] = ()) -> Window:
    """The window of the fine lattice that leaves most around a box; one of `encoded` if it leaves an eighth of a tile.

    Equally good windows: the one that shows more of the grid, then the upper, then the left one.
    """

    def rank(window: Window) -> tuple[int, int, int, int]:
        shown = window.intersection(Window(row=0, col=0, height=tiling.height, width=tiling.width))
        return -margin_px(window, box, tiling), -shown.height * shown.width, window.row, window.col

    known = min(encoded, key=rank, default=None)
    if known is not None and margin_px(known, box, tiling) >= tiling.tile_px // 8:
        return known
    middle = _middle(tiling, box)
    rows = _starts(middle.row, tiling, tiling.rows)
    cols = _starts(middle.col, tiling, tiling.cols)
    side = tiling.tile_px
    return min((Window(row=row, col=col, height=side, width=side) for row in rows for col in cols), key=rank)


def _middle(tiling: Tiling, box: Window) -> Window:
    """The pixel of the grid nearest to the middle of a box."""
    row, col = (box.row + box.row_end - 1) // 2, (box.col + box.col_end - 1) // 2
    return Window(row=min(max(row, 0), tiling.height - 1), col=min(max(col, 0), tiling.width - 1), height=1, width=1)


def _starts(middle: int, tiling: Tiling, count: int) -> list[int]:
    """Starts of the fine lattice whose windows hold row, or column, `middle`; `count` tiles lie in this direction."""
    side, last = tiling.tile_px, (count - 1) * tiling.stride_px
    near = range(max(0, (middle - 2 * side) // tiling.stride_px), min(count, middle // tiling.stride_px + 1))
    quarters = {k * tiling.stride_px + shift * side // 4 for k in near for shift in range(4)} | {0, last}
    return sorted(start for start in quarters if start <= last and start <= middle < start + side)
