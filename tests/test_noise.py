"""How much better than a plain union-find stitching does on noisy masks: object F1 at an IoU of one half.

The noisy oracle misses masks and lets boundaries stray, in every window in another way. docs/promises.md states the
figures, which come from

    SAMGEO_NOISY_SCENES=100 python -m pytest tests/test_noise.py --timeout 3600 -o junit_family=xunit1 --junitxml F
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import sparse

from samgeo.pixels import Mask
from samgeo.tiling import Tiling
from tests.oracle import Bool, NoisyOracle, OracleScene
from tests.scenes import random_scene
from tests.test_stitch import Store, seen

SCENES = int(os.environ.get("SAMGEO_NOISY_SCENES", "25"))
"""How many random scenes the figures rest on."""
SIZE = 128
TILING = Tiling(height=SIZE, width=SIZE, tile_px=48, overlap_px=12)


def scenes() -> Iterator[OracleScene]:
    for seed in range(SCENES):
        masks = [
            m for m in random_scene(seed, height=SIZE, width=SIZE, objects=10, disjoint=True).masks if m.sum() > 60
        ]
        yield OracleScene.from_masks(masks, (SIZE, SIZE))


def union_find(masks: list[Mask]) -> list[Bool]:
    """What is commonly done: masks of different windows that overlap by half of the smaller are one object."""
    full = np.array([mask.to_array(SIZE, SIZE).ravel() for mask in masks], dtype=np.int32).reshape(len(masks), -1)
    shared = full @ full.T
    areas = shared.diagonal()
    same = 2 * shared >= np.minimum(areas[:, None], areas[None, :])
    count, group = sparse.csgraph.connected_components(same, directed=False)
    return [full[group == k].any(axis=0).reshape(SIZE, SIZE) for k in range(count)]


def in_overlap(masks: list[tuple[int, Mask]]) -> list[Bool]:
    """The careful variant: two masks are one object if their IoU inside the overlap of their windows is one half."""
    full = [mask.to_array(SIZE, SIZE) for _, mask in masks]
    same = np.eye(len(masks), dtype=bool)
    for i, (tile, _) in enumerate(masks):
        for j, (other, _) in enumerate(masks[:i]):
            window = TILING[tile].read.intersection(TILING[other].read)
            if tile != other and not window.is_empty:
                a, b = full[i][window.slices()], full[j][window.slices()]
                same[i, j] = np.count_nonzero(a & b) * 2 >= max(1, np.count_nonzero(a | b))
    count, group = sparse.csgraph.connected_components(same | same.T, directed=False)
    return [np.logical_or.reduce([full[k] for k in np.flatnonzero(group == g)]) for g in range(count)]


def hits(found: list[Bool], true: tuple[Bool, ...]) -> int:
    return sum(any(np.count_nonzero(a & b) * 2 > np.count_nonzero(a | b) for a in found) for b in true)


@pytest.mark.parametrize(("jitter_px", "miss"), [(0.3, 0.01), (0.7, 0.02), (1.2, 0.05)])
def test_with_noise_more_objects_are_found_once_than_by_union_find(
    jitter_px: float, miss: float, record_property: Callable[[str, object], None]
) -> None:
    right = np.zeros(3)
    given = np.zeros(3)
    for scene in scenes():
        model = NoisyOracle(scene, jitter_px=jitter_px, miss=miss)
        store = Store(TILING)
        for tile in TILING:
            store.add(tile, seen(scene, tile, model))
        masks = [(index, mask) for index in store.masks for mask in store.masks[index]]
        for k, found in enumerate([store.drawn(), in_overlap(masks), union_find([mask for _, mask in masks])]):
            right[k] += 2 * hits(found, scene.masks)
            given[k] += len(found) + len(scene.masks)
    ours, careful, plain = right / given
    record_property("f1", f"ours {ours:.3f}, union-find in overlaps {careful:.3f}, plain {plain:.3f}")
    assert ours > careful
    assert ours > plain
