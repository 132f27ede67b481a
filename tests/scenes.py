"""Random scenes for the oracle: rectangles, blobs, rings, U shapes, chains, thin lines, nested and touching objects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tests.oracle import Bool, OracleScene, largest_part


def random_scene(
    seed: int, *, height: int = 96, width: int = 96, objects: int = 8, disjoint: bool = False
) -> OracleScene:
    """A scene of up to `objects` connected objects, no two alike; with `disjoint` no two share a pixel."""
    rng = np.random.default_rng(seed)
    masks: list[Bool] = []
    for _ in range(objects):
        mask = _shape(rng, masks, height, width)
        if disjoint and masks:
            mask = mask & ~np.logical_or.reduce(masks)
        mask = largest_part(mask)
        if mask.any() and not any(np.array_equal(mask, other) for other in masks):
            masks.append(mask)
    return OracleScene.from_masks(masks, (height, width))


def _shape(rng: np.random.Generator, masks: list[Bool], height: int, width: int) -> Bool:
    makers: tuple[Callable[[np.random.Generator, int, int], Bool], ...] = (
        _rectangle,
        _ellipse,
        _ring,
        _u,
        _chain,
        _line,
        _blob,
        _speck,
    )
    choice = int(rng.integers(len(makers) + 2))
    if choice >= len(makers) and masks:
        partner = masks[int(rng.integers(len(masks)))]
        return _nested(rng, partner) if choice == len(makers) else _touching(rng, partner)
    return makers[choice % len(makers)](rng, height, width)


def _box(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Row, column, height, width: from small to nearly as large as the scene, reaching over its edge at times."""
    scale = float(rng.choice([0.1, 0.25, 0.5, 0.9]))
    rows, cols = (max(2, int(size * scale * rng.uniform(0.4, 1.0))) for size in (height, width))
    return (
        int(rng.integers(-rows // 4, height - rows // 2)),
        int(rng.integers(-cols // 4, width - cols // 2)),
        rows,
        cols,
    )


def _paste(height: int, width: int, row: int, col: int, pixels: Bool) -> Bool:
    out = np.zeros((height, width), dtype=bool)
    top, left = max(row, 0), max(col, 0)
    part = pixels[top - row : height - row, left - col : width - col]
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
    return out


def _rectangle(rng: np.random.Generator, height: int, width: int) -> Bool:
    row, col, rows, cols = _box(rng, height, width)
    return _paste(height, width, row, col, np.ones((rows, cols), dtype=bool))


def _ellipse(rng: np.random.Generator, height: int, width: int) -> Bool:
    row, col, rows, cols = _box(rng, height, width)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : cols * 1j]
    return _paste(height, width, row, col, y**2 + x**2 <= 1)


def _ring(rng: np.random.Generator, height: int, width: int) -> Bool:
    row, col, rows, cols = _box(rng, height, width)
    ring = np.ones((rows, cols), dtype=bool)
    wall = int(rng.integers(1, 4))
    ring[wall:-wall, wall:-wall] = False
    return _paste(height, width, row, col, ring)


def _u(rng: np.random.Generator, height: int, width: int) -> Bool:
    row, col, rows, cols = _box(rng, height, width)
    shape = np.ones((rows, cols), dtype=bool)
    wall = int(rng.integers(1, 5))
    shape[:-wall, wall:-wall] = False
    return _paste(height, width, row, col, np.rot90(shape, int(rng.integers(4))))


def _walk(rng: np.random.Generator, height: int, width: int, steps: int) -> Bool:
    """A walk along rows and columns, hence connected by edges."""
    out = np.zeros((height, width), dtype=bool)
    row, col = int(rng.integers(height)), int(rng.integers(width))
    for _ in range(steps):
        if rng.random() < 0.5:
            end = int(np.clip(row + rng.integers(-height // 2, height // 2 + 1), 0, height - 1))
            out[min(row, end) : max(row, end) + 1, col], row = True, end
        else:
            end = int(np.clip(col + rng.integers(-width // 2, width // 2 + 1), 0, width - 1))
            out[row, min(col, end) : max(col, end) + 1], col = True, end
    return out


def _line(rng: np.random.Generator, height: int, width: int) -> Bool:
    return _walk(rng, height, width, int(rng.integers(1, 4)))


def _chain(rng: np.random.Generator, height: int, width: int) -> Bool:
    walk = _walk(rng, height, width, int(rng.integers(3, 9)))
    wide: Bool = ndimage.binary_dilation(walk, iterations=int(rng.integers(1, 4)))
    return wide


def _blob(rng: np.random.Generator, height: int, width: int) -> Bool:
    noise: NDArray[np.float64] = ndimage.gaussian_filter(rng.normal(size=(height, width)), float(rng.uniform(2, 10)))
    return noise > np.quantile(noise, rng.uniform(0.4, 0.9))


def _speck(rng: np.random.Generator, height: int, width: int) -> Bool:
    rows, cols = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    row, col = int(rng.integers(height)), int(rng.integers(width))
    return _paste(height, width, row, col, np.ones((rows, cols), dtype=bool))


def _nested(rng: np.random.Generator, partner: Bool) -> Bool:
    inner: Bool = ndimage.binary_erosion(partner, iterations=int(rng.integers(1, 5)))
    return inner & _ellipse(rng, *partner.shape) if rng.random() < 0.5 else inner


def _touching(rng: np.random.Generator, partner: Bool) -> Bool:
    """Something that shares an edge with the partner and no pixel."""
    grown: Bool = ndimage.binary_dilation(partner, iterations=int(rng.integers(2, 9)))
    return grown & ~partner
