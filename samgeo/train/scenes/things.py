"""Small things that stand or move: trees, vehicles, ships, pools, tanks and containers."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from samgeo.train.scenes.canvas import NOTHING, Canvas
from samgeo.train.scenes.geometry import Cover, Floats, Polygon, circle, rectangle, unit, window
from samgeo.train.scenes.textures import coordinates, stripes, tint

GREENS: tuple[tuple[float, float, float], ...] = (
    (0.17, 0.26, 0.11),
    (0.22, 0.32, 0.14),
    (0.13, 0.21, 0.11),
    (0.28, 0.35, 0.17),
    (0.24, 0.27, 0.15),
    (0.2, 0.3, 0.2),
)
PAINTS: tuple[tuple[float, float, float], ...] = (
    (0.88, 0.88, 0.88),
    (0.88, 0.88, 0.88),
    (0.8, 0.8, 0.8),
    (0.62, 0.63, 0.65),
    (0.7, 0.7, 0.7),
    (0.1, 0.1, 0.11),
    (0.13, 0.13, 0.13),
    (0.3, 0.31, 0.33),
    (0.42, 0.14, 0.13),
    (0.17, 0.22, 0.36),
    (0.55, 0.5, 0.4),
    (0.27, 0.3, 0.28),
)


def choose(rng: np.random.Generator, table: tuple[tuple[float, float, float], ...]) -> Floats:
    """One of some colours, a little changed: (3,)."""
    base = np.array(table[int(rng.integers(len(table)))])
    return np.clip(base * rng.uniform(0.8, 1.2) + rng.normal(0, 0.008, 3), 0.02, 0.98).astype(np.float32)


def tree(
    canvas: Canvas, x: float, y: float, radius_m: float, *, color: Floats | None = None, parent: int = NOTHING
) -> None:
    """A crown seen from above; shrubs below 0.9 m of radius are no objects."""
    rng, radius = canvas.rng, canvas.px(radius_m)
    height, width = canvas.shape
    if radius < 0.6 or not (-radius < x < width + radius and -radius < y < height + radius):
        return
    canvas.shade(circle(x, y, radius * 0.9, 14), radius_m * rng.uniform(1.2, 2.2))
    where = crown(canvas, x, y, radius, palm=radius > 12 and rng.random() < 0.06)
    if where is None:
        return
    px, py = where.grid()
    dx, dy = (px - np.float32(x)) / np.float32(radius), (py - np.float32(y)) / np.float32(radius)
    lit = 1 - np.float32(0.38) * (dx * np.float32(canvas.sun[0]) + dy * np.float32(canvas.sun[1]))
    leaves = canvas.noise.cut(where.alpha.shape, "medium") * np.float32(0.2)
    leaves += canvas.noise.cut(where.alpha.shape, "fine") * np.float32(0.1)
    base = choose(rng, GREENS) if color is None else color
    owner = canvas.new("tree", parent) if radius_m > 0.9 and radius >= 2.2 else None
    canvas.paint(where, tint(base, np.clip(lit * (1 + leaves), 0.25, 2)), owner, radius_m * 1.5)


def crown(canvas: Canvas, x: float, y: float, radius: float, *, palm: bool) -> Cover | None:
    """Coverage of a lobed disc, or of the star that a palm is; None off the canvas."""
    rng = canvas.rng
    outer = radius * 1.3
    where = window(x, y, outer, *canvas.shape)
    if where is None:
        return None
    px, py = where.grid()
    dx, dy = px - np.float32(x), py - np.float32(y)
    distance = np.hypot(dx, dy)
    turn = np.arctan2(dy, dx)
    rim = np.ones_like(distance)
    lobes = ((2, 0.1), (3, 0.08), (5, 0.06), (9, 0.05)) if not palm else ((int(rng.integers(7, 12)), 0.3), (3, 0.08))
    for count, size in lobes:
        rim += np.float32(rng.normal(0, size) if not palm else size) * np.sin(
            count * turn + np.float32(rng.uniform(0, 6.3))
        )
    rough = min(radius * 0.16, 3.0) * canvas.noise.cut(where.alpha.shape, "medium")
    alpha = np.clip(np.float32(radius) * rim - distance + rough * np.float32(0.6) + np.float32(0.5), 0, 1)
    return where.with_alpha(alpha.astype(np.float32))


def bushes(canvas: Canvas, count: int, where: Polygon | None = None) -> None:
    """Scattered shrubs that nobody asks for."""
    rng, (height, width) = canvas.rng, canvas.shape
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if where is not None:
            x, y = rng.dirichlet(np.ones(len(where))) @ where
        tree(canvas, float(x), float(y), float(rng.uniform(0.3, 0.85)))


def canopy(canvas: Canvas, patch: Cover, crown_m: float, *, parent: int = NOTHING) -> None:
    """Fill a patch with crowns that touch: every pixel is the nearest seed's, up to a crown's radius.

    Crowns of 9 px and more become objects, parts of `parent`, where they are not too many.
    """
    rng, spacing, shape = canvas.rng, max(canvas.px(crown_m), 1.6), patch.alpha.shape
    count = max(1, int(math.prod(shape) / (0.75 * spacing**2)))
    rows, cols = rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)
    keep = patch.alpha[rows, cols] > 0.6
    seeds = np.stack([rows[keep], cols[keep]]).astype(np.float32)
    stems = len(rows[keep])
    if stems == 0:
        return
    number = np.full(shape, -1, dtype=np.int32)
    number[rows[keep], cols[keep]] = np.arange(stems, dtype=np.int32)
    nearest = ndimage.distance_transform_edt(number < 0, return_distances=False, return_indices=True)
    number = number[nearest[0], nearest[1]]
    radius = np.float32(spacing) * rng.uniform(0.45, 0.85, stems).astype(np.float32)
    shared, kinds = choose(rng, GREENS), np.stack([choose(rng, GREENS) for _ in range(4)])
    color: Floats = (0.65 * shared + 0.35 * kinds)[rng.integers(0, 4, stems)]
    color = color * rng.uniform(0.8, 1.2, (stems, 1)).astype(np.float32)
    depth = np.float32(np.clip(1.2 - spacing / 25, 0.4, 0.95))
    owners = None
    if spacing >= 9 and stems <= 8000:
        owners = np.arange(stems) + len(canvas.labels)
        canvas.labels += ["tree"] * stems
        canvas.parents += [parent] * stems
    for tile in patch.tiles(512):
        row, col = tile.rows.start - patch.rows.start, tile.cols.start - patch.cols.start
        bend = canvas.noise.cut(tile.alpha.shape, "medium", (tile.rows.start, tile.cols.start))
        # Looking the seed up a little beside the pixel makes the border between two crowns ragged.
        y = np.arange(row, row + tile.alpha.shape[0])[:, None] + bend * np.float32(0.12 * spacing)
        x = np.arange(col, col + tile.alpha.shape[1])[None, :] + bend[:, ::-1] * np.float32(0.12 * spacing)
        cell = number[np.clip(y, 0, shape[0] - 1).astype(np.intp), np.clip(x, 0, shape[1] - 1).astype(np.intp)]
        dy, dx = (y - seeds[0][cell]).astype(np.float32), (x - seeds[1][cell]).astype(np.float32)
        canvas.paint(tile.with_alpha(tile.alpha * depth), shared * np.float32(0.5))
        crowns(canvas, tile, (dx, dy), radius[cell], color[cell])
        if owners is not None:
            mine = (np.hypot(dx, dy) < radius[cell]) & (tile.alpha >= 0.5)
            canvas.ids[tile.rows, tile.cols][mine] = owners[cell[mine]]


def crowns(canvas: Canvas, where: Cover, offset: tuple[Floats, Floats], radius: Floats, color: Floats) -> None:
    """Paint crowns, for each pixel of which the x and y from its own stem, the radius and the colour are given."""
    dx, dy = offset
    distance = np.hypot(dx, dy)
    alpha = np.clip(radius - distance + np.float32(0.5), 0, 1) * where.alpha
    lit = 1 - np.float32(0.45) * (dx * np.float32(canvas.sun[0]) + dy * np.float32(canvas.sun[1])) / radius
    lit *= np.float32(1.12) - np.float32(0.4) * (distance / radius) ** 2
    corner = (where.rows.start, where.cols.start)
    leaves = 1 + np.float32(0.17) * canvas.noise.cut(distance.shape, "medium", corner)
    leaves += np.float32(0.08) * canvas.noise.cut(distance.shape, "fine", corner)
    shade = np.clip(lit * leaves, 0.25, 1.8)[..., None]
    canvas.paint(where.with_alpha(alpha), color * shade, None, 6.0)


def vehicle(canvas: Canvas, x: float, y: float, angle: float, *, parent: int = NOTHING, truck: bool = False) -> None:
    """A car or a truck with its glass."""
    rng = canvas.rng
    length_m, width_m = (rng.uniform(6.5, 16), 2.5) if truck else (rng.uniform(3.7, 5.1), rng.uniform(1.7, 2.0))
    length, width = canvas.px(length_m), canvas.px(width_m)
    if length * width < 5:
        return
    body = rectangle(x, y, length, width, angle)
    if width > 5:
        front, side = unit(angle), unit(angle + math.pi / 2)
        cut = min(width * 0.22, length * 0.1)
        corners = []
        for i, corner in enumerate(body):
            sx, sy = (-1 if i in (0, 3) else 1), (-1 if i in (0, 1) else 1)
            pair = [corner - front * sx * cut, corner - side * sy * cut]
            corners += pair if i in (1, 3) else pair[::-1]
        body = np.array(corners)
    canvas.shade(body, 3.2 if truck else 1.5)
    where = canvas.cover([body])
    if where is None:
        return
    paint = choose(rng, PAINTS)
    owner = canvas.new("vehicle", parent)
    gloss = 1 + 0.05 * canvas.noise.cut(where.alpha.shape)
    canvas.paint(where, tint(paint, gloss), owner, 3.0 if truck else 1.4)
    if width < 4:
        return
    panes = ((0.36, 0.05),) if truck else ((0.17, 0.14), (-0.36, 0.09))
    for offset, share in panes:
        spot = np.array([x, y]) + unit(angle) * length * offset
        pane = canvas.cover([rectangle(float(spot[0]), float(spot[1]), length * share, width * 0.8, angle)])
        if pane is not None:
            part = canvas.new("windscreen", owner) if pane.alpha.sum() >= 24 else owner
            canvas.paint(pane, np.array([0.1, 0.12, 0.14], dtype=np.float32) * np.float32(rng.uniform(0.6, 2.2)), part)


def ship(canvas: Canvas, x: float, y: float, length_m: float, angle: float, *, moving: bool = False) -> None:
    """A hull with a pointed bow, deck houses, hatches or containers; a wake where it moves."""
    rng, length = canvas.rng, canvas.px(length_m)
    width = length * rng.uniform(0.15, 0.3)
    if length < 4:
        return
    front, side, centre = unit(angle), unit(angle + math.pi / 2), np.array([x, y])
    if moving:
        wake(canvas, centre - front * length * 0.4, angle + math.pi, length)
    t = np.array(
        [
            (-0.5, 0.38),
            (-0.42, 0.5),
            (0.2, 0.5),
            (0.36, 0.36),
            (0.5, 0.0),
            (0.36, -0.36),
            (0.2, -0.5),
            (-0.42, -0.5),
            (-0.5, -0.38),
        ]
    )
    hull = centre + t[:, :1] * length * front + t[:, 1:] * width * side
    where = canvas.cover([hull])
    if where is None:
        return
    canvas.shade(hull, min(length_m * 0.08, 10))
    owner = canvas.new("ship")
    deck = choose(rng, (*PAINTS, (0.45, 0.2, 0.15), (0.35, 0.4, 0.38)))
    canvas.paint(where, tint(deck, 1 + 0.08 * canvas.noise.cut(where.alpha.shape)), owner, 4)
    if width < 4:
        return
    house = float(rng.uniform(-0.4, -0.2))
    for offset in [house, *np.arange(house + 0.16, 0.3, 0.13)]:
        spot = centre + front * length * offset
        size = (length * 0.1, width * rng.uniform(0.55, 0.85))
        block = canvas.cover([rectangle(float(spot[0]), float(spot[1]), *size, angle)])
        if block is not None and (offset == house or length_m > 40):
            top = choose(rng, PAINTS) if offset != house else np.array([0.85, 0.85, 0.84], dtype=np.float32)
            part = canvas.new("deck structure", owner) if block.alpha.sum() > 40 else owner
            canvas.paint(block, tint(top, 1 + 0.08 * canvas.noise.cut(block.alpha.shape)), part)


def wake(canvas: Canvas, stern: Polygon, angle: float, length: float) -> None:
    """The foam behind a moving ship: a thin wedge that fades."""
    reach = length * canvas.rng.uniform(1, 4)
    end, side = stern + unit(angle) * reach, unit(angle + math.pi / 2) * length * 0.16
    where = canvas.cover([np.stack([stern + side * 0.5, end + side * 1.6, end - side * 1.6, stern - side * 0.5])])
    if where is None:
        return
    u, _ = coordinates(where, float(stern[0]), float(stern[1]), angle)
    foam = np.clip(1 - u / np.float32(reach), 0, 1) * np.clip(
        0.7 + 0.4 * canvas.noise.cut(where.alpha.shape, "fine"), 0, 1
    )
    canvas.paint(
        where.with_alpha((where.alpha * foam * 0.6).astype(np.float32)), np.array([0.75, 0.8, 0.8], dtype=np.float32)
    )


def pool(canvas: Canvas, x: float, y: float, angle: float) -> None:
    """A swimming pool in its paving."""
    rng = canvas.rng
    length, width = canvas.px(rng.uniform(6, 12)), canvas.px(rng.uniform(3, 5))
    around = canvas.cover([rectangle(x, y, length + canvas.px(2), width + canvas.px(2), angle)])
    where = canvas.cover([rectangle(x, y, length, width, angle) if rng.random() < 0.7 else circle(x, y, width * 0.7)])
    if where is None or around is None:
        return
    canvas.paint(
        around,
        tint(np.array([0.7, 0.67, 0.62], dtype=np.float32), 1 + 0.05 * canvas.noise.cut(around.alpha.shape)),
        NOTHING,
    )
    water = np.array([0.2, 0.55, 0.65]) * rng.uniform(0.7, 1.2) + rng.normal(0, 0.03, 3)
    canvas.paint(
        where, tint(water.astype(np.float32), 1 + 0.05 * canvas.noise.cut(where.alpha.shape)), canvas.new("pool")
    )


def tank(canvas: Canvas, x: float, y: float, radius_m: float, *, parent: int = NOTHING) -> None:
    """A cylindrical tank with a lit rim."""
    rng, height_m = canvas.rng, radius_m * canvas.rng.uniform(0.5, 1.2)
    radius = canvas.px(radius_m)
    foot = circle(x, y, radius)
    canvas.shade(foot, height_m)
    where = canvas.cover([foot + canvas.lean * height_m])
    if where is None:
        return
    px, py = where.grid()
    distance = np.hypot(px - np.float32(x), py - np.float32(y)) / np.float32(radius)
    value = (
        1
        + 0.05 * canvas.noise.cut(where.alpha.shape)
        + 0.12 * (distance > 0.93)
        + 0.02 * stripes(distance * radius, radius / 3)
    )
    color = np.float32(rng.uniform(0.5, 0.92)) * np.array([1, 0.99, 0.96], dtype=np.float32)
    canvas.paint(where, tint(color, value.astype(np.float32)), canvas.new("tank", parent), height_m)
