"""The catalogue of odd prompts, row by row (M1 to M20): each gives the right object, or is refused by its own id.

Rows that are tested with their modules: M6, M7, M10, M12, M13, M16, M17 in `test_prompts` and `test_prompt_objects`,
M14 and M15 in `test_pipeline`. M11 is in `test_many_prompts`.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner

from samgeo.cli import samgeo
from samgeo.errors import PromptError, SamgeoWarning
from samgeo.pipeline import tilejob
from samgeo.pipeline.segment import segment
from samgeo.prompts.prompts import Prompts
from samgeo.session import Session
from tests.address import HEIGHT, KINDS, TILED, WIDTH, AddressModel, covered, places, write_kind
from tests.doubles import NORTH_UP, UTM_33N, address_raster
from tests.prompting import GRID, at, click, geojson, refusals, table

SIZE = {"width": WIDTH, "height": HEIGHT, "dtype": "uint8", "photometric": "rgb"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on the address raster a.tif, with the address model in place of every model."""
    monkeypatch.setattr(tilejob, "_load", lambda address: AddressModel())
    monkeypatch.chdir(tmp_path)
    address_raster(tmp_path / "a.tif", **SIZE)

    def invoke(*arguments: object, **options: object):
        given = ["segment", "a.tif", *map(str, arguments), "--tile", "48", "--no-cache"]
        return CliRunner().invoke(samgeo, given, **options)

    return invoke


def on(col, row):
    """A place on the address raster, as text."""
    x, y = NORTH_UP @ (col, row)
    return f"{x},{y}"


def told():
    return json.loads(Path("r.json").read_text())["prompts"]


def test_m1_outside_is_told_with_the_distance_and_the_others_go_on(run):
    points = [argument for place in [on(3.5, 2.5), on(-7, 4), on(130, 4)] for argument in ("--point", place)]
    done = run("o.gpkg", *points, "--report", "r.json")
    assert done.exit_code == 10
    assert "Refused: prompt point/2: outside the raster by 7 px" in done.stderr
    assert [(one["prompt_id"], one["reason"]) for one in told()["refused"]] == [
        ("point/2", "outside the raster by 7 px"),
        ("point/3", "outside the raster by 10 px"),
    ]
    assert len(geopandas.read_file("o.gpkg")) == 1
    assert run("p.gpkg", "--point", on(130, 4)).exit_code == 4


def test_m2_the_right_and_the_lower_edge_are_outside(run):
    edges = [on(0, 0), on(WIDTH, 5), on(5, HEIGHT), on(WIDTH - 0.001, HEIGHT - 0.001)]
    done = run("o.gpkg", *[argument for place in edges for argument in ("--point", place)], "--report", "r.json")
    assert done.exit_code == 10
    assert [one["prompt_id"] for one in told()["refused"]] == ["point/2", "point/3"]
    assert [covered(Path("a.tif"), shape) for shape in geopandas.read_file("o.gpkg").geometry] == [
        [(0, 0)],
        [(HEIGHT - 1, WIDTH - 1)],
    ]


def test_m3_clicks_and_boxes_on_nodata_are_refused(run):
    with rasterio.open("a.tif", "r+") as dataset:
        mask = np.full(dataset.shape, 255, np.uint8)
        mask[20:40, 20:40] = 0
        dataset.write_mask(mask)
    points = ("--point", on(25.5, 25.5), "--point", on(5.5, 5.5))
    done = run("o.gpkg", *points, "--box", f"{on(22, 38)},{on(38, 22)}", "--report", "r.json")
    assert done.exit_code == 10, done.output
    refused = {one["prompt_id"]: one["reason"] for one in told()["refused"]}
    assert refused == {"point/1": "on nodata", "box/1": "the model found no object here"}
    assert (told()["given"], told()["accepted"]) == (3, 1)
    with Session("a.tif", model=AddressModel(), settings=TILED) as session:
        with pytest.raises(PromptError, match="no data at this place"):
            session.add_point(*NORTH_UP @ (25.5, 25.5))
        assert len(session.add_point(*NORTH_UP @ (5.5, 5.5))) == 1


def test_m4_a_wrong_crs_shows_both_extents(run):
    x, y = NORTH_UP @ (np.arange(5.5, 15), np.full(10, 5.5))
    geopandas.GeoSeries(shapely.points(x, y), crs="EPSG:32632").to_file("p.gpkg")
    done = run("o.gpkg", "--points", "p.gpkg")
    assert done.exit_code == 4
    assert "p.gpkg: 0 of 10 points lie on the raster. In the raster's CRS the prompts span" in done.stderr
    assert "and the raster 500000, 4999955, 500060, 5000000" in done.stderr
    assert "it was read as WGS 84 / UTM zone 32N" in done.stderr


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_m5_a_layer_without_a_crs_is_refused_until_it_is_stated(run):
    geopandas.GeoSeries([shapely.Point(NORTH_UP @ (3.5, 2.5))]).to_file("p.shp")
    refused = run("o.gpkg", "--points", "p.shp")
    assert refused.exit_code == 4
    assert "p.shp: no coordinate reference system" in refused.stderr
    assert "--prompt-crs EPSG:CODE" in refused.stderr
    assert run("o.gpkg", "--points", "p.shp", "--prompt-crs", "EPSG:32633").exit_code == 0
    assert run("p.gpkg", "--points", "p.shp", "--prompt-crs", "raster").exit_code == 0
    lon, lat = places(Path("a.tif"), at=(0.5, 0.5), crs="EPSG:4326")[4]
    assert run("q.gpkg", "--points", "-", input=json.dumps(geojson(lon, lat))).exit_code == 0
    assert covered(Path("a.tif"), geopandas.read_file("q.gpkg").geometry[0]) == [(17, 63)]


@pytest.mark.parametrize("rows", [[], [None, shapely.Point()]])
def test_m8_layers_with_nothing_in_them_are_errors_that_name_them(rows, run):
    geopandas.GeoDataFrame({"a": [1] * len(rows)}, geometry=rows, crs=UTM_33N).to_file("empty.gpkg", engine="pyogrio")
    done = run("o.gpkg", "--points", "empty.gpkg")
    assert done.exit_code == 4
    assert (
        "empty.gpkg: 0 features" if not rows else "0 of 2 prompts can be used: points/1: no geometry"
    ) in done.stderr
    assert ("; --prompt-crs" in done.stderr) == bool(rows)


def test_m9_odd_geometries_are_used_by_rule_or_refused_by_row():
    corners = [at(10, 10), at(30, 10), at(30, 30), at(10, 30)]
    both = shapely.GeometryCollection([shapely.Polygon(corners), shapely.Point(at(20, 40))])
    two = shapely.MultiPolygon([shapely.box(*at(50, 20), *at(60, 10)), shapely.box(*at(70, 20), *at(80, 10))])
    line, flat = shapely.LineString(corners[:3]), shapely.LineString(corners[:2])
    high = shapely.force_3d(shapely.Polygon(corners), 500.0)
    boxes = Prompts(boxes=table([{"geometry": one} for one in (both, two, line, flat, high)])).to_pixels(GRID)
    bounds = [[10, 10, 30, 40], [50, 10, 80, 20], [10, 10, 30, 30], [10, 10, 30, 30]]
    assert np.allclose(boxes.boxes + 0.5, bounds)
    assert list(refusals(boxes)) == ["boxes/3"]
    masks = Prompts(masks=table([{"geometry": one} for one in (both, two, line, high)])).to_pixels(GRID)
    assert np.allclose(masks.boxes + 0.5, [bounds[1], bounds[3]])
    assert refusals(masks) == {
        "masks/0": "a GeometryCollection; expected a polygon",
        "masks/2": "a LineString; expected a polygon",
    }


def test_m9_curves_are_drawn_as_lines(tmp_path):
    (x, y), path = at(50, 50), tmp_path / "curves.csv"
    arcs = f"{x} {y + 10},{x + 10} {y},{x} {y - 10},{x - 10} {y},{x} {y + 10}"
    path.write_text(f'id,WKT\n1,"CURVEPOLYGON(CIRCULARSTRING({arcs}))"\n')
    placed = Prompts(masks=path, crs=UTM_33N).to_pixels(GRID)
    assert shapely.area(placed.polygons[0]) == pytest.approx(np.pi * 20**2, rel=0.01)


@pytest.mark.parametrize("place", ["nan,5000000", "inf,inf", "1e300,-1e300"])
def test_m10_numbers_that_are_none_are_refused_and_the_others_go_on(place, run):
    done = run("o.gpkg", "--point", on(3.5, 2.5), "--point", place, "--report", "r.json")
    assert done.exit_code == 10, done.output
    assert [one["prompt_id"] for one in told()["refused"]] == ["point/2"]


@pytest.mark.parametrize("name", ["utm", "rotated", "polar north", "antimeridian in utm", "lon lat"])
def test_m13_a_box_from_another_crs_is_bounded_by_its_curved_edges(name, tmp_path):
    kind = KINDS[name]
    path = write_kind(tmp_path / "a.tif", kind)
    places_there = places(path, at=(0.5, 0.5), crs=kind.others[0])[:4]
    low, high = places_there.min(axis=0), places_there.max(axis=0)
    if "polar" in name or high[0] - low[0] > 180:
        low, high = places_there[0] - 1e-3, places_there[0] + 1e-3
    edge = np.linspace(0, 1, 5001)
    ring = np.concatenate(
        [
            np.stack([low[0] + edge * (high[0] - low[0]), np.full(5001, y)], axis=1) for y in (low[1], high[1])
        ] + [np.stack([np.full(5001, x), low[1] + edge * (high[1] - low[1])], axis=1) for x in (low[0], high[0])]
    )  # fmt: skip
    x, y = rasterio.warp.transform(kind.others[0], kind.crs, *ring.T.tolist())
    cols, rows = ~kind.transform @ (np.array(x), np.array(y))
    with segment(
        path, Prompts(boxes=[(*low, *high)], crs=kind.others[0]), model=AddressModel(tile_px=128),
        settings=TILED.__class__(tile_px=128, use_cache=False),
    ) as result:  # fmt: skip
        pixels = np.array(covered(path, result[0].geometry))
    span_rows = np.clip(np.rint([rows.min(), rows.max() - 1]), 0, HEIGHT - 1)
    span_cols = np.clip(np.rint([cols.min(), cols.max() - 1]), 0, WIDTH - 1)
    assert np.abs(np.array([pixels[:, 0].min(), pixels[:, 0].max()]) - span_rows).max() <= 1
    assert np.abs(np.array([pixels[:, 1].min(), pixels[:, 1].max()]) - span_cols).max() <= 1


ODD_TEXTS = [
    "e\u0301cole",
    "\u202eroof\u202c",
    "\U0001f3e0 house",
    "Robert'); DROP TABLE roofs;--",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "x" * 10_000,
]


def named(texts, places_there):
    features = [
        {"type": "Feature", "properties": {"name": text}, "geometry": {"type": "Point", "coordinates": list(place)}}
        for text, place in zip(texts, places_there, strict=True)
    ]
    return {"type": "FeatureCollection", "features": features}


def test_m18_text_is_stored_as_it_is_and_never_in_a_file_name(tmp_path):
    path = write_kind(tmp_path / "a.tif", KINDS["utm"])
    prompts = Prompts(points=named(ODD_TEXTS, places(path, at=(0.5, 0.5), crs="EPSG:4326")), object_column="name")
    for ending in ("gpkg", "geojson", "fgb", "parquet"):
        folder = tmp_path / ending
        folder.mkdir()
        segment(path, prompts, model=AddressModel(), settings=TILED, output=folder / f"o.{ending}").close()
        read = geopandas.read_parquet if ending == "parquet" else geopandas.read_file
        rows = read(folder / f"o.{ending}")
        assert sorted(rows["name"]) == sorted(ODD_TEXTS), ending
        assert sorted(rows["prompt_id"]) == sorted(["\u00e9cole", *ODD_TEXTS[1:]]), "names are compared in NFC"
        assert all(file.name.startswith("o.") for file in folder.iterdir())


def test_m18_what_no_file_can_hold_is_replaced_and_said(tmp_path):
    path = write_kind(tmp_path / "a.tif", KINDS["utm"])
    texts = ["a\x00b", "\ud800", "fine"]
    layer = named(texts, places(path, at=(0.5, 0.5), crs="EPSG:4326")[:3])
    with pytest.warns(SamgeoWarning, match="2 texts hold characters that no file can"):
        prompts = Prompts(points=layer, object_column="name")
    segment(path, prompts, model=AddressModel(), settings=TILED, output=tmp_path / "o.gpkg").close()
    assert geopandas.read_file(tmp_path / "o.gpkg")["name"].tolist() == ["a\ufffdb", "\ufffd", "fine"]


def test_m19_names_that_clash_get_a_prefix_and_the_report_says_so(run):
    columns = {"score": [7.0], "ID": [3], "label": ["roof"], "geom": ["x"], "height": [2.5]}
    table_of = geopandas.GeoDataFrame(columns, geometry=[shapely.Point(NORTH_UP @ (3.5, 2.5))], crs=UTM_33N)
    table_of.to_file("p.geojson")
    done = run("o.gpkg", "--points", "p.geojson", "--report", "r.json")
    assert done.exit_code == 0, done.output
    assert told()["renamed_columns"] == {
        "score": "prompt_score", "ID": "prompt_ID_2", "label": "prompt_label", "geom": "prompt_geom",
    }  # fmt: skip
    row = geopandas.read_file("o.gpkg").iloc[0]
    assert (row["prompt_score"], row["prompt_ID_2"], row["prompt_label"], row["height"]) == (7.0, 3, "roof", 2.5)
    assert row["score"] == 1.0


WRITER = """
import sqlite3, sys, time
busy = sqlite3.connect(sys.argv[1])
busy.execute("PRAGMA journal_mode=WAL")
busy.execute("UPDATE p SET name = 'new'")
busy.commit()
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_m20_a_geopackage_with_changes_in_its_log_is_read_with_them_and_left_alone(killed, tmp_path):
    path = tmp_path / "p.gpkg"
    table([click(5, 5, name="old")]).to_file(path, layer="p")
    # The index on geometries asks for functions that only GDAL's SQLite has.
    with closing(sqlite3.connect(path)) as plain, plain:
        for (trigger,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            plain.execute(f'DROP TRIGGER "{trigger}"')
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"written\n"
        if killed:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        files = [path, Path(f"{path}-wal")]
        before = [file.read_bytes() for file in files]
        placed = Prompts(points=path).to_pixels(GRID)
        assert placed.values["name"].tolist() == ["new"]
        assert [file.read_bytes() for file in files] == before
        if not killed:
            writer.kill()


def test_m20_a_read_only_geopackage_is_read(tmp_path):
    folder = tmp_path / "safe"
    folder.mkdir()
    table([click(5, 5)]).to_file(folder / "p.gpkg")
    (folder / "p.gpkg").chmod(0o444)
    folder.chmod(0o555)
    try:
        assert len(Prompts(points=folder / "p.gpkg").to_pixels(GRID)) == 1
        assert os.listdir(folder) == ["p.gpkg"]
    finally:
        folder.chmod(0o755)
