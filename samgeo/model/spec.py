"""The table of models that can run here: which network each is, and how it wants to be asked.

What is published about the weights of a model is in `published`, under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
    """Which network it is: a key of `build.ARCHITECTURES`."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the image encoder that tell this member from others of its architecture, by their official names."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `Sam2` that tell what this member remembers from what others of its architecture do."""
    dim: int = 256
    """Channels of the image embedding, and width of the mask decoder's tokens."""
    frame_px: int = 1024
    """Side of the square that the network sees, or that its positions refer to."""
    tile_px: int
    """Side of the read window that suits it."""
    everything: EverythingSettings
    """How to ask it for everything in a window."""
    zoom: int = 1
    """Above 1 it looks at the image so many times enlarged and reduced too, see `pyramid`."""


VIT: dict[str, dict[str, Any]] = {
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_attn_indexes": (2, 5, 8, 11)},
    "l": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "global_attn_indexes": (5, 11, 17, 23)},
    "h": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_attn_indexes": (7, 15, 23, 31)},
}
"""Image encoders of SAM and HQ-SAM by size."""


def _sam(size: str) -> ModelSpec:
    return ModelSpec(
        name=f"sam-vit-{size}",
        architecture="sam",
        encoder=VIT[size],
        tile_px=1024,
        everything=EverythingSettings(),
    )


def _hq_sam(size: str, architecture: str, encoder: dict[str, Any]) -> ModelSpec:
    """The reference gives the best of three masks; so does everything-mode here."""
    return ModelSpec(
        name=f"hq-sam-vit-{size}",
        architecture=architecture,
        encoder=encoder,
        tile_px=1024,
        everything=EverythingSettings(granularity="best"),
    )


TINY_VIT: dict[str, Any] = {
    "embed_dims": (64, 128, 160, 320),
    "depths": (2, 2, 6, 2),
    "num_heads": (2, 4, 5, 10),
    "window_sizes": (7, 7, 14, 7),
}
"""Image encoder of MobileSAM and Light HQ-SAM."""

HIERA: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim": 96,
        "num_heads": 1,
        "stages": (1, 2, 7, 2),
        "global_att_blocks": (5, 7, 9),
        "window_pos_embed_bkg_spatial_size": 7,
    },
    "small": {
        "embed_dim": 96,
        "num_heads": 1,
        "stages": (1, 2, 11, 2),
        "global_att_blocks": (7, 10, 13),
        "window_pos_embed_bkg_spatial_size": 7,
    },
    "base-plus": {
        "embed_dim": 112,
        "num_heads": 2,
        "stages": (2, 3, 16, 3),
        "global_att_blocks": (12, 16, 20),
        "window_pos_embed_bkg_spatial_size": 14,
    },
    "large": {
        "embed_dim": 144,
        "num_heads": 2,
        "stages": (2, 6, 36, 4),
        "global_att_blocks": (23, 33, 43),
        "window_pos_embed_bkg_spatial_size": 7,
        "window_spec": (8, 4, 16, 8),
    },
}
"""Image encoders of SAM 2 and 2.1 by size."""


def _sam2(version: str, size: str) -> ModelSpec:
    return ModelSpec(
        name=f"{version}-hiera-{size}",
        architecture="sam2",
        encoder=HIERA[size],
        memory={"newer": version == "sam2.1"},
        tile_px=1024,
        everything=EverythingSettings(pred_iou_thresh=0.8),
    )


def _efficient_sam(size: str, **encoder: Any) -> ModelSpec:
    return ModelSpec(
        name=f"efficient-sam-{size}",
        architecture="efficient-sam",
        encoder=encoder,
        tile_px=1024,
        everything=EverythingSettings(),
    )


def _fast_sam(size: str, **encoder: Any) -> ModelSpec:
    """Everything-mode takes the instances of one pass; it asks for no stability, as the reference does not."""
    return ModelSpec(
        name=f"fast-sam-{size}",
        architecture="fast-sam",
        encoder=encoder,
        tile_px=1024,
        everything=EverythingSettings(pred_iou_thresh=0.4, stability_score_thresh=0, granularity="best"),
    )


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="samgeo-nano",
            architecture="nano",
            tile_px=512,
            zoom=2,
            everything=EverythingSettings(
                points_per_side=16,
                detail_points=64,
                pred_iou_thresh=0.42,
                stability_score_thresh=0.4,
                box_nms_thresh=0.5,
                mask_nms_thresh=0.5,
                granularity="best",
            ),
        ),
        *map(_sam, VIT),
        *(_sam2(version, size) for version in ("sam2", "sam2.1") for size in HIERA),
        *(_hq_sam(size, "hq-sam", encoder) for size, encoder in VIT.items()),
        _hq_sam("tiny", "light-hq-sam", TINY_VIT),
        replace(_sam2("sam2.1", "large"), name="hq-sam2.1-hiera-large", architecture="hq-sam2"),
        ModelSpec(
            name="mobile-sam",
            architecture="mobile-sam",
            encoder=TINY_VIT,
            tile_px=1024,
            everything=EverythingSettings(),
        ),
        ModelSpec(
            name="edge-tam",
            architecture="edge-tam",
            encoder={"embed_dim": (48, 96, 192, 384), "depth": (2, 2, 14, 2)},
            memory={"num_latents": 256, "num_latents_2d": 256},
            tile_px=1024,
            everything=EverythingSettings(pred_iou_thresh=0.8),
        ),
        _efficient_sam("ti", patch_embed_dim=192, depth=12, num_heads=3),
        _efficient_sam("s", patch_embed_dim=384, depth=12, num_heads=6),
        _fast_sam("s", width=0.5, depth=0.33, max_channels=1024),
        _fast_sam("x", width=1.25, depth=1.0, max_channels=512),
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
