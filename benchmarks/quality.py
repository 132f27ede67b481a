"""The quality table: mean IoU of a model by prompt and source on held-out imagery, beside what needs no training.

    python -m benchmarks.quality [MODEL] [--windows .train/windows/validation] [--baselines] [--out quality.md]
        [--plot calibration.png]

MODEL is the name of a known model or a path to weights. The windows are made by `python -m samgeo.train.prepare`. After
the table: how many clicks an IoU takes, the same objects by class and by ground resolution, and how honest scores are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean

from tqdm import tqdm

from benchmarks import calibration
from benchmarks.baselines import TOLERANCES, filled_box, grabcut, region_growing
from samgeo.errors import SamgeoError, UsageError
from samgeo.model.vocabulary import CLASSES, class_of
from samgeo.model.weights import load_model
from samgeo.train.labelled import LabelledImage
from samgeo.train.metrics import Figures, Protocol, Trial, by_source, choose_windows, evaluate, over_sources

COLUMNS = ("box", "click", "best", "click_3", "click_5")
HEADINGS = ("box", "1 click", "best of 3", "3 clicks", "5 clicks")
TARGETS = {".80": "80", ".85": "85", ".90": "90"}
"""IoU to reach, and how the fields of `Figures` end that say how many clicks it takes."""
RESOLUTIONS = ((0.15, "0 to 0.15 m"), (0.5, "0.15 to 0.5 m"), (2.0, "0.5 to 2 m"), (float("inf"), "2 m and more"))
"""Ground metres a pixel that a group stays under, and its name; the names are in alphabetical order."""
FLOORS: dict[str, Callable[[LabelledImage], list[float] | None]] = {
    "filled box": filled_box,
    "GrabCut": grabcut,
    **{f"growing {t}": partial(region_growing, tolerances=(t,)) for t in TOLERANCES},
    "growing, best": region_growing,
}
"""What needs no training. A region grown from the click with one tolerance is a floor for a click's first mask; with
whichever suits each object best, which nobody knows beforehand, it is one for the best of a click's three."""


def read_windows(folder: Path, protocol: Protocol, only: Sequence[str]) -> list[LabelledImage]:
    """The windows to evaluate on; of sources whose name begins with one of `only`, if there are any."""
    files = [p for p in sorted(folder.glob("*.npz")) if not only or p.name.startswith(tuple(only))]
    if not files:
        raise UsageError(f"{folder}: no labelled images. Fix: python -m samgeo.train.prepare --data FOLDER")
    return choose_windows((LabelledImage.load(path) for path in files), protocol)


def measure_floors(windows: Sequence[LabelledImage]) -> dict[str, dict[str, float]]:
    """Mean IoU by source for each baseline that can run."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for labelled in tqdm(windows, desc="baselines", unit="window", file=sys.stderr):
        for name, floor in FLOORS.items():
            found[name][labelled.source.partition("/")[0]] += floor(labelled) or []
    return {name: {s: fmean(v) for s, v in sources.items() if v} for name, sources in found.items()}


def table(trials: Sequence[Trial], floors: dict[str, dict[str, float]]) -> str:
    """Markdown, one row a source and one for their mean."""
    names = [name for name, sources in floors.items() if sources]
    sources = by_source(trials)
    lines = ["| " + " | ".join(("source", "objects", *HEADINGS, *names)) + " |"]
    lines.append("|" + "---|" * (2 + len(HEADINGS) + len(names)))
    for source, figures in sources.items():
        lines.append(_row(source, figures, [floors[name].get(source, float("nan")) for name in names]))
    means = [_over_views(floors[name]) for name in names]
    lines.append(_row("**mean over sources**", over_sources(sources), means))
    return "\n".join(lines)


def clicks_table(trials: Sequence[Trial]) -> str:
    """Markdown, one row an IoU: clicks to reach it and the share of objects that do, as means over sources."""
    mean, most = over_sources(by_source(trials)), max(len(trial.clicks) for trial in trials)
    lines = [f"| IoU to reach | clicks, {most} where it is not reached | reached |", "|---|---|---|"]
    for target, ending in TARGETS.items():
        clicks, reached = (getattr(mean, f"{name}_{ending}") for name in ("clicks", "reached"))
        lines.append(f"| {target} | {clicks:.2f} | {reached:.0%} |")
    return "\n".join(lines)


def group_table(heading: str, trials: Sequence[Trial], key: Callable[[Trial], str]) -> str:
    """Markdown, one row a group of objects that `key` makes; means over objects."""
    lines = ["| " + " | ".join((heading, "objects", *HEADINGS)) + " |", "|" + "---|" * (2 + len(HEADINGS))]
    lines += [_row(name, figures, []) for name, figures in by_source(trials, key).items()]
    return "\n".join(lines)


def class_name(trial: Trial) -> str:
    """The class that the object's label means; the label itself where no class has it."""
    number = class_of(trial.label)
    return trial.label or "no label" if number is None else CLASSES[number]


def resolution_name(trial: Trial) -> str:
    """The group of the image's ground resolution."""
    size_m = trial.gsd_m
    return "unknown" if size_m is None else next(name for end_m, name in RESOLUTIONS if size_m < end_m)


def _row(name: str, figures: Figures, floors: Sequence[float]) -> str:
    values = [*(getattr(figures, column) for column in COLUMNS), *floors]
    return " | ".join([f"| {name}", str(figures.objects), *(f"{value:.3f}" for value in values)]) + " |"


def _over_views(by_name: dict[str, float]) -> float:
    views: dict[str, list[float]] = defaultdict(list)
    for name, value in by_name.items():
        views[name.partition("+")[0]].append(value)
    return fmean(fmean(values) for values in views.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", default="samgeo-nano", help="name of a known model or path to weights")
    parser.add_argument("--windows", type=Path, default=Path(".train/windows/validation"), help="folder of .npz files")
    parser.add_argument("--sources", nargs="*", default=[], help="only sources whose name begins so")
    parser.add_argument("--objects", type=int, default=150, help="at most so many objects of a source")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing of objects")
    parser.add_argument("--precision", default="auto", choices=("auto", "exact"))
    parser.add_argument("--baselines", action="store_true", help="add what needs no training (slow)")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--plot", type=Path, help="also draw scores beside what was reached, a PNG")
    parser.add_argument("--trials", type=Path, help="also write every object as a JSON line to this file")
    options = parser.parse_args(arguments)
    protocol = Protocol(objects_per_source=options.objects, seed=options.seed)
    try:
        windows = read_windows(options.windows, protocol, options.sources)
        model = load_model(options.model, precision=options.precision)
        started = time.monotonic()
        bar = tqdm(windows, desc=model.name, unit="window", file=sys.stderr)
        trials = list(evaluate(model, bar, protocol))
    except SamgeoError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    seconds = time.monotonic() - started
    text = table(trials, measure_floors(windows) if options.baselines else {})
    text += f"\n\n{clicks_table(trials)}"
    text += f"\n\n{group_table('class', trials, class_name)}"
    text += f"\n\n{group_table('ground resolution', trials, resolution_name)}"
    text += f"\n\n{calibration.table(trials)}"
    text += f"\n\n{model.name} ({model.sha256[:12]}, {model.precision}), {len(windows)} windows, {seconds:.0f} s\n"
    print(text)
    if options.out:
        options.out.write_text(text)
    if options.plot:
        calibration.draw(trials, options.plot)
    if options.trials:
        options.trials.write_text("".join(json.dumps(asdict(trial)) + "\n" for trial in trials))
    return 0


if __name__ == "__main__":
    sys.exit(main())
