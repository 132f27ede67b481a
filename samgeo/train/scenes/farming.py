"""Cultivated land: an irregular partition into fields, what grows in them, and the trees between."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from samgeo.train.scenes.canvas import Canvas
from samgeo.train.scenes.geometry import (
    Cover,
    Floats,
    Polygon,
    clip,
    densify,
    extents,
    inset,
    polygon_area,
    split,
    unit,
)
from samgeo.train.scenes.landscape import SOIL, Palette, bent, forest, frame, visible, warp
from samgeo.train.scenes.roofs import Roof, building, long_axis
from samgeo.train.scenes.textures import coordinates, patchwork, stripes, tint
from samgeo.train.scenes.things import GREENS, choose, tree

CROPS: Palette = (
    (0.24, 0.36, 0.15),
    (0.32, 0.42, 0.18),
    (0.18, 0.28, 0.12),
    (0.42, 0.45, 0.22),
    (0.62, 0.55, 0.36),
    (0.7, 0.63, 0.44),
    (0.52, 0.43, 0.33),
    (0.44, 0.36, 0.28),
    (0.36, 0.3, 0.24),
    (0.3, 0.35, 0.2),
    (0.66, 0.64, 0.25),
    (0.5, 0.47, 0.33),
)
"""Typical reflectances of crops, stubble and ploughed soil."""


def fields(canvas: Canvas, size_m: float, *, gap_m: float = 1.5, blocks: list[Polygon] | None = None) -> list[Polygon]:
    """An irregular partition of some blocks, or of all, into fields; returns their outlines."""
    rng = canvas.rng
    target = max(canvas.px(size_m) ** 2 * rng.uniform(0.3, 0.9), canvas.ids.size / rng.choice([1200, 400, 150]))
    tilt, spread = rng.choice([0.0, 0.03, 0.12]), rng.uniform(0.2, 0.9)
    whole = [frame(canvas, rng.uniform(0, math.pi))] if blocks is None else blocks
    pieces = [piece for block in whole for piece in split(block, target, rng, tilt=tilt, spread=spread)]
    if rng.random() < 0.5:
        pieces = [part for piece in pieces for part in (strips(piece, rng) if rng.random() < 0.3 else [piece])]
    curved = blocks is None and rng.random() < 0.6
    field = warp(canvas, canvas.px(size_m) * rng.uniform(0.02, 0.12), canvas.px(size_m) * 2)
    crops = [choose(rng, CROPS) for _ in range(int(rng.integers(3, 8)))]
    other = rng.dirichlet([6, 0.25, 0.12, 0.5, 0.4])
    kept = []
    for piece in pieces:
        inner = inset(piece, max(canvas.px(gap_m) * rng.uniform(0.2, 1.0), 0.3))
        if len(inner) < 3 or polygon_area(inner) < 60:
            continue
        shape = bent(inner, field, max(canvas.px(size_m) / 6, 8)) if curved else inner
        if visible(canvas, shape) and rng.random() < 0.95:
            grow(canvas, shape, str(rng.choice(USES, p=other)), crops)
            kept.append(shape)
    return kept


USES = ("field", "orchard", "greenhouse", "forest", "bare ground")
"""What a piece of the partition may be."""


def strips(piece: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """A piece cut lengthwise into narrow plots."""
    angle = long_axis(piece)
    normal = unit(angle + math.pi / 2)
    _, _, v0, v1 = extents(piece, angle)
    inner = v0 + (v1 - v0) * np.cumsum(rng.dirichlet(np.full(int(rng.integers(2, 8)), 5.0)))[:-1]
    edges = [v0 - 1, *inner.tolist(), v1 + 1]
    cuts = [clip(clip(piece, normal, high), -normal, -low) for low, high in pairwise(edges)]
    return [cut for cut in cuts if len(cut) >= 3]


def grow(canvas: Canvas, shape: Polygon, use: str, crops: list[Floats]) -> None:
    """Paint one piece of land by its use."""
    rng, where = canvas.rng, canvas.cover([shape])
    if where is None or np.count_nonzero(where.alpha >= 0.5) < 30:
        return
    angle = long_axis(shape) + math.pi / 2 * (rng.random() < 0.2)
    if use == "forest":
        forest(canvas, where, float(rng.uniform(4, 9)))
    elif use == "greenhouse" and len(shape) <= 6 and canvas.gsd_m < 3:
        tunnels(canvas, shape)
    elif use == "bare ground":
        bare(canvas, where)
    else:
        color = crops[int(rng.integers(len(crops)))]
        crop(canvas, where, shape, color, angle)
        canvas.ids[where.rows, where.cols][where.alpha >= 0.5] = canvas.new(use if use == "orchard" else "field")
        if use == "orchard":
            orchard(canvas, where, shape, angle)


def crop(canvas: Canvas, where: Cover, shape: Polygon, color: Floats, angle: float) -> None:
    """The colour of a field, its rows, tramlines and bad spots."""
    rng, size, centre = canvas.rng, where.alpha.shape, shape.mean(axis=0)
    _, v = coordinates(where, float(centre[0]), float(centre[1]), angle)
    value = 1 + np.float32(rng.uniform(0.01, 0.09)) * canvas.noise.cut(size, "coarse")
    value += np.float32(rng.uniform(0.01, 0.07)) * canvas.noise.cut(size, "fine")
    sway = v + canvas.noise.cut(size, "coarse") * np.float32(0.3)
    value += np.float32(rng.choice([0.0, 0.03, 0.1])) * stripes(sway, canvas.px(rng.choice([0.75, 1.5, 3, 6, 12])))
    if rng.random() < 0.35:
        swath = canvas.px(rng.choice([6, 12, 24]))
        value += np.float32(rng.choice([0.02, 0.06])) * patchwork(rng, v, v * 0, (max(swath, 1.5), 1))
    if rng.random() < 0.4:
        pitch = canvas.px(rng.choice([18, 24, 36]))
        off = np.abs((v / np.float32(pitch)) % 1 - 0.5) * np.float32(pitch)
        wheel = np.clip(1.3 - np.abs(off - canvas.px(0.9)) / max(canvas.px(0.4), 0.5), 0, 1)
        value -= np.float32(0.14 * min(1, canvas.px(0.8))) * wheel
    own = np.clip(color * rng.normal(1, 0.06) + rng.normal(0, 0.008, 3), 0.03, 0.95).astype(np.float32)
    rgb = tint(own, np.clip(value, 0.3, 1.8))
    if rng.random() < 0.4:
        other = 0.5 * own + 0.5 * choose(rng, CROPS)
        amount = np.clip((canvas.noise.cut(size, "coarse") - rng.uniform(0.3, 2.0)) * rng.uniform(0.3, 1.5), 0, 0.8)
        rgb += (other - rgb) * amount[..., None].astype(np.float32)
    canvas.paint(where, rgb)


def orchard(canvas: Canvas, where: Cover, shape: Polygon, angle: float) -> None:
    """Small trees on a grid, over what grows between them."""
    rng, centre = canvas.rng, shape.mean(axis=0)
    pitch = max(canvas.px(rng.uniform(3, 9)), 2.5)
    row = pitch * rng.uniform(0.6, 1.0)
    u, v = coordinates(where, float(centre[0]), float(centre[1]), angle)
    shake = canvas.noise.cut(where.alpha.shape) * np.float32(0.06 * pitch)
    du, dv = ((u + shake) / row + 0.5) % 1 - 0.5, ((v + shake) / pitch + 0.5) % 1 - 0.5
    distance = np.hypot(du * row, dv * pitch)
    radius = pitch * rng.uniform(0.28, 0.5) * (1 + 0.12 * patchwork(rng, u + row / 2, v + pitch / 2, (row, pitch)))
    crowns = np.clip(radius - distance + 0.5, 0, 1) * where.alpha
    shadow = np.hypot(du * row - canvas.sun[0] * radius * 0.6, dv * pitch - canvas.sun[1] * radius * 0.6)
    dark = np.clip(radius - shadow + 0.5, 0, 1) * where.alpha
    canvas.scale(
        where.with_alpha(dark.astype(np.float32)), np.full(dark.shape, 1 - 0.8 * canvas.gloom, dtype=np.float32)
    )
    leaves = 1 + 0.15 * canvas.noise.cut(where.alpha.shape)
    canvas.paint(where.with_alpha(crowns.astype(np.float32)), tint(choose(rng, GREENS), leaves))


def tunnels(canvas: Canvas, shape: Polygon) -> None:
    """Greenhouses side by side, of glass or of film."""
    rng, angle = canvas.rng, long_axis(shape)
    color = (rng.uniform(0.55, 0.9) * np.array([0.97, 1.0, 1.0])).astype(np.float32)
    for cell in strips(shape, rng):
        house = inset(cell, canvas.px(rng.uniform(0.3, 1.5)))
        if len(house) >= 3 and polygon_area(house) >= 16:
            building(
                canvas,
                house,
                Roof(shape="shed", covering="sheet", height_m=3, pitch=0.1, clutter=0, label="greenhouse"),
                color=color,
            )
    if where := canvas.cover([shape]):
        centre = shape.mean(axis=0)
        _, v = coordinates(where, float(centre[0]), float(centre[1]), angle)
        high = canvas.elevation[where.rows, where.cols] > 2
        bays = 1 + np.float32(0.14) * stripes(v, canvas.px(rng.uniform(4, 9)))
        canvas.scale(where.with_alpha(where.alpha * high), bays)


def bare(canvas: Canvas, where: Cover) -> None:
    """Ground without cover: uneven soil, gravel or sand."""
    rng, size = canvas.rng, where.alpha.shape
    value = 1 + np.float32(rng.uniform(0.05, 0.15)) * canvas.noise.cut(size, "coarse")
    value += np.float32(rng.uniform(0.03, 0.1)) * canvas.noise.cut(size, "medium")
    canvas.paint(where, tint(choose(rng, SOIL), np.clip(value, 0.4, 1.7)), canvas.new("bare ground"))


def tree_lines(canvas: Canvas, outlines: list[Polygon], share: float) -> None:
    """Hedges and rows of trees along some edges of fields."""
    rng = canvas.rng
    for outline in outlines:
        if rng.random() > share:
            continue
        dense = densify(outline, max(canvas.px(4), 3))
        start = int(rng.integers(len(dense)))
        run = np.roll(dense, -start, axis=0)[: min(600, max(3, int(len(dense) * rng.uniform(0.08, 0.4))))]
        for x, y in run + rng.normal(0, canvas.px(0.8), run.shape):
            if rng.random() < 0.8:
                tree(canvas, float(x), float(y), float(rng.uniform(1, 3.5)))
