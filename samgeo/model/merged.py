"""Masks of one image that were answered in parts: at another size, or in a window of the embedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import Mask

NOTHING = -16.0
"""Logit of what lies outside of the window that an object was asked for in."""


class Drawn(Protocol):
    """What the parts have in common, see `contract.DecodedMasks`."""

    scores: NDArray[np.float32]

    def __getitem__(self, keep: NDArray[np.bool_]) -> Drawn:
        """Some of the masks."""
        ...

    @property
    def logits(self) -> NDArray[np.float32]:
        """(N, M, h, w)."""
        ...

    def to_masks(self) -> list[list[Mask]]:
        """N lists of M."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What was said of some objects."""

    objects: NDArray[np.intp]
    """(n,) which of all objects, in order."""
    masks: Drawn
    """Of these n."""
    times: int = 1
    """How often a cell of its logits goes into one of the whole's."""
    corner: tuple[int, int] = (0, 0)
    """Row and column of its first logit, in cells of the whole."""
    corner_px: tuple[int, int] = (0, 0)
    """Row and column of its first pixel, in the image."""


class MergedMasks:
    """The masks of N objects, M for each, each from one of several answers; fulfils `contract.DecodedMasks`."""

    def __init__(self, answers: Sequence[Answer], chosen: NDArray[np.intp], *, size: tuple[int, int]) -> None:
        """chosen: (N, M) count through the masks of all answers, each once. size: (h, w) of the logits."""
        self._answers, self._chosen, self._size = list(answers), chosen, size
        self.scores = np.concatenate([answer.masks.scores.ravel() for answer in answers])[chosen]

    def __getitem__(self, keep: NDArray[np.bool_]) -> MergedMasks:
        """The masks where `keep` (N, M) is True, as N' objects of one mask each, in row-major order."""
        return MergedMasks(self._answers, self._chosen[keep][:, None], size=self._size)

    @property
    def logits(self) -> NDArray[np.float32]:
        """(N, M, h, w), above 0 is object; what a mask prompt takes back."""
        drawn = np.full((self._chosen.size, *self._size), NOTHING, np.float32)
        for positions, masks, answer in self._parts():
            logits = masks.logits[:, 0].repeat(answer.times, axis=1).repeat(answer.times, axis=2)
            row, col = answer.corner
            height, width = min(logits.shape[1], self._size[0] - row), min(logits.shape[2], self._size[1] - col)
            drawn[positions, row : row + height, col : col + width] = logits[:, :height, :width]
        return drawn.reshape(*self._chosen.shape, *self._size)

    def to_masks(self) -> list[list[Mask]]:
        """N lists of M full-size masks in the pixels of the image, with score and stability."""
        full: dict[int, Mask] = {}
        for positions, masks, answer in self._parts():
            for position, (mask,) in zip(positions.tolist(), masks.to_masks(), strict=True):
                full[position] = mask if mask.window.is_empty else mask.shift(*answer.corner_px)
        objects, count = self._chosen.shape
        return [[full[n * count + m] for m in range(count)] for n in range(objects)]

    def _parts(self) -> Iterator[tuple[NDArray[np.intp], Drawn, Answer]]:
        """What was chosen of each answer: positions in `chosen`, flattened; objects of one mask each; the answer."""
        flat, start = self._chosen.ravel(), 0
        for answer in self._answers:
            keep = np.zeros(answer.masks.scores.shape, dtype=bool)
            positions = np.flatnonzero((flat >= start) & (flat < start + keep.size))
            positions = positions[np.argsort(flat[positions])]
            keep.ravel()[flat[positions] - start] = True
            if positions.size:
                yield positions, answer.masks[keep], answer
            start += keep.size
