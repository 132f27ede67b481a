"""The class head: words and their classes, what is pooled under a mask, and boxes of what words mean."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from samgeo.errors import ModelError
from samgeo.model import class_finder
from samgeo.model.build import ARCHITECTURES
from samgeo.model.class_finder import ClassFinder
from samgeo.model.classes import RING_CELLS, pool
from samgeo.model.predict import Model
from samgeo.model.pyramid import PyramidModel
from samgeo.model.sam import Features
from samgeo.model.spec import MODELS
from samgeo.model.vocabulary import CLASSES, SYNONYMS, class_of
from samgeo.pixels import Mask, boxes_of
from tests.model.seeded import TINY, picture, seeded_model


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("building", "building"),
        ("Buildings", "building"),
        ("solar_panel", "solar panel"),
        ("solar-panels", "solar panel"),
        ("  swimming  pool ", "pool"),
        ("car", "vehicle"),
        ("buses", "vehicle"),
        ("HOUSES", "building"),
        ("trees", "tree"),
        ("lakes", "water"),
    ],
)
def test_a_word_its_plural_and_its_synonyms_are_one_class(word: str, name: str) -> None:
    assert class_of(word) == CLASSES.index(name)


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in SYNONYMS.items() for word in words])
def test_every_synonym_means_its_own_class(name: str, word: str) -> None:
    """And no other, whose plural it may be."""
    assert class_of(word) == CLASSES.index(name)


@pytest.mark.parametrize("word", ["", "unicorn", "build", "s", "buildingss", "a building"])
def test_other_words_are_not_known(word: str) -> None:
    assert class_of(word) is None


def test_every_class_has_synonyms_and_no_word_means_two() -> None:
    assert set(SYNONYMS) == set(CLASSES)
    words = [word for name in CLASSES for word in (name, *SYNONYMS[name])]
    assert len(words) == len(set(words))


def test_what_is_pooled_is_what_lies_under_the_mask_and_around_it() -> None:
    side = 32
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[0, 8:24, 8:16] = True
    fine = torch.zeros(1, 2, side, side)
    fine[0, 0][mask[0]] = 3
    fine[0, 1][~mask[0]] = 5
    coarse = nn.functional.avg_pool2d(fine, 4)
    pooled = pool(Features(coarse, None, fine, fine), mask)[0].tolist()
    inside, around, shape = pooled[:6], pooled[6:12], pooled[12:]
    assert inside == pytest.approx([3, 0] * 3)
    assert around == pytest.approx([0, 5] * 3)
    assert shape == pytest.approx([np.log2(128) / 16, 1, 0.5])
    assert RING_CELLS < 8


class ByBrightness(nn.Module):
    """Building where the first number is above a half, else water."""

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(pooled), len(CLASSES)), -4.0)
        logits[:, CLASSES.index("building")] = torch.where(pooled[:, 0] > 0.5, 4.0, -4.0)
        logits[:, CLASSES.index("water")] = torch.where(pooled[:, 0] > 0.5, -4.0, 4.0)
        return logits


def finder_of(masks: list[Mask], drawn: list[Mask], monkeypatch) -> ClassFinder:
    """A finder that finds these masks in 64 x 96 px, bright in the upper left, and draws those from their boxes."""
    spec = MODELS["samgeo-nano"]
    network = ARCHITECTURES["nano"].build(spec)
    network.class_head = ByBrightness()
    plain = Model(network, name="n", sha256="0" * 64, device=torch.device("cpu"), precision="exact", spec=spec)
    model = PyramidModel(plain, spec.zoom)
    embedding = model.encode(picture(64, 96))
    bright = torch.zeros_like(embedding.plain.features.stride16)
    bright[..., :2, :3] = 1
    features = embedding.plain.features._replace(stride16=bright)
    seen = replace(embedding, plain=replace(embedding.plain, features=features))
    by_box = {tuple(box): mask for box, mask in zip(boxes_of(masks).tolist(), drawn, strict=True)}

    def decode(_embedding, prompts, *, multimask):
        assert not multimask
        return SimpleNamespace(to_masks=lambda: [[by_box[tuple(box)]] for box in prompts.boxes.tolist()])

    monkeypatch.setattr(model, "encode", lambda _image: seen)
    monkeypatch.setattr(model, "decode", decode)
    monkeypatch.setattr(class_finder, "generate_masks", lambda *_: masks)
    return ClassFinder(model)


def two_masks() -> list[Mask]:
    full = np.zeros((2, 64, 96), bool)
    full[0, 8:20, 12:40] = True
    full[1, 40:60, 50:90] = True
    return [Mask.from_array(one, score=0.9) for one in full]


def test_words_become_the_boxes_of_masks_of_their_class(monkeypatch) -> None:
    finder = finder_of(two_masks(), two_masks(), monkeypatch)
    found = finder.find(picture(64, 96), ("houses", "lake", "ship"), least_score=0.5)
    assert found.boxes.tolist() == [[11.5, 7.5, 39.5, 19.5], [49.5, 39.5, 89.5, 59.5]]
    assert found.words.tolist() == [0, 1]
    assert found.scores == pytest.approx(1 / (1 + np.exp(-4)))
    assert len(finder.find(picture(64, 96), ("houses",), least_score=0.99).boxes) == 0
    assert len(finder_of([], [], monkeypatch).find(picture(64, 96), ("houses",), least_score=0.5).boxes) == 0


@pytest.mark.parametrize(
    ("clicked", "boxed", "found"), [(1.4, 1.4, 1), (0.75, 1.36, 1), (1.23, 0.65, 0), (0.72, 1.36, 0)]
)
def test_how_sure_it_was_at_the_click_and_from_the_box_counts(monkeypatch, clicked, boxed, found) -> None:
    """Their geometric mean, here in shares of the least."""
    first = [replace(two_masks()[0], score=class_finder.SURE * clicked)]
    finder = finder_of(first, [replace(first[0], score=class_finder.SURE * boxed)], monkeypatch)
    assert len(finder.find(picture(64, 96), ("houses",), least_score=0.5).boxes) == found


def test_of_boxes_that_mean_one_object_the_surest_stays(monkeypatch) -> None:
    """What is drawn decides: two masks that lie apart, and one object in both boxes."""
    masks = two_masks()
    masks[1] = replace(masks[1], window=masks[0].window.shift(0, 20), pixels=masks[0].pixels)
    same = [replace(masks[0], score=0.6), replace(masks[0], score=0.95)]
    found = finder_of(masks, same, monkeypatch).find(picture(64, 96), ("houses",), least_score=0.5)
    assert found.boxes.tolist() == [[31.5, 7.5, 59.5, 19.5]]


def test_of_masks_of_one_class_that_overlap_the_best_stays() -> None:
    full = np.zeros((4, 40, 40), bool)
    full[0, 0:20, 0:20] = True
    full[1, 5:15, 5:15] = True  # inside the first
    full[2, 0:20, 10:30] = True  # half of it in the first
    full[3, 30:40, 30:40] = True
    masks = [replace(Mask.from_array(one), score=0.9) for one in full]
    chances = np.array([0.9, 0.95, 0.8, 0.4], np.float32)
    assert class_finder._ranked(chances, masks, 0.5) == [1, 2]
    masks[1] = replace(masks[1], score=0.7)
    assert class_finder._ranked(chances, masks, 0.5) == [0, 2]
    assert class_finder._ranked(chances, masks, 0.3) == [0, 2, 3]
    masks[0] = replace(masks[0], score=class_finder.SURE - 0.01)
    assert class_finder._ranked(chances, masks, 0.3) == [2, 1, 3]


def test_a_model_without_a_class_head_is_refused() -> None:
    with pytest.raises(ModelError, match="tells no classes"):
        ClassFinder(seeded_model(TINY["tiny-sam"]))
