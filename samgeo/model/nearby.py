"""Decoding where a prompt points: in a window of the embedding, not in all of it.

Most objects are much smaller than the image, and what a decoder costs grows with the cells that it attends to and
draws. A network that was trained on crops needs no more than a crop. An object that its window cuts, or that no window
holds, is asked for in the whole image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from samgeo.model.frame import LOGIT_PX, NativeFrame
from samgeo.model.merged import Answer, MergedMasks
from samgeo.model.predict import ImageEmbedding, Model, NetworkMasks
from samgeo.model.sam import Features
from samgeo.pixels import Mask, PixelPrompts

CELL_PX = 16
"""Pixels of the frame to a cell of the embedding."""
WINDOW = 32
"""Cells along the side of a window."""
STEP = 8
"""Windows begin at multiples of so many cells."""
MARGIN = 4
"""Cells that a window shows around a prompt, unless the image ends there."""
LIKELY = 0.3
"""A mask with a higher score must not be cut, and neither must the best."""


def decode_nearby(
    model: Model, embedding: ImageEmbedding, prompts: PixelPrompts, which: slice, *, small: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NetworkMasks | MergedMasks]:
    """As `model.answer`, each object in a window around its prompt where that is enough.

    small: (N,) True for objects that are only worth an answer if a window holds them. Returns which objects are
    answered, in order, and their masks.
    """
    rows, cols = embedding.features.stride16.shape[-2:]
    if max(rows, cols) <= WINDOW + STEP:
        return np.arange(len(prompts)), model.answer(embedding, prompts, which)
    frame = model.sam.frame
    assert isinstance(frame, NativeFrame)
    cell_px = round(CELL_PX / frame.zoom)
    corners = _corners(prompts, cells=(rows, cols), cell_px=cell_px)
    held = corners[:, 0] >= 0
    answers: list[Answer] = []
    for row, col in np.unique(corners[held], axis=0).tolist():
        objects = np.flatnonzero((corners == (row, col)).all(axis=1))
        part = _part(model, embedding, row, col, cell_px=cell_px)
        masks = model.answer(part, _moved(prompts[objects], row, col, part, cell_px=cell_px), which)
        held[objects] = ~_cut(masks, inner=(row > 0, row + WINDOW < rows, col > 0, col + WINDOW < cols))
        corner, corner_px = ((row * times, col * times) for times in (CELL_PX // LOGIT_PX, cell_px))
        answers.append(Answer(objects=objects, masks=masks, corner=corner, corner_px=corner_px))
    again = np.flatnonzero(~(held | small))
    if again.size or not answers:
        answers.append(Answer(objects=again, masks=model.answer(embedding, prompts[again], which)))
    chosen = np.full((len(prompts), answers[0].masks.scores.shape[1]), -1, dtype=np.intp)
    start = 0
    for answer in answers:  # the later one counts
        count = answer.masks.scores.size
        chosen[answer.objects] = np.arange(start, start + count).reshape(answer.masks.scores.shape)
        start += count
    answered = np.flatnonzero(held | ~small)
    return answered, MergedMasks(answers, chosen[answered], size=embedding.features.logits_size)


def _corners(prompts: PixelPrompts, *, cells: tuple[int, int], cell_px: int) -> NDArray[np.intp]:
    """(N, 2) first row and column of each object's window, in cells; -1 where no window holds what is known of it."""
    low, high = _extents(prompts, cell_px=cell_px)  # (N, 2) rows and columns in cells
    size = np.array(cells)
    side = np.minimum(size, WINDOW)
    first = np.rint(((low + high) / 2 - side / 2) / STEP) * STEP
    first = np.clip(np.nan_to_num(first), 0, size - side)
    begins = (first == 0) | (low >= first + MARGIN)
    ends = (first + side == size) | (high <= first + side - MARGIN)
    fits = (begins & ends).all(axis=1) & np.isfinite(low).all(axis=1)
    return np.where(fits[:, None], first, -1).astype(np.intp)


def _extents(prompts: PixelPrompts, *, cell_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last row and column, (N, 2) each, of clicks, boxes and earlier masks; NaN without any."""
    found = [np.full((len(prompts), 1, 2), np.nan)]  # (N, K, 2) x,y in cells; NaN where there is none
    if prompts.points is not None and prompts.labels is not None:
        found.append(np.where((prompts.labels >= 0)[..., None], prompts.points / cell_px, np.nan))
    if prompts.boxes is not None:
        found.append(prompts.boxes.reshape(-1, 2, 2) / cell_px)
    if prompts.masks is not None:
        found.append(mask_corners(prompts.masks) * LOGIT_PX / CELL_PX)
    xy = np.concatenate(found, axis=1).astype(np.float64)
    there = ~np.isnan(xy)
    low, high = np.where(there, xy, np.inf).min(axis=1), np.where(there, xy, -np.inf).max(axis=1)
    low, high = (np.where(np.isfinite(end), end, np.nan)[:, ::-1] for end in (low, high))
    return low, high


def mask_corners(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, 2, 2) first x,y of what is above 0 in each of N masks (N, h, w), and where it ends; NaN for empty ones."""
    ends = np.full((len(logits), 2, 2), np.nan)
    for n, mask in enumerate(logits):
        window = Mask.from_array(mask > 0).window
        if not window.is_empty:
            ends[n] = (window.col, window.row), (window.col_end, window.row_end)
    return ends


def _part(model: Model, whole: ImageEmbedding, row: int, col: int, *, cell_px: int) -> ImageEmbedding:
    """The embedding of a window that begins at a cell."""
    features, rows, cols = whole.features, slice(row, row + WINDOW), slice(col, col + WINDOW)
    units = features.units
    if units is not None:
        fine_rows, fine_cols = (slice(4 * cells.start, 4 * cells.stop) for cells in (rows, cols))
        units = units[..., fine_rows, fine_cols].contiguous()
    size = features.stride16.shape[-2:]
    patches = [
        tuple(finer.unflatten(1, (*size, -1))[:, rows, cols].flatten(1, 3) for finer in each)
        for each in [model.in_patches(whole)]
        if each is not None
    ]
    height, width = (
        min(side - first * cell_px, WINDOW * cell_px) for side, first in zip(whole.shape, (row, col), strict=True)
    )
    return ImageEmbedding(
        features=Features(features.stride16[..., rows, cols].contiguous(), units=units),
        shape=(height, width),
        patches=patches,
    )


def _moved(prompts: PixelPrompts, row: int, col: int, part: ImageEmbedding, *, cell_px: int) -> PixelPrompts:
    """Prompts in pixels of a window."""
    corner = np.array([col, row], np.float32) * cell_px
    masks = prompts.masks
    if masks is not None:
        height, width = part.features.logits_size
        times = CELL_PX // LOGIT_PX
        masks = masks[:, row * times : row * times + height, col * times : col * times + width]
    return replace(
        prompts,
        points=None if prompts.points is None else (prompts.points - corner).astype(np.float32),
        boxes=None if prompts.boxes is None else (prompts.boxes - np.tile(corner, 2)).astype(np.float32),
        masks=masks,
    )


def _cut(masks: NetworkMasks, *, inner: tuple[bool, bool, bool, bool]) -> NDArray[np.bool_]:
    """(n,) whether a likely mask of an object reaches an edge of the window where the image goes on.

    inner: whether it does at the top, the bottom, the left and the right.
    """
    logits, scores = masks.logits, masks.scores
    edges = (logits[:, :, 0], logits[:, :, -1], logits[..., 0], logits[..., -1])
    reaches = np.zeros(scores.shape, dtype=bool)
    for edge, goes_on in zip(edges, inner, strict=True):
        if goes_on:
            reaches |= (edge > 0).any(axis=2)
    counts = (scores > LIKELY) | (scores == scores.max(axis=1, keepdims=True))
    return np.asarray((reaches & counts).any(axis=1))
