"""Clicking in real QGIS, against the real engine: what is shown is what is saved, in any combination of CRSs."""

import http.server
import json
import os
import signal
import threading

import pytest
from conftest import PYTHON, wait_for
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest
from samgeo_qgis.engine import Engine
from samgeo_qgis.interaction import Interaction
from samgeo_qgis.results import new_layer
from samgeo_qgis.tool import ClickTool


def crs(code):
    return QgsCoordinateReferenceSystem(f"EPSG:{code}")


class Desk:
    """A canvas in some CRS over a raster, with tool and interaction."""

    def __init__(self, canvas, engine, layer, place, canvas_crs):
        self.canvas, self.engine, self.layer = canvas, engine, layer
        QgsProject.instance().addMapLayer(layer)
        canvas.setDestinationCrs(canvas_crs)
        canvas.setLayers([layer])
        there = QgsCoordinateTransform(layer.crs(), canvas_crs, QgsProject.instance())
        self.place = there.transform(QgsPointXY(*place))
        canvas.setExtent(there.transformBoundingBox(layer.extent()))
        self.said = []
        self.interaction = Interaction(canvas, engine)
        self.interaction.told.connect(self.said.append)
        self.interaction.settings = {"use_cache": False}
        self.interaction.set_layer(layer)
        self.tool = ClickTool(canvas)
        self.tool.clicked.connect(self.interaction.click)
        self.tool.boxed.connect(self.interaction.box)
        canvas.setMapTool(self.tool)

    def pixel(self, point=None):
        """Where a point of the canvas's CRS lies on its viewport."""
        return self.canvas.getCoordinateTransform().transform(point or self.place).toQPointF().toPoint()

    def click(self, button=Qt.MouseButton.LeftButton, by=(0, 0)):
        QTest.mouseClick(self.canvas.viewport(), button, pos=self.pixel() + QPoint(*by))
        self.settle()

    def settle(self):
        wait_for(lambda: not self.interaction.waits)


@pytest.fixture
def desk(canvas, engine, scene):
    """The canvas in Web Mercator, the raster in UTM."""
    layer = QgsRasterLayer(scene.path, "scene")
    one = Desk(canvas, engine, layer, (scene.x, scene.y), crs(3857))
    yield one
    one.interaction.forget()
    canvas.unsetMapTool(one.tool)


def test_a_click_gives_candidates_and_what_is_shown_is_saved(desk, tmp_path):
    desk.click()
    assert not desk.said
    one = desk.interaction
    assert 1 <= len(one.candidates) <= 3
    assert one.outline().contains(desk.place)
    target = new_layer(str(tmp_path / "objects.gpkg"), crs(32633))
    QgsProject.instance().addMapLayer(target)
    shown = one._polygons[one.chosen]
    one.accept(target, "roof")
    desk.settle()
    (feature,) = target.getFeatures()
    assert feature.geometry().asMultiPolygon() == [
        [[QgsPointXY(x, y) for x, y in ring] for ring in rings] for rings in shown
    ], "vertex for vertex"
    assert feature.geometry().isGeosValid()
    assert feature["label"] == "roof"
    assert feature["source"] == "scene"
    assert feature["model"] == "samgeo-nano"
    assert 0 < feature["score"] <= 1
    assert feature["area_m2"] == pytest.approx(feature.geometry().area(), rel=0.01)
    (step,) = json.loads(feature["prompt"])
    assert (step["op"], step["positive"]) == ("point", True)
    assert one.candidates == []
    assert one.steps == []
    stack = target.undoStack()
    assert stack.undoText() == "samgeo: roof"
    stack.undo()
    assert target.featureCount() == 0
    stack.redo()
    assert target.featureCount() == 1
    assert target.commitChanges()
    again = QgsVectorLayer(f"{tmp_path / 'objects.gpkg'}|layername=objects", "again", "ogr")
    assert again.featureCount() == 1


@pytest.mark.parametrize("canvas_code", [4326, 32633, 32634])
def test_any_crs_of_canvas_and_layer(canvas, engine, turned_scene, tmp_path, canvas_code):
    layer = QgsRasterLayer(turned_scene.path, "turned")
    desk = Desk(canvas, engine, layer, (turned_scene.x, turned_scene.y), crs(canvas_code))
    desk.click()
    assert not desk.said
    assert desk.interaction.outline().contains(desk.place)
    target = new_layer(str(tmp_path / "objects.gpkg"), crs(4326))
    desk.interaction.accept(target, "")
    desk.settle()
    (feature,) = target.getFeatures()
    there = QgsCoordinateTransform(crs(canvas_code), crs(4326), QgsProject.instance())
    assert feature.geometry().contains(there.transform(desk.place))
    assert layer.crs() == crs(32633)
    assert canvas.mapSettings().destinationCrs() == crs(canvas_code)
    target.rollBack()
    desk.interaction.forget()
    canvas.unsetMapTool(desk.tool)


def test_right_click_drag_undo_redo_and_cycling(desk):
    one = desk.interaction
    desk.click()
    first = one._polygons[one.chosen]
    several = len(one.candidates)
    one.next_candidate()
    desk.settle()
    assert one.chosen == 1 % several
    towards = [40 if side < 200 else -40 for side in (desk.pixel().x(), desk.pixel().y())]
    desk.click(Qt.MouseButton.RightButton, by=towards)
    assert not desk.said
    assert [step.get("positive") for step in one.steps if step["op"] == "point"] == [True, False]
    assert len(one.marks.crosses) == 2
    one.undo()
    desk.settle()
    one.undo()
    desk.settle()
    assert one.steps == []
    assert one.chosen is None
    one.redo()
    desk.settle()
    assert first in one._polygons
    viewport, middle = desk.canvas.viewport(), desk.pixel()
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=middle - QPoint(40, 40))
    QTest.mouseMove(viewport, middle)
    QTest.mouseMove(viewport, middle + QPoint(40, 40))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=middle + QPoint(40, 40))
    desk.settle()
    assert [step["op"] for step in one.steps if step["op"] != "choose"] == ["point", "box"]
    one.clear()
    desk.settle()
    assert (one.steps, one.candidates, one.marks.crosses) == ([], [], [])


def test_hovering_shows_what_a_click_shows_and_changes_nothing(desk):
    desk.click()
    one = desk.interaction
    before = list(one.steps)
    one.hover(desk.canvas.getCoordinateTransform().toMapCoordinates(150, 150))
    one.hover(desk.canvas.getCoordinateTransform().toMapCoordinates(desk.pixel()))  # where the click will be
    wait_for(lambda: "hover" in one.marks.bands and not one._hover)
    assert one.steps == before
    shown = one.marks.bands["hover"].asGeometry()
    desk.click()
    assert shown.equals(one.outline()) or shown.area() == pytest.approx(one.outline().area(), rel=1e-6)
    assert "hover" not in one.marks.bands


def test_an_engine_that_dies_is_told_and_another_hears_the_same_clicks(desk):
    desk.click()
    one = desk.interaction
    before = one._polygons[one.chosen]
    os.kill(int(desk.engine._process.processId()), signal.SIGSEGV)
    wait_for(lambda: desk.said)
    assert "crashed" in desk.said[0]
    assert not desk.engine.is_running
    assert len(one.steps) == 1, "what was clicked is kept"
    desk.engine.start()
    one.begin_again()
    desk.settle()
    assert one._polygons[one.chosen] == before


def test_no_engine_is_one_sentence(canvas, scene):
    engine = Engine(["/nowhere/python", "-m", "samgeo.worker"])
    said = []
    engine.died.connect(said.append)
    engine.start()
    wait_for(lambda: said)
    assert said == ["/nowhere/python could not be started"]


def test_another_program_is_no_engine(canvas):
    engine = Engine([PYTHON, "-c", "raise SystemExit('no samgeo here')"])
    said = []
    engine.died.connect(said.append)
    engine.start()
    wait_for(lambda: said)
    assert "ended (code 1): no samgeo here" in said[0]


class Tiles(http.server.BaseHTTPRequestHandler):
    """An XYZ server: a red square in the middle of each tile."""

    def do_GET(self):
        from qgis.PyQt.QtCore import QBuffer, QIODevice
        from qgis.PyQt.QtGui import QColor, QImage, QPainter

        image = QImage(256, 256, QImage.Format.Format_RGB32)
        image.fill(QColor(40, 90, 40))
        painter = QPainter(image)
        painter.fillRect(64, 64, 128, 128, QColor(220, 60, 40))
        painter.end()
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        image.save(buffer, "PNG")
        data = bytes(buffer.data())
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def tiles():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tiles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def test_a_layer_that_only_qgis_can_read(canvas, engine, tiles):
    url = f"type=xyz&url=http://127.0.0.1:{tiles}/{{z}}/{{x}}/{{y}}.png&zmax=18&zmin=0".replace("{", "%7B").replace(
        "}", "%7D"
    )
    layer = QgsRasterLayer(url, "tiles", "wms")
    assert layer.isValid()
    side = 2 * 20037508.342789244 / 2**16  # a tile of zoom 16, in metres of Web Mercator
    middle = (100 * side + side / 2, 50 * side + side / 2)
    desk = Desk(canvas, engine, layer, middle, crs(3857))
    canvas.setExtent(QgsRectangle(100 * side, 50 * side, 101 * side, 51 * side))
    desk.interaction.box(QgsRectangle(100.2 * side, 50.2 * side, 100.8 * side, 50.8 * side))
    desk.settle()
    wait_for(lambda: desk.interaction.candidates)
    assert not desk.said
    outline = desk.interaction.outline()
    assert outline.contains(desk.place)
    square = QgsRectangle(100.25 * side, 50.25 * side, 100.75 * side, 50.75 * side)
    true = QgsGeometry.fromRect(square)
    assert outline.intersection(true).area() / outline.combine(true).area() > 0.7
    crop = desk.interaction._crop
    desk.click(by=(3, 3))
    assert desk.interaction._crop is crop, "near clicks share a picture"
    far = canvas.getCoordinateTransform().toMapCoordinates(200 + 40_000, 200)
    desk.interaction.click(far, True)
    assert "too far from the other clicks" in desk.said[-1]
    desk.interaction.forget()


def test_a_layer_that_takes_no_polygons_is_told(desk):
    desk.click()
    points = QgsVectorLayer("Point?crs=EPSG:32633&field=label:string", "points", "memory")
    shown = desk.interaction._polygons[0]
    desk.interaction.accept(points, "x")
    desk.settle()
    assert "takes no polygons" in desk.said[-1]
    assert desk.interaction._polygons[0] == shown, "the object can still be saved"


def test_other_outlines_of_the_same_clicks(desk):
    desk.click()
    one = desk.interaction
    corners = len(one._polygons[one.chosen][0][0])
    one.set_settings(use_cache=False, simplify_m=1.0)
    desk.settle()
    assert not desk.said
    assert len(one.steps) == 1
    assert 4 <= len(one._polygons[one.chosen][0][0]) < corners
    one.set_settings(use_cache=False)
    desk.settle()
    assert len(one._polygons[one.chosen][0][0]) == corners


def test_a_place_that_is_not_on_the_layer_is_told(desk):
    desk.interaction.click(QgsPointXY(0, 0), True)
    desk.settle()
    assert desk.said == ["This place is not on scene."]
    assert desk.interaction.steps == []


def test_nothing_to_save_is_told(desk):
    desk.interaction.accept(None, "x")
    assert "Nothing to save yet" in desk.said[-1]
