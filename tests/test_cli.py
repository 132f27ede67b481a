"""The command from outside: options reach the library, errors become exit codes, signals end a run in order."""

import errno
import json
import os
import subprocess
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import click
import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner

from samgeo.cli import samgeo
from samgeo.cli.progress import Bars, JsonLines
from samgeo.errors import RasterError, SamgeoError, SamgeoWarning
from samgeo.model import weights
from samgeo.pipeline import tilejob
from samgeo.pipeline.segment import Progress
from tests.oracle import OracleModel
from tests.scenes import random_scene

ROOT = Path(__file__).resolve().parent.parent
WEST, NORTH = 500_000.0, 5_538_000.0
SEED, SIDE = 3, 96


def write_raster(path):
    """A scene of the oracle at one metre a pixel; returns it."""
    scene = random_scene(SEED, height=SIDE, width=SIDE, disjoint=True)
    profile = {"driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "photometric": "rgb"}
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(WEST, NORTH, 1, 1)}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(np.moveaxis(scene.image, -1, 0))
    return scene


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A raster of the oracle at tmp_path/scene.tif, the oracle in place of every model, and a cache of its own."""
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    made = write_raster(tmp_path / "scene.tif")
    monkeypatch.setattr(tilejob, "_load", lambda address: OracleModel(made))
    monkeypatch.chdir(tmp_path)
    return made


def run(*arguments, **options):
    return CliRunner().invoke(samgeo, [str(argument) for argument in arguments], **options)


def inside(mask):
    """Map coordinates of the centre of a pixel on the mask."""
    row, col = np.argwhere(mask)[len(np.argwhere(mask)) // 2]
    return WEST + col + 0.5, NORTH - row - 0.5


def box_of(mask):
    rows, cols = np.nonzero(mask)
    return WEST + cols.min(), NORTH - rows.max() - 1, WEST + cols.max() + 1, NORTH - rows.min()


def comma(values):
    return ",".join(str(value) for value in values)


def test_everything(scene):
    done = run("segment", "scene.tif", "all.gpkg", "--granularity", "best")
    assert done.exit_code == 0, done.output
    found = geopandas.read_file("all.gpkg")
    assert found.crs == "EPSG:32633"
    assert len(found) > 0
    assert f"{len(found)} features in all.gpkg" in done.stderr
    assert not Path("all.gpkg.samgeo").exists()


def test_a_click_in_another_crs_gives_the_object_under_it(scene):
    mask = max(scene.masks, key=np.sum)
    point = geopandas.GeoSeries([shapely.Point(inside(mask))], crs="EPSG:32633").to_crs(4326)[0]
    done = run("segment", "scene.tif", "one.geojson", "--point", comma((point.x, point.y)), "--prompt-crs", "EPSG:4326")
    assert done.exit_code == 0, done.output
    [geometry] = geopandas.read_file("one.geojson").to_crs(32633).geometry
    assert geometry.area == pytest.approx(mask.sum(), rel=1e-3)


def test_boxes_from_a_file_keep_their_columns(scene):
    boxes = geopandas.GeoDataFrame(
        {"owner": [f"owner {k}" for k in range(len(scene.masks))]},
        geometry=[shapely.box(*box_of(mask)) for mask in scene.masks],
        crs="EPSG:32633",
    )
    boxes.to_crs(3857).to_file("boxes.gpkg")
    done = run("segment", "scene.tif", "out.fgb", "--boxes", "boxes.gpkg", "--report", "report.json", "--layer", "mine")
    assert done.exit_code == 0, done.output
    assert set(geopandas.read_file("out.fgb")["owner"]) == set(boxes["owner"])
    assert json.loads(Path("report.json").read_text())["features"] == len(boxes)


def test_points_from_stdin(scene):
    places = geopandas.GeoSeries([shapely.Point(inside(mask)) for mask in scene.masks[:2]], crs="EPSG:32633")
    done = run("segment", "scene.tif", "o.gpkg", "--points", "-", input=places.to_crs(4326).to_json())
    assert done.exit_code == 0, done.output
    assert len(geopandas.read_file("o.gpkg")) == 2


def test_a_refused_prompt_is_named_and_the_exit_code_says_partly(scene):
    points = [*("--point", comma(inside(scene.masks[0]))), *("--point", f"{WEST - 50},{NORTH - 10}")]
    done = run("segment", "scene.tif", "o.gpkg", *points, "--report", "r.json")
    assert done.exit_code == 10, done.output
    assert len(geopandas.read_file("o.gpkg")) == 1
    [refusal] = json.loads(Path("r.json").read_text())["prompts"]["refused"]
    assert f"Refused: prompt {refusal['prompt_id']}: " in done.stderr


def test_dry_run_writes_nothing(scene):
    before = sorted(Path.cwd().rglob("*"))
    done = run("segment", "scene.tif", "o.gpkg", "--point", comma(inside(scene.masks[0])), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "96 x 96 px of 1 x 1 m" in done.stdout
    assert "1 given, 0 refused, 1 objects" in done.stdout
    assert sorted(Path.cwd().rglob("*")) == before


def test_dry_run_counts_the_tiles_near_the_area_of_interest(scene):
    corner = shapely.box(WEST, NORTH - 5, WEST + 5, NORTH)
    geopandas.GeoSeries([corner], crs="EPSG:32633").to_file("aoi.gpkg")
    for options, tiles in (([], 25), (["--aoi", "aoi.gpkg"], 4)):
        done = run("segment", "scene.tif", "o.gpkg", *options, "--tile", "32", "--overlap", "14", "--dry-run")
        assert done.exit_code == 0, done.output
        assert f"tiles    {tiles} of 32 px" in done.stdout


def test_dry_run_refuses_what_the_run_would_refuse(scene):
    point = ("--point", comma(inside(scene.masks[0])))
    for wrong, message in (
        (("--aoi", "nowhere.gpkg"), "--aoi"),
        ((*point, "--granularity", "all"), "--granularity all"),
    ):
        done = run("segment", "scene.tif", "o.gpkg", *wrong, "--dry-run")
        assert done.exit_code == 2, done.output
        assert message in done.stderr


def test_an_output_that_is_there_stays_without_overwrite(scene):
    Path("o.gpkg").write_bytes(b"precious")
    done = run("segment", "scene.tif", "o.gpkg")
    assert done.exit_code == 6
    assert "--overwrite" in done.stderr
    assert Path("o.gpkg").read_bytes() == b"precious"
    assert run("segment", "scene.tif", "o.gpkg", "--overwrite", "--granularity", "best").exit_code == 0
    assert len(geopandas.read_file("o.gpkg")) > 0


@pytest.mark.parametrize(
    ("report", "exit_code"), [("scene.tif", 6), ("boxes.geojson", 6), ("area.geojson", 6), ("o.shp", 2), ("o.dbf", 2)]
)
def test_a_report_replaces_neither_input_nor_output(scene, report, exit_code):
    layer = geopandas.GeoSeries([shapely.box(*box_of(scene.masks[0]))], crs="EPSG:32633")
    for name in ("boxes.geojson", "area.geojson"):
        layer.to_crs(4326).to_file(name)
    before = {path: path.read_bytes() for path in Path.cwd().iterdir() if path.is_file()}
    given = ["--boxes", "boxes.geojson", "--aoi", "area.geojson", "--report", report]
    done = run("segment", "scene.tif", "o.shp", *given)
    assert done.exit_code == exit_code, done.output
    assert report in done.stderr
    assert {path: path.read_bytes() for path in Path.cwd().iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["segment", "scene.tif", "o.gpkg", "--tile", "2"], 2, "--tile 2"),
        (["segment", "scene.tif", "o.gpkg", "--point", "1"], 2, "X,Y"),
        (["segment", "scene.tif", "o.gpkg", "--exclusive", "--square"], 2, "--exclusive with --square"),
        (["segment", "scene.tif", "o.gpkg", "--no-such-option"], 2, "No such option"),
        (["encode", "scene.tif", "--aoi", "area.gpkg"], 2, "No such option"),
        (["segment", "missing.tif", "o.gpkg"], 3, "missing.tif"),
        (["segment", "scene.tif", "o.gpkg", "--points", "missing.gpkg"], 4, "missing.gpkg"),
        (["segment", "scene.tif", "missing/o.gpkg"], 6, "missing"),
        (["models", "info", "samgeo-nan"], 5, "did you mean samgeo-nano"),
        (["evaluate", "missing.gpkg", "missing.gpkg"], 2, "missing.gpkg: cannot read"),
    ],
)
def test_bad_input_has_one_clear_message_and_its_exit_code(scene, arguments, exit_code, message):
    done = run(*arguments)
    assert done.exit_code == exit_code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "none.tif", "out.gpkg"],
        ["encode", "none.tif"],
        ["train", "labels.gpkg", "none.tif", "-o", "mine.safetensors"],
    ],
)
def test_a_raster_that_is_not_there_is_said_before_any_weights_come(scene, monkeypatch, command):
    monkeypatch.setattr(weights, "fetched", lambda *_: pytest.fail("tried to fetch"))
    told = run(*command, "--model", "sam-vit-h")
    assert "none.tif: cannot be found" in told.stderr
    assert told.exit_code == RasterError.exit_code


def test_weights_on_their_way_are_a_phase_of_any_run(scene, monkeypatch):
    monkeypatch.setattr(weights, "have_weights", lambda name, report: report(1, 2))
    for command in (["segment", "scene.tif", "out.gpkg"], ["encode", "scene.tif"]):
        told = run(*command, "--progress", "json")
        assert told.exit_code == 0
        first = json.loads(told.stderr.splitlines()[0])
        assert (first["phase"], first["done"], first["total"]) == ("fetching", 1, 2)


def test_debug_shows_where(scene):
    done = run("segment", "missing.tif", "o.gpkg", "--debug")
    assert isinstance(done.exception, SamgeoError)


def test_a_fault_of_ours_says_so_and_asks_for_a_report(scene, monkeypatch):
    def fail(address):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(tilejob, "_load", fail)
    done = run("segment", "scene.tif", "o.gpkg")
    assert done.exit_code == 1
    assert "a fault of samgeo: ZeroDivisionError: oops" in done.stderr
    assert "--debug" in done.stderr


def test_warnings_are_lines(scene, monkeypatch):
    def warn(address):
        warnings.warn("look out", SamgeoWarning, stacklevel=1)
        return OracleModel(scene)

    monkeypatch.setattr(tilejob, "_load", warn)
    done = run("segment", "scene.tif", "o.gpkg", "--granularity", "best")
    assert "Warning: look out\n" in done.stderr


def test_progress_as_json_lines(scene):
    done = run("segment", "scene.tif", "o.gpkg", "--progress", "json", "--granularity", "best")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    tiles = [line for line in lines if line["phase"] == "tiles"]
    assert tiles[0]["done"] == 0
    assert tiles[-1]["done"] == tiles[-1]["total"] > 1


def test_json_lines_are_few_and_the_last_is_there(capsys):
    report = JsonLines()
    for done in range(1001):
        report(Progress(phase="tiles", done=done, total=1000))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 100
    assert json.loads(lines[-1])["done"] == 1000


def test_the_bar_shows_tiles_speed_and_time_left(capsys):
    bars = Bars()
    for done in range(3):
        bars(Progress(phase="tiles", done=done, total=2, pixels=done * 1_000_000))
    bars(Progress(phase="writing", done=5, total=5))
    bars.close()
    text = capsys.readouterr().err
    assert "tiles: 100%" in text
    assert "2/2" in text
    assert "Mpx/s" in text
    assert "writing: 100%" in text


def test_encode_ahead_fills_the_cache(scene, tmp_path):
    done = run("encode", "scene.tif")
    assert done.exit_code == 0, done.output
    assert "windows" in done.stdout
    assert list((tmp_path / "cache").rglob("*.emb"))


def test_no_cache_keeps_nothing(scene, tmp_path):
    assert run("segment", "scene.tif", "o.gpkg", "--no-cache").exit_code == 0
    assert not list(tmp_path.rglob("*.emb"))
    assert run("segment", "scene.tif", "p.gpkg").exit_code == 0
    assert list(tmp_path.rglob("*.emb"))


def test_models():
    assert "samgeo-nano" in run("models").stdout
    assert run("models").stdout == run("models", "list").stdout
    assert "licence" in run("models", "info", "samgeo-nano").stdout


def test_evaluate(scene):
    run("segment", "scene.tif", "o.gpkg", "--granularity", "best")
    assert "mean IoU            1.000" in run("evaluate", "o.gpkg", "o.gpkg").stdout
    figures = json.loads(run("evaluate", "o.gpkg", "o.gpkg", "--json").stdout)
    assert figures["boundary_f"] == 1
    by_model = run("evaluate", "o.gpkg", "o.gpkg", "--by", "model").stdout.splitlines()[-1]
    assert by_model.endswith("1.000   1.000  1.000     1.000")
    refused = run("evaluate", "o.gpkg", "o.gpkg", "--score-column", "certainty")
    assert refused.exit_code == 2
    assert "--score-column certainty: no such column in the predictions; found " in refused.stderr


def test_doctor():
    done = run("doctor")
    assert "GDAL" in done.stdout
    assert json.loads(run("doctor", "--json").stdout)[0]["subject"] == "samgeo"


@pytest.mark.parametrize("command", ["", *samgeo.commands])
def test_help_reads_well(command):
    done = run(*command.split(), "--help", terminal_width=100)
    assert done.exit_code == 0
    assert all(len(line) <= 100 for line in done.output.splitlines())
    assert "\\b" not in done.output


def test_every_option_is_explained():
    for command in samgeo.commands.values():
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (command.name, parameter.name)


def test_it_is_a_plugin_of_rio():
    found = [entry for entry in entry_points(group="rasterio.rio_plugins") if entry.name == "samgeo"]
    if not found:
        pytest.skip("samgeo is not installed in this environment, only on its path")
    assert found[0].load() is samgeo


SLOW_RUN = """
import time
import samgeo.pipeline.tilejob
from samgeo.cli import main
from tests.oracle import OracleModel
from tests.scenes import random_scene

class Slow(OracleModel):
    def encode(self, image):
        time.sleep({pause})
        return super().encode(image)

samgeo.pipeline.tilejob._load = lambda address: Slow(random_scene({seed}, height={side}, width={side}, disjoint=True))
main()
"""


def slow_run(folder, pause):
    """`samgeo segment` in a process of its own, with a pause before each encoding."""
    code = SLOW_RUN.format(pause=pause, seed=SEED, side=SIDE)
    arguments = ["segment", folder / "scene.tif", folder / "o.gpkg", "--granularity", "best", "--progress", "json"]
    environment = os.environ | {"SAMGEO_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_run_outlives_those_who_listen(tmp_path):
    write_raster(tmp_path / "scene.tif")
    process = slow_run(tmp_path, pause=0.2)
    process.stderr.readline()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "o.gpkg").exists()


def test_a_broken_pipe_is_no_success(scene, monkeypatch):
    def fail(address):
        raise BrokenPipeError(errno.EPIPE, "nobody there")

    monkeypatch.setattr(tilejob, "_load", fail)
    assert run("segment", "scene.tif", "o.gpkg").exit_code == 1
    assert not Path("o.gpkg").exists()
