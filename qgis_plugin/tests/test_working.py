"""What happens while the engine works, is late, or is cancelled; against a fake that is as late as a test wants."""

import json
import math
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, settle, wait_for
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsDistanceArea,
    QgsFeature,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtTest import QTest
from samgeo_qgis import interpreter, style, texts
from samgeo_qgis.engine import Engine

SIDE, PIXEL, LEFT, TOP = 256, 0.5, 500_000.0, 5_500_000.0
PLACE = {"transform": [PIXEL, 0, LEFT, 0, -PIXEL, TOP], "width": SIDE, "height": SIDE, "unit": 1.0}


def make_raster(path):
    data = gdal.GetDriverByName("GTiff").Create(str(path), SIDE, SIDE, 3, gdal.GDT_Byte)
    data.SetGeoTransform([LEFT, PIXEL, 0, TOP, 0, -PIXEL])
    data.SetProjection(QgsCoordinateReferenceSystem("EPSG:32633").toWkt())
    for band in (1, 2, 3):
        data.GetRasterBand(band).Fill(60 * band)
    data.FlushCache()
    return str(path)


@pytest.fixture
def fake(monkeypatch):
    """Says how the engine is to behave; before the plugin is started."""
    python = os.environ["SAMGEO_PYTHON"]

    def behave(**wanted):
        command = [python, str(Path(__file__).parent / "fake_worker.py"), json.dumps({**PLACE, **wanted})]
        monkeypatch.setattr(interpreter, "command", lambda: list(command))

    behave()
    return behave


@pytest.fixture
def start(fake, begin, tmp_path):
    """Starts the plugin over a raster of three greys."""
    return lambda: begin(make_raster(tmp_path / "grey.tif"), "grey")


def click(plugin, col=128, row=128, button=Qt.MouseButton.LeftButton):
    """At a pixel of the raster."""
    canvas = plugin.iface.canvas
    place = canvas.getCoordinateTransform().transform(LEFT + PIXEL * col, TOP - PIXEL * row).toQPointF().toPoint()
    QTest.mouseClick(canvas.viewport(), button, pos=place)


def press(plugin, key, modifiers=Qt.KeyboardModifier.NoModifier):
    viewport = plugin.iface.canvas.viewport()
    viewport.setFocus()
    QTest.keyClick(viewport, key, modifiers)


def test_the_button_makes_the_tool_ready_at_once(start):
    began = time.monotonic()
    plugin = start()
    assert time.monotonic() - began < 0.3, "with the plugin loaded, the raster made and opened"
    assert plugin.dock.isVisible()
    assert plugin.iface.canvas.mapTool() is plugin.tool


def test_the_layer_is_open_before_the_first_click(start, monkeypatch):
    asked, ask = [], Engine.ask
    monkeypatch.setattr(
        Engine, "ask", lambda engine, op, *rest, **header: asked.append(op) or ask(engine, op, *rest, **header)
    )
    plugin = start()
    settle(plugin)
    assert asked[-2:] == ["open", "prefetch"], "what is in view is encoded"
    assert plugin.interaction._session == "s1"
    assert plugin.interaction.steps == []
    assert not plugin.iface.bar.messages


def test_a_late_answer_is_waited_for_in_sight(start, fake):
    fake(delays={"point": 1.0})
    plugin = start()
    settle(plugin)
    began = time.monotonic()
    click(plugin)
    assert plugin.dock.busy.isVisible()
    assert time.monotonic() - began < 0.1
    settle(plugin)
    assert not plugin.dock.busy.isVisible()
    assert len(plugin.interaction.candidates) == 3


def test_the_plugin_itself_costs_a_click_little(start):
    plugin = start()
    settle(plugin)
    spent = []
    for number in range(20):
        began = time.monotonic()
        click(plugin, 60 + 4 * number)
        while plugin.interaction.waits:
            wait_for(lambda: True)
            QgsApplication.processEvents()
        spent.append(time.monotonic() - began)
    assert statistics.median(spent) < 0.04


def listen(monkeypatch, plugin):
    """What the engine is asked from now on: (op, header)."""
    asked, ask = [], plugin.engine.ask

    def heard(op, *rest, **header):
        asked.append((op, header))
        return ask(op, *rest, **header)

    monkeypatch.setattr(plugin.engine, "ask", heard)
    return asked


def test_of_many_places_under_the_mouse_the_last_counts(start, fake, monkeypatch):
    fake(delays={"preview": 0.2})
    plugin = start()
    settle(plugin)
    one, asked = plugin.interaction, listen(monkeypatch, plugin)
    for metres in (20, 40, 60, 80):
        one.hover(QgsPointXY(LEFT + metres, TOP - metres))
    wait_for(lambda: "hover" in one.marks.bands and not one._hover)
    assert one.marks.bands["hover"].asGeometry().contains(QgsPointXY(LEFT + 84, TOP - 84))
    assert [header["x"] - LEFT for op, header in asked] == [20, 80], "one at a time, and none that is old"
    assert one.steps == []


def test_a_look_that_comes_after_the_click_is_not_shown(start, fake):
    fake(delays={"preview": 0.3})
    plugin = start()
    settle(plugin)
    plugin.interaction.hover(QgsPointXY(LEFT + 20, TOP - 20))
    click(plugin)
    settle(plugin)
    QTest.qWait(400)
    assert "hover" not in plugin.interaction.marks.bands
    assert "candidate" in plugin.interaction.marks.bands


def test_what_lies_under_the_mouse_is_encoded_when_it_rests(start, fake, monkeypatch):
    fake(encode=0.5)
    plugin = start()
    settle(plugin)
    one, asked = plugin.interaction, listen(monkeypatch, plugin)
    for metres in range(20, 60):  # never at rest
        one.hover(QgsPointXY(LEFT + metres, TOP - metres))
        QTest.qWait(20)
    began = time.monotonic()
    click(plugin)
    settle(plugin)
    assert time.monotonic() - began < 0.3, "a click waits for no look"
    assert {header["encode"] for op, header in asked if op == "preview"} == {False}
    one.hover(QgsPointXY(LEFT + 80, TOP - 80))
    wait_for(lambda: "hover" in one.marks.bands, seconds=10)
    assert [header["encode"] for op, header in asked if op == "preview"][-2:] == [False, True]
    one.hover(QgsPointXY(LEFT + 90, TOP - 90))
    wait_for(lambda: one.marks.bands["hover"].asGeometry().contains(QgsPointXY(LEFT + 94, TOP - 90)), seconds=10)
    assert not asked[-1][1]["encode"]


def test_a_mouse_that_never_rests_asks_ten_times_a_second(start, monkeypatch):
    plugin = start()
    settle(plugin)
    asked, began = listen(monkeypatch, plugin), time.monotonic()
    viewport = plugin.iface.canvas.viewport()
    for number in range(100):
        QTest.mouseMove(viewport, viewport.rect().center() + QPoint(number % 40, number % 7))
        QTest.qWait(10)
    assert 1 <= len(asked) <= 10 * (time.monotonic() - began) + 1


def test_escape_cancels_a_click_that_is_answered(start, fake):
    fake(delays={"point": 3.0})
    plugin = start()
    settle(plugin)
    one, first = plugin.interaction, plugin.engine._process.processId()
    click(plugin, 100)
    QTest.qWait(200)
    began = time.monotonic()
    press(plugin, Qt.Key.Key_Escape)
    assert time.monotonic() - began < 0.2
    fake()
    plugin.engine.command = interpreter.command()
    assert not one.is_answering
    assert one.steps == []
    assert plugin.engine._process.processId() != first, "another engine"
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_clicks_before_the_one_that_is_cancelled_stay(start, fake):
    plugin = start()
    settle(plugin)
    one = plugin.interaction
    click(plugin, 100)
    settle(plugin)
    fake(delays={"point": 0.5})
    plugin.engine.stop()
    plugin.engine.command = interpreter.command()
    one.begin_again()
    settle(plugin)
    click(plugin, 160)
    press(plugin, Qt.Key.Key_Escape)
    settle(plugin)
    assert len(one.steps) == 1
    assert len(one.candidates) == 3
    assert len(one.marks.crosses) == 1


def test_no_click_is_lost_to_a_setting_that_is_changed_meanwhile(start, fake):
    fake(delays={"open": 0.5, "point": 0.3})
    plugin = start()
    click(plugin, 100)  # waits for the layer to open
    plugin.dock.simplify.setValue(0.5)
    settle(plugin)
    assert len(plugin.interaction.steps) == 1
    click(plugin, 140)  # is being answered
    plugin.dock.square.setChecked(True)
    settle(plugin)
    assert len(plugin.interaction.steps) == 2
    assert plugin.interaction.settings == {"simplify_m": 0.5, "square": True}


def test_a_setting_that_is_changed_while_an_object_is_saved_leaves_no_click_behind(start, fake, tmp_path):
    fake(delays={"accept": 0.3, "point": 0.2})
    plugin = start()
    settle(plugin)
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    click(plugin)
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    plugin.dock.square.setChecked(True)
    wait_for(lambda: layer.featureCount() == 1)
    settle(plugin)
    assert plugin.interaction.steps == []
    assert plugin.interaction.candidates == []
    layer.rollBack()


def test_a_click_while_an_object_is_saved_is_on_the_next_object(start, fake, tmp_path):
    fake(delays={"accept": 0.3})
    plugin = start()
    settle(plugin)
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    click(plugin, 60)
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    click(plugin, 180)
    assert plugin.interaction.is_answering
    wait_for(lambda: layer.featureCount() == 1 and not plugin.interaction.is_answering)
    settle(plugin)
    assert [step["x"] for step in plugin.interaction.steps] == [pytest.approx(LEFT + PIXEL * 180, abs=1)]
    assert plugin.interaction.outline().contains(QgsPointXY(LEFT + PIXEL * 180 + 3, TOP - PIXEL * 128))
    press(plugin, Qt.Key.Key_Return)
    wait_for(lambda: layer.featureCount() == 2)
    settle(plugin)
    layer.rollBack()


def test_an_object_that_cannot_be_saved_stays_without_the_click_after_it(start, fake, tmp_path):
    fake(delays={"accept": 0.3}, refuse="accept")
    plugin = start()
    settle(plugin)
    plugin._new_target(str(tmp_path / "objects.gpkg"))
    click(plugin, 60)
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    click(plugin, 180)
    settle(plugin)
    assert plugin.iface.bar.messages == ["accept: no"]
    assert not plugin.interaction.is_answering
    assert len(plugin.interaction.steps) == 1
    click(plugin, 64)
    settle(plugin)
    assert len(plugin.interaction.steps) == 2


UNDO = (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
REDO = (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)


def test_a_click_is_taken_back_before_it_is_answered(start, fake):
    fake(delays={"point": 0.3})
    plugin = start()
    settle(plugin)
    one, process = plugin.interaction, plugin.engine._process.processId()
    click(plugin, 60)
    assert plugin._wants("undo"), "QGIS would take back what was saved last"
    press(plugin, *UNDO)
    click(plugin, 100)
    click(plugin, 140)
    press(plugin, *UNDO)
    wait_for(lambda: not one.is_answering)
    settle(plugin)
    assert [round((step["x"] - LEFT) / PIXEL) for step in one.steps] == [pytest.approx(100, abs=2)]
    assert one.outline().contains(QgsPointXY(one.steps[0]["x"] + 3, one.steps[0]["y"]))
    click(plugin, 180)
    press(plugin, *UNDO)
    settle(plugin)
    assert len(one.steps) == 1
    press(plugin, *REDO)
    settle(plugin)
    assert len(one.steps) == 2
    assert one.outline().contains(QgsPointXY(one.steps[1]["x"] + 3, one.steps[1]["y"]))
    assert plugin.engine._process.processId() == process
    assert not plugin._wants("redo")


def test_a_click_that_is_taken_back_and_refused_leaves_those_before(start, fake):
    plugin = start()
    settle(plugin)
    click(plugin, 60)
    settle(plugin)
    plugin.interaction.begin_again()
    fake(refuse="box", delays={"box": 0.3})
    plugin.engine.command = interpreter.command()
    plugin.engine.stop()
    plugin.interaction.begin_again()
    settle(plugin)
    plugin.interaction.box(QgsRectangle(LEFT + 10, TOP - 30, LEFT + 30, TOP - 10))
    press(plugin, Qt.Key.Key_Backspace)
    settle(plugin)
    assert len(plugin.interaction.steps) == 1
    assert len(plugin.interaction.candidates) == 3
    click(plugin, 90)
    settle(plugin)
    assert len(plugin.interaction.steps) == 2


def test_escape_takes_the_last_of_several_waiting_clicks_back(start, fake):
    fake(delays={"point": 1.0})
    plugin = start()
    settle(plugin)
    click(plugin, 60)
    click(plugin, 180)
    fake()
    plugin.engine.command = interpreter.command()
    press(plugin, Qt.Key.Key_Escape)
    settle(plugin)
    (step,) = plugin.interaction.steps
    assert step["x"] == pytest.approx(LEFT + PIXEL * 60, abs=1)


def test_fifty_clicks_are_taken_back_and_done_again(start):
    plugin = start()
    settle(plugin)
    for number in range(50):
        click(plugin, 60 + number)
        settle(plugin)
    assert len(plugin.interaction.steps) == 50
    for _ in range(50):
        press(plugin, Qt.Key.Key_Backspace)
        settle(plugin)
    assert plugin.interaction.steps == []
    for _ in range(50):
        press(plugin, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
        settle(plugin)
    assert len(plugin.interaction.steps) == 50


def test_keys_are_heard_with_the_panel_in_focus(start):
    plugin = start()
    settle(plugin)
    click(plugin)
    settle(plugin)
    plugin.dock.square.setFocus()
    QTest.keyClick(plugin.dock, Qt.Key.Key_Tab)
    settle(plugin)
    assert plugin.interaction.chosen == 1
    QTest.keyClick(plugin.dock.simplify, Qt.Key.Key_Backspace)
    assert len([step for step in plugin.interaction.steps if step["op"] == "point"]) == 1


def test_keys_can_be_others(start, tmp_path):
    plugin = start()
    settle(plugin)
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    plugin.actions["accept"].setShortcut(QKeySequence("S"))  # as QGIS's shortcut dialog does
    click(plugin)
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    settle(plugin)
    assert layer.featureCount() == 0
    assert plugin._wants("undo")
    press(plugin, Qt.Key.Key_S)
    settle(plugin)
    assert layer.featureCount() == 1
    assert not plugin._wants("undo"), "it is the layer's own now"
    layer.rollBack()


def test_tab_moves_the_focus_in_the_panel(start):
    plugin = start()
    settle(plugin)
    click(plugin)
    settle(plugin)
    plugin.iface.window.activateWindow()
    plugin.dock.square.setFocus()
    wait_for(plugin.dock.square.hasFocus, seconds=5)
    QTest.keyClick(plugin.dock.square, Qt.Key.Key_Tab)
    settle(plugin)
    assert plugin.interaction.chosen == 0
    assert not plugin.dock.square.hasFocus()


def test_a_box_begins_where_it_was_begun_on_the_map(start):
    plugin = start()
    settle(plugin)
    canvas, boxes = plugin.iface.canvas, []
    plugin.tool.boxed.connect(boxes.append)
    viewport, place = canvas.viewport(), QPoint(100, 100)
    began = canvas.getCoordinateTransform().toMapCoordinates(100, 100)
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseMove(viewport, place + QPoint(30, 30))
    canvas.zoomByFactor(2.0)  # as the wheel does
    QTest.mouseMove(viewport, place + QPoint(60, 60))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=place + QPoint(60, 60))
    ended = canvas.getCoordinateTransform().toMapCoordinates(160, 160)
    (box,) = boxes
    wanted = QgsRectangle(began, ended)
    assert [box.xMinimum(), box.yMaximum()] == pytest.approx([wanted.xMinimum(), wanted.yMaximum()])
    settle(plugin)


def test_shift_zooms_and_space_pans_as_everywhere(start):
    plugin = start()
    settle(plugin)
    click(plugin)
    settle(plugin)
    canvas, viewport = plugin.iface.canvas, plugin.iface.canvas.viewport()
    width = canvas.extent().width()
    shift, place = Qt.KeyboardModifier.ShiftModifier, viewport.rect().center()
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, shift, place)
    QTest.mouseMove(viewport, place + QPoint(30, 30))
    QTest.mouseMove(viewport, place + QPoint(60, 60))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, shift, place + QPoint(60, 60))
    assert canvas.extent().width() < width / 2
    seen = canvas.extent()
    QTest.keyPress(canvas, Qt.Key.Key_Space)
    QTest.mouseMove(viewport, place)
    QTest.mouseMove(viewport, place + QPoint(40, 40))
    QTest.keyRelease(canvas, Qt.Key.Key_Space)
    assert canvas.extent().center() != seen.center()
    assert canvas.extent().width() == pytest.approx(seen.width())
    assert [step["op"] for step in plugin.interaction.steps] == ["point"]
    assert plugin.interaction.outline() is not None


@pytest.mark.parametrize(
    "transform",
    [[PIXEL, 0, LEFT, 0, PIXEL, TOP], [0.433, 0.25, LEFT, 0.25, -0.433, TOP]],
    ids=["south-up", "turned"],
)
@pytest.mark.parametrize("canvas_crs", ["EPSG:32633", "EPSG:3857"])
def test_a_click_is_on_the_pixel_below_the_mouse(fake, begin, tmp_path, transform, canvas_crs):
    fake(transform=transform)
    path = make_raster(tmp_path / "grey.tif")
    gdal.Open(path, gdal.GA_Update).SetGeoTransform([transform[k] for k in (2, 0, 1, 5, 3, 4)])
    plugin = begin(path, "grey")
    canvas, one = plugin.iface.canvas, plugin.interaction
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem(canvas_crs))
    there = one._from_layer()
    canvas.setExtent(there.transformBoundingBox(one.layer.extent()))
    settle(plugin)
    a, b, c, d, e, f = transform
    place = a * 100.5 + b * 60.5 + c, d * 100.5 + e * 60.5 + f
    seen = canvas.getCoordinateTransform().transform(there.transform(QgsPointXY(*place))).toQPointF().toPoint()
    QTest.mouseClick(canvas.viewport(), Qt.MouseButton.LeftButton, pos=seen)
    settle(plugin)
    assert not plugin.iface.bar.messages
    assert not one._pictures
    (step,) = one.steps
    off = math.hypot(step["x"] - place[0], step["y"] - place[1])
    assert off < PIXEL


def test_engine_and_qgis_agree_to_the_pixel(start, fake):
    fake(transform=[PIXEL, 0, LEFT + 3 * PIXEL, 0, -PIXEL, TOP])
    plugin = start()
    settle(plugin)
    assert plugin.interaction._pictures, "three pixels off are another place"


def test_a_score_that_is_low_warns(start):
    plugin = start()
    one = {"score": 0.31, "label": "tree", "label_score": 0.8}
    plugin.dock.show_candidate([one, {**one, "score": 0.7}], 0)
    assert plugin.dock.candidate.text() == "Mask 1 of 2: score <b>0.31, unsure</b>, tree 0.80"
    plugin.dock.show_candidate([one, {**one, "score": 0.7}], 1)
    assert "unsure" not in plugin.dock.candidate.text()


def test_small_pieces_go_in_what_is_shown_and_in_what_is_saved(start, tmp_path):
    plugin = start()
    settle(plugin)
    one = plugin.interaction
    click(plugin)
    settle(plugin)
    assert [len(rings) for rings in one._polygons[0]] == [2, 1], "the fake draws a hole, and a part beside"
    plugin.dock.smallest.setValue(5.0)  # the hole and the part have 4 square metres
    assert [len(rings) for rings in one._polygons[0]] == [1]
    shown = one.outline()
    assert shown.isGeosValid()
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    press(plugin, Qt.Key.Key_Return)
    settle(plugin)
    (feature,) = layer.getFeatures()
    assert feature.geometry().equals(shown)
    ruler = QgsDistanceArea()
    ruler.setSourceCrs(layer.crs(), QgsProject.instance().transformContext())
    ruler.setEllipsoid("EPSG:7030")
    assert feature["area_m2"] == pytest.approx(ruler.measureArea(shown))
    assert feature["perimeter_m"] == pytest.approx(ruler.measurePerimeter(shown))
    layer.rollBack()


def test_a_part_in_a_hole_goes_when_the_hole_is_filled():
    from samgeo_qgis.tidy import without_pieces

    def square(side):
        return [(-side, -side), (side, -side), (side, side), (-side, side), (-side, -side)]

    ring, island = [square(10), square(3)], [square(2)]
    crs = QgsCoordinateReferenceSystem("EPSG:32633")
    there = [[[(LEFT + x, TOP + y) for x, y in line] for line in rings] for rings in (ring, island)]
    assert without_pieces(there, crs, 10.0) == there
    assert without_pieces(there, crs, 37.0) == [[there[0][0]]]
    assert without_pieces(there, crs, 1e6) == [[there[0][0]]], "the largest stays"


def test_a_folder_that_cannot_be_written_is_told_and_the_object_stays(start, monkeypatch, tmp_path):
    """The project lies in /proc, where nobody makes files."""
    from qgis.PyQt.QtWidgets import QFileDialog

    plugin = start()
    settle(plugin)
    QgsProject.instance().setFileName("/proc/project.qgz")
    offered = []
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *asked: offered.append(asked[2]) or (asked[2], ""))
    click(plugin)
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    settle(plugin)
    assert offered == ["/proc/objects.gpkg"]
    assert "/proc/objects.gpkg" in plugin.iface.bar.messages[-1]
    assert plugin.dock.target.currentLayer() is None
    assert len(plugin.interaction.candidates) == 3
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    press(plugin, Qt.Key.Key_Return)
    settle(plugin)
    assert layer.featureCount() == 1
    layer.rollBack()


def test_each_label_has_a_colour_of_its_own_above_the_imagery(start, tmp_path):
    plugin = start()
    settle(plugin)
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    for label in ("building", "my barn", "building"):
        click(plugin)
        settle(plugin)
        plugin.dock.label.setText(label)
        press(plugin, Qt.Key.Key_Return)
        settle(plugin)
    renderer = layer.renderer()
    assert [one.value() for one in renderer.categories()] == ["building", "my barn", ""]
    colours = [one.symbol().symbolLayer(0).strokeColor().name() for one in renderer.categories()]
    assert len(set(colours)) == 3
    assert all(0 < one.symbol().symbolLayer(0).fillColor().alpha() < 128 for one in renderer.categories())
    order = [one.name() for one in QgsProject.instance().layerTreeRoot().layerOrder()]
    assert order == ["objects", "grey"]
    assert QgsProject.instance().layerTreeRoot().findGroup("samgeo") is not None
    layer.rollBack()


def test_a_layer_with_a_look_of_its_own_keeps_it(start, tmp_path):
    from qgis.core import QgsSingleSymbolRenderer, QgsSymbol

    plugin = start()
    settle(plugin)
    layer = plugin._new_target(str(tmp_path / "objects.gpkg"))
    layer.setRenderer(QgsSingleSymbolRenderer(QgsSymbol.defaultSymbol(layer.geometryType())))
    click(plugin)
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    settle(plugin)
    assert layer.featureCount() == 1
    assert isinstance(layer.renderer(), QgsSingleSymbolRenderer)
    style.dress(layer)
    layer.removeCustomProperty(style.OURS)
    style.add_label(layer, "building")
    assert len(layer.renderer().categories()) == 1, "drawn by label, but not by us"
    layer.rollBack()


def test_an_object_lands_in_any_layer_of_polygons_by_the_names_of_its_fields(start):
    from qgis.core import QgsVectorLayer

    plugin = start()
    settle(plugin)
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326&field=LABEL:string&field=mine:integer", "mine", "memory")
    layer.dataProvider().addFeature(QgsFeature(layer.fields()))
    QgsProject.instance().addMapLayer(layer)
    click(plugin)
    settle(plugin)
    plugin.dock.smallest.setValue(5.0)
    plugin.interaction.accept(layer, "roof")
    settle(plugin)
    assert [one["LABEL"] for one in layer.getFeatures()].count("roof") == 1
    layer.rollBack()


def test_what_the_panel_is_set_to_is_kept_in_the_project(start, tmp_path):
    plugin = start()
    settle(plugin)
    dock, project = plugin.dock, QgsProject.instance()
    plugin._new_target(str(tmp_path / "objects.gpkg"))
    dock.label.setText("bärn")
    dock.simplify.setValue(1.5)
    dock.smallest.setValue(3.0)
    dock.square.setChecked(True)
    dock.hover.setChecked(False)
    assert project.write(str(tmp_path / "project.qgz"))
    project.clear()
    assert dock.label.text() == ""
    assert dock.target.currentLayer() is None
    dock.simplify.setValue(0)
    dock.square.setChecked(False)
    assert project.read(str(tmp_path / "project.qgz"))
    assert dock.label.text() == "bärn"
    assert dock.target.currentLayer().name() == "objects"
    assert dock.raster.currentLayer().name() == "grey"
    assert (dock.simplify.value(), dock.smallest.value()) == (1.5, 3.0)
    assert dock.square.isChecked()
    assert not dock.hover.isChecked()
    assert plugin.interaction.smallest_m2 == 3.0
    settle(plugin)


def test_the_panel_says_what_to_do_next(face, monkeypatch, start):
    monkeypatch.setattr(interpreter, "find_python", lambda: None)
    plugin = start()
    assert plugin.dock.set_up.isVisible()
    assert "Step 1 of 2" in plugin.dock.guide.text()
    assert not plugin.engine.is_running, "nothing is started that is not there"
    assert not face.bar.messages
    monkeypatch.setattr(interpreter, "find_python", lambda: os.environ["SAMGEO_PYTHON"])
    plugin.restart()
    settle(plugin)
    assert "Left click" in plugin.dock.guide.text()
    plugin.dock.raster.setLayer(None)
    assert plugin.dock.add_raster.isVisible()
    assert "Step 2 of 2" in plugin.dock.guide.text()


def test_saving_nothing_is_told_and_asks_for_no_file(start):
    plugin = start()
    settle(plugin)
    press(plugin, Qt.Key.Key_Return)
    assert "Nothing to save yet" in plugin.iface.bar.messages[-1]


def test_a_layer_that_cannot_be_opened_is_told_once(start, fake):
    fake(refuse="open")
    plugin = start()
    settle(plugin)
    for col in range(5):
        plugin.interaction.hover(QgsPointXY(LEFT + 10 + col, TOP - 10))
        settle(plugin)
    assert plugin.iface.bar.messages == ["open: no"]


def test_the_profile_of_these_tests_has_a_space_in_its_name():
    assert " " in QgsApplication.qgisSettingsDirPath()
    assert "é" in QgsApplication.qgisSettingsDirPath()


def test_every_colour_of_the_panel_is_the_themes():
    """What the panel writes names no colour, so that it is read on dark ground too."""
    for name in ("dock.py", "engine_dialog.py", "plugin.py"):
        text = (ROOT / "qgis_plugin" / "samgeo_qgis" / name).read_text()
        assert "color:" not in text
        assert "setStyleSheet" not in text


def test_the_engine_is_shown_the_bands_that_qgis_shows(start, monkeypatch):
    plugin = start()
    settle(plugin)
    asked = listen(monkeypatch, plugin)
    plugin.interaction.layer.renderer().setRedBand(3)
    plugin.dock.square.setChecked(True)
    click(plugin)
    settle(plugin)
    (settings,) = [header["settings"] for op, header in asked if op == "open"]
    assert settings["bands"] == [3, 2, 3]
    assert settings["square"]


def test_other_bands_of_the_layer_are_noticed(start, monkeypatch):
    plugin = start()
    settle(plugin)
    click(plugin)
    settle(plugin)
    asked, layer = listen(monkeypatch, plugin), plugin.interaction.layer
    renderer = layer.renderer().clone()
    renderer.setOpacity(0.5)
    layer.setRenderer(renderer)
    settle(plugin)
    assert not asked, "the engine sees what it saw"
    renderer = layer.renderer().clone()
    renderer.setRedBand(3)
    layer.setRenderer(renderer)
    settle(plugin)
    assert [header["settings"]["bands"] for op, header in asked if op == "open"] == [[3, 2, 3]]
    assert len(plugin.interaction.steps) == 1
    assert len(plugin.interaction.candidates) == 3
    plugin.dock.raster.setLayer(None)
    layer.setRenderer(layer.renderer().clone())
    settle(plugin)


def test_another_crs_of_the_layer_drops_the_clicks(start, monkeypatch):
    plugin = start()
    settle(plugin)
    click(plugin)
    settle(plugin)
    asked, one = listen(monkeypatch, plugin), plugin.interaction
    one.layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32634"))
    settle(plugin)
    assert (one.steps, one.candidates, one.marks.crosses) == ([], [], [])
    assert "clicks are dropped" in plugin.iface.bar.messages[-1]
    plugin.iface.canvas.setDestinationCrs(one.layer.crs())
    plugin.iface.canvas.setExtent(one.layer.extent())
    click(plugin)
    settle(plugin)
    assert ["UTM zone 34N" in header["settings"]["raster_crs"] for op, header in asked if op == "open"] == [True]
    assert len(one.steps) == 1


def test_every_sentence_is_translated_and_the_panel_speaks_german(start):
    sys.path.insert(0, str(ROOT / "qgis_plugin"))
    import translate

    known = translate.translations(translate.FOLDER / "samgeo_qgis_de.ts")
    assert list(known) == translate.sentences(), "python qgis_plugin/translate.py brings it up to date"
    assert all(known.values())
    for text, other in known.items():
        assert text.count("{}") == other.count("{}"), text
    translator = texts.install("de_AT")
    try:
        plugin = start()
        settle(plugin)
        assert "Linksklick" in plugin.dock.guide.text()
        assert plugin.actions["accept"].text() == "Speichern"
        assert all(texts.tr(text) == other for text, other in known.items()), "the .qm file is made of the .ts file"
    finally:
        QgsApplication.removeTranslator(translator)
    assert texts.install("xx") is None


def test_the_cache_is_shown_and_emptied(start, qgis_app):
    from samgeo_qgis.engine_dialog import EngineDialog

    plugin = start()
    settle(plugin)
    dialog = EngineDialog(plugin.engine, plugin.iface.window)
    dialog.show()
    wait_for(lambda: dialog.cache.text() == "5 of at most 2000 MB", seconds=10)
    dialog.empty.click()
    wait_for(lambda: dialog.cache.text() == "0 of at most 2000 MB", seconds=10)
    dialog.empty.click()
    dialog.reject()
    settle(plugin)


@pytest.fixture
def slow_python(tmp_path, monkeypatch):
    """A Python that takes a second for everything, and makes no environments."""
    path = tmp_path / "python"
    path.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nsleep 1\necho a slow one\nexit 3\n')
    path.chmod(0o755)
    monkeypatch.setattr(interpreter, "find_python", lambda: str(path))
    monkeypatch.setattr(interpreter, "bases", lambda: [str(path)], raising=False)
    monkeypatch.setattr(interpreter, "own_folder", lambda: str(tmp_path / "own"))


def test_the_report_holds_nothing_up(start, slow_python):
    from samgeo_qgis.engine_dialog import EngineDialog

    plugin = start()
    settle(plugin)
    dialog = EngineDialog(plugin.engine, plugin.iface.window)
    began = time.monotonic()
    dialog.report.click()
    assert time.monotonic() - began < 0.5
    wait_for(lambda: "a slow one" in dialog.text.toPlainText(), seconds=10)
    assert QgsApplication.clipboard().text() == dialog.text.toPlainText()
    dialog.report.click()
    began = time.monotonic()
    dialog.reject()
    assert time.monotonic() - began < 0.5, "and it stops with the window"
    settle(plugin)


def test_no_ok_while_an_environment_is_made(start, slow_python):
    from qgis.PyQt.QtWidgets import QDialogButtonBox
    from samgeo_qgis.engine_dialog import EngineDialog

    plugin = start()
    settle(plugin)
    dialog = EngineDialog(plugin.engine, plugin.iface.window)
    ok = dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)
    dialog.make.click()
    assert not ok.isEnabled()
    wait_for(ok.isEnabled, seconds=10)
    assert "code 3" in dialog.text.toPlainText()
    dialog.make.click()
    dialog.reject()
    settle(plugin)


def test_a_dead_engine_is_started_again_from_the_bar(start, face):
    from qgis.gui import QgsMessageBar
    from qgis.PyQt.QtWidgets import QPushButton

    plugin = start()
    settle(plugin)
    click(plugin)
    settle(plugin)
    face.bar = QgsMessageBar(face.window)
    os.kill(int(plugin.engine._process.processId()), signal.SIGSEGV)
    wait_for(lambda: face.bar.currentItem() is not None, seconds=10)
    buttons = {one.text(): one for one in face.bar.currentItem().findChildren(QPushButton)}
    assert set(buttons) == {"Restart", "Copy report"}
    assert "crashed" in plugin.dock.status.text()
    assert len(plugin.interaction.steps) == 1
    QgsApplication.clipboard().clear()
    buttons["Copy report"].click()
    wait_for(lambda: "samgeo doctor:" in QgsApplication.clipboard().text(), seconds=60)
    buttons["Restart"].click()
    settle(plugin)
    assert len(plugin.interaction.candidates) == 3
