"""The table of models that can run here: which network each is, and how it wants to be asked.

What is published about the weights of a model is in `published`, under the same name.
"""

from __future__ import annotations

from dataclasses import dataclass

from samgeo.errors import ModelError
from samgeo.model.automatic import EverythingSettings
from samgeo.model.published import find_published

DEFAULT_MODEL = "samgeo-nano"
"""What runs when no model is named: its weights are in the package."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model that can run here."""

    name: str
    """What `load_model` and `--model` take; the key of `published.PUBLISHED`."""
    architecture: str
    """Which network `samgeo.model.weights` builds for it."""
    tile_px: int
    """Side of the read window that suits it."""
    everything: EverythingSettings
    """How to ask it for everything in a window."""


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="samgeo-nano",
            architecture="nano",
            tile_px=512,
            everything=EverythingSettings(
                points_per_side=16,
                pred_iou_thresh=0.42,
                stability_score_thresh=0.4,
                box_nms_thresh=0.5,
                mask_nms_thresh=0.5,
                granularity="best",
            ),
        ),
    )
}
"""Models that can run here, by name."""


def find_spec(name: str) -> ModelSpec:
    """The model of this name. Raises UnknownModelError, and ModelError where it is known but has no network here."""
    published = find_published(name)
    if published.name not in MODELS:
        raise ModelError(
            f"{name}: its weights are known, but this version of samgeo has no network for them; expected one of "
            f"{', '.join(MODELS)} (samgeo models list)"
        )
    return MODELS[published.name]
