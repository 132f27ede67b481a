"""The notebook's map without a browser: what is heard, what is sent, and what the session holds then."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import warnings

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image

from samgeo.errors import RasterError, ResourceLimitError, SamgeoWarning, UsageError
from samgeo.grid import Grid
from samgeo.notebook import SamMap, picture
from samgeo.notebook.conversation import Conversation
from samgeo.notebook.tiles import levels, tile, tile_window
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.raster import reader
from samgeo.raster.reader import Raster
from samgeo.session import Session
from samgeo.settings import Settings
from tests.clicked import FAR, GRID, NEST, NO_CACHE, SCENE, Counting, outline
from tests.oracle import OracleModel
from tests.rasters import noise, write


class Browser:
    """Hears what is sent, as the page does."""

    def __init__(self, conversation=None):
        self.heard = []
        self.state = None
        self.features = []
        self.conversation = conversation

    def send(self, message, buffers):
        json.dumps(message)  # what is sent is JSON
        self.heard.append((message, buffers))
        if message["type"] == "state":
            self.state = message
        if message["type"] == "features":
            del self.features[message["first"] :]
            self.features += message["items"]

    def ask(self, op, **more):
        self.heard.clear()
        self.conversation.hear({"op": op, "n": "1", **more})
        return [message for message, _ in self.heard]

    def last(self, kind):
        return next((message, buffers) for message, buffers in reversed(self.heard) if message["type"] == kind)


@pytest.fixture
def browser(session):
    browser = Browser()
    browser.conversation = Conversation(session, browser.send, labels=["roof", "yard"])
    browser.ask("hello")
    return browser


def geometries(message, buffers, key):
    """Polygons of the outlines in a message, in map coordinates."""
    corners = np.frombuffer(buffers[0], "<f8").reshape(-1, 2)
    found, at = [], 0
    for item in message[key]:
        polygons = []
        for counts in item["rings"] if isinstance(item, dict) else item:
            rings = []
            for count in counts:
                cols, rows = corners[at : at + count].T
                rings.append(np.stack(GRID.to_map(cols, rows), axis=1))
                at += count
            polygons.append(shapely.Polygon(rings[0], rings[1:]))
        found.append(shapely.MultiPolygon(polygons))
    assert at == len(corners)
    return found


def same(a, b):
    one, other = (shapely.MultiPolygon(shapely.get_parts(each)).normalize() for each in (a, b))
    return one.equals_exact(other, 1e-6)


def test_a_browser_that_comes_is_told_everything(browser, session):
    session.add_point(*map(float, GRID.to_map(130.5, 100.5)))
    session.accept("yard")
    session.add_point(*map(float, GRID.to_map(25.5, 25.5)))
    told = browser.ask("hello")
    assert [message["type"] for message in told] == ["scene", "features", "state"]
    scene, features, state = told
    assert (scene["width"], scene["height"], scene["labels"]) == (160, 120, ["roof", "yard"])
    assert scene["crs"] == "EPSG:32633"
    assert scene["pixel_m"] == pytest.approx(GRID.pixel_size_m[0])
    assert [item["label"] for item in features["items"]] == ["yard"]
    assert state["points"] == [[pytest.approx(25.5), pytest.approx(25.5), 1]]
    assert len(state["candidates"]) == 3


def test_a_click_shows_what_is_saved(browser, session):
    state = browser.ask("click", col=25.5, row=25.5, positive=True)[-1]
    assert (state["n"], state["error"], state["chosen"]) == ("1", "", 0)
    shown = geometries(*browser.last("state"), "candidates")
    assert all(same(a, b.geometry) for a, b in zip(shown, session.candidates, strict=True))
    assert browser.ask("choose", index=2)[-1]["chosen"] == 2
    browser.ask("accept", label="roof")
    assert same(shown[2], session.features[0].geometry)
    assert same(geometries(*browser.last("features"), "items")[0], session.features[0].geometry)
    assert browser.state["candidates"] == []
    assert session.features[0].attributes["label"] == "roof"


def test_right_click_box_undo_redo_and_clear(browser, session):
    browser.ask("click", col=25.5, row=25.5)
    assert browser.ask("click", col=12.5, row=12.5, positive=False)[-1]["points"][1][2] == 0
    assert len(browser.state["candidates"]) == 1
    assert len(browser.ask("undo")[-1]["candidates"]) == 3
    assert len(browser.ask("redo")[-1]["points"]) == 2
    assert browser.ask("clear")[-1]["points"] == []
    state = browser.ask("box", left=120, top=90, right=150, bottom=110)[-1]
    assert state["box"] == pytest.approx([120, 90, 150, 110], abs=1e-6)
    assert session.chosen.geometry.equals(outline(FAR))


def test_only_new_features_travel(browser):
    for col, row in ((25.5, 25.5), (130.5, 100.5)):
        browser.ask("click", col=col, row=row)
        browser.ask("accept", label="pond ")
        features, _ = browser.last("features")
        assert len(features["items"]) == 1
    assert features["first"] == 1
    assert features["labels"] == ["roof", "yard", "pond"]
    browser.ask("remove")
    assert [item["id"] for item in browser.features] == [1]
    browser.ask("remove")
    assert browser.features == []
    assert "there are 0" in browser.ask("remove")[-1]["error"]


def test_what_was_removed_comes_back(browser):
    for col, row, label in ((130.5, 100.5, "roof"), (25.5, 25.5, "yard")):
        browser.ask("click", col=col, row=row)
        browser.ask("accept", label=label)
    assert not browser.state["undo"]
    both = list(browser.features)
    browser.ask("remove")
    browser.ask("remove")
    assert browser.features == []
    browser.ask("undo")
    assert [one["label"] for one in browser.features] == ["roof"]
    browser.ask("undo")
    assert browser.features == both
    features, _ = browser.last("features")
    assert features["first"] == 1, "the other one is known"
    assert (browser.state["undo"], browser.state["redo"]) == (False, True)
    browser.ask("redo")
    assert browser.features == both[:1]


def test_features_that_code_removed_vanish_too(browser, session):
    browser.ask("click", col=25.5, row=25.5)
    browser.ask("accept", label="roof")
    session.remove(1)
    browser.conversation.show()
    assert browser.features == []


def test_features_that_code_replaced_are_new(browser, session):
    for col, row, label in ((130.5, 100.5, "roof"), (25.5, 25.5, "roof"), (25.5, 25.5, "yard")):
        browser.ask("click", col=col, row=row)
        browser.ask("accept", label=label)
    session.remove(1)
    session.add_point(*map(float, GRID.to_map(130.5, 100.5)))
    session.accept("pond")
    browser.conversation.show()
    assert [item["label"] for item in browser.features] == ["roof", "yard", "pond"]
    session.remove(1)
    browser.ask("remove")
    assert [item["label"] for item in browser.features] == ["yard"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"op": "click", "col": -50, "row": 5}, "this place is not on"),
        ({"op": "click", "col": 5, "row": 5, "positive": False}, "only clicks beside"),
        ({"op": "click", "col": "five", "row": 5}, "col 'five': expected a number"),
        ({"op": "accept"}, "nothing to accept"),
        ({"op": "choose", "index": 7}, "candidate 7"),
        ({"op": "dance"}, "op 'dance': expected one of hello"),
        ({}, "op None"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_and_loses_nothing(browser, ask, words):
    if ask.get("op") != "accept" and ask.get("positive", True):
        browser.ask("click", col=25.5, row=25.5)
    else:
        browser.ask("clear")
    before = browser.state
    browser.heard.clear()
    browser.conversation.hear({"n": "7", **ask})
    state, _ = browser.last("state")
    assert state["n"] == "7"
    assert re.search(words, state["error"]), state["error"]
    assert {k: state[k] for k in ("points", "candidates", "chosen")} == {
        k: before[k] for k in ("points", "candidates", "chosen")
    }


def test_hovering_shows_what_a_click_would_and_changes_nothing(browser, session):
    model = session._model
    hover = browser.ask("hover", col=25.5, row=25.5)[-1]
    assert (hover["ready"], hover["rings"], model.encoded) == (False, [], 0), "hovering never encodes"
    assert browser.ask("prefetch", col=25.5, row=25.5)[-1]["type"] == "fetched"
    assert model.encoded == 1
    hover = browser.ask("hover", col=25.5, row=25.5)[-1]
    (shown,) = geometries(*browser.last("hover"), "rings")
    assert hover["ready"]
    assert session.prompt.is_empty
    browser.ask("click", col=25.5, row=25.5)
    assert same(shown, session.chosen.geometry)
    assert model.encoded == 1
    assert browser.ask("hover", col=-9, row=5)[-1]["rings"] == []
    assert browser.ask("prefetch", col=-9, row=5)[-1]["type"] == "fetched"


def test_a_mistake_of_ours_is_told_and_raised(browser, session, monkeypatch):
    monkeypatch.setattr(session, "undo", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        browser.ask("undo")
    assert "ZeroDivisionError" in browser.last("state")[0]["error"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_is_asked_is_answered(browser, session, monkeypatch, error):
    def fail(*_, **__):
        raise error

    for name in ("add_point", "is_ready", "prefetch"):
        monkeypatch.setattr(session, name, fail)
    monkeypatch.setattr(session.raster, "look", fail)
    place = {"col": 25.5, "row": 25.5}
    for op, kind in (("click", "state"), ("hover", "hover"), ("prefetch", "fetched")):
        with pytest.raises(error):
            browser.ask(op, **place)
        assert browser.last(kind)[0]["n"] == "1"
    told = "Interrupted." if error is KeyboardInterrupt else "ZeroDivisionError"
    assert told in browser.last("state")[0]["error"]
    with pytest.raises(error):
        browser.ask("tile", z=0, x=0, y=0)
    answer = browser.last("tile")[0]
    assert (answer["z"], answer["x"], answer["y"]) == (0, 0, 0)
    assert answer["error"]
    assert answer.get("again", False) == (error is KeyboardInterrupt), "what was interrupted is asked for again"


def test_warnings_reach_the_user(browser, session, monkeypatch):
    monkeypatch.setattr(session, "clear", lambda: warnings.warn("mind this", SamgeoWarning, stacklevel=1))
    assert browser.ask("clear")[-1]["warning"] == "mind this"


# Tiles --------------------------------------------------------------------------------------------------------------


def test_tiles_cover_the_raster_once_at_every_level(tmp_path):
    path = write(tmp_path / "scene.tif", noise(3, 1100, 1700))
    with Raster(path) as raster:
        lowest, top = levels(raster)
        assert (lowest, top) == (0, 2)
        for z in range(lowest, top + 1):
            side = 512 * 2**z
            covered = np.zeros(raster.grid.shape, int)
            for y in range(-(-1100 // side)):
                for x in range(-(-1700 // side)):
                    covered[tile_window(raster.grid, z, x, y).slices()] += 1
            assert (covered == 1).all()
        with pytest.raises(UsageError, match="tile 0/4/0"):
            tile_window(raster.grid, 0, 4, 0)


def test_a_tile_is_the_picture_there(tmp_path):
    bands = noise(3, 60, 80).repeat(10, axis=1).repeat(10, axis=2)
    with Raster(write(tmp_path / "scene.tif", bands)) as raster:
        mime, data = tile(raster, 0, 1, 1)
    image = np.asarray(Image.open(io.BytesIO(data)))
    assert mime == "image/jpeg"
    assert image.shape == (88, 288, 3)
    assert np.abs(image.astype(int) - np.moveaxis(bands[:, 512:600, 512:800], 0, -1)).mean() < 3


def test_what_is_not_valid_is_transparent(tmp_path):
    bands = noise(3, 60, 80)
    bands[:, :30] = 0
    with Raster(write(tmp_path / "scene.tif", bands, nodata=0)) as raster:
        mime, data = tile(raster, 0, 0, 0)
    image = np.asarray(Image.open(io.BytesIO(data)))
    assert mime == "image/png"
    assert (image[:30, :, 3] == 0).all()
    assert (image[30:, :, 3] == 255).all()


@pytest.mark.parametrize(("resolution", "lowest"), [(None, 0), (2.0, -1), (8.0, -3), (0.5, 0)])
def test_finer_levels_are_there_where_the_raster_has_them(tmp_path, resolution, lowest):
    path = write(tmp_path / "scene.tif", noise(3, 64, 64), transform=Affine(1, 0, 500_000, 0, -1, 5_538_000))
    with Raster(path, resolution_m=resolution) as raster:
        assert levels(raster)[0] == lowest
        _, data = tile(raster, lowest, 0, 0)
    assert max(Image.open(io.BytesIO(data)).size) in (64, 128)


def test_tiles_are_sent_and_failures_are_told(browser, session, monkeypatch):
    message, (data,) = (browser.ask("tile", z=0, x=0, y=0), browser.last("tile")[1])
    assert message[-1]["mime"] == "image/jpeg"
    assert Image.open(io.BytesIO(data)).size == (160, 120)
    assert "tile 0/9/9" in browser.ask("tile", z=0, x=9, y=9)[-1]["error"]

    def refuse(*_):
        raise ResourceLimitError("scene.tif: has no overviews. Fix: zoom in")

    monkeypatch.setattr(session.raster, "look", refuse)
    assert browser.ask("tile", z=0, x=0, y=0)[-1] == {
        "type": "tile",
        "z": 0,
        "x": 0,
        "y": 0,
        "error": "scene.tif: has no overviews. Fix: zoom in",
    }


def test_one_clicks_at_the_scale_of_the_working_grid(tmp_path):
    image = SCENE.image.repeat(2, axis=0).repeat(2, axis=1)
    fine = Grid(width=320, height=240, transform=Affine(0.5, 0, 500_000, 0, -0.5, 5_538_000), crs=GRID.crs)
    path = write(tmp_path / "scene.tif", np.moveaxis(image, -1, 0), transform=fine.transform)
    settings = Settings(use_cache=False, resolution_m=fine.gsd_m * 2)
    with Session(path, model=OracleModel(SCENE, tile_px=64), settings=settings) as session:
        browser = Browser()
        browser.conversation = Conversation(session, browser.send)
        assert browser.ask("hello")[0]["levels"] == (-1, 0)
        state = browser.ask("box", left=120, top=90, right=150, bottom=110)[-1]
        assert state["box"] == pytest.approx([120, 90, 150, 110], abs=1e-6)
        expected = mask_to_polygon(Mask.from_array(FAR), session.grid)
        assert session.chosen.geometry.equals(expected)


# The widget ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def widget(monkeypatch):
    made = []

    def make(*args, **kwargs):
        widget = SamMap(*args, **kwargs)
        browser = Browser()
        monkeypatch.setattr(widget, "send", browser.send)
        made.append(widget)
        return widget, browser

    yield make
    for widget in made:
        widget.session.close()
        widget.close()


def hear(widget, **content):
    widget._handle_custom_msg(content, [])


def test_the_widget_passes_on_what_is_said(widget, session, tmp_path):
    map_, browser = widget(session, labels=["roof"], height="300px")
    assert map_.height == "300px"
    hear(map_, op="click", n="1", col=130.5, row=100.5, positive=True)
    assert len(browser.state["candidates"]) == 1
    hear(map_, op="accept", n="2", label="shed")
    assert map_.labels == ["roof", "shed"]
    table = map_.to_gdf()
    assert table["label"].tolist() == ["shed"]
    assert table.crs == GRID.crs
    assert same(table.geometry[0], outline(FAR))
    assert len(map_.features) == 1
    assert len(geopandas.read_file(map_.save(tmp_path / "sheds.gpkg"))) == 1


def test_where_to_look_is_told_and_kept_for_those_who_come_later(widget, session):
    map_, browser = widget(session)
    x, y = GRID.to_map([20, 60], [10, 50])
    map_.zoom_to(min(x), min(y), max(x), max(y))
    view = browser.last("view")[0]
    assert view["cols"][0] < 20
    assert view["cols"][1] > 60
    hear(map_, op="hello")
    assert browser.last("scene")[0]["view"] == view
    map_.fit()
    assert browser.last("view")[0] == {"type": "view", "cols": [0, 160], "rows": [0, 120]}
    with pytest.raises(UsageError, match="x_min < x_max"):
        map_.zoom_to(5, 0, 1, 2)


def test_two_widgets_do_not_hear_each_other(widget, session):
    with Session(SCENE.image, GRID, model=Counting(), settings=NO_CACHE) as other:
        (first, one), (second, two) = widget(session), widget(other)
        hear(first, op="click", n="1", col=25.5, row=25.5)
        assert one.state is not None
        assert two.state is None
        assert second.session.prompt.is_empty


def test_code_and_clicks_share_the_session(widget, session):
    map_, browser = widget(session)
    map_.session.add_point(*map(float, GRID.to_map(25.5, 25.5)))
    map_.refresh()
    assert len(browser.state["points"]) == 1


def test_a_widget_opens_what_a_session_opens(widget, tmp_path, monkeypatch):
    path = write(tmp_path / "scene.tif", np.moveaxis(SCENE.image, -1, 0))
    map_, _ = widget(path, model=OracleModel(SCENE, tile_px=64), settings=NO_CACHE)
    assert map_.session.raster.name == str(path)
    monkeypatch.setattr(reader, "LOOK_PX", 100)
    with pytest.warns(SamgeoWarning, match="no overviews"):
        widget(path, model=OracleModel(SCENE, tile_px=64), settings=NO_CACHE)
    with pytest.raises(RasterError, match="cannot be found"):
        SamMap(tmp_path / "none.tif", model=OracleModel(SCENE))
    with pytest.raises(UsageError, match="it has its own"):
        SamMap(map_.session, settings=NO_CACHE)
    with pytest.raises(UsageError, match=r"expected several, for example labels=\['roof'\]"):
        SamMap(path, labels="roof")


def test_closing_the_map_closes_the_session_that_it_opened(widget, session, tmp_path):
    path = write(tmp_path / "scene.tif", np.moveaxis(SCENE.image, -1, 0))
    own, _ = widget(path, model=OracleModel(SCENE, tile_px=64), settings=NO_CACHE)
    given, _ = widget(session)
    for map_ in (own, given):
        map_.close()
    with pytest.raises(UsageError, match="the raster is closed"):
        own.session.add_point(*map(float, own.session.grid.to_map(130.5, 100.5)))
    assert len(session.add_point(*map(float, GRID.to_map(130.5, 100.5)))) == 1


def test_the_files_of_the_page_are_part_of_the_package():
    assert "export default" in str(SamMap._esm)
    assert ".samgeo" in str(SamMap._css)
    assert "http" not in str(SamMap._esm).replace("http://www.w3.org/2000/svg", ""), "nothing is fetched"
    assert "@import" not in str(SamMap._css)
    assert "url(" not in str(SamMap._css)


def test_without_the_extra_one_sentence_says_what_to_install():
    code = """
import sys
sys.modules["anywidget"] = None
import samgeo.notebook
try:
    samgeo.notebook.SamMap
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "samgeo.notebook.SamMap needs anywidget, which is not installed. Fix: pip install 'samgeo[notebook]'"
    )


# Pictures -----------------------------------------------------------------------------------------------------------


def test_a_picture_shows_features_where_they_are(session):
    plain = np.asarray(picture(session))
    drawn = np.asarray(picture(session, [outline(FAR)]))
    changed = (plain != drawn).any(axis=2)
    scale = plain.shape[0] // GRID.height
    inside = FAR.repeat(scale, axis=0).repeat(scale, axis=1)
    assert changed[inside].mean() > 0.95
    assert changed[~inside].mean() < 0.01


def test_a_picture_shows_the_image_in_holes(session):
    hole = outline(NEST[2])
    ring = outline(NEST[0]).difference(hole)
    plain, drawn = (np.asarray(picture(session, one, width_px=1)) for one in ([], [ring]))
    scale = plain.shape[0] // GRID.height
    inside = np.s_[22 * scale : 28 * scale, 22 * scale : 28 * scale]
    assert (plain[inside] == drawn[inside]).all()
    beside = np.s_[22 * scale : 28 * scale, 12 * scale : 18 * scale]
    assert (plain[beside] != drawn[beside]).any(axis=2).all()


def test_a_picture_takes_tables_in_any_crs_and_parts(session):
    table = geopandas.GeoDataFrame({"label": ["yard"]}, geometry=[outline(NEST[0])], crs=GRID.crs)
    here, there = (np.asarray(picture(session, one)) for one in (table, table.to_crs(4326)))
    assert (here != there).any(axis=2).mean() < 0.01
    part = picture(session, table, bounds=outline(NEST[0]).bounds, size_px=90)
    assert max(part.size) <= 90
    with pytest.raises(UsageError, match="expected some on the raster"):
        picture(session, bounds=(0, 0, 1, 1))
