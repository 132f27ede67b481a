"""LabelledImage: an image and the outlines of what is in it; what training and evaluation eat.

One .npz file holds one image, uncompressed, with its masks packed to bits, so that loading costs little more than
reading: a few milliseconds for 768 x 768 px with 100 objects. No pickle is written or accepted.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samgeo.errors import UsageError
from samgeo.pixels import Mask, Window
from samgeo.train.scenes import Scene

MIN_SHARE = 0.3
"""An object of which less than this share is inside a window is a sliver and dropped ..."""
LARGE_PX = 4096
"""... unless so many pixels of it are inside."""
MIN_AREA_PX = 16
"""Fewer pixels than this are no object."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImage:
    """An image from above and the objects that somebody drew in it."""

    image: NDArray[np.uint8] = field(repr=False)
    """(H, W, 3) RGB."""
    objects: tuple[Mask, ...] = field(repr=False)
    """What was drawn, in pixels of the image, with labels where there are any; objects may overlap."""
    source: str
    """Where it comes from: the source, a slash, and the scene in it; for example "buildings_oam_banepa/banepa_west"."""
    gsd_m: float | None
    """Ground metres a pixel; None where that is not known or means nothing."""
    complete: bool
    """True if every object of its classes in the image is drawn."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise UsageError(f"{self.source}: image of {self.image.shape} {self.image.dtype}: expected (H, W, 3) uint8")
        whole = self.window
        for number, mask in enumerate(self.objects):
            if mask.window.is_empty or not whole.contains(mask.window):
                raise UsageError(f"{self.source}: object {number} at {mask.window}: expected it inside {whole}")

    @classmethod
    def from_scene(cls, scene: Scene, *, source: str = "scenes") -> Self:
        """A made-up scene; wholes and parts alike become objects."""
        return cls(image=scene.image, objects=scene.objects, source=source, gsd_m=scene.gsd_m, complete=True)

    @property
    def window(self) -> Window:
        """The whole image."""
        return Window(row=0, col=0, height=self.image.shape[0], width=self.image.shape[1])

    def save(self, path: Path) -> None:
        """Write one .npz file: same content, same bytes. What was there stays until the new one is whole."""
        packed = [np.packbits(mask.pixels) for mask in self.objects]
        about = {
            "source": self.source,
            "gsd_m": self.gsd_m,
            "complete": self.complete,
            "labels": [mask.label for mask in self.objects],
        }
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as file:
            np.savez(
                file,
                image=self.image,
                bits=np.concatenate([np.zeros(0, np.uint8), *packed]),
                windows=np.array([_corner_and_size(m.window) for m in self.objects], dtype=np.int32).reshape(-1, 4),
                about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises UsageError for any other file."""
        try:
            # One read: the many small ones of a zip file cost more than the bytes.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                image, bits, windows = stored["image"], stored["bits"], stored["windows"]
                about = json.loads(stored["about"].tobytes())
            objects = tuple(_unpack(bits, windows, about["labels"]))
            return cls(
                image=image, objects=objects, source=about["source"], gsd_m=about["gsd_m"], complete=about["complete"]
            )
        except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"{path}: not a labelled image ({error}). Fix: make it again with `python -m samgeo.train.prepare`"
            ) from error

    def crop(self, window: Window, *, min_share: float = MIN_SHARE, large_px: int = LARGE_PX) -> Self:
        """The part inside `window`, which lies inside the image; objects are clipped and slivers dropped."""
        if window.is_empty or not self.window.contains(window):
            raise UsageError(f"{self.source}: crop {window}: expected a window inside {self.window}")
        kept = []
        for mask in self.objects:
            if mask.window.intersection(window).is_empty:
                continue
            part = mask.crop(window)
            if part.area_px >= max(1, min(min_share * mask.area_px, large_px)):
                kept.append(part.shift(-window.row, -window.col))
        return replace(self, image=np.ascontiguousarray(self.image[window.slices()]), objects=tuple(kept))

    def tiles(self, max_px: int) -> Iterator[tuple[str, Self]]:
        """Name ("r0c1") and content of equal windows, at most `max_px` high and wide, that partition the image."""
        rows, cols = _partition(self.image.shape[0], max_px), _partition(self.image.shape[1], max_px)
        for i, (row, row_end) in enumerate(rows):
            for j, (col, col_end) in enumerate(cols):
                window = Window(row=row, col=col, height=row_end - row, width=col_end - col)
                yield f"r{i}c{j}", self.crop(window)

    def enlarged(self, factor: int) -> Self:
        """Image and objects `factor` times larger: bicubic, and outlines by bilinear weights cut at one half."""
        height, width = self.image.shape[:2]
        picture = Image.fromarray(self.image).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
        objects = tuple(_enlarge(mask, factor) for mask in self.objects)
        gsd_m = None if self.gsd_m is None else self.gsd_m / factor
        return replace(self, image=np.asarray(picture), objects=objects, gsd_m=gsd_m)


def _corner_and_size(window: Window) -> tuple[int, int, int, int]:
    return window.row, window.col, window.height, window.width


def _unpack(bits: NDArray[np.uint8], windows: NDArray[Any], labels: Sequence[str | None]) -> Iterator[Mask]:
    start = 0
    for (row, col, height, width), label in zip(windows.tolist(), labels, strict=True):
        stop = start + math.ceil(height * width / 8)
        flat = np.unpackbits(bits[start:stop], count=height * width)
        window = Window(row=row, col=col, height=height, width=width)
        yield Mask(window=window, pixels=flat.reshape(height, width).view(np.bool_), label=label)
        start = stop


def _partition(size: int, max_px: int) -> list[tuple[int, int]]:
    count = math.ceil(size / max_px)
    edges = [size * part // count for part in range(count + 1)]
    return list(pairwise(edges))


def _enlarge(mask: Mask, factor: int) -> Mask:
    height, width = mask.window.shape
    grey = Image.fromarray(np.pad(mask.pixels, 1).view(np.uint8) * np.uint8(255))
    larger = grey.resize(((width + 2) * factor, (height + 2) * factor), Image.Resampling.BILINEAR)
    cut = Mask.from_array(np.asarray(larger)[factor:-factor, factor:-factor] > 127)
    if cut.window.is_empty:  # thinner than the filter everywhere
        cut = Mask.from_array(np.kron(mask.pixels, np.ones((factor, factor), dtype=bool)))
    row, col = mask.window.row * factor, mask.window.col * factor
    return replace(mask, window=cut.window.shift(row, col), pixels=cut.pixels)
