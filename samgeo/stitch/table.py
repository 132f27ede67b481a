"""MaskTable: what stitching must know of every mask of a raster, in 47 bytes each; the pixels stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import UsageError
from samgeo.pixels import Mask, Window
from samgeo.tiling import Tile, Tiling

MOST_LABELS = 127
"""So many fit into a byte."""
Crops = Callable[[int, int], NDArray[np.bool_]]
"""(tile index, index of the mask in its tile) -> (h, w) bool, the pixels of the mask's bounding box. Asked for tile by
tile in row-major order, and for tiles below and right of it: two rows of tiles are worth keeping at hand."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskTable:
    """One row a mask, in columns of equal length; boxes are in pixels of the grid."""

    tile: NDArray[np.int32]
    """Index of the tile that the mask was found in."""
    index: NDArray[np.int32]
    """Position of the mask in its tile."""
    top: NDArray[np.int32]
    """First row of its bounding box."""
    left: NDArray[np.int32]
    """First column of its bounding box."""
    bottom: NDArray[np.int32]
    """First row below its bounding box."""
    right: NDArray[np.int32]
    """First column right of its bounding box."""
    first_col: NDArray[np.int32]
    """Column of the mask's first pixel in row-major order."""
    area: NDArray[np.int32]
    """Number of pixels."""
    score: NDArray[np.float32]
    """IoU that the model expects, 0 to 1."""
    stability: NDArray[np.float32]
    """Stability, 0 to 1."""
    cut: NDArray[np.bool_]
    """True if the mask touches a border of its read window that is not a border of the grid, and so may go on there."""
    word: NDArray[np.int8]
    """Number of the word that the mask was sought as, -1 for none; only masks of one word are one object."""
    label: NDArray[np.int8]
    """Number of what the mask is called, -1 for none; the masks of an object may be called differently."""
    label_score: NDArray[np.float32]
    """How sure the model is of the label, 0 to 1."""

    def __len__(self) -> int:
        return len(self.tile)

    @classmethod
    def from_masks(
        cls, masks: Sequence[Mask], *, tile: Tile, tiling: Tiling, labels: Sequence[str] = (), sought: bool = True
    ) -> MaskTable:
        """The rows of one tile.

        masks: in pixels of the grid, inside the tile's read window and the grid. labels: all labels there are.
        sought: they are words that were sought, not what a model says of masks that were found without them.
        Raises UsageError for a mask without pixels, one that reaches outside, and a label that is not in `labels`.
        """
        grid = Window(row=0, col=0, height=tiling.height, width=tiling.width)
        for position, mask in enumerate(masks):
            if mask.window.is_empty or not tile.read.intersection(grid).contains(mask.window):
                raise UsageError(
                    f"mask {position} of tile {tile.index} covers {mask.window}: expected some pixels of {tile.read}"
                )
            if mask.label is not None and mask.label not in labels:
                raise UsageError(f"mask {position} of tile {tile.index} is a {mask.label!r}: expected one of {labels}")
        if len(labels) > MOST_LABELS:
            raise UsageError(f"{len(labels)} words or classes: expected at most {MOST_LABELS}")
        windows = [mask.window for mask in masks]
        label = np.array([-1 if m.label is None else labels.index(m.label) for m in masks], dtype=np.int8)
        return cls(
            tile=np.full(len(masks), tile.index, dtype=np.int32),
            index=np.arange(len(masks), dtype=np.int32),
            top=np.array([w.row for w in windows], dtype=np.int32),
            left=np.array([w.col for w in windows], dtype=np.int32),
            bottom=np.array([w.row_end for w in windows], dtype=np.int32),
            right=np.array([w.col_end for w in windows], dtype=np.int32),
            first_col=np.array([m.window.col + int(np.argmax(m.pixels[0])) for m in masks], dtype=np.int32),
            area=np.array([mask.area_px for mask in masks], dtype=np.int32),
            score=np.array([mask.score for mask in masks], dtype=np.float32),
            stability=np.array([mask.stability for mask in masks], dtype=np.float32),
            cut=np.array([is_cut(window, tile.read, tiling) for window in windows], dtype=bool),
            word=label if sought else np.full_like(label, -1),
            label=label,
            label_score=np.array([mask.label_score for mask in masks], dtype=np.float32),
        )

    @classmethod
    def concatenate(cls, tables: Sequence[MaskTable]) -> MaskTable:
        """All rows of several tables, ordered by tile and position, in whatever order the tables come.

        tables: at least one, which may be empty.
        """
        columns: dict[str, NDArray[Any]] = {
            f.name: np.concatenate([getattr(table, f.name) for table in tables]) for f in fields(cls)
        }
        order = np.lexsort((columns["index"], columns["tile"]))
        return cls(**{name: column[order] for name, column in columns.items()})

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The columns by name: what a part file stores, and `MaskTable(**arrays)` takes back."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def rows_of(self, tile_index: int) -> NDArray[np.int64]:
        """Rows of one tile; the table must be ordered by tile, as `concatenate` leaves it."""
        first, end = np.searchsorted(self.tile, [tile_index, tile_index + 1])
        return np.arange(first, end)

    def box(self, row: int) -> Window:
        """Bounding box of the mask in one row."""
        top, left = int(self.top[row]), int(self.left[row])
        return Window(row=top, col=left, height=int(self.bottom[row]) - top, width=int(self.right[row]) - left)

    def pixels(self, row: int, window: Window, crops: Crops) -> NDArray[np.bool_]:
        """(window.height, window.width) bool: the mask in one row inside a window that lies in its bounding box."""
        box = self.box(row)
        return crops(int(self.tile[row]), int(self.index[row]))[window.shift(-box.row, -box.col).slices()]


def is_cut(box: Window, read: Window, tiling: Tiling) -> bool:
    """True if a mask with this bounding box touches a border of the window that is not a border of the grid."""
    return (
        (box.row <= read.row and read.row > 0)
        or (box.col <= read.col and read.col > 0)
        or (box.row_end >= read.row_end and read.row_end < tiling.height)
        or (box.col_end >= read.col_end and read.col_end < tiling.width)
    )
