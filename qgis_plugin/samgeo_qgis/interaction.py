# SPDX-License-Identifier: GPL-2.0-or-later
"""One object after another: what was clicked, what the engine answered, and what the map shows of it.

The engine keeps clicks and candidates; here is kept what it takes to say them again to another engine, if one dies.
"""

import json

from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsPointXY, QgsProject, QgsWkbTypes
from qgis.gui import QgsRubberBand, QgsVertexMarker
from qgis.PyQt.QtCore import QDateTime, QObject, pyqtSignal
from qgis.PyQt.QtGui import QColor

from .frames import outlines
from .results import append, geometry
from .source import Crop, local_file

COLOURS = {"candidate": QColor(255, 140, 0), "hover": QColor(90, 170, 255)}


class Interaction(QObject):
    """Clicks on one raster layer."""

    changed = pyqtSignal()
    """Candidates, or what is waited for, are others now."""
    told = pyqtSignal(str)
    """A sentence for the user: what cannot be."""
    saved = pyqtSignal()
    """An object is in the layer."""

    def __init__(self, canvas, engine, parent=None):
        super().__init__(parent)
        self.canvas, self.engine = canvas, engine
        self.layer = None
        self.settings = {}
        self.model = "samgeo-nano"
        self.candidates = []
        self.chosen = None
        self.steps, self.undone = [], []
        self.waits = 0
        self._polygons = []
        self._session, self._crs = None, None
        self._crop, self._job = None, None
        self._opening = False
        self._then = []
        self._bands, self._markers = {}, []
        self._hover = 0
        self._epoch = 0
        engine.died.connect(self._died)

    # What the user does, in the canvas's CRS

    def set_layer(self, layer):
        """Click on another layer, or on none."""
        self.forget()
        self.layer = layer
        self.changed.emit()

    def set_settings(self, **settings):
        """Look at the layer, or draw outlines, in another way; the clicks stay."""
        if settings == self.settings:
            return
        self.settings = settings
        if self._session is None and not self._opening:
            return
        layer, crs, steps = self.layer, self._crs, self.steps
        self.forget()
        self.layer, self._crs, self.steps = layer, crs, steps
        if crs is not None:
            self.say_again()

    def click(self, point, positive):
        """On the object, or beside it."""
        self._at(point, lambda place: self._step("point", x=place.x(), y=place.y(), positive=positive))

    def box(self, rectangle):
        """Around the object, as the canvas shows it."""

        def ask(_):
            seen = self._transform().transformBoundingBox(rectangle)
            self._step(
                "box", x_min=seen.xMinimum(), y_min=seen.yMinimum(), x_max=seen.xMaximum(), y_max=seen.yMaximum()
            )

        self._at(rectangle.center(), ask)

    def hover(self, point):
        """What a click would show; only the last place matters."""
        if self._session is None or self.waits or self.layer is None:
            return
        try:
            place = self._transform().transform(point)
        except Exception:
            return
        self.engine.forget(self._hover)
        self._hover = self.engine.ask(
            "preview", self._show_hover, lambda message: None, session=self._session, x=place.x(), y=place.y()
        )

    def undo(self):
        """Take the last click or box back."""
        if self.steps and self._session is not None:
            self.undone.append(self.steps.pop())
            self._ask("undo")

    def redo(self):
        """Do again what was taken back."""
        if self.undone and self._session is not None:
            self.steps.append(self.undone.pop())
            self._ask("redo")

    def next_candidate(self):
        """Show the next of the masks that the clicks may mean."""
        if len(self.candidates) > 1:
            self._ask("choose", index=(self.chosen + 1) % len(self.candidates))

    def clear(self):
        """Forget the clicks on this object."""
        self.steps, self.undone = [], []
        if self._session is not None:
            self._ask("clear")
        self._show([], None, b"")

    def accept(self, target, label):
        """Add the chosen candidate to a layer; `saved` tells when it is there."""
        if self.chosen is None:
            self.told.emit(self.tr("Nothing to save yet: click on an object first."))
            return
        prompt = json.dumps(self.steps)

        def add(header, payload):
            attributes = dict(header["attributes"])
            attributes |= {
                "prompt": prompt,
                "source": self.layer.name(),
                "created": QDateTime.currentDateTime(),
            }
            (polygons,) = outlines([header], payload)
            try:
                append(target, polygons, self._crs, attributes)
            except OSError as error:
                self.told.emit(str(error))
                return
            self.steps, self.undone = [], []
            self._show([], None, b"")
            self.saved.emit()

        self._ask("accept", add, label=label or None)

    def forget(self):
        """Let go of the layer, the engine's session, and all that the map shows."""
        if self._session is not None and self.engine.is_running:
            self.engine.ask("close", lambda header, payload: None, lambda message: None, session=self._session)
        self.layer, self._session, self._crs, self._crop = None, None, None, None
        self.steps, self.undone, self._then = [], [], []
        self.waits, self._opening = 0, False
        self._epoch += 1
        self._show([], None, b"")
        self._hide("hover")

    def outline(self):
        """The chosen candidate as a geometry in the canvas's CRS, or None."""
        if self.chosen is None:
            return None
        return geometry(self._polygons[self.chosen], self._back())

    # Sessions

    def _at(self, point, then):
        """Call `then(place)` with a point in the session's CRS, once there is a session that holds it."""
        if self.layer is None:
            self.told.emit(self.tr("Choose a raster layer to click on."))
            return
        try:
            center = self._layer_transform().transform(QgsPointXY(point))
        except Exception:
            center = None
        if center is None or (local_file(self.layer) is not None and not self.layer.extent().contains(center)):
            self.told.emit(self.tr("This place is not on {}.").format(self.layer.name()))
            return

        def act():
            then(self._transform().transform(QgsPointXY(point)))

        if self._session is not None and (self._crop is None or self._crop.holds(center)):
            act()
            return
        if self._crop is not None and self.steps:
            self.told.emit(self.tr("That is too far from the other clicks. Save or clear the object first."))
            return
        self._then.append(act)
        if not self._opening:
            self._open(center)

    def _open(self, center):
        self._opening = True
        self.waits += 1
        self.changed.emit()
        path = local_file(self.layer)
        if path is not None:
            self._crop = None
            self._send_open({"path": path}, b"")
            return
        self._crop = Crop(self.layer, center, self._units_per_px(center))
        self._job = self._crop.render(self._send_open)

    def _send_open(self, header, payload):
        if self.layer is None or not self._opening:
            return
        header = header | {"model": self.model, "settings": self.settings}
        if self._session is not None:
            self.engine.ask("close", lambda header, payload: None, lambda message: None, session=self._session)
            self._session = None
        epoch = self._epoch

        def opened(answer, data):
            if epoch == self._epoch:
                self._opened(answer)

        def failed(message):
            if epoch == self._epoch:
                self._not_opened(message)

        self.engine.ask("open", opened, failed, payload, **header)

    def _opened(self, header):
        self.waits -= 1
        self._opening = False
        self._session = header["session"]
        if header["crs"]:
            self._crs = QgsCoordinateReferenceSystem.fromWkt(header["crs"])
        else:
            self._crs = self.layer.crs()
        waiting, self._then = self._then, []
        for act in waiting:
            act()
        self.changed.emit()

    def _not_opened(self, message):
        self.waits -= 1
        self._opening = False
        self._then = []
        self.told.emit(message)
        self.changed.emit()

    # Asking

    def _step(self, op, **header):
        """A click or a box, which counts once the engine has taken it."""
        self._hide("hover")

        def then(answer, payload):
            self.steps.append({"op": op, **header})
            self.undone = []
            self._answered(answer, payload)

        self._ask(op, then, **header)

    def _ask(self, op, then=None, **header):
        self.waits += 1
        epoch = self._epoch
        self.changed.emit()

        def done(answer, payload):
            if epoch != self._epoch:  # of a layer that was left, or of an engine that died
                return
            self.waits -= 1
            (then or self._answered)(answer, payload)
            self.changed.emit()

        def failed(message):
            if epoch != self._epoch:
                return
            self.waits -= 1
            self.told.emit(message)
            self.changed.emit()

        self.engine.ask(op, done, failed, session=self._session, **header)

    def _answered(self, header, payload):
        self._show(header["candidates"], header["chosen"], payload)

    def _died(self, message):
        """Another engine can be told the same clicks; the user says when."""
        self._session, self._crop = None, None
        self.waits, self._opening, self._then = 0, False, []
        self._epoch += 1
        self._show([], None, b"")
        self.told.emit(message)

    def say_again(self):
        """Tell a new engine the clicks on the object that is not saved yet."""
        steps, self.steps, self.undone = self.steps, [], []
        if not steps or self.layer is None:
            return
        first = steps[0]
        x, y = (first["x"], first["y"]) if first["op"] == "point" else (first["x_min"], first["y_min"])
        place = self._back().transform(x, y)

        def repeat(_):
            for step in steps:
                header = dict(step)
                self._step(header.pop("op"), **header)

        self._at(place, repeat)

    # Where things are

    def _canvas_crs(self):
        return self.canvas.mapSettings().destinationCrs()

    def _transform(self):
        """From the canvas's CRS to the session's."""
        return QgsCoordinateTransform(self._canvas_crs(), self._crs, QgsProject.instance())

    def _back(self):
        """From the session's CRS to the canvas's."""
        return QgsCoordinateTransform(self._crs, self._canvas_crs(), QgsProject.instance())

    def _layer_transform(self):
        return QgsCoordinateTransform(self._canvas_crs(), self.layer.crs(), QgsProject.instance())

    def _units_per_px(self, center):
        """Units of the layer to a pixel of the canvas, at a place in the layer's CRS."""
        back = QgsCoordinateTransform(self.layer.crs(), self._canvas_crs(), QgsProject.instance())
        here = back.transform(center)
        beside = QgsPointXY(here.x() + self.canvas.mapUnitsPerPixel(), here.y())
        return max(center.distance(self._layer_transform().transform(beside)), 1e-12)

    # What the map shows

    def _show(self, candidates, chosen, payload):
        self.candidates, self.chosen = candidates, chosen
        self._polygons = outlines(candidates, payload)
        self._mark()
        if chosen is None:
            self._hide("candidate")
        else:
            self._draw("candidate", self._polygons[chosen])
        self.changed.emit()

    def _show_hover(self, header, payload):
        parts = outlines(header["candidates"], payload)
        if parts and not self.waits:
            self._draw("hover", parts[0])
        else:
            self._hide("hover")

    def _draw(self, name, polygons):
        if name not in self._bands:
            band = QgsRubberBand(self.canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
            colour = QColor(COLOURS[name])
            band.setStrokeColor(colour)
            colour.setAlpha(70 if name == "candidate" else 30)
            band.setFillColor(colour)
            band.setWidth(2 if name == "candidate" else 1)
            self._bands[name] = band
        self._bands[name].setToGeometry(geometry(polygons, self._back()), None)

    def _hide(self, name):
        band = self._bands.pop(name, None)
        if band is not None:
            self.canvas.scene().removeItem(band)

    def _mark(self):
        """A green cross for each click on the object, a red one beside it."""
        for marker in self._markers:
            self.canvas.scene().removeItem(marker)
        self._markers = []
        if self._crs is None:
            return
        back = self._back()
        for step in self.steps:
            if step["op"] != "point":
                continue
            marker = QgsVertexMarker(self.canvas)
            marker.setCenter(back.transform(step["x"], step["y"]))
            marker.setIconType(QgsVertexMarker.IconType.ICON_CROSS)
            marker.setColor(QColor(0, 160, 60) if step["positive"] else QColor(220, 30, 30))
            marker.setPenWidth(3)
            self._markers.append(marker)
