"""Training crops: a random object at a random scale and angle, with the objects around it.

The scale of a crop follows from the object's own size (large-scale jitter, Ghiasi et al. 2021), so that one network
learns buildings at 7 cm and fields at 10 m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samgeo.model.vocabulary import class_of
from samgeo.pixels import Mask, Window
from samgeo.train.labelled import LabelledImage

Pixel = TypeVar("Pixel", bound=np.generic)

SMALLEST_SHARE, LARGEST_SHARE = 0.035, 1.2
"""Side of the object that a crop was chosen for, as a share of the crop's side; above 1, the crop cuts it."""
LARGEST_ZOOM, SMALLEST_ZOOM = 2.5, 0.33
"""How far a crop may be enlarged or reduced for that."""
MIN_VISIBLE_PX = 60
"""Fewest pixels of an object, in the crop as the network sees it, that are worth a prompt."""
ASLANT = 0.4
"""How often a crop is turned by any angle and stretched a little, and not by quarters of a circle alone."""
CORNERS = 1.1
"""How much longer than the image a view aslant may be: its corners may look beyond, at black."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """What the network is shown and what it should find there."""

    image: NDArray[np.uint8]
    """(S, S, 3) RGB."""
    masks: NDArray[np.bool_]
    """(K, S, S), one object each; fewer objects than K are repeated."""
    labels: tuple[str | None, ...]
    """(K,), what they are."""
    count: int
    """How many of them are different; if fewer than K, no object of the crop is missing but those too small to see."""
    shown: NDArray[np.int32]
    """(S, S), the classes of each pixel: bit i is set where class i of the vocabulary is drawn."""
    known: NDArray[np.int32]
    """(S, S), the classes of which the labels say whether each pixel is of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """Where and how a crop looks at an image."""

    window: Window
    """All that it needs of the image."""
    size_px: int
    """Side of the crop."""
    quarter: int
    """Quarters of a circle that it is turned by in the end."""
    flip: bool
    """Whether it is mirrored then."""
    reduced: tuple[int, int] | None = None
    """Width and height that the window is resized to before it is turned aslant; None for a straight view."""
    aslant: tuple[float, float, float, float, float, float] = (1, 0, 0, 0, 1, 0)
    """From corners of the crop's pixels to those of the resized window's: x' = a x + b y + c, y' = d x + e y + f."""

    def show(
        self, image: NDArray[np.uint8], resampling: Image.Resampling = Image.Resampling.BILINEAR
    ) -> NDArray[np.uint8]:
        """(H, W, 3) or (H, W) uint8 of the window -> (S, S, ...). Pillow averages where it shrinks."""
        part, square = Image.fromarray(np.ascontiguousarray(image)), (self.size_px, self.size_px)
        if self.reduced is None:
            part = part.resize(square, resampling)
        else:
            part = part.resize(self.reduced, resampling)
            part = part.transform(square, Image.Transform.AFFINE, self.aslant, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(turn(np.asarray(part), self.quarter, flip=self.flip))


def draw_crop(labelled: LabelledImage, rng: np.random.Generator, *, size_px: int, objects: int) -> Crop | None:
    """A crop around a random object, or None where there is none or nothing of it is left to see."""
    if not labelled.objects:
        return None
    anchor = labelled.objects[_by_size(labelled.objects, rng)[0]]
    view = _around(anchor, labelled.image.shape[:2], rng, size_px=size_px)
    masks = _visible(labelled.objects, anchor, view, objects=objects, rng=rng)
    if not masks:
        return None
    enlarged = view.window.height < size_px and rng.random() < 0.3
    resampling = Image.Resampling.BICUBIC if enlarged else Image.Resampling.BILINEAR
    image = view.show(labelled.image[view.window.slices()], resampling)
    chosen = [masks[i % len(masks)] for i in range(objects)]
    stacked = np.stack([mask for mask, _ in chosen])
    shown, known = _classes(labelled, view)
    labels = tuple(label for _, label in chosen)
    return Crop(image=image, masks=stacked, labels=labels, count=len(masks), shown=shown, known=known)


def _by_size(masks: Sequence[Mask], rng: np.random.Generator) -> NDArray[np.intp]:
    """All positions in random order, long objects sooner; by chance alone nearly all would be cars and trees."""
    side = np.array([max(mask.window.shape) for mask in masks])
    return np.argsort(rng.exponential(size=len(masks)) / side)


def _around(anchor: Mask, shape: tuple[int, ...], rng: np.random.Generator, *, size_px: int) -> View:
    """A square, straight or aslant, that holds the anchor's centre; no longer than the image."""
    side = max(anchor.window.shape)
    share = np.exp(rng.uniform(np.log(SMALLEST_SHARE), np.log(LARGEST_SHARE)))
    wanted = np.clip(side / share, size_px / LARGEST_ZOOM, size_px / SMALLEST_ZOOM)
    axes = _axes(rng) if rng.random() < ASLANT else np.eye(2)
    straight = bool((axes == np.eye(2)).all())
    reach = np.abs(axes).sum(axis=1)[::-1]  # (2,) rows and columns that a square of side 1 takes
    length = float(min(wanted, *(np.array(shape) * (1 if straight else CORNERS) / reach)))
    height, width = (max(1, int(side)) for side in length * reach)
    row = anchor.window.row + anchor.window.height * rng.uniform(0.2, 0.8) - height * rng.uniform(0.2, 0.8)
    col = anchor.window.col + anchor.window.width * rng.uniform(0.2, 0.8) - width * rng.uniform(0.2, 0.8)
    row, col = (
        np.clip(at, min(0, n - side), max(0, n - side))
        for at, n, side in ((row, shape[0], height), (col, shape[1], width))
    )
    whole = Window(row=int(row), col=int(col), height=height, width=width)
    window = whole.intersection(Window(row=0, col=0, height=shape[0], width=shape[1]))
    quarter, flip = int(rng.integers(4)), bool(rng.integers(2))
    if straight:
        return View(window=window, size_px=size_px, quarter=quarter, flip=flip)
    zoom = size_px / length
    reduced = (max(1, round(window.width * zoom)), max(1, round(window.height * zoom)))
    scale = np.array(reduced) / (window.width, window.height)  # x, y
    middle = np.array([whole.col - window.col + width / 2, whole.row - window.row + height / 2]) * scale
    matrix = axes / zoom * scale[:, None]
    offset = middle - matrix @ (size_px / 2, size_px / 2)
    aslant = (*matrix[0].tolist(), float(offset[0]), *matrix[1].tolist(), float(offset[1]))
    return View(window=window, size_px=size_px, quarter=quarter, flip=flip, reduced=reduced, aslant=aslant)


def _axes(rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 2) of an angle and a small stretch: from a crop's x,y to an image's; keeps areas."""
    angle, stretch = rng.uniform(-np.pi / 4, np.pi / 4), np.exp(rng.normal(0, 0.1))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(turned @ np.diag([stretch, 1 / stretch]))


def _visible(
    masks: Sequence[Mask], anchor: Mask, view: View, *, objects: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.bool_], str | None]]:
    """Up to `objects` masks as the view shows them, with their labels; the anchor first."""
    source = view.window
    near = [m for m in masks if m is not anchor and not m.window.intersection(source).is_empty]
    order = [anchor, *(near[i] for i in _by_size(near, rng))]
    found: list[tuple[NDArray[np.bool_], str | None]] = []
    for mask in order[: 3 * objects]:
        if len(found) == objects:
            break
        local = mask.shift(-source.row, -source.col).to_array(source.height, source.width)
        seen = view.show(local.view(np.uint8) * np.uint8(255)) > 127
        if MIN_VISIBLE_PX <= np.count_nonzero(seen) < 0.95 * seen.size:
            found.append((seen, mask.label))
    return found


def _classes(labelled: LabelledImage, view: View) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`Crop.shown` and `Crop.known`: classes of the image are known where something is drawn, or everywhere."""
    source = view.window
    drawn: dict[int | None, NDArray[np.uint8]] = {}
    every = 0
    for mask in labelled.objects:
        number = class_of(mask.label)
        every |= 0 if number is None else 1 << number
        if mask.window.intersection(source).is_empty:
            continue
        canvas = drawn.setdefault(number, np.zeros(source.shape, np.uint8))
        local = mask.crop(source).shift(-source.row, -source.col)
        canvas[local.window.slices()] |= local.pixels.view(np.uint8) * np.uint8(255)
    shown = np.zeros((view.size_px, view.size_px), np.int32)
    covered = np.full(shown.shape, labelled.complete)
    for number, canvas in drawn.items():
        inside = view.show(canvas) > 127
        covered |= inside
        if number is not None:
            shown[inside] |= 1 << number
    return shown, np.where(covered, np.int32(every), np.int32(0))


def turn(array: NDArray[Pixel], quarter: int, *, flip: bool) -> NDArray[Pixel]:
    """(H, W, ...) turned by quarters of a circle, and mirrored."""
    turned = np.rot90(array, quarter)
    return turned[:, ::-1] if flip else turned
