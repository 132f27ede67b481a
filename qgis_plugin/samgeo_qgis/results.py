# SPDX-License-Identifier: GPL-2.0-or-later
"""Where features go: an editable layer of polygons, one undoable edit for each object."""

import os

from qgis.core import (
    Qgis,
    QgsCoordinateTransform,
    QgsDataProvider,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsVectorLayerUtils,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QDateTime, QMetaType, QVariant

from . import style
from .texts import tr

FIELDS = {
    "label": str,
    "score": float,
    "area_m2": float,
    "perimeter_m": float,
    "prompt": str,
    "model": str,
    "source": str,
    "created": QDateTime,
}
"""What a new layer has; a layer that is there gets what its fields can take."""
_TYPES = {str: "QString", float: "Double", QDateTime: "QDateTime"}


def field(name, kind):
    """A field, on every version of QGIS: since 3.38 the types are Qt's own."""
    if Qgis.QGIS_VERSION_INT >= 33800:
        return QgsField(name, getattr(QMetaType.Type, _TYPES[kind]))
    return QgsField(name, {str: QVariant.String, float: QVariant.Double, QDateTime: QVariant.DateTime}[kind])


def geometry(polygons, transform=None):
    """A multipolygon of the polygons that `frames.outlines` gives."""
    shape = QgsGeometry.fromMultiPolygonXY(
        [[[QgsPointXY(x, y) for x, y in ring] for ring in rings] for rings in polygons]
    )
    if transform is not None and not transform.isShortCircuited():
        shape.transform(transform)
    return shape


def new_layer(path, crs):
    """Make an empty layer in a GeoPackage, a new one or one that is there, and open it. What is there stays.

    Raises OSError with what went wrong.
    """
    name = os.path.splitext(os.path.basename(path))[0]
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    if os.path.exists(path):
        taken = layers_in(path)
        if not taken:
            raise OSError(tr("{}: is there and is no GeoPackage. Fix: choose another name").format(path))
        options.actionOnExistingFile = QgsVectorFileWriter.ActionOnExistingFile.CreateOrOverwriteLayer
        number, base = 1, name
        while name.casefold() in taken:
            number += 1
            name = f"{base}_{number}"
    options.layerName = name
    fields = QgsFields()
    for field_name, kind in FIELDS.items():
        fields.append(field(field_name, kind))
    context = QgsProject.instance().transformContext()
    writer = QgsVectorFileWriter.create(path, fields, QgsWkbTypes.Type.MultiPolygon, crs, context, options)
    problem = writer.errorMessage() if writer.hasError() else ""
    del writer
    layer = QgsVectorLayer(f"{path}|layername={name}", name, "ogr")
    if problem or not layer.isValid():
        raise OSError(f"{path}: {problem or tr('cannot be read again')}")
    return layer


def layers_in(path):
    """Names of the layers of a file, in lower case."""
    provider = QgsVectorLayer(path, "", "ogr").dataProvider()
    parts = provider.subLayers() if provider is not None else []
    return {part.split(QgsDataProvider.sublayerSeparator())[1].casefold() for part in parts}


def prepare(layer):
    """Make a layer ready to take an object. Raises OSError if it cannot."""
    if layer.geometryType() != QgsWkbTypes.GeometryType.PolygonGeometry:
        raise OSError(tr("{} takes no polygons. Fix: choose a layer of polygons, or a new one").format(layer.name()))
    if not layer.isEditable() and not layer.startEditing():
        raise OSError(tr("{} cannot be edited. Fix: choose another layer, or a new one").format(layer.name()))


def append(layer, polygons, crs, attributes):
    """Add one object to a layer as one edit that can be undone. Raises OSError if the layer does not take it.

    polygons: what `frames.outlines` gives of one part, in `crs`. attributes: name to value; of those in `FIELDS` the
    layer gets what it has fields for. A layer of single polygons gets one feature a polygon.
    """
    prepare(layer)
    shape = geometry(polygons, QgsCoordinateTransform(crs, layer.crs(), QgsProject.instance()))
    names = {one.name().casefold(): number for number, one in enumerate(layer.fields())}
    values = {}
    for name in FIELDS:
        number, value = names.get(name), attributes.get(name)
        if number is not None and value is not None:
            kind = layer.fields()[number]
            values[number] = value if kind.isNumeric() == isinstance(value, float) else str(value)
    whole = QgsVectorLayerUtils.createFeature(layer, shape, values)
    parts = QgsVectorLayerUtils.makeFeatureCompatible(whole, layer)
    layer.beginEditCommand(f"samgeo: {attributes.get('label') or 'object'}")
    if not parts or not all(layer.addFeature(part) for part in parts):
        layer.destroyEditCommand()
        raise OSError(tr("{} does not take the object. Fix: choose another layer, or a new one").format(layer.name()))
    layer.endEditCommand()
    style.add_label(layer, attributes.get("label"))
    layer.triggerRepaint()
