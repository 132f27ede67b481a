"""From a painted canvas to masks: what can be seen of each object, wholes before their parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.pixels import Mask, Window
from samgeo.train.scenes.canvas import Canvas

SMALLEST_PX = 16
LARGEST_SHARE = 0.85
"""An object that fills more than this share of the scene is the ground, not an object."""
GROUPS = frozenset({"block", "vehicle row"})
"""Objects that hold together across gaps."""
SEVERABLE = frozenset({"field", "water", "forest", "bare ground", "road"})
"""Objects of the ground: what a road cuts in two counts as two."""
EIGHT = np.ones((3, 3), dtype=bool)


def read_objects(canvas: Canvas) -> tuple[tuple[Mask, ...], tuple[int, ...]]:
    """All objects with at least `SMALLEST_PX` visible pixels, parents before children, and the parents' indices."""
    levels, depth = ancestors(canvas.parents)
    boxes = windows(canvas, levels)
    with_parts = set(canvas.parents)
    objects: list[Mask] = []
    parents: list[int] = []
    index = np.full(len(canvas.labels), -1)
    for number in sorted(boxes, key=lambda n: (depth[n], n)):
        box = boxes[number]
        pixels = levels[depth[number]][canvas.ids[box.slices()]] == number
        parent = index[number] = int(index[canvas.parents[number]])
        if parent >= 0:
            whole = objects[parent].crop(box)
            pixels &= replace(whole, window=whole.window.shift(-box.row, -box.col)).to_array(box.height, box.width)
        label = canvas.labels[number]
        for piece in pieces(pixels, label, cut=label in SEVERABLE and number not in with_parts):
            mask = Mask.from_array(piece)
            if mask.area_px < SMALLEST_PX or mask.area_px > LARGEST_SHARE * canvas.ids.size:
                continue
            if parent >= 0 and mask.area_px > 0.97 * objects[parent].area_px:
                continue
            index[number] = len(objects)
            objects.append(replace(mask.shift(box.row, box.col), label=label))
            parents.append(parent)
    return tuple(objects), tuple(parents)


def ancestors(parents: list[int]) -> tuple[list[NDArray[np.int32]], NDArray[np.int64]]:
    """For each depth a table from object to its ancestor there (0: none), and the depth of each object."""
    up = np.array(parents, dtype=np.int32)
    depth = np.zeros(len(up), dtype=np.int64)
    walk = up.copy()
    while walk.any():
        depth += walk > 0
        walk = up[walk]
    levels = []
    for level in range(int(depth.max()) + 1):
        table = np.arange(len(up), dtype=np.int32)
        while (deeper := depth[table] > level).any():
            table[deeper] = up[table[deeper]]
        table[depth[table] < level] = 0
        levels.append(table)
    return levels, depth


def windows(canvas: Canvas, levels: list[NDArray[np.int32]]) -> dict[int, Window]:
    """The bounding box of every visible object, its parts included."""
    boxes: dict[int, Window] = {}
    for own, found in enumerate(ndimage.find_objects(canvas.ids), start=1):
        if found is None:
            continue
        rows, cols = found
        for table in levels:
            number = int(table[own])
            if number == 0:
                continue
            old = boxes.get(number)
            top, left = (
                (rows.start, cols.start) if old is None else (min(rows.start, old.row), min(cols.start, old.col))
            )
            bottom, right = (
                (rows.stop, cols.stop) if old is None else (max(rows.stop, old.row_end), max(cols.stop, old.col_end))
            )
            boxes[number] = Window(row=top, col=left, height=bottom - top, width=right - left)
    return boxes


def pieces(pixels: NDArray[np.bool_], label: str, *, cut: bool) -> list[NDArray[np.bool_]]:
    """The object itself, without stray pixels; several where something on top cuts ground apart."""
    if label in GROUPS:
        return [pixels]
    numbers, count = ndimage.label(pixels, EIGHT)
    if count <= 1:
        return [pixels]
    sizes = np.bincount(numbers.ravel())[1:]
    if cut:
        keep = np.flatnonzero(sizes >= max(SMALLEST_PX, 0.04 * sizes.max())) + 1
        return [numbers == number for number in keep]
    keep = np.flatnonzero(sizes >= 0.2 * sizes.max()) + 1
    return [np.isin(numbers, keep)]
