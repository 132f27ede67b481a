"""Calibration: teach the scorer of a trained network how good its masks are. Nothing else changes.

Prompts are simulated as in training; each mask is described, and the scorer learns its IoU with the true object, and
how far apart those of an ambiguous prompt's masks are, which is what the choice among them needs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from samgeo.model.sam import Sam
from samgeo.model.scoring import describe
from samgeo.train.loop import Batch, load, look, simulate
from samgeo.train.losses import mask_iou

ROUNDS = 2
"""Rounds of simulated prompts on each encoding."""
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
            missed = scorer(facts[rows], tokens[rows]) - truth[rows]  # (n, 4)
            between = missed[:, 1:, None] - missed[:, None, 1:]  # (n, 3, 3)
            optimizer.zero_grad(set_to_none=True)
            ((missed**2).mean() + BETWEEN * (between**2).mean()).backward()
            optimizer.step()
            schedule.step()
            errors.append(missed.detach().abs().mean())
        error = torch.stack(errors).mean()
    sam.eval()
    return float(error)


@torch.no_grad()
def _describe(sam: Sam, batches: Dataset[Batch], steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Facts (N, 4, FACTS), tokens (N, 4, C) and true IoU (N, 4) of the masks of each round."""
    sam.eval()
    for step, (image, masks, _) in enumerate(load(batches, range(steps))):
        features = look(sam, image)
        objects = masks.flatten(0, 1).to(features.stride16.device)
        generator = torch.Generator(objects.device).manual_seed((seed << 32) + step)
        assert features.units is not None
        for done in simulate(sam, features.repeat(masks.shape[1]), objects, rounds=ROUNDS, generator=generator):
            logits, iou, tokens = done.answer
            yield (
                describe(logits, iou, features.units, done.points, done.labels),
                tokens.float(),
                mask_iou(logits, done.target),
            )
