"""segment() with the oracle: whatever tiling, linking, assembly or writing does wrong shows as another polygon."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import warnings
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from samgeo.errors import OutputError, OutputExistsError, PartialResultError, ResourceLimitError, UsageError
from samgeo.grid import Grid, parse_crs
from samgeo.pipeline.segment import Progress, journal_folder, segment
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.prompts.prompts import Prompts
from samgeo.settings import Settings
from samgeo.stitch.grow import grow
from tests.oracle import OracleModel, OracleScene
from tests.scenes import random_scene

TURNED = Affine(0.28, 0.05, 500_000.0, 0.05, -0.28, 5_538_000.0)
TILES = ((200, 2), (48, 8), (33, 16))


def grid_of(scene):
    height, width = scene.image.shape[:2]
    return Grid(width=width, height=height, transform=TURNED, crs=parse_crs("EPSG:32633"))


def tiled(tile=48, overlap=8, **settings):
    return Settings(tile_px=tile, overlap_px=overlap, use_cache=False, **settings)


def on_map(grid, row, col, row_end, col_end):
    """A rectangle of pixels in map coordinates."""
    box = shapely.box(col, row, col_end, row_end)
    return shapely.transform(box, lambda xy: np.stack(grid.to_map(*xy.T), axis=1))


@pytest.fixture
def all_seen(monkeypatch):
    """Everything-mode that asks at every pixel, without the time that takes; `test_automatic` shows it is the same."""

    def pieces(_model, embedding, _settings, *, valid):
        return [Mask.from_array(piece & valid) for _, piece in embedding.pieces if (piece & valid).any()]

    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", pieces)


def expected(scene):
    """The true polygons in id order."""
    masks = [Mask.from_array(mask) for mask in scene.masks]
    order = sorted(masks, key=lambda m: (m.window.row, m.window.col + int(np.argmax(m.pixels[0])), -m.area_px))
    return [mask_to_polygon(mask, grid_of(scene)).wkb for mask in order]


def polygons(result):
    return [feature.geometry.wkb for feature in result]


def inner_points(scene):
    places = [np.argwhere(mask)[np.count_nonzero(mask) // 2] for mask in scene.masks]
    x, y = grid_of(scene).to_map([col + 0.5 for _, col in places], [row + 0.5 for row, _ in places])
    return np.stack([x, y], axis=1)


def write_tif(path, scene):
    grid = grid_of(scene)
    profile = {"driver": "GTiff", "width": grid.width, "height": grid.height, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=TURNED, **profile) as dataset:
        dataset.write(np.moveaxis(scene.image, -1, 0))
    return path


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def rectangles(shape, *edges):
    masks = []
    for top, left, bottom, right in edges:
        mask = np.zeros(shape, dtype=bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return OracleScene.from_masks(masks, shape)


@pytest.mark.parametrize("seed", [0, 3])
def test_everything_is_found_exactly_with_any_tiles(seed, all_seen):
    scene = random_scene(seed, height=90, width=110, disjoint=True)
    for tile, overlap in TILES:
        with segment(
            scene.image, grid=grid_of(scene), model=OracleModel(scene), settings=tiled(tile, overlap)
        ) as result:
            assert polygons(result) == expected(scene)
            assert [feature.attributes["id"] for feature in result] == list(range(1, len(scene.masks) + 1))


def test_beyond_the_raster_a_model_sees_its_mean_colour(all_seen):
    scene = random_scene(3, height=40, width=60, disjoint=True)
    seen = []

    class Seeing(OracleModel):
        def encode(self, image):
            seen.append(image)
            return super().encode(image)

    segment(scene.image, grid=grid_of(scene), model=Seeing(scene), settings=tiled())
    first = seen[0]  # 48 x 48, of which 40 rows are there
    assert (first[:40] == scene.image[:, :48]).all()
    assert (np.abs(first[40:] - scene.image[:, :48].mean(axis=(0, 1))) <= 0.5).all()


def test_the_raster_itself_is_no_object_that_is_seen_from_further_away(monkeypatch):
    scene = rectangles((92, 112), (10, 10, 40, 80))

    def pieces(_model, embedding, _settings, *, valid):
        found = [piece for _, piece in embedding.pieces if not piece[:, 0].any()]  # nothing where an object goes on
        everything = [valid] if valid.sum() == 23 * 28 else []  # in the one window that holds the whole raster
        return [Mask.from_array(mask) for mask in found + everything]

    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", pieces)
    with segment(scene.image, grid=grid_of(scene), model=OracleModel(scene), settings=tiled()) as result:
        assert polygons(result) == expected(scene)


@pytest.mark.parametrize("seed", [1, 3])
def test_every_prompt_gets_its_object_whole_with_any_tiles(seed):
    scene = random_scene(seed, height=90, width=110, disjoint=True)
    wanted = [mask_to_polygon(Mask.from_array(mask), grid_of(scene)).wkb for mask in scene.masks]
    points = Prompts(points=inner_points(scene), crs="EPSG:32633")
    for tile, overlap in TILES:
        result = segment(
            scene.image, points, grid=grid_of(scene), model=OracleModel(scene), settings=tiled(tile, overlap)
        )
        assert polygons(result) == wanted
        assert [feature.attributes["prompt_id"] for feature in result] == [f"points/{k}" for k in range(len(wanted))]


def test_boxes_of_small_and_large_objects():
    scene = rectangles((120, 120), (5, 5, 15, 20), (30, 2, 110, 115), (20, 60, 26, 70))
    grid = grid_of(scene)
    boxes = []
    for mask in scene.masks:
        window = Mask.from_array(mask).window
        boxes.append(on_map(grid, window.row, window.col, window.row_end, window.col_end))
    prompts = Prompts(masks=boxes, crs="EPSG:32633")
    for tile, overlap in TILES[:2]:
        result = segment(scene.image, prompts, grid=grid, model=OracleModel(scene), settings=tiled(tile, overlap))
        assert polygons(result) == [mask_to_polygon(Mask.from_array(mask), grid).wkb for mask in scene.masks]


def test_every_prompt_is_accounted_for_and_brings_its_columns():
    scene = rectangles((60, 60), (5, 5, 15, 20), (30, 30, 50, 50))
    x, y = grid_of(scene).to_map([10.5, 25.5, 40.5, 10.5, 999], [10.5, 25.5, 40.5, 10.5, 5])
    features = [
        {
            "type": "Feature",
            "id": name,
            "properties": {"name": name, "score": k},
            "geometry": {"type": "Point", "coordinates": xy},
        }
        for k, (name, xy) in enumerate(
            zip(["roof", "grass", "barn", "roof again", "far"], zip(x, y, strict=True), strict=True)
        )
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    prompts = Prompts(points={"type": "FeatureCollection", "crs": crs, "features": features})
    result = segment(scene.image, prompts, grid=grid_of(scene), model=OracleModel(scene), settings=tiled())
    rows = [feature.attributes for feature in result]
    assert [row["prompt_id"] for row in rows] == ["points/roof", "points/barn"]
    assert [row["name"] for row in rows] == ["roof", "barn"]
    assert [row["prompt_score"] for row in rows] == [0, 2]
    assert result.report["prompts"]["duplicate_of"] == {"points/roof again": "points/roof"}
    assert rows[0]["score"] == 1.0
    refused = {refusal["prompt_id"]: refusal["reason"] for refusal in result.report["prompts"]["refused"]}
    assert refused.keys() == {"points/grass", "points/far"}
    assert "outside the raster by" in refused["points/far"]
    assert refused["points/grass"] == "the model found no object here"


def test_a_prompt_that_floods_the_raster_is_refused_and_the_others_are_not(monkeypatch):
    monkeypatch.setattr("samgeo.pipeline.growth.grow", partial(grow, max_windows=6))
    scene = rectangles((200, 200), (5, 5, 15, 20), (30, 0, 200, 200))
    prompts = Prompts(points=inner_points(scene), crs="EPSG:32633")
    result = segment(scene.image, prompts, grid=grid_of(scene), model=OracleModel(scene), settings=tiled(33, 8))
    assert polygons(result) == expected(scene)[:1]
    (refusal,) = result.report["prompts"]["refused"]
    assert refusal["prompt_id"] == "points/1"
    assert "more than 6 windows" in refusal["reason"]


def test_clicks_that_do_not_fit_into_one_window_are_heard_or_told():
    scene = rectangles((60, 200), (5, 5, 50, 195), (52, 100, 58, 110))
    x, y = grid_of(scene).to_map([10.5, 190.5, 105.5, 3.5, 197.5], [10.5, 40.5, 55.5, 2.5, 2.5])
    table = geopandas.GeoDataFrame(
        {"name": ["slab", "slab", "hut", "nothing", "nothing"]}, geometry=shapely.points(x, y), crs="EPSG:32633"
    )
    prompts = Prompts(points=table, object_column="name")
    result = segment(scene.image, prompts, grid=grid_of(scene), model=OracleModel(scene), settings=tiled(48, 8))
    assert {feature.attributes["name"] for feature in result} == {"slab", "hut"}
    told = result.report["prompts"]
    assert told["clicks_left_out"].keys() == {"nothing"}
    (refusal,) = told["refused"]
    assert refusal["prompt_id"] == "nothing"
    assert "do not fit into one window" in refusal["reason"]


def test_clicks_on_nodata_are_refused():
    scene = rectangles((60, 60), (5, 5, 15, 20), (30, 30, 50, 50))
    image = np.ma.masked_array(scene.image, np.repeat(scene.masks[1][..., None], 3, axis=2))
    prompts = Prompts(points=inner_points(scene), crs="EPSG:32633")
    result = segment(image, prompts, grid=grid_of(scene), model=OracleModel(scene), settings=tiled())
    (refusal,) = result.report["prompts"]["refused"]
    assert refusal["prompt_id"] == "points/1"
    assert "nodata" in refusal["reason"]


def test_an_output_never_replaces_what_the_run_reads(tmp_path):
    scene = rectangles((60, 60), (5, 5, 15, 20), (30, 30, 50, 50))
    raster = write_tif(tmp_path / "scene.tif", scene)
    layer = tmp_path / "layer.gpkg"
    geopandas.GeoSeries(shapely.points(inner_points(scene)).tolist(), crs="EPSG:32633").buffer(1).to_file(layer)
    before = sha(layer)
    for prompts, settings in (
        (Prompts(boxes=layer), tiled(overwrite=True)),
        (Prompts(boxes=f"{layer}|layername=layer"), tiled(overwrite=True)),
        (None, tiled(overwrite=True, aoi=layer)),
    ):
        with pytest.raises(OutputError, match=r"layer\.gpkg"):
            segment(raster, prompts, model=OracleModel(scene), output=layer, settings=settings)
    assert sha(layer) == before


def test_granularity_chooses_among_the_three_masks():
    nest = rectangles((60, 60), (5, 5, 50, 50), (10, 10, 40, 40), (20, 20, 30, 30))
    x, y = grid_of(nest).to_map(25.5, 25.5)
    prompts = Prompts(points=[(x, y)], crs="EPSG:32633")
    for granularity, mask in zip(("whole", "part", "subpart"), nest.masks, strict=True):
        settings = tiled(64, 8, granularity=granularity)
        (feature,) = segment(nest.image, prompts, grid=grid_of(nest), model=OracleModel(nest), settings=settings)
        assert feature.geometry.wkb == mask_to_polygon(Mask.from_array(mask), grid_of(nest)).wkb
    with pytest.raises(UsageError, match="--granularity all with prompts"):
        segment(nest.image, prompts, grid=grid_of(nest), model=OracleModel(nest), settings=tiled(granularity="all"))


def test_exclusive_features_share_no_pixel_and_small_ones_lie_on_top(all_seen):
    scene = rectangles((80, 80), (5, 5, 60, 70), (20, 20, 40, 40), (35, 35, 75, 75))
    areas = set()
    for tile, overlap in TILES:
        settings = tiled(tile, overlap, exclusive=True)
        shapes = [
            f.geometry for f in segment(scene.image, grid=grid_of(scene), model=OracleModel(scene), settings=settings)
        ]
        union = shapely.union_all(shapes)
        assert sum(shape.area for shape in shapes) == pytest.approx(union.area)
        areas.add(tuple(round(shape.area / abs(TURNED.determinant)) for shape in shapes))
    covered = np.logical_or.reduce(scene.masks).sum()
    assert areas == {(55 * 65 - 400 - (25 * 35 - 25), 400, 40 * 40 - 25)}
    assert sum(next(iter(areas))) == covered


def test_a_label_raster_holds_the_ids(all_seen, tmp_path):
    scene = rectangles((80, 80), (5, 5, 60, 70), (20, 20, 40, 40))
    result = segment(
        scene.image, grid=grid_of(scene), model=OracleModel(scene), output=tmp_path / "ids.tif", settings=tiled()
    )
    with rasterio.open(tmp_path / "ids.tif") as dataset:
        labels = dataset.read(1)
        assert dataset.transform.almost_equals(TURNED)
    outer, inner = scene.masks
    assert len(result) == 2
    np.testing.assert_array_equal(labels, np.where(inner, 2, np.where(outer, 1, 0)))


def test_small_objects_go_after_stitching_and_others_stay_whole_in_the_area_of_interest(all_seen):
    scene = rectangles((100, 100), (5, 5, 8, 9), (20, 2, 30, 98), (60, 60, 90, 90))
    grid = grid_of(scene)
    result = segment(scene.image, grid=grid, model=OracleModel(scene), settings=tiled(33, 8, min_area_m2=5.0))
    assert polygons(result) == expected(scene)[1:]
    aoi = on_map(grid, 50, 50, 100, 100)
    result = segment(scene.image, grid=grid, model=OracleModel(scene), settings=tiled(aoi=aoi))
    assert polygons(result) == expected(scene)[2:]
    for wrong in (shapely.box(0, 0, 1, 1), "nowhere.gpkg", 5):
        with pytest.raises(UsageError, match="--aoi: expected polygons on the raster"):
            segment(scene.image, grid=grid, model=OracleModel(scene), settings=tiled(aoi=wrong))


@pytest.mark.parametrize("seed", range(8))
def test_an_area_of_interest_spares_windows_and_changes_no_object_in_it(all_seen, seed):
    scene = random_scene(seed, height=220, width=260, disjoint=True)
    grid = grid_of(scene)
    rng = np.random.default_rng(seed)
    row, col = rng.integers(0, 200), rng.integers(0, 240)
    aoi = on_map(grid, row, col, row + 18, col + 18)
    whole, part = (
        segment(scene.image, grid=grid, model=OracleModel(scene), settings=tiled(33, 8, aoi=area))
        for area in (None, aoi)
    )
    inside = [f.geometry.wkb for f in whole if aoi.intersects(shapely.point_on_surface(f.geometry))]
    assert [f.geometry.wkb for f in part] == inside
    assert part.report["windows"] < 0.6 * whole.report["windows"]


def test_an_object_that_reaches_far_out_of_the_area_of_interest_is_seen_from_further_away(all_seen):
    scene = rectangles((240, 240), (100, 3, 130, 237), (200, 200, 230, 230))
    grid = grid_of(scene)
    aoi = on_map(grid, 110, 110, 125, 130)
    (found,) = segment(scene.image, grid=grid, model=OracleModel(scene), settings=tiled(aoi=aoi))
    truth = shapely.from_wkb(expected(scene)[0])
    assert found.geometry.intersection(truth).area / found.geometry.union(truth).area > 0.8


def test_a_run_that_was_stopped_goes_on_in_another_area_of_interest(all_seen, tmp_path):
    """What a window shows does not depend on the area, and so is not looked at again."""
    scene = random_scene(3, height=220, width=260, disjoint=True)
    grid = grid_of(scene)
    first, second = on_map(grid, 10, 10, 60, 60), on_map(grid, 30, 30, 120, 120)
    output = tmp_path / "found.geojson"

    def stop(progress):
        if progress.phase == "assembling":
            raise KeyboardInterrupt

    run = partial(segment, scene.image, grid=grid, model=OracleModel(scene))
    with pytest.raises(KeyboardInterrupt):
        run(output=output, settings=tiled(33, 8, aoi=first), progress=stop)
    there = len(list(journal_folder(output).rglob("tile-*.part")))
    seen = []
    again = run(output=output, settings=tiled(33, 8, aoi=second), progress=seen.append)
    assert seen[0].done >= 0.9 * there > 0
    assert polygons(again) == polygons(run(settings=tiled(33, 8, aoi=second)))


def test_an_object_with_too_many_vertices_is_an_error_that_names_it(all_seen):
    scene = rectangles((60, 60), (5, 5, 15, 20), (30, 30, 50, 50))
    with pytest.raises(ResourceLimitError, match=r"the object at row 5, column 5: .*--max-vertices 5"):
        segment(scene.image, grid=grid_of(scene), model=OracleModel(scene), settings=tiled(max_vertices=4))


def test_the_result_is_read_as_it_is_asked_for(all_seen, tmp_path):
    scene = random_scene(4, height=80, width=80, disjoint=True)
    with segment(scene.image, grid=grid_of(scene), model=OracleModel(scene), settings=tiled()) as result:
        table = result.to_gdf()
        assert len(result) == len(table) == len(scene.masks)
        assert table.crs == result.crs
        assert [shape.wkb for shape in table.geometry] == polygons(result)
        assert list(table.columns)[:9] == [
            "id",
            "prompt_id",
            "label",
            "score",
            "stability",
            "area_m2",
            "perimeter_m",
            "tiles",
            "model",
        ]
        assert result[0].__geo_interface__["properties"]["id"] == 1
        with pytest.raises(IndexError):
            result[len(result)]
        path = result.to_file(tmp_path / "later.geojson")
        assert path.exists()
        with pytest.raises(OutputExistsError):
            result.to_file(path)
        assert result.metadata["tile_px"] == 48
    assert "features" in repr(result)


def test_nothing_there_is_a_valid_empty_layer(tmp_path):
    empty = np.zeros((50, 50, 3), np.float32) * np.nan
    grid = Grid(width=50, height=50, transform=TURNED, crs=parse_crs("EPSG:32633"))
    model = OracleModel(rectangles((50, 50), (1, 1, 9, 9)))
    with pytest.warns(match="every pixel is nodata"):
        nothing = segment(empty, grid=grid, model=model, output=tmp_path / "none.gpkg", settings=tiled())
    assert len(nothing) == 0
    assert (tmp_path / "none.gpkg").exists()
    assert not journal_folder(tmp_path / "none.gpkg").exists()


class Mortal(OracleModel):
    """An oracle to which something happens at the n-th window."""

    def __init__(self, scene, *, at, event):
        super().__init__(scene)
        self.at, self.event, self.encoded = at, event, 0

    def encode(self, image):
        self.encoded += 1
        if self.encoded == self.at:
            self.event()
        return super().encode(image)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_fork(function):
    """Run in a forked process; its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks of processes with threads
        process = multiprocessing.get_context("fork").Process(target=function)
        process.start()
    process.join()
    return process.exitcode


@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("mode", ["everything", "prompts"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(mode, all_seen, tmp_path):
    scene = random_scene(3, height=90, width=110, disjoint=True)
    raster = write_tif(tmp_path / "scene.tif", scene)
    prompts = None if mode == "everything" else Prompts(points=inner_points(scene), crs="EPSG:32633")
    whole, killed = tmp_path / "whole" / "out.gpkg", tmp_path / "killed" / "out.gpkg"
    for path in (whole, killed):
        path.parent.mkdir()

    def run(output, model, tell=None):
        return segment(raster, prompts, model=model, output=output, settings=tiled(33, 8), progress=tell)

    calm = Mortal(scene, at=0, event=die)
    run(whole, calm)

    def die_when_assembled(progress: Progress):
        if progress.phase == "assembling":
            die()

    for at in (1, 3, 2):
        assert in_a_fork(lambda at=at: run(killed, Mortal(scene, at=at, event=die))) == -signal.SIGKILL
        assert os.listdir(killed.parent) == ["out.gpkg.samgeo"]
    assert in_a_fork(lambda: run(killed, Mortal(scene, at=0, event=die), die_when_assembled)) == -signal.SIGKILL
    last = Mortal(scene, at=0, event=die)
    run(killed, last)
    assert last.encoded == 0 < calm.encoded
    assert sha(killed) == sha(whole)
    assert os.listdir(killed.parent) == ["out.gpkg"]


def interrupt():
    raise KeyboardInterrupt


def stumble():
    raise ValueError("the model stumbled")


def test_ctrl_c_leaves_the_journal_and_other_settings_are_refused(all_seen, tmp_path):
    scene = random_scene(3, height=90, width=110, disjoint=True)
    raster, output = write_tif(tmp_path / "scene.tif", scene), tmp_path / "out.gpkg"
    with pytest.raises(KeyboardInterrupt):
        segment(raster, model=Mortal(scene, at=3, event=interrupt), output=output, settings=tiled())
    assert not output.exists()
    assert journal_folder(output).is_dir()
    with pytest.raises(UsageError, match=r"(?s)tiling.tile_px: 48 then, 40 now.*--no-resume"):
        segment(raster, model=OracleModel(scene), output=output, settings=tiled(40))
    model = Mortal(scene, at=0, event=interrupt)
    told = []
    segment(raster, model=model, output=output, settings=tiled(min_area_m2=1), progress=told.append)
    assert told[0] == Progress(phase="tiles", done=2, total=12)  # nine tiles, and three seen from further away
    assert model.encoded == 10
    with pytest.raises(OutputExistsError, match="--overwrite"):
        segment(raster, model=OracleModel(scene), output=output, settings=tiled(40))
    segment(raster, model=OracleModel(scene), output=output, settings=tiled(40, overwrite=True, resume=False))


def test_a_tile_that_keeps_failing_is_an_error_with_its_window_and_the_rest_is_kept(all_seen, tmp_path):
    scene = random_scene(3, height=90, width=110, disjoint=True)
    raster, output = write_tif(tmp_path / "scene.tif", scene), tmp_path / "out.gpkg"

    class Stubborn(OracleModel):
        def encode(self, image):
            if np.array_equal(image[:, :30], scene.image[:48, 80:]):
                stumble()
            return super().encode(image)

    with pytest.raises(
        PartialResultError, match="window of 48 x 48 px at column 80, row 0: ValueError: the model stumbled"
    ):
        segment(raster, model=Stubborn(scene), output=output, settings=tiled())
    assert not output.exists()
    told = []
    segment(raster, model=OracleModel(scene), output=output, settings=tiled(), progress=told.append)
    assert told[0] == Progress(phase="tiles", done=11, total=12)


def test_a_window_in_the_cache_is_not_encoded_again(all_seen, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    scene = random_scene(3, height=60, width=60, disjoint=True)
    settings = Settings(tile_px=48, overlap_px=8)
    counts = []
    for _ in range(2):
        model = Mortal(scene, at=0, event=die)
        result = segment(scene.image, grid=grid_of(scene), model=model, settings=settings)
        assert polygons(result) == expected(scene)
        counts.append(model.encoded)
    assert counts == [5, 0], "four windows, and one seen from further away"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"exclusive": True, "square": True}, "--exclusive with --square"),
        ({"exclusive": True, "smooth": True}, "--exclusive with --smooth"),
        ({"overlap_px": 1}, "--overlap 1"),
        ({"tile_px": 64, "overlap_px": 40}, "at most half of --tile 64"),
        ({"granularity": "roof"}, "--granularity roof"),
        ({"pred_iou_thresh": 88}, "a fraction from 0 to 1, not a percentage"),
        ({"min_area_m2": -1}, "--min-area -1"),
        ({"bands": (0, 1, 2)}, "--bands"),
        ({"resolution_m": 0}, "--resolution 0"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_by_the_name_of_the_option(wrong, message):
    with pytest.raises(UsageError, match=message):
        Settings(**wrong)


def test_workers_and_models_that_cannot_be_right():
    scene = rectangles((20, 20), (1, 1, 9, 9))
    with pytest.raises(UsageError, match="--workers 0"):
        segment(scene.image, grid=grid_of(scene), model=OracleModel(scene), workers=0)
    with pytest.raises(UsageError, match="model of type int"):
        segment(scene.image, grid=grid_of(scene), model=3)
