# SPDX-License-Identifier: GPL-2.0-or-later
"""What the map shows of an object at hand: outlines, and a cross for each click."""

from qgis.core import QgsWkbTypes
from qgis.gui import QgsRubberBand, QgsVertexMarker
from qgis.PyQt.QtGui import QColor

COLOURS = {"candidate": QColor(255, 140, 0), "hover": QColor(90, 170, 255)}
"""Of what would be saved, and of what a click would find."""
ON, BESIDE = QColor(0, 160, 60), QColor(220, 30, 30)
"""Of clicks on the object and beside it."""


class Marks:
    """Bands and crosses over a canvas, in its CRS."""

    def __init__(self, canvas):
        self._canvas = canvas
        self.bands, self.crosses = {}, []

    def draw(self, name, geometry):
        """Show an outline under a name of `COLOURS`."""
        if name not in self.bands:
            band = QgsRubberBand(self._canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
            colour = QColor(COLOURS[name])
            band.setStrokeColor(colour)
            colour.setAlpha(70 if name == "candidate" else 30)
            band.setFillColor(colour)
            band.setWidth(2 if name == "candidate" else 1)
            self.bands[name] = band
        self.bands[name].setToGeometry(geometry, None)

    def hide(self, name):
        """Show nothing under a name."""
        band = self.bands.pop(name, None)
        if band is not None:
            self._canvas.scene().removeItem(band)

    def cross(self, places):
        """A cross for each (point, whether on the object), and no other."""
        for marker in self.crosses:
            self._canvas.scene().removeItem(marker)
        self.crosses = []
        for point, positive in places:
            marker = QgsVertexMarker(self._canvas)
            marker.setCenter(point)
            marker.setIconType(QgsVertexMarker.IconType.ICON_CROSS)
            marker.setColor(ON if positive else BESIDE)
            marker.setIconSize(12)
            marker.setPenWidth(3)
            self.crosses.append(marker)
