"""Where people live and work: towns, suburbs, villages, industry, car parks, harbours, solar farms."""

from __future__ import annotations

import math

import numpy as np

from samgeo.train.scenes import landscape as land
from samgeo.train.scenes.canvas import NOTHING, Canvas
from samgeo.train.scenes.farming import fields
from samgeo.train.scenes.geometry import (
    Polygon,
    axis,
    circle,
    densify,
    extents,
    inset,
    polygon_area,
    rectangle,
    split,
    unit,
)
from samgeo.train.scenes.roofs import Roof, building, inside, long_axis, panel_surface, pick_color
from samgeo.train.scenes.textures import coordinates, tint
from samgeo.train.scenes.things import bushes, choose, pool, ship, tank, tree, vehicle


def random_roof(
    canvas: Canvas, mix: tuple[str, ...], height_m: tuple[float, float] = (2.5, 8), clutter: float = 1.0
) -> Roof:
    """A roof whose covering is one of `mix` and whose shape fits that."""
    rng = canvas.rng
    covering = str(rng.choice(mix))
    shapes = {"flat": ("flat",), "sheet": ("gable", "shed", "shed", "flat", "hip"), "thatch": ("hip",)}
    shape = str(rng.choice(shapes.get(covering, ("gable", "hip"))))
    return Roof(
        shape=shape,
        covering=covering,
        height_m=float(rng.uniform(*height_m)),
        pitch=float(rng.uniform(0.15, 0.7)),
        clutter=clutter,
    )


def streets(canvas: Canvas, block_m: float, width_m: float, *, paved: bool, label: bool) -> list[Polygon]:
    """Cut the canvas into blocks with streets between them; returns the blocks, bent alike."""
    rng = canvas.rng
    outer = land.frame(canvas, rng.uniform(0, math.pi))
    blocks = split(outer, canvas.px(block_m) ** 2, rng, tilt=rng.choice([0.02, 0.08]))
    owner = canvas.new("road") if label else NOTHING
    color, shape = choose(rng, land.PAVED if paved else land.SOIL), canvas.shape
    base = canvas.rgb.copy()
    value = (
        1 + np.float32(0.07) * canvas.noise.cut(shape, "medium") + np.float32(0.05) * canvas.noise.cut(shape, "fine")
    )
    canvas.paint(canvas.whole(), tint(color, value), owner)
    kept = []
    for block in blocks:
        inner = inset(block, canvas.px(width_m) / 2 * rng.uniform(0.7, 1.1))
        if len(inner) < 3 or not land.visible(canvas, inner):
            continue
        where = canvas.cover([inner])
        if where is None:
            continue
        if width_m > 4 and canvas.px(1.2) > 1.5:
            canvas.paint(where, choose(rng, ((0.55, 0.54, 0.52), (0.48, 0.46, 0.44))), NOTHING)
            inner = inset(inner, canvas.px(rng.uniform(1, 2)))
            where = canvas.cover([inner]) if len(inner) >= 3 else None
        if where is not None:
            canvas.paint(where, base[where.rows, where.cols], NOTHING)
            kept.append(inner)
    if label:
        street_life(canvas, blocks, width_m)
    return kept


def street_life(canvas: Canvas, blocks: list[Polygon], width_m: float) -> None:
    """Centre lines and parked or driving cars along the streets between blocks."""
    rng = canvas.rng
    if canvas.px(4.5) < 3.5:
        return
    marked = rng.random() < 0.5 and width_m >= 6
    busy = min(1.0, 4e6 / canvas.ids.size)
    for block in blocks:
        for a, b in zip(block, np.roll(block, -1, axis=0), strict=True):
            line = np.stack([a + (b - a) * t for t in np.linspace(0.06, 0.94, 12)])
            if not land.visible(canvas, line):
                continue
            length = math.hypot(*(b - a))
            if marked and length > canvas.px(20) and rng.random() < 0.5 and canvas.px(0.15) > 0.25:
                land.markings(canvas, line, canvas.px(width_m))
            direction = math.atan2(*(b - a)[::-1])
            for _ in range(int(rng.poisson(length / canvas.px(30) * busy))):
                lane = unit(direction + math.pi / 2) * canvas.px(width_m) * rng.choice([-0.3, 0.3, -0.2])
                x, y = a + (b - a) * rng.uniform(0.05, 0.95) + lane
                vehicle(canvas, float(x), float(y), direction)


def town(canvas: Canvas) -> None:
    """Roofs that touch: an old town or an informal settlement."""
    rng = canvas.rng
    informal = rng.random() < 0.5
    land.ground(canvas, land.SOIL, land.SOIL if informal else land.PAVED)
    blocks = streets(
        canvas,
        rng.uniform(22, 45) if informal else rng.uniform(30, 70),
        rng.uniform(2, 4) if informal else rng.uniform(4, 9),
        paved=not informal,
        label=not informal,
    )
    land.stains(canvas, int(rng.integers(5, 25)), (0.5, 3))
    mixes = (
        (("sheet",), ("sheet", "flat"))
        if informal
        else (("tile", "flat"), ("flat",), ("flat", "sheet", "tile"), ("tile", "tile", "shingle"))
    )
    mix = mixes[int(rng.integers(len(mixes)))]
    lot_m2 = rng.uniform(25, 70) if informal else rng.uniform(60, 220)
    # A large scene gets larger houses: tens of thousands would take minutes.
    lot_px = max(lot_m2 / canvas.gsd_m**2, 80, canvas.ids.size / 9000)
    tilt, gap = rng.choice([0.02, 0.08, 0.16]), rng.choice([0.03, 0.3, 0.8])
    crowded = float(rng.choice([0.6, 1.5, 3])) * min(1.0, 6e6 / canvas.ids.size)
    homes: list[tuple[float, Polygon, Roof, int]] = []
    for block in blocks:
        row = canvas.new("block") if gap < 0.5 and rng.random() < 0.5 else NOTHING
        for lot in split(block, lot_px, rng, tilt=tilt):
            shape = inset(lot, canvas.px(gap * rng.uniform(0.3, 1.3)))
            if len(shape) < 3 or not land.visible(canvas, shape):
                continue
            if rng.random() < 0.12:
                yard(canvas, shape)
            elif polygon_area(shape) > 12:
                roof = random_roof(canvas, mix, (2.2, 5) if informal else (4, 14), crowded)
                homes.append((roof.height_m, trimmed(canvas, shape), roof, row))
    for _, shape, roof, row in sorted(homes, key=lambda home: home[0]):
        building(canvas, shape, roof, parent=row)
    greenery(canvas, rng.uniform(0, 0.0025))


def trimmed(canvas: Canvas, lot: Polygon) -> Polygon:
    """A lot as built: now and then only a part of it, or a rectangle in it."""
    rng = canvas.rng
    if rng.random() < 0.3:
        angle = axis(lot)
        u0, u1, v0, v1 = extents(lot, angle)
        x, y = lot.mean(axis=0)
        return rectangle(
            float(x), float(y), (u1 - u0) * rng.uniform(0.7, 0.95), (v1 - v0) * rng.uniform(0.7, 0.95), angle
        )
    return lot


def yard(canvas: Canvas, shape: Polygon) -> None:
    """A court without a building: soil or green, perhaps a tree."""
    if where := canvas.cover([shape]):
        color = choose(canvas.rng, land.GRASS + land.SOIL + land.PAVED)
        canvas.paint(where, tint(color, 1 + 0.15 * canvas.noise.cut(where.alpha.shape)), NOTHING)
    x, y = shape.mean(axis=0)
    if canvas.rng.random() < 0.5:
        tree(canvas, float(x), float(y), float(canvas.rng.uniform(1, 4)))


def greenery(canvas: Canvas, per_m2: float) -> None:
    """Trees anywhere, over roofs too."""
    rng, (height, width) = canvas.rng, canvas.shape
    count = min(int(per_m2 * height * width * canvas.gsd_m**2), 4000)
    base = choose(rng, land.GRASS)
    for x, y in rng.uniform(0, 1, (count, 2)) * (width, height):
        color = (0.5 * base + 0.5 * choose(rng, land.GRASS)) * np.float32(rng.uniform(0.5, 0.9))
        size = min(float(rng.lognormal(0.7, 0.45)), 6.0)
        if canvas.labels[canvas.ids[int(y), int(x)]] != "water":
            tree(canvas, float(x), float(y), size, color=color.astype(np.float32))


def suburb(canvas: Canvas) -> None:
    """Houses with gardens along streets."""
    rng = canvas.rng
    land.ground(canvas, land.GRASS, land.SOIL if rng.random() < 0.4 else land.GRASS)
    lot_m2 = rng.uniform(250, 900)
    blocks = streets(canvas, rng.uniform(55, 110), rng.uniform(6, 11), paved=True, label=True)
    mix = (("tile",), ("shingle",), ("tile", "shingle", "flat"), ("sheet", "tile"))[int(rng.integers(4))]
    for block in blocks:
        if rng.random() < 0.07:
            x, y = block.mean(axis=0)
            sports_field(canvas, float(x), float(y), axis(block), block)
            continue
        for lot in split(block, max(lot_m2 / canvas.gsd_m**2, canvas.ids.size / 3000), rng):
            if land.visible(canvas, lot):
                garden(canvas, lot, mix)
    greenery(canvas, rng.uniform(0.0005, 0.004))


def garden(canvas: Canvas, lot: Polygon, mix: tuple[str, ...]) -> None:
    """One lot: lawn, drive, house, car, pool, hedge."""
    rng = canvas.rng
    inner = inset(lot, canvas.px(0.4))
    if len(inner) < 3:
        return
    if where := canvas.cover([inner]):
        faint = where.with_alpha(where.alpha * np.float32(rng.uniform(0, 0.8)))
        lawn = choose(rng, land.GRASS + land.SOIL[:1])
        canvas.paint(faint, tint(lawn, 1 + 0.08 * canvas.noise.cut(where.alpha.shape)))
    angle, (x, y) = axis(lot), lot.mean(axis=0)
    u0, u1, v0, v1 = extents(lot, angle)
    side, front = (u1 - u0), (v1 - v0)
    drive = np.array([x, y]) + unit(angle) * side * rng.choice([-0.3, 0.3])
    strip = rectangle(float(drive[0]), float(drive[1]), canvas.px(3), front * 0.96, angle)
    if rng.random() < 0.7 and (where := canvas.cover([strip])):
        canvas.paint(where, tint(choose(rng, land.PAVED), 1 + 0.05 * canvas.noise.cut(where.alpha.shape)))
        spot = drive + unit(angle + math.pi / 2) * front * rng.uniform(-0.35, 0.35)
        if rng.random() < 0.7:
            vehicle(canvas, float(spot[0]), float(spot[1]), angle + math.pi / 2)
    if rng.random() < 0.15:
        px, py = inside(inner, rng)
        pool(canvas, px, py, angle)
    if rng.random() < 0.3:
        dense = densify(inner, max(canvas.px(1.2), 2))
        for hx, hy in dense[: int(len(dense) * rng.uniform(0.1, 0.5))]:
            tree(canvas, float(hx), float(hy), float(rng.uniform(0.4, 0.85)))
    house(
        canvas,
        float(x + rng.normal(0, side * 0.06)),
        float(y + rng.normal(0, front * 0.06)),
        min(side * 0.7, canvas.px(rng.uniform(10, 19))),
        min(front * 0.55, canvas.px(rng.uniform(7, 12))),
        angle,
        mix,
    )


def house(
    canvas: Canvas,
    x: float,
    y: float,
    length: float,
    width: float,
    angle: float,
    mix: tuple[str, ...],
    parent: int = NOTHING,
) -> None:
    """A house of one or two wings under one covering."""
    rng = canvas.rng
    angle += float(rng.choice([0, math.pi / 2], p=[0.8, 0.2])) + rng.normal(0, 0.03)
    roof = random_roof(canvas, mix, (3, 6))
    color = pick_color(rng, roof.covering)
    if length * width < 9:
        return
    if rng.random() < 0.4 and min(length, width) > canvas.px(5):
        whole = canvas.new("building", parent)
        wing = (
            np.array([x, y])
            + unit(angle) * length * 0.25 * rng.choice([-1, 1])
            + unit(angle + math.pi / 2) * width * 0.4 * rng.choice([-1, 1])
        )
        building(
            canvas,
            rectangle(float(wing[0]), float(wing[1]), width * 0.95, length * 0.5, angle + math.pi / 2),
            roof,
            color=color,
            parent=whole,
        )
        building(canvas, rectangle(x, y, length, width, angle), roof, color=color, parent=whole)
    else:
        building(canvas, rectangle(x, y, length, width, angle), roof, color=color, parent=parent)


def village(canvas: Canvas) -> None:
    """Scattered roofs on bare or grown ground with paths, tracks, bushes and crops."""
    rng, (height, width) = canvas.rng, canvas.shape
    land.ground(canvas, land.SOIL, land.GRASS)
    if rng.random() < 0.3:
        fields(canvas, rng.uniform(15, 60), gap_m=2.5)
    land.stains(canvas, int(rng.integers(10, 40)), (1, 10))
    land.paths(canvas, int(rng.integers(1, 6)))
    if rng.random() < 0.7:
        land.road(canvas, land.crossing(canvas, 0.06), rng.uniform(3, 6), paved=rng.random() < 0.2, lines=False)
    area_m2 = height * width * canvas.gsd_m**2
    bushes(canvas, min(int(area_m2 / 40), 600))
    mix = (("sheet",), ("sheet", "thatch"), ("sheet", "tile"), ("tile",), ("flat", "sheet"))[int(rng.integers(5))]
    placed: list[tuple[float, float, float]] = []
    for _ in range(min(int(area_m2 / rng.uniform(250, 1500)) + 3, 2500)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), canvas.px(rng.lognormal(2.2, 0.35))
        near = [1 for a, b, c in placed[-400:] if math.hypot(a - x, b - y) < (c + size) * 0.65]
        if near:
            continue
        placed.append((x, y, size))
        bare = land.blob(canvas, float(x), float(y), size * rng.uniform(0.9, 1.6), 0.3)
        if bare is not None and rng.random() < 0.6 and size < 400:
            canvas.paint(bare.with_alpha(bare.alpha * np.float32(0.6)), choose(rng, land.SOIL), None)
        if "thatch" in mix and rng.random() < 0.4:
            building(
                canvas,
                circle(float(x), float(y), canvas.px(rng.uniform(1.8, 3.5)), 12),
                Roof(shape="hip", covering="thatch", height_m=2.5),
            )
        else:
            house(canvas, float(x), float(y), size, size * rng.uniform(0.5, 0.9), float(rng.uniform(0, math.pi)), mix)
    greenery(canvas, rng.uniform(0.0005, 0.005))


def industry(canvas: Canvas) -> None:
    """Large halls, yards, car parks, tanks and panels."""
    rng = canvas.rng
    land.ground(canvas, land.PAVED, land.GRASS if rng.random() < 0.5 else land.SOIL)
    blocks = streets(canvas, rng.uniform(110, 220), rng.uniform(8, 14), paved=True, label=True)
    for block in blocks:
        for lot in (
            split(inset(block, canvas.px(3)), rng.uniform(1500, 7000) / canvas.gsd_m**2, rng)
            if len(inset(block, canvas.px(3)))
            else []
        ):
            use = rng.random()
            inner = inset(lot, canvas.px(rng.uniform(2, 7)))
            if len(inner) < 3 or not land.visible(canvas, inner):
                continue
            if use < 0.6:
                building(canvas, trimmed(canvas, inner), random_roof(canvas, ("flat", "flat", "sheet"), (5, 14)))
            elif use < 0.85:
                car_park(canvas, inner)
            else:
                depot(canvas, inner)
    greenery(canvas, rng.uniform(0.0002, 0.001))


def car_park(canvas: Canvas, area: Polygon) -> None:
    """Asphalt with marked bays; the cars of a row are parts of a group where nearly all bays are taken."""
    rng, angle = canvas.rng, long_axis(area)
    where = canvas.cover([area])
    core = inset(area, canvas.px(2.5))
    if where is None or canvas.px(2.5) < 1.2 or len(core) < 3:
        return
    asphalt = tint(choose(rng, land.PAVED), 1 + 0.06 * canvas.noise.cut(where.alpha.shape))
    canvas.paint(where, asphalt, NOTHING)
    u0, u1, v0, v1 = extents(core, angle)
    depth, full = canvas.px(5), rng.uniform(0.15, 0.98)
    for base in np.arange(v0, v1 - depth, 2 * depth + canvas.px(6)):
        for v in (base + depth / 2, base + 1.5 * depth):
            row = canvas.new("vehicle row") if full > 0.9 else NOTHING
            for u in np.arange(u0, u1, canvas.px(2.6)):
                bay(canvas, core, unit(angle) * u + unit(angle + math.pi / 2) * v, angle + math.pi / 2, full, row)


def bay(canvas: Canvas, area: Polygon, spot: Polygon, angle: float, full: float, row: int) -> None:
    """One place of a car park: the line on its left and, by the chance `full`, a car; nothing outside the area."""
    rng = canvas.rng
    middle = spot + unit(angle - math.pi / 2) * canvas.px(1.3)
    if not contains(area, float(middle[0]), float(middle[1])):
        return
    if canvas.px(0.12) > 0.2:
        line = rectangle(float(spot[0]), float(spot[1]), canvas.px(4.8), max(canvas.px(0.12), 0.5), angle)
        if where := canvas.cover([line]):
            canvas.paint(where.with_alpha(where.alpha * np.float32(0.8)), np.full(3, 0.8, dtype=np.float32))
    if rng.random() < full:
        heading = angle + math.pi * int(rng.integers(2)) + rng.normal(0, 0.03)
        vehicle(canvas, float(middle[0]), float(middle[1]), heading, parent=row)


def contains(polygon: Polygon, x: float, y: float) -> bool:
    """True where a point is inside a convex polygon."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    turn = edges[:, 0] * (y - polygon[:, 1]) - edges[:, 1] * (x - polygon[:, 0])
    return bool((turn >= 0).all() or (turn <= 0).all())


def depot(canvas: Canvas, area: Polygon) -> None:
    """Tanks, trucks or containers in a yard."""
    rng, angle = canvas.rng, long_axis(area)
    kind = rng.uniform(0.35, 1)
    radius = rng.uniform(3, 14)
    for cell in split(area, (canvas.px(2.6 * radius) if kind < 0.5 else canvas.px(8)) ** 2, rng, tilt=0):
        x, y = cell.mean(axis=0)
        if kind < 0.5:
            tank(canvas, float(x), float(y), float(radius * rng.uniform(0.7, 1.0)))
        elif rng.random() < 0.6:
            vehicle(canvas, float(x), float(y), angle + rng.normal(0, 0.05), truck=rng.random() < 0.8)


def solar_farm(canvas: Canvas, area: Polygon | None = None) -> None:
    """Rows of panels on grass or gravel; each table is an object."""
    rng = canvas.rng
    if area is None:
        land.ground(canvas, land.GRASS, land.SOIL)
        land.road(canvas, land.crossing(canvas, 0.05), rng.uniform(3, 5), paved=False)
    angle = rng.uniform(0, math.pi)
    regions = split(
        land.frame(canvas, angle) if area is None else area, canvas.px(rng.uniform(40, 120)) ** 2, rng, tilt=0
    )
    depth, gap = rng.uniform(1.7, 6), rng.uniform(0.3, 5)
    length = rng.uniform(4, 40)
    for region in regions:
        inner = inset(region, canvas.px(rng.uniform(1, 4)))
        if len(inner) < 3 or not land.visible(canvas, inner) or rng.random() < 0.12:
            continue
        u0, u1, v0, v1 = extents(inner, angle)
        for v in np.arange(v0 + canvas.px(depth) / 2, v1 - canvas.px(depth) / 2, canvas.px(depth + gap)):
            for u in np.arange(u0 + canvas.px(length) / 2, u1 - canvas.px(length) / 2, canvas.px(length + 0.6)):
                spot = unit(angle) * u + unit(angle + math.pi / 2) * v
                table = rectangle(float(spot[0]), float(spot[1]), canvas.px(length), canvas.px(depth), angle)
                if (
                    land.visible(canvas, table)
                    and rng.random() < 0.97
                    and contains(region, float(spot[0]), float(spot[1]))
                ):
                    canvas.shade(table, 1.5)
                    if where := canvas.cover([table]):
                        canvas.paint(where, panel_surface(canvas, where, spot, angle), canvas.new("solar panel"), 1.5)


def sports_field(canvas: Canvas, x: float, y: float, angle: float, area: Polygon) -> None:
    """A pitch, or a court where the area (a convex polygon) is too small for that, with its lines."""
    rng = canvas.rng
    court = rng.random() < 0.3 or polygon_area(area) * canvas.gsd_m**2 < 9000
    length, width = (canvas.px(24), canvas.px(11)) if court else (canvas.px(100), canvas.px(64))
    where = canvas.cover([rectangle(x, y, length * 1.1, width * 1.15, angle)])
    if where is None or length < 16:
        return
    color = choose(rng, ((0.2, 0.36, 0.5), (0.55, 0.3, 0.22), (0.22, 0.4, 0.25))) if court else choose(rng, land.GRASS)
    u, v = coordinates(where, x, y, angle)
    mown = (
        1
        + (0 if court else 0.06) * np.sign(np.sin(u * np.float32(math.pi / canvas.px(6))))
        + 0.05 * canvas.noise.cut(where.alpha.shape)
    )
    rim = np.minimum(np.abs(np.maximum(np.abs(u) - length / 2, np.abs(v) - width / 2)), np.abs(u))
    line = np.clip(max(canvas.px(0.12), 0.35) - rim + 0.5, 0, 1)[..., None] * np.float32(min(1.0, canvas.px(0.3)))
    rgb = tint(color, mown.astype(np.float32))
    canvas.paint(where, (rgb + (0.85 - rgb) * line).astype(np.float32), canvas.new("sports field"))


def harbour(canvas: Canvas) -> None:
    """A shore with sheds and containers, ships at the quay and outside."""
    rng, (height, width) = canvas.rng, canvas.shape
    land.ground(canvas, land.PAVED if canvas.gsd_m < 2 else land.GRASS, land.SOIL)
    if canvas.gsd_m > 2:
        fields(canvas, rng.uniform(100, 400))
    shore, out = land.sea(canvas)
    sea = canvas.ids == len(canvas.labels) - 1
    angle = math.atan2(float(out[1]), float(out[0]))
    if canvas.gsd_m <= 3:
        quay = land.half(canvas, shore - out * canvas.px(12), out)
        for lot in split(quay, canvas.px(rng.uniform(30, 70)) ** 2, rng) if len(quay) >= 3 else []:
            inner = inset(lot, canvas.px(rng.uniform(2, 8)))
            if len(inner) >= 3 and land.visible(canvas, inner) and rng.random() < 0.7 and not wet(inner, sea):
                building(canvas, trimmed(canvas, inner), random_roof(canvas, ("flat", "sheet"), (4, 10)))
    biggest = np.clip(0.25 * max(height, width) * canvas.gsd_m, 9, 260)
    for _ in range(int(rng.integers(4, 40) * max(1, height * width / 2e6))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        length = float(np.exp(rng.uniform(math.log(max(7, 5 * canvas.gsd_m)), math.log(biggest + 5 * canvas.gsd_m))))
        heading = float(rng.uniform(0, 2 * math.pi)) if rng.random() < 0.5 else angle + math.pi / 2
        hull = rectangle(x, y, canvas.px(length * 1.1), canvas.px(length * 0.32), heading)
        if wet(hull, sea, all_of=True) and not taken(canvas, hull):
            ship(canvas, float(x), float(y), length, heading, moving=rng.random() < 0.3)
    if canvas.gsd_m < 1.5:
        greenery(canvas, 0.0003)


def wet(polygon: Polygon, sea: np.ndarray, *, all_of: bool = False) -> bool:
    """True where any (or all) corners and the middle of a polygon lie in the water, (H, W) bool."""
    points = np.concatenate([polygon, polygon.mean(axis=0, keepdims=True)]).astype(int)
    rows, cols = np.clip(points[:, 1], 0, sea.shape[0] - 1), np.clip(points[:, 0], 0, sea.shape[1] - 1)
    return bool(sea[rows, cols].all() if all_of else sea[rows, cols].any())


def taken(canvas: Canvas, polygon: Polygon) -> bool:
    """True where a polygon would touch something that stands above the ground."""
    where = canvas.cover([polygon])
    return where is None or bool((canvas.elevation[where.rows, where.cols][where.alpha > 0] > 0).any())
