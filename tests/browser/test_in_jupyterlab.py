"""The notebook's map in a real browser: JupyterLab, Chromium, a mouse and keys; the model is samgeo-nano.

`make notebook-test` runs this in an environment of its own, with the samgeo of this checkout as the kernel
(`SAMGEO_PYTHON`). Elsewhere it is skipped, with the reason. `SAMGEO_PICTURES` names a folder for screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make notebook-test")
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: make notebook-test")

ROOT = Path(__file__).resolve().parents[2]
KERNEL = os.environ.get("SAMGEO_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PICTURES = os.environ.get("SAMGEO_PICTURES")
SIDE = 1024
PLACES = (("x", "width", "col"), ("y", "height", "row"))
SEED = 8
GSD_M = 0.25

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: make notebook-test")

SCENE = f"""
import json
from pathlib import Path
import numpy as np
from samgeo.demo import write_scene
from samgeo.train.scenes import make_scene
scene = make_scene({SEED}, height_px={SIDE}, width_px={SIDE}, gsd_m={GSD_M})
write_scene(Path("scene.tif"), scene.image, gsd_m={GSD_M})
found = []
for mask, parent in zip(scene.objects, scene.parents):
    window = mask.window
    inside = min(window.row, window.col, {SIDE} - window.row_end, {SIDE} - window.col_end) > 60
    if parent == -1 and mask.label == "building" and mask.area_px > 1000 and inside:
        rows, cols = np.nonzero(mask.pixels)
        middle = np.argmin(np.hypot(rows - rows.mean(), cols - cols.mean()))
        place = dict(col=float(window.col + cols[middle] + 0.5), row=float(window.row + rows[middle] + 0.5))
        edges = dict(left=window.col, top=window.row, right=window.col_end, bottom=window.row_end)
        found.append(place | edges | dict(area=mask.area_px))
found.sort(key=lambda one: abs(one["col"] - {SIDE} / 2) + abs(one["row"] - {SIDE} / 2))  # those in the middle first
Path("truth.json").write_text(json.dumps(found[:30]))
"""
CELLS = [
    """from samgeo.notebook import SamMap
clicks = SamMap("scene.tif", labels=["building", "garden", "road"], height="600px")
clicks""",
    "clicks.fit()\nclicks",
    """import json
from pathlib import Path
print("SAVED", clicks.save("out.gpkg", overwrite=True), clicks.to_gdf().area.tolist())""",
]

LOST = """told = clicks._conversation._send
def lose_one(message, buffers):
    if message["type"] == "state" and message.get("n"):
        clicks._conversation._send = told
    else:
        told(message, buffers)
clicks._conversation._send = lose_one"""

LEAFLET = """import ipyleaflet
from samgeo.notebook import attach
m = ipyleaflet.Map(layers=(), layout={"height": "600px"})
clicks = attach(m, "scene.tif", labels=["building"])
m"""


def notebook(cells: list[str]) -> str:
    made = [
        {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{index}"}
        for index, cell in enumerate(cells)
    ]
    kernel = {"name": "samgeo-test", "display_name": "samgeo", "language": "python"}
    return json.dumps({"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    subprocess.run([KERNEL, "-c", SCENE], cwd=folder, check=True)
    (folder / "clicks.ipynb").write_text(notebook(CELLS[:1] + CELLS[2:]))
    (folder / "twice.ipynb").write_text(notebook(CELLS[:2]))
    (folder / "lost.ipynb").write_text(notebook([CELLS[0], LOST]))
    (folder / "leaflet.ipynb").write_text(notebook([LEAFLET]))
    kernel = folder / "jupyter" / "kernels" / "samgeo-test"
    kernel.mkdir(parents=True)
    line = [KERNEL, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": line, "display_name": "samgeo", "language": "python"}))
    return folder


@pytest.fixture(scope="module")
def lab(folder):
    """The address of JupyterLab on loop-back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HOME")}
    for place in own.values():
        Path(place).mkdir(exist_ok=True)
    environment = os.environ | own | {"JUPYTER_PATH": str(folder / "jupyter"), "OMP_NUM_THREADS": "1"}
    settings = ["--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}", "--allow-root"]
    line = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", *settings]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(line, cwd=folder, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Map:
    """The map on a page, and what a user does with it."""

    def __init__(self, page, number=0):
        self.page = page
        self.root = page.locator(".samgeo").nth(number)
        self.canvas = self.root.locator("canvas")
        self.number = number

    def data(self):
        return dict(self.root.evaluate("root => ({...root.dataset})"))

    def until(self, timeout=60_000, **wanted):
        """Wait until the page says so."""
        told = json.dumps({name: str(value) for name, value in wanted.items()})
        self.page.wait_for_function(
            f"""() => {{
                const root = document.querySelectorAll('.samgeo')[{self.number}], wanted = {told};
                return root && root.dataset.busy === 'false'
                    && Object.keys(wanted).every((name) => root.dataset[name] === wanted[name]);
            }}""",
            timeout=timeout,
        )

    def on_screen(self, col, row):
        view, box = json.loads(self.data()["view"]), self.canvas.bounding_box()
        (x, y), scale = view["center"], view["scale"]
        return box["x"] + box["width"] / 2 + (col - x) * scale, box["y"] + box["height"] / 2 + (row - y) * scale

    def on_map(self, x, y):
        view, box = json.loads(self.data()["view"]), self.canvas.bounding_box()
        (col, row), scale = view["center"], view["scale"]
        return col + (x - box["x"] - box["width"] / 2) / scale, row + (y - box["y"] - box["height"] / 2) / scale

    def click(self, col, row, button="left"):
        self.page.mouse.click(*self.on_screen(col, row), button=button)

    def drag(self, start, stop, button="left"):
        self.page.mouse.move(*start)
        self.page.mouse.down(button=button)
        self.page.mouse.move(*((a + b) / 2 for a, b in zip(start, stop, strict=True)))
        self.page.mouse.move(*stop)
        self.page.mouse.up(button=button)

    def times(self):
        return json.loads(self.data()["times"])

    def sent(self):
        return json.loads(self.data()["sent"])

    def says(self, words):
        self.root.locator(".samgeo-text", has_text=words).wait_for(timeout=20_000)

    def act(self, name):
        return self.root.locator(f"button[data-act={name}]")


def open_notebook(browser, lab, name, ready=".samgeo canvas"):
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(f"{lab}/lab/tree/{name}?reset", wait_until="domcontentloaded")
    page.locator(".jp-Notebook").wait_for(timeout=90_000)
    page.wait_for_timeout(1500)
    for button in page.get_by_role("button", name="No", exact=True).all():
        button.click()  # JupyterLab asks whether it may show news
    run_all(page)
    try:
        page.locator(ready).first.wait_for(timeout=40_000)
    except playwright.TimeoutError:  # a busy machine: the kernel was not there yet
        run_all(page)
        page.locator(ready).first.wait_for(timeout=90_000)
    return page


def run_all(page):
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator("li[data-command='runmenu:run-all']").click()


def tell(text):
    """For whoever measures: pytest -s."""
    sys.stdout.write(f"{text}\n")


def shoot(target, name):
    if PICTURES:
        target.screenshot(path=str(Path(PICTURES) / name))


@pytest.fixture(scope="module")
def page(browser, lab):
    page = open_notebook(browser, lab, "clicks.ipynb")
    yield page
    page.close()


@pytest.fixture
def shown(page):
    """The map, with nothing clicked."""
    found = Map(page)
    found.root.scroll_into_view_if_needed()
    found.page.wait_for_function("() => document.querySelector('.samgeo').dataset.tiles > 0", timeout=90_000)
    found.page.wait_for_timeout(500)
    found.until(asked=0)
    found.canvas.focus()
    page.keyboard.press("0")
    page.keyboard.press("Escape")
    found.until(points=0, box="false")
    yield found
    assert page.faults == []


@pytest.fixture(scope="module")
def truth(folder):
    return json.loads((folder / "truth.json").read_text())


def is_saved_at(folder, one):
    """Whether a feature of the file that the notebook wrote lies under a place of the truth."""
    code = f"""
import geopandas, rasterio, shapely
with rasterio.open("scene.tif") as scene:
    x, y = scene.transform @ ({one["col"]}, {one["row"]})
print(geopandas.read_file("out.gpkg").geometry.intersects(shapely.Point(x, y)).any())
"""
    told = subprocess.run([KERNEL, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return told.stdout.strip() == "True"


def test_a_click_gives_a_polygon_and_enter_keeps_it(shown, truth, folder, page):
    one = truth[0]
    shown.click(one["col"], one["row"])
    shown.until(points=1)
    first = shown.times()["click"]
    assert int(shown.data()["candidates"]) >= 1
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    shown.until(points=0, features=1)
    page.locator(".jp-Cell").last.click()
    page.keyboard.press("Control+Enter")
    page.locator(".jp-OutputArea-output", has_text="SAVED").wait_for(timeout=60_000)
    page.wait_for_timeout(300)
    assert is_saved_at(folder, one)
    tell(f"first click {first:.0f} ms")


def test_right_click_undo_redo_and_masks_by_keys(shown, truth, page):
    one = truth[1]
    shown.click(one["col"], one["row"])
    shown.until(points=1)
    if int(shown.data()["candidates"]) > 1:
        page.keyboard.press("Tab")
        shown.until(chosen=1)
    shown.click(one["left"] - 6, one["top"] - 6, button="right")
    shown.until(points=2)
    assert page.locator(".lm-Menu").count() == 0, "JupyterLab's own menu stays away"
    page.keyboard.press("Control+z")
    shown.until(points=1)
    page.keyboard.press("Control+Shift+Z")
    shown.until(points=2)
    page.keyboard.press("Backspace")
    shown.until(points=1)
    shown.click(one["col"], one["row"])  # the click after a right click is not lost
    shown.until(points=2)
    page.keyboard.press("Escape")
    shown.until(points=0, candidates=0)


def test_a_box_that_is_dragged(shown, truth, page):
    one = truth[2]
    shown.drag(shown.on_screen(one["left"] - 3, one["top"] - 3), shown.on_screen(one["right"] + 3, one["bottom"] + 3))
    shown.until(box="true", candidates=1)
    before = int(shown.data()["features"])
    shown.act("Accept").click()
    shown.until(box="false", features=before + 1)
    page.keyboard.press("Delete")
    shown.until(features=before)
    shown.says("Ctrl+Z brings it back")
    page.keyboard.press("Escape")
    shown.act("undo").click()
    shown.until(features=before + 1)
    shown.act("redo").click()
    shown.until(features=before)
    assert shown.act("redo").is_disabled()


def test_pan_and_zoom_keep_the_clicks(shown, truth, page):
    one = truth[3]
    shown.click(one["col"], one["row"])
    shown.until(points=1)
    before = json.loads(shown.data()["view"])
    x, y = map(round, shown.on_screen(one["col"], one["row"]))
    col, row = shown.on_map(x, y)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(300)
    near = json.loads(shown.data()["view"])
    assert near["scale"] > 2 * before["scale"]
    assert shown.on_screen(col, row) == pytest.approx((x, y), abs=1.5), "zooms about the mouse"
    shown.drag((x, y), (x + 80, y + 40), button="middle")
    page.wait_for_timeout(200)
    assert shown.on_screen(col, row) == pytest.approx((x + 80, y + 40), abs=1.5)
    page.keyboard.down("Space")
    shown.drag((x, y), (x - 80, y - 40))
    page.keyboard.up("Space")
    shown.act("pan").click()
    shown.drag((x, y), (x + 30, y))
    shown.act("click").click()
    assert shown.data()["points"] == "1"
    shown.until(asked=0)


def test_hovering_shows_what_a_click_would(shown, truth, page):
    one = truth[1]
    shown.click(one["col"], one["row"])
    shown.until(points=1)
    page.keyboard.press("Escape")
    shown.until(points=0)
    x, y = shown.on_screen(one["col"], one["row"])
    took = []
    for step in range(24):
        page.mouse.move(x + step, y + step / 2)
        page.wait_for_timeout(60)
        took.append(shown.times().get("hover", 0))
    shown.until(hover="true")
    assert shown.data()["points"] == "0"
    tell(f"hover {sorted(round(t) for t in set(took))} ms")


def test_a_mouse_at_rest_lets_the_kernel_rest(shown, truth, page):
    one = truth[-1]
    page.wait_for_timeout(1000)
    before = shown.sent()
    page.mouse.move(*shown.on_screen(one["col"], one["row"]))
    shown.until(hover="true")
    page.wait_for_timeout(3000)
    now = shown.sent()
    assert now["hover"] - before.get("hover", 0) <= 2
    assert now["prefetch"] - before.get("prefetch", 0) <= 1


def test_the_blue_outline_goes_when_the_mouse_leaves_or_moves_the_map(shown, truth, page):
    one = truth[1]
    for leave in (lambda: page.keyboard.down("Space"), lambda: page.mouse.move(*shown.on_screen(-20, 400))):
        page.mouse.move(*shown.on_screen(one["col"], one["row"]))
        shown.until(hover="true")
        leave()
        shown.until(hover="false")
        page.keyboard.up("Space")
        page.mouse.move(*shown.on_screen(-30, 400))


def test_a_box_begins_where_it_began_when_the_wheel_zooms_meanwhile(shown, truth, page):
    one = truth[1]
    wanted = [one["left"] - 3, one["top"] - 3, one["right"] + 3, one["bottom"] + 3]
    page.mouse.move(*shown.on_screen(*wanted[:2]))
    page.mouse.down()
    page.mouse.move(*shown.on_screen(one["col"], one["row"]))
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(300)
    page.mouse.move(*shown.on_screen(*wanted[2:]))
    page.mouse.up()
    shown.until(box="true")
    assert json.loads(shown.data()["corners"]) == pytest.approx(wanted, abs=2)


def test_a_key_that_is_held_acts_once(shown, truth, page):
    before = int(shown.data()["features"])
    for count, one in enumerate(truth[4:7], before + 1):
        shown.drag(
            shown.on_screen(one["left"] - 3, one["top"] - 3), shown.on_screen(one["right"] + 3, one["bottom"] + 3)
        )
        shown.until(box="true")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        shown.until(box="false", features=count)
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    shown.says("Accepted")  # and not that there is nothing to accept
    for _ in range(4):
        page.keyboard.down("Delete")
        page.wait_for_timeout(200)
    page.keyboard.up("Delete")
    shown.until(features=before + 2)
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    shown.until(features=before)


def test_the_keys_of_the_notebook_stay_its_own(shown, page):
    """Keys over the map are the map's, and the toolbar is no place to click on objects."""
    cells = page.locator(".jp-Cell").count()
    shown.canvas.focus()
    for key in ("a", "b", "d", "d", "x", "2", "z"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert page.locator(".jp-Cell").count() == cells
    assert page.locator(".jp-MarkdownCell").count() == 0
    assert shown.root.locator("button[data-act=label][aria-pressed=true]").inner_text().startswith("garden")
    shown.root.locator(".samgeo-bar").click(position={"x": 5, "y": 5}, button="right")
    shown.root.locator("input").fill("pond 3")
    page.keyboard.press("Backspace")
    assert shown.root.locator("input").input_value() == "pond "
    assert shown.data()["points"] == "0"
    page.keyboard.press("Escape")
    page.keyboard.press("1")


def test_what_cannot_be_is_said_in_a_line(shown, page):
    shown.canvas.focus()
    page.keyboard.press("Enter")
    shown.says("click on an object first")
    page.keyboard.press("-")
    page.keyboard.press("-")
    page.wait_for_timeout(200)
    shown.click(-30, 400)
    shown.says("this place is not on scene.tif")
    page.keyboard.press("0")


def test_how_long_a_click_takes(shown, truth, page):
    """In the window that is encoded already: the whole way from mouse to picture, besides the model itself."""
    one = truth[1]
    shown.click(one["col"], one["row"])
    shown.until(points=1)
    took = []
    for step in range(6):
        shown.click(one["col"] + step, one["row"])
        shown.until(points=step + 2)
        took.append(shown.times()["click"])
    page.keyboard.press("Escape")
    shown.until(points=0)
    tell(f"next clicks {sorted(round(t) for t in took)} ms")
    assert sorted(took)[3] < 1500


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures(shown, truth, page, scheme):
    if scheme == "dark":
        page.locator(".lm-MenuBar-itemLabel", has_text="Settings").first.click()
        page.locator("li.lm-Menu-item", has_text="Theme").first.hover()
        page.locator("li[data-command='apputils:change-theme']", has_text="JupyterLab Dark").first.click()
        page.wait_for_timeout(1500)
    page.keyboard.press("Escape")
    shown.until(points=0)
    anchor = truth[0]
    page.mouse.move(*shown.on_screen(anchor["col"], anchor["row"]))
    page.mouse.wheel(0, -500)
    page.wait_for_timeout(400)
    box = shown.canvas.bounding_box()
    seen = []
    for one in truth[1:]:
        left, top = shown.on_screen(one["left"], one["top"])
        right, bottom = shown.on_screen(one["right"], one["bottom"])
        across = box["x"] + 20 < left and right < box["x"] + box["width"] - 60
        if across and box["y"] + 20 < top and bottom < box["y"] + box["height"] - 40:
            seen.append(one)
    before = int(shown.data()["features"])
    for count, one in enumerate(seen[2:8] if scheme == "light" else [], before + 1):
        corners = shown.on_screen(one["left"] - 2, one["top"] - 2), shown.on_screen(one["right"] + 2, one["bottom"] + 2)
        shown.drag(*corners)
        shown.until(box="true")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        shown.until(box="false", features=count)
    shown.click(seen[0]["col"], seen[0]["row"])
    shown.until(points=1)
    page.mouse.move(*shown.on_screen(seen[1]["col"], seen[1]["row"]))
    page.wait_for_timeout(600)
    shown.until(asked=0)
    assert int(shown.data()["features"]) >= 5
    assert "Mask 1 of" in shown.act("choose").first.get_attribute("title")
    shoot(shown.root, f"map-{scheme}.png")
    shoot(page, f"page-{scheme}.png")


def test_the_same_map_twice_and_after_a_reload(browser, lab, truth):
    page = open_notebook(browser, lab, "twice.ipynb")
    page.locator(".samgeo canvas").nth(1).wait_for(timeout=60_000)
    first, second = Map(page, 0), Map(page, 1)
    first.root.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.samgeo').dataset.tiles > 0", timeout=90_000)
    first.click(truth[0]["col"], truth[0]["row"])
    first.until(points=1)
    second.until(points=1)
    first.canvas.focus()
    page.keyboard.press("Enter")
    second.until(points=0, features=1)
    first.click(truth[1]["col"], truth[1]["row"])
    first.until(points=1)
    page.keyboard.press("Control+s")  # still JupyterLab's, over the map too
    page.locator(".jp-mod-dirty").wait_for(state="detached", timeout=20_000)
    page.keyboard.press("+")
    for text in ("pond", ""):
        first.root.locator("input").fill(text)  # no label
    page.wait_for_timeout(300)
    view = first.data()["view"]
    other = browser.new_page(viewport={"width": 1440, "height": 1000})
    other.goto(f"{lab}/lab/tree/twice.ipynb", wait_until="domcontentloaded")
    other.locator(".samgeo canvas").first.wait_for(timeout=90_000)
    Map(other).until(points=1, features=1)
    other.close()
    assert first.data()["view"] == view, "another browser leaves the view alone"
    assert first.root.locator("button[data-act=label][aria-pressed=true]").count() == 0
    page.reload()
    page.locator(".samgeo canvas").first.wait_for(timeout=90_000)
    again = Map(page, 0)
    again.until(points=1, features=1)
    page.close()


def test_an_answer_that_is_lost_does_not_freeze_the_map(browser, lab, truth):
    page = open_notebook(browser, lab, "lost.ipynb")
    shown = Map(page)
    page.wait_for_function("() => document.querySelector('.samgeo').dataset.tiles > 0", timeout=90_000)
    shown.root.scroll_into_view_if_needed()
    page.wait_for_timeout(3000)  # the second cell has run
    shown.click(truth[0]["col"], truth[0]["row"])
    page.wait_for_timeout(3000)
    assert shown.data()["busy"] == "true"
    assert shown.data()["points"] == "0"
    shown.until(points=1)
    shown.click(truth[0]["col"] + 3, truth[0]["row"])
    shown.until(points=2)
    page.close()


def test_on_a_map_of_ipyleaflet(browser, lab, truth):
    page = open_notebook(browser, lab, "leaflet.ipynb", ready=".leaflet-container")
    page.locator(".leaflet-image-layer").wait_for(timeout=60_000)
    page.wait_for_timeout(2500)
    picture = page.locator(".leaflet-image-layer").bounding_box()

    def press(one, button):
        x, y = (picture[side] + picture[size] * one[name] / SIDE for side, size, name in PLACES)
        page.mouse.click(x, y, button=button)

    started = time.monotonic()
    press(truth[3], "left")
    page.locator("path.leaflet-interactive[stroke='#ff8c00']").first.wait_for(state="attached", timeout=60_000)
    tell(f"ipyleaflet: first click {1000 * (time.monotonic() - started):.0f} ms")
    press({"col": truth[3]["left"] - 8, "row": truth[3]["top"] - 8}, "right")
    page.locator("path.leaflet-interactive[fill='#e02424']").wait_for(state="attached", timeout=60_000)
    assert page.locator(".lm-Menu").count() == 0, "JupyterLab's own menu stays away"
    shoot(page, "leaflet.png")
    page.locator("button", has_text="Accept").click()
    page.locator(".widget-label", has_text="1 accepted").wait_for(timeout=60_000)
    page.locator("path.leaflet-interactive[stroke='#ffd60a']").first.wait_for(state="attached", timeout=60_000)
    page.close()
