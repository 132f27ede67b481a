"""Crops made of two, objects of one pasted onto another (Ghiasi et al. 2021, copy-paste); crops where data ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from samgeo.pixels import fill_invalid
from samgeo.train.crops import ASLANT, MIN_VISIBLE_PX, Crop

LARGEST_SHARE = 0.15
"""Objects that cover more of their crop are not pasted."""

HIDDEN = (0.1, 0.6)
"""Share of a crop that lies beyond the end of the data, least and most."""


def paste(onto: Crop, donor: Crop, rng: np.random.Generator) -> Crop:
    """Some of the donor's objects pasted onto another crop of the same size, whose own lose what is covered."""
    limit = LARGEST_SHARE * donor.masks[0].size
    chosen = [i for i in range(donor.count) if np.count_nonzero(donor.masks[i]) <= limit and rng.random() < 0.6]
    if not chosen:
        return onto
    union = np.asarray(donor.masks[chosen].any(axis=0))
    soft = Image.fromarray(union.view(np.uint8) * np.uint8(255)).filter(ImageFilter.GaussianBlur(0.7))
    alpha = np.asarray(soft, dtype=np.float32)[..., None] / 255
    image = (onto.image * (1 - alpha) + donor.image * alpha).astype(np.uint8)
    own = _left(onto, ~union)
    new = [(donor.masks[i], donor.labels[i]) for i in chosen]
    by_turns = [pair for pairs in zip(own, new, strict=False) for pair in pairs]
    found = [*by_turns, *own[len(new) :], *new[len(own) :]][: len(onto.masks)]
    return replace(
        _showing(onto, found),
        image=image,
        shown=np.where(union, donor.shown, onto.shown),
        known=np.where(union, donor.known, onto.known),
    )


def hide(crop: Crop, rng: np.random.Generator) -> Crop:
    """The crop as a window at the end of the data shows it: nothing beyond a line, which may run at any angle.

    Objects of which too little is left give way to the others; a crop without others stays as it is.
    """
    angle = rng.integers(4) * np.pi / 2 + (rng.uniform(0, np.pi / 2) if rng.random() < ASLANT else 0.0)
    rows, cols = np.indices(crop.shown.shape)
    along = rows * np.sin(angle) + cols * np.cos(angle)
    valid = along <= np.quantile(along, 1 - rng.uniform(*HIDDEN))
    left = _left(crop, valid)
    if not left:
        return crop
    return replace(
        _showing(crop, left),
        image=fill_invalid(crop.image, valid),
        shown=np.where(valid, crop.shown, np.int32(0)),
        known=np.where(valid, crop.known, np.int32(0)),
    )


def _left(crop: Crop, where: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], str | None]]:
    """The crop's objects inside of `where` (S, S), with their labels; without those of which too little is left."""
    masks = crop.masks[: crop.count] & where
    pairs = zip(masks, crop.labels, strict=False)
    return [(mask, label) for mask, label in pairs if np.count_nonzero(mask) >= MIN_VISIBLE_PX]


def _showing(crop: Crop, found: Sequence[tuple[NDArray[np.bool_], str | None]]) -> Crop:
    """The crop with other objects, at most K, repeated up to K; where some may have been missing, some still may."""
    k = len(crop.masks)
    shown = [found[i % len(found)] for i in range(k)]
    return replace(
        crop,
        masks=np.stack([mask for mask, _ in shown]),
        labels=tuple(label for _, label in shown),
        count=len(found) if crop.count < k else k,
    )
