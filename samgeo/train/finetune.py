"""Fine-tuning: a promptable model learns from a few outlines of one's own imagery, in minutes.

    decoder   the prompt encoder and the mask decoder learn. The image encoder does not, so what it makes of each window
              is kept, and a step costs next to nothing
    adapters  so do low-rank adapters in the image encoder's attention
    all       everything learns

Prompts are simulated as in `loop`. The result is a file of weights of the same model, which whatever loads the model
loads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from samgeo.errors import UsageError
from samgeo.model.build import official_names
from samgeo.model.frame import Frame
from samgeo.model.predict import Model
from samgeo.model.sam import Features, Sam
from samgeo.model.weights import NO_CLASSES
from samgeo.pixels import Window
from samgeo.train.adapters import add_adapters, merge_adapters
from samgeo.train.calibrate import calibrate
from samgeo.train.colours import vary_colours
from samgeo.train.crops import turn
from samgeo.train.labelled import LabelledImage
from samgeo.train.loop import Batch, TrainSettings, train
from samgeo.train.saving import write_weights

Tune = Literal["decoder", "adapters", "all"]

LEARNING_RATES: dict[Tune, float] = {"decoder": 3e-4, "adapters": 3e-4, "all": 1e-4}
"""Of AdamW, at its highest."""
KEPT_BYTES = 2 << 30
"""What kept features may take."""
MOST_KEPT = 8
"""Each window is kept so many times, differently turned and coloured."""
SCORED, SCORED_PX = 40, 512
"""Steps of prompts that the scorer learns from, and side of the crops that it sees, at three sizes each."""


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """What learns, how long and how fast. Raises UsageError for values that cannot be right."""

    tune: Tune = "decoder"
    """What learns."""
    steps: int = 300
    """Optimiser steps."""
    objects: int = 12
    """Objects of a window that are prompted in a step."""
    learning_rate: float | None = None
    """Of AdamW, at its highest; None: what suits `tune`."""
    seed: int = 0
    """Of windows, turns, colours and prompts."""

    def __post_init__(self) -> None:
        if self.tune not in get_args(Tune):
            raise UsageError(f"--tune {self.tune}: expected one of {', '.join(get_args(Tune))}")
        if self.steps < 1 or self.objects < 1:
            raise UsageError(f"{self.steps} steps of {self.objects} objects: expected at least 1 of both")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: expected 0 or more")

    def settings(self) -> TrainSettings:
        """As the loop takes them: a short warm-up, then down to 0 over most of the steps."""
        return TrainSettings(
            steps=self.steps,
            decay_steps=max(1, self.steps * 3 // 4),
            learning_rate=self.learning_rate or LEARNING_RATES[self.tune],
            weight_decay=0.01,
            ema=0.98,
            ema_after=0,
            batch_statistics=False,
            seed=self.seed,
            warm_steps=0,
            checkpoint_every=-(-self.steps // 6),
        )


class Shown(Dataset[Batch]):
    """Windows as the network's frame shows them, turned and coloured anew; batch i follows from seed and i alone."""

    def __init__(
        self, windows: Sequence[LabelledImage], frame: Frame, settings: FineTuning, *, crop_px: int | None = None
    ) -> None:
        """crop_px: show no more than such a square around an object."""
        self.windows, self.frame, self.settings, self.crop_px = windows, frame, settings, crop_px

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        """image (1, 3, H', W') as prepared, masks (1, K, H', W') bool."""
        rng = np.random.default_rng((self.settings.seed, step))
        window = self.windows[int(rng.integers(len(self.windows)))]
        if self.crop_px is not None:
            window = around(window, self.crop_px, rng)
        image, masks = self.show(window, rng, plain=False)
        return Batch(image, masks[:, drawn(masks.shape[1], self.settings.objects, rng)])

    def show(self, window: LabelledImage, rng: np.random.Generator, *, plain: bool) -> tuple[Tensor, Tensor]:
        """image (1, 3, H', W') and all masks (1, N, H', W') of a window; plain: as it is."""
        stack = np.stack([mask.to_array(*window.image.shape[:2]) for mask in window.objects], axis=2)  # (H, W, N)
        image = window.image
        if not plain:
            quarter, flip = int(rng.integers(4)), bool(rng.integers(2))
            image, stack = turn(image, quarter, flip=flip), turn(stack, quarter, flip=flip)
            image = vary_colours(np.ascontiguousarray(image), rng)
        shape = (image.shape[0], image.shape[1])
        prepared = self.frame.prepare(np.ascontiguousarray(image))
        masks = in_frame(np.ascontiguousarray(stack.transpose(2, 0, 1)), self.frame, shape, prepared.shape[-2:])
        return prepared, masks[None]


class Kept(Dataset[Batch]):
    """The same with what the image encoder made of each window, a few times over."""

    kept = True

    def __init__(self, shown: Shown, sam: Sam, report: Callable[[int, int], object] | None = None) -> None:
        """report: called with the number of encoded views and of all.

        Masks are kept packed, eight pixels to a byte: as bool they would take more than the features.
        """
        self.settings = shown.settings
        rng = np.random.default_rng(self.settings.seed)
        device = next(sam.parameters()).device
        self.views: list[tuple[Features, NDArray[np.uint8]]] = []
        copies = MOST_KEPT
        number = 0
        while number < copies * len(shown.windows):
            window = shown.windows[number % len(shown.windows)]
            image, masks = shown.show(window, rng, plain=number < len(shown.windows))
            with torch.inference_mode():
                features = sam.encode(image.to(device))
            self.views.append((_stored(features), np.packbits(masks[0], axis=2)))
            if number == 0:
                room = KEPT_BYTES // (_bytes(self.views[0]) * len(shown.windows))
                copies = int(min(max(room, 1), MOST_KEPT))
            number += 1
            if report is not None:
                report(number, copies * len(shown.windows))

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        """Features of one image, masks (1, K, H', W') bool."""
        rng = np.random.default_rng((self.settings.seed, step))
        features, packed = self.views[rng.integers(len(self.views))]
        chosen = packed[drawn(len(packed), self.settings.objects, rng)]
        masks = np.unpackbits(chosen, axis=2, count=4 * features.logits_size[1]).view(np.bool_)
        return Batch(features, torch.from_numpy(masks)[None])


def drawn(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(wanted,) numbers of `count` objects at random; again and again where there are fewer."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-wanted // count))])[:wanted]


def around(window: LabelledImage, side_px: int, rng: np.random.Generator) -> LabelledImage:
    """A square of at most this side around a place in one of the objects, and what of them reaches into it."""
    mask = window.objects[int(rng.integers(len(window.objects)))]
    place = np.argwhere(mask.pixels)[int(rng.integers(mask.area_px))] + (mask.window.row, mask.window.col)
    shape = np.array(window.image.shape[:2])
    side = np.minimum(side_px, shape)
    row, col = np.clip(place - side // 2, 0, shape - side).tolist()
    square = Window(row=row, col=col, height=int(side[0]), width=int(side[1]))
    return window.crop(square, min_share=0)


def in_frame(masks: NDArray[np.bool_], frame: Frame, shape: tuple[int, int], size: Sequence[int]) -> Tensor:
    """(N, H, W) masks of an image of `shape` -> (N, H', W') bool in its frame of `size`; none is left empty."""
    height, width = shape
    corners = frame.to_frame(np.array([[0, 0], [width - 1, height - 1]], np.float32), shape)
    scale = (corners[1] - corners[0]) / np.maximum([width - 1, height - 1], 1)  # x, y
    inner = [max(1, round(height * float(scale[1]))), max(1, round(width * float(scale[0])))]
    left, top = np.maximum(np.rint(corners[0] - (scale - 1) / 2), 0).astype(int).tolist()
    grey = torch.from_numpy(masks)[:, None].float()
    if inner != [height, width]:
        grey = F.interpolate(grey, inner, mode="bilinear", antialias=True)
    grey = F.pad(grey[:, 0], (left, size[1] - left - inner[1], top, size[0] - top - inner[0]))
    peak = grey.flatten(1).amax(dim=1).clamp(min=1e-6)[:, None, None]
    return grey >= 0.5 * peak  # what is thinner than a pixel stays


def fine_tune(
    model: Model,
    windows: Sequence[LabelledImage],
    settings: FineTuning,
    folder: Path,
    *,
    report: Callable[[str, int, int], object] | None = None,
) -> None:
    """Teach a model what is drawn in windows, in place. What was begun in `folder` with the same is gone on with.

    report: called with a phase ("encoding", "training"), how much is done, and of how much.
    """
    sam = model.sam
    torch.manual_seed(settings.seed)
    sam.requires_grad_(requires_grad=settings.tune == "all")
    for part in (sam.prompt_encoder, sam.mask_decoder):
        part.requires_grad_(requires_grad=True)
    if settings.tune == "adapters" and not add_adapters(sam.image_encoder):
        raise UsageError(f"--tune adapters: {model.name} has no attention that takes them. Fix: --tune all")
    _begin(folder, {"model": model.sha256, **asdict(settings), "windows": _digest(windows)})
    tell = report or (lambda _phase, _done, _total: None)
    shown = Shown(windows, sam.frame, settings)
    batches: Dataset[Batch] = shown
    if settings.tune == "decoder":
        batches = Kept(shown, sam, partial(tell, "encoding"))
    averaged = train(
        sam, batches, settings.settings(), folder, report=lambda step: tell("training", step, settings.steps)
    )
    sam.load_state_dict(averaged.state_dict())
    merge_adapters(sam.image_encoder)
    if sam.mask_scorer is not None:
        sam.mask_scorer.requires_grad_(requires_grad=True)
        cropped = Shown(windows, sam.frame, settings, crop_px=SCORED_PX)
        calibrate(sam, cropped, steps=min(SCORED, settings.steps), learning_rate=3e-4, passes=3, seed=settings.seed + 1)
    sam.eval().requires_grad_(requires_grad=False)
    model.forget()


def save_weights(model: Model, out: Path, *, tune: Tune = "decoder", overwrite: bool = False) -> None:
    """Write the weights under their official names; what loads the published file loads this one.

    tune: what learned. A class head does not know the features of an encoder that did, and is left out from then on.
    """
    official = official_names(model.spec.architecture, model.sam.state_dict())
    metadata = {"architecture": model.spec.architecture, "name": out.stem}
    if tune != "decoder":
        metadata[NO_CLASSES] = "the image encoder learned, its class head did not"
    write_weights(official, out, metadata, overwrite=overwrite)


def _begin(folder: Path, plan: dict[str, object]) -> None:
    """Make the folder; what was begun there with another plan is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "plan.json", json.dumps(plan, indent=2, default=str)
    if not path.exists() or path.read_text() != text:
        for name in ("checkpoint.pt", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
        path.write_text(text)


def _digest(windows: Sequence[LabelledImage]) -> str:
    digest = hashlib.sha256()
    for window in windows:
        digest.update(window.image.tobytes())
        for mask in window.objects:
            digest.update(repr(mask.window).encode() + mask.pixels.tobytes())
    return digest.hexdigest()


def _stored(features: Features) -> Features:
    """In 16 bit, in memory."""
    kept = {k: v.half().cpu().clone() for k, v in features._asdict().items() if v is not None}
    return Features(**kept)


def _bytes(view: tuple[Features, NDArray[np.uint8]]) -> int:
    return sum(array.nbytes for array in (*view[0], view[1]) if array is not None)
