"""The open land: ground, fields, water, forest, roads and paths."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from samgeo.train.scenes.canvas import NOTHING, Canvas
from samgeo.train.scenes.geometry import (
    Cover,
    Floats,
    Polygon,
    clip,
    curve,
    densify,
    rectangle,
    ribbon,
    unit,
)
from samgeo.train.scenes.textures import coordinates, octaves, stripes, tint
from samgeo.train.scenes.things import canopy, choose

Palette = tuple[tuple[float, float, float], ...]

GRASS: Palette = ((0.28, 0.36, 0.17), (0.36, 0.4, 0.22), (0.44, 0.42, 0.27), (0.22, 0.3, 0.14))
SOIL: Palette = ((0.55, 0.44, 0.33), (0.62, 0.47, 0.34), (0.6, 0.36, 0.24), (0.7, 0.63, 0.52), (0.45, 0.38, 0.31))
PAVED: Palette = ((0.34, 0.34, 0.34), (0.42, 0.41, 0.39), (0.27, 0.27, 0.28), (0.52, 0.5, 0.47))
WATERS: Palette = (
    (0.07, 0.12, 0.14),
    (0.1, 0.2, 0.22),
    (0.12, 0.18, 0.12),
    (0.3, 0.28, 0.2),
    (0.05, 0.07, 0.09),
    (0.16, 0.3, 0.33),
)


def frame(canvas: Canvas, angle: float) -> Polygon:
    """A square at an angle that covers all of the canvas."""
    height, width = canvas.shape
    side = math.hypot(height, width) * 1.05
    return rectangle(width / 2, height / 2, side, side, angle)


def visible(canvas: Canvas, polygon: Polygon) -> bool:
    """True where the bounding box of a polygon meets the canvas."""
    height, width = canvas.shape
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    return bool(high[0] > 0 and high[1] > 0 and low[0] < width and low[1] < height)


def ground(canvas: Canvas, *palettes: Palette) -> None:
    """Cover all with a patchy mixture of colours, two from each palette."""
    rng, shape = canvas.rng, canvas.shape
    colors = [choose(rng, palette) for palette in palettes for _ in range(2)]
    canvas.rgb[...] = colors[0]
    for color in colors[1:]:
        field = octaves(
            rng, shape, coarse_px=max(canvas.px(rng.uniform(8, 60)), 8), fine_px=2.5, falloff=rng.uniform(0.5, 0.8)
        )
        field -= np.float32(rng.uniform(-0.3, 0.9))
        field *= np.float32(rng.uniform(0.4, 2.5))
        canvas.paint(canvas.whole().with_alpha(np.clip(field + 0.5, 0, 1, out=field)), color)
    grain = canvas.noise.cut(shape, "fine") * np.float32(rng.uniform(0.03, 0.12))
    canvas.rgb *= np.clip(1 + grain, 0.4, 1.7)[..., None]


def warp(canvas: Canvas, strength_px: float, grain_px: float) -> tuple[Floats, float]:
    """A smooth displacement field for `bent`: (2, n, n) px on a coarse lattice, and the spacing of that lattice."""
    count = max(4, math.ceil(2.2 * max(canvas.shape) / grain_px) + 3)
    lattice = canvas.rng.standard_normal((2, count, count)).astype(np.float32) * np.float32(strength_px)
    return lattice, 2.2 * max(canvas.shape) / (count - 3)


def bent(polygon: Polygon, field: tuple[Floats, float], step: float) -> Polygon:
    """A polygon displaced by a `warp`; neighbours that share an edge keep sharing it."""
    lattice, spacing = field
    dense = densify(polygon, step)
    at = (dense + spacing * (lattice.shape[1] - 3) * 0.28) / spacing + 1
    moves = [
        ndimage.map_coordinates(part, [at[:, 1], at[:, 0]], order=3, mode="nearest", prefilter=False)
        for part in lattice
    ]
    return np.asarray(dense + np.stack(moves, axis=1))


def blob(canvas: Canvas, x: float, y: float, radius_px: float, rough: float = 0.25) -> Cover | None:
    """Soft-edged coverage of an irregular patch; None off the canvas."""
    rng, where = canvas.rng, canvas.cover([rectangle(x, y, 3.2 * radius_px, 3.2 * radius_px, 0)])
    if where is None:
        return None
    u, v = coordinates(where, x, y, rng.uniform(0, math.pi))
    stretch = np.float32(rng.uniform(1, 2.2))
    distance = np.hypot(u / stretch, v * np.sqrt(stretch)) / np.float32(radius_px)
    shape = where.alpha.shape
    edge = octaves(rng, shape, coarse_px=max(radius_px * 0.7, 6), fine_px=3, falloff=0.5) * np.float32(rough)
    distance += edge
    rim = np.maximum(np.hypot(u, v) / np.float32(1.55 * radius_px) - 0.8, 0) * 5
    return where.with_alpha(
        np.clip((0.9 - distance - rim) * np.float32(radius_px) * 0.8 + 0.5, 0, 1).astype(np.float32)
    )


def lake(canvas: Canvas, x: float, y: float, radius_px: float) -> None:
    """Standing water with an irregular shore."""
    where = blob(canvas, x, y, radius_px, canvas.rng.uniform(0.1, 0.35))
    if where is not None:
        water(canvas, where)


def water(canvas: Canvas, where: Cover) -> None:
    """Fill a shape with water: ripples, streaks, shallow or wet edges."""
    rng = canvas.rng
    if np.count_nonzero(where.alpha >= 0.5) < 30:
        return
    deep, shallow = choose(rng, WATERS), choose(rng, SOIL) * np.float32(0.6)
    soft = ndimage.uniform_filter(where.alpha, size=max(3, int(canvas.px(rng.uniform(1, 8)))), mode="nearest")
    silt, owner = np.float32(rng.uniform(0.3, 1.3)), canvas.new("water")
    cloud, grain = np.float32(rng.uniform(0.02, 0.12)), np.float32(rng.uniform(0.01, 0.1))
    ripple = np.float32(0.06 * (canvas.gsd_m < 1) * (rng.random() < 0.6))
    angle, period = rng.uniform(0, math.pi), canvas.px(rng.uniform(1, 4))
    for tile in where.tiles():
        shape, corner = tile.alpha.shape, (tile.rows.start, tile.cols.start)
        value = 1 + cloud * canvas.noise.cut(shape, "coarse", corner) + grain * canvas.noise.cut(shape, "fine", corner)
        if ripple:
            u, _ = coordinates(tile, 0, 0, angle)
            value += ripple * stripes(u + canvas.px(0.7) * canvas.noise.cut(shape, "medium", corner), period)
        rgb = tint(deep, np.clip(value, 0.3, 2))
        row, col = corner[0] - where.rows.start, corner[1] - where.cols.start
        near = np.clip((1 - soft[row : row + shape[0], col : col + shape[1]]) * silt, 0, 0.8)
        rgb += (shallow - rgb) * near[..., None]
        canvas.paint(tile, rgb, owner, 0)


def river(canvas: Canvas, width_m: float) -> None:
    """Water that winds across the scene."""
    rng = canvas.rng
    line = crossing(canvas, 0.16)
    t = np.linspace(0, 1, len(line))
    widths = canvas.px(width_m) * (1 + 0.3 * np.sin(t * rng.uniform(5, 25) + rng.uniform(0, 6)) + 0.15 * np.sin(t * 41))
    outline = canvas.cover([ribbon(line, widths * rng.uniform(1.15, 1.5))])
    where = canvas.cover([ribbon(line, widths)])
    if where is None or outline is None:
        return
    bank = choose(rng, SOIL + GRASS)
    for tile in outline.tiles():
        grain = canvas.noise.cut(tile.alpha.shape, at=(tile.rows.start, tile.cols.start))
        canvas.paint(tile, tint(bank, 1 + 0.12 * grain), NOTHING)
    water(canvas, where)


def crossing(canvas: Canvas, bend: float) -> Polygon:
    """A line (65, 2) from one side of the canvas to another."""
    height, width = canvas.shape
    rng = canvas.rng
    angle, middle = rng.uniform(0, math.pi), np.array([width, height]) * rng.uniform(0.2, 0.8, 2)
    reach = unit(angle) * math.hypot(height, width)
    return curve(list(middle - reach), list(middle + reach), bend, rng)


def sea(canvas: Canvas) -> Polygon:
    """Open water on one side of a straight or rough shore; returns (2, 2): a point of the shore, the way out."""
    rng, (height, width) = canvas.rng, canvas.shape
    angle, share = rng.uniform(0, 2 * math.pi), rng.uniform(-0.25, 0.25)
    out = unit(angle)
    shore = np.array([width, height]) / 2 + out * share * min(height, width)
    whole = canvas.whole()
    u, _ = coordinates(whole, float(shore[0]), float(shore[1]), angle)
    if rng.random() < 0.6:
        u += octaves(rng, canvas.shape, coarse_px=max(height, width) / 3, fine_px=4, falloff=0.5) * np.float32(
            min(height, width) * rng.uniform(0.02, 0.12)
        )
    water(canvas, whole.with_alpha(np.clip(u + 0.5, 0, 1)))
    return np.stack([shore, out])


def forest(canvas: Canvas, where: Cover, crown_m: float) -> None:
    """A wood: one object, whose crowns are parts of it where they can be told apart."""
    owner = canvas.new("forest")
    solid = where.alpha >= 0.5
    if np.count_nonzero(solid) < 60:
        return
    canvas.ids[where.rows, where.cols][solid] = owner
    canopy(canvas, where, crown_m, parent=owner)


def road(
    canvas: Canvas, line: Polygon, width_m: float, *, owner: int | None = None, paved: bool = True, lines: bool = True
) -> int | None:
    """A road along a line; returns its id. Several pieces with one owner make one network."""
    rng, width = canvas.rng, canvas.px(width_m)
    where = canvas.cover([ribbon(line, width)])
    if where is None or width < 0.8:
        return owner
    if owner is None and width >= 1.5:
        owner = canvas.new("road")
    verge = canvas.cover([ribbon(line, width + canvas.px(rng.uniform(1, 3)))])
    if verge is not None:
        side = choose(rng, SOIL + GRASS)
        for tile in verge.tiles():
            canvas.paint(tile.with_alpha(tile.alpha * np.float32(0.6)), side)
    color = choose(rng, PAVED if paved else SOIL)
    for tile in where.tiles():
        corner = (tile.rows.start, tile.cols.start)
        grain = canvas.noise.cut(tile.alpha.shape, at=corner) + canvas.noise.cut(tile.alpha.shape, "coarse", at=corner)
        canvas.paint(tile, tint(color, 1 + 0.05 * grain), owner, 0)
    if not paved:
        tracks(canvas, line, width)
    elif lines and canvas.px(0.15) > 0.25 and width_m >= 5:
        markings(canvas, line, width)
    return owner


def markings(canvas: Canvas, line: Polygon, width: float) -> None:
    """Dashes along the middle and lines along the edges."""
    white = np.array([0.8, 0.8, 0.78], dtype=np.float32)
    thick = max(canvas.px(0.15), 0.5)
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    for start in np.arange(0, along[-1], canvas.px(9)):
        at = np.linspace(start, min(start + canvas.px(3.5), along[-1]), 4)
        dash = np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], axis=1)
        if visible(canvas, dash) and (where := canvas.cover([ribbon(dash, thick)])):
            canvas.paint(where.with_alpha(where.alpha * np.float32(0.8)), white)
    if canvas.rng.random() < 0.6:
        tangent = np.gradient(line, axis=0)
        side = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
        for sign in (-1, 1):
            if where := canvas.cover([ribbon(line + side * sign * width * 0.44, thick)]):
                canvas.paint(where.with_alpha(where.alpha * np.float32(0.7)), white)


def tracks(canvas: Canvas, line: Polygon, width: float) -> None:
    """The two wheel tracks of an unpaved road."""
    if width < 5:
        return
    if where := canvas.cover([ribbon(line, width * 0.3)]):
        canvas.paint(where.with_alpha(where.alpha * np.float32(0.4)), choose(canvas.rng, GRASS))


def paths(canvas: Canvas, count: int, width_m: float = 0.8) -> None:
    """Trodden paths: part of the ground, not objects."""
    for _ in range(count):
        line = crossing(canvas, 0.12)
        if where := canvas.cover([ribbon(line, max(canvas.px(width_m), 0.8))]):
            color = choose(canvas.rng, SOIL)
            for tile in where.tiles():
                rough = np.clip(0.7 + 0.4 * canvas.noise.cut(tile.alpha.shape), 0, 1)
                canvas.paint(tile.with_alpha((tile.alpha * rough * 0.75).astype(np.float32)), color)


def stains(canvas: Canvas, count: int, radius_m: tuple[float, float] = (0.5, 6)) -> None:
    """Patches of bare or overgrown ground, rubble and puddles without a clear edge: clutter."""
    rng, (height, width) = canvas.rng, canvas.shape
    for _ in range(count):
        where = blob(
            canvas, rng.uniform(0, width), rng.uniform(0, height), max(canvas.px(rng.uniform(*radius_m)), 3), 0.4
        )
        if where is not None:
            faint = np.clip(0.45 + 0.5 * canvas.noise.cut(where.alpha.shape), 0, 1) * rng.uniform(0.2, 0.8)
            ids = canvas.ids[where.rows, where.cols]
            alpha = (where.alpha * faint * (ids == NOTHING)).astype(np.float32)
            canvas.paint(where.with_alpha(alpha), choose(rng, SOIL + GRASS + PAVED))


def half(canvas: Canvas, point: Polygon, out: Polygon) -> Polygon:
    """The part of the frame on the land side of a shore."""
    return clip(frame(canvas, math.atan2(float(out[1]), float(out[0]))), out, float(point @ out))
