"""What the plugin costs in a real QGIS window, with the real engine and samgeo-nano, beside its budgets.

SIDE_PX=10000 qgis_plugin/window.sh qgis_plugin/tests/budgets.py budgets.md
"""

import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.environ["SAMGEO_PLUGINS"], "tests"))
import window
from qgis.core import Qgis
from qgis.PyQt.QtCore import QPoint, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.utils import iface

NEXT_CLICKS, HOVER_SECONDS, MOVE_MS = 30, 5.0, 20
HEAVY = {"torch", "onnxruntime", "samgeo", "rasterio", "scipy", "pandas"}


def ready():
    """Milliseconds of loading the plugin, of pressing its button, and what was imported."""
    began = time.monotonic()
    plugin = window.load()
    loaded = time.monotonic()
    before = set(sys.modules)
    plugin.action.setChecked(True)
    window.wait(plugin.dock.isVisible)
    pressed = time.monotonic()
    assert not HEAVY & (set(sys.modules) - before)
    assert iface.mapCanvas().mapTool() is plugin.tool
    return plugin, 1000 * (loaded - began), 1000 * (pressed - loaded)


def clicked(one, place):
    """Milliseconds from a click to the mark that shows it is heard, and to the outline on the map."""
    began = time.monotonic()
    window.click(place)
    heard = 1000 * (time.monotonic() - began)
    assert one.waits, "it is seen to work"
    window.wait(lambda: not one.waits)
    assert "candidate" in one.marks.bands
    return heard, 1000 * (time.monotonic() - began)


def shifted(place, metres):
    """A place in another block of the raster."""
    return {**place, "x": place["x"] + metres, "y": place["y"] - metres}


def look_at(place, metres):
    """So many metres of the raster around a place."""
    from qgis.core import QgsRectangle

    half = metres / 2
    iface.mapCanvas().setExtent(
        QgsRectangle(place["x"] - half, place["y"] - half, place["x"] + half, place["y"] + half)
    )
    window.wait(lambda: not iface.mapCanvas().isDrawing())
    QTest.qWait(200)


def hovered(plugin, place):
    """Latencies of previews, how many a second were asked for, and the longest time in which QGIS did nothing else."""
    one, asked, shown, latencies = plugin.interaction, {}, [], []
    ask, show, gaps = plugin.engine.ask, one._show_hover, []

    def heard(op, then, failed, payload=b"", **header):
        number = ask(op, then, failed, payload, **header)
        if op == "preview":
            asked["last"] = time.monotonic()
            asked["count"] = asked.get("count", 0) + 1
        return number

    def seen(header, payload):
        show(header, payload)
        shown.append(time.monotonic())
        latencies.append(1000 * (shown[-1] - asked["last"]))

    plugin.engine.ask, one._show_hover = heard, seen
    beat = [time.monotonic()]
    timer = QTimer()
    timer.timeout.connect(lambda: (gaps.append(time.monotonic() - beat[0]), beat.__setitem__(0, time.monotonic())))
    timer.start(5)
    viewport, start, began, moves = iface.mapCanvas().viewport(), window.at(place), time.monotonic(), 0
    beat[0] = began
    while time.monotonic() - began < HOVER_SECONDS:
        moves += 1
        QTest.mouseMove(viewport, start + QPoint(moves % 60 - 30, moves // 3 % 40 - 20))
        QTest.qWait(MOVE_MS)
    timer.stop()
    plugin.engine.ask, one._show_hover = ask, show
    return latencies, asked.get("count", 0) / HOVER_SECONDS, len(shown), 1000 * max(gaps)


def new_places(one, places, far):
    """Milliseconds of a first click in places that the engine has not seen, itself being ready."""
    spent = []
    for number, place in enumerate(places, 1):
        there = shifted(place, far * number / len(places))
        look_at(there, 120)
        spent.append(clicked(one, there)[1])
        begin_anew(one)
    return spent


def next_clicks(one, place):
    """Milliseconds of clicks in one window, in order; every fifth begins another object."""
    spent = []
    for number in range(NEXT_CLICKS):
        if number % 5 == 4:
            begin_anew(one)
        spent.append(
            clicked(one, {**place, "x": place["x"] + 0.3 * (number % 5), "y": place["y"] + 0.3 * (number % 3)})[1]
        )
    return sorted(spent)


def begin_anew(one):
    """No clicks, and nothing to wait for."""
    one.clear()
    window.wait(lambda: not one.waits)


def rested(one, place):
    """Milliseconds of a click where the mouse has shown a preview."""
    look_at(place, 120)
    for by in ((-20, 5), (0, 0)):
        QTest.mouseMove(iface.mapCanvas().viewport(), window.at(place, by))
    window.wait(lambda: "hover" in one.marks.bands)
    return clicked(one, place)[1]


def usual(values):
    """Median and 95th percentile of sorted values."""
    return f"{statistics.median(values):.0f}, {values[int(0.95 * len(values))]:.0f} ms"


def measure(places, far):
    """Rows of the table: requirement, what, budget, measured."""
    look_at(places[0], 120)
    plugin, loading, pressing = ready()
    one = plugin.interaction
    yield "U1", "plugin loaded", "", f"{loading:.0f} ms"
    yield "U1", "button pressed to tool ready", "300 ms", f"{pressing:.0f} ms"
    heard, cold = clicked(one, places[0])
    yield "U2", "a click is seen to be heard", "100 ms", f"{heard:.0f} ms"
    yield "U2", "first click, at once after the button: engine and model start too", "", f"{cold / 1000:.1f} s"
    begin_anew(one)
    if far:
        spent = new_places(one, places[1:4], far)
        yield "U2", "first click in a new place, engine ready: worst of 3", "3 s", f"{max(spent) / 1000:.2f} s"
    place = shifted(places[4], far / 2)
    yield "U2", "first click where the mouse has rested", "0.5 s", f"{rested(one, place) / 1000:.2f} s"
    yield "U3", f"next click, {NEXT_CLICKS} of them: median, p95", "150 ms", usual(next_clicks(one, place))
    begin_anew(one)
    latencies, asked, shown, gap = hovered(plugin, place)
    yield "U4", "hover asks, a second", "at most 10", f"{asked:.1f}"
    yield "U4", f"hover to outline, {shown} of them: median, p95", "", usual(sorted(latencies))
    yield "U4", "longest time that QGIS was held up while hovering", "", f"{gap:.0f} ms"
    assert one.steps == [], "hovering changes nothing"


def main():
    """Measure and write the table."""
    with open(os.path.join(window.HERE, "places.json")) as file:
        told = json.load(file)
    layer = window.show(os.path.join(window.HERE, "scene.tif"), "orthophoto")
    window.wait(lambda: not iface.mapCanvas().isDrawing())
    places = [place for place in told["places"] if place["label"] == "building"]
    rows = list(measure(places, told["block_m"] * (layer.width() // 1000 - 1)))
    text = f"Raster of {layer.width()} px; QGIS {Qgis.QGIS_VERSION}, {os.cpu_count()} cores, "
    text += f"load {os.getloadavg()[0]:.1f}."
    text += "\n\n| | | budget | measured |\n|---|---|---|---|\n"
    text += "".join(f"| {' | '.join(row)} |\n" for row in rows)
    with open(os.environ["SAMGEO_OUT"], "w") as file:
        file.write(text)


QTimer.singleShot(3000, lambda: window.run(main))
