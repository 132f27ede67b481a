"""Teach the class head of a trained network what its masks show. Nothing else changes.

Masks are the true ones and those that the network draws for a click or a box. What a source's labels say of a mask is
learned, and no more: in a source that draws buildings alone, a mask that is no building may be a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samgeo.model.classes import ClassHead, pool, to_cells
from samgeo.model.sam import Features, Sam
from samgeo.model.vocabulary import CLASSES, class_of
from samgeo.train.crops import Crop
from samgeo.train.loop import Batches, simulate

SAME, OTHER = 0.6, 0.2
"""A mask with at least the first IoU with an object shows that object; with at most the second it does not."""
PASSES = 30
"""How often what was gathered is gone through."""


def known_classes(batches: Batches) -> Mapping[str, Tensor]:
    """For each group (len(CLASSES),) bool: classes of which every object is drawn, so that all else is another."""
    found = {}
    for name in batches.names:
        known = torch.zeros(len(CLASSES), dtype=torch.bool)
        for path in batches.groups[name]:
            labelled = batches.load(path)
            for mask in labelled.objects if labelled.complete else ():
                number = class_of(mask.label)
                if number is not None:
                    known[number] = True
        found[name] = known
    return found


def teach_classes(sam: Sam, batches: Batches, *, steps: int, learning_rate: float = 1e-3, seed: int = 0) -> float:
    """Train `sam.class_head` in place on the masks of `steps` batches; returns the mean error of the last pass."""
    head = sam.class_head
    assert isinstance(head, ClassHead)
    sam.eval()
    gathered = list(_gather(sam, batches, steps, seed))
    pooled, target, counts = (torch.cat(part) for part in zip(*gathered, strict=True))
    often = (target * counts).sum(dim=0).clamp(min=1)
    weight = counts * torch.where(target > 0, (often.mean() / often).sqrt().clamp(0.5, 4), 1)  # (n, K)
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0.02)
    generator = torch.Generator().manual_seed(seed)
    size = 256
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, PASSES * -(-len(pooled) // size))
    head.requires_grad_(requires_grad=True).train()
    error = torch.zeros(())
    for _ in range(PASSES):
        errors = []
        for rows in torch.randperm(len(pooled), generator=generator).split(size):
            logits = head(pooled[rows])
            loss = F.binary_cross_entropy_with_logits(logits, target[rows], weight=weight[rows], reduction="sum")
            loss = loss / weight[rows].sum().clamp(min=1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            wrong = ((logits > 0) != (target[rows] > 0.5)) * counts[rows]
            errors.append(wrong.sum() / counts[rows].sum().clamp(min=1))
        error = torch.stack(errors).mean()
    sam.eval()
    return float(error)


@torch.no_grad()
def _gather(sam: Sam, batches: Batches, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What masks look like (n, F), their classes (n, K) as 0 or 1, and where these are known (n, K) as 0 or 1."""
    known = known_classes(batches)
    for step in range(steps):
        generator = torch.Generator().manual_seed((seed << 32) + step)
        for name, crop in batches.crops(step):
            image = torch.from_numpy(np.array(crop.image)).permute(2, 0, 1)[None].float() / 255
            features = sam.encode(image)
            masks = _masks(sam, features, crop, generator)
            yield (pool(features, masks), *_truth(masks, crop, known[name]))


def _masks(sam: Sam, features: Features, crop: Crop, generator: torch.Generator) -> Tensor:
    """(n, h, w) bool: the true masks, and those that the network draws of each object at once."""
    objects = torch.from_numpy(crop.masks[: crop.count])
    (first,) = simulate(sam, features.repeat(len(objects)), objects, rounds=1, generator=generator)
    drawn = first.answer.logits.flatten(0, 1) > 0  # (4 N, h, w)
    return torch.cat([to_cells(torch.from_numpy(crop.masks[: crop.count])), drawn[drawn.flatten(1).any(dim=1)]])


def _truth(masks: Tensor, crop: Crop, known: Tensor) -> tuple[Tensor, Tensor]:
    """Classes of masks (n, K), and where they are known (n, K), as 0 or 1."""
    flat, true = masks.flatten(1).float(), to_cells(torch.from_numpy(crop.masks[: crop.count])).flatten(1).float()
    common = flat @ true.T
    iou = common / (flat.sum(dim=1)[:, None] + true.sum(dim=1)[None] - common).clamp(min=1)  # (n, N)
    best, which = iou.max(dim=1)
    numbers = [class_of(label) for label in crop.labels]
    target, counts = torch.zeros(len(masks), len(CLASSES)), torch.zeros(len(masks), len(CLASSES))
    whole = crop.count < len(crop.masks)
    for row, (value, index) in enumerate(zip(best.tolist(), which.tolist(), strict=True)):
        number = numbers[index]
        if value >= SAME:
            counts[row] = 1.0 if number is not None else known.float()  # a labelled object is of no other class
            if number is not None:
                target[row, number] = 1
        elif value <= OTHER and whole:
            counts[row] = 0.3 * known.float()
    return target, counts
