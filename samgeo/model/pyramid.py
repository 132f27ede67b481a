"""A model that looks at an image at three sizes: as it is, enlarged for the small, and reduced for the large.

Something of twenty pixels is a cell or two of an embedding of stride 16, and little of it is left to draw; something of
two hundred is more than the attention windows of a small encoder see at once. So a small box is answered from the
image at twice its size, by the same network, and a click, which may mean either, at all sizes. Images of other sizes
are encoded when a prompt first asks for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from samgeo.errors import PromptError
from samgeo.model.classes import classify
from samgeo.model.frame import LOGIT_PX, NativeFrame
from samgeo.model.likeness import STRIDE_PX, standing_out
from samgeo.model.mask_decoder import EVERY_MASK, MULTIMASK, SINGLE
from samgeo.model.merged import Answer, MergedMasks
from samgeo.model.nearby import decode_nearby, mask_corners
from samgeo.model.predict import ImageEmbedding, Model
from samgeo.model.vocabulary import CLASSES
from samgeo.pixels import Mask, PixelPrompts

SMALL_PX = 48
"""An object is small if the longer side of its box is below this, in pixels of the image."""
UNSURE, UNSURE_BOX = 0.4, 0.55
"""An answer to a click at a glance, and one to a box, is unsure if none of its scores is above this."""
LIKELY = 0.5
"""A mask gets the name of its likeliest class if that is at least this probable."""
SPREAD = 0.15
"""Of the candidates for an object, one whose score is lower by this is e times less likely the right one."""
COMPARED_AT_ONCE = 16
"""The candidates of so many objects are drawn together to be compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PyramidEmbedding:
    """What the encoder made of an image as it is, and the image itself, to be encoded at other sizes."""

    plain: ImageEmbedding
    """Of the image as it is."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    others: dict[float, ImageEmbedding] = field(default_factory=dict)
    """Of the image at other sizes, by zoom; none until it is asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the image, in pixels."""
        return self.plain.shape

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As of the plain embedding, and the image."""
        return {**self.plain.arrays(), "image": self.image}


class PyramidModel:
    """A network asked at three sizes; fulfils `contract.PromptableModel`."""

    def __init__(self, plain: Model, zoom: int) -> None:
        """plain: of a network that sees images as they are. zoom: the largest size, and 1 / the smallest."""
        self.plain, self.zoom = plain, zoom
        self.name, self.sha256, self.precision = plain.name, plain.sha256, plain.precision
        self.tile_px, self.everything = plain.tile_px, plain.everything
        self.large, self.reduced = (_at_zoom(plain, times) for times in (zoom, 1 / zoom))
        self._sizes: dict[float, Model] = {1: plain, zoom: self.large, 1 / zoom: self.reduced}

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

        An object with a box or an earlier mask is asked for at the size that suits it. One with clicks alone, or a box
        whose answer is unsure, is asked for at all sizes, and of all masks come those that tell most of what it may be,
        see `_telling`. Raises PromptError for coordinates that are not finite, or masks of another size than `logits`
        have.
        """
        if prompts.boxes is None and prompts.masks is None:
            return self._by_clicks(embedding, prompts, EVERY_MASK if multimask else SINGLE, unsure=math.inf)
        return self._by_extent(embedding, prompts, MULTIMASK if multimask else SINGLE)

    def glance(self, embedding: PyramidEmbedding, prompts: PixelPrompts) -> MergedMasks:
        """Three masks for each of N objects that are clicked at, enlarged only where that may help."""
        return self._by_clicks(embedding, prompts, MULTIMASK, unsure=UNSURE)

    def details(self, embedding: PyramidEmbedding, valid: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
        """Where something small stands out: (n, 2) x,y, at most `count`. valid: (H, W)."""
        units = embedding.plain.features.units
        assert units is not None
        h, w = units.shape[-2:]
        seen = np.zeros((h * STRIDE_PX, w * STRIDE_PX), np.float32)
        seen[: valid.shape[0], : valid.shape[1]] = valid
        cells = F.avg_pool2d(torch.from_numpy(seen)[None, None].to(units.device), STRIDE_PX)[0, 0]
        return standing_out(units, cells, count).cpu().numpy()

    def _by_clicks(
        self, embedding: PyramidEmbedding, prompts: PixelPrompts, which: slice, *, unsure: float
    ) -> MergedMasks:
        """At the two smaller sizes, and at the largest where no score is above `unsure`."""
        everyone = np.arange(len(prompts))
        answers = [self._ask(zoom, embedding, prompts, everyone, which) for zoom in (1, 1 / self.zoom)]
        closer = np.flatnonzero(np.max([answer.masks.scores.max(axis=1) for answer in answers], axis=0) <= unsure)
        if closer.size:
            answers.append(self._ask(self.zoom, embedding, prompts, closer, which, optional=True))
        return self._merged(answers, embedding, objects=len(prompts), which=which)

    def _by_extent(self, embedding: PyramidEmbedding, prompts: PixelPrompts, which: slice) -> MergedMasks:
        """At the size that suits the box or the earlier mask of each, and at the others where a box alone is unsure."""
        size = self._logits_size(embedding)
        if prompts.masks is not None and prompts.masks.shape[1:] != size:
            raise PromptError(f"mask prompts of {prompts.masks.shape[1:]}: expected logits of {size}")
        small = _extents_px(prompts, cell_px=LOGIT_PX / self.zoom) < SMALL_PX  # (N,)
        sizes = np.where(small, self.zoom, 1.0)  # (N,)
        answers = [
            self._ask(zoom, embedding, prompts, np.flatnonzero(sizes == zoom), which)
            for zoom in (1, self.zoom)
            if (sizes == zoom).any() or (zoom == 1 and not len(prompts))
        ]
        if prompts.masks is None:
            unsure = np.sort(np.concatenate([a.objects[(a.masks.scores <= UNSURE_BOX).all(axis=1)] for a in answers]))
            others = [(zoom, unsure[sizes[unsure] != zoom]) for zoom in self._sizes]
            answers += [
                self._ask(zoom, embedding, prompts, some, which, optional=True) for zoom, some in others if some.size
            ]
        return self._merged(answers, embedding, objects=len(prompts), which=which)

    def _ask(
        self,
        zoom: float,
        embedding: PyramidEmbedding,
        prompts: PixelPrompts,
        objects: NDArray[np.intp],
        which: slice,
        *,
        optional: bool = False,
    ) -> Answer:
        """What is seen of some objects at one size. which: see `Model.answer`.

        optional: enlarged, only of those that a window holds.
        """
        model = self._sizes[zoom]
        if zoom == 1:
            seen = embedding.plain
        else:
            if zoom not in embedding.others:
                embedding.others[zoom] = model.encode(embedding.image)
            seen = embedding.others[zoom]
        asked, times = prompts[objects], round(self.zoom / zoom)
        if asked.masks is not None and times > 1:
            asked = replace(asked, masks=_reduce(asked.masks, seen.features.logits_size, times=times))
        small = np.full(objects.size, optional and zoom > 1)
        answered, masks = decode_nearby(model, seen, asked, which, small=small)
        return Answer(objects=objects[answered], masks=masks, times=times)

    def _merged(
        self, answers: Sequence[Answer], embedding: PyramidEmbedding, *, objects: int, which: slice
    ) -> MergedMasks:
        """The masks that tell most of each object, of all answers: one where one was asked for, else three."""
        count, size = 1 if which == SINGLE else 3, embedding.plain.features.logits_size
        chosen = _choose(answers, objects=objects, count=count, size=size, times=self.zoom)
        return MergedMasks(answers, chosen, size=self._logits_size(embedding))

    def _logits_size(self, embedding: PyramidEmbedding) -> tuple[int, int]:
        frame = self.large.sam.frame
        assert isinstance(frame, NativeFrame)
        return frame.logits_size(embedding.shape)

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


def _at_zoom(plain: Model, zoom: float) -> Model:
    """The same network, all parts shared but the frame."""
    sam = copy(plain.sam)
    assert isinstance(sam.frame, NativeFrame)
    sam.frame = replace(sam.frame, zoom=zoom)
    return Model(
        sam, name=plain.name, sha256=plain.sha256, device=plain.device, precision=plain.precision, spec=plain.spec
    )


def _reduce(logits: NDArray[np.float32], size: tuple[int, int], *, times: int) -> NDArray[np.float32]:
    """(N, h, w) logits of the large image -> (N, *size) of one so many times smaller."""
    missing = [side * times - have for side, have in zip(size, logits.shape[1:], strict=True)]
    padded = F.pad(torch.from_numpy(logits)[:, None], (0, missing[1], 0, missing[0]), mode="replicate")
    return F.avg_pool2d(padded, times)[:, 0].numpy()


def _choose(
    answers: Sequence[Answer], *, objects: int, count: int, size: tuple[int, int], times: int
) -> NDArray[np.intp]:
    """Which `count` of all candidates each object gets, (N, count) through all answers, the surest first.

    They are compared on a grid of `size` (h, w), whose cells are so many `times` those of the whole's logits.
    """
    places = np.full((objects, sum(answer.masks.scores.shape[1] for answer in answers)), -1, dtype=np.intp)
    scores = np.full(places.shape, -np.inf, dtype=np.float32)
    start = 0
    for columns, answer in _columns(answers):
        rows, own = answer.objects, answer.masks.scores
        places[rows, columns] = start + np.arange(own.size).reshape(own.shape)
        scores[rows, columns] = own
        start += own.size
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    several = np.flatnonzero((count > 1) & ((places >= 0).sum(axis=1) > count))  # the surest alone needs no comparison
    for some in (several[k : k + COMPARED_AT_ONCE] for k in range(0, several.size, COMPARED_AT_ONCE)):
        order[some] = _telling(scores[some], _overlaps(answers, some, size, times), count)
    return np.take_along_axis(places, order, axis=1)


def _columns(answers: Sequence[Answer]) -> Iterator[tuple[slice, Answer]]:
    """Where the masks of each answer are among all candidates for an object."""
    first = 0
    for answer in answers:
        count = answer.masks.scores.shape[1]
        yield slice(first, first + count), answer
        first += count


def _telling(scores: NDArray[np.float32], overlaps: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Which `count` of K candidates tell most of what an object may be: (n, count) places, the surest first.

    scores: (n, K), -inf where there is none. overlaps: (n, K, K) IoU. Were one of the candidates right, each as likely
    as its score says, each that follows adds most to the expected IoU of the best of those that were taken.
    """
    chance = np.exp((scores - scores.max(axis=1, keepdims=True)) / SPREAD)
    taken: NDArray[np.intp] = scores.argmax(axis=1)[:, None]
    everyone, absent, covered = np.arange(len(scores)), np.isneginf(scores), np.zeros_like(scores)
    while taken.shape[1] < count:
        absent[everyone, taken[:, -1]] = True
        covered = np.maximum(covered, overlaps[everyone, taken[:, -1]])
        gain = np.einsum("nkj,nj->nk", np.maximum(covered[:, None], overlaps), chance)
        taken = np.concatenate([taken, np.where(absent, -1, gain).argmax(axis=1)[:, None]], axis=1)
    return taken


def _overlaps(
    answers: Sequence[Answer], objects: NDArray[np.intp], size: tuple[int, int], times: int
) -> NDArray[np.float32]:
    """(n, K, K) IoU of each two candidates for some objects; 0 where one is empty or there is none."""
    inside = torch.zeros(objects.size, sum(answer.masks.scores.shape[1] for answer in answers), *size)
    for columns, answer in _columns(answers):
        own = np.flatnonzero(np.isin(objects, answer.objects))
        keep = np.zeros(answer.masks.scores.shape, dtype=bool)
        keep[np.searchsorted(answer.objects, objects[own])] = True
        logits = answer.masks[keep].logits[:, 0]  # (n' M, h', w')
        drawn = torch.from_numpy(_reduce(logits, size, times=times // answer.times) if answer.times < times else logits)
        if answer.times > times:
            larger = F.interpolate(drawn[:, None], scale_factor=answer.times / times, mode="bilinear")
            drawn = larger[:, 0, : size[0], : size[1]]
        inside[own, columns] = (drawn > 0).float().unflatten(0, (own.size, columns.stop - columns.start))
    cells = inside.flatten(2)  # (n, K, h w)
    common, area = cells @ cells.transpose(1, 2), cells.sum(dim=2)
    return (common / (area[:, :, None] + area[:, None] - common).clamp(min=1)).numpy()


def _extents_px(prompts: PixelPrompts, *, cell_px: float) -> NDArray[np.float64]:
    """(N,) longer sides of the boxes, or of the earlier masks, in pixels of the image; NaN for empty masks."""
    if prompts.boxes is not None:
        corners, times = prompts.boxes.reshape(-1, 2, 2).astype(np.float64), 1.0
    else:
        assert prompts.masks is not None
        corners, times = mask_corners(prompts.masks), cell_px
    return np.asarray(np.abs(corners[:, 1] - corners[:, 0]).max(axis=1) * times)
