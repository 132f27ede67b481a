"""What training minimises: focal, dice and IoU losses.

Kirillov et al. 2023, appendix A, in other proportions (decision 6); Lin et al. 2017 (focal), Milletari et al. 2016
(dice).

Targets are soft: the share of each cell of the decoder's grid that the object covers, so that the upsampled outline can
run between cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT = 10.0, 1.0, 2.0


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal plus dice. logits (N, M, h, w), target (N, 1, h, w) in 0..1 -> (N, M)."""
    target = target.expand_as(logits)
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = ((probability - target).abs() ** 2 * cross_entropy).mean(dim=(-2, -1))  # (N, M)
    overlap = (probability * target).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1))
    dice = 1 - (2 * overlap + 1) / (total + 1)  # (N, M)
    return FOCAL_WEIGHT * focal + DICE_WEIGHT * dice


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of the masks cut at 0 with the target cut at a half: (N, M, h, w), (N, 1, h, w) -> (N, M)."""
    mask, truth = logits > 0, (target > 0.5).expand_as(logits)
    overlap = (mask & truth).sum(dim=(-2, -1))
    return overlap / (mask | truth).sum(dim=(-2, -1)).clamp(min=1)


def iou_loss(predicted: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the predicted IoU; (N, M) -> (N, M)."""
    return IOU_WEIGHT * (predicted - mask_iou(logits, target)) ** 2


def class_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """How badly cells are told apart by class: cross-entropy, and dice where a class is shown; a mean over classes.

    logits: (B, C, h, w), one class each. target: (B, C, h, w) in 0..1. known: (B, C, h, w), 1 where the target is.
    """
    known = known.flatten(2)  # (B, C, hw)
    logits, target = logits.float().flatten(2), target.flatten(2) * known
    count = known.sum(dim=2)  # (B, C)
    asked = count > 0
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    probability = logits.sigmoid() * known
    shown = target.sum(dim=2)
    dice = 1 - (2 * (probability * target).sum(dim=2) + 1) / (probability.sum(dim=2) + shown + 1)
    each = cross_entropy.sum(dim=2) / count.clamp(min=1) + dice * (shown > 1)
    return (each * asked).sum() / asked.sum().clamp(min=1)


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """How badly the features of an object's pixels tell it from what is around it; a mean over all objects.

    Each pixel is compared with the object's mean feature by cosine (a prototype, Snell et al. 2017), in the object and
    a ring of 32 px around it. Without it a network that starts from nothing draws blobs around clicks for thousands of
    steps before it looks at the image.

    features: (B, C, h, w) of stride 4. target: (B, K, h, w) in 0..1, K objects of each image.
    """
    unit = F.normalize(features.float(), dim=1).flatten(2)  # (B, C, hw)
    weights = target.flatten(2)  # (B, K, hw)
    prototypes = F.normalize(weights @ unit.transpose(1, 2), dim=2)  # (B, K, C)
    logits = 12 * ((prototypes @ unit) - 0.6)  # (B, K, hw)
    ring = F.max_pool2d(target, 17, stride=1, padding=8).flatten(2) > 0  # (B, K, hw)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, weights, reduction="none") * ring
    probability = logits.sigmoid() * ring
    dice = 1 - (2 * (probability * weights).sum(dim=2) + 1) / ((probability + weights * ring).sum(dim=2) + 1)
    return (cross_entropy.sum(dim=2) / ring.sum(dim=2).clamp(min=1) + dice).mean()
