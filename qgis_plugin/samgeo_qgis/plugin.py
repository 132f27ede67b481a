# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin: a button, a panel, a map tool, and the algorithms of the Processing toolbox."""

import os

from qgis.core import Qgis, QgsApplication, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication, QObject, Qt
from qgis.PyQt.QtGui import QIcon, QKeySequence
from qgis.PyQt.QtWidgets import QAction, QApplication, QFileDialog, QPushButton

from . import interpreter, texts
from .keys import Keys
from .provider import Provider
from .texts import tr

HERE = os.path.dirname(__file__)


class Plugin(QObject):
    """Builds the face when it is first asked for; QGIS starts no slower with it."""

    def __init__(self, iface):
        super().__init__()
        self.iface = iface
        self.action = None
        self.provider = None
        self.dock = self.tool = self.engine = self.interaction = self.memory = self._keys = None
        self._report = None
        self.translator = texts.install()
        self.actions = {}

    def initGui(self):
        """A button in the toolbar and a provider in the toolbox."""
        self.action = QAction(QIcon(os.path.join(HERE, "icons", "samgeo.svg")), tr("samgeo: click on things"))
        self.action.setCheckable(True)
        self.action.setToolTip(tr("Click on an image and get the object as a polygon"))
        self.action.toggled.connect(self._toggled)
        self.iface.addToolBarIcon(self.action)
        self.iface.addPluginToRasterMenu("samgeo", self.action)
        self.initProcessing()

    def initProcessing(self):
        """The algorithms; all that `qgis_process` needs."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def unload(self):
        """Leave nothing behind: no button, panel, tool, line on the map, or process."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        if self.action is not None:
            self.iface.removePluginRasterMenu("samgeo", self.action)
            self.iface.removeToolBarIcon(self.action)
            self.action.deleteLater()
            self.action = None
        if self.dock is not None:
            self.interaction.forget()
            self.iface.mapCanvas().unsetMapTool(self.tool)
            self.engine.stop()
            self._stop_report()
            self.memory.close()
            for widget in self._heard():
                widget.removeEventFilter(self._keys)
            QgsProject.instance().layersWillBeRemoved.disconnect(self._layers_go)
            for one in self.actions.values():
                if hasattr(self.iface, "unregisterMainWindowAction"):
                    self.iface.unregisterMainWindowAction(one)
                one.deleteLater()
            self.iface.removeDockWidget(self.dock)
            for part in (self._keys, self.dock, self.tool, self.interaction, self.engine):
                part.deleteLater()
            self._keys = self.dock = self.tool = self.interaction = self.engine = self.memory = None
            self.actions = {}
        if self.translator is not None:
            QCoreApplication.removeTranslator(self.translator)
            self.translator = None

    # The face

    def _toggled(self, on):
        if on:
            if self.dock is None:
                self._build()
            elif self.iface.mapCanvas().mapTool() is self.tool:  # it was activated, and says so
                return
            self.dock.show()
            self.iface.mapCanvas().setMapTool(self.tool)
            if self.dock.raster.currentLayer() is None:
                self._prefer_active_layer()
            self._guide()
            if interpreter.find_python() is not None:
                self.interaction.warm_up()
        elif self.tool is not None:
            self.iface.mapCanvas().unsetMapTool(self.tool)

    def _build(self):
        from .dock import Dock
        from .engine import Engine
        from .interaction import Interaction
        from .memory import Memory
        from .tool import ClickTool

        canvas = self.iface.mapCanvas()
        self.engine = Engine(interpreter.command(), self)
        self.interaction = Interaction(canvas, self.engine, self)
        self.interaction.model = interpreter.model()
        self.tool = ClickTool(canvas)
        self.tool.setAction(self.action)
        self._make_actions()
        self.dock = Dock(self.actions, self.iface.mainWindow())
        self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.tool.clicked.connect(self.interaction.click)
        self.tool.boxed.connect(self.interaction.box)
        self.tool.hovered.connect(self._hovered)
        self.tool.activated.connect(lambda: self._enable(True))
        self.tool.deactivated.connect(self._rest)
        self._keys = Keys(self.actions, self._wants, self)
        for widget in self._heard():
            widget.installEventFilter(self._keys)
        QgsProject.instance().layersWillBeRemoved.connect(self._layers_go)
        self.interaction.changed.connect(self._changed)
        self.interaction.told.connect(self._say)
        self.interaction.saved.connect(lambda: self.dock.say(tr("Saved.")))
        self.engine.died.connect(self._died)
        self.dock.raster.layerChanged.connect(self._raster_changed)
        self.dock.new_target.clicked.connect(lambda checked: self._new_target())
        self.dock.hover.toggled.connect(lambda on: None if on else self.interaction.stop_hovering())
        self.dock.square.toggled.connect(lambda on: self._outlines_changed())
        self.dock.simplify.valueChanged.connect(lambda metres: self._outlines_changed())
        self.dock.smallest.valueChanged.connect(self.interaction.set_smallest)
        self.dock.add_raster.clicked.connect(lambda checked: self.iface.actionAddRasterLayer().trigger())
        self.memory = Memory(self.dock)
        self._raster_changed(self.dock.raster.currentLayer())
        self._enable(False)

    def _heard(self):
        """Where keys are the plugin's."""
        return self.iface.mapCanvas(), self.iface.mapCanvas().viewport(), self.dock

    def _make_actions(self):
        wanted = {
            "accept": (tr("Save"), "Return", self._accept),
            "next": (tr("Next mask"), "Tab", self.interaction.next_candidate),
            "clear": (tr("Clear"), "Esc", self._clear),
            "undo": (tr("Undo"), "Ctrl+Z", self.interaction.undo),
            "back": (tr("Take the last click back"), "Backspace", self.interaction.undo),
            "redo": (tr("Redo"), "Ctrl+Shift+Z", self.interaction.redo),
            "settings": (tr("Engine…"), "", self._ask_for_engine),
        }
        for name, (text, keys, do) in wanted.items():
            action = QAction(text, self.iface.mainWindow())
            action.setObjectName(f"samgeo_{name}")
            action.setToolTip(text)
            if keys:  # of no widget, so that they are pressed by `Keys` alone
                action.setShortcut(QKeySequence(keys))
            action.triggered.connect(lambda checked=False, do=do: do())
            if hasattr(self.iface, "registerMainWindowAction"):
                self.iface.registerMainWindowAction(action, keys)
            self.actions[name] = action

    def _enable(self, on):
        """Keys are the plugin's only while its tool is active."""
        for name, action in self.actions.items():
            if name != "settings":
                action.setEnabled(on)

    def _rest(self):
        self._enable(False)
        self.interaction.stop_hovering()

    def _wants(self, name):
        """Whether a key is the plugin's now; QGIS's own undo has it where nothing was clicked."""
        if name in ("undo", "back"):
            return bool(self.interaction.steps) or self.interaction.is_answering
        return bool(self.interaction.undone) if name == "redo" else True

    def _layers_go(self, names):
        if self.interaction.layer is not None and self.interaction.layer.id() in names:
            self.interaction.set_layer(None)

    def _changed(self):
        one = self.interaction
        self.dock.show_candidate(one.candidates, one.chosen)
        self.dock.set_busy(one.waits > 0)

    def _hovered(self, point):
        if self.dock.hover.isChecked():
            self.interaction.hover(point)

    def _clear(self):
        """Begin again; or, while a click is answered, take that click back and wait no longer."""
        if self.interaction.is_answering:
            anew = self.interaction.cancel()
            self.dock.say(tr("Cancelled; the engine starts anew.") if anew else tr("Cancelled."))
        else:
            self.interaction.clear()

    def _guide(self):
        self.dock.show_guide(interpreter.find_python() is not None, self.interaction.layer is not None)

    def _raster_changed(self, layer):
        self.interaction.set_layer(layer)
        self._guide()
        if layer is not None and self.engine.is_running and self.iface.mapCanvas().mapTool() is self.tool:
            self.interaction.warm_up()

    def _outlines_changed(self):
        """Drawn anew as they would be saved."""
        wanted = {"square": self.dock.square.isChecked(), "simplify_m": self.dock.simplify.value()}
        self.interaction.set_settings(**{name: value for name, value in wanted.items() if value})

    def _prefer_active_layer(self):
        layer = self.iface.activeLayer()
        if isinstance(layer, QgsRasterLayer):
            self.dock.raster.setLayer(layer)

    def _say(self, message):
        self.dock.say(message)
        self.iface.messageBar().pushMessage("samgeo", message, Qgis.MessageLevel.Warning, 8)

    # Saving

    def _accept(self):
        target = self.dock.target.currentLayer()
        can_save = self.interaction.chosen is not None and not self.interaction.waits
        if target is None and can_save:
            target = self._new_target()
        if target is not None or not can_save:  # without an object it is said that there is none
            self.interaction.accept(target, self.dock.label.text().strip())

    def _new_target(self, path=None):
        """Ask for a GeoPackage and make it; returns the layer, or None."""
        from . import style
        from .results import new_layer

        if path is None:
            folder = QgsProject.instance().absolutePath() or os.path.expanduser("~")
            path, _ = QFileDialog.getSaveFileName(
                self.dock,
                tr("A GeoPackage for the objects"),
                os.path.join(folder, "objects.gpkg"),
                "GeoPackage (*.gpkg)",
            )
        if not path:
            return None
        raster = self.interaction.layer
        crs = raster.crs() if raster is not None else QgsProject.instance().crs()
        try:
            layer = new_layer(path if path.casefold().endswith(".gpkg") else path + ".gpkg", crs)
        except OSError as error:
            self._say(str(error))
            return None
        style.dress(layer)
        style.put_on_top(layer)
        self.dock.target.setLayer(layer)
        return layer

    # The engine

    def _died(self, message):
        bar = self.iface.messageBar()
        note = bar.createMessage("samgeo", message)
        again = QPushButton(tr("Restart"))
        again.clicked.connect(self.restart)
        again.clicked.connect(lambda: bar.popWidget(note))
        copy = QPushButton(tr("Copy report"))
        copy.clicked.connect(self._copy_report)
        note.layout().addWidget(again)
        note.layout().addWidget(copy)
        bar.pushWidget(note, Qgis.MessageLevel.Critical)
        self.dock.say(message)
        self._changed()

    def _copy_report(self):
        def copy(text):
            QApplication.clipboard().setText(text)
            self.dock.say(tr("The report is copied."))

        self._stop_report()
        self._report = interpreter.diagnose(self.engine, copy, self)

    def _stop_report(self):
        if self._report is not None:
            self._report.stop()
            self._report = None

    def restart(self):
        """A new engine, which hears what the old one was told of the object at hand."""
        self.engine.stop()
        self.engine.command = interpreter.command()
        self.interaction.model = interpreter.model()
        self._guide()
        self.interaction.begin_again()
        self.interaction.warm_up()

    def _ask_for_engine(self):
        from .engine_dialog import EngineDialog

        dialog = EngineDialog(self.engine, self.iface.mainWindow())
        if dialog.exec():
            self.restart()
