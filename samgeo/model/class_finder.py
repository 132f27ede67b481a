"""`ClassFinder`: words found by a model that tells the classes of its own masks; nothing else is installed.

Everything in a window is segmented, each mask gets its classes, and the boxes of those asked for go on. Like any finder
it gives boxes, so any model of the family may draw what was found.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import ModelError
from samgeo.model.automatic import generate_masks
from samgeo.model.classes import classify
from samgeo.model.contract import PromptableModel
from samgeo.model.finder import FoundWords
from samgeo.model.predict import Model
from samgeo.model.vocabulary import class_of
from samgeo.model.weights import load_network
from samgeo.pixels import Mask

APART = 0.5
"""Of two masks of one class, of which one lies in the other by this share of its area, the less sure one is dropped."""


class ClassFinder:
    """Fulfils `finder.WordFinder` with a model that has a class head."""

    least_score = 0.8

    def __init__(self, model: Model) -> None:
        """Raises ModelError if the model has no class head."""
        if model.sam.class_head is None:
            raise ModelError(f"{model.name}: tells no classes; expected samgeo-nano, or another --text-model")
        self._model = model
        self._head = model.sam.class_head
        self.name, self.sha256 = model.name, model.sha256

    def find(self, image: NDArray[np.uint8], words: tuple[str, ...], *, least_score: float) -> FoundWords:
        """Boxes of all words in an (H, W, 3) uint8 RGB image with at least that score."""
        embedding = self._model.encode(image)
        masks = generate_masks(cast(PromptableModel, self._model), embedding, self._model.everything)
        chances = classify(self._head, embedding.features, masks)
        boxes, positions, scores = [], [], []
        for position, number in enumerate(class_of(word) for word in words):
            for k in [] if number is None else _ranked(chances[:, number], masks, least_score):
                window = masks[k].window
                boxes.append((window.col, window.row, window.col_end, window.row_end))
                positions.append(position)
                scores.append(chances[k, number])
        return FoundWords(
            boxes=np.array(boxes, np.float32).reshape(-1, 4) - np.float32(0.5),
            words=np.array(positions, np.int64),
            scores=np.array(scores, np.float32),
        )


def load_class_finder(name: str, *, device: str = "auto") -> ClassFinder:
    """The finder of a known model. Raises what `load_network` raises, and ModelError if it tells no classes."""
    model = load_network(name, device=device)
    if not isinstance(model, Model):
        raise ModelError(f"{name}: tells no classes; expected samgeo-nano")
    return ClassFinder(model)


def _ranked(chances: NDArray[np.float32], masks: list[Mask], least_score: float) -> list[int]:
    """The masks of a class, by number, best first, without those that overlap a better one."""
    kept: list[int] = []
    for k in sorted(np.flatnonzero(chances >= least_score).tolist(), key=lambda k: -chances[k] * masks[k].score):
        if all(_share(masks[k], masks[better]) < APART for better in kept):
            kept.append(k)
    return kept


def _share(one: Mask, other: Mask) -> float:
    """What two masks have in common, as a share of the smaller one."""
    return one.common_px(other) / min(one.area_px, other.area_px)
