"""How good is a promptable model: IoU by box and by one to five clicks, on labelled windows, through the contract.

SAM's protocol (Kirillov et al. 2023, section 7.1 and appendix D): the first click is the point deepest inside the
object; each next one is the deepest point of the error, on what was missed or on what was too much, whichever is
deeper. The masks of the first click are three; the one with the best score goes on as the mask prompt of the second
click, and from there on each click gives one mask.

How many clicks an IoU takes is counted as in Sofiiuk et al. 2022 (https://arxiv.org/abs/2102.06583): an object
that never reaches it counts as the most clicks. Theirs are at most 20, ours as many as `Protocol.clicks`, so the mean
says little without the share that reached it.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from samgeo.model.contract import DecodedMasks, Embedding, PromptableModel
from samgeo.pixels import BACKGROUND, FOREGROUND, PADDING, Mask, PixelPrompts, Window, boxes_of
from samgeo.stitch import grow
from samgeo.train.labelled import LabelledImage

DECODE_AT_ONCE = 32
"""Objects prompted together: bounds the memory of a window with hundreds of objects."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which objects are asked for, and how often is clicked."""

    window_px: int = 512
    """Side of the windows that the model is shown."""
    min_area_px: int = 60
    """Smaller objects are left out."""
    objects_per_source: int = 150
    """At most so many objects of one source, drawn at random."""
    clicks: int = 5
    """Number of clicks on each object."""
    seed: int = 0
    """Of the drawing; what is drawn from one source does not depend on the others."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the model made of one object."""

    source: str
    """Source of the image, without the scene."""
    label: str | None
    """What the object is."""
    gsd_m: float | None
    """Ground metres a pixel."""
    area_px: int
    """Size of the object."""
    box: float
    """IoU with the box as prompt."""
    best: float
    """IoU of the best of the three masks of the first click."""
    clicks: tuple[float, ...]
    """IoU after 1, 2, ... clicks; after the first of the mask with the best score."""
    box_score: float
    """IoU that the model expected of its mask for the box."""
    click_score: float
    """IoU that the model expected of its best mask for the first click."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Mean IoU over some objects, or over some sources."""

    objects: int
    """Number of objects."""
    box: float
    """Box prompt, one mask."""
    click: float
    """One click, the mask with the best score."""
    best: float
    """One click, the best of three masks."""
    click_3: float
    """Three clicks."""
    click_5: float
    """Five clicks."""
    clicks_80: float
    """Clicks to reach an IoU of .80; what does not reach it counts as the most clicks."""
    clicks_85: float
    """The same for .85."""
    clicks_90: float
    """The same for .90."""
    reached_80: float
    """Share of the objects that reach an IoU of .80 by any of the clicks."""
    reached_85: float
    """The same for .85."""
    reached_90: float
    """The same for .90."""


def choose_windows(images: Iterable[LabelledImage], protocol: Protocol) -> list[LabelledImage]:
    """The windows to evaluate on, each with the objects drawn in it; by source, then in the order of `images`.

    Windows lie evenly and overlap where the image is no multiple; an object is asked for where most of it is seen.
    """
    found: dict[str, list[tuple[LabelledImage, Mask]]] = defaultdict(list)
    for labelled in images:
        for window in _assign(labelled, protocol):
            found[_source(labelled)] += [(window, mask) for mask in window.objects]
    chosen: list[LabelledImage] = []
    for source in sorted(found):
        candidates = found[source]
        rng = np.random.default_rng((protocol.seed, zlib.crc32(source.encode())))
        drawn = sorted(rng.permutation(len(candidates))[: protocol.objects_per_source].tolist())
        grouped: dict[int, list[int]] = defaultdict(list)
        for index in drawn:
            grouped[id(candidates[index][0])].append(index)
        for members in grouped.values():
            objects = tuple(candidates[index][1] for index in members)
            chosen.append(replace(candidates[members[0]][0], objects=objects, complete=False))
    return chosen


def evaluate(model: PromptableModel, windows: Iterable[LabelledImage], protocol: Protocol) -> Iterator[Trial]:
    """Prompt the model for every object of every window; a window is encoded once."""
    for labelled in windows:
        embedding = model.encode(labelled.image)
        for start in range(0, len(labelled.objects), DECODE_AT_ONCE):
            part = replace(labelled, objects=labelled.objects[start : start + DECODE_AT_ONCE])
            yield from _try(model, embedding, part, protocol.clicks)


def figures(trials: Sequence[Trial]) -> Figures:
    """Means over objects."""
    return Figures(
        objects=len(trials),
        box=fmean(t.box for t in trials),
        click=fmean(t.clicks[0] for t in trials),
        best=fmean(t.best for t in trials),
        click_3=fmean(t.clicks[min(3, len(t.clicks)) - 1] for t in trials),
        click_5=fmean(t.clicks[min(5, len(t.clicks)) - 1] for t in trials),
        clicks_80=fmean(clicks_to(0.80, t.clicks) for t in trials),
        clicks_85=fmean(clicks_to(0.85, t.clicks) for t in trials),
        clicks_90=fmean(clicks_to(0.90, t.clicks) for t in trials),
        reached_80=fmean(max(t.clicks) >= 0.80 for t in trials),
        reached_85=fmean(max(t.clicks) >= 0.85 for t in trials),
        reached_90=fmean(max(t.clicks) >= 0.90 for t in trials),
    )


def clicks_to(target: float, reached: Sequence[float]) -> int:
    """Clicks until an IoU of `target`, given the IoU after 1, 2, ... clicks; all of them where it is never reached."""
    return next((count for count, value in enumerate(reached, start=1) if value >= target), len(reached))


def by_source(trials: Iterable[Trial], key: Callable[[Trial], str] = lambda t: t.source) -> dict[str, Figures]:
    """Means for each source, or for each group that `key` makes, in alphabetical order."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[key(trial)].append(trial)
    return {name: figures(groups[name]) for name in sorted(groups)}


def over_sources(sources: dict[str, Figures]) -> Figures:
    """Mean over sources; the views of one source ("ships_s2", "ships_s2+x3") count as one together."""
    views: dict[str, list[Figures]] = defaultdict(list)
    for name, one in sources.items():
        views[name.partition("+")[0]].append(one)
    return _mean([_mean(group) for group in views.values()])


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks of one frame; 0 where both are empty."""
    shared = one.common_px(other)
    total = one.area_px + other.area_px - shared
    return shared / total if total else 0.0


def deepest(region: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Row, column and depth of the pixel that is farthest from the outside; of equals the first. Depth 0: no pixel.

    region: (h, w) bool; what lies beyond the array is outside.
    """
    if not region.any():  # it may have no row or column at all
        return 0, 0, 0.0
    (row, col), depth = grow.deepest(region)
    return row, col, depth


def next_click(mask: Mask, truth: Mask) -> tuple[int, int, int]:
    """x, y and label of the click that corrects a mask most; the label is PADDING where nothing is wrong."""
    frame = _around(mask.window, truth.window)
    have, want = (m.shift(-frame.row, -frame.col).to_array(*frame.shape) for m in (mask, truth))
    missed, surplus = deepest(want & ~have), deepest(have & ~want)
    row, col, depth = missed if missed[2] >= surplus[2] else surplus
    if depth == 0:
        return 0, 0, PADDING
    return frame.col + col, frame.row + row, FOREGROUND if missed[2] >= surplus[2] else BACKGROUND


def _try(model: PromptableModel, embedding: Embedding, labelled: LabelledImage, clicks: int) -> list[Trial]:
    truths = labelled.objects
    boxed = model.decode(embedding, PixelPrompts(boxes=boxes_of(truths)), multimask=False)
    box_ious = _ious(boxed.to_masks(), truths)[:, 0]
    nothing = Mask.from_array(np.zeros((1, 1), dtype=bool))
    points, labels = _clicks([nothing] * len(truths), truths)
    decoded = model.decode(embedding, PixelPrompts(points=points, labels=labels))
    three = _ious(decoded.to_masks(), truths)  # (N, 3)
    pick = decoded.scores.argmax(axis=1)
    current: DecodedMasks = decoded[pick[:, None] == np.arange(three.shape[1])]
    reached = [three[np.arange(len(truths)), pick]]
    for _ in range(clicks - 1):
        more, kinds = _clicks([row[0] for row in current.to_masks()], truths)
        points, labels = np.concatenate([points, more], axis=1), np.concatenate([labels, kinds], axis=1)
        prompts = PixelPrompts(points=points, labels=labels, masks=current.logits[:, 0])
        current = model.decode(embedding, prompts, multimask=False)
        reached.append(_ious(current.to_masks(), truths)[:, 0])
    after = np.stack(reached, axis=1)  # (N, clicks)
    return [
        Trial(
            source=_source(labelled),
            label=truth.label,
            gsd_m=labelled.gsd_m,
            area_px=truth.area_px,
            box=float(box_ious[i]),
            best=float(three[i].max()),
            clicks=tuple(after[i].tolist()),
            box_score=float(boxed.scores[i, 0]),
            click_score=float(decoded.scores[i, pick[i]]),
        )
        for i, truth in enumerate(truths)
    ]


def _ious(masks: Sequence[Sequence[Mask]], truths: Sequence[Mask]) -> NDArray[np.float64]:
    """(N, M) IoU of N lists of M masks with N objects."""
    return np.array([[iou(mask, truth) for mask in row] for row, truth in zip(masks, truths, strict=True)])


def _clicks(masks: Sequence[Mask], truths: Sequence[Mask]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The next click on each object: points (N, 1, 2), labels (N, 1)."""
    clicks = np.array([next_click(mask, truth) for mask, truth in zip(masks, truths, strict=True)])
    return clicks[:, None, :2].astype(np.float32), clicks[:, 2:].astype(np.int64)


def _assign(labelled: LabelledImage, protocol: Protocol) -> Iterator[LabelledImage]:
    """Every window of an image, with the objects of which it shows more than the other windows do, clipped."""
    height, width = labelled.image.shape[:2]
    side = protocol.window_px
    windows = [
        Window(row=row, col=col, height=min(side, height), width=min(side, width))
        for row in _starts(height, side)
        for col in _starts(width, side)
    ]
    members: dict[int, list[Mask]] = defaultdict(list)
    for mask in labelled.objects:
        seen = [0 if w.intersection(mask.window).is_empty else mask.crop(w).area_px for w in windows]
        if max(seen) >= protocol.min_area_px:
            members[int(np.argmax(seen))].append(mask)
    for index in sorted(members):
        yield replace(labelled, objects=tuple(members[index])).crop(windows[index], min_share=0)


def _starts(size: int, side: int) -> list[int]:
    count = -(-size // side)
    return [round(k * (size - side) / (count - 1)) for k in range(count)] if count > 1 else [0]


def _around(one: Window, other: Window) -> Window:
    """The smallest window that holds both; an empty one holds nothing."""
    if one.is_empty or other.is_empty:
        return other if one.is_empty else one
    row, col = min(one.row, other.row), min(one.col, other.col)
    height, width = max(one.row_end, other.row_end) - row, max(one.col_end, other.col_end) - col
    return Window(row=row, col=col, height=height, width=width)


def _source(labelled: LabelledImage) -> str:
    return labelled.source.partition("/")[0]


def _mean(group: Sequence[Figures]) -> Figures:
    names = [field.name for field in fields(Figures) if field.name != "objects"]
    means = {name: fmean(getattr(one, name) for one in group) for name in names}
    return Figures(objects=sum(one.objects for one in group), **means)
