"""The recipe of samgeo-nano, in steps that rerun from a seed.

    python -m samgeo.train.prepare --data ../shared/data --out .train/windows     real imagery, cut into windows
    python -m samgeo.train.nano scenes --out .train/scenes --count 1000           made-up scenes
    python -m samgeo.train.nano train --windows .train/windows --scenes .train/scenes --run .train/nano
    python -m samgeo.train.nano export --run .train/nano --out samgeo/model/nano/samgeo-nano.safetensors

`train` resumes from its last checkpoint. Two cores with 16-bit matrix products take about 0.7 s a step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from samgeo.commit import staged
from samgeo.errors import SamgeoError, UsageError
from samgeo.model.sam import build_nano
from samgeo.train.labelled import LabelledImage
from samgeo.train.loop import Batches, TrainSettings, train
from samgeo.train.scenes import make_scene

WEIGHTS = {
    "scenes": 6.0,
    "buildings_oam_banepa": 1.5,
    "buildings_oam_tanzania": 1.2,
    "buildings_oam_uganda": 1.0,
    "fields_naip_us": 1.6,
    "ships_s2": 0.6,
    "solar_gsi_japan": 0.6,
    "roads_gsi_japan": 0.5,
    "landcover_dubai": 0.5,
    "forest_amazon_s2": 0.3,
    "flood_aerial": 0.2,
    "flood_s2_sen1floods11": 0.2,
}
"""How often each group is drawn from, in proportion; a source's enlarged and recoloured copies count with it."""


def write_scenes(out: Path, count: int) -> None:
    """Write scenes of the seeds 0 to count - 1 that are not there yet."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        path = out / f"scene_{seed:05d}.npz"
        if not path.exists():
            LabelledImage.from_scene(make_scene(seed)).save(path)


def training_groups(windows: Path, scenes: Path) -> dict[str, list[Path]]:
    """The training files by the names of `WEIGHTS`."""
    groups: dict[str, list[Path]] = {"scenes": sorted(scenes.glob("*.npz"))}
    for path in sorted((windows / "train").glob("*.npz")):
        source = path.name.partition("__")[0].partition("+")[0]
        groups.setdefault(source, []).append(path)
    unknown = sorted(groups.keys() - WEIGHTS.keys())
    if unknown or not any(groups.values()):
        raise UsageError(f"{windows}, {scenes}: found {unknown or 'nothing'}; expected groups of {sorted(WEIGHTS)}")
    return groups


def run(windows: Path, scenes: Path, folder: Path, settings: TrainSettings) -> None:
    """Train samgeo-nano from nothing, or go on from `folder/checkpoint.pt`."""
    torch.manual_seed(settings.seed)
    sam = build_nano()
    train(sam, Batches(training_groups(windows, scenes), WEIGHTS, settings), settings, folder)


def export(folder: Path, out: Path, *, last: bool = False) -> None:
    """The averaged weights of the last checkpoint as a safetensors file of 16-bit numbers.

    last: the last weights instead, which are better after a run too short for the average to forget its start.
    """
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")
    prefix = "module."
    average = {k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)}
    chosen = state["model"] if last else average
    tensors = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in chosen.items()}
    metadata = {"architecture": "nano", "name": "samgeo-nano", "steps": str(state["step"])}
    with staged(out) as temporary:
        save_file(tensors, temporary, metadata)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m samgeo.train.nano", description="The recipe of samgeo-nano.")
    steps = parser.add_subparsers(dest="step", required=True)
    scenes = steps.add_parser("scenes", help="write made-up scenes")
    scenes.add_argument("--out", type=Path, default=Path(".train/scenes"))
    scenes.add_argument("--count", type=int, default=1000)
    training = steps.add_parser("train", help="train, or resume")
    training.add_argument("--windows", type=Path, default=Path(".train/windows"))
    training.add_argument("--scenes", type=Path, default=Path(".train/scenes"))
    training.add_argument("--run", type=Path, default=Path(".train/nano"))
    training.add_argument("--steps", type=int, default=6500)
    training.add_argument("--decay-steps", type=int, default=2500)
    training.add_argument("--seed", type=int, default=0)
    exporting = steps.add_parser("export", help="write the weights file")
    exporting.add_argument("--run", type=Path, default=Path(".train/nano"))
    exporting.add_argument("--out", type=Path, required=True)
    exporting.add_argument("--last", action="store_true", help="the last weights instead of their average")
    options = parser.parse_args(arguments)
    try:
        if options.step == "scenes":
            write_scenes(options.out, options.count)
        elif options.step == "train":
            settings = TrainSettings(steps=options.steps, decay_steps=options.decay_steps, seed=options.seed)
            run(options.windows, options.scenes, options.run, settings)
        else:
            export(options.run, options.out, last=options.last)
    except SamgeoError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
