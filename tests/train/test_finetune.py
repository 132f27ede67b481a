"""Fine-tuning: outlines in any CRS become windows, what should learn learns, and what is cut off goes on exactly."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from samgeo.cli import samgeo
from samgeo.cli.train import told
from samgeo.errors import ModelError, OutputError, PromptError, UsageError
from samgeo.model.frame import Frame, LongestSideFrame, NativeFrame, SquareFrame
from samgeo.model.predict import Model
from samgeo.model.pyramid import PyramidModel
from samgeo.model.spec import DEFAULT_MODEL
from samgeo.model.weights import load_model
from samgeo.pipeline.tilejob import encode
from samgeo.pixels import Mask, PixelPrompts
from samgeo.raster.reader import Raster
from samgeo.tiling import Tiling
from samgeo.train import finetune, learning
from samgeo.train.adapters import add_adapters, merge_adapters
from samgeo.train.finetune import FineTuning, Kept, Shown, around, fine_tune, in_frame, save_weights
from samgeo.train.labelled import LabelledImage
from samgeo.train.learning import Learned, learn
from samgeo.train.metrics import Protocol, evaluate, figures
from samgeo.train.outlines import hold_out, labelled_windows, read_drawn
from tests.model.seeded import TINY, picture, random_nano, seeded_model
from tests.train.test_loop import labelled

SIDE = 160
PLACE = Affine(0.5, 0, 500_000, 0, -0.5, 5_538_000)
CORNERS = [(10, 10), (10, 60), (10, 110), (60, 10), (60, 60), (60, 110), (110, 10), (110, 60), (110, 110)]


@pytest.fixture(scope="module")
def raster(tmp_path_factory) -> Path:
    """Bright rectangles on a dark ground, in UTM."""
    path = tmp_path_factory.mktemp("raster") / "scene.tif"
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=PLACE, **profile) as dataset:
        dataset.write(np.moveaxis(labelled(0).image, -1, 0))
    return path


@pytest.fixture(scope="module")
def labels(raster: Path) -> Path:
    """Their outlines, in longitude and latitude."""
    boxes = [
        shapely.box(*(PLACE @ (m.window.col, m.window.row_end)), *(PLACE @ (m.window.col_end, m.window.row)))
        for m in labelled(0).objects
    ]
    path = raster.with_name("outlines.gpkg")
    geopandas.GeoSeries(boxes, crs="EPSG:32633").to_crs("EPSG:4326").to_file(path)
    return path


def test_outlines_of_any_crs_become_the_pixels_that_they_outline(raster: Path, labels: Path) -> None:
    with Raster(raster) as source:
        whole = labelled_windows(source, labels, tile_px=256)
        parts = labelled_windows(source, labels, tile_px=64)
    (window,) = whole.windows
    assert window.image.shape == (256, 256, 3)
    assert np.array_equal(window.image[:SIDE, :SIDE], labelled(0).image)
    for found, true in zip(window.objects, labelled(0).objects, strict=True):
        assert np.array_equal(found.to_array(SIDE, SIDE), true.to_array(SIDE, SIDE))
    assert (whole.outlines, whole.refused) == (9, [])
    assert len(parts.windows) == 8, "of nine, and in the last one is but a sliver"
    assert all(w.image.shape == (64, 64, 3) for w in parts.windows)


def test_windows_are_what_segment_shows_the_model(raster: Path, labels: Path, monkeypatch) -> None:
    """At the border of the raster too, where both fill what lies beyond its end."""
    shown: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(Model, "encode", lambda _self, image: shown.append(image))
    with Raster(raster) as source:
        tiling = Tiling(height=SIDE, width=SIDE, tile_px=256, overlap_px=2)
        rgb, valid = source.read_rgb(tiling[0].read)
        encode(seeded_model(TINY["tiny-sam"]), rgb, valid, None)
        (window,) = labelled_windows(source, labels, tile_px=256).windows
    assert np.array_equal(window.image, shown[0])


def test_masks_end_where_the_data_does(raster: Path, labels: Path, tmp_path: Path) -> None:
    """As those of segment do; an outline where there is none is refused."""
    path = tmp_path / "holes.tif"
    with rasterio.open(raster) as source:
        pixels, profile = source.read(), source.profile
    hole = np.zeros((SIDE, SIDE), bool)
    hole[:50, :50] = hole[60:, :20] = True  # all of one object, a part of two
    pixels[:, hole] = 0
    with rasterio.open(path, "w", **(profile | {"nodata": 0})) as dataset:
        dataset.write(pixels)
    with Raster(path) as source:
        placed = labelled_windows(source, labels, tile_px=256)
    (window,) = placed.windows
    assert (placed.outlines, placed.refused) == (8, ["masks/1: on nodata"])
    for found, true in zip(window.objects, labelled(0).objects[1:], strict=True):
        assert np.array_equal(found.to_array(SIDE, SIDE), true.to_array(SIDE, SIDE) & ~hole)
    assert (window.image[:SIDE, :SIDE][hole] == window.image[-1, -1]).all(), "the mean colour of the rest"


def test_outlines_elsewhere_are_told(raster: Path, labels: Path) -> None:
    layer = geopandas.read_file(labels)
    far = geopandas.GeoDataFrame(geometry=layer.geometry.translate(1), crs=layer.crs)
    with Raster(raster) as source:
        with pytest.raises(PromptError):
            labelled_windows(source, far, tile_px=64)
        some = layer.copy()
        some.loc[0, "geometry"] = far.geometry[0]
        placed = labelled_windows(source, some, tile_px=256)
    assert placed.outlines == 8
    assert len(placed.refused) == 1


@given(st.integers(1, 40), st.floats(0, 0.9))
def test_some_windows_are_held_out_and_some_are_not(count: int, share: float) -> None:
    windows = [replace(labelled(0), source=str(number)) for number in range(count)]
    shown, judged = hold_out(windows, share)
    assert sorted(map(int, (w.source for w in [*shown, *judged]))) == list(range(count))
    assert shown
    assert bool(judged) == (count > 1 and share > 0)
    assert abs(len(judged) - share * count) <= 1 or not judged


FRAMES = [NativeFrame(block_px=32), LongestSideFrame(size_px=128), SquareFrame(size_px=128)]


@pytest.mark.parametrize("frame", FRAMES, ids=["native", "longest side", "square"])
@given(st.integers(0, 2**31), st.tuples(st.integers(20, 300), st.integers(20, 300)))
def test_masks_lie_in_the_frame_where_the_image_does(frame: Frame, seed: int, shape: tuple[int, int]) -> None:
    """A white rectangle of the image and its mask are the same pixels, but for those along its outline."""
    rng = np.random.default_rng(seed)
    (top, bottom), (left, right) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in shape)
    image = np.zeros((*shape, 3), np.uint8)
    image[top:bottom, left:right] = 255
    prepared = frame.prepare(image)
    mask = in_frame(image[None, ..., 0] > 0, frame, shape, prepared.shape[-2:])[0]
    assert mask.any()
    white = prepared[0, 0] > (frame.prepare(np.full_like(image, 128))[0, 0]).max()
    inside = torch.nn.functional.max_pool2d((~mask).float()[None], 5, 1, 2)[0] == 0
    around = torch.nn.functional.max_pool2d(mask.float()[None], 5, 1, 2)[0] > 0
    assert bool((white | ~inside).all())
    assert not bool((white & ~around).any())


@pytest.mark.parametrize("name", ["tiny-sam", "tiny-sam2", "tiny-mobile-sam"])
def test_adapters_change_nothing_at_first_and_merge_without_a_trace(name: str) -> None:
    model = seeded_model(TINY[name])
    names = set(model.sam.state_dict())
    before = model.encode(picture(64, 64)).arrays()["stride16"]
    encoder = model.sam.image_encoder
    assert add_adapters(encoder) > 0
    np.testing.assert_allclose(model.encode(picture(64, 64)).arrays()["stride16"], before, atol=1e-5)
    trainable = [n for n, p in encoder.named_parameters() if p.requires_grad]
    assert trainable
    assert all(n.endswith((".up", ".down")) for n in trainable)
    with torch.no_grad():
        for n, p in encoder.named_parameters():
            if n.endswith(".up"):
                p.normal_(std=0.1)
    adapted = model.encode(picture(64, 64)).arrays()["stride16"]
    assert not np.allclose(adapted, before, atol=1e-3)
    merge_adapters(encoder)
    assert set(model.sam.state_dict()) == names
    np.testing.assert_allclose(model.encode(picture(64, 64)).arrays()["stride16"], adapted, atol=1e-5)


def tuned(model: Model, folder: Path, **settings) -> list[dict[str, float]]:
    """Teach a model two made-up images; the lines of its metrics."""
    windows = [labelled(seed) for seed in (0, 1)]
    fine_tune(model, windows, FineTuning(**{"objects": 4} | settings), folder)
    metrics = folder / "metrics.jsonl"
    return [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []


LEARN = [(name, "decoder") for name in TINY] + [("tiny-sam", "adapters"), ("tiny-hq-sam2", "adapters")]


@pytest.mark.parametrize(("name", "tune"), [*LEARN, ("tiny-sam2", "all"), ("tiny-mobile-sam", "all")])
def test_every_member_learns_what_should_and_nothing_else(name: str, tune: str, tmp_path: Path) -> None:
    model = seeded_model(TINY[name])
    before = {n: t.clone() for n, t in model.sam.state_dict().items()}
    lines = tuned(model, tmp_path / "run", tune=tune, steps=40, objects=2, learning_rate=1e-3)
    assert lines[-1]["loss"] < lines[0]["loss"]
    moved = {n for n, t in model.sam.state_dict().items() if not torch.equal(t, before[n])}
    assert any(n.startswith("mask_decoder.") for n in moved)
    in_encoder = {n for n in moved if n.startswith("image_encoder.")}
    if tune == "decoder":
        assert not in_encoder
    elif tune == "adapters":
        assert in_encoder
        assert all(n.rpartition(".")[0].endswith(("qkv", "proj")) for n in in_encoder)
    assert not any("running_" in n for n in moved), "a few images say nothing of the statistics of batches"
    save_weights(model, tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_mode & 0o044 == (
        tmp_path / "run" / "plan.json"
    ).stat().st_mode & 0o044
    again = load_model(tmp_path / "mine.safetensors", spec=TINY[name], precision="exact", device="cpu")
    assert all(torch.equal(t, model.sam.state_dict()[n]) for n, t in again.sam.state_dict().items())


def test_a_run_that_is_cut_off_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    spec = TINY["tiny-sam2"]
    whole = seeded_model(spec)
    tuned(whole, tmp_path / "whole", steps=12)

    def cut_off(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("training", 9):
            raise KeyboardInterrupt

    windows = [labelled(seed) for seed in (0, 1)]
    settings = FineTuning(objects=4, steps=12)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(seeded_model(spec), windows, settings, tmp_path / "cut", report=cut_off)
    steps = []
    resumed = seeded_model(spec)
    fine_tune(resumed, windows, settings, tmp_path / "cut", report=lambda phase, done, _: steps.append((phase, done)))
    assert min(done for phase, done in steps if phase == "training") == 9
    for name, tensor in whole.sam.state_dict().items():
        assert torch.equal(tensor, resumed.sam.state_dict()[name]), name
    steps.clear()
    other = replace(settings, seed=1)
    fine_tune(seeded_model(spec), windows, other, tmp_path / "cut", report=lambda p, done, _: steps.append((p, done)))
    assert ("training", 1) in steps, "another plan starts anew"


def test_kept_features_are_those_of_the_shown_windows() -> None:
    model = seeded_model(TINY["tiny-sam"])
    windows: list[LabelledImage] = [crop for _, crop in labelled(0).tiles(80)]
    shown = Shown(windows, model.sam.frame, FineTuning(objects=3, steps=5))
    kept = Kept(shown, model.sam)
    assert len(kept.views) == 8 * len(windows)
    features, masks, _ = kept[2]
    assert masks.shape == (1, 3, *model.sam.frame.prepare(windows[0].image).shape[-2:])
    plain = model.encode(windows[1].image).arrays()["stride16"]
    np.testing.assert_allclose(kept.views[1][0].stride16[0].float().numpy(), plain, atol=2e-3)
    assert features.stride16.dtype == torch.float16


@given(height=st.integers(8, 40), width=st.integers(8, 40), side=st.integers(4, 50), seed=st.integers(0, 99))
def test_a_crop_shows_a_place_in_an_object_and_what_else_is_there(height, width, side, seed) -> None:
    masks = np.zeros((3, height, width), dtype=bool)
    masks[0, :3, :3], masks[1, -2:, -2:], masks[2, height // 2, :] = True, True, True
    row, column = np.indices((height, width))
    places = np.stack([row, column, row], axis=2).astype(np.uint8)
    objects = tuple(map(Mask.from_array, masks))
    whole = LabelledImage(image=places, objects=objects, source="test/crop", gsd_m=None, complete=True)
    shown = around(whole, side, np.random.default_rng(seed))
    assert shown.image.shape[:2] == (min(side, height), min(side, width))
    row, column = shown.image[0, 0, :2].tolist()
    seen = masks[:, row : row + shown.image.shape[0], column : column + shown.image.shape[1]]
    left = [mask.to_array(*shown.image.shape[:2]) for mask in shown.objects]
    np.testing.assert_array_equal(left, seen[seen.any(axis=(1, 2))])
    assert len(left) >= 1


@pytest.mark.parametrize("settings", [{"tune": "everything"}, {"steps": 0}, {"objects": 0}, {"seed": -1}])
def test_settings_that_cannot_be_right_are_refused(settings) -> None:
    with pytest.raises(UsageError):
        FineTuning(**settings)


def test_a_model_that_takes_no_prompts_is_refused(raster: Path, labels: Path, tmp_path: Path, monkeypatch) -> None:
    class Other:
        name = "fast-sam-s"

    monkeypatch.setattr(learning, "load_network", lambda *_, **__: Other())
    with pytest.raises(ModelError, match="fast-sam-s"):
        learn(raster, labels, tmp_path / "mine.safetensors")


@pytest.fixture
def bare(labels: Path, tmp_path: Path) -> Path:
    """The outlines in the raster's CRS, in a file that does not say so."""
    path = tmp_path / "bare.gpkg"
    outlines = geopandas.read_file(labels).to_crs("EPSG:32633")
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        outlines.set_crs(None, allow_override=True).to_file(path)
    return path


def test_labels_without_a_crs_get_one(raster: Path, labels: Path, bare: Path) -> None:
    with_one = read_drawn(labels, raster, tile_px=256)
    for crs in ("EPSG:32633", "raster"):
        placed = read_drawn(bare, raster, labels_crs=crs, tile_px=256)
        assert [m.window for m in placed.windows[0].objects] == [m.window for m in with_one.windows[0].objects]
    with pytest.raises(
        PromptError, match=r"bare\.gpkg: no coordinate .* --labels-crs EPSG:CODE \(labels_crs= in Python\)"
    ):
        read_drawn(bare, raster, tile_px=256)
    with pytest.raises(PromptError, match="--labels-crs EPSG:99999"):
        read_drawn(bare, raster, labels_crs="EPSG:99999", tile_px=256)


def test_the_command_names_its_own_options(raster: Path, bare: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.geojson"
    far = geopandas.read_file(bare).head(3).set_crs("EPSG:32733").to_crs("EPSG:4326")
    far.to_file(few)

    def said(labels: Path, *options: str) -> str:
        line = ["train", labels, raster, "-o", tmp_path / "mine.safetensors", *options]
        done = CliRunner().invoke(samgeo, [*map(str, line)])
        assert done.exit_code != 0
        return done.output

    assert "Fix: --labels-crs EPSG:CODE" in said(bare)
    assert "--labels-crs states that of what has none" in said(few)
    assert "Invalid value for '--seed': -1" in said(bare, "--seed", "-1")


def test_nothing_is_fetched_for_bad_labels(raster: Path, bare: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(learning, "have_weights", lambda *_: pytest.fail("fetched"))
    with pytest.raises(PromptError, match="--labels-crs"):
        learn(raster, bare, tmp_path / "mine.safetensors", model="sam2.1-hiera-tiny")


@pytest.mark.parametrize(("windows", "why"), [(1, "One window only"), (4, "--held-out 0")])
def test_it_is_told_why_nothing_was_held_out(windows: int, why: str) -> None:
    place = Path("mine")
    done = Learned(
        weights=place, folder=place, windows=windows, outlines=9, refused=[], judged=0, before=None, after=None
    )
    assert f"\n{why}: nothing was held out, so" in told(done)


def test_what_is_read_is_never_written_over(raster: Path, labels: Path, tmp_path: Path) -> None:
    before = labels.read_bytes()
    for out, what in ((labels, "ends in .safetensors"), (tmp_path / "weights.txt", "weights.txt")):
        with pytest.raises(UsageError, match=re.escape(what)):
            learn(raster, labels, out, overwrite=True)
    model = tmp_path / "model.safetensors"
    save_weights(seeded_model(TINY["tiny-sam"]), model)
    kept = model.read_bytes()
    with pytest.raises(OutputError, match=r"model\.safetensors"):
        learn(raster, labels, model, model=model, overwrite=True)
    assert (labels.read_bytes(), model.read_bytes()) == (before, kept)
    assert not (tmp_path / "model.training").exists()


def test_the_table_is_of_the_model_that_loads_the_weights(raster: Path, labels: Path, tmp_path: Path) -> None:
    """That of samgeo-nano looks at three sizes, and knows nothing of the weights that there were before."""
    mine = tmp_path / "mine.safetensors"
    settings = FineTuning(steps=8, learning_rate=3e-3)
    done = learn(raster, labels, mine, tile_px=96, device="cpu", settings=settings)
    with Raster(raster) as source:
        _, judged = hold_out(labelled_windows(source, labels, tile_px=96).windows, learning.HELD_OUT)
    for weights, expected in ((DEFAULT_MODEL, done.before), (mine, done.after)):
        model = load_model(weights, device="cpu", precision="exact")
        assert isinstance(model, PyramidModel)
        assert figures(list(evaluate(model, judged, Protocol(window_px=512)))) == expected
    assert done.before != done.after


def test_what_was_made_of_earlier_weights_is_forgotten(tmp_path: Path) -> None:
    model, image = seeded_model(TINY["tiny-sam"]), picture(96, 96)
    prompts = PixelPrompts(boxes=np.array([[10, 10, 40, 40]], np.float32))
    before = model.decode(model.encode(image), prompts).scores
    tuned(model, tmp_path / "run", steps=8, learning_rate=3e-3)
    save_weights(model, tmp_path / "mine.safetensors")
    again = load_model(tmp_path / "mine.safetensors", spec=TINY["tiny-sam"], precision="exact", device="cpu")
    after, loaded = (one.decode(one.encode(image), prompts).scores for one in (model, again))
    assert np.array_equal(after, loaded)
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("tune", ["decoder", "all"])
def test_the_scorer_is_taught_on_images_which_are_seen_at_all_sizes(tmp_path: Path, monkeypatch, tune: str) -> None:
    taught = []
    monkeypatch.setattr(finetune, "calibrate", lambda _sam, batches, **_: taught.append(batches))
    tuned(random_nano(), tmp_path, tune=tune, steps=1)
    assert isinstance(taught[0], Shown)


def test_from_outlines_to_weights_to_features_in_two_commands(raster: Path, labels: Path, tmp_path: Path) -> None:
    mine, found = tmp_path / "mine.safetensors", tmp_path / "found.gpkg"
    line = ["train", labels, raster, "-o", mine, "--tile", 96, "--steps", 20, "--tune", "all"]
    done = CliRunner().invoke(samgeo, [*map(str, line)])
    assert done.exit_code == 0, done.output
    assert "9 outlines in 4 windows" in done.output
    assert "that learning did not see" in done.output
    with Image.open(tmp_path / "mine.training" / "curves.png") as curves:
        assert len(curves.getcolors(1 << 20)) > 5
    again = CliRunner().invoke(samgeo, [*map(str, line)])
    assert again.exit_code == 6, "an output that is there is not replaced"
    line = ["segment", raster, found, "--model", mine, "--boxes", labels, "--no-cache"]
    done = CliRunner().invoke(samgeo, [*map(str, line)])
    assert done.exit_code == 0, done.output
    assert len(geopandas.read_file(found, layer="found")) == 9
