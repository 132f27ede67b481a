"""The table of known models: what each is, where its weights are, and under which licence."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from samgeo.errors import UnknownModelError
from samgeo.model.automatic import EverythingSettings

DEFAULT_MODEL = "samgeo-nano"
"""What runs when no model is named: its weights are in the package."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One known model."""

    name: str
    """What `load_model` and `--model` take."""
    architecture: str
    """Which network `samgeo.model.weights` builds for it."""
    file: str
    """Name of the weights file inside the package."""
    parameters: int
    """Number of parameters."""
    tile_px: int
    """Side of the read window that suits it."""
    everything: EverythingSettings
    """How to ask it for everything in a window."""
    licence: str
    """Of the weights."""
    good_for: str
    """One line for `samgeo models`."""


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="samgeo-nano",
            architecture="nano",
            file="nano/samgeo-nano.safetensors",
            parameters=10_159_545,
            tile_px=512,
            everything=EverythingSettings(
                points_per_side=16,
                pred_iou_thresh=0.42,
                stability_score_thresh=0.4,
                box_nms_thresh=0.5,
                mask_nms_thresh=0.5,
                granularity="best",
            ),
            licence="Apache-2.0",
            good_for="overhead imagery from 5 cm to 10 m on any machine; in the box, nothing to download",
        ),
    )
}
"""Known models by name."""


def find_spec(name: str) -> ModelSpec:
    """The known model of this name; UnknownModelError names those that are close."""
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name, MODELS, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known models: {', '.join(MODELS)}"
    raise UnknownModelError(f"{name}: no model of this name and no file at this path; {hint} (samgeo models list)")
