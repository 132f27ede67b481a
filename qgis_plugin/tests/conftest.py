"""Tests in real QGIS: the plugin is on the path, and the engine is the samgeo of this checkout."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.setdefault("SAMGEO_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
sys.path.insert(0, str(ROOT / "qgis_plugin"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["SAMGEO_CACHE"] = tempfile.mkdtemp(prefix="samgeo-cache-")

MAKE_SCENE = """
import sys
import numpy as np, rasterio
from affine import Affine
from samgeo.train.scenes import make_scene
scene = make_scene(1_000_003, height_px=256, width_px=256, gsd_m=0.3)
place = Affine(0.3, 0, 500_000, 0, -0.3, 5_500_000) @ Affine.rotation(float(sys.argv[2]))
profile = dict(driver="GTiff", width=256, height=256, count=3, dtype="uint8", crs="EPSG:32633", transform=place)
with rasterio.open(sys.argv[1], "w", **profile) as dataset:
    dataset.write(np.moveaxis(scene.image, -1, 0))
roof = max((m for m in scene.objects if m.label == "building"), key=lambda m: m.area_px)
rows, cols = np.nonzero(roof.pixels)
k = len(rows) // 2
print(*(place @ (roof.window.col + cols[k] + 0.5, roof.window.row + rows[k] + 0.5)))
"""


def wait_for(condition, seconds=120):
    """Let Qt work until a condition holds."""
    from qgis.PyQt.QtCore import QCoreApplication, QEventLoop

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
        time.sleep(0.01)


def settle(plugin):
    """Let the engine answer what it was asked."""
    wait_for(lambda: not plugin.interaction.waits)


class Scene:
    """A raster on disk and a place on a roof in it."""

    def __init__(self, path, turned=0.0):
        self.path = str(path)
        told = subprocess.run(
            [PYTHON, "-c", MAKE_SCENE, self.path, str(turned)], check=True, capture_output=True, text=True
        ).stdout
        self.x, self.y = map(float, told.split())


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """In a folder with a space, as users have it."""
    return Scene(tmp_path_factory.mktemp("with space é") / "scene.tif")


@pytest.fixture(scope="session")
def turned_scene(tmp_path_factory):
    """Turned by 30 degrees."""
    return Scene(tmp_path_factory.mktemp("turned") / "scene.tif", 30)


@pytest.fixture
def canvas(qgis_new_project):
    """A canvas of 400 x 400 px over an empty project; the one of the fixture has no size."""
    from qgis.gui import QgsMapCanvas

    one = QgsMapCanvas()
    one.resize(400, 400)
    one.show()
    wait_for(lambda: one.mapSettings().outputSize().width() >= 390, seconds=5)
    yield one
    one.close()
    one.deleteLater()


@pytest.fixture
def face(canvas):
    """A window with the canvas in it."""
    from face import Face

    one = Face(canvas)
    yield one
    canvas.setParent(None)
    one.window.close()


@pytest.fixture
def begin(face):
    """Starts the plugin over a raster; the button is pressed."""
    from qgis.core import QgsProject, QgsRasterLayer
    from samgeo_qgis import classFactory

    started = []

    def over(path, name):
        layer = QgsRasterLayer(path, name)
        QgsProject.instance().addMapLayer(layer)
        face.active = layer
        face.canvas.setDestinationCrs(layer.crs())
        face.canvas.setLayers([layer])
        face.canvas.setExtent(layer.extent())
        one = classFactory(face)
        started.append(one)
        one.initGui()
        one.action.setChecked(True)
        return one

    yield over
    for one in started:
        one.unload()


@pytest.fixture
def engine(qgis_app):
    """A real worker."""
    from samgeo_qgis.engine import Engine

    one = Engine([PYTHON, "-m", "samgeo.worker"])
    yield one
    one.stop()
