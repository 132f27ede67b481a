"""Regions: objects in imagery that nobody outlined, such as the fields of a satellite scene.

Graph-based segmentation (Felzenszwalb and Huttenlocher 2004) joins what differs less across its border than within, at
several scales. Most of that is no object; what is compact, and unlike all that lies around it, mostly is one. The
pixels of a border, which are mixed, are then given to the side that they are more like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from samgeo.pixels import Mask, Window
from samgeo.train.datasets import numbered
from samgeo.train.metrics import iou

SCALES = (0.3, 0.6, 1.2, 2.4)
"""How much of a difference a single pixel puts up with; it falls with the size of what is joined."""
SMALLEST_PX, LARGEST_PX = 24, 4000
FRAGMENT_PX = 12
"""What is smaller becomes part of something else."""
SMOOTHING_PX = 0.5
COMPACT = 0.8
"""Least share of its convex hull that a region fills."""
UNLIKE, RING_PX = 0.6, 2
"""Least share of the ring around it that differs from a region's mean by more than twice its own spread."""
MIXED_PX, AROUND_PX = 1, 5
"""Width of a border of mixed pixels, and side of the square around one in which the other side is looked at."""
SAME = 0.7
"""Of two regions with a higher IoU one is kept."""


def find_regions(values: NDArray[np.floating]) -> list[Mask]:
    """Regions that look like objects, the most distinct first; they may lie within each other.

    values: (H, W, C), any number of bands, most of them from 0 to 1.
    """
    smooth = ndimage.gaussian_filter(values, (SMOOTHING_PX, SMOOTHING_PX, 0))
    found = [region for scale in SCALES for region in _distinct(join(smooth, scale), values)]
    kept: list[Mask] = []
    for region in sorted(found, key=lambda region: -region.score):
        if all(iou(region, other) < SAME for other in kept):
            kept.append(region)
    return kept


def join(values: NDArray[np.floating], scale: float) -> NDArray[np.intp]:
    """(H, W, C) -> (H, W), the number of each pixel's region.

    Two regions that touch become one if they differ, where they differ least, by no more than the largest difference
    within either and its scale / area. What is too small to be anything joins what it differs least from.
    """
    height, width = values.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    ways = [
        (slice(None), slice(None, -1), slice(None), slice(1, None)),
        (slice(None, -1), slice(None), slice(1, None), slice(None)),
        (slice(None, -1), slice(None, -1), slice(1, None), slice(1, None)),
        (slice(None, -1), slice(1, None), slice(1, None), slice(None, -1)),
    ]
    pairs = np.concatenate([np.stack([number[a, b], number[c, d]]).reshape(2, -1) for a, b, c, d in ways], axis=1)
    flat = values.reshape(height * width, -1)
    difference = np.linalg.norm(flat[pairs[0]] - flat[pairs[1]], axis=1)
    order = np.argsort(difference, kind="stable")
    parent, area, limit = list(range(number.size)), [1] * number.size, [scale] * number.size

    def root(pixel: int) -> int:
        while parent[pixel] != pixel:
            parent[pixel] = parent[parent[pixel]]
            pixel = parent[pixel]
        return pixel

    borders = list(zip(*pairs[:, order].tolist(), difference[order].tolist(), strict=True))
    for fragments in (False, True):
        for first, second, apart in borders:
            a, b = root(first), root(second)
            alike = min(area[a], area[b]) < FRAGMENT_PX if fragments else apart <= min(limit[a], limit[b])
            if a != b and alike:
                if area[a] < area[b]:
                    a, b = b, a
                parent[b] = a
                area[a] += area[b]
                limit[a] = apart + scale / area[a]
    roots = [root(pixel) for pixel in range(number.size)]
    return np.unique(roots, return_inverse=True)[1].reshape(height, width)


def _distinct(regions: NDArray[np.intp], values: NDArray[np.floating]) -> Iterator[Mask]:
    """Those of a size that are compact and unlike what lies around; the score says how much."""
    for joined in numbered(regions + 1, least_px=SMALLEST_PX):
        if joined.area_px > LARGEST_PX:
            continue
        region = _with_its_border(joined, values)
        compact = region.area_px / _hull_area(region.pixels)
        if compact < COMPACT:
            continue
        near, inside = _surroundings(region, RING_PX, values)
        ring = ndimage.binary_dilation(inside, iterations=RING_PX) & ~inside
        own, others = values[joined.window.slices()][joined.pixels], values[near.slices()][ring]  # (n, C), (m, C)
        apart = np.linalg.norm(others - own.mean(axis=0), axis=1)
        unlike = float(np.mean(apart > 2 * np.linalg.norm(own.std(axis=0))))
        if unlike >= UNLIKE:
            yield replace(region, score=compact * unlike)


def _with_its_border(region: Mask, values: NDArray[np.floating]) -> Mask:
    """The region and those of the pixels around it that are more like it than like what lies beyond them."""
    near, inside = _surroundings(region, RING_PX + MIXED_PX, values)
    grown = ndimage.binary_dilation(inside, iterations=MIXED_PX)
    beyond = ndimage.binary_dilation(grown, iterations=RING_PX) & ~grown
    pixels = values[near.slices()]  # (h, w, C)
    square = (AROUND_PX, AROUND_PX, 1)
    count = ndimage.uniform_filter(beyond[..., None].astype(np.float64), square, mode="constant")
    total = ndimage.uniform_filter(np.where(beyond[..., None], pixels, 0.0), square, mode="constant")
    other = total / np.maximum(count, 1e-6)
    own = pixels[inside].mean(axis=0)
    like = np.linalg.norm(pixels - own, axis=2) < np.linalg.norm(pixels - other, axis=2)
    whole = inside | (grown & (count[..., 0] > 1e-6) & like)
    return Mask.from_array(whole).shift(near.row, near.col)


def _surroundings(region: Mask, ring_px: int, values: NDArray[np.floating]) -> tuple[Window, NDArray[np.bool_]]:
    """The window of the region and a ring around it, as far as there are values, and the region in it."""
    near = Window(
        row=region.window.row - ring_px,
        col=region.window.col - ring_px,
        height=region.window.height + 2 * ring_px,
        width=region.window.width + 2 * ring_px,
    ).intersection(Window(row=0, col=0, height=values.shape[0], width=values.shape[1]))
    return near, region.shift(-near.row, -near.col).to_array(near.height, near.width)


def _hull_area(pixels: NDArray[np.bool_]) -> float:
    """Area of the convex hull of the squares that pixels are."""
    corners = np.argwhere(pixels)[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    return float(ConvexHull(corners.reshape(-1, 2)).volume)
