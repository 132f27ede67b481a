"""Buildings from above: facets lit by the sun, what they are covered with, and what stands on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from samgeo.train.scenes.canvas import NOTHING, Canvas
from samgeo.train.scenes.geometry import (
    Cover,
    Floats,
    Polygon,
    axis,
    extents,
    inset,
    outward_normals,
    polygon_area,
    rectangle,
    sweep,
    unit,
)
from samgeo.train.scenes.textures import coordinates, patchwork, stripes, tint

PART_PX = 140
"""Facets smaller than this are not objects of their own."""

COLORS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "tile": (
        (0.55, 0.3, 0.2),
        (0.45, 0.24, 0.17),
        (0.62, 0.42, 0.3),
        (0.3, 0.29, 0.29),
        (0.2, 0.2, 0.22),
        (0.42, 0.38, 0.33),
    ),
    "shingle": ((0.36, 0.34, 0.33), (0.48, 0.45, 0.42), (0.4, 0.32, 0.26), (0.25, 0.25, 0.27), (0.56, 0.5, 0.43)),
    "sheet": (
        (0.72, 0.74, 0.76),
        (0.6, 0.62, 0.63),
        (0.5, 0.34, 0.25),
        (0.28, 0.4, 0.58),
        (0.62, 0.22, 0.2),
        (0.3, 0.45, 0.36),
        (0.85, 0.86, 0.85),
        (0.42, 0.3, 0.24),
    ),
    "flat": (
        (0.6, 0.58, 0.55),
        (0.75, 0.73, 0.7),
        (0.45, 0.44, 0.43),
        (0.9, 0.9, 0.88),
        (0.3, 0.3, 0.31),
        (0.56, 0.5, 0.42),
        (0.66, 0.6, 0.5),
    ),
    "thatch": ((0.45, 0.38, 0.28), (0.36, 0.31, 0.25), (0.52, 0.46, 0.36)),
}
"""Typical reflectances of roof coverings."""


@dataclass(frozen=True, kw_only=True)
class Roof:
    """How a building is roofed."""

    shape: str
    """gable, hip, shed or flat."""
    covering: str
    """A key of `COLORS`."""
    height_m: float
    """Eaves above ground."""
    pitch: float = 0.45
    """Slope of the facets, radians."""
    clutter: float = 1.0
    """How much stands on it, against the usual."""
    label: str = "building"
    """What it is the roof of."""


def pick_color(rng: np.random.Generator, covering: str) -> Floats:
    """A reflectance (3,) for a covering, near one of the typical ones."""
    table = COLORS[covering]
    base = np.array(table[int(rng.integers(len(table)))], dtype=np.float32)
    return np.clip(base * rng.uniform(0.75, 1.2) + rng.normal(0, 0.012, 3), 0.04, 0.97).astype(np.float32)


def building(canvas: Canvas, ground: Polygon, roof: Roof, *, parent: int = NOTHING, color: Floats | None = None) -> int:
    """Paint a building on a convex footprint: shadow, walls, roof and parts; returns its id."""
    rng = canvas.rng
    owner = canvas.new(roof.label, parent)
    canvas.shade(ground, roof.height_m)
    shift = canvas.lean * roof.height_m
    if math.hypot(*shift) > 0.7:
        walls = canvas.cover([sweep(ground, shift)])
        if walls is not None:
            wall = np.clip(rng.uniform(0.25, 0.6) * np.array([1.0, 0.96, 0.9]), 0, 1).astype(np.float32)
            grain = 1 + 0.12 * canvas.noise.cut(walls.alpha.shape)
            canvas.paint(walls, tint(wall, grain), NOTHING, roof.height_m * 0.5)
    top = ground + shift
    where = canvas.cover([top])
    if where is None:
        return owner
    base = pick_color(rng, roof.covering) if color is None else color
    facets, shades = facet_map(canvas, where, top, roof)
    surface = cladding(canvas, where, top, roof)
    canvas.paint(where, tint(base, shades) * surface, owner, roof.height_m)
    area = polygon_area(top)
    if area > 3 * PART_PX and roof.shape in ("gable", "hip"):
        own_facets(canvas, where, facets, owner)
    if area > 200:
        furnish(canvas, top, roof, owner)
    return owner


def facet_map(canvas: Canvas, where: Cover, top: Polygon, roof: Roof) -> tuple[Floats, Floats]:
    """Which facet each pixel of a roof lies on, and how bright that is against flat ground: two (h, w) arrays."""
    if roof.shape == "hip":
        edges = outward_normals(top)
        x, y = where.grid()
        depth = np.stack([np.float32(o) - x * np.float32(nx) - y * np.float32(ny) for nx, ny, o in edges])
        facets = depth.argmin(axis=0).astype(np.float32)
        outward = np.array(edges)[:, :2]
    elif roof.shape == "gable":
        angle = long_axis(top)
        centre = top.mean(axis=0)
        _, across = coordinates(where, float(centre[0]), float(centre[1]), angle)
        facets = (across > 0).astype(np.float32)
        side = unit(angle + math.pi / 2)
        outward = np.stack([-side, side])
    else:
        facets = np.zeros(where.alpha.shape, dtype=np.float32)
        outward = unit(long_axis(top) + math.pi / 2)[None]
    pitch = 0.0 if roof.shape == "flat" else roof.pitch
    light = math.cos(pitch) + math.sin(pitch) * canvas.reach * (outward @ -canvas.sun)
    shades = np.clip(0.35 + 0.65 * light, 0.3, 1.45).astype(np.float32)
    return facets, shades[facets.astype(np.int64)]


def long_axis(polygon: Polygon) -> float:
    """Direction along which a polygon is longest, out of its longest edge and the one across it."""
    angle = axis(polygon)
    u0, u1, v0, v1 = extents(polygon, angle)
    return angle if u1 - u0 >= v1 - v0 else angle + math.pi / 2


def cladding(canvas: Canvas, where: Cover, top: Polygon, roof: Roof) -> Floats:
    """Texture and weather of a roof, (h, w, 3) about 1."""
    rng, shape = canvas.rng, where.alpha.shape
    centre = top.mean(axis=0)
    u, v = coordinates(where, float(centre[0]), float(centre[1]), long_axis(top))
    value = 1 + np.float32(rng.uniform(0.02, 0.09)) * canvas.noise.cut(shape, "coarse")
    value += np.float32(rng.uniform(0.01, 0.05)) * canvas.noise.cut(shape, "fine")
    if roof.covering == "sheet":
        value += np.float32(rng.uniform(0.04, 0.16)) * stripes(u, canvas.px(rng.choice([0.15, 0.3, 0.6, 1.0])))
        sheets = patchwork(rng, u, v, (canvas.px(rng.uniform(0.8, 2.5)), canvas.px(rng.uniform(2, 5))))
        value += np.float32(rng.choice([0.015, 0.05, 0.14])) * sheets
    elif roof.covering == "tile":
        value += np.float32(0.1) * stripes(v, canvas.px(0.34)) + np.float32(0.06) * stripes(u, canvas.px(0.3))
        value += np.float32(0.06) * patchwork(rng, u, v, (max(canvas.px(0.3), 1), max(canvas.px(0.34), 1)))
    elif roof.covering == "shingle":
        value += np.float32(0.05) * patchwork(rng, u, v, (max(canvas.px(0.9), 1), max(canvas.px(0.3), 1)))
    elif roof.covering == "thatch":
        value += np.float32(0.12) * canvas.noise.cut(shape, "fine")
    result = np.repeat(value[..., None], 3, axis=2)
    if roof.covering == "sheet" and rng.random() < 0.35:
        cells = patchwork(rng, u, v, (canvas.px(rng.uniform(0.8, 2.5)), canvas.px(rng.uniform(1.5, 4))))
        rusty = (cells > rng.uniform(0.2, 1.6)).astype(np.float32)[..., None] * np.float32(rng.uniform(0.3, 1))
        result *= 1 + rusty * (np.array([0.78, 0.52, 0.4], dtype=np.float32) - 1)
    weather(canvas, result, roof, where)
    return np.clip(result, 0.15, 1.6)


def weather(canvas: Canvas, surface: Floats, roof: Roof, where: Cover) -> None:
    """Rust on sheets, moss and dirt elsewhere; changes `surface` (h, w, 3)."""
    rng, shape = canvas.rng, where.alpha.shape
    if rng.random() > (0.6 if roof.covering in ("sheet", "flat") else 0.35):
        return
    field = canvas.noise.cut(shape, "medium") + 0.8 * canvas.noise.cut(shape, "coarse")
    amount = np.clip((field - rng.uniform(0.0, 2.0)) * rng.uniform(0.6, 2.5), 0, 1)[..., None]
    stain = {"sheet": (0.85, 0.55, 0.4), "flat": (0.62, 0.6, 0.58)}.get(roof.covering, (0.7, 0.75, 0.62))
    surface *= 1 + amount * np.float32(rng.uniform(0.3, 0.95)) * (np.array(stain, dtype=np.float32) - 1)


def own_facets(canvas: Canvas, where: Cover, facets: Floats, owner: int) -> None:
    """Make objects of the facets that are large enough to be clicked on."""
    ids = canvas.ids[where.rows, where.cols]
    mine = ids == owner
    for facet in range(int(facets.max()) + 1):
        pixels = mine & (facets == facet)
        if np.count_nonzero(pixels) >= PART_PX:
            ids[pixels] = canvas.new("roof facet", owner)


def furnish(canvas: Canvas, top: Polygon, roof: Roof, owner: int) -> None:
    """Put the usual things on a roof: parapet, boxes and tanks on flat ones, chimneys, dormers and panels on others."""
    rng, area_m2 = canvas.rng, polygon_area(top) * canvas.gsd_m**2
    if roof.shape == "flat":
        parapet(canvas, top)
        if rng.random() < 0.35:
            storey(canvas, top, roof, owner)
        count = int(rng.poisson(min(area_m2 / 30, 14) * roof.clutter))
        kinds = [(0.8, 2.2), (0.5, 1.2), (1.5, 4.0)]
    else:
        ridge(canvas, top, roof)
        count = int(rng.poisson(0.9 if roof.covering in ("tile", "shingle") else 0.15))
        kinds = [(0.5, 1.0), (0.6, 1.2), (1.2, 2.2)]
    if rng.random() < 0.16 and area_m2 > 40:
        panels(canvas, top, roof, owner)
    inner = inset(top, canvas.px(1.0))
    for _ in range(count if len(inner) else 0):
        low, high = kinds[int(rng.integers(len(kinds)))]
        x, y = inside(inner, rng)
        box(
            canvas,
            rectangle(x, y, canvas.px(rng.uniform(low, high)), canvas.px(rng.uniform(low, high)), long_axis(top)),
            roof.height_m,
            owner,
        )


def inside(polygon: Polygon, rng: np.random.Generator) -> tuple[float, float]:
    """A random point of a convex polygon (not quite uniform)."""
    weights = rng.dirichlet(np.full(len(polygon), 0.8))
    x, y = weights @ polygon
    return float(x), float(y)


def box(canvas: Canvas, shape: Polygon, base_m: float, owner: int) -> None:
    """Something small that stands on a roof; an object of its own where it is large enough."""
    rng = canvas.rng
    where = canvas.cover([shape]) if polygon_area(shape) >= 3 else None
    if where is None:
        return
    height = rng.uniform(0.4, 1.6)
    on_roof(canvas, shape, base_m, height)
    part = canvas.new("roof structure", owner) if where.alpha.sum() >= 30 else owner
    color = (rng.uniform(0.15, 0.9) * np.array([1, rng.uniform(0.92, 1.0), rng.uniform(0.85, 1.05)])).astype(np.float32)
    grain = 1 + 0.06 * canvas.noise.cut(where.alpha.shape)
    canvas.paint(where, tint(color, grain), part, base_m + height)


def on_roof(canvas: Canvas, shape: Polygon, base_m: float, height_m: float) -> None:
    """The shadow that something `height_m` high casts on the roof, `base_m` high, that it stands on."""
    where = canvas.cover([sweep(shape, canvas.sun * canvas.px(height_m * canvas.reach))])
    if where is not None:
        same = np.abs(canvas.elevation[where.rows, where.cols] - base_m) < 0.1 * base_m
        canvas.scale(where.with_alpha(where.alpha * same), np.full(same.shape, 1 - canvas.gloom, dtype=np.float32))


def parapet(canvas: Canvas, top: Polygon) -> None:
    """The rim of a flat roof, lighter or darker than what it encloses, and its inner shadow."""
    width = canvas.px(canvas.rng.uniform(0.2, 0.5))
    inner = inset(top, width)
    where = canvas.cover([top])
    if width < 0.8 or len(inner) == 0 or where is None or canvas.rng.random() < 0.3:
        return
    hole, gone = canvas.cover([inner]), where.alpha.copy()
    if hole is not None:
        rows = slice(hole.rows.start - where.rows.start, hole.rows.stop - where.rows.start)
        cols = slice(hole.cols.start - where.cols.start, hole.cols.stop - where.cols.start)
        gone[rows, cols] -= hole.alpha
    gain = np.float32(canvas.rng.choice([0.7, 0.85, 1.2, 1.35]))
    canvas.scale(where.with_alpha(np.clip(gone, 0, 1)), np.full(gone.shape, gain, dtype=np.float32))


def ridge(canvas: Canvas, top: Polygon, roof: Roof) -> None:
    """The light or dark line along the top of a gable."""
    width = canvas.px(0.3)
    if width < 0.8 or roof.shape != "gable":
        return
    angle, centre = long_axis(top), top.mean(axis=0)
    u0, u1, _, _ = extents(top, angle)
    where = canvas.cover([rectangle(float(centre[0]), float(centre[1]), (u1 - u0) * 0.98, width, angle)])
    if where is not None:
        on_roof = canvas.elevation[where.rows, where.cols] >= np.float16(roof.height_m * 0.9)
        canvas.scale(
            where.with_alpha(where.alpha * on_roof),
            np.full(where.alpha.shape, canvas.rng.choice([0.75, 1.2]), dtype=np.float32),
        )


def storey(canvas: Canvas, top: Polygon, roof: Roof, owner: int) -> None:
    """A stair house or a second level on a part of a flat roof."""
    rng, angle, centre = canvas.rng, long_axis(top), top.mean(axis=0)
    u0, u1, v0, v1 = extents(top, angle)
    share = rng.uniform(0.25, 0.5, 2)
    spot = (
        centre
        + unit(angle) * (u1 - u0) * rng.uniform(-0.2, 0.2)
        + unit(angle + math.pi / 2) * (v1 - v0) * rng.uniform(-0.2, 0.2)
    )
    level = rectangle(float(spot[0]), float(spot[1]), (u1 - u0) * share[0], (v1 - v0) * share[1], angle)
    where = canvas.cover([level])
    if where is None or polygon_area(level) < 12:
        return
    on_roof(canvas, level, roof.height_m, 2.5)
    part = canvas.new("roof structure", owner) if where.alpha.sum() >= 60 else owner
    color = pick_color(rng, "flat")
    canvas.paint(where, tint(color, 1 + 0.06 * canvas.noise.cut(where.alpha.shape)), part, roof.height_m + 2.5)


def panels(canvas: Canvas, top: Polygon, roof: Roof, owner: int) -> None:
    """A block of solar panels on one side of a roof."""
    rng, angle, centre = canvas.rng, long_axis(top), top.mean(axis=0)
    u0, u1, v0, v1 = extents(top, angle)
    length, width = (u1 - u0) * rng.uniform(0.3, 0.75), (v1 - v0) * rng.uniform(0.2, 0.36)
    side = unit(angle + math.pi / 2) * (v1 - v0) * 0.24 * rng.choice([-1, 1])
    spot = centre + side + unit(angle) * (u1 - u0) * rng.uniform(-0.08, 0.08)
    array = rectangle(float(spot[0]), float(spot[1]), length, width, angle)
    where = canvas.cover([array])
    if where is None or where.alpha.sum() < 16:
        return
    canvas.paint(where, panel_surface(canvas, where, spot, angle), canvas.new("solar panel", owner), roof.height_m)


def panel_surface(canvas: Canvas, where: Cover, spot: Polygon, angle: float) -> Floats:
    """Dark blue cells with light frames, (h, w, 3)."""
    rng = canvas.rng
    u, v = coordinates(where, float(spot[0]), float(spot[1]), angle)
    cell = np.array([canvas.px(1.0), canvas.px(1.65)])
    base = np.array([0.1, 0.13, 0.22]) * rng.uniform(0.7, 1.9) + rng.normal(0, 0.015, 3)
    value = (
        1 + 0.07 * patchwork(rng, u, v, (float(cell[0]), float(cell[1]))) + 0.05 * canvas.noise.cut(where.alpha.shape)
    )
    color = tint(np.clip(base, 0.03, 1).astype(np.float32), value)
    if cell[0] > 4:
        frame = np.minimum(
            np.abs((u / cell[0] + 0.5) % 1 - 0.5) * cell[0], np.abs((v / cell[1] + 0.5) % 1 - 0.5) * cell[1]
        )
        color += (np.clip(1.1 - frame, 0, 1) * np.float32(0.25))[..., None].astype(np.float32)
    return color
