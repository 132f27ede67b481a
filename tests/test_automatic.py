from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from samgeo.errors import UsageError
from samgeo.model.automatic import KNOWN_SHARE, EverythingSettings, coarse_to_fine, generate_masks, point_grid
from samgeo.pixels import Mask, PixelPrompts, Window
from tests.oracle import OracleEmbedding, OracleMasks, OracleModel, OracleScene
from tests.scenes import random_scene


def everything(scene: OracleScene, *, valid: NDArray[np.bool_] | None = None, **settings: object) -> list[Mask]:
    model = OracleModel(scene)
    size = scene.image.shape[0]
    given = EverythingSettings(**{"points_per_side": size, "box_nms_thresh": 1.0, **settings})
    return generate_masks(model, model.encode(scene.image), given, valid=valid)


def keys(masks: list[Mask]) -> list[tuple[Window, bytes]]:
    return sorted((mask.window, mask.pixels.tobytes()) for mask in masks)


def rectangle(size: int, top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_a_point_on_every_pixel_finds_exactly_the_objects(seed: int) -> None:
    scene = random_scene(seed, height=32, width=32, objects=5, disjoint=seed % 2 == 0)
    assert keys(everything(scene)) == keys([Mask.from_array(mask) for mask in scene.masks])


def test_grid_is_that_of_sam_and_skips_nodata() -> None:
    valid = np.ones((8, 16), dtype=bool)
    assert point_grid(valid, 2).tolist() == [[4, 2], [12, 2], [4, 6], [12, 6]]
    valid[:, 12] = False
    assert point_grid(valid, 2).tolist() == [[4, 2], [4, 6]]


def test_masks_end_at_nodata() -> None:
    scene = OracleScene.from_masks([rectangle(8, 1, 1, 7, 7)], (8, 8))
    valid = np.ones((8, 8), dtype=bool)
    valid[:, 4:] = False
    assert [mask.window for mask in everything(scene, valid=valid)] == [Window(row=1, col=1, height=6, width=3)]
    assert everything(scene, valid=np.zeros((8, 8), dtype=bool)) == []
    with pytest.raises(UsageError, match="valid mask"):
        everything(scene, valid=np.ones((8, 7), dtype=bool))


@pytest.mark.parametrize(
    ("granularity", "areas"), [("whole", {64}), ("part", {64, 36}), ("subpart", {64, 36, 4}), ("all", {64, 36, 4})]
)
def test_granularity(granularity: str, areas: set[int]) -> None:
    nest = [rectangle(8, k, k, 8 - k, 8 - k) for k in (0, 1, 3)]
    found = everything(OracleScene.from_masks(nest, (8, 8)), granularity=granularity)
    assert {mask.area_px for mask in found} == areas


@dataclass
class Scripted:
    """A model that answers every point with the same masks."""

    pixels: NDArray[np.bool_]
    scores: NDArray[np.float32]
    stability: float = 1.0
    batches: list[int] = field(default_factory=list)
    drawn: int = 0
    shape = (16, 16)
    name, sha256, precision, tile_px = "scripted", "0" * 64, "exact", 16

    def decode(self, embedding: object, prompts: PixelPrompts, *, multimask: bool = True) -> OracleMasks:
        assert multimask
        self.batches.append(len(prompts))
        model = self
        count = len(prompts)

        class Counted(OracleMasks):
            def __getitem__(self, keep: NDArray[np.bool_]) -> OracleMasks:
                return Counted(pixels=self.pixels[keep][:, None], scores=self.scores[keep][:, None])

            def to_masks(self) -> list[list[Mask]]:
                model.drawn += self.scores.size
                return [
                    [Mask.from_array(p, score=float(s), stability=model.stability) for p, s in zip(*row, strict=True)]
                    for row in zip(self.pixels, self.scores, strict=True)
                ]

        return Counted(pixels=np.repeat(self.pixels[None], count, 0), scores=np.repeat(self.scores[None], count, 0))


def scripted(masks: list[NDArray[np.bool_]], scores: list[float], stability: float = 1.0) -> Scripted:
    return Scripted(pixels=np.array(masks), scores=np.array(scores, dtype=np.float32), stability=stability)


def run(model: Scripted, **settings: object) -> list[Mask]:
    return generate_masks(model, model, EverythingSettings(**{"points_per_side": 5, **settings}))  # type: ignore[arg-type]


def test_batches_are_bounded_and_unsure_masks_are_never_drawn() -> None:
    boxes = [rectangle(16, 0, 0, 4, 4), rectangle(16, 8, 8, 12, 12), rectangle(16, 2, 9, 6, 12)]
    model = scripted(boxes, [0.9, 0.5, 0.88])
    masks = run(model, points_per_batch=10, pred_iou_thresh=0.88)
    assert model.batches == [10, 10, 5]
    assert model.drawn == 25
    assert [mask.window for mask in masks] == [Window(row=0, col=0, height=4, width=4)]
    assert run(scripted(boxes, [0.9, 0.9, 0.9], stability=0.94)) == []
    assert len(run(scripted(boxes, [0.9, 0.9, 0.9], stability=0.95))) == 3


def test_duplicates_the_best_one_stays() -> None:
    near = [rectangle(16, 0, 0, 10, 10), rectangle(16, 0, 0, 10, 9), rectangle(16, 0, 0, 10, 5)]
    masks = run(scripted(near, [0.9, 0.95, 0.89]))
    assert [mask.area_px for mask in masks] == [90, 50]
    assert [mask.score for mask in masks] == pytest.approx([0.95, 0.89])
    assert len(run(scripted(near, [0.9, 0.95, 0.89]), box_nms_thresh=1.0)) == 3
    assert len(run(scripted(near, [0.9, 0.95, 0.89]), box_nms_thresh=0.4)) == 2, "masks decide as well"
    assert len(run(scripted(near, [0.9, 0.95, 0.89]), box_nms_thresh=0.4, mask_nms_thresh=0.4)) == 1


def test_objects_that_share_a_box_both_stay_unless_boxes_alone_decide() -> None:
    ring = rectangle(16, 0, 0, 12, 12) & ~rectangle(16, 2, 2, 12, 12)
    rest = rectangle(16, 0, 0, 12, 12) & ~rectangle(16, 0, 0, 10, 10)
    assert len(run(scripted([ring, rest, rest], [0.9, 0.95, 0.89]))) == 2
    assert len(run(scripted([ring, rest, rest], [0.9, 0.95, 0.89]), mask_nms_thresh=0.0)) == 1


def test_best_is_the_highest_score() -> None:
    boxes = [rectangle(16, 0, 0, 4, 4), rectangle(16, 8, 8, 12, 12), rectangle(16, 2, 9, 6, 12)]
    assert [m.window.row for m in run(scripted(boxes, [0.9, 0.95, 0.94]), granularity="best")] == [8]


@pytest.mark.parametrize(
    "wrong",
    [
        {"points_per_side": 0},
        {"detail_points": -1},
        {"points_per_batch": 0},
        {"pred_iou_thresh": 88},
        {"granularity": "roof"},
    ],
)
def test_settings_that_cannot_be_right(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        EverythingSettings(**wrong)  # type: ignore[arg-type]


class Counting(OracleModel):
    """Counts the points that it is asked at."""

    asked = 0

    def decode(self, embedding: OracleEmbedding, prompts: PixelPrompts, *, multimask: bool = True) -> OracleMasks:
        self.asked += len(prompts)
        return super().decode(embedding, prompts, multimask=multimask)


@pytest.mark.parametrize("seed", range(6))
def test_fast_finds_what_lies_side_by_side_with_fewer_points(seed: int) -> None:
    scene = random_scene(seed, height=32, width=32, objects=5, disjoint=True)
    found, asked = {}, {}
    for fast in (False, True):
        model = Counting(scene)
        settings = EverythingSettings(points_per_side=32, points_per_batch=16, box_nms_thresh=1.0, fast=fast)
        found[fast] = keys(generate_masks(model, model.encode(scene.image), settings))
        asked[fast] = model.asked
    assert found[True] == found[False]
    small = sum(mask.sum() for mask in scene.masks if mask.sum() <= KNOWN_SHARE * mask.size)
    assert asked[True] <= asked[False] - small / 2


class Detailed(Counting):
    """Says where details are, as many as it is asked for, on nodata too."""

    places = ((6.0, 6.0), (23.0, 15.0), (3.0, 22.0))

    def details(self, embedding: OracleEmbedding, valid: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
        return np.array(self.places[:count], np.float32)


@pytest.mark.parametrize("fast", [False, True])
def test_details_that_the_grid_steps_over_are_asked_for(fast: bool) -> None:
    scene = OracleScene.from_masks([rectangle(32, 5, 5, 8, 8), rectangle(32, 14, 22, 17, 25)], (32, 32))
    valid = np.ones((32, 32), bool)
    valid[20:, :5] = False
    for count, objects in ((0, 0), (1, 1), (2, 2), (3, 2)):
        model = Detailed(scene)
        settings = EverythingSettings(points_per_side=4, detail_points=count, fast=fast)
        masks = generate_masks(model, model.encode(scene.image), settings, valid=valid)
        assert len(masks) == objects
        assert model.asked == point_grid(valid, 4).shape[0] + objects, "none is asked for on nodata"


def test_coarse_points_come_first_and_none_is_lost() -> None:
    whole = np.ones((64, 32), dtype=bool)
    points = point_grid(whole, 8)
    levels = coarse_to_fine(points, whole.shape, 8)
    assert sorted(map(tuple, np.concatenate(levels))) == sorted(map(tuple, points))
    assert levels[0].tolist() == [[6, 12], [22, 12], [6, 44], [22, 44]]


def test_fast_asks_inside_of_what_is_large() -> None:
    scene = OracleScene.from_masks([rectangle(32, 0, 0, 32, 32), rectangle(32, 5, 5, 12, 12)], (32, 32))
    model = OracleModel(scene)
    settings = EverythingSettings(points_per_side=32, box_nms_thresh=1.0, fast=True)
    assert keys(generate_masks(model, model.encode(scene.image), settings)) == keys(
        [Mask.from_array(mask) for mask in scene.masks]
    )
