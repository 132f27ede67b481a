from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samgeo.errors import UsageError
from samgeo.pixels import Mask, Window
from samgeo.train.labelled import LabelledImage
from samgeo.train.scenes import make_scene


def disc(height, width, row, col, radius, label=None):
    rows, cols = np.mgrid[:height, :width]
    mask = Mask.from_array((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)
    return Mask(window=mask.window, pixels=mask.pixels, label=label)


def labelled(height=60, width=90, objects=(), **fields):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return LabelledImage(
        **{"image": image, "objects": tuple(objects), "source": "a/b", "gsd_m": 0.5, "complete": True, **fields}
    )


def same(one, other):
    assert (one.source, one.gsd_m, one.complete) == (other.source, other.gsd_m, other.complete)
    np.testing.assert_array_equal(one.image, other.image)
    assert [m.window for m in one.objects] == [m.window for m in other.objects]
    assert [m.label for m in one.objects] == [m.label for m in other.objects]
    for mine, theirs in zip(one.objects, other.objects, strict=True):
        np.testing.assert_array_equal(mine.pixels, theirs.pixels)


@pytest.mark.parametrize("gsd_m", [None, 0.075])
def test_what_is_saved_is_loaded(tmp_path, gsd_m):
    image = labelled(objects=[disc(60, 90, 20, 30, 9, "lac d'été"), disc(60, 90, 40, 60, 5)], gsd_m=gsd_m)
    image.save(tmp_path / "one.npz")
    same(LabelledImage.load(tmp_path / "one.npz"), image)


def test_an_image_without_objects_is_saved_too(tmp_path):
    labelled(complete=False).save(tmp_path / "one.npz")
    same(LabelledImage.load(tmp_path / "one.npz"), labelled(complete=False))


def test_the_same_content_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    for name in ("one.npz", "two.npz"):
        labelled(objects=[disc(60, 90, 20, 30, 9)]).save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "two.npz"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 broken"])
def test_another_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "one.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"one\.npz: not a labelled image"):
        LabelledImage.load(path)


def test_pickles_are_not_loaded(tmp_path):
    path = tmp_path / "one.npz"
    np.savez(path, image=np.array([Path()], dtype=object), bits=0, windows=0, about=0)
    with pytest.raises(UsageError, match="not a labelled image"):
        LabelledImage.load(path)


def test_objects_lie_in_the_image():
    outside = Mask(window=Window(row=55, col=0, height=10, width=10), pixels=np.ones((10, 10), dtype=bool))
    with pytest.raises(UsageError, match="a/b: object 0"):
        labelled(objects=[outside])


def test_a_scene_becomes_a_labelled_image():
    scene = make_scene(3, height_px=128, width_px=160)
    image = LabelledImage.from_scene(scene)
    assert image.objects == scene.objects
    assert image.gsd_m == scene.gsd_m
    assert image.complete


def test_a_crop_clips_objects_and_drops_slivers():
    whole, cut, sliver = (disc(60, 90, 20, col, 10) for col in (20, 38, 48))
    crop = labelled(objects=[whole, cut, sliver]).crop(Window(row=5, col=5, height=40, width=37))
    assert [m.window.col for m in crop.objects] == [5, 23]
    np.testing.assert_array_equal(crop.objects[0].pixels, whole.pixels)
    assert crop.objects[1].window.col_end == 37
    np.testing.assert_array_equal(crop.image, labelled().image[5:45, 5:42])


def test_a_large_part_of_a_larger_object_is_no_sliver():
    field = Mask.from_array(np.ones((60, 90), dtype=bool))
    window = Window(row=0, col=0, height=20, width=20)
    assert labelled(objects=[field]).crop(window).objects == ()
    assert labelled(objects=[field]).crop(window, large_px=400).objects[0].area_px == 400


@settings(max_examples=30)
@given(height=st.integers(1, 90), width=st.integers(1, 90), max_px=st.integers(8, 100))
def test_tiles_partition_the_image(height, width, max_px):
    image = labelled(height, width)
    tiles = dict(image.tiles(max_px))
    assert all(max(tile.image.shape[:2]) <= max_px for tile in tiles.values())
    rows = {name.partition("c")[0] for name in tiles}
    stacked = [
        np.hstack([tiles[name].image for name in tiles if name.partition("c")[0] == row])
        for row in sorted(rows, key=lambda r: int(r[1:]))
    ]
    np.testing.assert_array_equal(np.vstack(stacked), image.image)


def test_an_enlarged_object_is_the_same_object_larger():
    small = labelled(objects=[disc(60, 90, 20, 30, 9, "lake")])
    large = small.enlarged(3)
    assert large.image.shape == (180, 270, 3)
    assert large.gsd_m == pytest.approx(0.5 / 3)
    truth = np.kron(small.objects[0].to_array(60, 90), np.ones((3, 3), dtype=bool))
    found = large.objects[0].to_array(180, 270)
    assert np.count_nonzero(truth & found) / np.count_nonzero(truth | found) > 0.95
    assert large.objects[0].label == "lake"


def test_a_thin_object_survives_enlargement():
    line = np.zeros((60, 90), dtype=bool)
    line[np.arange(40), np.arange(40)] = True
    assert labelled(objects=[Mask.from_array(line)]).enlarged(3).objects[0].area_px >= 100


def test_an_object_at_the_edge_stays_inside_when_enlarged():
    corner = Mask.from_array(np.pad(np.ones((10, 10), dtype=bool), ((50, 0), (80, 0))))
    assert labelled(objects=[corner]).enlarged(3).objects[0].window.row_end == 180
