"""Squaring: outlines as a cadastre draws buildings, with right angles and few corners.

    ring ─► sides ─► lines, turned to a main direction ─► fewer and fewer lines ─► the drawing that costs least

A drawing is given by the lines of its sides alone; corners are where neighbours meet, so the soft corners of a mask
come out sharp. Several drawings are tried: some main directions, strict and less strict ones, plain and detailed ones.
What counts is what a draughtsman weighs: how well it covers the outline, against a price for each corner, and a higher
one for each side that runs obliquely. Points are complex numbers here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.grid import Grid
from samgeo.polygons import Floats, Polygonal, ground_frame, linear, middles

_CORNER, _CORNER_PX = 0.01, 256.0
"""Price of a corner as a share of the outline's area, and its limit in pixels: so much must a corner gain."""
_OBLIQUE = 0.025
"""Price of a side that follows no main direction, as a share of the area."""
_AS_IT_IS = 0.08
"""Price of keeping the outline of a round object, above how far it is from a circle."""
_FIT = 0.7
"""IoU with the outline below which a drawing is none of it."""
_STRICT_DEG = (45.0, 15.0, 0.0)
"""Sides this close to a main direction follow it. With the first one all do."""
_DETAILS = (0.0025, 0.005, 0.01, 0.02, 0.04)
"""Shares of the area; corners that change less are left out, in one drawing after the other."""
_CRUMB, _CRUMB_PX = 0.02, 64.0
"""Parts and holes smaller than this share of the object, or than so many pixels, are noise of the mask."""
_TOLERANCE_PX = 2.0
"""Where an outline strays less from a line, that line is one side."""
_MOST_SIDES = 500
"""Outlines with more are looked at less closely."""
_PARALLEL = np.sin(np.radians(10.0))
"""Lines that meet at a smaller angle have no corner."""

Points = NDArray[np.complex128]


def square(geometry: Polygonal, grid: Grid) -> Polygonal:
    """An outline with right angles on the ground, few corners, and no crumbs of the mask; valid.

    geometry: in pixel space. Sides that clearly run obliquely stay oblique. An object that is round, such as a tank, or
    that nothing with few sides fits, keeps its outline, simplified.
    """
    parts = shapely.get_parts(geometry)
    areas = shapely.area(parts)
    parts = parts[(areas >= max(_CRUMB_PX, _CRUMB * areas.sum())) | (areas == areas.max())]
    frame = ground_frame(geometry, grid)
    return shapely.normalize(shapely.union_all([_square_part(part, frame) for part in parts]))


def _square_part(part: Any, frame: tuple[Floats, Floats]) -> Polygonal:
    """A polygon squared. Its holes follow the main direction of its shell."""
    shell, main = _square_ring(part.exterior, frame, None)
    smallest = max(_CRUMB_PX, _CRUMB * part.area)
    holes = [_square_ring(ring, frame, main)[0] for ring in part.interiors if shapely.Polygon(ring).area >= smallest]
    return shapely.difference(shell, shapely.union_all(holes)) if holes else shell


def _square_ring(ring: Any, frame: tuple[Floats, Floats], main: float | None) -> tuple[Polygonal, float]:
    """The polygon inside a ring, squared, and its main direction on the ground, given or found.

    frame: to the ground and back, as `ground_frame` gives it.
    """
    to_ground, to_pixel = frame
    inside = shapely.Polygon(ring)
    outline = linear(inside, to_ground)
    pixel_m = np.sqrt(outline.area / inside.area)
    sides = _sides(ring, to_ground, _TOLERANCE_PX * pixel_m)
    mains = _main_directions(sides, outline) if main is None else [main]
    corner = min(_CORNER, _CORNER_PX / inside.area)
    circle = shapely.buffer(outline.centroid, np.sqrt(outline.area / np.pi))
    least = _AS_IT_IS + 1 - _overlap(circle, outline)
    best = outline.simplify(_TOLERANCE_PX / 2 * pixel_m), mains[0]
    for direction, strict_deg in product(mains, _STRICT_DEG):
        for lines in _drawings(_turned(sides, direction, strict_deg), outline.area):
            price = corner * len(lines.at) + _OBLIQUE * np.count_nonzero(~lines.follows)
            drawn = shapely.Polygon(_xy(_corners(lines)))
            fit = _overlap(drawn, outline) if price < least and drawn.is_valid else 0.0
            if fit >= _FIT and 1 - fit + price < least:
                best, least = (drawn, direction), 1 - fit + price
    return linear(best[0], to_pixel), best[1]


def _overlap(one: Any, other: Any) -> float:
    """Intersection over union."""
    common = float(shapely.area(shapely.intersection(one, other)))
    return common / (float(shapely.area(one)) + float(shapely.area(other)) - common)


def _points(xy: Floats) -> Points:
    return np.asarray(xy @ np.array([1, 1j]))


def _xy(points: Points) -> Floats:
    return np.stack([points.real, points.imag], axis=1)


def _cross(one: Points, other: Points) -> Floats:
    return np.asarray((np.conj(one) * other).imag)


def _turn(values: NDArray[Any], first: int) -> NDArray[Any]:
    """The same circle of values, told from another one on; NumPy's `roll` takes ten times as long."""
    return np.concatenate([values[first:], values[:first]])


class _Lines(NamedTuple):
    """The sides of a ring in their order, each as an infinite line; arrays (n,) of complex numbers, floats, bools."""

    way: NDArray[Any]
    """Direction, of length 1."""
    at: NDArray[Any]
    """A point of the line: the mean of the outline there."""
    length: NDArray[Any]
    """How much of the outline it stands for, in metres."""
    follows: NDArray[Any]
    """True if it follows a main direction."""

    def take(self, index: NDArray[np.int64]) -> _Lines:
        return _Lines(*(values[index] for values in self))

    def turned(self, first: int) -> _Lines:
        """The same ring, told from another line on."""
        return _Lines(*(_turn(values, first) for values in self))


def _sides(ring: Any, to_ground: Floats, tolerance: float) -> _Lines:
    """The sides of a ring of pixel space, in metres: cut where Douglas and Peucker put a vertex, fitted in between."""
    xy = middles(shapely.get_coordinates(ring)[:-1]) @ to_ground.T
    numbered = np.column_stack([xy, np.arange(len(xy))])
    closed = shapely.Polygon(np.concatenate([numbered, numbered[:1]]))
    while True:
        simple = shapely.simplify(closed, tolerance, preserve_topology=True)
        cuts = np.unique(shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.int64))
        if len(cuts) <= _MOST_SIDES:
            break
        tolerance *= 2
    points = _points(xy)
    around = np.concatenate([points, points[: cuts[0] + 1]])
    fitted = [_fitted(around[a : b + 1]) for a, b in pairwise([*cuts, len(points) + cuts[0]])]
    way, at, length = (np.array(values) for values in zip(*fitted, strict=True))
    return _Lines(way=way, at=at, length=length, follows=np.zeros(len(way), bool))


def _fitted(points: Points) -> tuple[complex, complex, float]:
    """Direction, mean and length of one side."""
    # A vertex may stand on the next side already, so a side that has enough points goes without its ends.
    inner = points[1:-1] if len(points) > 5 else points
    at, along = inner.mean(), points[-1] - points[0]
    # Twice the angle of the main axis is the angle of the sum of squares.
    way = np.sqrt(np.sum((inner - at) ** 2))
    if way == 0:
        way = along
    elif (np.conj(way) * along).real < 0:
        way = -way
    return way / abs(way), at, abs(along)


def _main_directions(sides: _Lines, outline: Any) -> list[float]:
    """Angles that may be the main direction: the mean of the sides, the longest side, the box around them all."""
    box = _points(shapely.get_coordinates(shapely.minimum_rotated_rectangle(outline)))
    mean = np.sum(sides.length**2 * sides.way**4)  # the fourth power: directions count modulo 90 degrees
    candidates = [np.angle(mean) / 4, np.angle(sides.way[np.argmax(sides.length)]), np.angle(box[1] - box[0])]
    found: list[float] = []
    for angle in candidates:
        if all(abs(np.angle(np.exp(4j * (angle - other)))) / 4 > np.radians(2.0) for other in found):
            found.append(float(angle))
    return found


def _turned(sides: _Lines, main: float, strict_deg: float) -> _Lines:
    """Sides that run within `strict_deg` of a main direction, turned to it."""
    angle = np.angle(sides.way)
    nearest = main + np.round((angle - main) / (np.pi / 2)) * (np.pi / 2)
    follows = np.abs(angle - nearest) <= np.radians(strict_deg) + 1e-9
    return sides._replace(way=np.where(follows, np.exp(1j * nearest), sides.way), follows=follows)


def _drawings(lines: _Lines, area: float) -> Iterator[_Lines]:
    """Plainer and plainer drawings of a ring that encloses about `area`."""
    lines = _without_parallels(lines)
    count = 0
    for share in _DETAILS:
        lines = _plainer(lines, share * area)
        if len(lines.at) < 3:
            return
        if len(lines.at) != count:
            yield lines
        count = len(lines.at)


def _plainer(lines: _Lines, limit: float) -> _Lines:
    """Leave sides out, the one that matters least first, while each of its corners changes less area than `limit`.

    Its neighbours are extended until they meet. Parallel ones, beside a step or a notch, become one in between.
    """
    while (count := len(lines.at)) > 4:
        end = _corners(lines)
        before, after = lines.turned(-1), lines.turned(1)
        across = _cross(before.way, after.way)
        facing = np.abs(across) < _PARALLEL
        meeting = before.at + _cross(after.at - before.at, after.way) / np.where(facing, 1, across) * before.way
        start = _turn(end, -1)
        cut = np.abs(_cross(end - start, meeting - start)) / 2
        reach = np.abs(end - start)
        left, right = _turn(reach, -1), _turn(reach, 1)
        moved = np.abs(_cross(before.way, after.at - before.at)) * left * right / np.maximum(left + right, 1e-12) / 2
        change = np.where(facing, moved, cut)
        least = int(np.argmin(change))
        if change[least] > limit:
            break
        lines = lines.turned(least)
        if facing[least]:
            lines = _joined(lines, count - 1, 1)
        lines = _without_parallels(lines.take(np.arange(1, len(lines.at))))
    return lines


def _corners(lines: _Lines) -> Points:
    """(n,) where each line meets the next."""
    after = lines.turned(1)
    along = _cross(after.at - lines.at, after.way) / _cross(lines.way, after.way)
    return np.asarray(lines.at + along * lines.way)


def _without_parallels(lines: _Lines) -> _Lines:
    """Neighbours that have no corner between them become one line."""
    while len(lines.at) > 2:
        same = np.flatnonzero(np.abs(_cross(lines.way, lines.turned(1).way)) < _PARALLEL)
        if same.size == 0:
            break
        lines = _joined(lines.turned(int(same[0])), 0, 1)
    return lines


def _joined(lines: _Lines, stays: int, goes: int) -> _Lines:
    """One line for two that are parallel or nearly so; a main direction prevails, else the longer one's."""
    pair = np.array([stays, goes])
    weight = lines.length[pair]
    first, second = lines.follows[pair]
    longer = pair[int(weight[1] > weight[0])] if first == second else pair[int(second)]
    joined = _Lines(*(values.copy() for values in lines))
    joined.way[stays] = lines.way[longer]
    joined.at[stays] = np.sum(lines.at[pair] * weight) / weight.sum()
    joined.length[stays] = weight.sum()
    joined.follows[stays] = first or second
    return joined.take(np.delete(np.arange(len(lines.at)), goes))
