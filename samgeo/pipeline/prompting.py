"""Prompting: one mask for each prompted object in one window.

What Segment Anything recommends: of a single click the model proposes three masks, since a click can mean a roof, a
house or a block, and the best is taken; a box or several clicks leave no doubt, so it proposes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samgeo.model.contract import DecodedMasks, Embedding, PromptableModel
from samgeo.pixels import FOREGROUND, PADDING, Mask, PixelPrompts, Window
from samgeo.settings import Granularity

NO_MASK = Mask(
    window=Window(row=0, col=0, height=0, width=0), pixels=np.zeros((0, 0), dtype=bool), score=0.0, stability=0.0
)
"""What the model sees where there is nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectPrompt:
    """What is known of one object, in the pixels of the grid (an integer is a pixel's centre)."""

    key: int
    """Position among all prompted objects."""
    points: NDArray[np.float64]
    """(K, 2) x,y; K may be 0."""
    labels: NDArray[np.int64]
    """(K,): 1 on the object, 0 beside it."""
    box: tuple[float, float, float, float] | None = None
    """x_min, y_min, x_max, y_max."""

    @property
    def is_empty(self) -> bool:
        """True if nothing is known."""
        return self.box is None and len(self.labels) == 0

    @property
    def is_ambiguous(self) -> bool:
        """True if all that is known is one click on the object."""
        return self.box is None and self.labels.tolist() == [FOREGROUND]

    @property
    def extent(self) -> Window:
        """The pixels that the clicks and the box touch; there must be one of them."""
        corners = [*self.points, *([] if self.box is None else [self.box[:2], self.box[2:]])]
        low, high = np.floor(np.min(corners, axis=0) + 0.5), np.ceil(np.max(corners, axis=0) + 0.5)
        (col, row), (width, height) = low.astype(int).tolist(), np.maximum(high - low, 1).astype(int).tolist()
        return Window(row=row, col=col, height=height, width=width)

    def from_afar(self, scale: int) -> ObjectPrompt:
        """The same in pixels `scale` times as large."""
        box = None
        if self.box is not None:
            left, top, right, bottom = ((edge + 0.5) / scale - 0.5 for edge in self.box)
            box = (left, top, right, bottom)
        return ObjectPrompt(key=self.key, points=(self.points + 0.5) / scale - 0.5, labels=self.labels, box=box)

    def inside(self, window: Window) -> ObjectPrompt:
        """The same in the pixels of a window: clicks outside are left out, the box is cut."""
        origin = np.array([window.col, window.row])
        points = self.points - origin
        seen = ((points >= -0.5) & (points < np.array([window.width, window.height]) - 0.5)).all(axis=1)
        box = None
        if self.box is not None:
            low, high = np.array(self.box[:2]) - origin, np.array(self.box[2:]) - origin
            far = np.array([window.width - 0.5, window.height - 0.5])
            left, top = np.clip(low, -0.5, far)
            right, bottom = np.clip(high, -0.5, far)
            box = (float(left), float(top), float(right), float(bottom))
        return ObjectPrompt(key=self.key, points=points[seen], labels=self.labels[seen], box=box)


def segment_objects(
    model: PromptableModel,
    embedding: Embedding,
    prompts: Sequence[ObjectPrompt],
    *,
    granularity: Granularity = "best",
    batch: int = 64,
) -> list[Mask]:
    """One mask for each prompt, in the order given, in the pixels of the encoded window.

    prompts: in the pixels of the window. A mask is empty where the model sees nothing.
    batch: how many are decoded at once.
    """
    found = [NO_MASK] * len(prompts)
    for rows in _alike(prompts):
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            masks = decode_alike(model, embedding, [prompts[row] for row in part], granularity=granularity)
            for row, mask in zip(part, masks, strict=True):
                found[row] = mask
    return found


def decode_alike(
    model: PromptableModel, embedding: Embedding, prompts: Sequence[ObjectPrompt], *, granularity: Granularity
) -> list[Mask]:
    """One mask for each of some prompts that all have the same kinds of prompt."""
    several = prompts[0].is_ambiguous or granularity != "best"
    decoded = model.decode(embedding, stack_prompts(prompts), multimask=several)
    return [row[0] for row in _choose(decoded, granularity).to_masks()]


def stack_prompts(prompts: Sequence[ObjectPrompt]) -> PixelPrompts:
    """The prompts of N objects as a model takes them; all have a box or none has."""
    points, labels = pad_points(prompts)
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    return PixelPrompts(
        points=points if points.shape[1] else None,
        labels=labels if points.shape[1] else None,
        boxes=np.array(boxes, np.float32) if boxes else None,
    )


def pad_points(prompts: Sequence[ObjectPrompt]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, K, 2) points and (N, K) labels, with padding for those that have fewer clicks."""
    most = max(len(prompt.labels) for prompt in prompts)
    points = np.zeros((len(prompts), most, 2), np.float32)
    labels = np.full((len(prompts), most), PADDING, np.int64)
    for row, prompt in enumerate(prompts):
        points[row, : len(prompt.labels)] = prompt.points
        labels[row, : len(prompt.labels)] = prompt.labels
    return points, labels


def _choose(decoded: DecodedMasks, granularity: Granularity) -> DecodedMasks:
    """One mask of each object: the best by score, or by size."""
    scores = decoded.scores
    if granularity == "best" or scores.shape[1] == 1:
        column = scores.argmax(axis=1)
    else:
        areas = (decoded.logits > 0).sum(axis=(2, 3))
        column = np.argsort(areas, axis=1, kind="stable")[:, {"subpart": 0, "part": 1, "whole": 2}[granularity]]
    return decoded[np.arange(scores.shape[1]) == column[:, None]]


def _alike(prompts: Sequence[ObjectPrompt]) -> list[list[int]]:
    """Positions of prompts that can be decoded together, in order of first appearance."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for row, prompt in enumerate(prompts):
        if prompt.is_empty:
            continue
        kind = (-1 if prompt.is_ambiguous else len(prompt.labels), prompt.box is not None)
        groups.setdefault(kind, []).append(row)
    return list(groups.values())
