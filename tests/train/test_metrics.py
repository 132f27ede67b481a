import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from benchmarks import calibration, quality
from benchmarks.baselines import filled_box, grabcut, region_growing
from samgeo.errors import PromptError
from samgeo.pixels import BACKGROUND, FOREGROUND, PADDING, Mask, Window, boxes_of
from samgeo.train.labelled import LabelledImage
from samgeo.train.metrics import (
    Figures,
    Protocol,
    Trial,
    by_source,
    choose_windows,
    clicks_to,
    deepest,
    evaluate,
    figures,
    iou,
    next_click,
    over_sources,
)
from tests.oracle import NoisyOracle, OracleModel
from tests.scenes import random_scene

SMALL = Protocol(window_px=64, min_area_px=20)
masks = st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=9, max_size=9).map(np.array)


def labelled(seed=1, *, source="a/b", height=96, width=130):
    scene = random_scene(seed, height=height, width=width, objects=10, disjoint=True)
    objects = tuple(Mask.from_array(mask) for mask in scene.masks)
    return LabelledImage(image=scene.image, objects=objects, source=source, gsd_m=None, complete=True), scene


def trial(source, value, *, clicks=None, label=None, gsd_m=None):
    return Trial(
        source=source,
        label=label,
        gsd_m=gsd_m,
        area_px=100,
        box=value,
        best=value,
        clicks=clicks or (value,) * 5,
        box_score=1,
        click_score=1,
    )


@given(masks, masks)
def test_iou_is_that_of_the_full_arrays(one, other):
    union = np.count_nonzero(one | other)
    expected = np.count_nonzero(one & other) / union if union else 0
    assert iou(Mask.from_array(one), Mask.from_array(other)) == pytest.approx(expected)


@given(masks)
def test_the_deepest_point_is_inside_and_deeper_than_all_others(mask):
    row, col, depth = deepest(mask)
    assert (depth > 0) == mask.any()
    if mask.any():
        depths = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        assert mask[row, col]
        assert depths[row, col] == depths.max() == pytest.approx(depth)


def test_the_edge_of_the_array_is_outside():
    assert deepest(np.ones((9, 9), dtype=bool))[:2] == (4, 4)


@given(masks, masks)
def test_a_click_corrects_what_is_wrong(have, want):
    x, y, label = next_click(Mask.from_array(have), Mask.from_array(want))
    if label == PADDING:
        np.testing.assert_array_equal(have, want)
    else:
        assert have[y, x] != want[y, x]
        assert label == (FOREGROUND if want[y, x] else BACKGROUND)


def test_a_click_goes_where_the_error_is_deepest():
    want = np.zeros((30, 40), dtype=bool)
    want[5:12, 5:12] = True
    have = np.zeros_like(want)
    have[8:28, 20:38] = True
    x, y, label = next_click(Mask.from_array(have), Mask.from_array(want))
    assert label == BACKGROUND
    assert have[y, x]
    assert next_click(Mask.from_array(np.zeros_like(want)), Mask.from_array(want)) == (8, 8, FOREGROUND)


def test_boxes_run_along_the_outer_edges_of_pixels():
    mask = Mask(window=Window(row=3, col=7, height=2, width=4), pixels=np.ones((2, 4), dtype=bool))
    np.testing.assert_array_equal(boxes_of([mask]), [[6.5, 2.5, 10.5, 4.5]])
    assert boxes_of([]).shape == (0, 4)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), side=st.integers(40, 140))
def test_every_object_is_asked_for_once_where_most_of_it_is_seen(seed, side):
    image, _ = labelled(seed)
    windows = choose_windows([image], Protocol(window_px=side, min_area_px=1))
    assert sum(len(w.objects) for w in windows) == len(image.objects)
    for window in windows:
        assert window.image.shape == (min(side, 96), min(side, 130), 3)
    if side >= 130:
        assert sorted(m.area_px for m in windows[0].objects) == sorted(m.area_px for m in image.objects)


def test_small_objects_are_left_out_and_large_sources_cut():
    images = [labelled(seed, source=f"{name}/{seed}")[0] for seed in range(4) for name in ("a", "b")]
    windows = choose_windows(images, Protocol(window_px=64, min_area_px=40, objects_per_source=7))
    for name in ("a", "b"):
        objects = [m for w in windows if w.source.startswith(name) for m in w.objects]
        assert len(objects) == 7
        assert min(m.area_px for m in objects) >= 40


def test_what_is_drawn_depends_on_the_seed_and_not_on_other_sources():
    one = [labelled(seed, source="a/b")[0] for seed in range(3)]
    other = [labelled(9, source="c/d")[0]]

    def drawn(images, seed):
        windows = choose_windows(images, Protocol(window_px=64, min_area_px=9, objects_per_source=5, seed=seed))
        return [(m.window, m.area_px) for w in windows if w.source == "a/b" for m in w.objects]

    assert drawn(one, 0) == drawn(other + one, 0)
    assert drawn(one, 0) != drawn(one, 1)


def test_the_oracle_is_right_at_once():
    image, scene = labelled(4)
    windows = choose_windows([image], SMALL)
    trials = list(evaluate(OracleModel(scene), windows, SMALL))
    assert len(trials) == sum(len(w.objects) for w in windows) > 3
    whole = [t for t, m in zip(trials, [m for w in windows for m in w.objects], strict=True) if _one_piece(m)]
    assert whole
    for one in whole:
        assert one.box == one.best == 1
        assert one.clicks == (1, 1, 1, 1, 1)


def test_a_noisy_oracle_is_below_and_says_what_it_expects():
    image, scene = labelled(4)
    model = NoisyOracle(scene, jitter_px=2, miss=0)
    trials = list(evaluate(model, choose_windows([image], SMALL), SMALL))
    assert 0.3 < np.mean([t.box for t in trials]) < 1
    assert all(t.best >= t.clicks[0] for t in trials)
    assert all(0 <= t.click_score <= 1 for t in trials)


def test_the_model_gets_its_own_logits_back_and_more_clicks_each_round():
    image, scene = labelled(4)
    seen = []

    class Watched(NoisyOracle):
        def decode(self, embedding, prompts, *, multimask=True):
            points = 0 if prompts.points is None else prompts.points.shape[1]
            seen.append((points, prompts.boxes is not None, prompts.masks is not None, multimask))
            return super().decode(embedding, prompts, multimask=multimask)

    list(evaluate(Watched(scene, jitter_px=2, miss=0), choose_windows([image], SMALL)[:1], SMALL))
    assert seen == [
        (0, True, False, False),
        (1, False, False, True),
        *[(clicks, False, True, False) for clicks in (2, 3, 4, 5)],
    ]


def test_errors_of_the_model_come_through():
    image, scene = labelled(4)

    class Broken(OracleModel):
        def decode(self, embedding, prompts, *, multimask=True):
            raise PromptError("no")

    with pytest.raises(PromptError):
        list(evaluate(Broken(scene), choose_windows([image], SMALL), SMALL))


def test_sources_weigh_the_same_and_views_of_one_source_count_once():
    trials = [trial("fields", 0.2)] * 9 + [trial("ships", 0.8), trial("ships+x3", 0.4)]
    sources = by_source(trials)
    assert list(sources) == ["fields", "ships", "ships+x3"]
    assert sources["fields"].objects == 9
    mean = over_sources(sources)
    assert isinstance(mean, Figures)
    assert mean.box == mean.click_5 == pytest.approx((0.2 + 0.6) / 2)
    assert by_source(trials, key=lambda t: "all")["all"].objects == 11


SLOW, QUICK, NEVER = (0.1, 0.5, 0.79, 0.8, 0.86), (0.95, 0.7, 0.7, 0.7, 0.7), (0.2, 0.3, 0.4, 0.5, 0.6)
"""IoU after one to five clicks."""


def test_clicks_are_counted_until_an_iou_is_reached_and_all_of_them_where_it_never_is():
    assert [clicks_to(target, SLOW) for target in (0.05, 0.8, 0.85, 0.9)] == [1, 4, 5, 5]
    assert [clicks_to(target, QUICK) for target in (0.8, 0.95, 0.96)] == [1, 1, 5]
    assert clicks_to(0.8, NEVER[:3]) == 3


def test_figures_say_how_many_clicks_an_iou_takes_and_how_many_objects_reach_it():
    made = figures([trial("a", 0.5, clicks=clicks) for clicks in (SLOW, QUICK, NEVER, NEVER)])
    assert (made.clicks_80, made.clicks_85, made.clicks_90) == (15 / 4, 16 / 4, 16 / 4)
    assert (made.reached_80, made.reached_85, made.reached_90) == (0.5, 0.5, 0.25)


def test_the_table_of_clicks_is_the_mean_over_sources():
    trials = [trial("a", 0.5, clicks=QUICK), *[trial("b", 0.5, clicks=clicks) for clicks in (SLOW, NEVER)]]
    assert quality.clicks_table(trials).splitlines() == [
        "| IoU to reach | clicks, 5 where it is not reached | reached |",
        "|---|---|---|",
        "| .80 | 2.75 | 75% |",
        "| .85 | 3.00 | 75% |",
        "| .90 | 3.00 | 50% |",
    ]


def test_objects_are_grouped_by_what_their_label_means():
    labels = {"house": 0.2, "building": 0.4, "solar panel group": 0.5, "vegetation": 0.6, None: 0.7}
    trials = [trial("a", value, label=label) for label, value in labels.items()]
    heading, _, *rows = quality.group_table("class", trials, quality.class_name).splitlines()
    assert heading == "| class | objects | box | 1 click | best of 3 | 3 clicks | 5 clicks |"
    assert rows == [
        "| building | 2 | 0.300 | 0.300 | 0.300 | 0.300 | 0.300 |",
        "| no label | 1 | 0.700 | 0.700 | 0.700 | 0.700 | 0.700 |",
        "| solar panel | 1 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 |",
        "| vegetation | 1 | 0.600 | 0.600 | 0.600 | 0.600 | 0.600 |",
    ]


def test_objects_are_grouped_by_ground_resolution_the_finest_first():
    sizes = (10, 2, None, 1.99, 0.5, 0.15, 0.149)
    groups = by_source([trial("a", 1, gsd_m=size) for size in sizes], quality.resolution_name)
    assert {name: one.objects for name, one in groups.items()} == {
        "0 to 0.15 m": 1,
        "0.15 to 0.5 m": 1,
        "0.5 to 2 m": 2,
        "2 m and more": 2,
        "unknown": 1,
    }
    names = [name for _, name in quality.RESOLUTIONS]
    assert list(groups) == [*names, "unknown"]


def test_the_filled_box_is_the_share_of_the_box():
    image, _ = labelled(4)
    for value, mask in zip(filled_box(image), image.objects, strict=True):
        filled = Mask(window=mask.window, pixels=np.ones(mask.window.shape, dtype=bool))
        assert value == pytest.approx(iou(filled, mask))


def square_scene():
    image = np.full((80, 80, 3), 60, dtype=np.uint8)
    image[20:50, 30:60] = (200, 190, 40)
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    mask = np.zeros((80, 80), dtype=bool)
    mask[20:50, 30:60] = True
    return LabelledImage(image=noisy, objects=(Mask.from_array(mask),), source="a/b", gsd_m=None, complete=True)


def test_region_growing_finds_a_plain_object():
    assert region_growing(square_scene())[0] > 0.9


def test_grabcut_finds_a_plain_object_of_any_shape():
    pytest.importorskip("cv2", reason="OpenCV is an optional dependency of the benchmarks")
    scene = square_scene()
    rows, cols = np.mgrid[:80, :80]
    disc = (rows - 35) ** 2 + (cols - 45) ** 2 < 200
    image = np.where(disc[..., None], scene.image[30:31, 40:41], scene.image[:1, :1])
    round_one = LabelledImage(image=image, objects=(Mask.from_array(disc),), source="a/b", gsd_m=None, complete=True)
    assert grabcut(round_one)[0] > 0.9


def test_the_table_has_a_row_for_each_source_and_one_for_the_mean(tmp_path, monkeypatch, capsys):
    image, scene = labelled(4, source="made/up")
    image.save(tmp_path / "made__up.npz")
    monkeypatch.setattr(quality, "load_model", lambda name, precision: OracleModel(scene, name=name))
    monkeypatch.setattr(quality, "Protocol", lambda **fields: Protocol(window_px=64, min_area_px=20, **fields))
    out, trials = tmp_path / "quality.md", tmp_path / "trials.jsonl"
    command = ["oracle", "--windows", str(tmp_path), "--out", str(out), "--trials", str(trials), "--baselines"]
    assert quality.main(command) == 0
    text = capsys.readouterr().out
    assert "| made |" in text
    assert "**mean over sources**" in text
    assert "growing 24 | growing 48 | growing, best |" in text
    assert "| .90 | " in text
    assert "| no label | " in text
    assert "| unknown | " in text
    assert out.read_text().splitlines()[0].startswith("| source | objects | box")
    assert len(trials.read_text().splitlines()) >= 4


def test_missing_windows_are_an_error_with_its_fix(tmp_path, capsys):
    assert quality.main(["--windows", str(tmp_path)]) == 2
    assert "samgeo.train.prepare" in capsys.readouterr().err


def _one_piece(mask):
    return ndimage.label(mask.pixels)[1] == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_honest_scores_have_no_calibration_error(scores: list[float]) -> None:
    assert calibration.error_of([(score, score) for score in scores]) == pytest.approx(0)
    assert sum(one.count for one in calibration.bins_of([(score, 0.5) for score in scores])) == len(scores)
    assert calibration.error_of([(score, score - 0.25) for score in scores]) == pytest.approx(0.25)
