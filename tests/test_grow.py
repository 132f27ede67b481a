"""Prompted objects that reach beyond their window come back whole, from any point on them, through any tiling."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pytest

from samgeo.errors import ResourceLimitError
from samgeo.pixels import Mask, PixelPrompts, Window
from samgeo.stitch.grow import Decode, Grown, grow
from samgeo.tiling import Tiling
from tests.oracle import Bool, NoisyOracle, OracleModel, OracleScene
from tests.scenes import random_scene
from tests.test_stitch import can_be_told_apart, differ, random_tiling

CASES = int(os.environ.get("SAMGEO_SCENES", "150"))
"""How many prompted objects must come back exactly."""


def padded(image: np.ndarray, window: Window) -> np.ndarray:
    """The pixels of a window that may reach beyond the image, black there."""
    rows, cols = image.shape[:2]
    inside = window.intersection(Window(row=0, col=0, height=rows, width=cols))
    out = np.zeros((*window.shape, 3), dtype=np.uint8)
    out[inside.shift(-window.row, -window.col).slices()] = image[inside.slices()]
    return out


def decoder(scene: OracleScene, model: OracleModel | None = None) -> Decode:
    asked = model or OracleModel(scene)

    def decode(window: Window, prompts: PixelPrompts) -> Sequence[Sequence[Mask]]:
        return asked.decode(asked.encode(padded(scene.image, window)), prompts).to_masks()

    return decode


def drawn(grown: Grown, tiling: Tiling) -> Bool:
    count = np.zeros((tiling.height, tiling.width), dtype=int)
    for piece in grown.pieces:
        count += piece.to_array(*count.shape)
    assert count.max() <= 1
    return count > 0


def seed_at(scene: OracleScene, number: int, pixel: tuple[int, int], window: Window) -> Mask:
    """The part of an object that a window shows around a pixel."""
    model = OracleModel(OracleScene.from_masks([scene.masks[number]], scene.image.shape[:2]))
    alone = OracleScene.from_masks([scene.masks[number]], scene.image.shape[:2]).image
    point = np.array([[[pixel[1] - window.col, pixel[0] - window.row]]], dtype=np.float32)
    prompts = PixelPrompts(points=point, labels=np.ones((1, 1), dtype=np.int64))
    decoded = model.decode(model.encode(padded(alone, window)), prompts, multimask=False)
    return decoded.to_masks()[0][0].shift(window.row, window.col)


def windows(tiling: Tiling, pixel: tuple[int, int], rng: np.random.Generator) -> list[Window]:
    """The tile that answers for a pixel, and a window of another lattice around it."""
    own = tiling.tiles_meeting(Window(row=pixel[0], col=pixel[1], height=1, width=1))[0].read
    top, left = (p - int(rng.integers(tiling.tile_px // 4, 3 * tiling.tile_px // 4)) for p in pixel)
    free = Window(row=max(0, top), col=max(0, left), height=tiling.tile_px, width=tiling.tile_px)
    return [own, free]


def random_cases(count: int, first_seed: int = 1) -> Iterator[tuple[OracleScene, Tiling, int, tuple[int, int], Window]]:
    """Scenes in which objects can be told apart, and in each an object, a pixel on it and a window around the pixel."""
    given, seed = 0, first_seed - 1
    while given < count:
        rng = np.random.default_rng([11, seed := seed + 1])
        scene = random_scene(seed, height=110, width=130, objects=6)
        tiling = random_tiling(rng, 110, 130)
        if not can_be_told_apart(scene, tiling):
            continue
        for number, mask in enumerate(scene.masks):
            row, col = np.argwhere(mask)[int(rng.integers(mask.sum()))].tolist()
            for window in windows(tiling, (row, col), rng):
                if all(differ(scene, window.intersection(t.read)) for t in tiling if t.read != window):
                    yield scene, tiling, number, (row, col), window
                    given += 1


def test_random_objects_come_back_whole_from_any_point_and_window() -> None:
    rounds = []
    # From 117: an object of which some window is asked about one part and shows another one in a core never asked.
    for scene, tiling, number, pixel, window in chain(random_cases(4, 117), random_cases(CASES)):
        found = grow(seed_at(scene, number, pixel, window), window, tiling=tiling, decode=decoder(scene))
        assert np.array_equal(drawn(found, tiling), scene.masks[number]), (number, pixel, window, tiling)
        assert found.open_ends == 0
        rounds.append(found.windows)
    assert max(rounds) > 8, "some reach through many windows"
    assert min(rounds) == 1, "and some do not leave theirs"


def test_a_spiral_comes_back_through_windows_it_left() -> None:
    spiral = np.zeros((96, 96), dtype=bool)
    for k in range(4):
        low, high = 4 + 10 * k, 91 - 10 * k
        spiral[low, low - (10 if k else 0) : high + 1] = spiral[low : high + 1, high] = True
        spiral[high, low : high + 1] = spiral[low + 10 : high + 1, low] = True
    scene = OracleScene.from_masks([spiral], spiral.shape)
    tiling = Tiling(height=96, width=96, tile_px=32, overlap_px=4)
    seed = seed_at(scene, 0, (4, 4), tiling[0].read)
    assert seed.area_px < np.count_nonzero(spiral[:32, :32]), "the first window shows more than one part"
    assert np.array_equal(drawn(grow(seed, tiling[0].read, tiling=tiling, decode=decoder(scene)), tiling), spiral)


def test_an_object_inside_its_window_asks_nothing() -> None:
    mask = Mask(window=Window(row=3, col=3, height=4, width=4), pixels=np.ones((4, 4), dtype=bool), score=0.7)
    tiling = Tiling(height=40, width=40, tile_px=16, overlap_px=4)

    def decode(window: Window, prompts: PixelPrompts) -> Sequence[Sequence[Mask]]:
        raise AssertionError("asked")

    found = grow(mask, tiling[0].read, tiling=tiling, decode=decode)
    assert (found.windows, found.open_ends, found.pieces[0].score) == (1, 0, 0.7)
    assert np.array_equal(drawn(found, tiling), mask.to_array(40, 40))


def test_an_answer_that_does_not_agree_is_an_open_end() -> None:
    stripe = np.zeros((16, 48), dtype=bool)
    stripe[4:8] = True
    tiling = Tiling(height=16, width=48, tile_px=16, overlap_px=4)

    def decode(window: Window, prompts: PixelPrompts) -> Sequence[Sequence[Mask]]:
        return [[Mask.from_array(np.ones(window.shape, dtype=bool))] for _ in range(len(prompts))]

    seed = Mask.from_array(stripe[:, :16])
    found = grow(seed, tiling[0].read, tiling=tiling, decode=decode)
    assert found.open_ends == 1
    assert drawn(found, tiling).sum() == seed.area_px


def test_background_is_refused_before_it_floods_the_raster() -> None:
    scene = OracleScene.from_masks([np.ones((96, 96), dtype=bool)], (96, 96))
    tiling = Tiling(height=96, width=96, tile_px=16, overlap_px=4)
    seed = seed_at(scene, 0, (50, 50), tiling[27].read)
    with pytest.raises(ResourceLimitError, match="more than 9 windows"):
        grow(seed, tiling[27].read, tiling=tiling, decode=decoder(scene), max_windows=9)


def test_with_noise_the_object_is_still_much_the_same() -> None:
    ious = []
    for scene, tiling, number, pixel, window in random_cases(60):
        if scene.masks[number].sum() < 300 or window not in [tile.read for tile in tiling]:
            continue
        noisy = NoisyOracle(scene, jitter_px=0.7, miss=0.0)
        seed = seed_at(scene, number, pixel, window)
        shown = drawn(grow(seed, window, tiling=tiling, decode=decoder(scene, noisy)), tiling)
        ious.append(np.count_nonzero(shown & scene.masks[number]) / np.count_nonzero(shown | scene.masks[number]))
    assert np.median(ious) > 0.85
