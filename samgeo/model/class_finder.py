"""`ClassFinder`: words found by a model that tells the classes of its own masks; nothing else is installed.

Everything in a window is segmented, each mask gets its classes, and those of the classes asked for are drawn once more,
from their boxes. How sure the model was both times says which are kept. Like any finder it gives boxes, so any model of
the family may draw what was found.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import ModelError
from samgeo.model.automatic import generate_masks
from samgeo.model.classes import classify
from samgeo.model.contract import PromptableModel
from samgeo.model.fast_sam import InstanceModel
from samgeo.model.finder import FoundWords, draw_boxes
from samgeo.model.predict import Model
from samgeo.model.pyramid import PyramidModel
from samgeo.model.vocabulary import class_of
from samgeo.model.weights import load_model
from samgeo.pixels import Mask, boxes_of

APART = 0.7
"""Of two masks of one class, of which one lies in the other by this share of its area, the less sure one is dropped."""
SURE = 0.7
"""Masks whose scores at the click and from the box have a lower geometric mean are dropped; by F1 on validation."""


class ClassFinder:
    """Fulfils `finder.WordFinder` with a model that has a class head."""

    least_score = 0.8

    def __init__(self, model: Model | InstanceModel | PyramidModel) -> None:
        """Raises ModelError if the model has no class head."""
        if not isinstance(model, PyramidModel) or model.plain.sam.class_head is None:
            raise ModelError(f"{model.name}: tells no classes; expected samgeo-nano, or another --text-model")
        self._model = model
        self._head = model.plain.sam.class_head
        self.name, self.sha256 = model.name, model.sha256

    def find(self, image: NDArray[np.uint8], words: tuple[str, ...], *, least_score: float) -> FoundWords:
        """Boxes of all words in an (H, W, 3) uint8 RGB image with at least that score."""
        embedding = self._model.encode(image)
        model, everything = cast(PromptableModel, self._model), self._model.everything
        masks = generate_masks(model, embedding, everything)
        chances = classify(self._head, embedding.plain.features, masks)
        numbers = [(position, number) for position, word in enumerate(words) if (number := class_of(word)) is not None]
        likely = np.flatnonzero((chances[:, [number for _, number in numbers]] >= least_score).any(axis=1))
        chances, masks = chances[likely], [masks[k] for k in likely]
        boxes = boxes_of(masks)
        again = draw_boxes(model, embedding, boxes, batch=everything.points_per_batch)
        drawn = [replace(two, score=math.sqrt(one.score * two.score)) for one, two in zip(masks, again, strict=True)]
        found = [
            (position, number, k)
            for position, number in numbers
            for k in _ranked(chances[:, number], drawn, least_score)
        ]
        return FoundWords(
            boxes=boxes[[k for _, _, k in found]],
            words=np.array([position for position, _, _ in found], np.int64),
            scores=np.array([chances[k, number] for _, number, k in found], np.float32),
        )


def load_class_finder(name: str, *, device: str = "auto") -> ClassFinder:
    """The finder of a known model or a weights file. Raises as `load_model`, and ModelError if it tells no classes."""
    return ClassFinder(load_model(name, device=device))


def _ranked(chances: NDArray[np.float32], masks: list[Mask], least_score: float) -> list[int]:
    """The masks of a class that are sure enough, by number, best first, without those that overlap a better one."""
    sure = [k for k in np.flatnonzero(chances >= least_score).tolist() if masks[k].score >= SURE]
    kept: list[int] = []
    for k in sorted(sure, key=lambda k: -chances[k] * masks[k].score):
        if all(_share(masks[k], masks[better]) < APART for better in kept):
            kept.append(k)
    return kept


def _share(one: Mask, other: Mask) -> float:
    """What two masks have in common, as a share of the smaller one; 0 where that is empty."""
    return one.common_px(other) / max(1, min(one.area_px, other.area_px))
