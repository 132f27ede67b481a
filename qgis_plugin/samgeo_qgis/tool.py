# SPDX-License-Identifier: GPL-2.0-or-later
"""The map tool: left click on the object, right click beside it, drag a box, hover to see what a click would show."""

from qgis.core import QgsGeometry, QgsPointXY, QgsRectangle, QgsWkbTypes
from qgis.gui import QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QColor

DRAG_PX = 6
"""So far the mouse moves before a click is a box."""
HOVER_MS = 100
"""At most so often is asked what lies under the mouse."""


class ClickTool(QgsMapTool):
    """Tells of clicks, boxes and places that the mouse rests on, in the canvas's CRS. It keeps nothing."""

    clicked = pyqtSignal(QgsPointXY, bool)
    """Where, and whether it was the left button."""
    boxed = pyqtSignal(QgsRectangle)
    """A box that was dragged."""
    hovered = pyqtSignal(QgsPointXY)
    """Where the mouse is, a few times a second."""

    def __init__(self, canvas):
        super().__init__(canvas)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self._pressed = self._start = None  # on the screen; on the map, which the wheel may move below the mouse
        self._band = None
        self._place = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(HOVER_MS)
        self._timer.timeout.connect(self._tell)

    def flags(self):
        """Shift and drag zooms, as with QGIS's own tools."""
        return QgsMapTool.Flag.AllowZoomRect

    def canvasPressEvent(self, event):
        """Remember where; a right click needs no more."""
        if event.button() == Qt.MouseButton.RightButton:
            self.clicked.emit(self.toMapCoordinates(event.pos()), False)
        elif event.button() == Qt.MouseButton.LeftButton:
            self._pressed, self._start = event.pos(), self.toMapCoordinates(event.pos())

    def canvasMoveEvent(self, event):
        """Draw the box that is dragged, or tell where the mouse is."""
        if self._pressed is None:
            self._place = self.toMapCoordinates(event.pos())
            if not self._timer.isActive():
                self._timer.start()
            return
        if self._is_drag(event.pos()):
            self._draw(event.pos())

    def canvasReleaseEvent(self, event):
        """A box if the mouse went far, else a click."""
        if event.button() != Qt.MouseButton.LeftButton or self._pressed is None:
            return
        pressed, self._pressed = self._pressed, None
        self._hide()
        if self._is_drag(event.pos(), pressed):
            self.boxed.emit(QgsRectangle(self._start, self.toMapCoordinates(event.pos())))
        else:
            self.clicked.emit(self.toMapCoordinates(event.pos()), True)

    def deactivate(self):
        """Leave nothing on the map."""
        self._pressed = None
        self._timer.stop()
        self._hide()
        super().deactivate()

    def _is_drag(self, to, pressed=None):
        start = pressed or self._pressed
        moved = QPoint(to) - QPoint(start)
        return max(abs(moved.x()), abs(moved.y())) >= DRAG_PX

    def _tell(self):
        if self._place is not None and self._pressed is None:
            self.hovered.emit(self._place)

    def _draw(self, to):
        if self._band is None:
            self._band = QgsRubberBand(self.canvas(), QgsWkbTypes.GeometryType.PolygonGeometry)
            self._band.setColor(QColor(255, 170, 0, 60))
            self._band.setStrokeColor(QColor(255, 140, 0))
        rectangle = QgsRectangle(self._start, self.toMapCoordinates(to))
        self._band.setToGeometry(QgsGeometry.fromRect(rectangle), None)

    def _hide(self):
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None
