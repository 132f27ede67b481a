"""`samgeo train` reads what is drawn from label rasters and from JSON of COCO and SA-1B as it does from polygons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from samgeo.cli import samgeo
from samgeo.errors import RasterError, ResourceLimitError, UsageError
from samgeo.train import outlines
from samgeo.train.outlines import Placement, read_drawn
from samgeo.train.rle import encode_mask
from tests.train.test_loop import labelled

SIDE = 160
PLACE = Affine(0.5, 0, 500_000, 0, -0.5, 5_538_000)


def write(path: Path, values: NDArray[np.generic], **profile) -> Path:
    bands = values.reshape(-1, *values.shape[-2:])
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=bands.dtype.name, **shape, **profile) as dataset:
        dataset.write(bands)
    return path


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    image = np.moveaxis(labelled(0).image, -1, 0)
    return write(tmp_path / "scene.tif", image, crs="EPSG:32633", transform=PLACE)


def numbered() -> NDArray[np.uint8]:
    """(160, 160): 1 and 2 by turns on the objects, 0 elsewhere."""
    values = np.zeros((SIDE, SIDE), np.uint8)
    for number, mask in enumerate(labelled(0).objects):
        values[mask.window.slices()][mask.pixels] = 1 + number % 2
    return values


def check(placed: Placement) -> None:
    """All nine objects, to the pixel, in one window."""
    (window,) = placed.windows
    assert np.array_equal(window.image[:SIDE, :SIDE], labelled(0).image)
    found, true = (sorted(m.window for m in objects) for objects in (window.objects, labelled(0).objects))
    assert found == true
    assert (placed.outlines, placed.refused) == (9, [])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_a_label_raster(raster: Path, tmp_path: Path, dtype: type) -> None:
    labels = write(tmp_path / "labels.tif", numbered().astype(dtype), crs="EPSG:32633", transform=PLACE)
    check(read_drawn(labels, raster, tile_px=256))


def test_a_label_raster_of_another_grid(raster: Path, tmp_path: Path) -> None:
    fine = np.kron(numbered(), np.ones((2, 2), np.uint8))
    labels = write(tmp_path / "labels.tif", fine, crs="EPSG:32633", transform=PLACE * Affine.scale(0.5))
    check(read_drawn(labels, raster, tile_px=256))


def test_nodata_is_nothing(raster: Path, tmp_path: Path) -> None:
    values = np.where(numbered() == 0, 255, 3).astype(np.uint8)
    labels = write(tmp_path / "labels.tif", values, crs="EPSG:32633", transform=PLACE, nodata=255)
    check(read_drawn(labels, raster, tile_px=256))


def test_a_picture_of_labels_lies_on_the_raster(raster: Path, tmp_path: Path) -> None:
    Image.fromarray(numbered()).save(tmp_path / "labels.png")
    check(read_drawn(tmp_path / "labels.png", raster, tile_px=256))
    Image.fromarray(numbered()[1:]).save(tmp_path / "labels.png")
    with pytest.raises(UsageError, match=r"labels\.png: \(159, 160\) px and no place: expected \(160, 160\)"):
        read_drawn(tmp_path / "labels.png", raster, tile_px=256)


def test_a_label_raster_without_a_crs_is_in_the_rasters_or_the_one_that_is_stated(raster: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.tif", numbered(), transform=PLACE)
    check(read_drawn(labels, raster, tile_px=256))
    check(read_drawn(labels, raster, labels_crs="EPSG:32633", tile_px=256))


def test_pictures_without_a_place(tmp_path: Path) -> None:
    Image.fromarray(labelled(0).image).save(tmp_path / "scene.png")
    Image.fromarray(numbered()).save(tmp_path / "labels.png")
    check(read_drawn(tmp_path / "labels.png", tmp_path / "scene.png", tile_px=256))


def test_geojson_may_be_called_json(raster: Path, tmp_path: Path) -> None:
    import geopandas

    boxes = [
        shapely.box(*(PLACE @ (m.window.col, m.window.row_end)), *(PLACE @ (m.window.col_end, m.window.row)))
        for m in labelled(0).objects
    ]
    text = geopandas.GeoSeries(boxes, crs="EPSG:32633").to_crs("EPSG:4326").to_json()
    content = json.loads(text)
    (tmp_path / "outlines.json").write_text(json.dumps({"features": content["features"], "type": content["type"]}))
    assert read_drawn(tmp_path / "outlines.json", raster, tile_px=256).outlines == 9


def test_windows_that_take_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = write_json(tmp_path / "both", sa1b=True)
    monkeypatch.setattr(outlines, "MOST_BYTES", 256 * 256 * 3 - 1)
    with pytest.raises(ResourceLimitError, match="1 windows of 256 px and more do not fit"):
        read_drawn(labels, None, tile_px=256)


def test_label_rasters_that_cannot_be_right(raster: Path, tmp_path: Path) -> None:
    values = numbered().astype(np.float32)
    labels = write(tmp_path / "float.tif", values, crs="EPSG:32633", transform=PLACE)
    with pytest.raises(UsageError, match="1 bands of float32: expected one band of whole numbers"):
        read_drawn(labels, raster, tile_px=256)
    with pytest.raises(UsageError, match="3 bands of uint8"):
        read_drawn(raster, raster, tile_px=256)
    nothing = write(tmp_path / "nothing.tif", 0 * numbered(), crs="EPSG:32633", transform=PLACE)
    with pytest.raises(UsageError, match=r"nothing\.tif: every pixel is 0 or nodata.* Fix: another file"):
        read_drawn(nothing, raster, tile_px=256)
    (tmp_path / "torn.tif").write_bytes(labels.read_bytes()[:100])
    with pytest.raises(RasterError, match=r"torn\.tif: cannot be read as a raster"):
        read_drawn(tmp_path / "torn.tif", raster, tile_px=256)


def write_json(folder: Path, *, sa1b: bool) -> Path:
    """What is drawn in `scene.png`, as run-length codes."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(labelled(0).image).save(folder / "scene.png")
    masks = [mask.to_array(SIDE, SIDE) for mask in labelled(0).objects]
    annotations = [
        {"id": n, "segmentation": {"size": [SIDE, SIDE], "counts": encode_mask(mask)}} for n, mask in enumerate(masks)
    ]
    image = {"file_name": "scene.png", "height": SIDE, "width": SIDE}
    if sa1b:
        content = {"image": {"image_id": 77, **image}, "annotations": annotations}
    else:
        content = {"images": [{"id": 1, **image}], "annotations": [{**a, "image_id": 1} for a in annotations]}
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("sa1b", [False, True], ids=["coco", "sa-1b"])
def test_json_beside_its_pictures_and_elsewhere(tmp_path: Path, sa1b: bool) -> None:
    labels = write_json(tmp_path / "both", sa1b=sa1b)
    check(read_drawn(labels, None, tile_px=256))
    check(read_drawn(tmp_path / "both", None, tile_px=256))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (tmp_path / "both" / "scene.png").rename(pictures / "scene.png")
    check(read_drawn(labels, pictures, tile_px=256))
    with pytest.raises(RasterError, match=r"scene\.png"):
        read_drawn(labels, None, tile_px=256)
    assert len(read_drawn(labels, pictures, tile_px=64).windows) == 8


def test_what_is_missing_is_told(tmp_path: Path, raster: Path) -> None:
    labels = write_json(tmp_path / "both", sa1b=True)
    with pytest.raises(UsageError, match="pixels of pictures, which cannot be read at --resolution"):
        read_drawn(labels, None, resolution_m=2.0, tile_px=64)
    with pytest.raises(UsageError, match=r"pixels of pictures\. Fix: leave --labels-crs out"):
        read_drawn(labels, None, labels_crs="EPSG:32633", tile_px=64)
    Image.fromarray(labelled(0).image[:100]).save(tmp_path / "both" / "scene.png")
    with pytest.raises(UsageError, match=r"scene\.png: 160 x 100 px: expected 160 x 160 as .*labels\.json says"):
        read_drawn(labels, None, tile_px=64)
    labels.write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(UsageError, match="nothing of 16 pixels is drawn in its 0 pictures"):
        read_drawn(labels, None, tile_px=64)
    for content in (
        {"annotations": []},
        {"images": [{"id": 1, "file_name": "x.png"}], "annotations": []},
        {"images": [{"id": 1, "file_name": "x.png", "height": None, "width": 3}], "annotations": []},
        {"images": [], "annotations": [7]},
        {"images": [], "annotations": None},
        {"images": [], "annotations": [], "categories": None},
        {"images": [], "annotations": [{"image_id": [1]}]},
        {"image": 7, "annotations": []},
        {"image": {}, "annotations": [7]},
    ):
        labels.write_text(json.dumps(content))
        with pytest.raises(UsageError, match=r"labels\.json: "):
            read_drawn(labels, None, tile_px=64)
    with pytest.raises(UsageError, match=r"outlines\.gpkg: no raster that it lies on. Fix: name RASTER behind it"):
        read_drawn(tmp_path / "outlines.gpkg", None, tile_px=64)


def test_from_a_folder_of_json_to_weights(tmp_path: Path) -> None:
    write_json(tmp_path / "sa1b", sa1b=True)
    line = ["train", tmp_path / "sa1b", "-o", tmp_path / "mine.safetensors", "--tile", 96, "--steps", 2]
    done = CliRunner().invoke(samgeo, [*map(str, line)])
    assert done.exit_code == 0, done.output
    assert "9 outlines in 4 windows" in done.output
