"""Clicking on a map of ipyleaflet, without a browser: events in, layers out."""

from __future__ import annotations

import base64
import io
import warnings

import ipyleaflet
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from PIL import Image

from samgeo.errors import RasterError, SamgeoWarning, UsageError
from samgeo.grid import Grid, parse_crs
from samgeo.notebook import attach
from samgeo.notebook.overlay import overlay
from samgeo.raster.reader import Raster
from samgeo.session import Session
from tests.clicked import FAR, GRID, NEST, NO_CACHE, SCENE, Counting, outline

TO_MAP = pyproj.Transformer.from_crs(GRID.crs, 4326, always_xy=True)


@pytest.fixture
def attached(session):
    return attach(ipyleaflet.Map(), session, labels=["roof", "yard"])


def interact(attached, kind, col, row):
    lon, lat = TO_MAP.transform(*GRID.to_map(col, row))
    attached.map._handle_leaflet_event(None, {"event": "interaction", "type": kind, "coordinates": [lat, lon]}, [])


def shown(layer):
    return [shapely.geometry.shape(feature["geometry"]) for feature in layer.data["features"]]


def in_lonlat(mask):
    return shapely.transform(outline(mask), TO_MAP.transform, interleaved=False)


def test_a_click_shows_what_is_saved(attached, tmp_path):
    interact(attached, "click", 130.5, 100.5)
    (candidate,) = shown(attached._candidate)
    assert candidate.normalize().equals_exact(in_lonlat(FAR).normalize(), 1e-9)
    attached._accept.click()
    assert shown(attached._candidate) == []
    assert shown(attached._accepted)[0].normalize().equals_exact(in_lonlat(FAR).normalize(), 1e-9)
    table = attached.to_gdf()
    assert table["label"].tolist() == ["roof"]
    assert table.crs == GRID.crs
    assert attached.save(tmp_path / "roofs.gpkg").is_file()
    assert len(attached.features) == 1


def test_right_click_modes_masks_undo_and_redo(attached, session):
    interact(attached, "click", 25.5, 25.5)
    assert [index for _, index in attached._masks.options] == [0, 1, 2]
    attached._masks.value = 2
    assert session.chosen_index == 2
    interact(attached, "contextmenu", 12.5, 12.5)
    assert session.prompt.labels.tolist() == [1, 0]
    assert [mark.fill_color for mark in attached._clicks.layers] == ["#12a150", "#e02424"]
    attached._buttons["Undo"].click()
    assert session.prompt.labels.tolist() == [1]
    attached._buttons["Redo"].click()
    assert session.prompt.labels.tolist() == [1, 0]
    attached._buttons["Undo"].click()
    attached._mode.value = "remove"
    interact(attached, "click", 12.5, 12.5)
    assert session.prompt.labels.tolist() == [1, 0]
    attached._buttons["Clear"].click()
    assert attached._clicks.layers == ()


def test_two_clicks_are_a_box(attached, session):
    attached._mode.value = "box"
    interact(attached, "click", 120, 90)
    assert "corner" in attached._status.value
    assert session.prompt.is_empty
    interact(attached, "click", 150, 110)
    left, top, right, bottom = session.prompt.box
    assert left <= 119.6
    assert top <= 89.6
    assert right >= 149.4
    assert bottom >= 109.4
    assert session.chosen.geometry.equals(outline(FAR))


def test_what_cannot_be_is_told_and_loses_nothing(attached, session):
    interact(attached, "click", 25.5, 25.5)
    interact(attached, "click", -400, 25)
    assert "this place is not on" in attached._status.value
    assert len(session.candidates) == 3
    interact(attached, "mousemove", 3, 3)
    attached._buttons["Clear"].click()
    attached._take = session.accept
    attached._accept.click()
    assert "nothing to accept" in attached._status.value


def test_accepted_features_are_drawn_when_they_change(attached, session, monkeypatch):
    interact(attached, "click", 130.5, 100.5)
    attached._accept.click()
    drawn, lonlat = [], attached._lonlat
    monkeypatch.setattr(attached, "_lonlat", lambda geometry: drawn.append(geometry) or lonlat(geometry))
    interact(attached, "click", 25.5, 25.5)
    assert drawn == [session.chosen.geometry]
    session.remove(1)
    session.accept("yard")
    attached.refresh()
    assert shown(attached._accepted)[0].intersects(in_lonlat(NEST[2]))
    session.remove(1)
    attached.refresh()
    assert shown(attached._accepted) == []


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_panel_does_not_stay_at_work(attached, session, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(session, "add_point", fail)
    with pytest.raises(error):
        attached._do(session.add_point)
    assert error.__name__ in attached._status.value


def test_warnings_reach_the_user(attached, session, monkeypatch):
    monkeypatch.setattr(session, "undo", lambda: warnings.warn("mind this", SamgeoWarning, stacklevel=1))
    attached._do(session.undo)
    assert attached._status.value == "mind this"


def test_a_raster_to_the_poles_is_cut_where_web_maps_end():
    grid = Grid(width=360, height=180, transform=Affine(1, 0, -180, 0, -1, 90), crs=parse_crs("EPSG:4326"))
    image = np.full((180, 360, 3), 90, np.uint8)
    image[80:100] = 200  # ten degrees to each side of the equator
    with Raster(image, grid=grid) as raster:
        url, ((south, west), (north, east)) = overlay(raster)
    assert (west, east) == pytest.approx((-180, 180))
    assert (south, north) == pytest.approx((-85.0511, 85.0511), abs=1e-3)
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    assert seen.shape[0] == pytest.approx(seen.shape[1], abs=1)
    bright = (seen[:, seen.shape[1] // 2, 0] > 150).mean()
    assert bright == pytest.approx(np.arcsinh(np.tan(np.radians(10))) / np.pi, abs=0.01)
    beyond = Grid(width=36, height=3, transform=Affine(1, 0, 0, 0, -1, 89), crs=grid.crs)
    with Raster(np.full((3, 36, 3), 90, np.uint8), grid=beyond) as raster, pytest.raises(RasterError, match="web maps"):
        overlay(raster)


def test_detaching_leaves_the_map_as_it_was(session):
    map_ = ipyleaflet.Map()
    layers, controls = map_.layers, map_.controls
    attached = attach(map_, session)
    assert map_.layers != layers
    interact(attached, "click", 130.5, 100.5)
    attached._accept.click()
    attached.detach()
    assert map_.layers == layers
    assert map_.controls == controls
    interact(attached, "click", 25.5, 25.5)
    assert session.prompt.is_empty
    assert len(attached.to_gdf()) == 1


def test_the_raster_lies_where_it_is(session):
    url, ((south, west), (north, east)) = overlay(session.raster)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform([west, east], [south, north])
    for mask in (NEST[2], FAR):
        rows, cols = np.nonzero(mask)
        col, row = float(cols.mean() + 0.5), float(rows.mean() + 0.5)
        place = pyproj.Transformer.from_crs(GRID.crs, 3857, always_xy=True).transform(*GRID.to_map(col, row))
        across, down = (place[0] - x[0]) / (x[1] - x[0]), (y[1] - place[1]) / (y[1] - y[0])
        seen = image[int(down * image.shape[0]), int(across * image.shape[1])]
        assert np.abs(seen[:3].astype(int) - SCENE.image[int(row), int(col)]).max() <= 12
        assert seen[3] == 255
    assert (image[0, 0, 3], image[-1, -1, 3]) == (0, 0), "a turned raster leaves corners free"


def test_what_is_no_map_and_what_lies_on_none_is_refused(session):
    with pytest.raises(UsageError, match=r"type dict: expected an ipyleaflet or leafmap\.Map"):
        attach({}, session)
    with pytest.raises(UsageError, match=r"expected several, for example labels=\['roof'\]"):
        attach(ipyleaflet.Map(), session, labels="roof")
    with pytest.raises(UsageError, match="it has its own"):
        attach(ipyleaflet.Map(), session, settings=NO_CACHE)
    nowhere = Grid(width=GRID.width, height=GRID.height, transform=GRID.transform)
    with (
        Session(SCENE.image, nowhere, model=Counting(), settings=NO_CACHE) as placeless,
        pytest.raises(RasterError, match="has no CRS"),
    ):
        attach(ipyleaflet.Map(), placeless)
    with Raster(SCENE.image, grid=GRID) as raster:
        assert overlay(raster)[0].startswith("data:image/png")
