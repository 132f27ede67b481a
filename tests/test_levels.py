"""Objects larger than a window, seen from further away: exact masks need none of it, doubtful ones are mended by it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from samgeo.pixels import Mask, PixelPrompts, Window
from samgeo.stitch.levels import Level, open_ends, take_from_afar
from samgeo.stitch.refine import Guide, refine
from samgeo.tiling import Tile, Tiling
from tests.oracle import Bool, OracleScene
from tests.test_grow import decoder
from tests.test_stitch import Store, is_whole, rectangle, seen, told_apart


def level(scale: int, store: Store) -> Level:
    return Level(scale=scale, stitched=store.link(), crops=store.crops)


def near(scene: OracleScene, tiling: Tiling, *, missed: Sequence[int] = ()) -> Level:
    """All that the windows show, but nothing in the tiles that are missed."""
    store = Store(tiling)
    for tile in tiling:
        store.add(tile, [] if tile.index in missed else seen(scene, tile))
    return level(1, store)


def far(scene: OracleScene, tiling: Tiling) -> list[Level]:
    """All that is whole in windows of larger pixels, each the grid's pixel in its middle."""
    levels = []
    for scale in tiling.scales:
        coarse, half = tiling.coarser(scale), scale // 2
        image = np.zeros((coarse.height, coarse.width, 3), np.uint8)
        sampled = scene.image[half::scale, half::scale]
        image[: sampled.shape[0], : sampled.shape[1]] = sampled
        view = OracleScene(image=image, objects_of=scene.objects_of, masks=())
        store = Store(coarse)
        for tile in coarse:
            store.add(tile, [m for m in seen(view, tile) if uncut(m, tile, coarse)])
        levels.append(level(scale, store))
    return levels


def uncut(mask: Mask, tile: Tile, tiling: Tiling) -> bool:
    return is_whole(mask.to_array(tiling.height, tiling.width), tile, tiling)


def slab(shape: tuple[int, int], *edges: tuple[int, int, int, int]) -> OracleScene:
    masks = []
    for top, left, bottom, right in edges:
        mask = np.zeros(shape, dtype=bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return OracleScene.from_masks(masks, shape)


def test_exact_masks_have_no_open_ends_and_nothing_is_taken_from_afar() -> None:
    levels = 0
    for scene, tiling, _ in itertools.islice(told_apart(1000), 60):
        shown, distances = near(scene, tiling), far(scene, tiling)
        ends = open_ends(shown.stitched, shown.crops)
        kept, taken = take_from_afar(shown, ends, distances)
        assert not ends.any()
        assert kept.all()
        assert not taken
        levels += sum(len(one.stitched) for one in distances)
    assert levels > 60, "something was seen from afar"


TILING = Tiling(height=80, width=80, tile_px=32, overlap_px=8)
"""Windows start at 0, 24 and 48; from twice as far away two by two show everything, from four times one does."""


def test_pieces_with_open_ends_are_joined_by_what_is_whole_from_afar() -> None:
    """The window in the middle shows nothing of an object that all nine have a part in."""
    scene = slab((80, 80), (6, 6, 74, 74), (1, 1, 4, 4))
    shown = near(scene, TILING, missed=[4])
    kept, taken = take_from_afar(shown, open_ends(shown.stitched, shown.crops), far(scene, TILING))
    assert shown.stitched.area[kept].tolist() == [9], "the small one stays"
    (one,) = taken
    guide = Guide(mask=one.mask, scale=one.scale, points=np.zeros((0, 2)), labels=np.zeros(0, np.int64))
    (drawn,) = refine([guide], tiling=TILING, decode=decoder(scene))
    assert np.array_equal(paste(drawn.pieces), scene.masks[0])


def test_what_is_seen_from_afar_joins_only_pieces_of_its_own_word() -> None:
    scene = slab((80, 80), (6, 6, 74, 74), (1, 1, 4, 4))
    shown, distances = near(scene, TILING, missed=[4]), far(scene, TILING)
    ends = open_ends(shown.stitched, shown.crops)
    shown.stitched.table.word[:] = 2
    assert take_from_afar(shown, ends, distances)[0].all()
    for distance in distances:
        distance.stitched.table.word[:] = 2
        distance.stitched.table.label[:] = 3
    kept, (one,) = take_from_afar(shown, ends, distances)
    assert shown.stitched.area[kept].tolist() == [9]
    assert (one.word, one.label) == (2, 3)


@pytest.mark.parametrize(("near_label", "called"), [(-1, (3, 0.9)), (5, (5, 0.75)), (3, (3, 0.75))])
def test_a_heap_is_called_what_most_of_it_is_called_at_full_resolution(
    near_label: int, called: tuple[int, float]
) -> None:
    """Four objects that are about a fifth of it each; the last one is called otherwise than the others."""
    heap = slab((80, 80), (6, 6, 74, 74))
    parts = slab((80, 80), (8, 8, 38, 38), (8, 42, 38, 72), (42, 8, 72, 38), (44, 44, 72, 72))
    shown, distances = near(parts, TILING), far(heap, TILING)
    table = shown.stitched.table
    table.label[:] = np.where((table.top >= 42) & (table.left >= 42), 1, near_label)
    table.label_score[:] = 0.75
    for distance in distances:
        distance.stitched.table.label[:] = 3
        distance.stitched.table.label_score[:] = 0.9
    (one, *_) = take_from_afar(shown, np.zeros(len(shown.stitched), np.int32), distances)[1]
    assert (one.label, one.label_score) == pytest.approx(called)


def test_what_no_window_shows_is_added_and_what_one_object_holds_is_not() -> None:
    scene = slab((80, 80), (6, 6, 74, 74), (10, 10, 70, 70))
    inner, outer = far(slab((80, 80), (10, 10, 70, 70)), TILING), far(slab((80, 80), (6, 6, 74, 74)), TILING)
    empty = near(slab((80, 80), (0, 0, 2, 2)), TILING)
    ends = open_ends(empty.stitched, empty.crops)
    assert len(take_from_afar(empty, ends, inner)[1]) == 1
    shown = near(scene, TILING)
    ends = open_ends(shown.stitched, shown.crops)
    assert take_from_afar(shown, ends, inner)[1] == []
    assert take_from_afar(shown, ends, outer)[1] == []


def test_an_open_end_is_a_run_on_a_border_that_the_next_window_does_not_show() -> None:
    row = Tiling(height=16, width=40, tile_px=16, overlap_px=4)

    def ends(**tiles: list[tuple[int, int, int, int]]) -> list[int]:
        store = Store(row)
        for tile in row:
            store.add(tile, [rectangle(*box) for box in tiles.get(f"t{tile.index}", [])])
        return open_ends(store.link(), store.crops).tolist()

    assert ends(t0=[(4, 2, 8, 16)], t1=[(4, 12, 8, 20)]) == [0]
    assert ends(t0=[(4, 2, 8, 16)]) == [1]
    assert ends(t1=[(4, 12, 8, 28)]) == [2]
    assert ends(t1=[(4, 13, 8, 20)]) == [0]


def paste(pieces: Sequence[Mask], shape: tuple[int, int] = (80, 80)) -> Bool:
    count = np.zeros(shape, dtype=int)
    for piece in pieces:
        count += piece.to_array(*shape)
    assert count.max() <= 1
    return count > 0


def guide_of(mask: Bool, scale: int) -> Guide:
    half = scale // 2
    coarse = Mask.from_array(mask[half::scale, half::scale], score=0.8, stability=0.7)
    return Guide(mask=coarse, scale=scale, points=np.zeros((0, 2)), labels=np.zeros(0, np.int64))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_guide_leads_to_the_object_at_full_resolution(scale: int) -> None:
    y, x = np.mgrid[:80, :80]
    disc, other = (y - 41) ** 2 + (x - 38) ** 2 < 33**2, (y - 5) ** 2 + (x - 75) ** 2 < 9
    scene = OracleScene.from_masks([disc, other], (80, 80))
    (drawn,) = refine([guide_of(disc, scale)], tiling=TILING, decode=decoder(scene))
    assert np.array_equal(paste(drawn.pieces), disc)
    assert (drawn.open_ends, drawn.pieces[0].score, drawn.pieces[0].stability) == (0, 0.8, 0.7)


def test_windows_inside_are_not_asked_and_windows_are_asked_once_for_all_guides() -> None:
    scene = slab((200, 200), (2, 2, 198, 198), (30, 30, 60, 190))
    tiling = Tiling(height=200, width=200, tile_px=32, overlap_px=8)
    asked: list[Window] = []

    def decode(window: Window, prompts: PixelPrompts) -> Sequence[Sequence[Mask]]:
        asked.append(window)
        return decoder(scene)(window, prompts)

    guides = [guide_of(mask, 4) for mask in scene.masks]
    drawn = refine(guides, tiling=tiling, decode=decode)
    assert [np.array_equal(paste(d.pieces, (200, 200)), m) for d, m in zip(drawn, scene.masks, strict=True)] == [
        True
    ] * 2
    assert len(asked) == len(set(asked)) < len(tiling)
    assert tiling[(len(tiling) // 2) + 1].read not in asked


def test_where_no_answer_agrees_the_guide_stays() -> None:
    mask = slab((80, 80), (8, 8, 72, 72)).masks[0]

    def decode(window: Window, prompts: PixelPrompts) -> Sequence[Sequence[Mask]]:
        return [[Mask.from_array(np.zeros(window.shape, dtype=bool))] for _ in range(len(prompts))]

    (drawn,) = refine([guide_of(mask, 4)], tiling=TILING, decode=decode)
    assert np.array_equal(paste(drawn.pieces), mask), "its edges lie on pixels of four"
    assert drawn.open_ends == 8, "all windows but the one in the middle"


def test_clicks_inside_a_window_are_asked_with_the_guide() -> None:
    mask = slab((80, 80), (8, 8, 72, 72)).masks[0]
    guide = Guide(mask=guide_of(mask, 4).mask, scale=4, points=np.array([[10.0, 50.0]]), labels=np.array([0]))
    seen_points = []

    def decode(window: Window, prompts: PixelPrompts) -> Sequence[Sequence[Mask]]:
        assert prompts.points is not None
        assert prompts.labels is not None
        seen_points.append((prompts.points[0][prompts.labels[0] == 0] + (window.col, window.row)).tolist())
        return [[Mask.from_array(np.zeros(window.shape, dtype=bool))] for _ in range(len(prompts))]

    refine([guide], tiling=TILING, decode=decode)
    assert sum([10.0, 50.0] in points for points in seen_points) == 2, "two windows see the click"
