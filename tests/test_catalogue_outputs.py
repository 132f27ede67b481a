"""The catalogue of outputs, row by row (O1 to O18): what is in a file is what was found, or there is no file.

Short disks, kills and locks (O4, O5, O6) are in `test_faults`, `test_vector_faults` and `test_commit`; outlines that
are simplified together (O11) in `test_coverage`; a million features (O13) in `test_many_features`.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import fiona
import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize, shapes

from samgeo.cli import samgeo
from samgeo.errors import OutputError
from samgeo.grid import Grid, parse_crs
from samgeo.output.vector import FeatureWriter, check_size
from samgeo.pipeline import tilejob
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon, pixel_polygons
from tests.features import ENDINGS, HOLED, PAIR, UTM, digests, names, read, small, write
from tests.runs import SCENE, SlowOracle, every_piece, write_scene

OUTPUTS = [*ENDINGS, ".tif"]
GRIDS = {
    "1 cm, far north": Grid(
        width=64, height=64, transform=Affine(0.01, 0, 499_999.99, 0, -0.01, 9_328_000.37), crs=parse_crs(32633)
    ),
    "1 cm in degrees": Grid(
        width=64, height=64, transform=Affine(9e-8, 0, 13.4012345, 0, -9e-8, 52.5163), crs=parse_crs(4326)
    ),
    "turned, 10 cm": Grid(
        width=64,
        height=64,
        transform=Affine.translation(4e5, 5e6) @ Affine.rotation(31) @ Affine.scale(0.1, -0.1),
        crs=parse_crs(32633),
    ),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on a scene of seven objects, with the oracle in place of every model."""
    monkeypatch.setattr(tilejob, "_load", lambda address: SlowOracle())
    monkeypatch.setattr(tilejob, "generate_masks", every_piece)
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "scene.tif")

    def invoke(output: object, *arguments: object):
        arguments = ["segment", "scene.tif", output, "--tile", "48", "--overlap", "8", "--no-cache", *arguments]
        return CliRunner().invoke(samgeo, [str(argument) for argument in arguments])

    return invoke


def layer_of(path: Path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)


@pytest.mark.parametrize("ending", OUTPUTS)
def test_o1_an_output_that_is_there_stays_unless_overwrite(run, tmp_path, ending):
    output = Path(f"out{ending}")
    assert run(output).exit_code == 0
    before = digests(tmp_path)
    refused = run(output)
    assert refused.exit_code == 6
    assert f"out{ending}" in refused.output
    assert "--overwrite" in refused.output
    assert digests(tmp_path) == before
    assert run(output, "--overwrite", "--min-area", "200").exit_code == 0
    assert digests(tmp_path)[output.name] != before[output.name]


def test_o2_a_geopackage_with_other_layers_is_not_replaced(run, tmp_path):
    """Layers are never appended either: the file is this run's alone. A style is no layer."""
    assert run("out.gpkg", "--layer", "roofs").exit_code == 0
    assert run("out.gpkg", "--layer", "roofs 2", "--overwrite").exit_code == 0
    assert fiona.listlayers("out.gpkg") == ["roofs 2", "layer_styles"]
    layer_of(Path("out.gpkg")).to_file("out.gpkg", layer="streets", driver="GPKG")
    before = digests(tmp_path)
    refused = run("out.gpkg", "--overwrite")
    assert refused.exit_code == 6
    assert "2 layers (roofs 2, streets)" in refused.output
    assert "another name" in refused.output
    assert digests(tmp_path) == before


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("missing/out.gpkg", "mkdir"),
        ("scene.tif", "is the input"),
        ("folder.gpkg", "a folder"),
        ("file/out.gpkg", "no folder"),
    ],
)
def test_o3_what_cannot_be_written_is_refused_before_computing(run, tmp_path, monkeypatch, output, told):
    (tmp_path / "folder.gpkg").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(SlowOracle, "encode", lambda *_: pytest.fail("computed"))
    refused = run(output, "--overwrite")
    assert refused.exit_code == 6
    assert output in refused.output
    assert told in refused.output


def test_o4_room_on_the_disk_is_estimated_first_and_both_numbers_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**6))
    with pytest.raises(OutputError, match=r"take about 16[0-9] MB, and the disk has 1 MB free. Fix: make room"):
        check_size(tmp_path / "out.gpkg", features=1000, vertices=10**7, columns={"id": "int"})


@pytest.mark.parametrize("ending", ENDINGS)
def test_o8_no_attribute_changes_and_names_are_unique(tmp_path, ending):
    """Names that are equal in their first ten letters, long texts, dates: kept, listed, or refused."""
    columns = {"predicted_iou": "float", "predicted_iou_raw": "float", "when": "datetime", "remark": "str"}
    values = {"predicted_iou": 0.1, "predicted_iou_raw": 0.2, "when": "2024-02-03T04:05:06", "remark": "x" * 254}
    with FeatureWriter(tmp_path / f"out{ending}", crs_wkt=UTM, columns=columns) as writer:
        writer.write(HOLED, values)
        fields = {field.column: field.name for field in writer.columns.fields}
    row = read(tmp_path / f"out{ending}").iloc[0]
    assert len({name.casefold() for name in fields.values()}) == 4
    assert (row[fields["predicted_iou"]], row[fields["predicted_iou_raw"]]) == (0.1, 0.2)
    assert str(row[fields["when"]]).replace(" ", "T").startswith(values["when"])
    assert row[fields["remark"]] == values["remark"]
    if ending == ".shp":
        assert all(len(name) <= 10 for name in fields.values())
        assert json.loads((tmp_path / "out.shp.json").read_text())["columns"] == fields
        too_long = FeatureWriter(tmp_path / "long.shp", crs_wkt=UTM, columns=columns)
        with pytest.raises(OutputError, match=r"255 bytes.*Fix: write \.gpkg"), too_long as writer:
            writer.write(HOLED, {"remark": "x" * 255})


@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))), st.sampled_from(list(GRIDS)))
def test_o9_o10_o12_outlines_on_the_map_are_valid_and_exact(array, where):
    """Holes, islands in holes, corners that touch: on any grid the outline is valid and has the area of its pixels."""
    grid, outline = GRIDS[where], pixel_polygons(Mask.from_array(array))
    if shapely.is_empty(outline):
        return
    polygon = mask_to_polygon(Mask.from_array(array), grid)
    assert shapely.is_valid(polygon)
    assert polygon.area == pytest.approx(np.count_nonzero(array) * abs(grid.transform.determinant), rel=1e-4)
    assert np.array_equal(rasterize([outline], array.shape, dtype="uint8").astype(bool), array)
    # The same set of polygons as GDAL's own polygonizing gives.
    image = array.astype(np.uint8)
    theirs = [shapely.geometry.shape(shape) for shape, _ in shapes(image, mask=array, connectivity=4)]
    assert sorted(shapely.to_wkb(shapely.normalize(theirs))) == sorted(
        shapely.to_wkb(shapely.normalize(shapely.get_parts(outline)))
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_o9_o12_o14_what_a_run_wrote_is_valid_of_one_type_and_has_the_area_of_the_masks(run, ending):
    assert run(f"out{ending}").exit_code == 0
    found = layer_of(Path(f"out{ending}"))
    assert found.geometry.is_valid.all()
    assert not found.geometry.is_empty.any()
    planar = found.to_crs(32633) if ending == ".geojson" else found
    pixels = [np.count_nonzero(mask) for mask in SCENE.masks]
    assert sorted(planar.area.round(3)) == sorted(pixels)
    if ending != ".parquet":
        with fiona.open(f"out{ending}") as collection:
            kinds = {feature.geometry.type for feature in collection}
            declared = collection.schema["geometry"]
        # A Shapefile has one type for both; GDAL calls a shape with one ring a polygon.
        assert kinds <= {"Polygon", "MultiPolygon"} if ending == ".shp" else kinds == {"MultiPolygon"} == {declared}


@pytest.mark.parametrize("ending", ENDINGS)
def test_o14_polygons_multipolygons_and_no_empties(tmp_path, ending):
    path = write(tmp_path / f"out{ending}", [HOLED, PAIR, *small(3)])
    assert [len(shapely.get_parts(geometry)) for geometry in read(path).geometry][:2] in ([1, 2], [2, 1], [1, 1])
    assert sorted(len(shapely.get_parts(geometry)) for geometry in read(path).geometry) == [1, 1, 1, 1, 2]
    with pytest.raises(OutputError, match="empty geometry"):
        write(tmp_path / f"empty{ending}", [shapely.MultiPolygon()])


@pytest.mark.parametrize("ending", OUTPUTS)
def test_o15_nothing_found_is_a_valid_empty_layer(run, ending):
    """With the columns and the CRS of a full one."""
    assert run(f"full{ending}").exit_code == 0
    assert run(f"none{ending}", "--min-area", "1000000").exit_code == 0
    if ending == ".tif":
        with rasterio.open("none.tif") as dataset:
            assert not dataset.read(1).any()
            assert dataset.crs.to_epsg() == 32633
        return
    full, none = layer_of(Path(f"full{ending}")), layer_of(Path(f"none{ending}"))
    assert len(none) == 0
    if ending != ".geojson":  # which declares neither
        assert none.crs == full.crs
        assert list(none.columns) == list(full.columns)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("where", GRIDS)
def test_o16_coordinates_come_back_to_the_pixel_grid(tmp_path, ending, where):
    """Within a millionth of a pixel; GeoJSON's 11 decimals of a degree are a micrometre, so within a thousandth."""
    grid = GRIDS[where]
    outline = pixel_polygons(Mask.from_array(np.random.default_rng(1).random((64, 64)) < 0.5))
    polygon = mask_to_polygon(Mask.from_array(np.random.default_rng(1).random((64, 64)) < 0.5), grid)
    with FeatureWriter(tmp_path / f"out{ending}", crs_wkt=grid.crs_wkt, columns={"id": "int"}) as writer:
        writer.write(polygon, {"id": 1})
    found = read(tmp_path / f"out{ending}").to_crs(grid.crs_wkt).geometry[0]
    xy = shapely.get_coordinates(found)
    back = np.stack(grid.to_pixel(xy[:, 0], xy[:, 1]), axis=1)
    tolerance = 1e-3 if ending == ".geojson" else 1e-6
    assert len(back) == shapely.get_num_coordinates(outline)
    assert np.abs(back - np.rint(back)).max() < tolerance


def test_o17_no_journal_is_left_and_none_is_needed_to_read(run, tmp_path, monkeypatch):
    """Also where the user's environment asks GDAL for a write-ahead log."""
    monkeypatch.setenv("OGR_SQLITE_JOURNAL", "WAL")
    assert run("out.gpkg").exit_code == 0
    assert names(tmp_path) == ["out.gpkg", "scene.tif"]
    with closing(sqlite3.connect("file:out.gpkg?mode=ro&immutable=1", uri=True)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    header = Path("out.gpkg").read_bytes()[:20]
    assert (header[18], header[19]) == (1, 1)  # rollback journal for reading and writing; 2 is a write-ahead log


def test_o18_polygons_across_the_antimeridian_are_split_in_geojson(tmp_path):
    grid = Grid(width=100, height=100, transform=Affine(10, 0, 441_500, 0, -10, 7_000_000), crs=parse_crs(32601))
    wide = Grid(width=100, height=100, transform=Affine(0.01, 0, 179.5, 0, -0.01, 10), crs=parse_crs(4326))
    for number, on in enumerate((grid, wide)):
        polygon = mask_to_polygon(Mask.from_array(np.ones((100, 100), bool)), on)
        if on is grid:
            polygon = shapely.affinity.translate(polygon, xoff=-300_000)
        with FeatureWriter(tmp_path / f"{number}.geojson", crs_wkt=on.crs_wkt, columns={"id": "int"}) as writer:
            writer.write(polygon, {"id": 1})
    (found,) = read(tmp_path / "1.geojson").geometry
    assert sorted(part.bounds[::2] for part in found.geoms) == [(-180, -179.5), (179.5, 180)]
    assert found.area == pytest.approx(1, rel=1e-9)


def test_a_run_records_what_it_did_in_every_format(run, tmp_path):
    """Raster, stretch, tiling, model and its hash, precision, version."""
    wanted = {"raster", "stretch", "tile_px", "overlap_px", "model", "model_sha256", "precision", "samgeo"}
    for ending in OUTPUTS:
        path = tmp_path / f"out{ending}"
        assert run(path.name).exit_code == 0
        if ending == ".gpkg":
            with fiona.open(path) as collection:
                found = collection.tags()
            with closing(sqlite3.connect(path)) as database:
                assert database.execute("SELECT count(*) FROM gpkg_metadata").fetchone() == (1,)
        elif ending == ".parquet":
            import pyarrow.parquet

            found = json.loads(pyarrow.parquet.read_schema(path).metadata[b"samgeo"])
        elif ending == ".tif":
            with rasterio.open(path) as dataset:
                found = dataset.tags()
        else:
            found = json.loads((tmp_path / f"out{ending}.json").read_text())["metadata"]
        assert wanted <= set(found), ending
        assert len(found["model_sha256"]) == 64
        assert "scene.tif" in found["raster"]
        stretch = found["stretch"]
        assert isinstance(json.loads(stretch) if isinstance(stretch, str) else stretch, (dict, list))
