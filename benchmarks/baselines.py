"""Answers that need no training, on the objects that models are asked for: the floor that a model must be above."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.pixels import Mask, Window
from samgeo.train.labelled import LabelledImage
from samgeo.train.metrics import deepest, iou

TOLERANCES = (12, 24, 48)
"""Of region growing: largest difference in any of the 8-bit bands from the colour around the click."""
SMOOTHING_PX = 1.0
"""Standard deviation of the blur before region growing, without which it stops at every grain."""


def filled_box(labelled: LabelledImage) -> list[float]:
    """IoU of each object with its bounding box, filled."""
    return [mask.area_px / mask.pixels.size for mask in labelled.objects]


def region_growing(labelled: LabelledImage, tolerances: Sequence[int] = TOLERANCES) -> list[float]:
    """IoU of each object with what is connected to its deepest point and coloured like it, at its best tolerance."""
    smooth = ndimage.gaussian_filter(labelled.image.astype(np.float32), (SMOOTHING_PX, SMOOTHING_PX, 0))
    found = []
    for mask in labelled.objects:
        row, col, _ = deepest(mask.pixels)
        row, col = row + mask.window.row, col + mask.window.col
        distance = np.abs(smooth - smooth[row, col]).max(axis=2)
        found.append(max(iou(_connected(distance <= t, row, col), mask) for t in tolerances))
    return found


def grabcut(labelled: LabelledImage, rounds: int = 5) -> list[float] | None:
    """IoU of each object with GrabCut from its box (Rother et al. 2004); None where OpenCV is not installed."""
    if importlib.util.find_spec("cv2") is None:
        return None
    return [iou(_grabcut(labelled.image, mask.window, rounds), mask) for mask in labelled.objects]


def _connected(near: NDArray[np.bool_], row: int, col: int) -> Mask:
    numbered, _ = ndimage.label(near)
    return Mask.from_array(numbered == numbered[row, col])


def _grabcut(image: NDArray[np.uint8], box: Window, rounds: int) -> Mask:
    """From the box in a frame twice as wide and high, which costs a fraction of the whole image and leaves context."""
    import cv2

    margin = max(16, box.height // 2, box.width // 2)
    wide = Window(
        row=box.row - margin, col=box.col - margin, height=box.height + 2 * margin, width=box.width + 2 * margin
    )
    frame = wide.intersection(Window(row=0, col=0, height=image.shape[0], width=image.shape[1]))
    crop = np.ascontiguousarray(image[frame.slices()][..., ::-1])
    inner = box.shift(-frame.row, -frame.col)
    state = np.full(frame.shape, cv2.GC_BGD, dtype=np.uint8)
    state[inner.slices()] = cv2.GC_PR_FGD
    if (state == cv2.GC_PR_FGD).all():  # an object as large as the image leaves no background to learn from
        return Mask(window=box, pixels=np.ones(box.shape, dtype=bool))
    cv2.setRNGSeed(0)
    models = np.zeros((2, 1, 65))
    cv2.grabCut(crop, state, None, models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return Mask.from_array(cut).shift(frame.row, frame.col)
