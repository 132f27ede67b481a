"""The style in a GeoPackage: the table that QGIS looks for, a drawing that it reads, and no harm to other readers."""

import sqlite3
from contextlib import closing
from xml.etree import ElementTree as ET

import fiona
import pytest
import shapely

from samgeo.errors import OutputError
from samgeo.evaluation import evaluate
from samgeo.output import style
from samgeo.output.style import qml
from samgeo.output.vector import FeatureWriter
from samgeo.prompts.files import map_layers, read_file
from tests.features import COLUMNS, HOLED, UTM, digests, names, small, write

# QGIS's own table: QgsOgrProviderMetadata::saveStyle in src/core/providers/ogr/qgsogrprovidermetadata.cpp.
QGIS_COLUMNS = {
    "id": "INTEGER",
    "f_table_catalog": "TEXT(256)",
    "f_table_schema": "TEXT(256)",
    "f_table_name": "TEXT(256)",
    "f_geometry_column": "TEXT(256)",
    "styleName": "TEXT(30)",
    "styleQML": "TEXT",
    "styleSLD": "TEXT",
    "useAsDefault": "BOOLEAN",
    "description": "TEXT",
    "owner": "TEXT(30)",
    "ui": "TEXT(30)",
    "update_time": "DATETIME",
}


def rows(path, sql):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def test_a_geopackage_carries_the_table_that_qgis_writes(tmp_path):
    path = write(tmp_path / "out.gpkg", [HOLED], layer="Dächer 2")
    assert {name: kind for _, name, kind, *_ in rows(path, "PRAGMA table_info(layer_styles)")} == QGIS_COLUMNS
    # What QGIS asks for: an empty schema, the layer, its geometry column, the default first.
    asked = "SELECT styleName, styleQML FROM layer_styles WHERE f_table_schema = '' AND f_table_catalog = ''"
    [(name, text)] = rows(
        path, asked + " AND f_table_name = 'Dächer 2' AND f_geometry_column = 'geom' AND useAsDefault"
    )
    assert name == "Dächer 2"
    assert text == qml(COLUMNS)
    assert rows(path, "SELECT column_name FROM gpkg_geometry_columns") == [("geom",)]


def test_the_table_is_registered_so_that_others_can_add_styles(tmp_path):
    path = write(tmp_path / "out.gpkg", [HOLED])
    [row] = rows(
        path, "SELECT data_type, last_change, min_x, srs_id FROM gpkg_contents WHERE table_name = 'layer_styles'"
    )
    assert row == ("attributes", "2000-01-01T00:00:00.000Z", None, 0)
    with fiona.open(path, layer="layer_styles") as table:
        record = dict(next(iter(table)).properties)
    with fiona.open(path, "a", layer="layer_styles") as table:
        table.write(
            {"type": "Feature", "geometry": None, "properties": record | {"styleName": "second", "useAsDefault": False}}
        )
    count = "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'layer_styles'"
    assert rows(path, count) == rows(path, "SELECT count(*) FROM layer_styles") == [(2,)]


def test_the_style_is_xml_with_outlines_and_labels():
    text = qml({"id": "int64", "label": "str", "score": "float"})
    root = ET.fromstring(text.partition("\n")[2])
    assert text.startswith("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n")
    assert root.tag == "qgis"
    drawing = root.find("renderer-v2[@type='singleSymbol']/symbols/symbol[@type='fill']/layer[@class='SimpleFill']")
    new = {option.get("name"): option.get("value") for option in drawing.find("Option")}
    old = {prop.get("k"): prop.get("v") for prop in drawing.findall("prop")}
    assert new == old
    assert new["outline_style"] == "solid"
    assert root.get("labelsEnabled") == "1"
    label = root.find("labeling[@type='simple']/settings/text-style")
    assert label.get("fieldName") == 'coalesce("label", to_string("id"))'
    assert label.get("isExpression") == "1"


@pytest.mark.parametrize(
    ("fields", "expression"),
    [({"id": "int64"}, 'to_string("id")'), ({"label": "str"}, '"label"'), ({"score": "float"}, None)],
)
def test_labels_are_of_columns_that_are_there(fields, expression):
    root = ET.fromstring(qml(fields).partition("\n")[2])
    found = root.find("labeling/settings/text-style")
    assert (None if found is None else found.get("fieldName")) == expression
    assert root.get("labelsEnabled") == str(int(expression is not None))


def test_a_layer_with_a_style_is_still_the_only_layer(tmp_path):
    """As prompts, as something to evaluate, and as an output to replace."""
    path = write(tmp_path / "out.gpkg", small(5))
    assert fiona.listlayers(path) == ["out", "layer_styles"]
    assert map_layers(path) == ["out"]
    assert len(read_file(str(path))) == 5
    assert evaluate(path, path).mean_iou == pytest.approx(1)
    write(path, small(6), overwrite=True)
    assert len(read_file(str(path))) == 6


def test_the_same_style_twice_is_the_same_bytes_on_any_date(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "out.gpkg", small(3))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    path = write(tmp_path / "later.gpkg", small(3))
    assert rows(path, "SELECT update_time FROM layer_styles") == [("1970-01-02T00:00:00.000Z",)]


def test_a_style_that_is_lost_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        style,
        "_TABLE",
        style._TABLE + "CREATE TRIGGER forget AFTER INSERT ON layer_styles BEGIN DELETE FROM layer_styles; END;",
    )
    with pytest.raises(OutputError, match="styles: 0 instead of 1"):
        write(tmp_path / "out.gpkg", [HOLED])
    assert names(tmp_path) == []


def test_long_names_and_quotes(tmp_path):
    name = 'it\'s a "layer" with a name of more than thirty letters'
    with FeatureWriter(tmp_path / "out.gpkg", crs_wkt=UTM, columns={"id": "int"}, layer=name) as writer:
        writer.write(shapely.box(0, 0, 1, 1), {"id": 1})
    assert rows(tmp_path / "out.gpkg", "SELECT f_table_name, styleName FROM layer_styles") == [(name, name[:30])]
