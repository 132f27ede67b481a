import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samgeo.errors import RasterError, UsageError
from samgeo.pixels import Mask
from samgeo.train import prepare
from samgeo.train.datasets import read_coco, read_image, read_label_raster, read_semantic, read_vector
from samgeo.train.labelled import LabelledImage
from samgeo.train.metrics import iou
from samgeo.train.nano_sources import SOURCES, Source
from samgeo.train.rle import decode_mask, decode_runs, encode_mask, encode_runs

SHAPE = (40, 60)
MASK = np.zeros(SHAPE, dtype=bool)
MASK[10:20, 30:45] = True
SQUARE = [30, 10, 45, 10, 45, 20, 30, 20]
PIXELS = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def write_coco(folder, segmentation, *, image=None, **fields):
    Image.fromarray(PIXELS).save(folder / "scene.png")
    annotation = {"id": 7, "image_id": 1, "category_id": 3, "segmentation": segmentation, "iscrowd": 0, **fields}
    content = {
        "images": [{"id": 1, "file_name": "scene.png", "width": SHAPE[1], "height": SHAPE[0], **(image or {})}],
        "annotations": [annotation],
        "categories": [{"id": 3, "name": "roof"}],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return folder / "labels.json"


def write_raster(path, bands, *, crs="EPSG:32636", transform=None):
    transform = transform or Affine(2.0, 0, 500_000, 0, -2.0, 100_000)
    profile = {"driver": "GTiff", "height": bands.shape[1], "width": bands.shape[2], "count": len(bands)}
    with rasterio.open(path, "w", dtype=bands.dtype, crs=crs, transform=transform, **profile) as dataset:
        dataset.write(bands)
    return path


def write_polygons(path, shapes, *, crs="EPSG:32636", **columns):
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path)
    return path


def map_square(inset=0.0):
    return shapely.box(500_060 + inset, 99_960 + inset, 500_090 - inset, 99_980 - inset)


@given(
    st.integers(1, 12).flatmap(
        lambda w: st.lists(st.lists(st.booleans(), min_size=w, max_size=w), min_size=1, max_size=12)
    )
)
def test_run_length_codes_round_trip(rows):
    mask = np.array(rows, dtype=bool)
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), *mask.shape), mask)


def test_run_length_codes_are_those_of_pycocotools():
    # pycocotools.mask.encode of a 9 x 7 mask with rows 2..4 and columns 1..5 set
    mask = np.zeros((9, 7), dtype=bool)
    mask[2:5, 1:6] = True
    assert encode_mask(mask) == ";3600000007"


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_runs_round_trip(runs):
    assert decode_runs(encode_runs(runs)) == runs


@pytest.mark.parametrize(
    "segmentation",
    [[SQUARE], {"size": SHAPE, "counts": encode_mask(MASK)}, {"size": SHAPE, "counts": decode_runs(encode_mask(MASK))}],
    ids=["polygon", "packed", "plain"],
)
def test_coco_objects_cover_their_pixels(tmp_path, segmentation):
    (image,) = read_coco(write_coco(tmp_path, segmentation), gsd_m=0.3)
    np.testing.assert_array_equal(image.image, PIXELS)
    np.testing.assert_array_equal(image.objects[0].to_array(*SHAPE), MASK)
    assert image.objects[0].label == "roof"
    assert image.source == f"{tmp_path.name}/scene"
    assert image.gsd_m == 0.3


def test_coco_polygons_of_one_object_are_one_mask_cut_at_the_edge(tmp_path):
    beyond = [50, 30, 80, 30, 80, 60, 50, 60]
    (image,) = read_coco(write_coco(tmp_path, [SQUARE, beyond]))
    assert image.objects[0].area_px == 150 + 100


@pytest.mark.parametrize("outline", [[[70, 10, 80, 10, 80, 20]], [[1, 1, 2, 1, 2, 2]]], ids=["outside", "tiny"])
def test_coco_objects_without_pixels_are_left_out(tmp_path, outline):
    (image,) = read_coco(write_coco(tmp_path, outline))
    assert image.objects == ()


def test_round_objects_that_are_known_by_boxes_are_ellipses(tmp_path):
    (image,) = read_coco(write_coco(tmp_path, [], bbox=[10, 5, 30, 20]), ellipses=True)
    rows, cols = np.indices(SHAPE)
    inside = ((cols + 0.5 - 25) / 15) ** 2 + ((rows + 0.5 - 15) / 10) ** 2
    mask = image.objects[0].to_array(*SHAPE)
    assert mask[inside < 0.95].all()
    assert not mask[inside > 1].any()
    with pytest.raises(UsageError, match=r"labels\.json: annotation 7: bad bbox"):
        list(read_coco(write_coco(tmp_path, [SQUARE], bbox=[10, 5, 30]), ellipses=True))


def test_coco_crowds_are_left_out(tmp_path):
    (image,) = read_coco(write_coco(tmp_path, [SQUARE], iscrowd=1))
    assert image.objects == ()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, float("nan"), 5, 6]],
        [],
        None,
        {"size": [40, 61], "counts": [2440]},
        {"size": [40, 60], "counts": [3, 5]},
        {"size": [40, 60]},
        {"size": [40, 60], "counts": "é"},
        "polygon",
    ],
)
def test_a_bad_segmentation_is_named_with_file_and_annotation(tmp_path, segmentation):
    with pytest.raises(UsageError, match=r"labels\.json: annotation 7: bad segmentation"):
        list(read_coco(write_coco(tmp_path, segmentation)))


def test_coco_sizes_and_ids_must_agree(tmp_path):
    with pytest.raises(UsageError, match=r"scene\.png: 60 x 40 px: expected 61 x 40"):
        list(read_coco(write_coco(tmp_path, [SQUARE], image={"width": 61})))
    with pytest.raises(UsageError, match="annotation 7 is of image 9"):
        list(read_coco(write_coco(tmp_path, [SQUARE], image_id=9)))


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}'])
def test_other_json_is_refused(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UsageError, match=r"labels\.json"):
        list(read_coco(tmp_path / "labels.json"))


def semantic_folder(folder, values):
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    Image.fromarray(PIXELS).save(folder / "images" / "one.png")
    Image.fromarray(values).save(folder / "masks" / "one.png")
    return folder


def test_semantic_masks_fall_into_components(tmp_path):
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[2:12, 2:12] = values[12:22, 12:22] = 5  # touch at a corner: two objects
    values[30:38, 0:30] = 2
    values[0:3, 50:53] = 5  # noise
    (image,) = read_semantic(semantic_folder(tmp_path, values), {5: "water", 2: "road"}, complete=False)
    assert [(m.label, m.area_px) for m in image.objects] == [("water", 100), ("water", 100), ("road", 240)]
    assert not image.complete


def test_a_mask_of_another_size_or_none_is_named(tmp_path):
    folder = semantic_folder(tmp_path, np.zeros((40, 61), dtype=np.uint8))
    with pytest.raises(UsageError, match=r"masks/one\.png: mask of \(40, 61\)"):
        list(read_semantic(folder, {1: "road"}))
    (folder / "masks" / "one.png").unlink()
    with pytest.raises(UsageError, match=r"one\.png: no mask"):
        list(read_semantic(folder, {1: "road"}))


def test_label_rasters(tmp_path):
    raster = write_raster(tmp_path / "scene.tif", PIXELS.transpose(2, 0, 1))
    labels = write_raster(tmp_path / "labels.tif", np.where(MASK, 1, -1)[None].astype(np.int16))
    image = read_label_raster(raster, labels, {1: "water"})
    np.testing.assert_array_equal(image.objects[0].to_array(*SHAPE), MASK)


@pytest.mark.parametrize("crs", ["EPSG:32636", "EPSG:4326"])
def test_vector_labels_of_any_crs_lie_on_their_pixels(tmp_path, crs):
    raster = write_raster(tmp_path / "scene.tif", PIXELS.transpose(2, 0, 1))
    shapes = geopandas.GeoSeries([map_square()], crs="EPSG:32636").to_crs(crs)
    labels = write_polygons(tmp_path / "labels.gpkg", shapes, crs=crs, kind=["shed"])
    image = read_vector(raster, labels, label_column="kind")
    np.testing.assert_array_equal(image.objects[0].to_array(*SHAPE), MASK)
    assert image.objects[0].label == "shed"


def test_a_hole_in_a_polygon_is_no_object(tmp_path):
    raster = write_raster(tmp_path / "scene.tif", PIXELS.transpose(2, 0, 1))
    ring = map_square().difference(map_square(inset=6))
    image = read_vector(raster, write_polygons(tmp_path / "labels.gpkg", [ring]), label="yard")
    assert image.objects[0].area_px == 150 - 9 * 4


def test_bad_vector_labels_are_named_with_file_and_row(tmp_path):
    raster = write_raster(tmp_path / "scene.tif", PIXELS.transpose(2, 0, 1))
    bowtie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    for bad, message in [(bowtie, "not valid"), (shapely.Point(0, 0), "Point"), (None, "no geometry")]:
        labels = write_polygons(tmp_path / "labels.geojson", [map_square(), bad])
        with pytest.raises(UsageError, match=rf"labels\.geojson: row 1 .*{message}"):
            read_vector(raster, labels)
    with pytest.raises(UsageError, match="no column 'kind'"):
        read_vector(raster, labels, label_column="kind")


def test_labels_and_raster_need_a_crs_or_neither(tmp_path):
    bare = write_raster(tmp_path / "scene.tif", PIXELS.transpose(2, 0, 1), crs=None)
    with pytest.raises(UsageError, match=r"scene\.tif: no CRS"):
        read_vector(bare, write_polygons(tmp_path / "labels.gpkg", [map_square()]))


def test_sixteen_bits_are_stretched_and_bands_chosen(tmp_path):
    bands = np.stack([np.full(SHAPE, 7), *np.random.default_rng(0).integers(900, 3000, (3, *SHAPE))]).astype(np.uint16)
    path = write_raster(tmp_path / "scene.tif", bands)
    with pytest.raises(UsageError, match="4 bands"):
        read_image(path)
    image = read_image(path, (4, 3, 2))
    assert image.std() > 50
    assert np.corrcoef(image[..., 0].ravel(), bands[3].ravel())[0, 1] > 0.99


def test_what_is_no_picture_is_named(tmp_path):
    for name in ("scene.png", "scene.tif"):
        (tmp_path / name).write_text("nothing")
        with pytest.raises(RasterError, match=name):
            read_image(tmp_path / name)


def test_share_alike_and_gpl_never_train():
    for source in SOURCES:
        if "SA" in source.licence or "GPL" in source.licence:
            assert source.role != "train", source.name
        assert source.licence
        assert (source.read is None) == (source.role == "never"), source.name


def _source(name):
    (found,) = [source for source in SOURCES if source.name == name]
    return found


def test_regions_stand_in_for_fields_that_nobody_outlined(tmp_path):
    """A bright field is found in the bands of 10 m, and shown in those that a view asks for."""
    rng = np.random.default_rng(3)
    bands = rng.normal(2000, 40, (13, *SHAPE))
    bands[:, MASK] += rng.choice([-600, 600], size=(13, 1))
    (tmp_path / "flood_s2_sen1floods11").mkdir()
    path = write_raster(tmp_path / "flood_s2_sen1floods11" / "spain_s2_13band_int16.tif", bands.astype(np.int16))
    (scene,) = _source("regions_s2_spain+infrared").read(tmp_path)
    assert not scene.complete
    (field,) = [found for found in scene.objects if iou(found, Mask.from_array(MASK)) > 0.95]
    assert field.label == "field"
    np.testing.assert_array_equal(scene.image, read_image(path, (8, 4, 3)))


def test_crowns_stand_around_points_and_shadows_are_left_out(tmp_path):
    """A green disc with a point is a tree, one with two is not, nor is a shadow; a roof is a region without a name."""
    rng = np.random.default_rng(5)
    rows, cols = np.indices((96, 96))
    values, green = np.full((4, 96, 96), 120.0), np.array((60, 90, 50, 170))[:, None]
    crown, lawn = (np.hypot(rows - 24, cols - col) < 9 for col in (24, 70))
    shadow, roof = ((abs(rows - 70) < 9) & (abs(cols - col) < 7) for col in (24, 70))
    for where, colour in ((crown, green), (lawn, green), (shadow, 20), (roof, 240)):
        values[:, where] = colour
    values = np.clip(values + rng.normal(0, 4, values.shape), 1, 255).astype(np.uint8)
    folder = tmp_path / "trees_urban_naip"
    folder.mkdir()
    to_map = Affine(0.6, 0, 500_000, 0, -0.6, 4_000_000)
    path = write_raster(folder / "town.tif", values, crs="EPSG:32611", transform=to_map)
    trees = [(24, 24), (22, 68), (26, 72), (0, 95)]
    points = geopandas.points_from_xy(*zip(*(to_map * (col + 0.5, row + 0.5) for row, col in trees), strict=True))
    geopandas.GeoSeries(points, crs="EPSG:32611").to_crs(4326).to_file(folder / "town.geojson")
    (scene,) = _source("trees_urban_naip+infrared").read(tmp_path)
    assert not scene.complete
    np.testing.assert_array_equal(scene.image, read_image(path, (4, 1, 2)))
    tree, other = sorted(scene.objects, key=lambda found: found.label is None)
    assert (tree.label, other.label) == ("tree", None)
    assert iou(tree, Mask.from_array(crown)) > 0.9
    assert iou(other, Mask.from_array(roof)) > 0.9


def test_each_date_of_the_river_has_its_own_water(tmp_path):
    folder = tmp_path / "timeseries_landsat_river"
    (folder / "derived_water").mkdir(parents=True)
    for year, water in ((1985, MASK), (2020, MASK[::-1])):
        write_raster(folder / f"landsat_{year}.tif", np.full((4, *SHAPE), year % 256, np.uint8))
        write_raster(folder / "derived_water" / f"water_{year}.tif", water[None].astype(np.uint8))
    first, last = _source("landsat_river").read(tmp_path)
    assert (first.source, last.source) == ("landsat_river/landsat_1985", "landsat_river/landsat_2020")
    for scene, water in ((first, MASK), (last, MASK[::-1])):
        (river,) = scene.objects
        assert river.label == "water"
        np.testing.assert_array_equal(river.to_array(*SHAPE), water)


def test_copies_of_one_original_are_on_one_side():
    solar = _source("solar_gsi_japan")
    assert solar.role_of("solar_h136") == solar.role_of("solar_r136") == "validation"
    for stem in ("durban_rgb", "durban_b02b03b04b08_uint16"):
        assert all(s.role_of(stem) == "validation" for s in SOURCES if s.name.startswith("ships"))


@pytest.mark.parametrize(
    ("held_out", "side", "other"), [((), "train", "validation"), (("sce*",), "validation", "train")]
)
def test_prepare_splits_cuts_and_enlarges(tmp_path, monkeypatch, held_out, side, other):
    folder = tmp_path / "data"
    folder.mkdir()
    write_coco(folder, [SQUARE])
    source = Source(
        name="mine",
        licence="CC0",
        gsd_m=10,
        role="train",
        held_out=held_out,
        read=lambda data: read_coco(data / "labels.json", gsd_m=10),
        enlarge=(1, 3),
    )
    monkeypatch.setattr(prepare, "MAX_PX", 100)
    tallies = prepare.prepare(folder, tmp_path / "out", [source])
    files = sorted(p.name for p in (tmp_path / "out" / side).iterdir())
    # Enlarged to 180 x 120 px and cut into 2 x 2; the object is on columns 90..134, rows 30..59.
    assert files == ["mine+x3__scene__r0c1.npz", "mine__scene__r0c0.npz"]
    assert not list((tmp_path / "out" / other).iterdir())
    large = LabelledImage.load(tmp_path / "out" / side / files[0])
    assert large.source == "mine+x3/scene"
    assert large.gsd_m == pytest.approx(10 / 3)
    assert [(t.source, t.images, t.objects) for t in tallies] == [("mine", 1, 1), ("mine+x3", 1, 1)]
    assert "| mine+x3 |" in prepare.table(tallies)


def test_prepare_says_where_data_is_missing(tmp_path, capsys):
    assert prepare.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
