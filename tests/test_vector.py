"""FeatureWriter: what is read back is what was written, in the same bytes twice."""

import hashlib
import json
import sqlite3
import sys
import time
from contextlib import closing

import fiona
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import CRS

from samgeo.errors import OutputError, OutputExistsError, UsageError
from samgeo.output.columns import Columns
from samgeo.output.vector import FeatureWriter, check_size, probe_output
from tests.features import (
    COLUMNS,
    ENDINGS,
    HOLED,
    METADATA,
    PAIR,
    UTM,
    digests,
    expected_files,
    names,
    properties,
    read,
    small,
    write,
)


@pytest.mark.parametrize("ending", ENDINGS)
class TestEveryFormat:
    def test_round_trip(self, tmp_path, ending):
        given = [HOLED, PAIR, *small(7)]
        path = write(tmp_path / f"out{ending}", given)
        assert names(tmp_path) == expected_files(ending)
        found = read(path).sort_values(read(path).columns[0], na_position="last", kind="stable")
        found = found.to_crs(UTM) if ending == ".geojson" else found
        assert found.crs == CRS.from_wkt(UTM)
        order = [index for index in range(9) if (index + 1) % 7] + [6]
        for geometry, index in zip(found.geometry, order, strict=True):
            np.testing.assert_allclose(geometry.bounds, given[index].bounds, rtol=0, atol=1e-5)
            assert geometry.area == pytest.approx(given[index].area, abs=1e-3)
        columns = Columns.for_format(COLUMNS, ending)
        for field in columns.fields:
            for value, index in zip(found[field.name], order, strict=True):
                wanted = properties(index + 1)[field.column]
                if wanted is None:
                    assert pd.isna(value)
                else:
                    assert value == pytest.approx(wanted, rel=1e-14) if isinstance(wanted, float) else value == wanted

    def test_no_features(self, tmp_path, ending):
        found = read(write(tmp_path / f"out{ending}", []))
        assert len(found) == 0
        assert names(tmp_path) == expected_files(ending)
        if ending != ".geojson":  # which declares neither
            assert found.crs == CRS.from_wkt(UTM)
            assert set(found.columns) == {f.name for f in Columns.for_format(COLUMNS, ending).fields} | {"geometry"}

    def test_the_same_bytes_twice(self, tmp_path, ending):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(tmp_path / name / f"out{ending}", small(300))
            time.sleep(0.01)
        assert digests(tmp_path / "a") == digests(tmp_path / "b")

    def test_the_same_bytes_whatever_the_user_has_set(self, tmp_path, ending, monkeypatch):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(tmp_path / name / f"out{ending}", small(20))
            monkeypatch.setenv("OGR_CURRENT_DATE", "2020-01-01T00:00:00Z")
            monkeypatch.setenv("OGR_SQLITE_JOURNAL", "WAL")
            monkeypatch.setenv("OGR_GPKG_MAX_RAM_USAGE_RTREE", "1")
            monkeypatch.setenv("SHAPE_ENCODING", "LATIN1")
            monkeypatch.setenv("TZ", "Asia/Tokyo")
        assert digests(tmp_path / "a") == digests(tmp_path / "b")

    def test_existing_output(self, tmp_path, ending):
        path = write(tmp_path / f"out{ending}", small(3))
        before = digests(tmp_path)
        with pytest.raises(OutputExistsError, match="--overwrite"):
            write(path, small(4))
        assert digests(tmp_path) == before
        assert len(read(write(path, small(4), overwrite=True))) == 4

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_an_error_leaves_the_old_file(self, tmp_path, ending, error):
        path = write(tmp_path / f"out{ending}", small(3))
        before = digests(tmp_path)

        def broken():
            yield from small(2500)
            raise error

        with pytest.raises(error):
            write(path, broken(), overwrite=True)
        assert digests(tmp_path) == before

    def test_metadata(self, tmp_path, ending):
        path = write(tmp_path / f"out{ending}", [HOLED])
        if ending == ".gpkg":
            with fiona.open(path) as collection:
                found = collection.tags()
        elif ending == ".parquet":
            import pyarrow.parquet

            found = json.loads(pyarrow.parquet.read_schema(path).metadata[b"samgeo"])
        else:
            sidecar = json.loads((tmp_path / f"out{ending}.json").read_text())
            assert sidecar["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert sidecar["columns"]["perimeter_m"] == ("perim_m" if ending == ".shp" else "perimeter_m")
            assert sidecar["metadata"] == METADATA
            return
        assert found["model"] == METADATA["model"]
        assert found["Größe"] == METADATA["Größe"]
        assert json.loads(found["stretch"]) == METADATA["stretch"]

    def test_without_metadata(self, tmp_path, ending):
        write(tmp_path / f"out{ending}", [HOLED], metadata=None)
        assert (f"out{ending}.json" in names(tmp_path)) == (ending == ".shp")  # where a column had to be renamed

    @pytest.mark.parametrize(
        ("geometry", "message"),
        [
            (shapely.Point(1, 2), "Point; expected a Polygon"),
            (None, "NoneType; expected a Polygon"),
            (shapely.Polygon(), "empty geometry"),
            (shapely.MultiPolygon(), "empty geometry"),
            (shapely.Polygon([(0, 0), (np.inf, 0), (1, 1)]), "not finite"),
        ],
    )
    def test_no_area(self, tmp_path, ending, geometry, message):
        with pytest.raises(OutputError, match=f"out{ending}: feature 2: .*{message}"):
            write(tmp_path / f"out{ending}", [HOLED, geometry])
        assert names(tmp_path) == []

    def test_no_crs(self, tmp_path, ending):
        path = tmp_path / f"out{ending}"
        if ending == ".geojson":
            with pytest.raises(OutputError, match=r"there is no CRS.*\.gpkg"):
                write(path, [HOLED], crs_wkt=None)
            assert names(tmp_path) == []
        else:
            assert read(write(path, [HOLED], crs_wkt=None)).crs is None or ending == ".gpkg"

    def test_height_is_dropped(self, tmp_path, ending):
        path = write(tmp_path / f"out{ending}", [shapely.force_3d(HOLED, 5.0)])
        assert not read(path).geometry.has_z.any()

    def test_many_batches(self, tmp_path, ending):
        assert len(read(write(tmp_path / f"out{ending}", small(4500)))) == 4500


def test_all_that_can_be_refused_before_any_work(tmp_path):
    raster, other = tmp_path / "a.tif", tmp_path / "b.gpkg"
    raster.touch()
    other.touch()
    local = 'ENGCRS["site",EDATUM["x"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    for name, options, error, message in [
        ("a.kml", {}, UsageError, "ending"),
        ("a.tif", {"overwrite": True}, OutputError, "is the input"),
        ("b.gpkg", {}, OutputExistsError, "--overwrite"),
        ("c.shp", {"layer": "roofs"}, UsageError, "--layer"),
        ("c.geojson", {"crs_wkt": None}, OutputError, "no CRS"),
        ("c.geojson", {"crs_wkt": local}, OutputError, "no way to longitude"),
        ("no/c.gpkg", {}, OutputError, "mkdir"),
    ]:
        with pytest.raises(error, match=message):
            probe_output(tmp_path / name, inputs=[raster], **{"crs_wkt": UTM} | options)
    for name in ("c.gpkg", "c.tif", "c.parquet", "c.geojson", "c.shp"):
        probe_output(tmp_path / name, crs_wkt=UTM, inputs=[raster])
    assert names(tmp_path) == ["a.tif", "b.gpkg"]


def test_parquet_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "samgeo.output.geoparquet", raising=False)
    with pytest.raises(UsageError, match=r"samgeo\[parquet\]"):
        probe_output(tmp_path / "out.parquet", crs_wkt=UTM)
    with pytest.raises(UsageError, match=r"samgeo\[parquet\]"):
        write(tmp_path / "out.parquet", [HOLED])
    assert names(tmp_path) == []


class TestGeoPackage:
    def test_declared(self, tmp_path):
        path = write(tmp_path / "out.gpkg", [HOLED], layer="Dächer 2")
        with closing(sqlite3.connect(path)) as database:
            one = lambda sql: database.execute(sql).fetchone()  # noqa: E731
            assert one("SELECT geometry_type_name, z, m FROM gpkg_geometry_columns") == ("MULTIPOLYGON", 0, 0)
            assert one("SELECT table_name, last_change FROM gpkg_contents") == ("Dächer 2", "2000-01-01T00:00:00.000Z")
            assert one('SELECT count(*) FROM "rtree_Dächer 2_geom"') == (1,)
            assert one("PRAGMA integrity_check") == ("ok",)
            assert one("PRAGMA journal_mode") == ("delete",)
            registered = database.execute("SELECT table_name, extension_name FROM gpkg_extensions").fetchall()
            assert {("gpkg_metadata", "gpkg_metadata"), ("gpkg_metadata_reference", "gpkg_metadata")} <= set(registered)
            assert one("SELECT reference_scope, table_name, md_file_id FROM gpkg_metadata_reference") == (
                "table",
                "Dächer 2",
                1,
            )

    def test_date(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
        path = write(tmp_path / "out.gpkg", [HOLED])
        with closing(sqlite3.connect(path)) as database:
            (stamp,) = database.execute("SELECT last_change FROM gpkg_contents").fetchone()
        assert stamp == "1970-01-02T00:00:00.000Z"

    def test_local_crs(self, tmp_path):
        local = 'ENGCRS["site",EDATUM["x"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
        assert len(read(write(tmp_path / "out.gpkg", [HOLED], crs_wkt=local))) == 1
        with pytest.raises(OutputError, match="no way to longitude and latitude"):
            write(tmp_path / "out.geojson", [HOLED], crs_wkt=local)

    def test_other_layers_are_not_lost(self, tmp_path):
        path = write(tmp_path / "out.gpkg", [HOLED])
        read(path).to_file(path, layer="roads", driver="GPKG")
        before = path.read_bytes()
        with pytest.raises(OutputExistsError, match="2 layers"):
            write(path, [HOLED], overwrite=True)
        assert path.read_bytes() == before

    def test_what_is_no_geopackage_is_replaced(self, tmp_path):
        (tmp_path / "out.gpkg").write_text("not a database, but long enough to be asked whether it is one" * 20)
        assert len(read(write(tmp_path / "out.gpkg", [HOLED], overwrite=True))) == 1

    def test_reserved_columns(self, tmp_path):
        columns = {"fid": "int", "Geom": "str", "Name": "str", "name": "str"}
        with FeatureWriter(tmp_path / "out.gpkg", crs_wkt=UTM, columns=columns) as writer:
            writer.write(HOLED, {"fid": 7, "Geom": "g", "Name": "N", "name": "n"})
        with fiona.open(tmp_path / "out.gpkg") as collection:
            assert dict(next(iter(collection)).properties) == {"fid_2": 7, "Geom_2": "g", "Name": "N", "name_2": "n"}
            assert json.loads(collection.tags()["columns"]) == {"fid": "fid_2", "Geom": "Geom_2", "name": "name_2"}

    @pytest.mark.parametrize("layer", ["", "  ", "gpkg_x", "rtree_a", "SQLITE_x"])
    def test_layer_names(self, layer):
        with pytest.raises(UsageError, match="--layer"):
            FeatureWriter("out.gpkg", crs_wkt=UTM, columns={}, layer=layer)


class TestShapefile:
    def test_files(self, tmp_path):
        path = write(tmp_path / "out.shp", [HOLED])
        assert (tmp_path / "out.cpg").read_text() == "UTF-8"
        assert (tmp_path / "out.dbf").read_bytes()[1:4] == bytes([100, 1, 1])  # 2000-01-01
        assert max(map(len, read(path).columns)) <= 10

    def test_values_that_do_not_fit(self, tmp_path):
        columns = {"text": "str", "number": "int", "ratio": "float"}
        for values, message in [
            ({"text": "ä" * 128}, "256 bytes"),
            ({"number": 10**17}, "17 digits"),
            ({"ratio": np.inf}, "finite"),
            ({"ratio": -1e15}, "numbers below"),
        ]:
            with (
                pytest.raises(OutputError, match=f"{message}.*gpkg"),
                FeatureWriter(tmp_path / "out.shp", crs_wkt=UTM, columns=columns) as writer,
            ):
                writer.write(HOLED, values)
        with FeatureWriter(tmp_path / "out.shp", crs_wkt=UTM, columns=columns) as writer:
            writer.write(HOLED, {"text": "ä" * 127, "number": 1 - 10**17, "ratio": -999999999999999.5})
        row = read(tmp_path / "out.shp").iloc[0]
        assert (row.text, row.number, row.ratio) == ("ä" * 127, 1 - 10**17, -999999999999999.5)

    def test_two_gigabytes(self, tmp_path, monkeypatch):
        with pytest.raises(OutputError, match=r"the \.shp would have 3.2 GB.*\.gpkg"):
            check_size(tmp_path / "out.shp", features=1000, vertices=200_000_000, columns={"id": "int"})
        with pytest.raises(OutputError, match=r"the \.dbf would have"):
            check_size(tmp_path / "out.shp", features=30_000_000, vertices=4, columns={"label": "str"})
        monkeypatch.setattr("samgeo.output.shapefile.MOST_BYTES", 100_000)
        with pytest.raises(OutputError, match=r"a Shapefile ends at 2 GB"):
            write(tmp_path / "out.shp", small(2500))
        assert names(tmp_path) == []

    def test_o7_the_estimate_is_the_size_of_the_files(self, tmp_path):
        """Rings and long texts count too, so that no file passes the limit unnoticed."""
        columns = {"id": "int", "label": "str", "other": "str", "score": "float", "tiles": "int32", "kept": "bool"}
        with FeatureWriter(tmp_path / "out.shp", crs_wkt=UTM, columns=columns) as writer:
            for number, geometry in enumerate([HOLED, PAIR, *small(300)]):
                writer.write(geometry, {"id": number, "label": "ä" * (number % 120), "score": 1.5, "kept": True})
            size = writer._size
        assert size.shp_bytes == (tmp_path / "out.shp").stat().st_size
        assert abs(size.dbf_bytes - (tmp_path / "out.dbf").stat().st_size) <= 2

    def test_layer_is_the_name(self):
        with pytest.raises(UsageError, match="--layer"):
            FeatureWriter("out.shp", crs_wkt=UTM, columns={}, layer="roofs")


class TestGeoJSON:
    def test_rfc_7946(self, tmp_path):
        write(tmp_path / "out.geojson", [shapely.reverse(HOLED), PAIR])
        content = json.loads((tmp_path / "out.geojson").read_text())
        assert "crs" not in content
        for feature in content["features"]:
            assert feature["geometry"]["type"] == "MultiPolygon"
            for shell, *holes in feature["geometry"]["coordinates"]:
                assert shapely.LinearRing(shell).is_ccw
                assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        longitude, latitude = content["features"][0]["geometry"]["coordinates"][0][0][0]
        assert 14 < longitude < 16
        assert 45 < latitude < 46

    def test_micrometres(self, tmp_path):
        given = small(50)
        found = read(write(tmp_path / "out.geojson", given)).to_crs(UTM)
        offsets = found.geometry.bounds.to_numpy() - [geometry.bounds for geometry in given]
        assert np.abs(offsets).max() < 1e-5  # 11 decimals are 1e-6 m; the rest is the way there and back

    def test_split_at_the_antimeridian(self, tmp_path):
        zone = CRS.from_epsg(32601).to_wkt()  # UTM zone 1, west of it lies 180 degrees
        ring = shapely.box(150_000, 1_000_000, 250_000, 1_100_000).exterior
        given = shapely.Polygon(ring, [shapely.box(160_000, 1_010_000, 240_000, 1_020_000).exterior])
        path = write(tmp_path / "out.geojson", [given], crs_wkt=zone)
        (found,) = read(path).geometry
        parts = sorted(found.geoms, key=lambda part: part.bounds[0])
        assert found.is_valid
        assert parts[0].bounds[0] == -180
        assert parts[-1].bounds[2] == 180
        geod = CRS.from_epsg(4326).get_geod()
        area = sum(abs(geod.geometry_area_perimeter(part)[0]) for part in parts)
        assert area == pytest.approx(given.area, rel=5e-3)

    def test_around_the_earth_is_not_split(self, tmp_path):
        given = shapely.box(-20_037_508.0, -1e6, 20_037_508.0, 1e6)
        (found,) = read(write(tmp_path / "out.geojson", [given], crs_wkt=CRS.from_epsg(3857).to_wkt())).geometry
        assert len(found.geoms) == 1
        assert found.bounds == pytest.approx((-180, -8.946573, 180, 8.946573), abs=1e-4)

    def test_longitudes_above_180_are_brought_back(self, tmp_path):
        geographic = CRS.from_epsg(4326).to_wkt()
        (found,) = read(write(tmp_path / "out.geojson", [shapely.box(170, -10, 200, 10)], crs_wkt=geographic)).geometry
        assert found.equals(shapely.union(shapely.box(170, -10, 180, 10), shapely.box(-180, -10, -160, 10)))

    def test_around_a_pole_is_refused(self, tmp_path):
        with pytest.raises(OutputError, match=r"around a pole.*\.gpkg"):
            write(tmp_path / "out.geojson", [shapely.box(-1e5, -1e5, 1e5, 1e5)], crs_wkt=CRS.from_epsg(3995).to_wkt())
        with pytest.raises(OutputError, match="has no longitude and latitude"):
            write(tmp_path / "out.geojson", [shapely.box(1e30, 1e30, 2e30, 2e30)])
        assert names(tmp_path) == []
