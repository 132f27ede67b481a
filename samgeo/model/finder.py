"""What finds words in an image: the contract, and where a process finds its own copy. Nothing here imports torch.

samgeo-nano knows the words of `vocabulary`. Models that know all words are loaded by `grounding`, with the extra
`text`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from samgeo.model.contract import Embedding, PromptableModel
from samgeo.pixels import Mask, PixelPrompts

BUILT_IN = "samgeo-nano"
"""The model that finds the words of `vocabulary` where no other is named."""
_WEIGHTS = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundWords:
    """K boxes in one image, and the word that each shows."""

    boxes: NDArray[np.float32]
    """(K, 4) x_min, y_min, x_max, y_max in pixels of the image, an integer is a pixel's centre."""
    words: NDArray[np.int64]
    """(K,) positions among the words that were asked for."""
    scores: NDArray[np.float32]
    """(K,) how sure it is, 0 to 1."""


@runtime_checkable
class WordFinder(Protocol):
    """A model that finds words in images."""

    @property
    def name(self) -> str:
        """Where it came from."""
        ...

    @property
    def sha256(self) -> str:
        """Hex digest of its weights."""
        ...

    @property
    def least_score(self) -> float:
        """Boxes that it is less sure of are not worth keeping, where the user does not say otherwise."""
        ...

    def find(self, image: NDArray[np.uint8], words: tuple[str, ...], *, least_score: float) -> FoundWords:
        """Boxes of all words in an (H, W, 3) uint8 RGB image with at least that score."""
        ...


def draw_boxes(model: PromptableModel, embedding: Embedding, boxes: NDArray[np.float32], *, batch: int) -> list[Mask]:
    """One mask for each box (N, 4), in the pixels of the encoded image; empty where the model sees none.

    batch: so many are decoded at once.
    """
    masks: list[Mask] = []
    for start in range(0, len(boxes), batch):
        prompts = PixelPrompts(boxes=boxes[start : start + batch])
        masks += [row[0] for row in model.decode(embedding, prompts, multimask=False).to_masks()]
    return masks


@dataclass(frozen=True, kw_only=True)
class FinderAddress:
    """Where a process finds its own copy of a word finder."""

    name: str
    """A folder with the files of a model as the transformers library saves it, or its name on the Hugging Face hub; or
    samgeo-nano, which tells the classes of its own masks, or a weights file of it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    @property
    def tells_classes(self) -> bool:
        """Is it a model that knows the words of `vocabulary` and no others."""
        return self.name == BUILT_IN or Path(self.name).suffix.lower() in _WEIGHTS

    def load(self) -> WordFinder:
        """The finder; loaded once in a process. Raises what `load_class_finder` or `grounding.load_finder` raises."""
        return _load(self)


@lru_cache(maxsize=1)
def _load(address: FinderAddress) -> WordFinder:
    if address.tells_classes:
        from samgeo.model.class_finder import load_class_finder

        return load_class_finder(address.name, device=address.device)
    from samgeo.model.grounding import load_finder

    return load_finder(address.name, device=address.device)
