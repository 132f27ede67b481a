"""Plane geometry of a scene: polygons in pixels, the partitions that make blocks, lots and fields, and their coverage.

A polygon is a (K, 2) float64 array of x,y corners in order. A pixel (row r, column c) covers x in [c, c + 1) and
y in [r, r + 1), so that its centre lies at (c + 0.5, r + 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Polygon = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cover:
    """How much of each pixel of a window is covered by a shape."""

    rows: slice
    """Rows of the window in the image."""
    cols: slice
    """Columns of the window in the image."""
    alpha: Floats
    """(h, w) 0 to 1."""

    def grid(self) -> tuple[Floats, Floats]:
        """The pixel centres: x (1, w) and y (h, 1)."""
        x = np.arange(self.cols.start, self.cols.stop, dtype=np.float32)[None, :] + np.float32(0.5)
        y = np.arange(self.rows.start, self.rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
        return x, y

    def tiles(self, side: int = 256) -> Iterator[Cover]:
        """The same coverage in pieces of at most `side` px, without the empty ones: for long thin shapes."""
        for row in range(0, self.alpha.shape[0], side):
            for col in range(0, self.alpha.shape[1], side):
                alpha = self.alpha[row : row + side, col : col + side]
                if alpha.any():
                    top, left = self.rows.start + row, self.cols.start + col
                    rows, cols = slice(top, top + alpha.shape[0]), slice(left, left + alpha.shape[1])
                    yield Cover(rows=rows, cols=cols, alpha=alpha)

    def with_alpha(self, alpha: Floats) -> Cover:
        """The same window with another coverage, (h, w) 0 to 1."""
        return Cover(rows=self.rows, cols=self.cols, alpha=alpha)


def unit(angle: float) -> NDArray[np.float64]:
    """The unit vector (x, y) at an angle in radians."""
    return np.array([math.cos(angle), math.sin(angle)])


def rectangle(x: float, y: float, length: float, width: float, angle: float) -> Polygon:
    """A rectangle about its centre; `length` runs along the direction `angle` (radians)."""
    along, across = unit(angle) * length / 2, unit(angle + math.pi / 2) * width / 2
    centre = np.array([x, y])
    return np.stack(
        [centre - along - across, centre + along - across, centre + along + across, centre - along + across]
    )


def circle(x: float, y: float, radius: float, corners: int = 24) -> Polygon:
    """A regular polygon with many corners."""
    turn = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def polygon_area(polygon: Polygon) -> float:
    """Unsigned area by the shoelace formula, square pixels."""
    points = polygon.tolist()
    twice = sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True))
    return abs(float(twice)) / 2


def axis(polygon: Polygon) -> float:
    """Direction of the longest edge, radians."""
    points = polygon.tolist()
    edges = [(bx - ax, by - ay) for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True)]
    x, y = max(edges, key=lambda edge: edge[0] ** 2 + edge[1] ** 2)
    return math.atan2(y, x)


def extents(polygon: Polygon, angle: float) -> tuple[float, float, float, float]:
    """Smallest and largest coordinate along `angle` and across it: (u_min, u_max, v_min, v_max)."""
    u, v = polygon @ unit(angle), polygon @ unit(angle + math.pi / 2)
    return float(u.min()), float(u.max()), float(v.min()), float(v.max())


def clip(polygon: Polygon, normal: NDArray[np.float64], offset: float) -> Polygon:
    """The part of a convex polygon where x,y . normal <= offset (Sutherland and Hodgman 1974); may be empty."""
    kept = _clip(polygon.tolist(), float(normal[0]), float(normal[1]), offset)
    return np.array(kept, dtype=np.float64).reshape(-1, 2)


def _clip(points: list[list[float]], nx: float, ny: float, offset: float) -> list[list[float]]:
    """`clip` on plain lists, which are faster than arrays for a handful of corners."""
    side = [x * nx + y * ny - offset for x, y in points]
    kept: list[list[float]] = []
    for (x0, y0), (x1, y1), s0, s1 in zip(points, points[1:] + points[:1], side, side[1:] + side[:1], strict=True):
        if s0 <= 0:
            kept.append([x0, y0])
        if (s0 < 0 < s1) or (s1 < 0 < s0):
            t = s0 / (s0 - s1)
            kept.append([x0 + t * (x1 - x0), y0 + t * (y1 - y0)])
    return kept


def outward_normals(polygon: Polygon) -> list[tuple[float, float, float]]:
    """For each edge of a convex polygon its outward unit normal (x, y) and offset: inside is p . normal <= offset."""
    points = polygon.tolist()
    pairs = list(zip(points, points[1:] + points[:1], strict=True))
    turn = 1.0 if sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs) > 0 else -1.0
    found = []
    for (ax, ay), (bx, by) in pairs:
        length = max(math.hypot(bx - ax, by - ay), 1e-9) * turn
        nx, ny = (by - ay) / length, (ax - bx) / length
        found.append((nx, ny, nx * ax + ny * ay))
    return found


def inset(polygon: Polygon, distance: float) -> Polygon:
    """A convex polygon with every edge moved inwards by `distance` px; empty where nothing is left."""
    inner = polygon.tolist()
    for nx, ny, offset in outward_normals(polygon) if len(polygon) >= 3 else []:
        inner = _clip(inner, nx, ny, offset - distance)
    return np.array(inner if len(inner) >= 3 else [], dtype=np.float64).reshape(-1, 2)


def split(
    polygon: Polygon, target: float, rng: np.random.Generator, *, tilt: float = 0.03, spread: float = 0.25
) -> list[Polygon]:
    """Cut a convex polygon again and again until its pieces have about `target` square pixels.

    Each cut runs across the longer side; `tilt` (radians) is how far it may lean, `spread` how much the sizes differ.
    The pieces partition the polygon.
    """
    done: list[Polygon] = []
    todo = [polygon]
    while todo:
        piece = todo.pop()
        if len(piece) < 3:
            continue
        if polygon_area(piece) < target * rng.lognormal(0.4, spread):
            done.append(piece)
            continue
        angle = axis(piece)
        u0, u1, v0, v1 = extents(piece, angle)
        if v1 - v0 > u1 - u0:
            angle, u0, u1 = angle + math.pi / 2, v0, v1
        normal = unit(angle + rng.normal(0, tilt))
        middle = piece.mean(axis=0) + unit(angle) * ((u1 - u0) * rng.uniform(-0.13, 0.13))
        offset = float(middle @ normal)
        todo += [clip(piece, normal, offset), clip(piece, -normal, -offset)]
    return done


def densify(polygon: Polygon, step: float) -> Polygon:
    """More corners along the edges, at most `step` px apart."""
    parts = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        count = max(1, math.ceil(float(np.hypot(*(b - a))) / step))
        parts.append(a + (b - a) * (np.arange(count) / count)[:, None])
    return np.concatenate(parts)


def ribbon(line: Polygon, widths: NDArray[np.float64] | float) -> Polygon:
    """The outline of a line (K, 2) drawn with a width in px, one for all points or one each."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)[:, None]
    side = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * (np.broadcast_to(widths, len(line)) / 2)[:, None]
    return np.concatenate([line + side, (line - side)[::-1]])


def curve(start: Sequence[float], end: Sequence[float], bend: float, rng: np.random.Generator) -> Polygon:
    """A smooth line (65, 2) between two points that strays by about `bend` of its length."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    t = np.linspace(0, 1, 65)
    stray = sum(rng.normal(0, bend / k) * np.sin(math.pi * k * t + rng.uniform(0, 0.4)) for k in range(1, 5))
    line: Polygon = a + (b - a) * t[:, None] + np.array([-(b - a)[1], (b - a)[0]]) * np.asarray(stray)[:, None]
    return line


def sweep(polygon: Polygon, vector: NDArray[np.float64]) -> Polygon:
    """What a convex polygon passes over on its way along `vector`: its leading edges move, its trailing ones stay."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    x, y = polygon[:, 0], polygon[:, 1]
    turn = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    leads = (edges[:, 1] * vector[0] - edges[:, 0] * vector[1]) * turn > 0
    before = np.roll(leads, 1)
    start = polygon + np.where(before[:, None], vector, 0.0)
    end = polygon + np.where(leads[:, None], vector, 0.0)
    corners = np.stack([start, end], axis=1).reshape(-1, 2)
    distinct = np.stack([np.ones_like(leads), before != leads], axis=1).ravel()
    hull: Polygon = corners[distinct]
    return hull


def window(x: float, y: float, reach: float, height: int, width: int) -> Cover | None:
    """A full square of `reach` px about a point, cut to the image; None where nothing is left."""
    left, top = max(math.floor(x - reach), 0), max(math.floor(y - reach), 0)
    right, bottom = min(math.ceil(x + reach), width), min(math.ceil(y + reach), height)
    if right <= left or bottom <= top:
        return None
    alpha = np.ones((bottom - top, right - left), dtype=np.float32)
    return Cover(rows=slice(top, bottom), cols=slice(left, right), alpha=alpha)


def cover(polygons: Iterable[Polygon], height: int, width: int) -> Cover | None:
    """Antialiased coverage of the union of some polygons in an image; None where they miss it."""
    shapes = list(polygons)
    corners = np.concatenate(shapes)
    low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    left, top = max(math.floor(low[0]) - 1, 0), max(math.floor(low[1]) - 1, 0)
    right, bottom = min(math.ceil(high[0]) + 1, width), min(math.ceil(high[1]) + 1, height)
    if right <= left or bottom <= top:
        return None
    size = (bottom - top) * (right - left)
    fine = 4 if size < 200_000 else 2
    sheet = Image.new("L", ((right - left) * fine, (bottom - top) * fine))
    draw = ImageDraw.Draw(sheet)
    for shape in shapes:
        # ImageDraw puts a corner at the middle of a (fine) pixel, hence the half.
        draw.polygon(((shape - (left, top)) * fine - 0.5).ravel().tolist(), fill=255)
    alpha = np.asarray(sheet.reduce(fine), dtype=np.float32) / np.float32(255)
    return Cover(rows=slice(top, bottom), cols=slice(left, right), alpha=alpha)
