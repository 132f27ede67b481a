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

from samgeo.model.frame import at_zoom
from samgeo.model.mask_decoder import Decoded
from samgeo.model.nano_network import BLOCK_PX
from samgeo.model.sam import Features, Sam
from samgeo.model.scoring import describe
from samgeo.train.loop import Batch, in_unit_range, load, look, simulate
from samgeo.train.losses import mask_iou

ROUNDS = 2
"""Rounds of simulated prompts on each encoding."""
SIZES = (1, 0.5, 2)
"""Sizes at which a crop is seen."""
BETWEEN = 10.0
"""What differences between masks of one prompt weigh beside their IoU."""
NOISE = 0.5
"""What is added to a token at random, in deviations of all: its many numbers would be learned by heart."""


def calibrate(
    sam: Sam, batches: Dataset[Batch], *, steps: int, learning_rate: float = 2e-3, passes: int = 30, seed: int = 0
) -> float:
    """Train `sam.mask_scorer` in place on the masks of `steps` batches; returns the mean error of the last pass.

    passes: how often the described masks are gone through, which costs next to nothing.
    """
    assert sam.mask_scorer is not None
    facts, tokens, truth = (torch.cat(part) for part in zip(*_describe(sam, batches, steps, seed), strict=True))
    deviation = NOISE * tokens.flatten(0, 1).std(dim=0)  # (C,)
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
            noise = deviation * torch.randn(tokens[rows].shape, generator=generator).to(tokens)
            missed = scorer(facts[rows], tokens[rows] + noise) - truth[rows]  # (n, K), NaN where nothing was asked
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
        seen = {size: look(sam, part).repeat(masks.shape[1]) for size, part in _at_sizes(image).items()}
        plain = seen[1]
        objects = masks.flatten(0, 1).to(plain.stride16.device)
        generator = torch.Generator(objects.device).manual_seed((seed << 32) + step)
        for done in simulate(sam, plain, objects, rounds=ROUNDS, generator=generator):
            found = [_candidates(done.answer, plain, done.points, done.labels, objects, size=1)]
            for size in SIZES[1:]:
                if done.name == "later" or size not in seen:
                    facts, tokens, truth = found[0]
                    found.append((facts, tokens, torch.full_like(truth, torch.nan)))
                else:
                    points = (done.points + 0.5) * size - 0.5
                    answer = sam.decode(seen[size], points, done.labels)
                    found.append(_candidates(answer, seen[size], points, done.labels, objects, size=size))
            facts, tokens, truth = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
            yield facts, tokens, truth


def _at_sizes(image: Tensor | Features) -> dict[float, Tensor | Features]:
    """Images (B, 3, H, W) as of `Batch` at each of the `SIZES`.

    Features that were kept are of one size, and so are images whose half would not be whole blocks.
    """
    if isinstance(image, Features) or any(side % (2 * BLOCK_PX) for side in image.shape[-2:]):
        return {1: image}
    return {size: at_zoom(in_unit_range(image), size) for size in SIZES}


def _candidates(
    answer: Decoded, features: Features, points: Tensor, labels: Tensor, objects: Tensor, *, size: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Facts (N, 4, FACTS), tokens (N, 4, C) and true IoU (N, 4) of all masks of an answer. objects: (N, S, S) bool."""
    assert features.units is not None
    facts = describe(answer.logits, answer.iou, features.units, points, labels, zoom=size)
    logits = F.interpolate(answer.logits.float(), objects.shape[-2:], mode="bilinear")
    return facts, answer.tokens.float(), mask_iou(logits, objects[:, None])
