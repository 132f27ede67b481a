"""Weights, pictures and prompts from a seed: what both sides of a comparison with a reference are given.

Weights depend on names and shapes alone, so that a reference implementation elsewhere gets the same. None is zero: what
is zero at first (relative positions, layer scales) would hide errors.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samgeo.model.automatic import EverythingSettings
from samgeo.model.build import ARCHITECTURES, assemble, official_names
from samgeo.model.nano_network import build_nano
from samgeo.model.predict import Model, NetworkMasks
from samgeo.model.spec import MODELS, ModelSpec
from samgeo.model.weights import running
from samgeo.pixels import PixelPrompts

TINY_VIT = {"embed_dim": 48, "depth": 4, "num_heads": 3, "global_attn_indexes": (1, 3)}
"""SAM's encoder with few thin blocks."""
TINY_HIERA = {
    "embed_dim": 16,
    "num_heads": 1,
    "stages": (1, 2, 3, 1),
    "global_att_blocks": (4,),
    "window_pos_embed_bkg_spatial_size": 7,
}
"""SAM 2's encoder with few thin blocks."""
TINY_REPVIT = {"embed_dim": (8, 16, 32, 48), "depth": (1, 1, 3, 1)}
"""EdgeTAM's encoder with few thin blocks."""
TINY_TINY_VIT = {
    "embed_dims": (16, 32, 48, 320),  # the reference keeps the resolution where the width is 320
    "depths": (1, 1, 2, 1),
    "num_heads": (2, 2, 3, 10),
    "window_sizes": (7, 7, 14, 7),
}
"""TinyViT with thin stages."""


def _tiny(name: str, encoder: dict[str, Any], *, memory: dict[str, Any] | None = None, **everything: Any) -> ModelSpec:
    return ModelSpec(
        name=f"tiny-{name}",
        architecture=name,
        encoder=encoder,
        memory=memory or {},
        frame_px=256,
        tile_px=256,
        everything=EverythingSettings(**everything),
    )


TINY = {
    spec.name: spec
    for spec in (
        _tiny("sam", TINY_VIT),
        _tiny("sam2", TINY_HIERA, memory={"newer": True}, pred_iou_thresh=0.8),
        _tiny("mobile-sam", TINY_TINY_VIT),
        _tiny("hq-sam", TINY_VIT, granularity="best"),
        _tiny("light-hq-sam", TINY_TINY_VIT, granularity="best"),
        _tiny("hq-sam2", TINY_HIERA, memory={"newer": True}, pred_iou_thresh=0.8),
        _tiny("edge-tam", TINY_REPVIT, memory={"num_latents": 16, "num_latents_2d": 16}, pred_iou_thresh=0.8),
        _tiny("efficient-sam", {"patch_embed_dim": 48, "depth": 2, "num_heads": 3}),
    )
}
"""Members with all that the published ones have, but small."""
SIZES = ((300, 420), (256, 256), (97, 33))
"""Images (height, width): shrunk and wide, as the network wants it, enlarged and tall."""


def seeded_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A tensor for each name and shape, each from a seed of its own."""
    return {name: torch.from_numpy(_seeded(name, shape)) for name, shape in shapes.items()}


def _seeded(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    noise = rng.standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return (0.5 + rng.random(shape, np.float32)).astype(np.float32)
    if "gaussian_matrix" in name or name.endswith("dfl.conv.weight"):  # the latter are distances, not learned
        return noise if "gaussian_matrix" in name else np.arange(noise.size, dtype=np.float32).reshape(shape)
    if any(word in name for word in ("embed.", "embeddings.", "token.", "pos_embed", "rel_pos")):
        return np.float32(0.3) * noise
    if len(shape) > 1:
        flat = (
            0.55 if "output_hypernetworks_mlps.0.layers.2." in name else 1
        )  # the first mask is stable here, not there
        return np.float32(flat * np.prod(shape[1:]) ** -0.5) * noise
    return np.float32(1) + np.float32(0.1) * noise if name.endswith("weight") else np.float32(0.1) * noise


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3): smooth colours, two objects, and noise."""
    rng = np.random.default_rng(height * 10_000 + width)
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = 120 + 60 * np.stack([np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(11 * x * y)], axis=-1)
    image[height // 4 : height // 2, width // 5 : width // 2] = (200, 90, 40)
    image[height // 2 : -height // 5, width // 2 : -width // 8] += (-50, 40, 30)
    return (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)


def questions(height: int, width: int, logits_px: int) -> dict[str, tuple[PixelPrompts, bool]]:
    """Every kind of prompt for one object, and whether three masks are asked for."""
    clicks = np.array([[[0.3, 0.4], [0.7, 0.6], [0.05, 0.9]]], np.float32) * (width - 1, height - 1)
    clicks, labels = clicks.astype(np.float32), np.array([[1, 0, 1]])
    boxes = (np.array([[0.2, 0.25, 0.55, 0.5]]) * (width, height, width, height)).astype(np.float32)
    y, x = np.mgrid[:logits_px, :logits_px] / logits_px
    masks = (12 * (0.2 - np.hypot(x - 0.35, y - 0.4)) / 0.2)[None].astype(np.float32)
    click = {"points": clicks[:, :1], "labels": labels[:, :1]}
    return {
        "click": (PixelPrompts(**click), True),
        "click, one mask": (PixelPrompts(**click), False),
        "clicks": (PixelPrompts(points=clicks, labels=labels), False),
        "box": (PixelPrompts(boxes=boxes), False),
        "box and clicks": (PixelPrompts(points=clicks, labels=labels, boxes=boxes), True),
        "mask": (PixelPrompts(masks=masks), False),
        "click and mask": (PixelPrompts(**click, masks=masks), True),
    }


def sample(array: NDArray[Any], count: int = 256) -> NDArray[Any]:
    """Values of an array at regular places of its flat form: enough to tell it from any other."""
    flat = array.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(count, flat.size)).astype(int)]


def as_answered(masks: NetworkMasks, count: int) -> NetworkMasks:
    """The masks that a reference answers with: HQ-SAM's gives only the best of three."""
    scores = masks.scores
    return masks if scores.shape[1] == count else masks[np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]]


def seeded_model(spec: ModelSpec) -> Any:
    """The network of a row with seeded weights, in 32 bit on the processor."""
    with torch.device("meta"):
        unfilled = ARCHITECTURES[spec.architecture].build(spec).state_dict()
    names = official_names(spec.architecture, unfilled)
    weights = seeded_weights({name: tuple(tensor.shape) for name, tensor in names.items()})
    sam = assemble(spec, weights, source=spec.name)
    return running(sam, name=spec.name, sha256="0" * 64, device=torch.device("cpu"), precision="exact", spec=spec)


def digest(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Number of tensors, number of values, and the SHA-256 of the sorted lines "name shape"."""
    lines = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    values = sum(int(np.prod(shape)) for shape in shapes.values())
    return {
        "tensors": len(lines),
        "values": values,
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def random_nano() -> Model:
    """samgeo-nano with random weights, the same each time; no zeros, which training would leave and hide errors."""
    torch.manual_seed(0)
    sam = build_nano()
    for parameter in sam.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return Model(
        sam, name="random", sha256="0" * 64, device=torch.device("cpu"), precision="exact", spec=MODELS["samgeo-nano"]
    )


def red_square() -> NDArray[np.uint8]:
    """(96, 80, 3): a red square in grey noise."""
    picture = np.random.default_rng(0).integers(60, 90, (96, 80, 3)).astype(np.uint8)
    picture[30:60, 25:55] = (200, 60, 50)
    return picture
