"""From a seed to a scene: choose a kind that fits the ground sample distance, paint it, and read the masks off."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import UsageError
from samgeo.pixels import Mask
from samgeo.train.scenes import landscape as land
from samgeo.train.scenes import settlements as people
from samgeo.train.scenes.camera import expose
from samgeo.train.scenes.canvas import Canvas
from samgeo.train.scenes.farming import fields, tree_lines
from samgeo.train.scenes.geometry import inset, split
from samgeo.train.scenes.masks import read_objects
from samgeo.train.scenes.roofs import building
from samgeo.train.scenes.textures import octaves
from samgeo.train.scenes.things import choose, tree

LABELS = (
    *("building", "roof facet", "roof structure", "block", "greenhouse", "tank", "solar panel", "pool", "sports field"),
    *("field", "orchard", "bare ground", "tree", "forest", "road", "water"),
    *("vehicle", "windscreen", "vehicle row", "ship", "deck structure"),
)
"""What an object of a scene can be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A made-up image from above and what there is to see in it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    objects: tuple[Mask, ...]
    """Wholes and parts, in pixels of the image: what can be seen of each. Those that do not nest do not overlap."""
    parents: tuple[int, ...]
    """For each object the index of the object that it is a part of, or -1."""
    gsd_m: float
    """Ground metres a pixel."""


def make_scene(seed: int, *, height_px: int = 768, width_px: int = 768, gsd_m: float | None = None) -> Scene:
    """Paint the scene that belongs to a seed; the same arguments give the same bytes.

    gsd_m: ground metres a pixel, 0.05 to 20; None draws one, log-uniform from 0.07 to 10, that fits the kind of scene.
    Raises UsageError for a size below 32 px or a distance out of range.
    """
    if height_px < 32 or width_px < 32:
        raise UsageError(f"scene of {width_px} x {height_px} px: expected at least 32 x 32")
    if gsd_m is not None and not 0.05 <= gsd_m <= 20:
        raise UsageError(f"scene with {gsd_m} m a pixel: expected gsd_m from 0.05 to 20")
    rng = np.random.default_rng(seed)
    gsd = float(np.exp(rng.uniform(math.log(0.07), math.log(10)))) if gsd_m is None else gsd_m
    canvas = Canvas.blank(rng, height_px, width_px, gsd)
    choose_kind(rng, gsd)(canvas)
    objects, parents = read_objects(canvas)
    water = np.array([label == "water" for label in canvas.labels])[canvas.ids]
    return Scene(image=expose(canvas.rgb, rng, gsd, water), objects=objects, parents=parents, gsd_m=gsd)


def choose_kind(rng: np.random.Generator, gsd_m: float) -> Callable[[Canvas], None]:
    """A kind of scene whose objects can be seen at this distance, by weight."""
    fitting = [(paint, weight) for paint, low, high, weight in KINDS if low <= gsd_m <= high]
    weights = np.array([weight for _, weight in fitting])
    return fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))][0]


def farmland(canvas: Canvas) -> None:
    """Fields, with woods, farms, roads and water between them."""
    rng, (height, width) = canvas.rng, canvas.shape
    land.ground(canvas, land.GRASS, land.SOIL)
    size = float(np.clip(rng.lognormal(5.0, 0.6), 40, 700))
    size = float(np.clip(size, 24 * canvas.gsd_m, max(0.9 * min(height, width) * canvas.gsd_m, 20)))
    area = None
    if rng.random() < 0.6:
        width_m = float(rng.uniform(3, 9) + 0.8 * canvas.gsd_m)
        blocks = people.streets(
            canvas, size * rng.uniform(2, 6), width_m, paved=rng.random() < 0.5, label=canvas.px(width_m) > 1.5
        )
        area = blocks
    outlines = fields(canvas, size, gap_m=float(rng.choice([0.3, 1, 5])), blocks=area)
    if rng.random() < 0.4:
        land.river(canvas, float(rng.uniform(5, 25) + 4 * canvas.gsd_m))
    woods(canvas, int(rng.integers(0, 5)))
    for _ in range(int(rng.integers(0, 4 if area is None else 2))):
        land.road(
            canvas,
            land.crossing(canvas, rng.choice([0.005, 0.05])),
            rng.uniform(4, 10) + 0.6 * canvas.gsd_m,
            paved=rng.random() < 0.6,
        )
    if rng.random() < 0.3:
        land.lake(canvas, rng.uniform(0, width), rng.uniform(0, height), min(height, width) * rng.uniform(0.04, 0.15))
    if canvas.gsd_m < 2.5:
        tree_lines(canvas, outlines, rng.uniform(0, 0.4))
        farms(canvas, int(rng.poisson(2)))
    if rng.random() < 0.2 and canvas.gsd_m < 1.5:
        people.greenery(canvas, 0.0004)


def farms(canvas: Canvas, count: int) -> None:
    """Groups of houses and barns with their trees."""
    rng, (height, width) = canvas.rng, canvas.shape
    for _ in range(count):
        x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, math.pi)
        yard = land.blob(canvas, x, y, canvas.px(rng.uniform(18, 35)))
        if yard is not None:
            canvas.paint(
                yard.with_alpha(yard.alpha * np.float32(0.9)), choose(rng, land.SOIL + land.GRASS + land.PAVED), 0
            )
        for _ in range(int(rng.integers(2, 7))):
            dx, dy = rng.normal(0, canvas.px(16), 2)
            size = canvas.px(rng.uniform(9, 32))
            people.house(
                canvas, x + dx, y + dy, size, size * rng.uniform(0.4, 0.6), angle, ("tile", "sheet", "sheet", "flat")
            )
        for _ in range(int(rng.integers(3, 12))):
            dx, dy = rng.normal(0, canvas.px(25), 2)
            tree(canvas, x + dx, y + dy, float(rng.uniform(2, 5)))


def woods(canvas: Canvas, count: int) -> None:
    """Some patches of forest."""
    rng, (height, width) = canvas.rng, canvas.shape
    for _ in range(count):
        where = land.blob(
            canvas, rng.uniform(0, width), rng.uniform(0, height), min(height, width) * rng.uniform(0.04, 0.25), 0.3
        )
        if where is not None:
            land.forest(canvas, where, float(rng.uniform(4, 10)))


def wild(canvas: Canvas) -> None:
    """Forest with clearings, or single crowns on open ground."""
    rng, (height, width) = canvas.rng, canvas.shape
    land.ground(canvas, land.GRASS, land.SOIL)
    land.stains(canvas, int(rng.integers(3, 20)), (4 * canvas.gsd_m, 40 * canvas.gsd_m))
    if rng.random() < 0.4:
        land.river(canvas, float(rng.uniform(3, 15) + 6 * canvas.gsd_m))
    if rng.random() < 0.6 or canvas.gsd_m > 1.2:
        field = octaves(rng, canvas.shape, coarse_px=min(height, width) / rng.uniform(1.5, 4), fine_px=4, falloff=0.5)
        field += np.float32(rng.uniform(-0.6, 1.2))
        land.forest(canvas, canvas.whole().with_alpha(np.clip(field * 12 + 0.5, 0, 1)), float(rng.uniform(3, 11)))
    else:
        people.greenery(canvas, rng.uniform(0.002, 0.02))
    if rng.random() < 0.5:
        land.road(canvas, land.crossing(canvas, 0.08), rng.uniform(3, 6) + canvas.gsd_m, paved=rng.random() < 0.4)
    if canvas.gsd_m < 1.2:
        farms(canvas, int(rng.poisson(0.7)))


def lakes(canvas: Canvas) -> None:
    """Lakes and rivers in open land."""
    rng, (height, width) = canvas.rng, canvas.shape
    land.ground(canvas, land.GRASS, land.SOIL)
    if rng.random() < 0.6 and canvas.gsd_m > 0.8:
        fields(canvas, rng.uniform(40, 120) * max(1, canvas.gsd_m / 3))
    woods(canvas, int(rng.integers(0, 6)))
    for _ in range(int(rng.integers(1, 14))):
        land.lake(
            canvas,
            rng.uniform(0, width),
            rng.uniform(0, height),
            min(height, width) * float(np.exp(rng.uniform(math.log(0.012), math.log(0.2)))),
        )
    if rng.random() < 0.6:
        land.river(canvas, float(rng.uniform(4, 30) * max(canvas.gsd_m, 0.4)))


def mixed(canvas: Canvas) -> None:
    """A suburb with woods at its edge."""
    people.suburb(canvas)
    woods(canvas, int(canvas.rng.integers(0, 3)))


def parking(canvas: Canvas) -> None:
    """Car parks between halls."""
    rng = canvas.rng
    land.ground(canvas, land.PAVED, land.GRASS)
    for lot in split(land.frame(canvas, rng.uniform(0, math.pi)), canvas.px(rng.uniform(35, 70)) ** 2, rng):
        inner = inset(lot, canvas.px(rng.uniform(1, 4)))
        if len(inner) < 3 or not land.visible(canvas, inner):
            continue
        if rng.random() < 0.7:
            people.car_park(canvas, inner)
        else:
            building(canvas, people.trimmed(canvas, inner), people.random_roof(canvas, ("flat", "sheet"), (4, 10)))
    people.greenery(canvas, rng.uniform(0.0003, 0.002))


KINDS: tuple[tuple[Callable[[Canvas], None], float, float, float], ...] = (
    (people.town, 0.05, 0.8, 2.6),
    (people.suburb, 0.05, 1.0, 1.6),
    (mixed, 0.1, 1.2, 0.6),
    (people.village, 0.05, 1.0, 2.2),
    (people.industry, 0.1, 1.5, 1.0),
    (parking, 0.05, 0.5, 0.6),
    (people.solar_farm, 0.08, 1.0, 0.5),
    (people.harbour, 0.15, 20, 1.0),
    (farmland, 0.4, 20, 2.6),
    (wild, 0.08, 20, 1.0),
    (lakes, 0.5, 20, 0.9),
)
"""Kind of scene, smallest and largest metres a pixel that it makes sense at, weight."""
