"""Learning curves as a picture: what `metrics.jsonl` holds, losses above and IoUs below."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, PANEL, MARGIN = 900, 260, 56
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
PANELS: Mapping[str, Mapping[str, str]] = {
    "loss": {"loss": "prompts", "features": "features"},
    "IoU": {"box": "after a box", "click": "after a click", "best": "best of three", "last": "after the last click"},
}
"""Names in the file and what they are called, by panel."""
SMOOTH = 5
"""Each point is the mean of so many lines."""


def draw_curves(metrics: Path, picture: Path) -> None:
    """Draw a PNG of the lines of `metrics`; nothing where there are none."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    if not lines:
        return
    image = Image.new("RGB", (WIDTH, PANEL * len(PANELS)), "white")
    draw = ImageDraw.Draw(image)
    for number, (title, names) in enumerate(PANELS.items()):
        _panel(draw, title, {names[n]: _series(lines, n) for n in names if any(n in x for x in lines)}, number * PANEL)
    image.save(picture)


def _series(lines: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Step and smoothed value."""
    there = [(line["step"], line[name]) for line in lines if name in line]
    values = [value for _, value in there]
    return [(step, float(np.mean(values[max(0, k + 1 - SMOOTH) : k + 1]))) for k, (step, _) in enumerate(there)]


def _panel(
    draw: ImageDraw.ImageDraw, title: str, series: Mapping[str, Sequence[tuple[float, float]]], top: int
) -> None:
    font = ImageFont.load_default(13)
    points = [point for line in series.values() for point in line]
    if not points:
        return
    last = max(step for step, _ in points)
    high = 1.0 if title == "IoU" else max(value for _, value in points)
    left, right, up, down = MARGIN, WIDTH - MARGIN, top + 30, top + PANEL - 30
    for part in range(5):
        y = down - (down - up) * part / 4
        draw.line([(left, y), (right, y)], fill="#dddddd")
        draw.text((8, y - 8), f"{high * part / 4:.2f}", fill="#555555", font=font)
        draw.text(
            (left + (right - left) * part / 4 - 10, down + 6), f"{last * part / 4:.0f}", fill="#555555", font=font
        )
    x = left
    for (name, line), colour in zip(series.items(), COLOURS, strict=False):
        places = [(left + (right - left) * step / last, down - (down - up) * min(v / high, 1)) for step, v in line]
        draw.line(places if len(places) > 1 else places * 2, fill=colour, width=2)
        draw.text((x, top + 8), f"{title}: {name}", fill=colour, font=font)
        x += 200
