"""Every widget of the plugin is built, shown and used on Qt 6; a short enum, which Qt 6 lacks, must fail here."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from conftest import HERE
from face import Face
from PyQt6.QtCore import QCoreApplication, QEvent, QPoint, Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication
from qgis.core import QgsApplication, QgsRasterLayer, QgsSettings
from qgis.gui import QgsMapCanvas
from samgeo_qgis import classFactory, engine_dialog, interpreter

FAKE = HERE.parent / "tests" / "fake_worker.py"
RASTER = {"transform": [1, 0, 0, 0, -1, 256], "width": 256, "height": 256}
SHORT = {
    "dock.py": ("Qt.TextFormat.RichText", "Qt.RichText"),
    "plugin.py": ("Qt.DockWidgetArea.RightDockWidgetArea", "Qt.RightDockWidgetArea"),
    "tool.py": ("Qt.MouseButton.LeftButton", "Qt.LeftButton"),
    "keys.py": ("QEvent.Type.KeyPress", "QEvent.KeyPress"),
    "engine_dialog.py": ("QDialogButtonBox.StandardButton.Ok", "QDialogButtonBox.Ok"),
    "marks.py": ("QgsWkbTypes.GeometryType.PolygonGeometry", "QgsWkbTypes.PolygonGeometry"),
    "provider.py": ("QgsProcessingParameterNumber.Type.Double", "QgsProcessingParameterNumber.Double"),
}


@pytest.fixture(scope="session")
def application():
    return QApplication([])


@pytest.fixture
def plugin(application, monkeypatch, tmp_path):
    """Its button is pressed, and the engine is the fake."""
    monkeypatch.setattr(interpreter, "find_python", lambda: sys.executable)
    monkeypatch.setattr(interpreter, "command", lambda: [sys.executable, str(FAKE), json.dumps(RASTER)])
    face = Face(QgsMapCanvas())
    path = tmp_path / "raster.tif"
    path.touch()
    face.active = QgsRasterLayer(str(path))
    one = classFactory(face)
    one.initGui()
    one.action.setChecked(True)
    one.dock.raster.setLayer(face.active)
    settle(one)
    yield one
    one.unload()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def settle(plugin):
    end = time.monotonic() + 20
    while plugin.interaction.waits:
        assert time.monotonic() < end, "it did not come"
        QTest.qWait(10)


def press(plugin, key, modifiers=Qt.KeyboardModifier.NoModifier):
    QTest.keyClick(plugin.iface.canvas, key, modifiers)
    settle(plugin)


def click(plugin, button, place):
    QTest.mouseClick(plugin.iface.canvas.viewport(), button, pos=QPoint(*place))
    settle(plugin)


def test_clicks_keys_and_a_dragged_box(plugin):
    one, viewport = plugin.interaction, plugin.iface.canvas.viewport()
    assert plugin.dock.isVisible()
    assert "Left click" in plugin.dock.guide.text()
    click(plugin, Qt.MouseButton.LeftButton, (100, 100))
    assert not plugin.iface.bar.messages
    assert len(one.candidates) == 3
    assert len(one.marks.bands["candidate"].geometry.polygons) == 2
    press(plugin, Qt.Key.Key_Tab)
    assert one.chosen == 1
    click(plugin, Qt.MouseButton.RightButton, (60, 60))
    assert [step.get("positive") for step in one.steps if step["op"] == "point"] == [True, False]
    press(plugin, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert len(one.marks.crosses) == 1
    press(plugin, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert len(one.marks.crosses) == 2
    plugin.dock.smallest.setValue(10)
    assert len(one.marks.bands["candidate"].geometry.polygons) == 1
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=QPoint(40, 40))
    QTest.mouseMove(viewport, QPoint(80, 80))
    QTest.mouseMove(viewport, QPoint(120, 120))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=QPoint(120, 120))
    settle(plugin)
    assert one.steps[-1]["op"] == "box"
    QTest.mouseMove(viewport, QPoint(90, 150))
    QTest.qWait(300)
    assert "hover" in one.marks.bands
    press(plugin, Qt.Key.Key_Escape)
    assert one.steps == []
    press(plugin, Qt.Key.Key_Return)
    assert one.steps == []


def test_the_guide_says_what_is_missing(plugin, monkeypatch):
    assert not plugin.dock.set_up.isVisible()
    plugin.dock.raster.setLayer(None)
    assert plugin.dock.add_raster.isVisible()
    monkeypatch.setattr(interpreter, "find_python", lambda: None)
    plugin.dock.raster.setLayer(plugin.iface.active)
    assert plugin.dock.set_up.isVisible()


def test_an_engine_that_dies_is_told(plugin):
    told = []
    plugin.interaction.told.connect(told.append)
    plugin.engine._process.kill()
    end = time.monotonic() + 10
    plugin.engine.died.disconnect(plugin._died)  # its buttons need QGIS's own bar
    while not told:
        assert time.monotonic() < end
        QTest.qWait(10)
    assert "crashed" in told[0]


def test_the_engine_dialog(plugin):
    dialog = engine_dialog.EngineDialog(plugin.engine, plugin.iface.window)
    dialog.show()
    QTest.qWait(10)
    assert dialog.isVisible()
    dialog.model.setText("sam-vit-b")
    dialog.accept()
    assert QgsSettings().value(interpreter.MODEL_KEY) == "sam-vit-b"
    QgsSettings().setValue(interpreter.MODEL_KEY, "")


def test_a_process_is_run_and_heard(application, tmp_path):
    said, done = [], []
    installer = interpreter.Installer(sys.executable, str(tmp_path / "own"))
    installer._commands = [[sys.executable, "-c", "print('a line')"]]
    installer.said.connect(said.append)
    installer.done.connect(lambda worked, what: done.append(worked))
    installer.start()
    end = time.monotonic() + 20
    while not done:
        assert time.monotonic() < end
        QTest.qWait(10)
    assert done == [True]
    assert "a line" in said


def test_the_forms_of_all_algorithms(plugin):
    assert len(plugin.provider.algorithms) == 6
    assert all(algorithm.parameters for algorithm in plugin.provider.algorithms)
    assert QgsApplication.processingRegistry() is not None


@pytest.mark.skipif("SAMGEO_PLUGIN" in os.environ, reason="it runs the others")
@pytest.mark.parametrize("name", sorted(SHORT))
def test_a_short_enum_fails(tmp_path, name):
    copy = tmp_path / "plugin"
    shutil.copytree(HERE.parent / "samgeo_qgis", copy / "samgeo_qgis", ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "samgeo_qgis" / name
    text, (full, short) = file.read_text(), SHORT[name]
    assert full in text
    file.write_text(text.replace(full, short))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(HERE), __file__],
        env={**os.environ, "SAMGEO_PLUGIN": str(copy)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode != 0, ran.stdout
    assert re.search(r"AttributeError: type object '\w+' has no attribute", ran.stdout), ran.stdout
