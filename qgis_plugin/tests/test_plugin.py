"""The plugin as QGIS loads it: what it builds, what its keys do, and that it leaves nothing behind."""

import contextlib
import os
import re
import subprocess
import sys

import pytest
from conftest import PYTHON, ROOT, settle, wait_for
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer, QgsSettings
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QPoint, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QAction
from samgeo_qgis import classFactory, interpreter


@pytest.fixture
def plugin(begin, scene):
    """Its tool is active on the scene."""
    one = begin(scene.path, "scene")
    one.interaction.settings = {"use_cache": False}
    return one


@contextlib.contextmanager
def what_is_raised():
    """What slots and filters raise goes nowhere else."""
    raised, before = [], sys.excepthook
    sys.excepthook = lambda kind, error, trace: raised.append(error)
    yield raised
    sys.excepthook = before


def at(plugin, scene):
    return plugin.iface.canvas.getCoordinateTransform().transform(scene.x, scene.y).toQPointF().toPoint()


def test_click_and_keys(plugin, scene, tmp_path):
    viewport = plugin.iface.canvas.viewport()
    assert plugin.dock.raster.currentLayer().name() == "scene"
    QTest.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=at(plugin, scene))
    settle(plugin)
    assert not plugin.iface.bar.messages
    assert plugin.interaction.candidates
    assert "Mask 1 of" in plugin.dock.candidate.text()
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    assert plugin.dock.target.currentLayer() == layer
    plugin.dock.label.setText("shed")
    plugin.iface.window.activateWindow()
    plugin.dock.label.setFocus()
    wait_for(plugin.dock.label.hasFocus, seconds=5)
    QTest.keyClick(plugin.dock.label, Qt.Key.Key_Return)
    settle(plugin)
    assert layer.featureCount() == 0, "keys typed into a field are no commands"
    viewport.setFocus()
    QTest.keyClick(viewport, Qt.Key.Key_Return)
    settle(plugin)
    (feature,) = layer.getFeatures()
    assert feature["label"] == "shed"
    QTest.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=at(plugin, scene))
    settle(plugin)
    QTest.keyClick(viewport, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settle(plugin)
    assert plugin.interaction.candidates == []
    QTest.keyClick(viewport, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    settle(plugin)
    corners = len(plugin.interaction._polygons[0][0][0])
    plugin.dock.simplify.setValue(2.0)
    settle(plugin)
    assert len(plugin.interaction._polygons[0][0][0]) < corners
    QTest.keyClick(viewport, Qt.Key.Key_Escape)
    settle(plugin)
    assert plugin.interaction.steps == []
    layer.rollBack()


def test_keys_are_the_plugins_only_while_its_tool_is_active(plugin):
    assert {name for name, _ in plugin.iface.registered} >= {"samgeo_accept", "samgeo_undo", "samgeo_clear"}
    assert plugin.actions["undo"].isEnabled()
    plugin.action.setChecked(False)
    assert not plugin.actions["undo"].isEnabled()
    assert plugin.actions["settings"].isEnabled()


def test_panning_keeps_the_clicks(plugin, scene):
    from qgis.gui import QgsMapToolPan

    QTest.mouseClick(plugin.iface.canvas.viewport(), Qt.MouseButton.LeftButton, pos=at(plugin, scene))
    settle(plugin)
    before = plugin.interaction.outline().asWkt()
    plugin.iface.canvas.setMapTool(QgsMapToolPan(plugin.iface.canvas))
    assert plugin.interaction.outline().asWkt() == before
    plugin.iface.canvas.setMapTool(plugin.tool)
    QTest.mouseClick(plugin.iface.canvas.viewport(), Qt.MouseButton.LeftButton, pos=at(plugin, scene) + QPoint(4, 0))
    settle(plugin)
    assert len(plugin.interaction.steps) == 2


def test_load_and_unload_five_times_leaves_nothing(face, scene):
    registry, scene_items = QgsApplication.processingRegistry(), len(face.canvas.scene().items())
    layer = QgsRasterLayer(scene.path, "scene")
    QgsProject.instance().addMapLayer(layer)
    face.active = layer
    for _ in range(5):
        plugin = classFactory(face)
        plugin.initGui()
        assert registry.providerById("samgeo") is not None
        assert not face.docks, "the panel opens when it is asked for"
        plugin.action.setChecked(True)
        wait_for(lambda plugin=plugin: plugin.engine.is_running)
        wait_for(lambda plugin=plugin: plugin.engine._process.processId() > 0)
        process = plugin.engine._process.processId()
        plugin.unload()
        assert registry.providerById("samgeo") is None
        assert (face.icons, face.menu, face.docks) == ([], [], [])
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
        assert len(face.canvas.scene().items()) == scene_items
        assert not [one for one in face.window.findChildren(QAction) if one.objectName().startswith("samgeo_")]
        plugin.deleteLater()


def test_keys_on_the_map_are_nobodys_after_unloading(face):
    plugin = classFactory(face)
    plugin.initGui()
    plugin.action.setChecked(True)
    plugin.unload()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    with what_is_raised() as raised:
        for widget in (face.canvas, face.canvas.viewport()):
            QTest.keyClick(widget, Qt.Key.Key_Return)
    assert raised == []


def test_loading_brings_none_of_the_engine_into_qgis(scene):
    """Neither torch nor samgeo is imported, and QGIS is not held up."""
    script = """
import sys, time
from qgis.core import QgsApplication
app = QgsApplication([], False)
QgsApplication.initQgis()
sys.path.insert(0, sys.argv[1])
before, started = set(sys.modules), time.monotonic()
import samgeo_qgis.plugin, samgeo_qgis.dock, samgeo_qgis.engine, samgeo_qgis.tool, samgeo_qgis.interaction
import samgeo_qgis.engine_dialog, samgeo_qgis.memory, samgeo_qgis.style
assert time.monotonic() - started < 3
assert not {"torch", "samgeo", "numpy", "rasterio"} & (set(sys.modules) - before), "QGIS itself may bring numpy"
"""
    subprocess.run([sys.executable, "-c", script, str(ROOT / "qgis_plugin")], check=True, timeout=60)


def test_the_docs_name_tests_that_are_there():
    text = (ROOT / "docs" / "qgis.md").read_text()
    named = set(re.findall(r"`(test_\w+)::(test_\w+)`", text))
    assert len(named) > 40
    for module, test in named:
        assert f"def {test}(" in (ROOT / "qgis_plugin" / "tests" / f"{module}.py").read_text(), test
    for path in re.findall(r"`(tests/\w+\.py)`", text):
        assert (ROOT / path).is_file(), path


def test_a_python_is_found_where_it_is_said_to_be(monkeypatch, tmp_path, qgis_app):
    monkeypatch.delenv("SAMGEO_PYTHON")
    monkeypatch.setattr(interpreter, "own_folder", lambda: str(tmp_path / "own"))
    assert interpreter.find_python() is None
    python = interpreter.python_in(interpreter.new_folder())
    os.makedirs(os.path.dirname(python))
    open(python, "w").close()
    assert interpreter.new_folder().endswith("2"), "an environment that is there is left alone"
    QgsSettings().setValue(interpreter.KEY, python)
    assert interpreter.find_python() == python
    QgsSettings().remove(interpreter.KEY)
    monkeypatch.setenv("SAMGEO_PYTHON", PYTHON)
    assert interpreter.find_python() == PYTHON


def test_an_environment_is_made_and_a_failure_is_told(tmp_path, qgis_app):
    """With the real venv and pip, from an offline folder in which samgeo is not."""
    said, done, bases = [], [], []
    search = interpreter.Search()
    search.found.connect(bases.append)
    search.start()
    wait_for(lambda: bases, seconds=30)
    installer = interpreter.Installer(bases[0], str(tmp_path / "my engine"), str(tmp_path))
    installer.said.connect(said.append)
    installer.done.connect(lambda worked, what: done.append((worked, what)))
    installer.start()
    wait_for(lambda: done, seconds=120)
    ((worked, told),) = done
    assert not worked
    assert told.startswith("the last command ended with code 1: ERROR: "), "what pip said first"
    assert os.path.isfile(interpreter.python_in(str(tmp_path / "my engine")))
    assert any("samgeo" in line for line in said)


def test_the_report_says_what_there_is(qgis_app):
    told = []
    run = interpreter.diagnose(None, told.append)
    wait_for(lambda: told, seconds=60)
    assert run is not None
    (text,) = told
    assert "QGIS 3" in text
    assert PYTHON in text
    assert "samgeo doctor:" in text
    assert "torch" in text
