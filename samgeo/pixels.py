"""The words of pixel space: Window, PixelPrompts, Mask.

A pixel coordinate in this module is x,y with an integer at a pixel's centre (the convention of Segment Anything).
Rows and columns are integers that name whole pixels. Nothing here knows where on Earth a pixel lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import PromptError, UsageError

FOREGROUND, BACKGROUND, PADDING = 1, 0, -1
"""Values of `PixelPrompts.labels`, SAM's own: a click on the object, a click beside it, no click."""


@dataclass(frozen=True, kw_only=True, order=True)
class Window:
    """A rectangle of whole pixels; it may reach beyond the raster that it refers to."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Number of rows, at least 0."""
    width: int
    """Number of columns, at least 0."""

    def __post_init__(self) -> None:
        if self.height < 0 or self.width < 0:
            raise UsageError(f"window {self.width} x {self.height} px: expected a width and a height of at least 0")

    @property
    def row_end(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def col_end(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def is_empty(self) -> bool:
        """True where there is no pixel inside."""
        return self.height == 0 or self.width == 0

    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array whose first pixel is (0, 0)."""
        return slice(self.row, self.row_end), slice(self.col, self.col_end)

    def shift(self, rows: int, cols: int) -> Window:
        """The same rectangle `rows` down and `cols` to the right."""
        return Window(row=self.row + rows, col=self.col + cols, height=self.height, width=self.width)

    def scaled(self, scale: int) -> Window:
        """The same rectangle in pixels of which `scale` x `scale` make one of this window's."""
        return Window(row=self.row * scale, col=self.col * scale, height=self.height * scale, width=self.width * scale)

    def in_words(self) -> str:
        """What messages call it."""
        return f"window of {self.width} x {self.height} px at column {self.col}, row {self.row}"

    def intersection(self, other: Window) -> Window:
        """The common rectangle; empty (0 x 0 or a line of no pixels) where there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = max(0, min(self.row_end, other.row_end) - row)
        width = max(0, min(self.col_end, other.col_end) - col)
        return Window(row=row, col=col, height=height, width=width)

    def contains(self, other: Window) -> bool:
        """True if every pixel of `other` is inside."""
        return (
            self.row <= other.row
            and self.col <= other.col
            and self.row_end >= other.row_end
            and self.col_end >= other.col_end
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelPrompts:
    """Prompts for N objects in the pixels of one image; every object has its row in every array that is given."""

    points: NDArray[np.float32] | None = None
    """(N, K, 2) x,y; an integer is a pixel's centre."""
    labels: NDArray[np.int64] | None = None
    """(N, K): 1 on the object, 0 beside it, -1 padding."""
    boxes: NDArray[np.float32] | None = None
    """(N, 4) x_min, y_min, x_max, y_max; an integer is a pixel's centre."""
    masks: NDArray[np.float32] | None = None
    """(N, h, w) logits at the decoder's resolution, as `decode` returned them."""

    def __post_init__(self) -> None:
        shapes = {"points": (None, None, 2), "labels": (None, None), "boxes": (None, 4), "masks": (None, None, None)}
        given = {name: getattr(self, name) for name in shapes if getattr(self, name) is not None}
        if not given:
            raise PromptError("no prompt: give points with labels, boxes, or masks")
        for name, array in given.items():
            wanted = shapes[name]
            if array.ndim != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, array.shape, strict=True)):
                text = ", ".join("any" if size is None else str(size) for size in wanted)
                raise PromptError(f"{name} have the shape {array.shape}: expected ({text})")
        if len({len(array) for array in given.values()}) > 1:
            sizes = ", ".join(f"{len(array)} {name}" for name, array in given.items())
            raise PromptError(f"{sizes}: expected one row for each object in all of them")
        if (self.points is None) != (self.labels is None):
            raise PromptError("points and labels come together: give both or neither")
        if self.points is not None and self.labels is not None and self.points.shape[:2] != self.labels.shape:
            raise PromptError(f"{self.labels.shape} labels for {self.points.shape[:2]} points: expected one each")

    def __len__(self) -> int:
        return next(len(array) for array in (self.points, self.boxes, self.masks) if array is not None)

    def __getitem__(self, index: slice | NDArray[np.int64] | NDArray[np.bool_]) -> PixelPrompts:
        """The prompts of some of the objects."""
        names = ("points", "labels", "boxes", "masks")
        return PixelPrompts(**{n: a[index] for n in names if (a := getattr(self, n)) is not None})


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """One object: the pixels of its bounding box, where that box lies, and how sure the model is."""

    window: Window
    """Where `pixels` lies in the image or the grid that the mask belongs to."""
    pixels: NDArray[np.bool_] = field(repr=False)
    """(window.height, window.width), True on the object."""
    score: float = 1.0
    """IoU with the true object that the model expects, 0 to 1."""
    stability: float = 1.0
    """IoU of the mask cut at a logit of +1 with the one cut at -1, 0 to 1."""
    label: str | None = None
    """What the object is, where the model says so."""
    label_score: float = 0.0
    """How sure the model is of the label, 0 to 1."""

    def __post_init__(self) -> None:
        if self.pixels.shape != self.window.shape:
            raise UsageError(f"mask of {self.pixels.shape} for a window of {self.window.shape}: expected the same")

    @classmethod
    def from_array(cls, array: NDArray[np.bool_], *, score: float = 1.0, stability: float = 1.0) -> Self:
        """Crop a full-size mask to its bounding box.

        array: (H, W) bool. An array without a True pixel gives a mask with an empty window at (0, 0).
        """
        rows, cols = np.flatnonzero(array.any(axis=1)), np.flatnonzero(array.any(axis=0))
        if rows.size == 0:
            window = Window(row=0, col=0, height=0, width=0)
        else:
            window = Window(
                row=int(rows[0]),
                col=int(cols[0]),
                height=int(rows[-1] - rows[0]) + 1,
                width=int(cols[-1] - cols[0]) + 1,
            )
        return cls(window=window, pixels=array[window.slices()].copy(), score=score, stability=stability)

    @property
    def area_px(self) -> int:
        """Number of pixels on the object."""
        return int(np.count_nonzero(self.pixels))

    def shift(self, rows: int, cols: int) -> Self:
        """The same mask in a frame whose origin lies `rows` up and `cols` to the left."""
        return replace(self, window=self.window.shift(rows, cols))

    def to_array(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) bool: the mask pasted into a frame that starts at (0, 0); what lies outside is cut off."""
        full = np.zeros((height, width), dtype=bool)
        inside = self.window.intersection(Window(row=0, col=0, height=height, width=width))
        if not inside.is_empty:
            full[inside.slices()] = self.pixels[inside.shift(-self.window.row, -self.window.col).slices()]
        return full

    def common_px(self, other: Mask) -> int:
        """Number of pixels that two masks of one frame have in common."""
        common = self.window.intersection(other.window)
        if common.is_empty:
            return 0
        mine = self.pixels[common.shift(-self.window.row, -self.window.col).slices()]
        theirs = other.pixels[common.shift(-other.window.row, -other.window.col).slices()]
        return int(np.count_nonzero(mine & theirs))

    def crop(self, window: Window) -> Self:
        """The part inside `window`, in the same frame, cropped again to what is left of the object."""
        inside = self.window.intersection(window)
        part = self.pixels[inside.shift(-self.window.row, -self.window.col).slices()]
        cut = Mask.from_array(part)
        return replace(self, window=cut.window.shift(inside.row, inside.col), pixels=cut.pixels)


def fill_invalid(rgb: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W, 3) with pixels that are not valid (H, W) in the mean colour of the others: black, they look like objects.

    What a network takes for no object is what SAM pads images with, the mean colour of its images.
    """
    if valid.all() or not valid.any():
        return rgb
    return np.where(valid[..., None], rgb, rgb[valid].mean(axis=0).round().astype(np.uint8))


def boxes_of(masks: Sequence[Mask]) -> NDArray[np.float32]:
    """(N, 4) x_min, y_min, x_max, y_max: the outer edges of the outermost pixels; integers are pixel centres."""
    edges = [(w.col, w.row, w.col_end, w.row_end) for w in (mask.window for mask in masks)]
    return np.array(edges, dtype=np.float32).reshape(-1, 4) - np.float32(0.5)
