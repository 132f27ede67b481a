"""Stitching: with exact masks no tiling shows, and with noisy ones little does."""

from __future__ import annotations

import os

import numpy as np
from scipy import ndimage

from samgeo.masktable import MaskTable
from samgeo.pixels import Mask, Window
from samgeo.stitch import Stitched, link
from samgeo.tiling import Tile, Tiling
from tests.oracle import Bool, OracleModel, OracleScene
from tests.scenes import random_scene

SCENES = int(os.environ.get("SAMGEO_SCENES", "400"))
"""How many random scenes must come back exactly."""


class Store:
    """Masks of every tile, handed to the linker as a pipeline would."""

    def __init__(self, tiling: Tiling) -> None:
        self.tiling = tiling
        self.masks: dict[int, list[Mask]] = {}
        self.tables: list[MaskTable] = []

    def add(self, tile: Tile, masks: list[Mask], labels: tuple[str, ...] = ()) -> None:
        self.masks[tile.index] = masks
        self.tables.append(MaskTable.from_masks(masks, tile=tile, tiling=self.tiling, labels=labels))

    def crops(self, tile: int, index: int) -> Bool:
        return self.masks[tile][index].pixels

    def link(self) -> Stitched:
        return link(MaskTable.concatenate(self.tables), self.tiling, self.crops)

    def drawn(self) -> list[Bool]:
        """Every object on the whole grid, in the order of the ids; its pieces may not share a pixel."""
        stitched, drawn = self.link(), []
        for k, found in enumerate(stitched):
            count = np.zeros((self.tiling.height, self.tiling.width), dtype=int)
            for piece in stitched.pieces(k, self.crops):
                count += piece.to_array(*count.shape)
                assert found.window.contains(piece.window)
            assert count.max() == 1
            assert count.sum() == found.area_px
            drawn.append(count > 0)
        return drawn


def seen(scene: OracleScene, tile: Tile) -> list[Mask]:
    """What a perfect model finds in a tile: every connected part of every object, identical ones once."""
    model = OracleModel(scene)
    height, width = scene.image.shape[:2]
    inside = tile.read.intersection(Window(row=0, col=0, height=height, width=width))
    embedding = model._embedding(scene.image[inside.slices()])
    parts = {(m.window, m.pixels.tobytes()): m for _, part in embedding.pieces for m in [Mask.from_array(part)]}
    return [mask.shift(inside.row, inside.col) for mask in parts.values()]


def stitched(scene: OracleScene, tiling: Tiling, rng: np.random.Generator) -> list[Bool]:
    """Masks of all tiles, tiles and masks in a random order, linked."""
    store = Store(tiling)
    for index in rng.permutation(len(tiling)):
        masks = seen(scene, tiling[int(index)])
        store.add(tiling[int(index)], [masks[k] for k in rng.permutation(len(masks))])
    return store.drawn()


def can_be_told_apart(scene: OracleScene, tiling: Tiling) -> bool:
    """True if no two objects have an equal connected part in the overlap of any two windows."""
    pairs = ((tile, other) for tile in tiling for other in tiling.neighbours(tile) if other.index > tile.index)
    return all(differ(scene, tile.read.intersection(other.read)) for tile, other in pairs)


def differ(scene: OracleScene, window: Window) -> bool:
    """True if no two objects have an equal connected part inside a window."""
    height, width = scene.image.shape[:2]
    inside = window.intersection(Window(row=0, col=0, height=height, width=width)).slices()
    parts: set[bytes] = set()
    for mask in scene.masks:
        found, count = ndimage.label(mask[inside])
        own = {np.packbits(found == part).tobytes() for part in range(1, count + 1)}
        if own & parts:
            return False
        parts |= own
    return True


def random_tiling(rng: np.random.Generator, height: int, width: int) -> Tiling:
    tile = int(rng.integers(24, 65))
    overlap = int(rng.choice([2, 3, tile // 8 + 2, tile // 4, tile // 2]))
    return Tiling(height=height, width=width, tile_px=tile, overlap_px=overlap)


def ordered(masks: tuple[Bool, ...]) -> list[Bool]:
    """By first pixel, then the larger."""
    return sorted(masks, key=lambda m: (int(np.argmax(m)), -np.count_nonzero(m)))


def assert_same(found: list[Bool], wanted: list[Bool], hint: object) -> None:
    assert len(found) == len(wanted), hint
    first = [(int(np.argmax(m)), int(m.sum())) for m in wanted]
    assert [(int(np.argmax(m)), int(m.sum())) for m in found] == first, hint
    assert {m.tobytes() for m in found} == {m.tobytes() for m in wanted}, hint
    if len(set(first)) == len(first):
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), hint


def test_random_scenes_come_back_exactly_whatever_the_tiling_and_the_order() -> None:
    exact, seed = 0, 0
    while exact < SCENES:
        rng = np.random.default_rng([7, seed := seed + 1])
        height, width = (int(rng.integers(70, 160)) for _ in range(2))
        scene = random_scene(seed, height=height, width=width, objects=int(rng.integers(2, 9)), disjoint=seed % 3 == 0)
        tiling = random_tiling(rng, height, width)
        if not can_be_told_apart(scene, tiling):
            continue
        assert_same(stitched(scene, tiling, rng), ordered(scene.masks), (seed, tiling))
        exact += 1
    assert seed < 3 * SCENES, "most scenes can be told apart"
