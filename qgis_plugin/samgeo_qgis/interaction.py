# SPDX-License-Identifier: GPL-2.0-or-later
"""One object after another: what was clicked, what the engine answered, and what the map shows of it.

The engine keeps clicks and candidates; `steps` keeps what it takes to say them again, to another engine or to the same
one with another look, until the object is saved or cleared.
"""

import contextlib
import json
import math

from qgis.core import QgsCoordinateTransform, QgsPointXY, QgsProject, QgsRectangle
from qgis.PyQt.QtCore import QDateTime, QObject, QTimer, pyqtSignal

from .frames import outlines
from .interpreter import DEFAULT_MODEL
from .marks import Marks
from .results import append, geometry, prepare
from .source import CROP_PX, Crop, bands, local_file, native, wkt
from .texts import tr
from .tidy import sizes, without_pieces

REST_MS = 400
"""How long the mouse rests before what lies under it is encoded; a click elsewhere would wait for that."""
SAME_PLACE_PX = 1.0
"""Engine and QGIS mean the same place if no side of the raster is farther off."""


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
        self.smallest_m2 = 0.0
        self.model = DEFAULT_MODEL
        self.candidates = []
        self.chosen = None
        self.steps, self.undone = [], []
        self.waits = 0
        self._parts, self._polygons = [], []
        self._session, self._crs, self._bands = None, None, None
        self._crop, self._job, self._pictures = None, None, False
        self._opening, self._unopened = False, False
        self._then = []
        """What waits for a session: arguments of `_at`."""
        self._asked = []
        """Clicks that the engine has heard and not answered."""
        self._withdrawn = []
        """Those of them that were taken back meanwhile, newest first."""
        self._saving = False
        self.marks = Marks(canvas)
        self._hover, self._hover_next = 0, None
        self._hovered = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(lambda: self._look_at(self._hovered, encode=True))
        self._epoch, self._object = 0, 0
        engine.died.connect(self._died)
        canvas.destinationCrsChanged.connect(self._redraw)

    # What the user does, in the canvas's CRS

    def set_layer(self, layer):
        """Click on another layer, or on none."""
        if layer is not self.layer or layer is None:
            self.forget()
            self.layer = layer
            if layer is not None:
                layer.rendererChanged.connect(self._look_changed)
                layer.crsChanged.connect(self._crs_changed)
            self.changed.emit()

    def set_settings(self, **settings):
        """Look at the layer, or draw outlines, in another way; the clicks stay."""
        if settings != self.settings:
            self.settings = settings
            if self._session is not None or self._opening:
                self.begin_again()

    def set_smallest(self, square_metres):
        """Holes and loose parts below this are no part of an outline; what is shown changes at once."""
        self.smallest_m2 = square_metres
        self._polygons = self._tidy(self._parts)
        self._redraw()

    def warm_up(self):
        """Load the model and open the layer before there is a click, and encode what is in view if that is not much."""
        self.engine.ask("load", lambda header, payload: None, self.told.emit, model=self.model)
        if self.layer is None or self._session is not None or self._opening:
            return
        try:
            seen = self._layer_transform().transformBoundingBox(self.canvas.extent()).intersect(self.layer.extent())
            middle = None if seen.isEmpty() else self._from_layer().transform(seen.center())
        except Exception:  # QgsCsException: map and layer have no place in common
            return
        if middle is None:
            return
        near = max(seen.width(), seen.height()) <= CROP_PX * (native(self.layer) or seen.width())
        self._at(middle, lambda place: near and self._look("prefetch", place), quietly=True)

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
        """What a click would show. One place is looked at at a time, and then the last one that the mouse came to.

        A place that is not encoded yet is, once the mouse rests there.
        """
        self._rest.stop()
        self._look_at(point, encode=False)

    def _look_at(self, point, encode):
        if self.waits or self.layer is None or self._unopened or not self.engine.is_running:
            return
        if self._hover:
            self._hover_next = point
        else:
            self._hovered = point
            self._at(point, lambda place: self._preview(place, encode), quietly=True)

    def _preview(self, place, encode):
        epoch = self._epoch

        def show(header, payload):
            self._hover = 0
            if epoch == self._epoch and not self.waits:
                self._show_hover(header, payload)
                if not header.get("ready", True):
                    self._rest.start()
            point, self._hover_next = self._hover_next, None
            if point is not None:
                self.hover(point)

        nothing = {"candidates": []}
        self._hover = self._look("preview", place, show, lambda message: show(nothing, b""), encode=encode)

    def stop_hovering(self):
        """Show nothing under the mouse."""
        self.engine.forget(self._hover)
        self._hover, self._hover_next = 0, None
        self._rest.stop()
        self.marks.hide("hover")

    def undo(self):
        """Take the last click or box back; one that is not answered yet goes as soon as it is."""
        if self._unsay():
            return
        heard = self._heard()
        if heard:
            self._withdrawn.append(heard[-1])
            return
        if self.waits or self._session is None or not self.steps:
            return
        taken = [self.steps.pop()]
        while taken[-1]["op"] == "choose" and self.steps:
            taken.append(self.steps.pop())
        self.undone.append(taken[::-1])
        self._ask("undo")

    def redo(self):
        """Do again what was taken back."""
        if not self.waits and self.undone and self._session is not None:
            self.steps += self.undone.pop()
            self._ask("redo")

    def next_candidate(self):
        """Show the next of the masks that the clicks may mean."""
        if not self.waits and len(self.candidates) > 1:
            self._step("choose", index=(self.chosen + 1) % len(self.candidates))

    def clear(self):
        """Forget the clicks on this object."""
        self._object += 1
        self.steps, self.undone, self._then, self._asked, self._withdrawn = [], [], [], [], []
        if self._session is not None:
            self._ask("clear")
        self.stop_hovering()
        self._show([], None, b"")

    @property
    def is_answering(self):
        """Whether a click or a box waits for its answer."""
        return bool(self._asked) or any(not quietly for _, _, quietly in self._then)

    def cancel(self):
        """Wait no longer for the last click. Returns True if another engine must hear the ones before it."""
        if self._unsay():
            return False
        self._asked, self._withdrawn = self._heard()[:-1], []
        self.engine.stop(at_once=True)
        self.begin_again()
        self.warm_up()
        return True

    def _heard(self):
        """Clicks without an answer that were not taken back."""
        return [step for step in self._asked if not _is_in(step, self._withdrawn)]

    def _unsay(self):
        """Drop the newest of the clicks that the engine has not heard yet, if there are any."""
        clicks = [one for one in self._then if not one[2]]
        if clicks:
            self._then = [one for one in self._then if one is not clicks[-1]]
            self.changed.emit()
        return bool(clicks)

    def accept(self, target, label):
        """Add the chosen candidate to a layer; `saved` tells when it is there."""
        if self.waits:
            self.told.emit(tr("The engine is still at work on the last click."))
            return
        if self.chosen is None:
            self.told.emit(tr("Nothing to save yet: click on an object first."))
            return
        crs, source, steps, prompt = self._crs, self.layer.name(), list(self.steps), json.dumps(self.steps)
        smallest, epoch, number = self.smallest_m2, self._epoch, self._object
        try:
            prepare(target)
        except OSError as error:
            self.told.emit(str(error))
            return

        def add(header, payload):
            self._saving = False
            attributes = dict(header["attributes"])
            attributes.update(prompt=prompt, source=source, created=QDateTime.currentDateTime())
            (parts,) = outlines([header], payload)
            polygons = without_pieces(parts, crs, smallest)
            if polygons != parts:
                attributes.update(sizes(polygons, crs))
            try:
                append(target, polygons, crs, attributes)
            except Exception as error:  # a layer that was deleted, a place that its CRS does not know, ...
                self.told.emit(str(error))
                if number == self._object:
                    self.steps = steps
                    self._then = [one for one in self._then if one[2]]  # they were meant for the next object
                    if self._session is not None:
                        self._replay()
                self._go_on()
                return
            self._object += 1
            self.steps, self.undone = [], []
            if epoch != self._epoch and self._session is not None:  # another session has heard the clicks meanwhile
                self._ask("clear")
            self._show([], None, b"")
            self.saved.emit()
            self._go_on()

        def refused():
            self._saving = False
            if number == self._object:
                self._then = [one for one in self._then if one[2]]
            self._go_on()

        self._saving = True
        self._ask("accept", add, always=True, refused=refused, label=label or None)

    def forget(self):
        """Let go of the layer, the engine's session, and all that the map shows."""
        if self.layer is not None:
            with contextlib.suppress(RuntimeError, TypeError):  # it is gone, or was
                self.layer.rendererChanged.disconnect(self._look_changed)
                self.layer.crsChanged.disconnect(self._crs_changed)
        self.layer = None
        self._drop()

    def _drop(self):
        """Let go of all but the layer."""
        self._close(self._session)
        self._lose()
        self._object += 1
        self._crs, self._pictures = None, False
        self.steps, self.undone = [], []
        self._show([], None, b"")

    def _look_changed(self):
        """The engine is shown what QGIS shows now, if it makes a difference: a file is read by its bands."""
        if (self._session is not None or self._opening) and (
            self._crop is not None or bands(self.layer) != self._bands
        ):
            self.begin_again()

    def _crs_changed(self):
        """The clicks are where nothing of the layer is any more."""
        if self.steps or self.is_answering:
            self.told.emit(tr("The CRS of {} is another one: the clicks are dropped.").format(self.layer.name()))
        self._drop()

    def begin_again(self):
        """Open the layer anew, and say again what is not saved yet, and what was not answered yet."""
        back = self._back() if self._crs is not None else None
        waiting = [(back.transform(_middle(step)), self._again(step), False) for step in self._heard()] + self._then
        self._close(self._session)
        self._lose()
        self._show([], None, b"")
        if self.layer is None:
            return
        if self.steps:
            self._at(back.transform(_middle(self.steps[0])), lambda place: None)
        for one in waiting:
            self._at(*one)

    def _again(self, step):
        return lambda place: self._step(**step)

    def outline(self):
        """The chosen candidate as a geometry in the canvas's CRS, or None."""
        return None if self.chosen is None else geometry(self._polygons[self.chosen], self._back())

    # Sessions

    def _at(self, point, then, quietly=False):
        """Call `then(place)` with a point in the session's CRS, once there is a session that holds it.

        quietly: where that cannot be, nobody is told.
        """
        tell = (lambda message: None) if quietly else self.told.emit
        if self.layer is None:
            tell(tr("Choose a raster layer to click on."))
            return
        if not self.layer.isValid():
            name = self.layer.name()
            tell(tr("{} cannot be read. Fix: choose another layer, or repair its data source").format(name))
            return
        path = None if self._pictures else local_file(self.layer)
        try:
            center = self._layer_transform().transform(QgsPointXY(point))
            crop = None if path is not None else Crop(self.layer, center, self._units_per_px(center))
        except Exception:  # QgsCsException
            center = crop = None
        if center is None or (path is not None and not self.layer.extent().contains(center)):
            tell(tr("This place is not on {}.").format(self.layer.name()))
        elif self._opening or self._saving or self._withdrawn:
            self._then.append((point, then, quietly))
        elif self._session is not None and self._shows(center, crop):
            then(self._transform().transform(QgsPointXY(point)))
        elif self._session is not None and (self.steps or self._asked):
            tell(tr("That is too far from the other clicks. Save or clear the object first."))
        else:
            self._then.append((point, then, quietly))
            self._open(path, crop)

    def _shows(self, center, crop):
        """Whether the session holds a place, at the scale of the map if nothing was clicked yet."""
        if self._crop is None:
            return crop is None
        return self._crop.holds(center) and (
            bool(self.steps or self._asked) or self._crop.units_per_px == crop.units_per_px
        )

    def _open(self, path, crop):
        self._close(self._session)
        self._session = None
        self._opening = True
        self._crop = crop
        self._crs, self._bands = self.layer.crs(), bands(self.layer)
        self.waits += 1
        self.changed.emit()
        epoch = self._epoch
        if path is not None:
            self._send_open(epoch, {"path": path}, b"")
        else:
            self._job = crop.render(lambda header, payload: self._send_open(epoch, header, payload))

    def _send_open(self, epoch, header, payload):
        self._job = None
        if epoch != self._epoch:
            return
        settings = dict(self.settings)
        if "path" in header:
            settings.update({} if self._bands is None else {"bands": self._bands})
            settings.update({"raster_crs": wkt(self.layer.crs())} if self.layer.crs().isValid() else {})

        def opened(answer, data):
            if epoch == self._epoch:
                self._opened(answer, "path" in header)
            else:
                self._close(answer["session"])

        def failed(message):
            if epoch == self._epoch:
                self._lose()
                self._unopened = True
                self.told.emit(message)
                self.changed.emit()

        self.engine.ask("open", opened, failed, payload, model=self.model, settings=settings, **header)

    def _opened(self, answer, by_path):
        self.waits -= 1
        self._opening = False
        if by_path and not _same_place(answer, self.layer.extent()):
            self._pictures = True  # engine and QGIS place this file differently; QGIS is right
            self._close(answer["session"])
            waiting, self._then = self._then, []
            if self.steps:
                self._at(self._back().transform(_middle(self.steps[0])), lambda place: None)
            for one in waiting:
                self._at(*one)
            self.changed.emit()
            return
        self._session = answer["session"]
        self._replay()
        self._go_on()
        self.changed.emit()

    def _go_on(self):
        """Ask what waited for a session, for an object to be saved, or for a click to be taken back."""
        waiting, self._then = self._then, []
        clicks = [one for one in waiting if not one[2]]
        for one in clicks or waiting:  # a look ahead would keep a click waiting
            self._at(*one)

    def _replay(self):
        """Say again what the object at hand was told."""
        for step in self.steps:
            self._ask(**step)

    def _close(self, session):
        if session is not None and self.engine.is_running:
            self.engine.ask("close", lambda header, payload: None, lambda message: None, session=session)

    def _lose(self):
        """There is no session any more, and no answer of it counts."""
        if self._job is not None:
            self._job.cancelWithoutBlocking()
        self.stop_hovering()
        self._session, self._crop, self._job = None, None, None
        self.waits, self._opening, self._unopened = 0, False, False
        self._then, self._asked, self._withdrawn, self._saving = [], [], [], False
        self._epoch += 1

    # Asking

    def _step(self, op, **header):
        """A click, a box or a choice, which counts once the engine has taken it."""
        self.stop_hovering()
        step = {"op": op, **header}
        if op != "choose":
            self._asked.append(step)

        def then(answer, payload):
            self._asked = [one for one in self._asked if one is not step]
            if not _is_in(step, self._withdrawn):
                self.steps.append(step)
                self.undone = []
                self._answered(answer, payload)
            self._take_back()

        def refused():
            self._asked = [one for one in self._asked if one is not step]
            if _is_in(step, self._withdrawn):
                self._withdrawn = [one for one in self._withdrawn if one is not step]
                self._take_back()

        self._ask(op, then, refused=refused, **header)

    def _take_back(self):
        """Once all clicks are answered, undo those that were taken back meanwhile."""
        if self._asked:
            return
        taken, self._withdrawn = self._withdrawn, []
        if taken:
            self.undone = [[step] for step in taken]
            for _ in taken:
                self._ask("undo")
        self._go_on()

    def _look(self, op, place, then=lambda header, payload: None, failed=lambda message: None, **header):
        """Ask what changes nothing. Returns the number of the request."""
        return self.engine.ask(op, then, failed, session=self._session, x=place.x(), y=place.y(), **header)

    def _ask(self, op, then=None, always=False, refused=lambda: None, **header):
        """Ask about the session; answers about an object that was cleared are not heard, but for `always`."""
        self.waits += 1
        epoch, number = self._epoch, self._object
        self.changed.emit()

        def done(answer, payload):
            here = epoch == self._epoch
            self.waits -= here
            if always or (here and number == self._object):
                (then or self._answered)(answer, payload)
            self.changed.emit()

        def failed(message):
            if epoch == self._epoch:
                self.waits -= 1
                refused()
                self.told.emit(message)
                self.changed.emit()

        self.engine.ask(op, done, failed, session=self._session, **header)

    def _answered(self, header, payload):
        self._show(header["candidates"], header["chosen"], payload)

    def _died(self, message):
        """Another engine can be told the same clicks; the user says when."""
        self._lose()
        self._show([], None, b"")
        self.told.emit(message)

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

    def _from_layer(self):
        return QgsCoordinateTransform(self.layer.crs(), self._canvas_crs(), QgsProject.instance())

    def _units_per_px(self, center):
        """Units of the layer to a pixel of the canvas, at a place in the layer's CRS."""
        here = self._from_layer().transform(center)
        beside = QgsPointXY(here.x() + self.canvas.mapUnitsPerPixel(), here.y())
        return max(center.distance(self._layer_transform().transform(beside)), 1e-12)

    # What the map shows

    def _show(self, candidates, chosen, payload):
        self.candidates, self.chosen = candidates, chosen
        self._parts = outlines(candidates, payload)
        self._polygons = self._tidy(self._parts)
        self._redraw()
        self.changed.emit()

    def _tidy(self, parts):
        return [without_pieces(polygons, self._crs, self.smallest_m2) for polygons in parts]

    def _redraw(self):
        back = None if self._crs is None else self._back()
        clicks = [step for step in self.steps if step["op"] == "point"] if back is not None else []
        self.marks.cross([(back.transform(step["x"], step["y"]), step["positive"]) for step in clicks])
        if self.chosen is None:
            self.marks.hide("candidate")
        else:
            self.marks.draw("candidate", geometry(self._polygons[self.chosen], back))

    def _show_hover(self, header, payload):
        parts = self._tidy(outlines(header["candidates"], payload))
        if parts:
            self.marks.draw("hover", geometry(parts[0], self._back()))
        else:
            self.marks.hide("hover")


def _is_in(step, steps):
    """Whether it is this very step: two clicks may be alike."""
    return any(step is one for one in steps)


def _middle(step):
    """Where a click is, or the middle of a box."""
    if step["op"] == "point":
        return QgsPointXY(step["x"], step["y"])
    return QgsPointXY((step["x_min"] + step["x_max"]) / 2, (step["y_min"] + step["y_max"]) / 2)


def _same_place(answer, extent):
    """Whether the raster as the engine opened it lies where QGIS shows it."""
    a, b, c, d, e, f = answer["transform"]
    corners = [(0, 0), (answer["width"], 0), (0, answer["height"]), (answer["width"], answer["height"])]
    xs = [a * col + b * row + c for col, row in corners]
    ys = [d * col + e * row + f for col, row in corners]
    seen = QgsRectangle(min(xs), min(ys), max(xs), max(ys))
    apart = [
        abs(getattr(seen, side)() - getattr(extent, side)())
        for side in ("xMinimum", "yMinimum", "xMaximum", "yMaximum")
    ]
    return max(apart) <= SAME_PLACE_PX * max(math.hypot(a, d), math.hypot(b, e))
