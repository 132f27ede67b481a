"""In a real QGIS window: load the plugin, click on a roof with the mouse, grab the window, and end.

    SAMGEO_SCENE=scene.tif SAMGEO_PLACE=x,y SHOT=window.png xvfb-run -a -s "-screen 0 1500x950x24" \
        qgis.bin --noversioncheck --nologo --code qgis_plugin/tests/window.py
"""

import os
import sys
import traceback

import qgis.utils
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.utils import iface

STATE = {"step": 0, "waited": 0}


def begin():
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(os.environ["SAMGEO_WINDOW"])), ".."))
    qgis.utils.plugin_paths.append(os.path.join(os.path.dirname(os.path.abspath(os.environ["SAMGEO_WINDOW"])), ".."))
    qgis.utils.updateAvailablePlugins()
    assert qgis.utils.loadPlugin("samgeo_qgis"), "it loads"
    assert qgis.utils.startPlugin("samgeo_qgis"), "it starts"
    layer = QgsRasterLayer(os.environ["SAMGEO_SCENE"], "scene")
    QgsProject.instance().addMapLayer(layer)
    iface.setActiveLayer(layer)
    iface.mapCanvas().setExtent(layer.extent())
    iface.mapCanvas().refresh()
    plugin = qgis.utils.plugins["samgeo_qgis"]
    plugin.action.setChecked(True)
    plugin.interaction.settings = {"use_cache": False}


def click(dx, dy, button):
    canvas = iface.mapCanvas()
    x, y = map(float, os.environ["SAMGEO_PLACE"].split(","))
    at = canvas.getCoordinateTransform().transform(x, y).toQPointF().toPoint() + QPoint(dx, dy)
    QTest.mouseClick(canvas.viewport(), button, pos=at)


def save():
    plugin = qgis.utils.plugins["samgeo_qgis"]
    layer = plugin._new_target(os.environ["SHOT"] + ".gpkg")
    plugin.dock.label.setText("building")
    assert layer is not None
    plugin.actions["accept"].trigger()


def shot():
    iface.mainWindow().grab().save(os.environ["SHOT"])


STEPS = [
    begin,
    lambda: click(0, 0, Qt.MouseButton.LeftButton),
    save,
    lambda: click(-120, 30, Qt.MouseButton.LeftButton),
    lambda: QTest.mouseMove(iface.mapCanvas().viewport(), QPoint(200, 160)),
    shot,
]


def tick():
    """The next step, once the engine has answered the last one."""
    try:
        plugin = qgis.utils.plugins.get("samgeo_qgis")
        STATE["waited"] += 1
        assert STATE["waited"] < 600, "the engine does not answer"
        if plugin is not None and plugin.interaction is not None and plugin.interaction.waits:
            return
        if STATE["step"] == len(STEPS):
            os._exit(0)
        STEPS[STATE["step"]]()
        STATE["step"] += 1
    except BaseException:  # noqa: BLE001 - a window without this would wait for ever
        traceback.print_exc()
        os._exit(1)


TIMER = QTimer()
TIMER.timeout.connect(tick)
TIMER.start(500)
