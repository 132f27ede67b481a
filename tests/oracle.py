"""The oracle: scenes whose true objects are written in their colours, and a model that reads them from there.

An image of a scene has one colour for each cell of overlapping objects; a table leads from the colour to the objects.
The model sees nothing but the pixels of a window, and its masks are the true objects cut to that window. Whatever
tiling, stitching, vectorizing, caching or a face does wrong shows as a pixel. NumPy and SciPy only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast, overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.errors import PromptError, UsageError
from samgeo.model.automatic import EverythingSettings
from samgeo.model.contract import Embedding
from samgeo.pixels import BACKGROUND, FOREGROUND, Mask, PixelPrompts

Bool = NDArray[np.bool_]
LOGIT = 10.0
"""Logit of a pixel on an object; beside it the negative."""


def code_of(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(H, W) 24-bit numbers of the colours of an (H, W, 3) image."""
    red, green, blue = (image[..., band].astype(np.int64) for band in range(3))
    return (red << 16) | (green << 8) | blue


@dataclass(frozen=True, kw_only=True, eq=False)
class OracleScene:
    """A picture and what is in it."""

    image: NDArray[np.uint8] = field(repr=False)
    """(H, W, 3) RGB: one colour for each set of objects that share a pixel; never black, which is left for nodata."""
    objects_of: Mapping[int, tuple[int, ...]] = field(repr=False)
    """Colour (24-bit number) to the indices of the objects on it."""
    masks: tuple[Bool, ...]
    """The true objects, (H, W) each."""

    @classmethod
    def from_masks(cls, masks: Sequence[Bool], shape: tuple[int, int]) -> OracleScene:
        """Paint the objects: `masks` are (H, W) each, and `shape` is (H, W)."""
        stack = np.array([*masks, np.ones(shape, dtype=bool)])  # the last one keeps the stack from being empty
        bits = np.ascontiguousarray(np.packbits(stack, axis=0).reshape(-1, shape[0] * shape[1]).T)
        cells, first, cell_of = np.unique(bits, axis=0, return_index=True, return_inverse=True)
        codes = ((np.arange(len(cells), dtype=np.int64) + 1) * 0x9E3779B1) & 0xFFFFFF  # an odd factor: no two alike
        members = stack[:-1].reshape(len(masks), -1)[:, first]
        table = {int(c): tuple(np.flatnonzero(members[:, k]).tolist()) for k, c in enumerate(codes)}
        code = codes[cell_of.reshape(shape)]
        image = np.stack([code >> 16, code >> 8, code], axis=-1).astype(np.uint8)
        return cls(image=image, objects_of=table, masks=tuple(masks))


@dataclass(frozen=True, kw_only=True, eq=False)
class OracleEmbedding:
    """The colours of one window; what the model needs is worked out when it is asked for."""

    colours: NDArray[np.uint8]
    """(H, W, 3)."""
    objects_of: Mapping[int, tuple[int, ...]]
    """The scene's table."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.colours.shape[0], self.colours.shape[1]

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The colours; integers, so that a cache of 16-bit floats cannot alter them."""
        return {"colours": self.colours}

    @cached_property
    def pieces(self) -> list[tuple[int, Bool]]:
        """(object, connected part of it inside the window) for every part, by object and then row-major."""
        codes, cell_of = np.unique(code_of(self.colours), return_inverse=True)
        members: dict[int, list[int]] = {}
        for cell, code in enumerate(codes):
            for number in self.objects_of.get(int(code), ()):
                members.setdefault(number, []).append(cell)
        found: list[tuple[int, Bool]] = []
        for number in sorted(members):
            inside = np.isin(cell_of.reshape(self.shape), members[number])
            parts, count = ndimage.label(inside)
            found += [(number, parts == part) for part in range(1, count + 1)]
        return found

    @cached_property
    def wholes(self) -> list[Bool]:
        """Every object of the window with all its parts."""
        objects: dict[int, Bool] = {}
        for number, piece in self.pieces:
            objects[number] = objects[number] | piece if number in objects else piece
        return list(objects.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class OracleMasks:
    """What the oracle proposes for N prompted objects, M for each."""

    pixels: Bool
    """(N, M, H, W)."""
    scores: NDArray[np.float32]
    """(N, M): 1 for an object, 0 where there is none."""

    @property
    def logits(self) -> NDArray[np.float32]:
        """(N, M, H, W) at the resolution of the window: +10 or -10."""
        return np.where(self.pixels, np.float32(LOGIT), np.float32(-LOGIT))

    def __getitem__(self, keep: Bool) -> OracleMasks:
        return OracleMasks(pixels=self.pixels[keep][:, None], scores=self.scores[keep][:, None])

    def to_masks(self) -> list[list[Mask]]:
        """N lists of M masks in the pixels of the window."""
        return [
            [Mask.from_array(pixels, score=float(score)) for pixels, score in zip(row, scores, strict=True)]
            for row, scores in zip(self.pixels, self.scores, strict=True)
        ]


class OracleModel:
    """A model of the contract in `samgeo/model/contract.py` that is always right.

    A point stands for the objects under it, an object that the window cuts into parts for the part under the point;
    a box and a mask stand for the object that fits them best, with all its parts.
    """

    precision = "exact"
    everything = EverythingSettings()

    def __init__(self, scene: OracleScene, *, tile_px: int = 64, name: str = "oracle") -> None:
        self._objects_of = scene.objects_of
        self.name = name
        self.tile_px = tile_px
        self.sha256 = hashlib.sha256(repr(sorted(scene.objects_of.items())).encode()).hexdigest()

    @overload
    def encode(self, image: NDArray[np.uint8]) -> Embedding: ...
    @overload
    def encode(self, image: Sequence[NDArray[np.uint8]]) -> list[Embedding]: ...
    def encode(self, image: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Embedding | list[Embedding]:
        """Keep the colours."""
        if not isinstance(image, np.ndarray):
            return [self.encode(one) for one in image]
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UsageError(f"image of {image.shape} {image.dtype}: expected (H, W, 3) uint8 RGB")
        return self._embedding(image.copy())

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]) -> Embedding:
        """The embedding whose `arrays()` these are."""
        assert arrays["colours"].shape[:2] == shape
        return self._embedding(cast(NDArray[np.uint8], arrays["colours"]))

    def decode(self, embedding: Embedding, prompts: PixelPrompts, *, multimask: bool = True) -> OracleMasks:
        """The objects that the prompts mean: M = 3 (smallest, middle, largest) or 1."""
        assert isinstance(embedding, OracleEmbedding)
        if prompts.masks is not None and prompts.masks.shape[1:] != embedding.shape:
            raise PromptError(f"masks of {prompts.masks.shape[1:]}: expected {embedding.shape}, the decoder's own size")
        if any(a is not None and not np.isfinite(a).all() for a in (prompts.points, prompts.boxes)):
            raise PromptError("points or boxes that are not finite: expected pixel coordinates")
        count = 3 if multimask else 1
        pixels = np.zeros((len(prompts), count, *embedding.shape), dtype=bool)
        scores = np.zeros((len(prompts), count), dtype=np.float32)
        for row in range(len(prompts)):
            found = self._meant(embedding, prompts[row : row + 1])
            if not found:
                continue
            for column, pick in enumerate((0, len(found) // 2, len(found) - 1)[:count]):
                pixels[row, column], scores[row, column] = found[pick], self._score(found[pick])
        return OracleMasks(pixels=pixels, scores=scores)

    def _embedding(self, colours: NDArray[np.uint8]) -> OracleEmbedding:
        return OracleEmbedding(colours=colours, objects_of=self._objects_of)

    def _score(self, mask: Bool) -> float:
        return 1.0

    def _meant(self, embedding: OracleEmbedding, prompt: PixelPrompts) -> list[Bool]:
        """The objects that one prompt can mean, by area."""
        found = embedding.wholes
        if prompt.points is not None and prompt.labels is not None and (prompt.labels >= 0).any():
            found = _under(embedding, prompt.points[0], prompt.labels[0])
        elif prompt.boxes is None and prompt.masks is None:
            return []
        if prompt.boxes is not None:
            found = _best(found, [_box_iou(mask, prompt.boxes[0]) for mask in found])
        elif prompt.masks is not None:
            found = _best(found, [_iou(mask, prompt.masks[0] > 0) for mask in found])
        return sorted(found, key=np.count_nonzero)


class NoisyOracle(OracleModel):
    """An oracle with a trembling hand: in each window, boundaries stray and objects are missed in another way."""

    def __init__(self, scene: OracleScene, *, jitter_px: float, miss: float, seed: int = 0, tile_px: int = 64) -> None:
        super().__init__(scene, tile_px=tile_px, name="noisy-oracle")
        self._jitter_px, self._miss, self._seed = jitter_px, miss, seed

    def _embedding(self, colours: NDArray[np.uint8]) -> OracleEmbedding:
        exact = super()._embedding(colours)
        digest = hashlib.sha256(colours.tobytes() + self._seed.to_bytes(8, "little")).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        noisy = [(n, tremble(p, rng, self._jitter_px)) for n, p in exact.pieces if rng.random() >= self._miss]
        exact.__dict__["pieces"] = [(n, p) for n, p in noisy if p.any()]  # where cached_property looks first
        return exact

    def _score(self, mask: Bool) -> float:
        return 0.9 + 0.1 * (int(np.count_nonzero(mask)) % 97) / 97


def tremble(mask: Bool, rng: np.random.Generator, jitter_px: float) -> Bool:
    """The mask with a boundary that strays by about `jitter_px`, smoothly; the largest connected part of it."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
    depth -= ndimage.distance_transform_edt(~mask) if not mask.all() else 0
    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 3.0)
    moved = depth + noise * (jitter_px / max(float(noise.std()), 1e-9)) > 0
    return largest_part(moved)


def largest_part(mask: Bool) -> Bool:
    """The largest connected part (4 neighbours) of a mask; the mask itself where it is empty."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def _under(embedding: OracleEmbedding, points: NDArray[np.float32], labels: NDArray[np.int64]) -> list[Bool]:
    """The objects with most positive points on them and then fewest negative ones; of each the parts with a point."""
    # Half a pixel goes down, so that a grid of one point a pixel, (k + 1/2), names every pixel once.
    cols, rows = np.ceil(points - 0.5).astype(int).T
    inside = (rows >= 0) & (cols >= 0) & (rows < embedding.shape[0]) & (cols < embedding.shape[1])
    yes, no = inside & (labels == FOREGROUND), inside & (labels == BACKGROUND)
    hit: dict[int, Bool] = {}
    for number, piece in embedding.pieces:
        if piece[rows[yes], cols[yes]].any():
            hit[number] = hit[number] | piece if number in hit else piece
    ranks = [
        (np.count_nonzero(m[rows[yes], cols[yes]]), -np.count_nonzero(m[rows[no], cols[no]])) for m in hit.values()
    ]
    return [mask for mask, rank in zip(hit.values(), ranks, strict=True) if rank == max(ranks)]


def _best(masks: Sequence[Bool], fits: Sequence[float]) -> list[Bool]:
    """The mask that fits best, if any does; of equals the largest."""
    best = max(range(len(masks)), key=lambda k: (fits[k], np.count_nonzero(masks[k])), default=None)
    return [] if best is None or fits[best] == 0 else [masks[best]]


def _iou(one: Bool, other: Bool) -> float:
    return float(np.count_nonzero(one & other)) / max(1, int(np.count_nonzero(one | other)))


def _box_iou(mask: Bool, box: NDArray[np.float32]) -> float:
    """IoU of the mask's bounding box with a box (x_min, y_min, x_max, y_max), both cut to the window."""
    window = Mask.from_array(mask).window
    own = np.array([window.col, window.row, window.col_end, window.row_end]) - 0.5
    size = np.array(mask.shape[::-1] * 2)
    given = np.clip(box, -0.5, size - 0.5)
    sides = np.minimum(own[2:], given[2:]) - np.maximum(own[:2], given[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / max(1e-9, float(np.prod(own[2:] - own[:2]) + np.prod(given[2:] - given[:2])) - common)
