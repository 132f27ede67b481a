"""Stitching: with exact masks no tiling shows, and with noisy ones little does."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from samgeo.errors import UsageError
from samgeo.pixels import Mask, Window
from samgeo.stitch.link import Stitched, link
from samgeo.stitch.table import MaskTable, is_cut
from samgeo.tiling import Tile, Tiling
from tests.oracle import Bool, NoisyOracle, OracleModel, OracleScene
from tests.scenes import random_scene

SCENES = int(os.environ.get("SAMGEO_SCENES", "200"))
"""How many random scenes must come back exactly."""
FIRST = int(os.environ.get("SAMGEO_FIRST_SCENE", "1"))
"""Seed of the first one."""


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


def seen(scene: OracleScene, tile: Tile, model: OracleModel | None = None) -> list[Mask]:
    """What a model finds in a tile, a perfect one unless given: every part of every object, identical ones once."""
    model = model or OracleModel(scene)
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
    """True if no two objects have an equal connected part in the overlap of any two windows.

    Where windows meet at a corner this matters only for objects that one of them sees whole.
    """
    for tile in tiling:
        for other in tiling.neighbours(tile):
            if other.index > tile.index:
                corner = tile.row_index != other.row_index and tile.col_index != other.col_index
                asked = [is_whole(m, tile, tiling) or is_whole(m, other, tiling) or not corner for m in scene.masks]
                if not differ(scene, tile.read.intersection(other.read), asked):
                    return False
    return True


def is_whole(mask: Bool, tile: Tile, tiling: Tiling) -> bool:
    box = Mask.from_array(mask).window
    return tile.read.contains(box) and not is_cut(box, tile.read, tiling)


def differ(scene: OracleScene, window: Window, asked: Sequence[bool] | None = None) -> bool:
    """True if none of the objects that are asked for has a connected part inside a window that another has as well."""
    height, width = scene.image.shape[:2]
    inside = window.intersection(Window(row=0, col=0, height=height, width=width)).slices()
    parts: dict[bytes, bool] = {}
    for mask, matters in zip(scene.masks, asked or itertools.repeat(True), strict=False):
        found, count = ndimage.label(mask[inside])
        own = {np.packbits(found == part).tobytes() for part in range(1, count + 1)}
        if any(part in parts and (matters or parts[part]) for part in own):
            return False
        parts |= {part: matters or parts.get(part, False) for part in own}
    return True


def random_tiling(rng: np.random.Generator, height: int, width: int) -> Tiling:
    tile = int(rng.integers(24, 65))
    overlap = int(rng.choice([2, 3, tile // 8 + 2, tile // 4, tile // 2]))
    return Tiling(height=height, width=width, tile_px=tile, overlap_px=overlap)


def told_apart(first_seed: int) -> Iterator[tuple[OracleScene, Tiling, np.random.Generator]]:
    """Random scenes and tilings for them; those in which objects cannot be told apart are left out."""
    for seed in itertools.count(first_seed):
        rng = np.random.default_rng([7, seed])
        height, width = (int(rng.integers(70, 140)) for _ in range(2))
        scene = random_scene(seed, height=height, width=width, objects=int(rng.integers(2, 9)), disjoint=seed % 3 == 0)
        tiling = random_tiling(rng, height, width)
        if can_be_told_apart(scene, tiling):
            yield scene, tiling, rng


def one_tile(scene: OracleScene) -> Tiling:
    height, width = scene.image.shape[:2]
    return Tiling(height=height, width=width, tile_px=200, overlap_px=2)


def test_random_scenes_come_back_exactly_whatever_the_tiling_and_the_order() -> None:
    chained = 0
    for scene, tiling, rng in itertools.islice(told_apart(FIRST), SCENES):
        wanted = stitched(scene, one_tile(scene), rng)
        assert {mask.tobytes() for mask in wanted} == {mask.tobytes() for mask in scene.masks}
        found = stitched(scene, tiling, rng)
        assert len(found) == len(wanted), tiling
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), tiling
        chained += sum(max(Mask.from_array(mask).window.shape) > tiling.tile_px for mask in found)
    assert chained > SCENES / 2, "many objects are larger than a tile"


def test_ids_are_by_first_pixel_then_area_then_pixels() -> None:
    """The first two have the same first pixel and area."""
    scene = drawing("AAA A.A ..B", "CC. CC. C..", size=8)
    first, second, third = (scene.masks[k] for k in (2, 0, 1))
    for tiling in (one_tile(scene), Tiling(height=24, width=24, tile_px=20, overlap_px=2)):
        for seed in range(4):
            found = stitched(scene, tiling, np.random.default_rng(seed))
            assert all(np.array_equal(a, b) for a, b in zip(found, [first, second, third], strict=True))


def drawing(*layers: str, size: int) -> OracleScene:
    """Objects from words of letters: one object a letter and layer, each letter `size` pixels wide and high."""
    masks = []
    for layer in layers:
        letters = np.array([list(row) for row in layer.split()])
        masks += [np.kron(letters == name, np.ones((size, size))) > 0 for name in sorted(set(layer) - {" ", "."})]
    return OracleScene.from_masks(masks, masks[0].shape)


@pytest.mark.parametrize(
    ("what", "layers"),
    [
        ("a ring around everything", ["AAAAAA A....A A....A A....A AAAAAA"]),
        ("the whole raster", ["AAAAAA AAAAAA AAAAAA AAAAAA AAAAAA"]),
        ("a U with its bend far away", ["A....A A....A A....A A....A AAAAAA"]),
        ("a comb", ["A.A.A. A.A.A. A.A.A. A.A.A. AAAAA."]),
        ("two that touch along a tile border", ["AAABBB AAABBB AAABBB AAABBB AAABBB"]),
        ("one inside another", ["AAAAA. AAAAA. AAAAA. AAAAA. AAAAA.", "...... .B.... ...... ...... ......"]),
        ("two hooks around each other", ["AAAAA. A..... A.BBB. A...B. ..BBB."]),
    ],
)
@pytest.mark.parametrize("overlap", [2, 5, 8])
def test_shapes(what: str, layers: list[str], overlap: int) -> None:
    scene = drawing(*layers, size=9)
    tiling = Tiling(height=45, width=54, tile_px=16, overlap_px=overlap)
    assert can_be_told_apart(scene, tiling), what
    found = stitched(scene, tiling, np.random.default_rng(0))
    assert {mask.tobytes() for mask in found} == {mask.tobytes() for mask in scene.masks}, what


def boxes(store: Store, **tiles: list[tuple[int, int, int, int]]) -> list[Bool]:
    """Give tiles (t0, t1, ...) rectangular masks (top, left, bottom, right) and draw what is made of them."""
    for tile in store.tiling:
        given = tiles.get(f"t{tile.index}", [])
        store.add(tile, [rectangle(*box) for box in given])
    return store.drawn()


def rectangle(top: int, left: int, bottom: int, right: int, **more: Any) -> Mask:
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    return Mask(window=window, pixels=np.ones(window.shape, dtype=bool), **more)


ROW = Tiling(height=16, width=40, tile_px=16, overlap_px=4)
"""Windows start at columns 0, 12 and 24; cores at 0, 14 and 26."""
WIDE = Tiling(height=16, width=40, tile_px=16, overlap_px=8)
"""Windows start at columns 0, 8, 16 and 24; cores at 0, 12, 20 and 28."""


def test_of_two_whole_masks_the_window_with_the_centre_decides() -> None:
    found = boxes(Store(WIDE), t0=[(4, 11, 8, 15)], t1=[(4, 12, 8, 16)])
    assert [Mask.from_array(mask).window for mask in found] == [Window(row=4, col=12, height=4, width=4)]


def test_a_whole_mask_that_its_owner_missed_is_rescued() -> None:
    assert len(boxes(Store(ROW), t0=[(4, 12, 8, 15)])) == 1
    assert len(boxes(Store(ROW), t1=[(4, 13, 8, 14)])) == 1


def test_a_second_opinion_of_a_window_that_does_not_answer_is_no_object() -> None:
    """Window 1 answers for the object; window 0 shows it and, as well, something much like it."""
    found = boxes(Store(WIDE), t0=[(3, 11, 8, 15), (4, 11, 8, 15)], t1=[(4, 12, 8, 16)])
    assert [Mask.from_array(mask).window for mask in found] == [Window(row=4, col=12, height=4, width=4)]


def test_a_cut_mask_gives_way_to_the_whole_one() -> None:
    found = boxes(Store(ROW), t0=[(4, 10, 8, 16)], t1=[(4, 13, 8, 17)])
    assert [Mask.from_array(mask).window.col for mask in found] == [13]


def test_a_whole_mask_is_no_bridge() -> None:
    """Window 0 and 2 have cut masks; between them stands a whole one that is like neither."""
    found = boxes(Store(ROW), t0=[(4, 2, 8, 16)], t1=[(2, 13, 14, 27)], t2=[(4, 24, 8, 38)])
    assert len(found) == 3


def test_an_echo_is_dropped_and_an_object_cut_in_one_window_is_not() -> None:
    assert boxes(Store(ROW), t0=[(4, 14, 8, 16)]) == []
    assert [int(mask.sum()) for mask in boxes(Store(ROW), t0=[(4, 10, 8, 16)])] == [24]


def test_where_a_core_has_no_mask_the_nearest_window_decides() -> None:
    """The object is missed by window 1 of a 2 x 2 tiling, and its neighbours show what they can of core 1."""
    tiling = Tiling(height=24, width=24, tile_px=16, overlap_px=8)
    found = boxes(Store(tiling), t0=[(6, 6, 16, 16)], t2=[(8, 6, 18, 16)], t3=[(8, 8, 18, 18)])
    assert [Mask.from_array(mask).window for mask in found] == [Window(row=6, col=6, height=12, width=12)]
    assert found[0].sum() == 12 * 12 - 2 * 2


def test_a_link_that_makes_windows_disagree_is_cut() -> None:
    """One stripe joins the masks, but window 0 saw a large block beside it that window 1 knows nothing of."""
    store = Store(tiling := Tiling(height=32, width=48, tile_px=32, overlap_px=16))
    stripe_and_block = np.zeros((32, 48), dtype=bool)
    stripe_and_block[2:4, 14:32] = stripe_and_block[8:28, 24:32] = True
    store.add(tiling[0], [Mask.from_array(stripe_and_block)])
    store.add(tiling[1], [rectangle(2, 16, 4, 40)])
    assert [found.members for found in store.link()] == [((0, 0),), ((1, 0),)]


def test_only_equal_labels_are_joined() -> None:
    def found(*labels: str | None) -> int:
        store = Store(ROW)
        for tile, label, box in zip(ROW, labels, [(4, 2, 8, 16), (4, 12, 8, 28), (4, 24, 8, 30)], strict=True):
            store.add(tile, [rectangle(*box, label=label)], ("roof", "road"))
        return len(store.link())

    assert (found("roof", "roof", "roof"), found("roof", "road", "road"), found(None, "road", None)) == (1, 2, 3)


def test_scores_are_means_weighted_by_area() -> None:
    store = Store(ROW)
    store.add(ROW[0], [rectangle(4, 2, 8, 16, score=0.9, stability=1.0)])
    store.add(ROW[1], [rectangle(4, 12, 8, 19, score=0.6, stability=0.7), rectangle(10, 14, 12, 20, score=0.5)])
    store.add(ROW[2], [])
    chain, single = store.link()
    assert (chain.members, chain.tiles, chain.label, chain.area_px) == (((0, 0), (1, 0)), 2, -1, 68)
    assert chain.score == pytest.approx(0.8)
    assert chain.stability == pytest.approx(0.9)
    assert (single.members, single.score, single.window) == (((1, 1),), 0.5, Window(row=10, col=14, height=2, width=6))


def test_nothing_gives_nothing() -> None:
    assert boxes(Store(ROW)) == []
    with pytest.raises(IndexError, match="object 0"):
        link(MaskTable.from_masks([], tile=ROW[0], tiling=ROW), ROW, Store(ROW).crops)[0]


def test_table_is_small_comes_back_from_its_arrays_and_refuses_what_cannot_be() -> None:
    table = MaskTable.from_masks([rectangle(4, 2, 8, 16), rectangle(1, 1, 3, 3)], tile=ROW[0], tiling=ROW)
    assert sum(column.itemsize for column in table.arrays().values()) <= 48
    assert table.cut.tolist() == [True, False]
    again = MaskTable(**table.arrays())  # type: ignore[arg-type]
    assert again.box(1) == Window(row=1, col=1, height=2, width=2)
    with pytest.raises(UsageError, match="mask 0 of tile 0"):
        MaskTable.from_masks([rectangle(4, 2, 8, 17)], tile=ROW[0], tiling=ROW)
    with pytest.raises(UsageError, match="'tree'"):
        MaskTable.from_masks([rectangle(4, 2, 8, 9, label="tree")], tile=ROW[0], tiling=ROW, labels=("roof",))


def test_tables_take_at_most_128_bytes_a_mask() -> None:
    """Squares of 6 x 6 pixels, 8 apart, as windows of 128 see them; their pixels are made up when asked for."""
    tiling = Tiling(height=520, width=520, tile_px=128, overlap_px=16)
    grid = Window(row=0, col=0, height=520, width=520)
    tables = []
    for tile in tiling:
        inside = tile.read.intersection(grid)
        places = itertools.product(
            range(inside.row // 8 * 8, inside.row_end, 8), range(inside.col // 8 * 8, inside.col_end, 8)
        )
        squares = (Window(row=row, col=col, height=6, width=6).intersection(inside) for row, col in places)
        masks = [Mask(window=w, pixels=np.ones(w.shape, dtype=bool)) for w in squares if not w.is_empty]
        tables.append(MaskTable.from_masks(masks, tile=tile, tiling=tiling))

    def crops(tile: int, index: int) -> Bool:
        box = tables[tile].box(index)
        return np.ones(box.shape, dtype=bool)

    tracemalloc.start()
    try:
        stitched = link(MaskTable.concatenate(tables), tiling, crops)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(stitched) == 65**2
    assert peak <= 128 * len(stitched.table)


def test_with_noise_objects_are_still_found_once() -> None:
    """Object F1 at an IoU of one half, with boundaries that stray by a pixel and one mask in fifty missed."""
    hits = found_all = true_all = 0
    for seed in range(25):
        masks = [mask for mask in random_scene(seed, disjoint=True).masks if mask.sum() >= 60]
        scene = OracleScene.from_masks(masks, (96, 96))
        model = NoisyOracle(scene, jitter_px=0.7, miss=0.02)
        store = Store(tiling := Tiling(height=96, width=96, tile_px=48, overlap_px=12))
        for tile in tiling:
            store.add(tile, seen(scene, tile, model))
        found = store.drawn()
        same = [[np.count_nonzero(a & b) * 2 > np.count_nonzero(a | b) for b in masks] for a in found]
        hits += sum(map(any, zip(*same, strict=True)))
        found_all, true_all = found_all + len(found), true_all + len(masks)
    assert 2 * hits / (found_all + true_all) > 0.9
