"""Frames: how an image becomes what a network reads, and how the network's logits become the image's again.

A network sees its own frame: samgeo-nano the image as it is, SAM an image whose longest side has 1024 px, SAM 2 a
square of 1024 px whatever the image's proportions. Each resamples as it did when the network was trained; another
filter moves outlines by a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samgeo.pixels import Mask

LOGIT_PX = 4
"""Pixels of the frame to a pixel of the logits, in every network of the family."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0..1."""


class Frame(Protocol):
    """The bridge between the pixels of an image and those that a network sees."""

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 RGB -> (1, 3, H', W') float32 as the image encoder reads it."""
        ...

    def to_frame(self, xy: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """(..., 2) x,y in an image of `shape` (H, W) -> x,y in the frame."""
        ...

    def to_image(self, logits: Tensor, shape: tuple[int, int]) -> tuple[Tensor, int, int]:
        """(h, w) logits of a mask -> their values in an image of `shape` (H, W), and first row and column of these.

        Pixels outside are below -1 throughout.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class NativeFrame:
    """The image as it is, enlarged or reduced, padded at the right and the bottom to whole blocks.

    The network normalises it.
    """

    block_px: int
    """Images are padded to multiples of this."""
    zoom: float = 1
    """Pixels of the frame along one of the image: a power of two, at most 4."""

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H', W') in 0..1."""
        planes = at_zoom(_planes(image) / 255, self.zoom)
        height, width = planes.shape[-2:]
        return F.pad(planes, (0, -width % self.block_px, 0, -height % self.block_px))

    def logits_size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the logits of an image of `shape` (H, W)."""
        height, width = (math.ceil(side * self.zoom / self.block_px) * self.block_px // LOGIT_PX for side in shape)
        return height, width

    def to_frame(self, xy: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:  # noqa: ARG002
        """An integer is the centre of a pixel, here and there."""
        return xy if self.zoom == 1 else (xy + np.float32(0.5)) * np.float32(self.zoom) - np.float32(0.5)

    def to_image(self, logits: Tensor, shape: tuple[int, int]) -> tuple[Tensor, int, int]:
        """Enlarge what lies around the object."""
        return enlarge_object(logits, shape, times=round(LOGIT_PX / self.zoom))


def at_zoom(planes: Tensor, zoom: float) -> Tensor:
    """(N, C, H, W) enlarged or reduced by a power of two; sides that it does not divide repeat their last pixels."""
    if zoom > 1:
        return F.interpolate(planes, scale_factor=float(zoom), mode="bilinear")
    if zoom < 1:
        block = round(1 / zoom)
        whole = F.pad(planes, (0, -planes.shape[3] % block, 0, -planes.shape[2] % block), mode="replicate")
        return F.avg_pool2d(whole, block)
    return planes


@dataclass(frozen=True, kw_only=True)
class LongestSideFrame:
    """SAM's: Pillow resizes the longest side to `size_px`, and zeros fill the rest of the square after normalising."""

    size_px: int = 1024

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, size, size)."""
        height, width = self.inner((image.shape[0], image.shape[1]))
        resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        mean, std = (torch.tensor([255 * c for c in x]).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        return F.pad((_planes(resized) - mean) / std, (0, self.size_px - width, 0, self.size_px - height))

    def to_frame(self, xy: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Each axis has its own ratio, because both new sides are rounded to whole pixels."""
        height, width = self.inner(shape)
        return (xy.astype(np.float64) * (width / shape[1], height / shape[0])).astype(np.float32)

    def to_image(self, logits: Tensor, shape: tuple[int, int]) -> tuple[Tensor, int, int]:
        """To the frame first, then without the padding to the image: two resamplings, as in SAM."""
        inner = self.inner(shape)
        if inner == shape:
            return enlarge_object(logits, shape)
        framed = _resample(logits, (self.size_px, self.size_px))[: inner[0], : inner[1]]
        return _resample(framed, shape), 0, 0

    def inner(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the resized image inside the square."""
        scale = self.size_px / max(shape)
        height, width = (max(int(side * scale + 0.5), 1) for side in shape)
        return height, width


@dataclass(frozen=True, kw_only=True)
class SquareFrame:
    """SAM 2's: a square of `size_px` whatever the image's proportions, resampled with antialiasing in 0..1.

    EfficientSAM's is without antialiasing, and enlarges logits by cubic interpolation.
    """

    size_px: int = 1024
    antialias: bool = True
    """Average the pixels of larger images, else read some of them."""
    cubic: bool = False
    """How logits are enlarged; else bilinear."""

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, size, size)."""
        size = (self.size_px, self.size_px)
        squeezed = F.interpolate(_planes(image) / 255, size, mode="bilinear", antialias=self.antialias)
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        return (squeezed - mean) / std

    def to_frame(self, xy: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Each axis has its own ratio."""
        return (xy / np.array(shape[::-1], np.float32) * np.float32(self.size_px)).astype(np.float32)

    def to_image(self, logits: Tensor, shape: tuple[int, int]) -> tuple[Tensor, int, int]:
        """Straight to the image."""
        if self.cubic:
            return F.interpolate(logits[None, None], shape, mode="bicubic")[0, 0], 0, 0
        if shape == (self.size_px, self.size_px):
            return enlarge_object(logits, shape)
        return _resample(logits, shape), 0, 0


@dataclass(frozen=True, kw_only=True)
class LetterboxFrame:
    """FastSAM's: the longest side at `size_px`, and grey around it up to whole blocks; in 0..1."""

    size_px: int = 1024
    block_px: int = 32
    """What the network halves five times."""

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H', W'), resampled without antialiasing and rounded to 8 bit."""
        shape = (image.shape[0], image.shape[1])
        left, top, right, bottom = self.inner_box(shape)
        height, width = self._outer(shape)
        resized = F.interpolate(_planes(image), (bottom - top, right - left), mode="bilinear").round()
        return F.pad(resized, (left, width - right, top, height - bottom), value=114) / 255

    def to_frame(self, xy: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Each axis has its own ratio, because both new sides are rounded to whole pixels."""
        left, top = self.inner_box(shape)[:2]
        ratio = self._ratio(shape)
        return ((xy.astype(np.float64) + 0.5) * ratio - 0.5 + (left, top)).astype(np.float32)

    def from_frame(self, box: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """x_min, y_min, x_max, y_max from the frame to an image of `shape` (H, W); an integer is a pixel's corner."""
        left, top = self.inner_box(shape)[:2]
        return ((box.reshape(2, 2).astype(np.float64) - (left, top)) / self._ratio(shape)).astype(np.float32).reshape(4)

    def to_image(self, logits: Tensor, shape: tuple[int, int]) -> tuple[Tensor, int, int]:
        """To the frame, then without the grey to the image."""
        left, top, right, bottom = self.inner_box(shape)
        if (bottom, right) == shape and (left, top) == (0, 0):
            return enlarge_object(logits, shape)
        framed = _resample(logits, self._outer(shape))[top:bottom, left:right]
        return _resample(framed, shape), 0, 0

    def inner_box(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """x_min, y_min, x_max, y_max of an image of `shape` (H, W) in the frame."""
        (height, width), (outer_height, outer_width) = self._inner(shape), self._outer(shape)
        left, top = (outer_width - width) // 2, (outer_height - height) // 2
        return left, top, left + width, top + height

    def _ratio(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Pixels of the frame to one of the image, along x and y."""
        height, width = self._inner(shape)
        return width / shape[1], height / shape[0]

    def _inner(self, shape: tuple[int, int]) -> tuple[int, int]:
        height, width = (max(round(side * self.size_px / max(shape)), 1) for side in shape)
        return height, width

    def _outer(self, shape: tuple[int, int]) -> tuple[int, int]:
        height, width = (-(-side // self.block_px) * self.block_px for side in self._inner(shape))
        return height, width


def enlarge_object(logits: Tensor, shape: tuple[int, int], *, times: int = LOGIT_PX) -> tuple[Tensor, int, int]:
    """Enlarge by `times` what lies around the object; the values are the same as in the whole.

    logits: (h, w). shape: (H, W), which is cut off. -> values, first row, first column.
    """
    cells = Mask.from_array((logits > -1).numpy()).window
    top, left = max(cells.row - 2, 0), max(cells.col - 2, 0)
    part = logits[top : cells.row_end + 2, left : cells.col_end + 2]
    fine = F.interpolate(part[None, None], scale_factor=float(times), mode="bilinear")[0, 0]
    row, col = top * times, left * times
    return fine[: max(shape[0] - row, 0), : max(shape[1] - col, 0)], row, col


def _resample(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """(h, w) -> `shape`, bilinear, without antialiasing."""
    return F.interpolate(logits[None, None], shape, mode="bilinear")[0, 0]


def _planes(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) -> (1, 3, H, W) float32."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
