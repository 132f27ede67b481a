# SPDX-License-Identifier: GPL-2.0-or-later
"""Where features go: an editable layer of polygons, one undoable edit for each object."""

import os

from qgis.core import (
    Qgis,
    QgsCoordinateTransform,
    QgsFeature,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QDateTime, QMetaType, QVariant

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
    """Make a GeoPackage with an empty layer, and open it. Raises OSError with what went wrong."""
    fields = QgsFields()
    for name, kind in FIELDS.items():
        fields.append(field(name, kind))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = os.path.splitext(os.path.basename(path))[0]
    context = QgsProject.instance().transformContext()
    kind = QgsWkbTypes.Type.MultiPolygon
    writer = QgsVectorFileWriter.create(path, fields, kind, crs, context, options)
    problem = writer.errorMessage() if writer.hasError() else ""
    del writer
    layer = QgsVectorLayer(f"{path}|layername={options.layerName}", options.layerName, "ogr")
    if problem or not layer.isValid():
        raise OSError(f"{path}: {problem or 'cannot be read again'}")
    return layer


def append(layer, polygons, crs, attributes):
    """Add one object to a layer as one edit that can be undone. Raises OSError if the layer does not take it.

    polygons: what `frames.outlines` gives of one part, in `crs`. attributes: name to value; names that the layer has
    not are left out.
    """
    if layer.geometryType() != QgsWkbTypes.GeometryType.PolygonGeometry:
        raise OSError(f"{layer.name()} takes no polygons. Fix: choose a layer of polygons, or a new one")
    if not layer.isEditable() and not layer.startEditing():
        raise OSError(f"{layer.name()} cannot be edited. Fix: choose another layer, or a new one")
    transform = QgsCoordinateTransform(crs, layer.crs(), QgsProject.instance())
    shape = geometry(polygons, transform)
    if QgsWkbTypes.isSingleType(layer.wkbType()) and len(polygons) == 1:
        shape.convertToSingleType()
    names = {one.name().casefold(): one.name() for one in layer.fields()}
    feature = QgsFeature(layer.fields())
    feature.setGeometry(shape)
    for name, value in attributes.items():
        if name.casefold() in names:
            feature.setAttribute(names[name.casefold()], value)
    layer.beginEditCommand(f"samgeo: {attributes.get('label') or 'object'}")
    if not layer.addFeature(feature):
        layer.destroyEditCommand()
        raise OSError(f"{layer.name()} does not take the object. Fix: choose another layer, or a new one")
    layer.endEditCommand()
    layer.triggerRepaint()
    return feature
