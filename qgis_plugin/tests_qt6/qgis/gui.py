"""What of qgis.gui the plugin names, as real widgets of Qt 6."""

from enum import Enum

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QBrush, QPen
from PyQt6.QtWidgets import (
    QComboBox,
    QDockWidget,
    QGraphicsRectItem,
    QGraphicsScene,
    QGraphicsView,
    QHBoxLayout,
    QLineEdit,
    QWidget,
)

from qgis.core import QgsCoordinateReferenceSystem, QgsMapLayerProxyModel, QgsPointXY, QgsRectangle


class QgsDockWidget(QDockWidget):
    pass


class QgsMapLayerComboBox(QComboBox):
    layerChanged = pyqtSignal(object)

    def __init__(self):
        super().__init__()
        self._layer = None

    def setFilters(self, filters):
        assert isinstance(filters, QgsMapLayerProxyModel.Filter)

    def setAllowEmptyLayer(self, allowed):
        assert isinstance(allowed, bool)

    def currentLayer(self):
        return self._layer

    def setLayer(self, layer):
        self._layer = layer
        self.layerChanged.emit(layer)


class QgsFileWidget(QWidget):
    StorageMode = Enum("StorageMode", "GetFile GetDirectory")

    def __init__(self):
        super().__init__()
        self._line = QLineEdit()
        layout = QHBoxLayout(self)
        layout.addWidget(self._line)

    def setStorageMode(self, mode):
        assert isinstance(mode, self.StorageMode)

    def filePath(self):
        return self._line.text()

    def setFilePath(self, path):
        self._line.setText(path)


class _MapSettings:
    def __init__(self):
        self._crs = QgsCoordinateReferenceSystem()

    def destinationCrs(self):
        return self._crs


class QgsMapCanvas(QGraphicsView):
    """A metre to a pixel; the mouse goes to the map tool."""

    destinationCrsChanged = pyqtSignal()

    def __init__(self):
        super().__init__()
        self.setScene(QGraphicsScene(self))
        self.setMouseTracking(True)
        self._tool, self._settings = None, _MapSettings()

    def mapSettings(self):
        return self._settings

    def mapUnitsPerPixel(self):
        return 1.0

    def extent(self):
        return QgsRectangle(0, 0, self.width(), self.height())

    def mapTool(self):
        return self._tool

    def setMapTool(self, tool):
        if self._tool is not None:
            self._tool.deactivate()
        self._tool = tool
        tool.activate()

    def unsetMapTool(self, tool):
        if tool is self._tool:
            tool.deactivate()
            self._tool = None

    def mousePressEvent(self, event):
        self._tool.canvasPressEvent(_MapEvent(event))

    def mouseMoveEvent(self, event):
        self._tool.canvasMoveEvent(_MapEvent(event))

    def mouseReleaseEvent(self, event):
        self._tool.canvasReleaseEvent(_MapEvent(event))


class _MapEvent:
    """QgsMapMouseEvent keeps `pos()`, which QMouseEvent of Qt 6 lost."""

    def __init__(self, event):
        self._event = event

    def pos(self):
        return self._event.position().toPoint()

    def button(self):
        return self._event.button()


class QgsMapTool(QObject):
    Flag = Enum("Flag", "AllowZoomRect")
    activated = pyqtSignal()
    deactivated = pyqtSignal()

    def __init__(self, canvas):
        super().__init__(canvas)
        self._canvas, self._action = canvas, None

    def canvas(self):
        return self._canvas

    def setCursor(self, shape):
        self._canvas.viewport().setCursor(shape)

    def setAction(self, action):
        self._action = action

    def activate(self):
        self._action.setChecked(True)
        self.activated.emit()

    def deactivate(self):
        self._action.setChecked(False)
        self.deactivated.emit()

    def toMapCoordinates(self, position):
        return QgsPointXY(position.x(), position.y())


class _Item(QGraphicsRectItem):
    def __init__(self, canvas, kind=None):
        super().__init__(0, 0, 1, 1)
        canvas.scene().addItem(self)

    def setColor(self, colour):
        self.setPen(QPen(colour))


class QgsRubberBand(_Item):
    def setStrokeColor(self, colour):
        self.setColor(colour)

    def setFillColor(self, colour):
        self.setBrush(QBrush(colour))

    def setWidth(self, width):
        assert isinstance(width, int)

    def setToGeometry(self, geometry, layer):
        self.geometry = geometry


class QgsVertexMarker(_Item):
    IconType = Enum("IconType", "ICON_NONE ICON_CROSS")

    def setCenter(self, point):
        self.center = point

    def setIconType(self, kind):
        assert isinstance(kind, self.IconType)

    def setIconSize(self, size):
        assert isinstance(size, int)

    def setPenWidth(self, width):
        assert isinstance(width, int)
