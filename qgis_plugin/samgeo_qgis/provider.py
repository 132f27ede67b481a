# SPDX-License-Identifier: GPL-2.0-or-later
"""The algorithms of the Processing toolbox: each is one command of samgeo, run in the engine's Python."""

import json
import os

from qgis.core import (
    QgsFeatureRequest,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
    QgsProcessingProvider,
    QgsProcessingUtils,
    QgsVectorFileWriter,
)
from qgis.PyQt.QtCore import QProcess
from qgis.PyQt.QtGui import QIcon

from . import interpreter
from .engine import clean_process
from .source import local_file, wkt
from .texts import tr

ENDINGS = ("gpkg", "shp", "geojson", "fgb", "parquet")
"""Of what samgeo writes."""
HERE = os.path.dirname(__file__)
KILL_AFTER_MS = 10_000
"""What samgeo has to end in after it is asked to; it leaves what is done, and goes on from there next time."""


class Provider(QgsProcessingProvider):
    """All algorithms."""

    def id(self):
        """As in samgeo:everything."""
        return "samgeo"

    def name(self):
        """As the toolbox shows it."""
        return "samgeo"

    def icon(self):
        """Ours."""
        return QIcon(os.path.join(HERE, "icons", "samgeo.svg"))

    def supportsNonFileBasedOutput(self):
        """Databases and layers in memory: none."""
        return False

    def supportedOutputVectorLayerExtensions(self):
        """What samgeo writes and this QGIS reads."""
        known = QgsVectorFileWriter.supportedFormatExtensions()
        return [ending for ending in ENDINGS if ending in known]

    def loadAlgorithms(self):
        """All of them."""
        for kind in (Everything, Points, Boxes, Polygons, Words, Encode):
            self.addAlgorithm(kind())


class Command(QgsProcessingAlgorithm):
    """What all have in common: a raster in, samgeo's Python to run, progress, cancel."""

    NAME, TITLE, HELP = "", "", ""
    INPUT, OUTPUT = "INPUT", "OUTPUT"
    WRITES = True

    def createInstance(self):
        """Another one."""
        return type(self)()

    def name(self):
        """As in samgeo:everything."""
        return self.NAME

    def displayName(self):
        """As the toolbox shows it."""
        return tr(self.TITLE)

    def icon(self):
        """Ours."""
        return QIcon(os.path.join(HERE, "icons", "samgeo.svg"))

    def shortHelpString(self):
        """Beside the form."""
        return tr(self.HELP)

    def initAlgorithm(self, configuration=None):
        """The form: the raster, what is special, how it is looked at, and where the features go."""
        self.addParameter(QgsProcessingParameterRasterLayer(self.INPUT, tr("Raster")))
        self.add_own()
        self._add_advanced(QgsProcessingParameterString("MODEL", tr("Model or file of weights"), "samgeo-nano"))
        self._add_advanced(
            QgsProcessingParameterNumber(
                "RESOLUTION",
                tr("Ground metres of a pixel that the model sees; 0: the raster's"),
                QgsProcessingParameterNumber.Type.Double,
                0,
                minValue=0,
            )
        )
        self._add_advanced(
            QgsProcessingParameterString("BANDS", tr("Bands as red, green, blue, such as 4,3,2"), "", optional=True)
        )
        if not self.WRITES:
            return
        double = QgsProcessingParameterNumber.Type.Double
        self.addParameter(QgsProcessingParameterBoolean("SQUARE", tr("Right-angled corners"), False))
        self.addParameter(
            QgsProcessingParameterNumber("SIMPLIFY", tr("Simplify by so many metres"), double, 0, minValue=0)
        )
        self._add_advanced(
            QgsProcessingParameterNumber("MIN_AREA", tr("Smallest area in square metres"), double, 0, minValue=0)
        )
        self._add_advanced(QgsProcessingParameterBoolean("EXCLUSIVE", tr("No two features overlap"), False))
        self._add_advanced(
            QgsProcessingParameterVectorLayer(
                "AOI",
                tr("Look at and keep what is inside"),
                [QgsProcessing.SourceType.TypeVectorPolygon],
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                self.OUTPUT, tr("Features"), QgsProcessing.SourceType.TypeVectorPolygon
            )
        )

    def add_own(self):
        """Parameters of this algorithm alone."""

    def own(self, parameters, context, feedback):
        """Their options for samgeo."""
        return []

    def prepareAlgorithm(self, parameters, context, feedback):
        """In the main thread: what is asked of layers."""
        layer = self.parameterAsRasterLayer(parameters, self.INPUT, context)
        if layer is None:
            raise QgsProcessingException(tr("There is no raster."))
        self._path = local_file(layer)
        if self._path is None:
            raise QgsProcessingException(
                tr("{}: not a file on this machine. Fix: save the part that you need with Export > Save As").format(
                    layer.name()
                )
            )
        crs = layer.crs()
        given = ["--raster-crs", wkt(crs)] if crs.isValid() and crs != layer.dataProvider().crs() else []
        self._options = [*self.own(parameters, context, feedback), *self._common(parameters, context), *given]
        return True

    def processAlgorithm(self, parameters, context, feedback):
        """Run samgeo and tell how far it is."""
        if not self.WRITES:
            self.call(["encode", self._path, *self._options, "--progress", "json"], feedback, goes_on=True)
            return {}
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        file = output.partition("|")[0]
        named = not os.path.abspath(file).startswith(os.path.abspath(QgsProcessingUtils.tempFolder()))
        self.call(["segment", self._path, file, *self._options, "--progress", "json", "--overwrite"], feedback, named)
        return {self.OUTPUT: output}

    def _common(self, parameters, context):
        options = ["--model", self.parameterAsString(parameters, "MODEL", context) or "samgeo-nano"]
        numbers = {"RESOLUTION": "--resolution"}
        if self.WRITES:
            numbers |= {"SIMPLIFY": "--simplify", "MIN_AREA": "--min-area"}
            options += [
                f"--{name.lower()}"
                for name in ("SQUARE", "EXCLUSIVE")
                if self.parameterAsBool(parameters, name, context)
            ]
            area = self.parameterAsVectorLayer(parameters, "AOI", context)
            options += ["--aoi", _written(area, context)] if area is not None else []
        for name, option in numbers.items():
            value = self.parameterAsDouble(parameters, name, context)
            options += [option, repr(value)] if value else []
        bands = self.parameterAsString(parameters, "BANDS", context)
        return options + (["--bands", bands] if bands else [])

    def _add_advanced(self, parameter):
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        self.addParameter(parameter)

    def call(self, arguments, feedback, goes_on):
        """Run samgeo to its end. Raises QgsProcessingException with its last words if it fails or is cancelled.

        goes_on: whether the same call finds what a cancelled one has done.
        """
        python = interpreter.find_python()
        if python is None:
            raise QgsProcessingException(
                tr("There is no engine. Fix: press the samgeo button and make one, or set {}").format(
                    interpreter.VARIABLE
                )
            )
        feedback.pushCommandInfo("samgeo " + " ".join(arguments))
        process = clean_process()
        process.start(python, ["-m", "samgeo", *arguments])
        if not process.waitForStarted(30_000):
            raise QgsProcessingException(tr("{} could not be started").format(python))
        said = []
        while process.state() != QProcess.ProcessState.NotRunning:
            process.waitForReadyRead(200)
            _hear(process, feedback, said)
            if feedback.isCanceled():
                process.terminate()
                if not process.waitForFinished(KILL_AFTER_MS):
                    process.kill()
                    process.waitForFinished()
                raise QgsProcessingException(
                    tr("Cancelled. The same call goes on from here.") if goes_on else tr("Cancelled.")
                )
        _hear(process, feedback, said)
        if process.exitStatus() != QProcess.ExitStatus.NormalExit or process.exitCode() not in (0, 10):
            raise QgsProcessingException(
                "\n".join(said[-5:]) or tr("samgeo ended with code {}").format(process.exitCode())
            )
        if process.exitCode():
            feedback.reportError("\n".join(said[-5:]))
        feedback.setProgress(100)


class Everything(Command):
    """No prompts."""

    NAME, TITLE = "everything", "Segment everything"
    HELP = (
        "Finds the objects of a raster without being told what to look for, and says in the column label what it takes "
        "them for. Large rasters are read tile by tile, and no seam shows. A run to a file that was cancelled goes on "
        "when it is given again."
    )

    def add_own(self):
        """How thoroughly."""
        self._add_advanced(QgsProcessingParameterBoolean("FAST", tr("Fast: miss parts of what was found"), False))

    def own(self, parameters, context, feedback):
        """How thoroughly."""
        return ["--fast"] if self.parameterAsBool(parameters, "FAST", context) else []


class _ByLayer(Command):
    """Prompts from a vector layer."""

    PROMPTS, OPTION, KIND = "PROMPTS", "", None

    def add_own(self):
        """The layer."""
        self.addParameter(QgsProcessingParameterVectorLayer(self.PROMPTS, tr("Prompts"), [self.KIND]))

    def own(self, parameters, context, feedback):
        """The layer as a file."""
        layer = self.parameterAsVectorLayer(parameters, self.PROMPTS, context)
        if layer is None:
            raise QgsProcessingException(tr("There are no prompts."))
        return [self.OPTION, _written(layer, context)]


class Points(_ByLayer):
    """Clicks."""

    NAME, TITLE, OPTION = "points", "Segment by points", "--points"
    KIND = QgsProcessing.SourceType.TypeVectorPoint
    HELP = (
        "One object for each point of a layer; or for all points that share a value of the object field, where the "
        "label field tells clicks on the object (1, fg) from clicks beside it (0, bg). Of a selection only that is "
        "used."
    )

    def add_own(self):
        """The layer and two fields."""
        super().add_own()
        fields = {"OBJECT_FIELD": tr("Field that tells objects apart"), "LABEL_FIELD": tr("Field with 1 or 0")}
        for name, text in fields.items():
            self.addParameter(QgsProcessingParameterField(name, text, None, self.PROMPTS, optional=True))

    def own(self, parameters, context, feedback):
        """The layer and the fields."""
        options = super().own(parameters, context, feedback)
        for name, option in (("OBJECT_FIELD", "--object-column"), ("LABEL_FIELD", "--label-column")):
            field = self.parameterAsString(parameters, name, context)
            options += [option, field] if field else []
        return options


class Boxes(_ByLayer):
    """Bounding boxes."""

    NAME, TITLE, OPTION = "boxes", "Segment by boxes", "--boxes"
    KIND = QgsProcessing.SourceType.TypeVectorAnyGeometry
    HELP = (
        "One object for each feature of a layer, known by its bounding box: existing outlines, even if they are off by "
        "a few metres, are good boxes. Of a selection only that is used."
    )


class Polygons(_ByLayer):
    """Rough outlines."""

    NAME, TITLE, OPTION = "polygons", "Segment by polygons", "--masks"
    KIND = QgsProcessing.SourceType.TypeVectorPolygon
    HELP = "Makes rough polygons exact: one object for each. Of a selection only that is used."


class Words(Command):
    """Words."""

    NAME, TITLE = "words", "Segment by words"
    HELP = (
        "Finds all objects of some classes. Without more, the words are building, field, tree, forest, water, road, "
        "vehicle, ship, solar panel, pool, greenhouse and bare ground."
    )

    def add_own(self):
        """The words."""
        self.addParameter(QgsProcessingParameterString("WORDS", tr("What to look for"), "building"))
        self._add_advanced(
            QgsProcessingParameterFile(
                "TEXT_MODEL",
                tr("Folder of a model for other words"),
                QgsProcessingParameterFile.Behavior.Folder,
                optional=True,
            )
        )

    def own(self, parameters, context, feedback):
        """The words."""
        folder = self.parameterAsString(parameters, "TEXT_MODEL", context)
        options = ["--text", self.parameterAsString(parameters, "WORDS", context)]
        return options + (["--text-model", folder] if folder else [])


class Encode(Command):
    """Ahead of clicking."""

    NAME, TITLE, WRITES = "encode", "Encode ahead", False
    HELP = (
        "Fills the cache with what the model makes of a raster, so that clicks and later runs on it are answered at "
        "once. A run that was cancelled goes on."
    )


def _written(layer, context):
    """Path of a file that samgeo reads, with the selected features of a layer, or all if none is."""
    path = QgsProcessingUtils.generateTempFilename("features.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    if layer.selectedFeatureCount():  # selections have no order of their own
        request = QgsFeatureRequest().setFilterFids(layer.selectedFeatureIds()).addOrderBy("$id")
        layer = layer.materialize(request)
    written = QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, context.transformContext(), options)
    if written[0] != QgsVectorFileWriter.WriterError.NoError:
        raise QgsProcessingException(written[1])
    return path


def _hear(process, feedback, said):
    """Progress to the bar, all else to the log."""
    for line in bytes(process.readAllStandardError()).decode("utf-8", "replace").splitlines():
        try:
            told = json.loads(line)
            done, total = told["done"], told["total"]
        except (ValueError, TypeError, KeyError):
            said.append(line)
            feedback.pushInfo(line)
            continue
        feedback.setProgressText(f"{told['phase']}: {done} / {total}")
        if total:
            feedback.setProgress(100 * done / total)
    text = bytes(process.readAllStandardOutput()).decode("utf-8", "replace").strip()
    if text:
        said.extend(text.splitlines())
        feedback.pushInfo(text)
