"""Short sequences of frames and what is asked of them: of a tracker here, and of a reference's video predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samgeo.model.predict import Model
from samgeo.model.spec import ModelSpec
from samgeo.model.tracker import TrackedObject, Tracker
from tests.model.seeded import TINY, picture, sample, seeded_model

FRAMES = 8
HEIGHT, WIDTH = 90, 120
"""Of the frames that small members see."""
PRESENCE = "mask_decoder.pred_obj_score_head.layers.2.bias"
"""How a name ends: what is added to it says how sure the network is that an object is there."""
LOUD = {
    "maskmem_tpos_enc": 8,
    "mask_downsample.": 8,
    "memory_attention.layers.0.cross_attn_image.k_proj.weight": 4,
    "memory_encoder.fuser.layers.0.gamma": 10,
    "memory_encoder.fuser.layers.1.gamma": 10,
    "memory_encoder.mask_downsampler.encoder.9.weight": 4,
    "no_obj_ptr": 16,
    "obj_ptr_proj.": 2,
    "spatial_perceiver.latents": 4,
}
"""How names begin, and by what they are multiplied: else all memories are nearly the same."""

Outcome = dict[str, NDArray[Any]]
"""`STEP/OBJECT/FRAME/KIND`, KIND is logits (h, w), presence (1,), or full: (H, W) logits, or the mask, of the frame."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt for one object in one frame: one of the three."""

    object_id: str
    frame: int
    points: tuple[tuple[float, float, int], ...] = ()
    """x, y in 0..1 of the frame, and label."""
    box: tuple[float, float, float, float] = ()
    """x_min, y_min, x_max, y_max in 0..1 of the frame."""
    disc: tuple[float, float, float] = ()
    """A mask: x, y, radius in 0..1 of the frame's width; a radius of 0 is an empty mask."""


@dataclass(frozen=True, kw_only=True)
class Propagate:
    """Track from one frame to another."""

    start: int
    stop: int

    @property
    def reverse(self) -> bool:
        return self.stop < self.start


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is asked, one after the other."""

    steps: tuple[Prompt | Propagate, ...]
    corrections_stay: bool = True
    presence: float = 5.0
    """How sure the network is that objects are there: 5 is sure with these weights, 0.4 is now and then."""


LAST = FRAMES - 1
CORRECTION = (
    Prompt(object_id="a", frame=0, points=((0.44, 0.43, 1),)),
    Propagate(start=0, stop=LAST),
    Prompt(object_id="a", frame=5, points=((0.64, 0.53, 0),)),
    Prompt(object_id="a", frame=5, points=((0.49, 0.38, 1),)),
    Prompt(object_id="a", frame=3, points=((0.54, 0.48, 1),)),
    Propagate(start=4, stop=LAST),
    Propagate(start=LAST, stop=0),
)
SCRIPTS = {
    "click, box": Script(
        steps=(
            Prompt(object_id="a", frame=0, points=((0.42, 0.43, 1),)),
            Prompt(object_id="b", frame=2, box=(0.32, 0.33, 0.62, 0.63)),
            Propagate(start=0, stop=LAST),
            Propagate(start=2, stop=0),
        )
    ),
    "box with clicks": Script(
        steps=(
            Prompt(object_id="a", frame=4, box=(0.26, 0.29, 0.56, 0.59)),
            Prompt(object_id="a", frame=4, points=((0.31, 0.34, 1), (0.66, 0.69, 0))),
            Propagate(start=4, stop=1),
        )
    ),
    "mask, reverse": Script(
        steps=(
            Prompt(object_id="a", frame=3, disc=(0.4, 0.4, 0.2)),
            Propagate(start=3, stop=LAST),
            Propagate(start=3, stop=0),
            Prompt(object_id="a", frame=6, disc=(0.6, 0.5, 0.1)),
            Prompt(object_id="a", frame=6, points=((0.6, 0.5, 1),)),
            Propagate(start=LAST, stop=2),
        )
    ),
    "correction": Script(steps=CORRECTION),
    "correction forgotten": Script(steps=CORRECTION, corrections_stay=False),
    "hidden": Script(
        steps=(
            Prompt(object_id="a", frame=0, points=((0.36, 0.39, 1),)),
            Prompt(object_id="a", frame=4, disc=(0.5, 0.5, 0.0)),
            Prompt(object_id="b", frame=1, disc=(0.5, 0.5, 0.2)),
            Propagate(start=0, stop=LAST),
        ),
        presence=0.3705,
    ),
}
"""No pixel of a prompted frame is within 4e-5 of the edge of its mask. Memories hold which pixels are inside: one that
falls to the other side on another processor changes all later frames by 1e-2."""

TINY_TRACKERS = {
    "tiny-sam2": replace(TINY["tiny-sam2"], frame_px=128, memory={}),
    "tiny-sam2.1": replace(TINY["tiny-sam2"], name="tiny-sam2.1", frame_px=128, memory={"newer": True}),
    "tiny-edge-tam": replace(TINY["tiny-edge-tam"], frame_px=128),
}
"""Members with a memory, small."""


def clip(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Frames (height, width, 3) in which everything moves, and light changes."""
    image = picture(height, width).astype(np.int16)
    moved = (np.roll(image, (n * height // 60, n * width // 40), axis=(0, 1)) + 6 * n for n in range(FRAMES))
    return [frame.clip(0, 255).astype(np.uint8) for frame in moved]


def disc(height: int, width: int, circle: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The mask of a prompt, (height, width)."""
    y, x = np.mgrid[:height, :width]
    inside: NDArray[np.bool_] = np.hypot(x - circle[0] * width, y - circle[1] * height) < circle[2] * width
    return inside


def clip_model(spec: ModelSpec, script: Script) -> Model:
    """The network with seeded weights, as sure of objects as the script wants."""
    model: Model = seeded_model(spec)
    adjust(dict(model.sam.named_parameters()), script)
    return model


def adjust(weights: Mapping[str, Tensor], script: Script) -> None:
    """Make seeded weights remember, and as sure of objects as the script wants."""
    with torch.no_grad():
        for name, tensor in weights.items():
            for first, gain in LOUD.items():
                if name.startswith(first):
                    tensor.mul_(gain)
            if name.endswith(PRESENCE):
                tensor.add_(script.presence)


def packed(outcome: Outcome) -> Outcome:
    """Samples of everything: by kind, a row for each answer in the order of their names."""
    kinds = ("logits", "presence", "full")
    return {k: np.stack([sample(outcome[n], 32) for n in sorted(outcome) if n.endswith(k)]) for k in kinds}


def play(tracker: Tracker, script: Script, shape: tuple[int, int]) -> Outcome:
    """Everything that a tracker with the frames of a clip answers."""
    found: Outcome = {}
    for number, step in enumerate(script.steps):
        if isinstance(step, Prompt):
            shown = {step.frame: {step.object_id: _prompt(tracker, step, shape)}}
        else:
            tracked = tracker.propagate(start=step.start, stop=step.stop, reverse=step.reverse)
            shown = {seen.frame: seen.objects for seen in tracked}
        for frame, objects in shown.items():
            found |= _named(f"{number}", frame, objects, shape)
    return found


def _prompt(tracker: Tracker, prompt: Prompt, shape: tuple[int, int]) -> TrackedObject:
    (height, width), where = shape, (prompt.object_id, prompt.frame)
    if prompt.box:
        return tracker.add_box(*where, np.array(prompt.box) * (width, height, width, height))
    if prompt.disc:
        return tracker.add_mask(*where, disc(height, width, prompt.disc))
    points = np.array(prompt.points)
    return tracker.add_points(*where, points[:, :2] * (width, height), points[:, 2].astype(int))


def _named(number: str, frame: int, objects: Mapping[Any, TrackedObject], shape: tuple[int, int]) -> Outcome:
    found: Outcome = {}
    for object_id, shown in objects.items():
        name = f"{number}/{object_id}/{frame}"
        found[f"{name}/logits"] = shown.logits
        found[f"{name}/presence"] = np.array([shown.presence], np.float32)
        found[f"{name}/full"] = shown.mask.to_array(*shape)
    return found
