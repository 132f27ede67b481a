"""A model that looks at an image at two sizes: as it is, and enlarged for what is small.

Something of twenty pixels is a cell or two of an embedding of stride 16, and little of it is left to draw. So a small
box is answered from the image at twice its size, by the same network, and so is a click where the first answer is
unsure; then the better one counts. The large image is encoded when a prompt first asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samgeo.errors import PromptError
from samgeo.model.classes import classify
from samgeo.model.frame import LOGIT_PX, NativeFrame
from samgeo.model.merged import Answer, MergedMasks
from samgeo.model.nearby import decode_nearby, mask_corners
from samgeo.model.predict import ImageEmbedding, Model
from samgeo.model.vocabulary import CLASSES
from samgeo.pixels import Mask, PixelPrompts

SMALL_PX = 48
"""An object is small if the longer side of its box is below this, in pixels of the image."""
UNSURE = 0.4
"""An answer to clicks alone is unsure if none of its scores is above this."""
LIKELY = 0.5
"""A mask gets the name of its likeliest class if that is at least this probable."""
ALIKE = 0.8
"""Of two masks of an object with an IoU above this the less sure one is no candidate."""
COMPARED_AT_ONCE = 16
"""The candidates of so many objects are drawn together to be compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PyramidEmbedding:
    """What the encoder made of an image as it is, and the image itself, to be encoded enlarged."""

    plain: ImageEmbedding
    """Of the image as it is."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    enlarged: list[ImageEmbedding] = field(default_factory=list)
    """Of the enlarged image; empty until it is asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the image, in pixels."""
        return self.plain.shape

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As of the plain embedding, and the image."""
        return {**self.plain.arrays(), "image": self.image}


class PyramidModel:
    """A network asked at two sizes; fulfils `contract.PromptableModel`."""

    def __init__(self, plain: Model, zoom: int) -> None:
        """plain: of a network that sees images as they are. zoom: the second size, times the first."""
        frame = plain.sam.frame
        assert isinstance(frame, NativeFrame)
        self.plain, self.zoom = plain, zoom
        self._large_frame = replace(frame, zoom=zoom)
        sam = copy(plain.sam)  # all parts are shared but the frame
        sam.frame = self._large_frame
        self.name, self.sha256, self.precision = plain.name, plain.sha256, plain.precision
        self.tile_px, self.everything = plain.tile_px, plain.everything
        self.large = Model(
            sam, name=self.name, sha256=self.sha256, device=plain.device, precision=plain.precision, spec=plain.spec
        )

    def __repr__(self) -> str:
        return repr(self.plain)

    @overload
    def encode(self, image: NDArray[np.uint8]) -> PyramidEmbedding: ...
    @overload
    def encode(self, image: Sequence[NDArray[np.uint8]]) -> list[PyramidEmbedding]: ...
    def encode(
        self, image: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
    ) -> PyramidEmbedding | list[PyramidEmbedding]:
        """Encode one (H, W, 3) uint8 RGB image, or a list of images to a list of embeddings.

        Raises ModelError for an array of another shape or type.
        """
        if not isinstance(image, np.ndarray):
            return [self.encode(one) for one in image]
        return PyramidEmbedding(plain=self.plain.encode(image), image=image.copy())  # the caller's may change

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]) -> PyramidEmbedding:
        """The embedding whose `arrays()` these are; `shape` is the (H, W) of its image."""
        features = {name: array for name, array in arrays.items() if name != "image"}
        return PyramidEmbedding(plain=self.plain.restore(features, shape), image=np.asarray(arrays["image"], np.uint8))

    def decode(self, embedding: PyramidEmbedding, prompts: PixelPrompts, *, multimask: bool = True) -> MergedMasks:
        """Masks for each of N prompted objects: M = 3 with `multimask` (ambiguity-aware), else M = 1.

        As `glance`; and with clicks alone the best mask of each object is drawn again, as if it were an earlier one.
        """
        first = self.glance(embedding, prompts, multimask=multimask)
        if prompts.boxes is not None or prompts.masks is not None or not len(prompts):
            return first
        everyone, best = np.arange(len(prompts)), first.scores.argmax(axis=1)
        keep = np.arange(first.scores.shape[1]) == best[:, None]  # (N, M)
        again = self.glance(embedding, replace(prompts, masks=first[keep].logits[:, 0]), multimask=False)
        chosen = np.arange(keep.size).reshape(keep.shape)
        chosen[keep] = keep.size + everyone
        return MergedMasks(
            [Answer(objects=everyone, masks=masks) for masks in (first, again)],
            chosen,
            size=self._large_frame.logits_size(embedding.shape),
            scores=first.scores,  # a mask that was told of itself is too sure of itself
        )

    def glance(self, embedding: PyramidEmbedding, prompts: PixelPrompts, *, multimask: bool = True) -> MergedMasks:
        """As `decode`, at one look.

        An object with a box or an earlier mask is asked for at the size that suits it, one with clicks alone at the
        plain size first, and at both if that is unsure; of both, the best masks that differ are given, best first.
        Raises PromptError for coordinates that are not finite, or masks of another size than `logits` have.
        """
        size = self._large_frame.logits_size(embedding.shape)
        if prompts.masks is not None and prompts.masks.shape[1:] != size:
            raise PromptError(f"mask prompts of {prompts.masks.shape[1:]}: expected logits of {size}")
        extent = _extents_px(prompts, cell_px=LOGIT_PX / self.zoom)  # (N,)
        at_plain = np.flatnonzero(~(extent < SMALL_PX))
        reduced = prompts[at_plain]
        if reduced.masks is not None:
            reduced = replace(reduced, masks=self._reduce(reduced.masks, embedding.plain.features.logits_size))
        answers: list[Answer] = []
        closer = extent < SMALL_PX
        if at_plain.size or not len(prompts):
            never = np.zeros(at_plain.size, dtype=bool)
            _, plain = decode_nearby(self.plain, embedding.plain, reduced, multimask=multimask, small=never)
            answers.append(Answer(objects=at_plain, masks=plain, times=self.zoom))
            closer[at_plain] = np.isnan(extent[at_plain]) & (plain.scores <= UNSURE).all(axis=1)
        at_large = np.flatnonzero(closer)
        if at_large.size:
            if not embedding.enlarged:
                embedding.enlarged.append(self.large.encode(embedding.image))
            answered, large = decode_nearby(
                self.large,
                embedding.enlarged[0],
                prompts[at_large],
                multimask=multimask,
                small=np.isin(at_large, at_plain),
            )
            if answered.size or not answers:
                answers.append(Answer(objects=at_large[answered], masks=large))
        chosen = _best(answers, objects=len(prompts), count=3 if multimask else 1, zoom=self.zoom)
        return MergedMasks(answers, chosen, size=size)

    @property
    def classes(self) -> tuple[str, ...]:
        """What it tells apart; empty for weights without a class head."""
        return () if self.plain.sam.class_head is None else CLASSES

    def name_masks(self, embedding: PyramidEmbedding, masks: Sequence[Mask]) -> list[Mask]:
        """Masks in pixels of the encoded image, with `label` and `label_score`; None where no class is likely."""
        if self.plain.sam.class_head is None:
            return list(masks)
        chances = classify(self.plain.sam.class_head, embedding.plain.features, masks)  # (N, classes)
        likeliest = zip(chances.argmax(axis=1).tolist(), chances.max(axis=1).tolist(), strict=True)
        return [
            replace(
                mask, label=CLASSES[k] if chance >= LIKELY else None, label_score=chance if chance >= LIKELY else 0.0
            )
            for mask, (k, chance) in zip(masks, likeliest, strict=True)
        ]

    def _reduce(self, logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """(N, h, w) logits of the large image -> (N, *size) of the plain one."""
        missing = [times * self.zoom - have for times, have in zip(size, logits.shape[1:], strict=True)]
        padded = F.pad(torch.from_numpy(logits)[:, None], (0, missing[1], 0, missing[0]), mode="replicate")
        return F.avg_pool2d(padded, self.zoom)[:, 0].numpy()


def _best(answers: Sequence[Answer], *, objects: int, count: int, zoom: int) -> NDArray[np.intp]:
    """(N, count) the best masks of each object that differ, best first, counted through all answers."""
    places = np.full((objects, len(answers) * count), -1, dtype=np.intp)
    scores = np.full(places.shape, -np.inf, dtype=np.float32)
    start = 0
    for k, answer in enumerate(answers):
        rows, masks = answer.objects, answer.masks
        columns = slice(k * count, (k + 1) * count)
        places[rows, columns] = start + np.arange(masks.scores.size).reshape(masks.scores.shape)
        scores[rows, columns] = masks.scores
        start += masks.scores.size
    order = np.argsort(-scores, axis=1, kind="stable")
    if count > 1 and len(answers) > 1:
        twice = np.flatnonzero((places >= 0).all(axis=1))
        for n, alike in zip(twice, _alike(answers, twice, zoom), strict=True):
            order[n] = _differing_first(order[n], alike)
    return np.take_along_axis(places, order[:, :count], axis=1)


def _differing_first(order: NDArray[np.intp], alike: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Candidates that are like a better one, after the others."""
    kept: list[int] = []
    for k in order:
        if not alike[k, kept].any():
            kept.append(int(k))
    return np.array([*kept, *(k for k in order if k not in kept)], dtype=np.intp)


def _alike(answers: Sequence[Answer], objects: NDArray[np.intp], zoom: int) -> Iterator[NDArray[np.bool_]]:
    """(2 M, 2 M) whether two candidates of an object are alike, for each of the objects that both answers hold."""
    at = [np.searchsorted(answer.objects, objects) for answer in answers]
    for some in (slice(start, start + COMPARED_AT_ONCE) for start in range(0, objects.size, COMPARED_AT_ONCE)):
        plain, large = (_drawn(answer, rows[some]) for answer, rows in zip(answers, at, strict=True))
        height, width = plain.shape[-2:]
        missing = zoom * height - large.shape[-2], zoom * width - large.shape[-1]
        large = (F.avg_pool2d(F.pad(large, (0, missing[1], 0, missing[0])), zoom) >= 0.5).float()
        cells = torch.cat([plain, large], dim=1).flatten(2)  # (n, 2 M, h w)
        common = cells @ cells.transpose(1, 2)  # (n, 2 M, 2 M)
        area = cells.sum(dim=2)
        yield from (common > ALIKE * (area[:, :, None] + area[:, None] - common)).numpy()


def _drawn(answer: Answer, rows: NDArray[np.intp]) -> Tensor:
    """(n, M, h, w) 1 inside of the masks of some objects, 0 outside."""
    keep = np.zeros(answer.masks.scores.shape, dtype=bool)
    keep[rows] = True
    inside = torch.from_numpy(answer.masks[keep].logits[:, 0] > 0)  # (n M, h, w)
    return inside.float().reshape(len(rows), -1, *inside.shape[1:])


def _extents_px(prompts: PixelPrompts, *, cell_px: float) -> NDArray[np.float64]:
    """(N,) longer sides of the boxes, or of the earlier masks, in pixels of the image; NaN where neither says."""
    if prompts.boxes is not None:
        corners, times = prompts.boxes.reshape(-1, 2, 2).astype(np.float64), 1.0
    elif prompts.masks is not None:
        corners, times = mask_corners(prompts.masks), cell_px
    else:
        return np.full(len(prompts), np.nan)
    return np.asarray(np.abs(corners[:, 1] - corners[:, 0]).max(axis=1) * times)
