"""The training loop: draw crops, simulate a user for a few rounds, descend.

Crops of two sizes take turns: many small ones for variety, a few large ones for context. The batch of step i depends on
the seed and i alone, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from samgeo.errors import UsageError
from samgeo.model.frame import NativeFrame
from samgeo.model.mask_decoder import Decoded
from samgeo.model.precision import has_fast_bf16
from samgeo.model.sam import Features, Sam
from samgeo.model.vocabulary import CLASSES
from samgeo.train import team
from samgeo.train.colours import take_tones, vary_colours
from samgeo.train.crops import Crop, draw_crop
from samgeo.train.interaction import STRIDE_PX, first_clicks, next_clicks, noisy_boxes
from samgeo.train.labelled import LabelledImage
from samgeo.train.losses import class_loss, feature_loss, iou_loss, mask_iou, mask_loss
from samgeo.train.mixing import hide, paste
from samgeo.train.optimizers import Optimizer, make_optimizers

TAUGHT_LATER = ("mask_scorer.", "class_head.")
"""Parts of a network that learn from its finished masks."""
LEFT_OUT = 0.3
"""How often a mask is left out at first, see `best_of_some`."""
REPEATED = 0.2
"""How often a later round brings the last mask alone and no click, as 2 of 10 of SAM's do."""
BOX_NOISE = (0.1, 0.03, 0.01)
"""How sloppily boxes are drawn, by turns: deviation of a side as a share of the box's own."""
LOG_EVERY = 20
"""Steps to a line of metrics."""
FRAME_PX = 1024
"""Positions refer to a frame of this side; a crop is placed anywhere in it."""


class Batch(NamedTuple):
    """What a step learns from."""

    image: Tensor | Features
    """(B, 3, S, S), uint8 RGB or as the network's frame prepares them, or what the encoder made of them."""
    masks: Tensor
    """(B, K, S, S) bool, K objects of each."""
    classes: Tensor | None = None
    """(B, 2, S, S), `Crop.shown` and `Crop.known` of each, where classes are known."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long and how fast to train."""

    steps: int
    """Optimiser steps in all."""
    decay_steps: int
    """The last steps, over which the learning rate falls to 0; before them it is constant after a warm-up."""
    optimizer: Optimizer = "adamw"
    """What moves the weights."""
    learning_rate: float = 1e-3
    """Of the optimizer, at its highest."""
    weight_decay: float = 0.05
    """Of the optimizer, on matrices and convolutions."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is kept in the end."""
    ema_after: int = 100
    """The first steps, which the average leaves out."""
    batch_statistics: bool = True
    """Whether norms of batches learn from what they see, which needs many images."""
    seed: int = 0
    """Of crops and simulated prompts."""
    layouts: tuple[tuple[int, int, int], ...] = ((256, 8, 4), (256, 8, 4), (256, 8, 4), (512, 2, 6))
    """(crop px, images, objects an image) of the steps, by turns."""
    warm_steps: int = 800
    """The first steps, over which masks are left out at random less and less, see `best_of_some`."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    pasted: float = 0.15
    """Share of the crops onto which objects of another crop are pasted."""
    toned: float = 0.1
    """Share of the crops that take the colours of another crop."""
    hidden: float = 0.05
    """Share of the crops in which the data ends."""
    accumulate: int = 1
    """Batches whose gradients are averaged for a step: what large steps cost where memory holds small batches only."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.accumulate < 1:
            raise UsageError(f"{self.steps} steps of {self.accumulate} batches: expected at least 1 of both")


class Batches(Dataset[Batch]):
    """Batch i as a function of the seed and i, whoever trains on it."""

    def __init__(
        self, groups: Mapping[str, Sequence[Path]], weights: Mapping[str, float], settings: TrainSettings
    ) -> None:
        """groups: files of `LabelledImage`s by name. weights: how often each group is drawn from, in proportion."""
        self.groups = {name: list(files) for name, files in groups.items() if files}
        self.names = sorted(self.groups)
        share = np.array([weights[name] for name in self.names], dtype=float)
        self.share = share / share.sum()
        self.settings = settings
        self._images: dict[Path, LabelledImage] = {}

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        """The crops of a step."""
        crops = [crop for _, crop in self.crops(step)]
        image = torch.from_numpy(np.stack([c.image for c in crops])).permute(0, 3, 1, 2)
        masks = torch.from_numpy(np.stack([c.masks for c in crops]))
        classes = torch.from_numpy(np.stack([np.stack([c.shown, c.known]) for c in crops]))
        return Batch(image, masks, classes)

    def crops(self, step: int) -> list[tuple[str, Crop]]:
        """The crops of a step, each with the group that it is from."""
        rng = np.random.default_rng((self.settings.seed, step))
        size_px, images, objects = self.settings.layouts[step % len(self.settings.layouts)]
        crops: list[tuple[str, Crop]] = []
        while len(crops) < images:
            name, crop = self._draw(rng, size_px, objects)
            if rng.random() < self.settings.pasted:
                crop = paste(crop, self._draw(rng, size_px, objects)[1], rng)
            image = crop.image
            if rng.random() < self.settings.toned:
                image = take_tones(image, self._draw(rng, size_px, 1)[1].image, rng.uniform(0.3, 1))
            crop = replace(crop, image=vary_colours(image, rng))
            crops.append((name, hide(crop, rng) if rng.random() < self.settings.hidden else crop))
        return crops

    def _draw(self, rng: np.random.Generator, size_px: int, objects: int) -> tuple[str, Crop]:
        """A crop of one of the groups as it is, and the group's name."""
        while True:
            name = self.names[rng.choice(len(self.names), p=self.share)]
            files = self.groups[name]
            labelled = self.load(files[rng.integers(len(files))])
            crop = draw_crop(labelled, rng, size_px=size_px, objects=objects)
            if crop is not None:
                return name, crop

    def load(self, path: Path) -> LabelledImage:
        """One of the files, read once."""
        if path not in self._images:
            self._images[path] = LabelledImage.load(path)
        return self._images[path]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round of simulated interaction asked, and what the network answered, for N objects."""

    points: Tensor
    """(N, T, 2) x,y of all clicks so far and of the box's corners."""
    labels: Tensor
    """(N, T): 1, 0, box corners 2 and 3, padding -1."""
    answer: Decoded
    """All four masks."""
    target: Tensor
    """(N, 1, h, w), the share of each cell that the object covers."""
    name: str
    """"box" or "click" in the first round, then "later"."""

    @property
    def ambiguous(self) -> bool:
        """True if all that is known is one click."""
        return self.name == "click"

    def picked(self) -> Tensor:
        """(N,) index of the mask that goes on: the best of three by the predicted IoU if ambiguous, else the first."""
        if self.ambiguous:
            return self.answer.iou[:, 1:].argmax(dim=1) + 1
        return torch.zeros_like(self.labels[:, 0])


def simulate(
    sam: Sam,
    features: Features,
    masks: Tensor,
    *,
    rounds: int,
    generator: torch.Generator,
    by_box: bool | None = None,
    repeated: float = 0,
) -> Iterator[Round]:
    """A few rounds of simulated prompts on one encoding: a noisy box or a click, then clicks on what is still wrong.

    features: of N objects. masks: (N, S, S) bool, the true objects. by_box: what it begins with; None draws lots.
    repeated: how often a later round has no new click, but the mask of the one before alone.
    """
    target = F.avg_pool2d(masks[:, None].float(), STRIDE_PX)  # (N, 1, h, w)
    n, device = len(masks), masks.device
    draw = partial(torch.rand, generator=generator, device=device)
    origin = draw(n, 2) * (FRAME_PX - masks.shape[-1]) if isinstance(sam.frame, NativeFrame) else None
    if by_box is None:
        by_box = bool(draw(()) < 0.5)
    boxes = noisy_boxes(masks, noise=BOX_NOISE[int(draw(()) * len(BOX_NOISE))], generator=generator)
    points = torch.zeros(n, 0, 2, device=device) if by_box else first_clicks(target, generator=generator)
    labels = torch.full((n, points.shape[1]), 1, device=device)
    logits: Tensor | None = None
    for index in range(rounds):
        clicks, kinds = sam.list_prompts(points, labels, boxes if by_box else None)
        answer = sam.decode(features, clicks, kinds, logits, origin_px=origin)
        name = "later" if index else "box" if by_box else "click"
        answer = Decoded(answer.logits.float(), answer.iou.float(), answer.tokens)
        done = Round(points=clicks, labels=kinds, answer=answer, target=target, name=name)
        yield done
        if index + 1 < rounds:
            logits = answer.logits[torch.arange(n, device=device), done.picked()][:, None].detach()  # (N, 1, h, w)
            if repeated and bool(draw(()) < repeated):
                continue
            more, kind = next_clicks(logits, target, generator=generator)
            points, labels = torch.cat([points, more], dim=1), torch.cat([labels, kind], dim=1)


def interact(
    sam: Sam, features: Features, masks: Tensor, *, rounds: int, left_out: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The mean loss of simulated rounds, and what was reached: by a box and by a click, and from one of them further.

    rounds: of the one that goes further. left_out: see `best_of_some`.
    -> "loss" with its graph, and the mean IoU of the "box", the "click" and the "best" of its masks, and of the "last".
    """
    loss = torch.zeros((), device=masks.device)
    report: dict[str, Tensor] = {}
    begin_by_box = bool(torch.rand((), generator=generator, device=masks.device) < 0.5)
    begin = partial(simulate, sam, features, masks, generator=generator)
    further = begin(rounds=rounds, by_box=begin_by_box, repeated=REPEATED)
    for done in chain(begin(rounds=1, by_box=not begin_by_box), further):
        logits, iou, _ = done.answer
        losses = mask_loss(logits, done.target)  # (N, 4)
        picked = losses[:, :1].mean()
        if done.ambiguous:
            picked = picked + best_of_some(losses[:, 1:], left_out, generator=generator).mean()
        weight = 2 if done.ambiguous else 1
        loss = loss + picked + weight * iou_loss(iou, logits.detach(), done.target).mean()
        reached = mask_iou(logits, done.target)
        of_picked = reached.gather(1, done.picked()[:, None]).mean()
        report.setdefault(done.name, of_picked)
        if done.ambiguous:
            report["best"] = reached[:, 1:].max(dim=1).values.mean()
        report["last"] = of_picked
    report.pop("later", None)
    return {"loss": loss / (rounds + 1), **report}


def best_of_some(losses: Tensor, left_out: float, *, generator: torch.Generator) -> Tensor:
    """The smallest of each object's losses, where each is left out with a probability of `left_out`. (N, 3) -> (N,).

    SAM takes the smallest of all three; from nothing, the mask that is best first would then take every object, and
    the other two would never learn. A small share of all keeps them near.
    """
    absent = torch.rand(losses.shape, generator=generator, device=losses.device) < left_out
    absent &= ~absent.all(dim=1, keepdim=True)
    return losses.masked_fill(absent, math.inf).min(dim=1).values + 0.05 * losses.mean(dim=1)


def train(
    sam: Sam,
    batches: Dataset[Batch],
    settings: TrainSettings,
    folder: Path,
    *,
    stop_after: int | None = None,
    report: Callable[[int], object] | None = None,
) -> Sam:
    """Train in place what requires gradients, resuming from `folder/checkpoint.pt` if it is there.

    batches: by step; see `Batch`. Writes `metrics.jsonl` (one line each 20 steps) and `checkpoint.pt` to `folder`.
    stop_after: leave after this step, to be resumed later. report: called with the number of each step that is done.
    Returns the network with the averaged weights. In a `team` each process takes other batches, and the first writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learning = [p for name, p in sam.named_parameters() if p.requires_grad and not name.startswith(TAUGHT_LATER)]
    optimizers = make_optimizers(
        learning, settings.optimizer, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = torch.optim.swa_utils.AveragedModel(
        sam, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema), use_buffers=True
    )
    several = team.size() * settings.accumulate
    start = _resume(folder / "checkpoint.pt", sam, average, optimizers, settings, several)
    end = min(settings.steps, stop_after or settings.steps)
    own = range(team.number(), several, team.size())  # of the batches of a step
    loader = iter(load(batches, [step * several + k for step in range(start, end) for k in own]))
    sam.train(settings.batch_statistics)
    seen: list[dict[str, float]] = []
    if team.number() == 0:
        _forget_after(folder / "metrics.jsonl", start)
    began = time.monotonic()
    for step in range(start, end):
        for group in [group for optimizer in optimizers for group in optimizer.param_groups]:
            group["lr"] = settings.learning_rate * schedule(step, settings)
        left_out = LEFT_OUT * max(0.0, 1 - step / settings.warm_steps) if settings.warm_steps else 0.0
        for k in own:
            seed = (settings.seed << 32) + step * several + k
            seen.append(_learn(sam, next(loader), left_out=left_out, seed=seed))
        _move(learning, optimizers, settings.accumulate)
        team.average_buffers(sam)
        if step >= settings.ema_after:
            average.update_parameters(sam)
        last = step + 1 == end
        if (step + 1) % LOG_EVERY == 0:
            seconds = (time.monotonic() - began) / min(LOG_EVERY, step + 1 - start)
            if team.number() == 0:
                _log(folder / "metrics.jsonl", step + 1, seen, seconds=seconds)
            seen, began = [], time.monotonic()
        if (last or (step + 1) % settings.checkpoint_every == 0) and team.number() == 0:
            _save(folder / "checkpoint.pt", step + 1, sam, average, optimizers, settings)
        if report is not None:
            report(step + 1)
    averaged = average.module
    assert isinstance(averaged, Sam)
    return averaged


def schedule(step: int, settings: TrainSettings) -> float:
    """Share of the learning rate at a step: a short warm-up, constant, and a linear fall to 0 (Hu et al. 2024, WSD)."""
    return min(1.0, (step + 1) / 100, (settings.steps - step) / settings.decay_steps)


def _learn(sam: Sam, batch: Batch, *, left_out: float, seed: int) -> dict[str, float]:
    """Add the gradients of one batch to those that are there; returns losses and IoUs by name."""
    device = next(sam.parameters()).device
    masks = batch.masks.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    rounds = 1 + int(torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1], device=device), 1, generator=generator))
    fast = has_fast_bf16(device)
    kernels = [SDPBackend.MATH] if fast else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]  # by measurement
    with torch.autocast(device.type, torch.bfloat16, enabled=fast), sdpa_kernel(kernels):
        features, objects = look(sam, batch.image), masks.flatten(0, 1)
        report = interact(
            sam, features.repeat(masks.shape[1]), objects, rounds=rounds, left_out=left_out, generator=generator
        )
        loss = report["loss"]
        if features.units is not None and features.units.requires_grad:
            report["features"] = feature_loss(features.units, F.avg_pool2d(masks.float(), STRIDE_PX))
            loss = loss + report["features"]
        if sam.class_map is not None and batch.classes is not None:
            target, known = class_cells(batch.classes.to(device))
            report["classes"] = class_loss(sam.class_map(features), target, known)
            loss = loss + report["classes"]
    loss.backward()
    return {name: float(value.detach()) for name, value in report.items()}


def class_cells(bits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2, S, S) as of `Batch.classes` -> share of each cell that is of a class, and 1 where that is known.

    Both (B, len(CLASSES), S/4, S/4).
    """
    planes = [(bits & 1 << k).ne(0).float() for k in range(len(CLASSES))]  # (B, 2, S, S) each
    shown, known = torch.stack([F.avg_pool2d(plane, STRIDE_PX) for plane in planes], dim=2).unbind(dim=1)
    return shown, (known == 1).float()


def _move(learning: Sequence[nn.Parameter], optimizers: Sequence[torch.optim.Optimizer], accumulated: int) -> None:
    """One step down the mean of the accumulated gradients, unless they are not finite."""
    if accumulated > 1:
        for parameter in learning:
            if parameter.grad is not None:
                parameter.grad /= accumulated
    team.average_gradients(learning)
    norm = torch.nn.utils.clip_grad_norm_(learning, 1.0)
    for optimizer in optimizers:
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def look(sam: Sam, image: Tensor | Features) -> Features:
    """The features of a batch's images on the network's device, or those that were kept."""
    device = next(sam.parameters()).device
    if isinstance(image, Features):
        return Features(**{k: v.to(device).float() for k, v in image._asdict().items() if v is not None})
    return sam.encode(in_unit_range(image.to(device)))


def in_unit_range(image: Tensor) -> Tensor:
    """uint8, or what a frame has prepared, as the image encoder reads it."""
    return image if image.is_floating_point() else image.float() / 255


def load(batches: Dataset[Batch], steps: Sequence[int]) -> DataLoader[Batch]:
    """Batches drawn in another process, or kept ones from this one, which holds them."""
    if getattr(batches, "kept", False):
        return DataLoader(batches, batch_size=None, sampler=steps)
    return DataLoader(batches, batch_size=None, sampler=steps, num_workers=1, prefetch_factor=4)


def _forget_after(path: Path, step: int) -> None:
    """Take out of the metrics what came after a checkpoint and comes again, and a line that was not finished."""
    if path.exists():
        whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
        path.write_text("".join(f"{line}\n" for line in whole if json.loads(line)["step"] <= step))


def _log(path: Path, step: int, seen: Sequence[Mapping[str, float]], *, seconds: float) -> None:
    names = sorted({name for line in seen for name in line})
    means = {n: round(float(np.mean([line[n] for line in seen if n in line])), 4) for n in names}
    with path.open("a") as file:
        file.write(json.dumps({"step": step, "seconds": round(seconds, 3), **means}) + "\n")


def _save(
    path: Path,
    step: int,
    sam: Sam,
    average: torch.optim.swa_utils.AveragedModel,
    optimizers: Sequence[torch.optim.Optimizer],
    settings: TrainSettings,
) -> None:
    state = {
        "step": step,
        "model": sam.state_dict(),
        "average": average.state_dict(),
        "optimizer": [optimizer.state_dict() for optimizer in optimizers],
        "settings": asdict(settings),
        "batches_a_step": team.size() * settings.accumulate,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(
    path: Path,
    sam: Sam,
    average: torch.optim.swa_utils.AveragedModel,
    optimizers: Sequence[torch.optim.Optimizer],
    settings: TrainSettings,
    several: int,
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location=next(sam.parameters()).device)
    if state.get("batches_a_step", several) != several:
        raise UsageError(
            f"{path}: a step had {state['batches_a_step']} batches; found {several}: other batches would follow. Fix: "
            "as many processes times --accumulate as before, or another folder"
        )
    before = settings.optimizer
    if state["optimizer"] is not None:
        before = state["settings"].get("optimizer", "an earlier version")
    if before != settings.optimizer:
        raise UsageError(f"{path}: trained with {before}; found {settings.optimizer}. Fix: the same, or another folder")
    sam.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    for optimizer, stored in zip(optimizers, state["optimizer"] or [], strict=False):
        optimizer.load_state_dict(stored)
        for parameter, known in optimizer.state.items():  # in its memory format, as fused steps expect
            for name, value in known.items():
                if value.shape == parameter.shape:
                    known[name] = torch.empty_like(parameter).copy_(value)
    return int(state["step"])


def parameters_in_millions(sam: Sam) -> float:
    """Number of parameters, in millions."""
    return sum(math.prod(p.shape) for p in sam.parameters()) / 1e6
