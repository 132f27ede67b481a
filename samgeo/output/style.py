"""Style: how QGIS draws a GeoPackage of ours when it is opened, kept where QGIS looks for it, the table layer_styles.

Outlines in one colour over a hint of fill, so that the imagery below stays visible; the label, or else the id, where it
fits into the object. The table is the one that QGIS makes when a style is saved into a GeoPackage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

from samgeo.commit import date_stamp

OUTLINE, FILL, TEXT = "255,214,0,255", "255,214,0,38", "40,40,40,255"
"""Colours: red, green, blue, opacity, each 0 to 255."""

_TABLE = """
CREATE TABLE "layer_styles" (
  "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "f_table_catalog" TEXT(256), "f_table_schema" TEXT(256),
  "f_table_name" TEXT(256), "f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT,
  "useAsDefault" BOOLEAN, "description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
  "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')));
CREATE TRIGGER "trigger_insert_feature_count_layer_styles" AFTER INSERT ON "layer_styles" BEGIN
  UPDATE gpkg_ogr_contents SET feature_count = feature_count + 1 WHERE lower(table_name) = lower('layer_styles'); END;
CREATE TRIGGER "trigger_delete_feature_count_layer_styles" AFTER DELETE ON "layer_styles" BEGIN
  UPDATE gpkg_ogr_contents SET feature_count = feature_count - 1 WHERE lower(table_name) = lower('layer_styles'); END;
"""


def add_style(path: Path, *, layer: str, fields: Mapping[str, str]) -> None:
    """Put the style of a layer into a GeoPackage that GDAL has written; the same bytes each time.

    fields: name in the file -> type; `label` and `id` are shown if they are there. Raises `sqlite3.Error`.
    """
    stamp = f"{date_stamp():%Y-%m-%dT%H:%M:%S.000Z}"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA synchronous = OFF")  # the file is brought to disk once, by `staged`
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id)"
            " VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)",
            [stamp],
        )
        database.execute("INSERT INTO gpkg_ogr_contents (table_name, feature_count) VALUES ('layer_styles', 0)")
        database.executescript(_TABLE)
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
            " styleQML, styleSLD, useAsDefault, description, owner, update_time)"
            " VALUES ('', '', ?, 'geom', ?, ?, '', 1, 'Outlines', '', ?)",
            [layer, layer[:30], qml(fields), stamp],
        )


def qml(fields: Mapping[str, str]) -> str:
    """The style in QGIS's own XML; QGIS 3.16 and later read it."""
    shown = [
        f'"{name}"' if fields[name] == "str" else f'to_string("{name}")' for name in ("label", "id") if name in fields
    ]
    root = ET.Element(
        "qgis", version="3.22.0", styleCategories="Symbology|Labeling", labelsEnabled=str(int(bool(shown)))
    )
    renderer = ET.SubElement(root, "renderer-v2", type="singleSymbol", enableorderby="0", forceraster="0")
    symbols = ET.SubElement(renderer, "symbols")
    symbol = ET.SubElement(symbols, "symbol", type="fill", name="0", alpha="1", clip_to_extent="1", force_rhr="0")
    drawing = ET.SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0", **{"pass": "0"})
    properties = {
        "color": FILL,
        "joinstyle": "miter",
        "outline_color": OUTLINE,
        "outline_style": "solid",
        "outline_width": "0.4",
        "outline_width_unit": "MM",
        "style": "solid",
    }
    options = ET.SubElement(drawing, "Option", type="Map")
    for name, value in properties.items():
        ET.SubElement(options, "Option", type="QString", name=name, value=value)
    for name, value in properties.items():  # where QGIS before 3.24 looks
        ET.SubElement(drawing, "prop", k=name, v=value)
    if shown:
        _add_labels(root, f"coalesce({', '.join(shown)})" if len(shown) > 1 else shown[0])
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    ET.indent(root, " ")
    return doctype + ET.tostring(root, encoding="unicode") + "\n"


def _add_labels(root: ET.Element, expression: str) -> None:
    labeling = ET.SubElement(root, "labeling", type="simple")
    settings = ET.SubElement(labeling, "settings", calloutType="simple")
    text = ET.SubElement(
        settings,
        "text-style",
        fieldName=expression,
        isExpression="1",
        fontSize="8",
        fontSizeUnit="Point",
        textColor=TEXT,
        textOpacity="1",
    )
    ET.SubElement(
        text,
        "text-buffer",
        bufferDraw="1",
        bufferSize="0.7",
        bufferSizeUnits="MM",
        bufferColor="255,255,255,255",
        bufferOpacity="1",
    )
    ET.SubElement(
        settings,
        "placement",
        placement="1",
        centroidInside="1",
        fitInPolygonOnly="1",
        priority="5",
        layerType="PolygonGeometry",
    )
    ET.SubElement(
        settings,
        "rendering",
        drawLabels="1",
        obstacle="0",
        scaleVisibility="0",
        fontMinPixelSize="3",
        fontMaxPixelSize="10000",
        maxNumLabels="2000",
    )
