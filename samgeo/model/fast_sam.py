"""FastSAM fulfils the contract (Zhao et al. 2023): one pass finds all instances, a prompt chooses among them.

    encode    instances above a score, without duplicates: boxes, coefficients, and the prototypes they share
    decode    a box, a mask: the instances with the highest IoU with it. A click: those that it lies on. Several clicks:
              from the largest to the smallest, instances under clicks on the object are added, others under clicks
              beside it are taken away
    find_all  every instance, for everything-mode

Written from the paper. The published weights are AGPL-3.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samgeo.model.automatic import box_iou
from samgeo.model.frame import LOGIT_PX, LetterboxFrame
from samgeo.model.predict import cut_out
from samgeo.model.running import Running
from samgeo.model.yolo import FastSamNetwork
from samgeo.pixels import BACKGROUND, FOREGROUND, Mask, PixelPrompts

LEAST_SCORE = 0.25
"""Cells that are less sure propose nothing; everything-mode asks for more."""
BOX_IOU = 0.9
"""Of two instances whose boxes have a higher IoU the less sure one is dropped."""
MOST_CELLS, MOST = 3000, 500
"""So many of the surest cells are compared with each other, and so many instances are kept."""
SNAP_PX = 20
"""Sides of boxes that come so near to the border of the image lie on it."""
WHOLE_IOU = 0.9
"""A box with a higher IoU with the whole image is the whole image."""
LOGIT_LIMIT = 16.0
"""Logits of cells are cut to plus and minus this; outside of its box an instance has the lower one."""

Recipe = tuple[tuple[int, bool], ...]
"""How a mask is put together: instances in turn, True to add one, False to take it away."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceEmbedding:
    """The K instances of one image."""

    boxes: Tensor
    """(K, 4) x_min, y_min, x_max, y_max in pixels of the frame; an integer is a pixel's corner."""
    scores: Tensor
    """(K,) descending."""
    coefficients: Tensor
    """(K, 32)."""
    prototypes: Tensor
    """(32, h, w)."""
    shape: tuple[int, int]
    """(H, W) of the image, in pixels."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays: what a cache stores."""
        names = ("boxes", "scores", "coefficients", "prototypes")
        return {name: getattr(self, name).cpu().numpy() for name in names}

    def logits(self, indices: Tensor) -> Tensor:
        """(k,) -> (k, h, w), limited, and cut to the boxes."""
        return self.sums(indices).clamp(-LOGIT_LIMIT, LOGIT_LIMIT).masked_fill(~self.inside(indices), -LOGIT_LIMIT)

    def sums(self, indices: Tensor) -> Tensor:
        """(k,) -> (k, h, w), the prototypes weighed by the coefficients of instances, as the network means them."""
        h, w = self.prototypes.shape[-2:]
        flat = self.coefficients[indices].float() @ self.prototypes.float().flatten(1)  # (k, hw)
        return flat.view(-1, h, w)

    def inside(self, indices: Tensor, *, beyond_px: float = 0) -> Tensor:
        """(k,) -> (k, h, w) bool, cells whose centres lie in the boxes or this far around, in pixels of the frame."""
        h, w = self.prototypes.shape[-2:]
        x0, y0, x1, y1 = self.boxes[indices].float()[:, :, None].unbind(dim=1)  # (k, 1) each
        x = LOGIT_PX * (torch.arange(w, device=x0.device) + 0.5)
        y = LOGIT_PX * (torch.arange(h, device=x0.device) + 0.5)
        in_x = (x >= x0 - beyond_px) & (x < x1 + beyond_px)  # (k, w)
        in_y = (y >= y0 - beyond_px) & (y < y1 + beyond_px)  # (k, h)
        return in_y[:, :, None] & in_x[:, None, :]

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(K, h, w), True on each instance."""
        return (self.logits(torch.arange(len(self.scores), device=self.scores.device)) > 0).cpu().numpy()


class InstanceModel(Running[FastSamNetwork]):
    """FastSAM with its name, device and precision; fulfils `contract.PromptableModel` and `contract.FindsAll`."""

    @overload
    def encode(self, image: NDArray[np.uint8]) -> InstanceEmbedding: ...
    @overload
    def encode(self, image: Sequence[NDArray[np.uint8]]) -> list[InstanceEmbedding]: ...
    def encode(
        self, image: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
    ) -> InstanceEmbedding | list[InstanceEmbedding]:
        """Find the instances of one (H, W, 3) uint8 RGB image, or of each of a list.

        Raises ModelError for an array of another shape or type.
        """
        if not isinstance(image, np.ndarray):
            return [self.encode(one) for one in image]
        found = self.look(image, self.sam)
        shape = (image.shape[0], image.shape[1])
        boxes, scores = found.boxes[0].float(), found.scores[0].float()
        kept = distinct(boxes, scores)
        return InstanceEmbedding(
            boxes=snapped(boxes[kept], self.sam.frame.inner_box(shape)),
            scores=scores[kept],
            coefficients=found.coefficients[0, kept].to(self._stored),
            prototypes=found.prototypes[0].to(self._stored),
            shape=shape,
        )

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]) -> InstanceEmbedding:
        """The embedding whose `arrays()` these are; `shape` is the (H, W) of its image."""
        tensors = {name: self.tensor(np.array(array)) for name, array in arrays.items()}
        return InstanceEmbedding(**tensors, shape=shape)

    def decode(self, embedding: InstanceEmbedding, prompts: PixelPrompts, *, multimask: bool = True) -> InstanceMasks:
        """The instances that each of N prompts chooses: M = 3, the best first, with `multimask`, else M = 1.

        Where fewer fit, masks are empty and their score is 0. Raises PromptError for coordinates that are not finite,
        or masks of another size than `logits` have.
        """
        chosen = [choose(embedding, one, multimask=multimask) for one in self._cells(embedding, prompts)]
        scores = _filled_up(chosen, 3 if multimask else 1)
        return InstanceMasks(self.sam.frame, embedding, [recipes for recipes, _ in chosen], scores)

    def find_all(self, embedding: InstanceEmbedding) -> InstanceMasks:
        """Every instance as an object of one mask."""
        recipes: list[list[Recipe]] = [[((k, True),)] for k in range(len(embedding.scores))]
        return InstanceMasks(self.sam.frame, embedding, recipes, embedding.scores.cpu().numpy()[:, None])

    def _cells(self, embedding: InstanceEmbedding, prompts: PixelPrompts) -> list[Asked]:
        """The prompts in cells of the logits."""
        size = (embedding.prototypes.shape[-2], embedding.prototypes.shape[-1])
        points, labels, boxes, masks = self.in_frame(prompts, embedding.shape, size)
        places = ((points + 0.5) / LOGIT_PX).floor().long().cpu().numpy()  # (N, K, 2)
        places = places.clip(0, (size[1] - 1, size[0] - 1))
        return [
            Asked(
                places=places[n],
                labels=labels[n].cpu().numpy(),
                area=None if masks is None else (masks[n, 0] > 0).cpu().numpy(),
                box=None if boxes is None else ((boxes[n] + 0.5) / LOGIT_PX).cpu().numpy(),
            )
            for n in range(len(prompts))
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """One prompt, in cells of the logits."""

    places: NDArray[np.int64]
    """(K, 2) column, row."""
    labels: NDArray[np.int64]
    """(K,)."""
    area: NDArray[np.bool_] | None
    """(h, w), a mask prompt."""
    box: NDArray[np.float32] | None
    """(4,) x_min, y_min, x_max, y_max, an integer is a cell's corner."""


def choose(embedding: InstanceEmbedding, asked: Asked, *, multimask: bool) -> tuple[list[Recipe], list[float]]:
    """Recipes and scores of up to 3 masks, or of 1."""
    masks, scores = embedding.masks, embedding.scores.cpu().numpy()
    under = {
        label: masks[:, asked.places[asked.labels == label, 1], asked.places[asked.labels == label, 0]].sum(axis=1)
        for label in (FOREGROUND, BACKGROUND)
    }  # (K,) how many clicks lie on each instance
    if asked.box is None and asked.area is None and not multimask and (asked.labels >= 0).sum() > 1:
        return _put_together(masks, scores, under)
    fits = under[BACKGROUND] == 0
    if (asked.labels == FOREGROUND).any():
        fits &= under[FOREGROUND] > 0
    rank = under[FOREGROUND] + scores
    if asked.box is not None or asked.area is not None:
        rank = _iou_with(asked, masks)
        fits &= rank > 0
    best = [k for k in np.argsort(-rank, kind="stable").tolist() if fits[k]][: 3 if multimask else 1]
    return [((k, True),) for k in best], [float(scores[k]) for k in best]


def _put_together(
    masks: NDArray[np.bool_], scores: NDArray[np.float32], under: Mapping[int, NDArray[np.int64]]
) -> tuple[list[Recipe], list[float]]:
    """One mask: instances under clicks on the object, without those under nothing but clicks beside it."""
    order = np.argsort(-masks.sum(axis=(1, 2)), kind="stable").tolist()
    recipe = [(k, under[FOREGROUND][k] > 0) for k in order if under[BACKGROUND][k] or under[FOREGROUND][k]]
    added = [float(scores[k]) for k, adds in recipe if adds]
    return ([tuple(recipe)], [min(added)]) if added else ([], [])


def _iou_with(asked: Asked, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(K,) IoU of each instance with a prompted box or mask; with both, their mean."""
    areas = [] if asked.area is None else [asked.area]
    if asked.box is not None:
        h, w = masks.shape[1:]
        x, y = np.arange(w) + 0.5, np.arange(h) + 0.5
        x0, y0, x1, y1 = asked.box
        areas.append(((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1)))
    ious = []
    for area in areas:
        common = (masks & area).sum(axis=(1, 2))
        ious.append(common / np.maximum(masks.sum(axis=(1, 2)) + area.sum() - common, 1))
    return np.asarray(np.mean(ious, axis=0), np.float32)


def _filled_up(chosen: list[tuple[list[Recipe], list[float]]], count: int) -> NDArray[np.float32]:
    """(N, count) scores; recipes and scores get empty ones up to `count`."""
    for recipes, scores in chosen:
        scores.extend([0.0] * (count - len(recipes)))
        recipes.extend([()] * (count - len(recipes)))
    return np.array([scores for _, scores in chosen], np.float32).reshape(-1, count)


class InstanceMasks:
    """The masks of N objects, M for each; fulfils `contract.DecodedMasks`."""

    def __init__(
        self,
        frame: LetterboxFrame,
        embedding: InstanceEmbedding,
        recipes: list[list[Recipe]],
        scores: NDArray[np.float32],
    ) -> None:
        """recipes: N lists of M. scores: (N, M)."""
        self.scores = scores
        self._frame, self._embedding, self._recipes = frame, embedding, recipes

    def __getitem__(self, keep: NDArray[np.bool_]) -> InstanceMasks:
        """The masks where `keep` (N, M) is True, as N' objects of one mask each, in row-major order."""
        kept = [[self._recipes[n][m]] for n, m in np.argwhere(keep).tolist()]
        return InstanceMasks(self._frame, self._embedding, kept, self.scores[keep][:, None])

    @property
    def logits(self) -> NDArray[np.float32]:
        """(N, M, h, w), above 0 is object; a quarter of the network's frame, as a mask prompt takes them back."""
        drawn = np.empty((*self.scores.shape, *self._embedding.prototypes.shape[-2:]), np.float32)
        for n, row in enumerate(self._recipes):
            for m, recipe in enumerate(row):
                drawn[n, m] = self._draw(recipe)
        return drawn

    def _draw(self, recipe: Recipe) -> NDArray[np.float32]:
        """(h, w)."""
        embedding = self._embedding
        drawn = embedding.prototypes.new_full(embedding.prototypes.shape[-2:], -LOGIT_LIMIT, dtype=torch.float32)
        for k, adds in recipe:
            one = embedding.logits(torch.tensor([k], device=drawn.device))[0]
            drawn = torch.maximum(drawn, one) if adds else torch.minimum(drawn, -one)
        return np.asarray(drawn.cpu().numpy(), np.float32)

    def to_masks(self) -> list[list[Mask]]:
        """N lists of M full-size masks in the pixels of the image, with score and stability."""
        return [
            [cut_out(*self._draw_full(recipe), score=float(score)) for recipe, score in zip(*row, strict=True)]
            for row in zip(self._recipes, self.scores, strict=True)
        ]

    def _draw_full(self, recipe: Recipe) -> tuple[NDArray[np.float32], int, int]:
        """Logits in the pixels of the image, with their first row and column; boxes end at a pixel, not at a cell."""
        if len(recipe) == 1 and recipe[0][1]:
            return self._draw_one(recipe[0][0])
        drawn = np.full(self._embedding.shape, -LOGIT_LIMIT, np.float32)
        for k, adds in recipe:
            one, row, col = self._draw_one(k)
            part = drawn[row : row + one.shape[0], col : col + one.shape[1]]
            part[...] = np.maximum(part, one) if adds else np.minimum(part, -one)
        return drawn, 0, 0

    def _draw_one(self, k: int) -> tuple[NDArray[np.float32], int, int]:
        """Logits of an instance as `_draw_full`: enlarged from a little more than its box, and then cut to it."""
        embedding = self._embedding
        index = torch.tensor([k], device=embedding.boxes.device)
        near = embedding.inside(index, beyond_px=2 * LOGIT_PX)
        cells = embedding.sums(index).masked_fill(~near, -LOGIT_LIMIT)[0].cpu()
        fine, row, col = self._frame.to_image(cells, embedding.shape)
        x0, y0, x1, y1 = self._frame.from_frame(embedding.boxes[k].float().cpu().numpy(), embedding.shape)
        x, y = col + np.arange(fine.shape[1]) + 0.5, row + np.arange(fine.shape[0]) + 0.5
        inside = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
        return np.where(inside, fine.numpy(), np.float32(-LOGIT_LIMIT)), row, col


def distinct(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which of A proposals are instances, best first: sure enough, and none with the box of a surer one."""
    order = scores.argsort(descending=True, stable=True)[:MOST_CELLS]
    order = order[scores[order] >= LEAST_SCORE]
    edges = boxes[order].cpu().numpy()
    alive = ((edges[:, 2:] - edges[:, :2]) > 0).all(axis=1)
    kept: list[int] = []
    for k in range(len(edges)):
        if alive[k] and len(kept) < MOST:
            kept.append(k)
            alive[k + 1 :] &= box_iou(edges[k], edges[k + 1 :]) <= BOX_IOU
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def snapped(boxes: Tensor, inner: tuple[int, int, int, int]) -> Tensor:
    """Boxes (K, 4) with sides on the border of the image where they come near it. inner: the image in the frame."""
    border = boxes.new_tensor(inner)  # x_min, y_min, x_max, y_max
    near = (boxes - border).abs() < SNAP_PX
    boxes = torch.where(near, border, boxes)
    sides = torch.minimum(boxes[:, 2:], border[2:]) - torch.maximum(boxes[:, :2], border[:2])
    common = sides.clamp(min=0).prod(dim=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (border[2:] - border[:2]).prod() - common
    return torch.where((common > WHOLE_IOU * union)[:, None], border, boxes)
