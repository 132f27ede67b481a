"""In a real QGIS window: load the plugin, click on things with the mouse, save them, grab the window, and end.

qgis_plugin/window.sh qgis_plugin/tests/window.py docs/qgis.png
"""

import json
import os
import sys
import time
import traceback

import qgis.utils
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication, QEventLoop, QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDockWidget
from qgis.utils import iface

HERE = os.environ["SAMGEO_HERE"]


def wait(condition, seconds=120):
    """Let QGIS work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 5)
        time.sleep(0.001)


def load():
    """The plugin, started as QGIS starts it."""
    sys.path.insert(0, os.environ["SAMGEO_PLUGINS"])
    qgis.utils.plugin_paths.append(os.environ["SAMGEO_PLUGINS"])
    qgis.utils.updateAvailablePlugins()
    assert qgis.utils.loadPlugin("samgeo_qgis"), "it loads"
    assert qgis.utils.startPlugin("samgeo_qgis"), "it starts"
    return qgis.utils.plugins["samgeo_qgis"]


def show(path, name):
    """A raster in the map."""
    layer = QgsRasterLayer(path, name)
    QgsProject.instance().addMapLayer(layer)
    QgsProject.instance().setCrs(layer.crs())
    iface.setActiveLayer(layer)
    iface.mapCanvas().setExtent(layer.extent())
    iface.mapCanvas().refresh()
    return layer


def at(place, by=(0, 0)):
    """Where a place of the raster lies on the map."""
    seen = iface.mapCanvas().getCoordinateTransform().transform(place["x"], place["y"])
    return seen.toQPointF().toPoint() + QPoint(*by)


def click(place, button=Qt.MouseButton.LeftButton, by=(0, 0)):
    """With the mouse."""
    QTest.mouseClick(iface.mapCanvas().viewport(), button, pos=at(place, by))


def drag(place, half):
    """A box of so many pixels to each side."""
    viewport, middle = iface.mapCanvas().viewport(), at(place)
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=middle - QPoint(half, half))
    QTest.mouseMove(viewport, middle)
    QTest.mouseMove(viewport, middle + QPoint(half, half))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=middle + QPoint(half, half))


def apart(places, metres=14):
    """Those that are no part of one before."""
    kept = []
    for place in places:
        if all(abs(place["x"] - p["x"]) + abs(place["y"] - p["y"]) > metres for p in kept):
            kept.append(place)
    return kept


def main():
    """Some objects saved, one in the making, one under the mouse."""
    with open(os.path.join(HERE, "places.json")) as file:
        places = json.load(file)["places"]
    iface.mainWindow().showNormal()
    iface.mainWindow().setGeometry(0, 0, *map(int, os.environ.get("SCREEN", "1500x950").split("x")))
    for name in ("Browser", "Browser2"):
        dock = iface.mainWindow().findChild(QDockWidget, name)
        if dock is not None:
            dock.close()
    layer = show(os.path.join(HERE, "scene.tif"), "orthophoto")
    plugin = load()
    plugin.action.setChecked(True)
    one = plugin.interaction
    wait(lambda: not one.waits)
    QgsProject.instance().layerTreeRoot().findLayer(layer.id()).setExpanded(False)
    plugin.dock.simplify.setValue(0.4)
    plugin._new_target(os.path.join(HERE, "objects.gpkg"))
    extent = layer.extent()
    extent.scale(0.62)
    iface.mapCanvas().setExtent(extent)
    wait(lambda: not iface.mapCanvas().isDrawing())
    inside = apart([p for p in places if extent.buffered(-15).contains(p["x"], p["y"]) and p["area_px"] > 250])
    plugin.dock.smallest.setValue(3.0)
    saved = 0
    for kind, count in (("building", 9), ("tree", 7), ("pool", 4)):
        plugin.dock.label.setText(kind)
        for place in [p for p in inside if p["label"] == kind][:count]:
            click(place)
            wait(lambda: not one.waits)
            if one.chosen is not None:
                plugin.actions["accept"].trigger()
                wait(lambda: not one.waits)
                saved += 1
    assert saved > 3
    assert one.steps == []
    plugin.dock.label.setText("building")
    last = [p for p in inside if p["label"] == "building"][9]
    drag(last, 48)
    wait(lambda: not one.waits)
    click(last)
    wait(lambda: not one.waits)
    plugin.dock.say(f"{saved} objects saved.")
    wait(lambda: not iface.mapCanvas().isDrawing())
    QTest.qWait(1500)
    assert iface.mainWindow().grab().save(os.environ["SAMGEO_OUT"])


def run(what):
    """A window without this would wait for ever."""
    code = 1
    try:
        what()
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    os._exit(code)


if os.environ["SAMGEO_OUT"].endswith(".png"):
    QTimer.singleShot(3000, lambda: run(main))
