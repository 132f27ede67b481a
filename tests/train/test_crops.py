"""Training crops: masks lie where the image shows their objects, whatever was turned, pasted or coloured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.model.vocabulary import CLASSES
from samgeo.pixels import Mask
from samgeo.train.colours import take_tones, vary_colours
from samgeo.train.crops import Crop, _around, _by_size, draw_crop
from samgeo.train.labelled import LabelledImage
from samgeo.train.mixing import hide, paste
from tests.train.test_loop import labelled


def crops(image: LabelledImage, count: int, *, size_px: int = 64, objects: int = 3, seed: int = 0) -> list[Crop]:
    rng = np.random.default_rng(seed)
    drawn = [draw_crop(image, rng, size_px=size_px, objects=objects) for _ in range(count)]
    return [crop for crop in drawn if crop is not None]


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def test_crops_show_the_object_they_were_drawn_for() -> None:
    found = crops(labelled(0), 40)
    assert len(found) > 30
    for crop in found:
        assert crop.image.shape == (64, 64, 3)
        assert crop.image.dtype == np.uint8
        assert crop.masks.shape == (3, 64, 64)
        assert all(mask.any() for mask in crop.masks)


def test_masks_lie_where_the_image_shows_them_straight_and_aslant() -> None:
    """The object is the one bright thing, so that the image itself says where it is."""
    full = np.zeros((300, 260), dtype=bool)
    full[90:170, 60:200] = True
    image = np.where(full[..., None], 200, 0).astype(np.uint8).repeat(3, axis=2)
    one = LabelledImage(image=image, objects=(Mask.from_array(full),), source="made/0", gsd_m=1.0, complete=True)
    views = [_around(one.objects[0], full.shape, np.random.default_rng(seed), size_px=96) for seed in range(60)]
    assert {view.reduced is None for view in views} == {True, False}
    found = crops(one, 60, size_px=96, objects=1)
    assert len(found) > 40
    for crop in found:
        assert overlap(crop.image[..., 0] > 100, crop.masks[0]) > 0.96


def scene(*, complete: bool) -> LabelledImage:
    """A bright house and a field of middling grey on the dark, and a thing without a name."""
    image = np.zeros((200, 240, 3), dtype=np.uint8)
    objects = []
    for label, rows, cols, grey in (
        ("house", slice(20, 90), slice(30, 110), 240),
        ("field", slice(100, 190), slice(20, 140), 140),
        ("thing", slice(40, 120), slice(160, 230), 190),
    ):
        full = np.zeros(image.shape[:2], dtype=bool)
        full[rows, cols] = True
        image[full] = grey
        objects.append(replace(Mask.from_array(full), label=label))
    return LabelledImage(image=image, objects=tuple(objects), source="made/0", gsd_m=1.0, complete=complete)


def test_pixels_carry_the_classes_that_the_image_shows_there() -> None:
    house, field = 1 << CLASSES.index("building"), 1 << CLASSES.index("field")
    found = crops(scene(complete=True), 60, size_px=96)
    assert len(found) > 40
    seen = 0
    for crop in found:
        grey = crop.image[..., 0].astype(int)
        assert np.isin(crop.shown, (0, house, field)).all()
        assert (crop.known == house | field).all()
        pure = ndimage.maximum_filter(grey, 3) - ndimage.minimum_filter(grey, 3) < 10  # no edge: those are of any grey
        for bit, value in ((house, 240), (field, 140)):
            alike = abs(grey - value) < 10
            if np.count_nonzero(alike) > 400:
                seen += 1
                assert overlap(alike[pure], crop.shown[pure] == bit) > 0.85
    assert seen > 40


def test_where_not_all_is_drawn_classes_are_known_in_what_is_drawn_alone() -> None:
    for crop in crops(scene(complete=False), 30, size_px=96):
        dark = crop.image[..., 0] < 60
        assert not crop.known[dark].any()
        assert (crop.known[crop.image[..., 0] > 130] != 0).mean() > 0.95
        assert not (crop.shown & ~crop.known).any()


def test_what_is_pasted_brings_its_classes_along() -> None:
    rng = np.random.default_rng(3)
    pairs = zip(crops(scene(complete=True), 60), crops(scene(complete=False), 60, seed=4), strict=False)
    made = [(paste(onto, donor, rng), onto, donor) for onto, donor in pairs]
    pasted = [(new, onto, donor) for new, onto, donor in made if new is not onto]
    assert len(pasted) > 10
    for new, onto, donor in pasted:
        for name in ("shown", "known"):
            bits, own, brought = (getattr(crop, name) for crop in (new, onto, donor))
            assert ((bits == own) | (bits == brought)).all()
    assert sum((new.shown != onto.shown).any() for new, onto, _ in pasted) > 5


def test_an_image_without_objects_gives_no_crop() -> None:
    empty = replace(labelled(0), objects=())
    assert draw_crop(empty, np.random.default_rng(0), size_px=64, objects=3) is None


@pytest.mark.parametrize("width", [1, 20])
def test_long_objects_are_drawn_sooner_however_thin(width: int) -> None:
    small, large = np.zeros((40, 40), dtype=bool), np.zeros((40, 40), dtype=bool)
    small[:2, :2], large[10:30, 10 : 10 + width] = True, True
    rng = np.random.default_rng(0)
    first = [int(_by_size([Mask.from_array(small), Mask.from_array(large)], rng)[0]) for _ in range(400)]
    assert np.mean(first) == pytest.approx(20 / 22, abs=0.05)


def test_what_is_pasted_covers_what_was_there() -> None:
    rng = np.random.default_rng(1)
    pasted = 0
    for onto, donor in zip(
        crops(labelled(0), 60, size_px=96), crops(labelled(1), 60, size_px=96, seed=5), strict=False
    ):
        made = paste(onto, donor, rng)
        if made is onto:
            continue
        pasted += 1
        assert made.image.shape == onto.image.shape
        assert made.masks.shape == onto.masks.shape
        assert len(made.labels) == len(made.masks)
        new = [mask for mask in made.masks[: made.count] if any((mask == known).all() for known in donor.masks)]
        union = np.any(new, axis=0)
        deep = union & np.roll(union, 2, 0) & np.roll(union, -2, 0) & np.roll(union, 2, 1) & np.roll(union, -2, 1)
        assert (np.abs(made.image.astype(int) - donor.image)[deep] <= 4).all()  # the seam is soft
        for mask in made.masks[: made.count]:
            known = any((mask == one).all() for one in new)
            assert known or not (mask & union).any()
    assert pasted > 10


def test_too_large_an_object_is_not_pasted() -> None:
    onto = crops(labelled(0), 5)[0]
    whole = replace(onto, masks=np.ones_like(onto.masks), count=1)
    assert paste(onto, whole, np.random.default_rng(0)) is onto


def test_where_the_data_ends_there_is_nothing_and_no_mask() -> None:
    rng, made = np.random.default_rng(2), 0
    for crop in crops(scene(complete=True), 60):
        hidden = hide(crop, rng)
        if hidden is crop:
            continue
        made += 1
        gone = (crop.known != 0) & (hidden.known == 0)
        assert 0.05 < gone.mean() < 0.65
        assert len(np.unique(hidden.image[gone], axis=0)) == 1
        assert (hidden.image == crop.image)[~gone].all()
        assert not hidden.shown[gone].any()
        assert len(hidden.masks) == len(hidden.labels) == len(crop.masks)
        for mask, label in zip(hidden.masks, hidden.labels, strict=True):
            assert mask.sum() >= 60
            assert not (mask & gone).any()
            whole = [known for known, name in zip(crop.masks, crop.labels, strict=True) if name == label]
            assert any((mask == (known & mask)).all() and not (known & ~mask & ~gone).any() for known in whole)
    assert made > 20


def test_tones_move_towards_another_image() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(90, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    other = rng.normal(150, 10, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    taken = take_tones(image, other, 1.0)
    assert taken.mean() == pytest.approx(other.mean(), abs=1)
    assert taken.std() == pytest.approx(other.std(), abs=1)
    assert take_tones(image, other, 0.5).mean() == pytest.approx((image.mean() + other.mean()) / 2, abs=1)


def test_colours_vary_and_shapes_do_not() -> None:
    image = labelled(0).image
    varied = [vary_colours(image, np.random.default_rng(seed)) for seed in range(30)]
    assert {(v.shape, v.dtype) for v in varied} == {(image.shape, image.dtype)}
    assert len({v.tobytes() for v in varied}) == 30
