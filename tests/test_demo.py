"""The demo on a small scene of the oracle: what it writes, and that the drawing lies where the objects are."""

from types import SimpleNamespace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from PIL import Image

from samgeo import demo
from samgeo.cli import samgeo
from samgeo.errors import UsageError
from samgeo.pipeline import tilejob
from tests.oracle import OracleModel, OracleScene
from tests.scenes import random_scene

SIDE = 256


@pytest.fixture
def scene(tmp_path, monkeypatch):
    made = random_scene(5, height=SIDE, width=SIDE, disjoint=True)
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "make_scene", lambda seed, **size: SimpleNamespace(image=made.image))
    monkeypatch.setattr(tilejob, "_load", lambda address: OracleModel(made))
    monkeypatch.chdir(tmp_path)
    return made


def test_image_features_and_picture_are_written_and_named(scene, tmp_path):
    done = CliRunner().invoke(samgeo, ["demo", "--size", str(SIDE)])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "demo"
    assert {"demo.tif", "demo.gpkg", "demo.png"} <= {path.name for path in folder.iterdir()}
    for name in ("demo/demo.tif", "demo/demo.gpkg", "demo/demo.png", "segment your.tif", "--point"):
        assert name in done.stdout
    assert len(geopandas.read_file(folder / "demo.gpkg")) > 0
    with rasterio.open(folder / "demo.tif") as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert dataset.profile["tiled"]
        assert np.array_equal(np.moveaxis(dataset.read(), 0, -1), scene.image)
    with Image.open(folder / "demo.png") as picture:
        assert picture.size == (SIDE, SIDE)
    assert CliRunner().invoke(samgeo, ["demo", "--size", str(SIDE)]).exit_code == 0, "again, over the first"


def test_a_demo_that_was_stopped_does_not_hold_up_another(scene, tmp_path):
    def stop(progress):
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path, size_px=SIDE, progress=stop)
    assert (tmp_path / "demo.gpkg.samgeo").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "RESOLUTION_M", 0.2)  # another plan than that of the stopped one
        demo.run_demo(tmp_path, size_px=SIDE)
    assert not (tmp_path / "demo.gpkg.samgeo").exists()


def test_the_place_to_click_is_on_an_object(scene, tmp_path):
    found = demo.run_demo(tmp_path, size_px=SIDE)
    layer = geopandas.read_file(found.vector)
    assert found.features == len(layer)
    assert layer.geometry.distance(shapely.Point(found.somewhere)).min() < 0.1


def test_outlines_are_drawn_where_the_polygons_lie():
    image = np.zeros((400, 800, 3), np.uint8)
    (x, y), gsd = demo.ORIGIN, demo.GSD_M
    square = shapely.box(x + 200 * gsd, y - 300 * gsd, x + 600 * gsd, y - 100 * gsd)
    picture = np.asarray(demo.draw(image, [square], size_px=400)).any(axis=2)
    rows, cols = np.nonzero(picture)
    assert picture.shape == (200, 400)
    assert (rows.min(), rows.max()) == pytest.approx((50, 150), abs=1)
    assert (cols.min(), cols.max()) == pytest.approx((100, 300), abs=1)


def test_an_empty_result_is_an_error(scene, tmp_path, monkeypatch):
    speck = np.zeros((SIDE, SIDE), dtype=bool)
    speck[10, 10] = True  # smaller than the least area that the demo keeps
    monkeypatch.setattr(demo, "make_scene", lambda seed, **size: SimpleNamespace(image=empty.image))
    empty = OracleScene.from_masks([speck], (SIDE, SIDE))
    monkeypatch.setattr(tilejob, "_load", lambda address: OracleModel(empty))
    with pytest.raises(UsageError, match="found nothing"):
        demo.run_demo(tmp_path, size_px=SIDE)
