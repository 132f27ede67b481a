# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin: a button, a panel, a map tool, and the algorithms of the Processing toolbox."""

import os

from qgis.core import Qgis, QgsApplication, QgsMapLayerProxyModel, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QEvent, QObject, Qt
from qgis.PyQt.QtGui import QIcon, QKeySequence
from qgis.PyQt.QtWidgets import QAbstractSpinBox, QAction, QApplication, QFileDialog, QLineEdit, QPushButton

from . import interpreter
from .provider import Provider

HERE = os.path.dirname(__file__)


class Plugin(QObject):
    """Builds the face when it is first asked for; QGIS starts no slower with it."""

    def __init__(self, iface):
        super().__init__()
        self.iface = iface
        self.action = None
        self.provider = None
        self.dock = self.tool = self.engine = self.interaction = None
        self.actions = {}

    def initGui(self):
        """A button in the toolbar and a provider in the toolbox."""
        self.action = QAction(QIcon(os.path.join(HERE, "icons", "samgeo.svg")), self.tr("samgeo: click on things"))
        self.action.setCheckable(True)
        self.action.setToolTip(self.tr("Click on an image and get the object as a polygon"))
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
            QgsProject.instance().layersWillBeRemoved.disconnect(self._layers_go)
            for one in self.actions.values():
                if hasattr(self.iface, "unregisterMainWindowAction"):
                    self.iface.unregisterMainWindowAction(one)
                one.deleteLater()
            self.iface.removeDockWidget(self.dock)
            for part in (self.dock, self.tool, self.interaction, self.engine):
                part.deleteLater()
            self.dock = self.tool = self.interaction = self.engine = None
            self.actions = {}

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
            if interpreter.find_python() is None:
                self._ask_for_engine()
            else:
                self.engine.ask("load", lambda header, payload: None, self._say, model=self.interaction.model)
        elif self.tool is not None:
            self.iface.mapCanvas().unsetMapTool(self.tool)

    def _build(self):
        from .dock import Dock
        from .engine import Engine
        from .interaction import Interaction
        from .tool import ClickTool

        canvas = self.iface.mapCanvas()
        self.engine = Engine([interpreter.find_python() or "python3", "-m", "samgeo.worker"], self)
        self.interaction = Interaction(canvas, self.engine, self)
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
        for widget in (canvas, canvas.viewport(), self.dock):
            widget.installEventFilter(self._keys)
        QgsProject.instance().layersWillBeRemoved.connect(self._layers_go)
        self.interaction.changed.connect(self._changed)
        self.interaction.told.connect(self._say)
        self.interaction.saved.connect(lambda: self.dock.say(self.tr("Saved.")))
        self.engine.died.connect(self._died)
        self.dock.raster.layerChanged.connect(self._raster_changed)
        self.dock.new_target.clicked.connect(lambda checked: self._new_target())
        self.dock.hover.toggled.connect(lambda on: None if on else self.interaction.stop_hovering())
        self.dock.square.toggled.connect(lambda on: self._outlines_changed())
        self.dock.simplify.valueChanged.connect(lambda metres: self._outlines_changed())
        self.dock.simplify.setKeyboardTracking(False)
        self._raster_changed(self.dock.raster.currentLayer())
        self._enable(False)

    def _make_actions(self):
        wanted = {
            "accept": (self.tr("Save"), "Return", self._accept),
            "next": (self.tr("Next mask"), "Tab", self.interaction.next_candidate),
            "clear": (self.tr("Clear"), "Esc", self.interaction.clear),
            "undo": (self.tr("Undo"), "Ctrl+Z", self.interaction.undo),
            "back": (self.tr("Take the last click back"), "Backspace", self.interaction.undo),
            "redo": (self.tr("Redo"), "Ctrl+Shift+Z", self.interaction.redo),
            "settings": (self.tr("Engine…"), "", self._ask_for_engine),
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
            return bool(self.interaction.steps)
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

    def _raster_changed(self, layer):
        self.interaction.set_layer(layer)

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
        if target is None:
            target = self._new_target()
        if target is not None:
            self.interaction.accept(target, self.dock.label.text().strip())

    def _new_target(self, path=None):
        """Ask for a GeoPackage and make it; returns the layer, or None."""
        from .results import new_layer

        if path is None:
            folder = QgsProject.instance().absolutePath() or os.path.expanduser("~")
            path, _ = QFileDialog.getSaveFileName(
                self.dock,
                self.tr("A GeoPackage for the objects"),
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
        layer.loadNamedStyle(os.path.join(HERE, "objects.qml"))
        QgsProject.instance().addMapLayer(layer)
        self.dock.target.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.dock.target.setLayer(layer)
        return layer

    # The engine

    def _died(self, message):
        bar = self.iface.messageBar()
        note = bar.createMessage("samgeo", message)
        again = QPushButton(self.tr("Restart"))
        again.clicked.connect(self.restart)
        again.clicked.connect(lambda: bar.popWidget(note))
        copy = QPushButton(self.tr("Copy report"))
        copy.clicked.connect(lambda: QApplication.clipboard().setText(interpreter.diagnose(self.engine)))
        note.layout().addWidget(again)
        note.layout().addWidget(copy)
        bar.pushWidget(note, Qgis.MessageLevel.Critical)
        self.dock.say(message)
        self._changed()

    def restart(self):
        """A new engine, which hears what the old one was told of the object at hand."""
        self.engine.stop()
        self.engine.command[0] = interpreter.find_python() or "python3"
        self.engine.start()
        self.interaction.begin_again()

    def _ask_for_engine(self):
        from .engine_dialog import EngineDialog

        dialog = EngineDialog(self.engine, self.iface.mainWindow())
        if dialog.exec():
            self.restart()


class Keys(QObject):
    """Presses actions when their keys are pressed over the map or in the panel, and nowhere else.

    They are taken before QGIS's own shortcuts are, so that Ctrl+Z means the last click while there is one; and what is
    typed into a field is no command.
    """

    def __init__(self, actions, wants, parent=None):
        """wants: whether an action, by its name, is to have its key now."""
        super().__init__(parent)
        self._actions, self._wants = actions, wants

    def eventFilter(self, watched, event):
        """Take a key from the shortcuts when it is announced, and act when it comes."""
        if event.type() not in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress):
            return False
        if isinstance(QApplication.focusWidget(), (QLineEdit, QAbstractSpinBox)):
            return False
        action = self._meant(event)
        if action is None:
            return False
        if event.type() == QEvent.Type.KeyPress:
            action.trigger()
        event.accept()
        return True

    def _meant(self, event):
        modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        value = getattr(modifiers, "value", modifiers)  # an enum in Qt 6, a number in Qt 5
        key = Qt.Key.Key_Return if event.key() == Qt.Key.Key_Enter else event.key()
        pressed = QKeySequence(int(value) | int(key))
        for name, action in self._actions.items():
            if action.isEnabled() and action.shortcut() == pressed and self._wants(name):
                return action
        return None
