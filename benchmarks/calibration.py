"""Calibration: what IoU a model expected of its masks, and what it was. A table by score, its error, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from PIL import Image, ImageDraw, ImageFont

from samgeo.train.metrics import Trial

BINS = 5
"""Equal parts of 0 to 1."""
SIDE, MARGIN = 420, 60
COLOURS = ("#1f77b4", "#d62728")


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Masks with about the same score."""

    count: int
    """How many they are."""
    expected: float
    """The mean of their scores."""
    reached: float
    """The mean of their IoUs."""


def pairs_of(trials: Sequence[Trial]) -> dict[str, list[tuple[float, float]]]:
    """Score and IoU of every mask that answered a box or a first click."""
    return {
        "box": [(t.box_score, t.box) for t in trials],
        "1 click": [(t.click_score, t.clicks[0]) for t in trials],
    }


def bins_of(pairs: Sequence[tuple[float, float]]) -> list[Bin]:
    """Those in which there is a mask, by rising score."""
    parts: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for score, iou in pairs:
        parts[min(max(int(score * BINS), 0), BINS - 1)].append((score, iou))
    return [
        Bin(count=len(part), expected=fmean(s for s, _ in part), reached=fmean(i for _, i in part))
        for part in parts
        if part
    ]


def error_of(pairs: Sequence[tuple[float, float]]) -> float:
    """Expected calibration error: the mean difference of the bins, weighted by their masks."""
    return sum(b.count * abs(b.expected - b.reached) for b in bins_of(pairs)) / len(pairs)


def table(trials: Sequence[Trial]) -> str:
    """Markdown, a row a bin."""
    lines = ["| prompt | masks | score | IoU |", "|---|---|---|---|"]
    for prompt, pairs in pairs_of(trials).items():
        lines += [f"| {prompt} | {b.count} | {b.expected:.2f} | {b.reached:.2f} |" for b in bins_of(pairs)]
        lines.append(f"| **{prompt}, mean difference** | {len(pairs)} | | {error_of(pairs):.2f} |")
    return "\n".join(lines)


def draw(trials: Sequence[Trial], picture: Path) -> None:
    """Draw a PNG: score to the right, IoU upwards, a disc for each bin by its share; the honest lie on the diagonal."""
    image = Image.new("RGB", (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for part in range(BINS + 1):
        share = part / BINS
        pen.line([_place(0, share), _place(1, share)], fill="#dddddd")
        pen.line([_place(share, 0), _place(share, 1)], fill="#dddddd")
        pen.text((MARGIN - 34, _place(0, share)[1] - 8), f"{share:.1f}", fill="#555555", font=font)
        pen.text((_place(share, 0)[0] - 10, MARGIN + SIDE + 8), f"{share:.1f}", fill="#555555", font=font)
    pen.line([_place(0, 0), _place(1, 1)], fill="#999999", width=2)
    pen.text((MARGIN, MARGIN + SIDE + 30), "score: the IoU that the model expects", fill="#333333", font=font)
    pen.text((MARGIN, 12), "IoU with the true object", fill="#333333", font=font)
    for colour, (prompt, pairs) in zip(COLOURS, pairs_of(trials).items(), strict=True):
        bins = bins_of(pairs)
        for b in bins:
            x, y = _place(b.expected, b.reached)
            radius = 3 + 26 * (b.count / len(pairs)) ** 0.5
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=3)
        pen.line([_place(b.expected, b.reached) for b in bins], fill=colour, width=2)
        pen.text((MARGIN + 230 + 90 * COLOURS.index(colour), 12), prompt, fill=colour, font=font)
    image.save(picture)


def _place(score: float, iou: float) -> tuple[float, float]:
    return MARGIN + SIDE * score, MARGIN + SIDE * (1 - iou)
