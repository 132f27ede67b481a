"""Crops made of two: objects of one pasted onto another, and colours borrowed (Ghiasi et al. 2021, copy-paste)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from samgeo.train.crops import MIN_VISIBLE_PX, Crop

LARGEST_SHARE = 0.15
"""Objects that cover more of their crop are not pasted."""


def paste(onto: Crop, donor: Crop, rng: np.random.Generator) -> Crop:
    """Some of the donor's objects pasted onto another crop of the same size, whose own lose what is covered."""
    limit = LARGEST_SHARE * donor.masks[0].size
    chosen = [i for i in range(donor.count) if np.count_nonzero(donor.masks[i]) <= limit and rng.random() < 0.6]
    if not chosen:
        return onto
    union = donor.masks[chosen].any(axis=0)
    soft = Image.fromarray(union.view(np.uint8) * np.uint8(255)).filter(ImageFilter.GaussianBlur(0.7))
    alpha = np.asarray(soft, dtype=np.float32)[..., None] / 255
    image = (onto.image * (1 - alpha) + donor.image * alpha).astype(np.uint8)
    left = onto.masks[: onto.count] & ~union
    own = [(left[i], onto.labels[i]) for i in range(onto.count) if np.count_nonzero(left[i]) >= MIN_VISIBLE_PX]
    new = [(donor.masks[i], donor.labels[i]) for i in chosen]
    k = len(onto.masks)
    by_turns = [pair for pairs in zip(own, new, strict=False) for pair in pairs]
    found = [*by_turns, *own[len(new) :], *new[len(own) :]][:k]
    shown = [found[i % len(found)] for i in range(k)]
    count = len(found) if onto.count < k else k  # where some may be missing, some still may
    return Crop(
        image=image,
        masks=np.stack([mask for mask, _ in shown]),
        labels=tuple(label for _, label in shown),
        count=count,
        shown=np.where(union, donor.shown, onto.shown),
        known=np.where(union, donor.known, onto.known),
    )
