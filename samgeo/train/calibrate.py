"""Calibration: teach the scorer of a trained network how good its masks are. Nothing else changes.

Prompts are simulated as in training, and the first of each object is asked for at all sizes that `pyramid` looks at.
Each mask is described, and the scorer learns its IoU with the true object, and how far apart those of one prompt are,
which is what the choice among them needs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from samgeo.model.mask_decoder import Decoded
from samgeo.model.sam import Features, Sam
from samgeo.model.scoring import describe
from samgeo.train.loop import Batch, load, look, simulate

ROUNDS = 2
"""Rounds of simulated prompts on each encoding."""
SIZES = (1.0, 0.5, 2.0)
"""Sizes at which a crop is seen."""
BETWEEN = 3.0
"""What differences between masks of one prompt weigh beside their IoU."""


def calibrate(
    sam: Sam, batches: Dataset[Batch], *, steps: int, learning_rate: float = 2e-3, passes: int = 60, seed: int = 0
) -> float:
    """Train `sam.mask_scorer` in place on the masks of `steps` batches; returns the mean error of the last pass.

    passes: how often the described masks are gone through, which costs next to nothing.
    """
    assert sam.mask_scorer is not None
    facts, tokens, truth = (torch.cat(part) for part in zip(*_describe(sam, batches, steps, seed), strict=True))
    scorer = sam.mask_scorer.train()
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=learning_rate, weight_decay=0.1)
    generator = torch.Generator().manual_seed(seed)
    size = 512
    total = passes * -(-len(facts) // size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total)
    error = torch.zeros(())
    for _ in range(passes):
        errors = []
        for rows in torch.randperm(len(facts), generator=generator).split(size):
            missed = scorer(facts[rows], tokens[rows]) - truth[rows]  # (n, K), NaN where nothing was asked
            between = missed[:, :, None] - missed[:, None, :]  # (n, K, K)
            optimizer.zero_grad(set_to_none=True)
            (_mean_square(missed) + BETWEEN * _mean_square(between)).backward()
            optimizer.step()
            schedule.step()
            errors.append(missed.detach().abs().nanmean())
        error = torch.stack(errors).mean()
    sam.eval()
    return float(error)


def _mean_square(values: Tensor) -> Tensor:
    there = ~values.isnan()
    return (torch.where(there, values, 0) ** 2).sum() / there.sum()


@torch.no_grad()
def _describe(sam: Sam, batches: Dataset[Batch], steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Facts (N, K, FACTS), tokens (N, K, C) and true IoU (N, K) of the masks of each round: 4 at each of the `SIZES`.

    What is only asked for at the first size has NaN as its IoU at the others.
    """
    sam.eval()
    for step, (image, masks, _) in enumerate(load(batches, range(steps))):
        kept = isinstance(image, Features) or masks.shape[-1] % 64 > 0  # encoded before, or not to be halved
        sizes = SIZES[:1] if kept else SIZES
        shown = [look(sam, image if isinstance(image, Features) else at_size(image, size)) for size in sizes]
        seen = [features.repeat(masks.shape[1]) for features in shown]
        objects = masks.flatten(0, 1).to(seen[0].stride16.device)
        generator = torch.Generator(objects.device).manual_seed((seed << 32) + step)
        for done in simulate(sam, seen[0], objects, rounds=ROUNDS, generator=generator):
            found = [_candidates(done.answer, seen[0], done.points, done.labels, objects, size=SIZES[0])]
            for size, features in zip(sizes[1:], seen[1:], strict=True):
                if done.name == "later":
                    facts, tokens, truth = found[0]
                    found.append((facts, tokens, torch.full_like(truth, torch.nan)))
                else:
                    points = (done.points + 0.5) * size - 0.5
                    answer = sam.decode(features, points, done.labels)
                    found.append(_candidates(answer, features, points, done.labels, objects, size=size))
            facts, tokens, truth = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
            yield facts, tokens, truth


def at_size(image: Tensor, size: float) -> Tensor:
    """(B, 3, S, S) uint8 -> (B, 3, S size, S size) in 0..1, enlarged or reduced as `NativeFrame` does."""
    planes = image.float() / 255
    if size < 1:
        return F.avg_pool2d(planes, round(1 / size))
    return planes if size == 1 else F.interpolate(planes, scale_factor=size, mode="bilinear")


def _candidates(
    answer: Decoded, features: Features, points: Tensor, labels: Tensor, objects: Tensor, *, size: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Facts (N, 4, FACTS), tokens (N, 4, C) and true IoU (N, 4) of all masks of an answer. objects: (N, S, S) bool."""
    assert features.units is not None
    facts = describe(answer.logits, answer.iou, features.units, points, labels, zoom=size)
    drawn = F.interpolate(answer.logits.float(), objects.shape[-2:], mode="bilinear") > 0
    overlap = (drawn & objects[:, None]).sum(dim=(2, 3))
    return facts, answer.tokens.float(), overlap / (drawn | objects[:, None]).sum(dim=(2, 3)).clamp(min=1)
