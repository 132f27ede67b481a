"""Everything in one window: ask the model on a grid of points, keep what it is sure of, drop duplicates.

The parameters are those of Segment Anything's `SamAutomaticMaskGenerator`, by its names (Kirillov et al. 2023, section
5 and appendix B); `fast` is our own. Three things differ. Masks with a low predicted IoU are dropped before anything is
upsampled, which changes no result. Of two masks with much the same box the worse is dropped only if the masks
themselves overlap as much: two objects can share a box, and in a window that cuts both they often do. And
`stability_score_offset` is fixed at 1, SAM's own default, because `Mask.stability` of the contract is measured there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import UsageError
from samgeo.model.contract import DecodedMasks, Embedding, FindsAll, Glances, PromptableModel, SeesDetails
from samgeo.pixels import FOREGROUND, Mask, PixelPrompts, Window

Granularity = Literal["whole", "part", "subpart", "best", "all"]
RANKS = {"whole": -1, "part": 1, "subpart": 0}
"""Position of a granularity among the masks of a point ordered by area."""


KNOWN_SHARE = 0.1
"""A mask that takes more of the window than this may hold objects of its own, which are asked for even if `fast`."""


@dataclass(frozen=True, kw_only=True)
class EverythingSettings:
    """How to look for everything; the defaults are SAM's for ViT-B, L and H. Other models say their own."""

    points_per_side: int = 32
    """The model is asked at so many points along each side of the window."""
    detail_points: int = 0
    """... and at so many more where it says that something small stands out, which the grid may have stepped over."""
    points_per_batch: int = 64
    """How many points are decoded at once: what memory depends on."""
    pred_iou_thresh: float = 0.88
    """Keep masks with a predicted IoU above this, 0 to 1."""
    stability_score_thresh: float = 0.95
    """Keep masks with at least this stability, 0 to 1."""
    box_nms_thresh: float = 0.7
    """Two masks are duplicates if the IoU of their boxes is above this, 0 to 1; at 1 only identical masks are."""
    mask_nms_thresh: float = 0.7
    """... and the IoU of their pixels is at least this, 0 to 1; at 0 boxes alone decide, which is what SAM does."""
    granularity: Granularity = "all"
    """Of the three masks of a point, whole, part, subpart: largest, middle, smallest; best: the highest score; all."""
    fast: bool = False
    """Ask at few points first, and in later batches at none that lies in a sure mask of at most `KNOWN_SHARE` of the
    window; parts inside of it are missed. A model that finds all at once is not asked at points."""

    def __post_init__(self) -> None:
        for name, least in (("points_per_side", 1), ("detail_points", 0), ("points_per_batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: expected at least {least}")
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "mask_nms_thresh"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name)}: expected a fraction from 0 to 1, not a percentage")
        if self.granularity not in (*RANKS, "best", "all"):
            raise UsageError(f"granularity {self.granularity}: expected {', '.join(RANKS)}, best or all")


def generate_masks(
    model: PromptableModel,
    embedding: Embedding,
    settings: EverythingSettings | None = None,
    *,
    valid: NDArray[np.bool_] | None = None,
) -> list[Mask]:
    """All objects of one window, best first, as masks in its pixels.

    valid: (H, W), False on nodata and padding: no point is asked there, and no mask reaches there.
    """
    settings = settings or EverythingSettings()
    height, width = embedding.shape
    valid = np.ones((height, width), dtype=bool) if valid is None else valid
    if valid.shape != (height, width):
        raise UsageError(f"valid mask of {valid.shape} for a window of {(height, width)}: expected the same")
    found: dict[tuple[Window, bytes], _Packed] = {}
    known = np.zeros(valid.shape, dtype=bool)  # what is not asked for again
    for decoded in _asked(model, embedding, settings, valid, known):
        for mask in _sure(decoded, settings):
            _collapse(found, mask, valid)
            if settings.fast and mask.area_px <= KNOWN_SHARE * known.size:
                known[mask.window.slices()] |= mask.pixels
    masks = sorted(found.values(), key=lambda packed: -packed.score)  # stable: of equals, the first asked
    return [packed.unpack() for packed in without_duplicates(masks, settings)]


def point_grid(valid: NDArray[np.bool_], points_per_side: int) -> NDArray[np.float32]:
    """(n, 2) x,y of a regular grid over the window, row by row, without the points on pixels that are not valid.

    The places are SAM's: (k + 1/2) / points_per_side of the side. One point a pixel lies on the pixel's lower right
    corner, which counts for that pixel.
    """
    height, width = valid.shape
    steps = (np.arange(points_per_side) + 0.5) / points_per_side
    y, x = np.meshgrid(steps * height, steps * width, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=-1)
    return points[_at(valid, points)].astype(np.float32)


def _at(pixels: NDArray[np.bool_], points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """What is said of the pixels (H, W) that points (n, 2) x,y lie on: (n,)."""
    last = np.array(pixels.shape[::-1]) - 1
    cols, rows = np.ceil(points - 0.5).astype(np.intp).clip(0, last).T
    return np.asarray(pixels[rows, cols])


def coarse_to_fine(
    points: NDArray[np.float32], shape: tuple[int, int], points_per_side: int
) -> list[NDArray[np.float32]]:
    """The points (n, 2) of a grid over (H, W) by level: every fourth of every fourth row, every second, the rest."""
    cells = (points / (shape[1], shape[0]) * points_per_side).astype(np.intp)  # (n, 2) col, row
    level = 2 - sum((cells % step == 1).all(axis=1).astype(int) for step in (2, 4))  # (n,)
    return [points[level == k] for k in range(3)]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Packed:
    """A mask with 8 pixels a byte: what waits until the whole window has been asked."""

    window: Window
    bits: bytes
    score: float
    stability: float

    def pixels(self) -> NDArray[np.bool_]:
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.window.height * self.window.width)
        return flat.astype(bool).reshape(self.window.shape)

    def unpack(self) -> Mask:
        return Mask(window=self.window, pixels=self.pixels(), score=self.score, stability=self.stability)


def _asked(
    model: PromptableModel,
    embedding: Embedding,
    settings: EverythingSettings,
    valid: NDArray[np.bool_],
    known: NDArray[np.bool_],
) -> Iterator[DecodedMasks]:
    """What the model sees at points, a batch at a time, or at once where it can say that.

    valid, known: (H, W), where points are asked, and where none is any more; `known` is looked at before each batch.
    """
    if isinstance(model, FindsAll):
        yield model.find_all(embedding)
        return
    batch = settings.points_per_batch
    for ask, points in _questions(model, embedding, settings, valid):
        left = points
        while (left := left[~_at(known, left)]).size:
            some, left = left[:batch, None], left[batch:]
            labels = np.full(some.shape[:2], FOREGROUND, dtype=np.int64)
            yield ask(embedding, PixelPrompts(points=some, labels=labels))


def _questions(
    model: PromptableModel, embedding: Embedding, settings: EverythingSettings, valid: NDArray[np.bool_]
) -> Iterator[tuple[Callable[[Embedding, PixelPrompts], DecodedMasks], NDArray[np.float32]]]:
    """How the model is asked and at which points (n, 2) x,y: those of the grid, then those of details."""
    points = point_grid(valid, settings.points_per_side)
    levels = coarse_to_fine(points, valid.shape, settings.points_per_side) if settings.fast else [points]
    for level in levels:
        yield model.glance if isinstance(model, Glances) else model.decode, level
    if isinstance(model, SeesDetails) and settings.detail_points:
        details = model.details(embedding, valid, settings.detail_points)
        yield model.decode, details[_at(valid, details)]


def _sure(decoded: DecodedMasks, settings: EverythingSettings) -> list[Mask]:
    """The masks that the settings ask for and the model is sure of; only these are upsampled."""
    keep = _picked(decoded, settings.granularity) & (decoded.scores > settings.pred_iou_thresh)
    masks = [row[0] for row in decoded[keep].to_masks()] if keep.any() else []
    return [mask for mask in masks if mask.stability >= settings.stability_score_thresh]


def _picked(decoded: DecodedMasks, granularity: Granularity) -> NDArray[np.bool_]:
    """(N, M) True for the masks of each point that the granularity means."""
    scores = decoded.scores
    if granularity == "all" or scores.shape[1] == 1:
        return np.ones(scores.shape, dtype=bool)
    if granularity == "best":
        pick = np.argmax(scores, axis=1)
    else:
        areas = np.count_nonzero(decoded.logits > 0, axis=(2, 3))  # (N, M); the order is all that matters
        pick = np.argsort(areas, axis=1, kind="stable")[:, RANKS[granularity]]
    return np.asarray(np.arange(scores.shape[1]) == pick[:, None])


def _collapse(found: dict[tuple[Window, bytes], _Packed], mask: Mask, valid: NDArray[np.bool_]) -> None:
    """Cut the mask to valid pixels and keep it, packed; of identical masks the one with the highest score."""
    part = Mask.from_array(mask.pixels & valid[mask.window.slices()])
    if part.window.is_empty:
        return
    window = part.window.shift(mask.window.row, mask.window.col)
    bits = np.packbits(part.pixels).tobytes()
    known = found.get((window, bits))
    if known is None or mask.score > known.score:
        found[window, bits] = _Packed(window=window, bits=bits, score=mask.score, stability=mask.stability)


def without_duplicates(masks: list[_Packed], settings: EverythingSettings) -> list[_Packed]:
    """Greedy non-maximum suppression of masks that are ordered best first."""
    windows = [packed.window for packed in masks]
    edges = np.array([(w.row, w.col, w.row_end, w.col_end) for w in windows], dtype=np.float32).reshape(-1, 4)
    alive = np.ones(len(masks), dtype=bool)
    for k in range(len(masks)):
        if not alive[k]:
            continue
        rivals = 1 + k + np.flatnonzero(alive[k + 1 :] & (box_iou(edges[k], edges[k + 1 :]) > settings.box_nms_thresh))
        if settings.mask_nms_thresh > 0 and rivals.size:
            ious = np.array([_mask_iou(masks[k], masks[r]) for r in rivals])
            rivals = rivals[ious >= settings.mask_nms_thresh]
        alive[rivals] = False
    return [packed for packed, stays in zip(masks, alive, strict=True) if stays]


def box_iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) IoU of one box (row, col, row_end, col_end) with n others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - common
    return np.asarray(common / union)


def _mask_iou(one: _Packed, other: _Packed) -> float:
    common = one.window.intersection(other.window)
    first, second = one.pixels(), other.pixels()
    shared = np.count_nonzero(
        first[common.shift(-one.window.row, -one.window.col).slices()]
        & second[common.shift(-other.window.row, -other.window.col).slices()]
    )
    return shared / (np.count_nonzero(first) + np.count_nonzero(second) - shared)
