"""Training crops: a random object at a random scale, with the objects around it, and colours that vary.

The scale of a crop follows from the object's own size (large-scale jitter, Ghiasi et al. 2021), so that one network
learns buildings at 7 cm and fields at 10 m.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from samgeo.pixels import Mask, Window
from samgeo.train.labelled import LabelledImage

Pixel = TypeVar("Pixel", bound=np.generic)

SMALLEST_SHARE, LARGEST_SHARE = 0.05, 0.9
"""Side of the object that a crop was chosen for, as a share of the crop's side."""
LARGEST_ZOOM, SMALLEST_ZOOM = 2.5, 0.33
"""How far a crop may be enlarged or reduced for that."""
MIN_VISIBLE_PX = 60
"""Fewest pixels of an object, in the crop as the network sees it, that are worth a prompt."""


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
    """How many of them are different; if fewer than K, no object of the crop is missing."""


def draw_crop(labelled: LabelledImage, rng: np.random.Generator, *, size_px: int, objects: int) -> Crop | None:
    """A crop around a random object, or None where there is none or nothing of it is left to see."""
    if not labelled.objects:
        return None
    anchor = labelled.objects[_by_size(labelled.objects, rng)[0]]
    source = _around(anchor, labelled.image.shape[:2], rng, size_px=size_px)
    masks = _visible(labelled.objects, anchor, source, rng, size_px=size_px, objects=objects)
    if not masks:
        return None
    image = resize_window(labelled.image, source, size_px, rng)
    quarter, flip = int(rng.integers(4)), bool(rng.integers(2))
    image = turn(image, quarter, flip=flip)
    chosen = [masks[i % len(masks)] for i in range(objects)]
    stacked = np.stack([turn(mask, quarter, flip=flip) for mask, _ in chosen])
    labels = tuple(label for _, label in chosen)
    return Crop(image=vary_colours(np.ascontiguousarray(image), rng), masks=stacked, labels=labels, count=len(masks))


def _by_size(masks: Sequence[Mask], rng: np.random.Generator) -> NDArray[np.intp]:
    """All positions in random order, large objects sooner; by chance alone nearly all would be cars and trees."""
    side = np.sqrt([mask.area_px for mask in masks])
    return np.argsort(rng.exponential(size=len(masks)) / side)


def _around(anchor: Mask, shape: tuple[int, ...], rng: np.random.Generator, *, size_px: int) -> Window:
    """A square window (cut where the image ends) that holds the anchor's centre."""
    side = max(anchor.window.shape)
    share = np.exp(rng.uniform(np.log(SMALLEST_SHARE), np.log(LARGEST_SHARE)))
    wanted = np.clip(side / share, size_px / LARGEST_ZOOM, size_px / SMALLEST_ZOOM)
    length = int(min(wanted, *shape))
    row = anchor.window.row + anchor.window.height * rng.uniform(0.2, 0.8) - length * rng.uniform(0.2, 0.8)
    col = anchor.window.col + anchor.window.width * rng.uniform(0.2, 0.8) - length * rng.uniform(0.2, 0.8)
    row, col = np.clip(row, 0, shape[0] - length), np.clip(col, 0, shape[1] - length)
    return Window(row=int(row), col=int(col), height=length, width=length)


def _visible(
    masks: Sequence[Mask], anchor: Mask, source: Window, rng: np.random.Generator, *, size_px: int, objects: int
) -> list[tuple[NDArray[np.bool_], str | None]]:
    """Up to `objects` masks of the window, resized, with their labels; the anchor first."""
    near = [m for m in masks if m is not anchor and not m.window.intersection(source).is_empty]
    order = [anchor, *(near[i] for i in _by_size(near, rng))]
    found: list[tuple[NDArray[np.bool_], str | None]] = []
    for mask in order[: 3 * objects]:
        if len(found) == objects:
            break
        local = mask.shift(-source.row, -source.col).to_array(source.height, source.width)
        grey = Image.fromarray(local.view(np.uint8) * np.uint8(255)).resize(
            (size_px, size_px), Image.Resampling.BILINEAR
        )
        seen = np.asarray(grey) > 127
        if MIN_VISIBLE_PX <= np.count_nonzero(seen) < 0.95 * seen.size:
            found.append((seen, mask.label))
    return found


def resize_window(
    image: NDArray[np.uint8], window: Window, size_px: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(S, S, 3): the window of the image at another size."""
    enlarged = window.height < size_px and rng.random() < 0.3
    resampling = Image.Resampling.BICUBIC if enlarged else Image.Resampling.BILINEAR  # Pillow averages when it shrinks
    part = Image.fromarray(np.ascontiguousarray(image[window.slices()]))
    return np.asarray(part.resize((size_px, size_px), resampling))


def turn(array: NDArray[Pixel], quarter: int, *, flip: bool) -> NDArray[Pixel]:
    """(H, W, ...) turned by quarters of a circle, and mirrored."""
    turned = np.rot90(array, quarter)
    return turned[:, ::-1] if flip else turned


def vary_colours(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another camera, hour and haze: (H, W, 3) uint8 -> the same shape."""
    if rng.random() < 0.12:
        image = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    elif rng.random() < 0.08:
        image = image[..., rng.permutation(3)]
    image = _tone(image, rng)
    picture = Image.fromarray(np.ascontiguousarray(image))
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.6))))
    elif rng.random() < 0.15:
        picture = picture.filter(ImageFilter.UnsharpMask(2, int(rng.integers(40, 160)), 2))
    if rng.random() < 0.2:
        noisy = np.asarray(picture) + rng.normal(0, rng.uniform(2, 12), image.shape)
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 85)))
        picture = Image.open(buffer)
    return np.asarray(picture)


def _tone(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One look-up table a channel: gamma, contrast and offset, partly shared between the channels."""
    steps = np.linspace(0, 1, 256)
    gamma, gain, offset = rng.normal(0, 0.25), rng.normal(0, 0.2), rng.normal(0, 0.1)
    tables = []
    for _ in range(3):
        curve = steps ** np.exp(gamma + rng.normal(0, 0.08))
        curve = (curve - 0.5) * np.exp(gain + rng.normal(0, 0.06)) + 0.5 + offset + rng.normal(0, 0.04)
        tables.append((curve.clip(0, 1) * 255).astype(np.uint8))
    return np.stack([tables[channel][image[..., channel]] for channel in range(3)], axis=2)
