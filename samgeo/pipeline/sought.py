"""Words: what is looked for, and the masks of what is found in one window.

    words ─► finder ─► boxes with words ─► the promptable model ─► masks with labels

Stitching, assembly and everything else are as for runs without prompts; masks of different labels are never one object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import ModelError
from samgeo.model.automatic import box_iou
from samgeo.model.contract import Embedding, PromptableModel
from samgeo.model.finder import FinderAddress, FoundWords, WordFinder, draw_boxes
from samgeo.pixels import Mask

SAME_BOX = 0.7
"""Of two boxes of one word with a higher IoU the one that is less sure is dropped."""


@dataclass(frozen=True, kw_only=True)
class Sought:
    """What is looked for, and by whom."""

    words: tuple[str, ...]
    """They become the labels of the objects."""
    finder: FinderAddress | WordFinder
    """Address of the model that finds words; or the model itself, within a process."""
    finder_sha256: str
    """What every process must find at the address."""
    least_score: float
    """Boxes that the finder is less sure of are dropped."""

    def find(self, rgb: NDArray[np.uint8]) -> FoundWords:
        """The boxes in one window (h, w, 3), the surest first, without duplicates."""
        finder = self.finder.load() if isinstance(self.finder, FinderAddress) else self.finder
        if finder.sha256 != self.finder_sha256:
            raise ModelError(
                f"{finder.name}: its weights are not those that the run began with. Fix: the same files everywhere"
            )
        return without_duplicates(finder.find(rgb, self.words, least_score=self.least_score))


def without_duplicates(found: FoundWords) -> FoundWords:
    """The surest first; of the boxes of one word that are much the same only that."""
    order = np.argsort(-found.scores, kind="stable")
    boxes, words = found.boxes[order], found.words[order]
    alive = np.ones(len(order), dtype=bool)
    for k in range(len(order)):
        if alive[k]:
            later = np.arange(len(order)) > k
            alive[later & (words == words[k]) & (box_iou(boxes[k], boxes) > SAME_BOX)] = False
    kept = order[alive]
    return FoundWords(boxes=found.boxes[kept], words=found.words[kept], scores=found.scores[kept])


def draw_found(
    model: PromptableModel, embedding: Embedding, found: FoundWords, words: tuple[str, ...], *, batch: int
) -> list[Mask]:
    """One mask for each box, with its word as label, in the pixels of the window; empty where the model sees none."""
    masks = draw_boxes(model, embedding, found.boxes, batch=batch)
    return [
        replace(mask, label=words[word], label_score=float(score))
        for mask, word, score in zip(masks, found.words.tolist(), found.scores.tolist(), strict=True)
    ]
