"""The model contract fulfilled by a network: encode an image once, decode prompts many times.

Ranking the masks of a prompt costs little and drawing them costs much, so `decode` ranks and `NetworkMasks` draws only
what is asked for, unless the network judges masks by what was drawn. Decoding sees an embedding as a cache would store
it, in 16 bit, or in 32 with `precision="exact"`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samgeo.model.frame import Frame, NativeFrame
from samgeo.model.mask_decoder import MULTIMASK, NUM_MASKS, SINGLE, Attended, HighRes
from samgeo.model.running import Running
from samgeo.model.sam import Features, Sam
from samgeo.model.sam2 import stable_or_best
from samgeo.model.scoring import MaskScorer, describe
from samgeo.model.transformer import Places
from samgeo.pixels import Mask, PixelPrompts

CELLS_AT_ONCE = 2**14
"""Cells of the embedding, of all objects that are decoded together: few enough to stay in a processor's cache ..."""
CELLS_AT_ONCE_ON_A_CARD = 2**18
"""... and enough for a graphics card."""

SIZES = 4
"""So many sizes of embeddings have their cells' positions kept: a tile, a window of it, and those of other zooms."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageEmbedding:
    """The features of one image as the decoder reads them."""

    features: Features
    """Each (1, C, h, w), in the precision of storage."""
    shape: tuple[int, int]
    """(H, W) of the image, in pixels."""
    patches: list[HighRes] = field(default_factory=list)
    """The features of finer strides as `MaskDecoder.in_patches` gives them; empty until masks are drawn."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays (C, h, w), float16 or float32: what a cache stores."""
        named = self.features._asdict().items()
        return {name: value[0].cpu().numpy() for name, value in named if value is not None}


class Model(Running[Sam]):
    """A network with its name, device and precision; fulfils `contract.PromptableModel`."""

    @overload
    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding: ...
    @overload
    def encode(self, image: Sequence[NDArray[np.uint8]]) -> list[ImageEmbedding]: ...
    def encode(self, image: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> ImageEmbedding | list[ImageEmbedding]:
        """Encode one (H, W, 3) uint8 RGB image, or a list of images to a list of embeddings.

        Raises ModelError for an array of another shape or type.
        """
        if not isinstance(image, np.ndarray):
            return [self.encode(one) for one in image]
        features = self.look(image, self.sam.encode)
        stored = Features(
            **{k: v.to(self._stored).contiguous() for k, v in features._asdict().items() if v is not None}
        )
        return ImageEmbedding(features=stored, shape=(image.shape[0], image.shape[1]))

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]) -> ImageEmbedding:
        """The embedding whose `arrays()` these are; `shape` is the (H, W) of its image."""
        tensors = {name: self.tensor(np.array(a))[None] for name, a in arrays.items()}
        return ImageEmbedding(features=Features(**tensors), shape=shape)

    def decode(self, embedding: ImageEmbedding, prompts: PixelPrompts, *, multimask: bool = True) -> NetworkMasks:
        """Masks for each of N prompted objects: M = 3 with `multimask` (ambiguity-aware), else M = 1.

        Raises PromptError for coordinates that are not finite, or masks of another size than `logits` have.
        """
        return self.answer(embedding, prompts, MULTIMASK if multimask else SINGLE)

    def answer(self, embedding: ImageEmbedding, prompts: PixelPrompts, which: slice) -> NetworkMasks:
        """As `decode`; which: of the four masks of each object."""
        stored = embedding.features
        units = None if stored.units is None else stored.units.to(self._computed)
        features = stored._replace(stride16=stored.stride16.to(self._computed), units=units)
        points, labels, boxes, earlier = self.in_frame(prompts, embedding.shape, embedding.features.logits_size)
        clicks, kinds = self.sam.list_prompts(points, labels, boxes)
        attended, maps = self._attend(features, clicks, kinds, earlier)
        masks = NetworkMasks(
            model=self,
            embedding=embedding,
            attended=attended,
            maps=maps,
            rows=torch.arange(len(prompts)),
            chosen=torch.arange(NUM_MASKS).expand(len(prompts), -1),
            scores=attended.iou.float().cpu().numpy(),
        )
        asked = masks.columns(which)
        if self.sam.mask_scorer is not None:
            asked.scores = self._judge(self.sam.mask_scorer, asked, clicks, kinds)
        elif self.sam.stable_or_best and which == SINGLE:
            return masks[stable_or_best(masks.unrefined, masks.scores)]
        return asked

    def in_patches(self, embedding: ImageEmbedding) -> HighRes | None:
        """The features of finer strides as the mask decoder adds them, put into that order once for each image."""
        finer = embedding.features.high_res
        if not embedding.patches and finer is not None:
            with torch.inference_mode(), self.numerics():
                patches = self.sam.mask_decoder.in_patches(tuple(one.to(self._computed) for one in finer))
            assert patches is not None
            embedding.patches.append(patches)
        return embedding.patches[0] if embedding.patches else None

    def _attend(
        self, features: Features, points: Tensor, labels: Tensor, earlier: Tensor | None
    ) -> tuple[Attended, Tensor | None]:
        """What the transformer makes of N objects' prompts, some at a time, and the maps that go with them."""
        parts: list[tuple[Tensor | None, ...]] = []
        with torch.inference_mode(), self.numerics():
            places = self._located(features.stride16)
            for part in self.parts(max(1, len(points)), features):
                masks = None if earlier is None else earlier[part]
                sparse, dense, maps = self.sam.embed_prompts(features, points[part], labels[part], masks)
                parts.append((*self.sam.mask_decoder.attend(features.stride16, places, sparse, dense), maps))
        tokens, src, iou, object_score, together = map(_joined, zip(*parts, strict=True))
        assert tokens is not None
        assert src is not None
        assert iou is not None
        return Attended(tokens, src, iou, object_score), together

    def forget(self) -> None:
        """Drop what was made of the weights, which have changed since."""
        self._places = {}

    @cached_property
    def _places(self) -> dict[tuple[int, ...], Places]:
        """What `Sam.locate` says of the sizes of embeddings that were new last."""
        return {}

    def _located(self, stride16: Tensor) -> Places:
        size = tuple(stride16.shape[-2:])
        places = self._places.get(size)
        if places is None:
            places = self.sam.locate(stride16)
            self._places = dict([*self._places.items(), (size, places)][-SIZES:])
        return places

    def parts(self, count: int, features: Features) -> Iterator[slice]:
        """Some of `count` objects in an image at a time, as many as are decoded together."""
        at_once = CELLS_AT_ONCE if self.device.type == "cpu" else CELLS_AT_ONCE_ON_A_CARD
        step = max(1, at_once // math.prod(features.stride16.shape[-2:]))
        return (slice(start, start + step) for start in range(0, count, step))

    def _judge(self, scorer: MaskScorer, masks: NetworkMasks, points: Tensor, labels: Tensor) -> NDArray[np.float32]:
        """(N, M) scores of masks by what they look like; draws them."""
        units, tokens = masks.features.units, masks.tokens
        frame = self.sam.frame
        assert units is not None
        assert isinstance(frame, NativeFrame)
        scores = np.empty_like(masks.scores)
        for part in self.parts(len(scores), masks.features):
            logits, predicted = (self.tensor(a[part]) for a in (masks.logits, masks.scores))
            with torch.inference_mode():
                facts = describe(logits, predicted, units, points[part], labels[part], zoom=frame.zoom)
                scores[part] = scorer(facts, tokens[part]).cpu().numpy()
        return scores


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Parts of a batch along their first axis; None if the network has no such thing."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


class NetworkMasks:
    """The masks of N objects, M for each, drawn when they are asked for; fulfils `contract.DecodedMasks`."""

    def __init__(
        self,
        *,
        model: Model,
        embedding: ImageEmbedding,
        attended: Attended,
        maps: Tensor | None,
        rows: Tensor,
        chosen: Tensor,
        scores: NDArray[np.float32],
        drawn: NDArray[np.float32] | None = None,
    ) -> None:
        """attended, maps: of P prompts. rows: (N,) index them, in order. chosen: (N, M) index the 4 masks of each.

        drawn: (N, M, h, w) logits, if they are drawn already.
        """
        self.scores = scores
        self._model, self._embedding = model, embedding
        self._attended, self._maps, self._rows, self._chosen = attended, maps, rows, chosen
        self._drawn = drawn

    def __getitem__(self, keep: NDArray[np.bool_]) -> NetworkMasks:
        """The masks where `keep` (N, M) is True, as N' objects of one mask each, in row-major order."""
        kept = torch.from_numpy(keep)
        return self._some(
            rows=self._rows[:, None].expand(-1, keep.shape[1])[kept],
            chosen=self._chosen[kept][:, None],
            scores=self.scores[keep][:, None],
            drawn=None if self._drawn is None else self._drawn[keep][:, None],
        )

    def columns(self, part: slice) -> NetworkMasks:
        """Some of the masks of each object."""
        drawn = None if self._drawn is None else self._drawn[:, part]
        return self._some(rows=self._rows, chosen=self._chosen[:, part], scores=self.scores[:, part], drawn=drawn)

    def _some(
        self, *, rows: Tensor, chosen: Tensor, scores: NDArray[np.float32], drawn: NDArray[np.float32] | None
    ) -> NetworkMasks:
        return NetworkMasks(
            model=self._model,
            embedding=self._embedding,
            attended=self._attended,
            maps=self._maps,
            rows=rows,
            chosen=chosen,
            scores=scores,
            drawn=drawn,
        )

    @property
    def features(self) -> Features:
        """Of the image, as stored."""
        return self._embedding.features

    @property
    def tokens(self) -> Tensor:
        """(N, M, C), the mask tokens."""
        return self._attended.tokens[self._rows[:, None], self._chosen]

    @property
    def logits(self) -> NDArray[np.float32]:
        """(N, M, h, w), above 0 is object; a quarter of the network's frame, as a mask prompt takes them back."""
        limit = self._model.sam.logit_limit
        return self._raw if limit is None else self._raw.clip(-limit, limit)

    @property
    def _raw(self) -> NDArray[np.float32]:
        """(N, M, h, w) logits as drawn."""
        if self._drawn is None:
            self._drawn = self._all(refined=True)
        return self._drawn

    @property
    def unrefined(self) -> NDArray[np.float32]:
        """(N, M, h, w) logits without what a decoder adds that `refines`."""
        return self._all(refined=False) if self._model.sam.mask_decoder.refines else self._raw

    def _all(self, *, refined: bool) -> NDArray[np.float32]:
        """(N, M, h, w) logits. Each prompt is upscaled once, however many of its masks are asked for."""
        decoder, features, src = self._model.sam.mask_decoder, self.features, self._attended.src
        drawn = np.empty((*self.scores.shape, *features.logits_size), np.float32)
        prompts, counts = self._rows.unique_consecutive(return_counts=True)
        with torch.inference_mode(), self._model.numerics():
            finer = self._model.in_patches(self._embedding)
            start = 0
            for part in self._model.parts(len(prompts), features):
                own = slice(start, start + int(counts[part].sum()))  # the n objects of p prompts
                start, rows, chosen = own.stop, self._rows[own], self._chosen[own]
                upscaled = decoder.upscale(src[prompts[part]], finer)  # (p, 16 h w, C4)
                if len(rows) > len(upscaled):
                    upscaled = upscaled.repeat_interleave(counts[part].to(upscaled.device), dim=0)  # (n, 16 h w, C4)
                weights = decoder.weights(self._attended.tokens[rows], refined=refined)  # (n, 4, P)
                picked = weights[torch.arange(len(rows))[:, None], chosen]  # (n, M, P)
                maps = None if self._maps is None else self._maps[rows]
                logits = decoder.draw(picked, upscaled, src.shape[1:3], features.units, maps)  # (n, M, 4h, 4w)
                drawn[own] = logits.float().cpu().numpy()
        return drawn

    def to_masks(self) -> list[list[Mask]]:
        """N lists of M full-size masks in the pixels of the image, with score and stability."""
        frame, shape = self._model.sam.frame, self._embedding.shape
        return [
            [full_size(frame, logits, float(score), shape) for logits, score in zip(*row, strict=True)]
            for row in zip(self._raw, self.scores, strict=True)
        ]


def full_size(frame: Frame, logits: NDArray[np.float32], score: float, shape: tuple[int, int]) -> Mask:
    """One mask's logits (h, w) at the size of the image (H, W), cut at 0 and cropped to the object."""
    if not (logits > -1).any():
        return cut_out(logits[:0, :0], 0, 0, score=score)
    fine, row, col = frame.to_image(torch.from_numpy(logits), shape)
    return cut_out(fine.numpy(), row, col, score=score)


def cut_out(values: NDArray[np.float32], row: int, col: int, *, score: float) -> Mask:
    """The mask of logits in pixels of the image, which start at `row`, `col`: cut at 0 and cropped to the object.

    Stability is the IoU of the cuts at +1 and -1, as in SAM's automatic mask generator.
    """
    loose = np.count_nonzero(values > -1)
    stability = np.count_nonzero(values > 1) / loose if loose else 0.0
    mask = Mask.from_array(values > 0, score=score, stability=float(stability))
    return mask if mask.window.is_empty else mask.shift(row, col)
