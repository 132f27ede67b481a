"""What of qgis.core the plugin names: enums have no short names, and what its widgets call does what they need.

Nothing here answers to a name that is not written down, so that a name which QGIS does not have fails.
"""

import json
from enum import Enum, IntFlag

from PyQt6.QtCore import QObject, QPointF, QRectF, pyqtSignal


class Signals(QObject):
    """A signal for each that is listened to."""

    writeProject = pyqtSignal(object)
    readProject = pyqtSignal(object)
    cleared = pyqtSignal()
    layersWillBeRemoved = pyqtSignal(list)


class Qgis:
    QGIS_VERSION, QGIS_VERSION_INT = "4.0.3-Norrköping", 40003
    MessageLevel = Enum("MessageLevel", "Info Warning Critical Success")


class QgsWkbTypes:
    GeometryType = Enum("GeometryType", "PointGeometry LineGeometry PolygonGeometry")
    Type = Enum("Type", "MultiPolygon")


class QgsMapLayerProxyModel:
    Filter = IntFlag("Filter", "RasterLayer PolygonLayer")


class QgsCoordinateReferenceSystem:
    WktVariant = Enum("WktVariant", "WKT2_2018")

    def isValid(self):
        return True

    def toWkt(self, variant):
        assert isinstance(variant, self.WktVariant)
        return "LOCAL"

    def ellipsoidAcronym(self):
        return "EPSG:7030"


class QgsPointXY(QPointF):
    def distance(self, other):
        return ((self.x() - other.x()) ** 2 + (self.y() - other.y()) ** 2) ** 0.5


class QgsRectangle:
    def __init__(self, *sides):
        if isinstance(sides[0], QPointF):
            sides = [sides[0].x(), sides[0].y(), sides[1].x(), sides[1].y()]
        left, bottom, right, top = sides
        self._box = QRectF(min(left, right), min(bottom, top), abs(right - left), abs(top - bottom))

    def xMinimum(self):
        return self._box.left()

    def xMaximum(self):
        return self._box.right()

    def yMinimum(self):
        return self._box.top()

    def yMaximum(self):
        return self._box.bottom()

    def width(self):
        return self._box.width()

    def height(self):
        return self._box.height()

    def center(self):
        return QgsPointXY(self._box.center())

    def contains(self, point):
        return self._box.contains(point)

    def isEmpty(self):
        return self._box.isEmpty()

    def intersect(self, other):
        both = self._box.intersected(other._box)
        return QgsRectangle(both.left(), both.top(), both.right(), both.bottom())

    def buffered(self, by):
        return QgsRectangle(self.xMinimum() - by, self.yMinimum() - by, self.xMaximum() + by, self.yMaximum() + by)


class QgsCoordinateTransform:
    """Between a CRS and itself."""

    def __init__(self, source, target, project):
        pass

    def transform(self, *place):
        return QgsPointXY(*place)

    def transformBoundingBox(self, box):
        return box

    def isShortCircuited(self):
        return True


class QgsGeometry:
    def __init__(self, polygons):
        self.polygons = polygons

    @classmethod
    def fromMultiPolygonXY(cls, polygons):
        return cls(polygons)

    @classmethod
    def fromPolygonXY(cls, rings):
        return cls([rings])

    @classmethod
    def fromRect(cls, box):
        return cls([box])


class QgsDistanceArea:
    def setSourceCrs(self, crs, context):
        pass

    def setEllipsoid(self, name):
        pass

    def measurePolygon(self, ring):
        pairs = zip(ring, ring[1:])  # noqa: B905
        return abs(sum(a.x() * b.y() - b.x() * a.y() for a, b in pairs)) / 2


class QgsSettings:
    kept = {}

    def value(self, key, default=None, kind=None):
        return self.kept.get(key, default)

    def setValue(self, key, value):
        json.dumps(value)  # text or a number: an enum would not come back
        self.kept[key] = value


class QgsProject(Signals):
    _one = None

    @classmethod
    def instance(cls):
        cls._one = cls._one or cls()
        return cls._one

    def transformContext(self):
        return None

    def absolutePath(self):
        return ""

    def entryList(self, scope, key):
        return []


class _Registry:
    def addProvider(self, provider):
        provider.loadAlgorithms()

    def removeProvider(self, provider):
        provider.algorithms.clear()


class QgsApplication:
    registry = _Registry()

    @classmethod
    def processingRegistry(cls):
        return cls.registry

    @staticmethod
    def qgisSettingsDirPath():
        return "/nowhere/"

    @staticmethod
    def locale():
        return "en"


class QgsMultiBandColorRenderer:
    def redBand(self):
        return 1

    greenBand = blueBand = redBand


class QgsSingleBandGrayRenderer: ...


class QgsRasterLayer(QObject):
    """A raster that GDAL reads, 256 m wide."""

    rendererChanged = pyqtSignal()
    crsChanged = pyqtSignal()

    def __init__(self, path, name="raster"):
        super().__init__()
        self._path, self._name, self._crs = path, name, QgsCoordinateReferenceSystem()

    def id(self):
        return self._name

    def name(self):
        return self._name

    def crs(self):
        return self._crs

    def isValid(self):
        return True

    def extent(self):
        return QgsRectangle(0, 0, 256, 256)

    def providerType(self):
        return "gdal"

    def dataProvider(self):
        return self

    def dataSourceUri(self):
        return self._path

    def renderer(self):
        return QgsMultiBandColorRenderer()

    def rasterUnitsPerPixelX(self):
        return 1.0


class QgsProcessing:
    SourceType = Enum("SourceType", "TypeVectorPoint TypeVectorPolygon TypeVectorAnyGeometry")


class QgsProcessingException(Exception):
    pass


class QgsProcessingAlgorithm:
    def __init__(self):
        self.parameters = []

    def addParameter(self, parameter):
        assert parameter.description
        self.parameters.append(parameter)


class QgsProcessingProvider:
    def __init__(self):
        self.algorithms = []

    def addAlgorithm(self, algorithm):
        algorithm.initAlgorithm()
        self.algorithms.append(algorithm)


class QgsProcessingParameterDefinition:
    Flag = IntFlag("Flag", "FlagAdvanced FlagOptional")

    def __init__(self, name, description="", *more, **named):
        self.name, self.description, self._flags = name, description, self.Flag(0)

    def flags(self):
        return self._flags

    def setFlags(self, flags):
        assert isinstance(flags, self.Flag)
        self._flags = flags


class QgsProcessingParameterBoolean(QgsProcessingParameterDefinition):
    pass


class QgsProcessingParameterField(QgsProcessingParameterDefinition):
    pass


class QgsProcessingParameterFile(QgsProcessingParameterDefinition):
    Behavior = Enum("Behavior", "File Folder")


class QgsProcessingParameterNumber(QgsProcessingParameterDefinition):
    Type = Enum("Type", "Integer Double")


class QgsProcessingParameterRasterLayer(QgsProcessingParameterDefinition):
    pass


class QgsProcessingParameterString(QgsProcessingParameterDefinition):
    pass


class QgsProcessingParameterVectorDestination(QgsProcessingParameterDefinition):
    pass


class QgsProcessingParameterVectorLayer(QgsProcessingParameterDefinition):
    pass


class QgsField:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind


# What writes and draws layers is not reached without QGIS: the names are enough.
class QgsCategorizedSymbolRenderer: ...


class QgsDataProvider: ...


class QgsFeatureRequest: ...


class QgsFields: ...


class QgsMapRendererSequentialJob: ...


class QgsMapSettings: ...


class QgsProcessingUtils: ...


class QgsRendererCategory: ...


class QgsVectorFileWriter: ...


class QgsVectorLayer: ...


class QgsVectorLayerUtils: ...
