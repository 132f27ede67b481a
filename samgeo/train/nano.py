"""The recipe of samgeo-nano, in steps that rerun from a seed.

    python -m samgeo.train.prepare --data ../shared/data --out .train/windows     real imagery, cut into windows
    python -m samgeo.train.nano scenes --out .train/scenes --count 1000           made-up scenes
    python -m samgeo.train.nano train --windows .train/windows --scenes .train/scenes --run .train/nano
    python -m samgeo.train.nano calibrate --windows .train/windows --scenes .train/scenes --run .train/nano
    python -m samgeo.train.nano classify --windows .train/windows --scenes .train/scenes --run .train/nano
    python -m samgeo.train.nano export --run .train/nano --out samgeo/model/nano/samgeo-nano.safetensors

`train` resumes from its last checkpoint; a step takes two cores about 1.7 s with AVX512_BF16. With `torchrun -m` in
place of `python -m` several processes train together. `calibrate` teaches the scorer what the trained masks are worth,
`classify` the class head what they show. `begin --weights FILE...` makes a run go on from exported weights, or from the
mean of several: that of two ends of one run, between which its rate rose and fell again, is better than either.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from samgeo.errors import SamgeoError, UsageError
from samgeo.model.classes import ClassMap
from samgeo.model.nano_network import NanoSam, build_nano
from samgeo.train.calibrate import calibrate
from samgeo.train.classify import teach_classes
from samgeo.train.labelled import LabelledImage
from samgeo.train.loop import Batches, TrainSettings, train
from samgeo.train.optimizers import Optimizer
from samgeo.train.saving import write_weights
from samgeo.train.scenes import make_scene
from samgeo.train.team import team

WEIGHTS = {
    "scenes": 3.5,
    "buildings_oam_banepa": 1.4,
    "buildings_oam_tanzania": 1.4,
    "buildings_oam_uganda": 1.2,
    "fields_naip_us": 2.0,
    "ships_s2": 1.6,
    "solar_gsi_japan": 2.0,
    "roads_gsi_japan": 3.0,
    "trees_neon": 1.8,
    "trees_urban_naip": 1.2,
    "landcover_dubai": 0.8,
    "forest_amazon_s2": 1.2,
    "regions_s2_spain": 1.4,
    "landsat_river": 0.6,
    "flood_aerial": 0.6,
    "flood_s2_sen1floods11": 0.3,
    "ports_s2": 0.5,
}
"""How often each group is drawn from, in proportion; a source's enlarged and recoloured copies count with it."""


BEFORE = "steps_before.txt"
"""In the folder of a run that did not begin with nothing: how many steps its weights had seen."""
LATER = {"mask_scorer": "scorer.pt", "class_head": "classes.pt"}
"""Parts that learn after the rest, and their files in the folder of a run."""
TEACHER = "class_map."
"""What is there in training alone."""


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


def run(windows: Path, scenes: Path, folder: Path, settings: TrainSettings, *, device: str = "cpu") -> None:
    """Train samgeo-nano from nothing, or go on from `folder/checkpoint.pt`; in a `team` if `torchrun` says so."""
    with team(device) as own:
        _run(windows, scenes, folder, settings, own)


def _run(windows: Path, scenes: Path, folder: Path, settings: TrainSettings, device: torch.device) -> None:
    torch.manual_seed(settings.seed)
    sam: NanoSam = _learner().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if (folder / BEFORE).exists():
        settings = replace(settings, warm_steps=0)  # its three masks have learned to differ
    train(sam, Batches(training_groups(windows, scenes), WEIGHTS, settings), settings, folder)


def fit_scores(
    windows: Path, scenes: Path, folder: Path, *, steps: int, passes: int, rate: float, last: bool, seed: int
) -> float:
    """Teach the scorer of the trained network, and write it to `folder/scorer.pt`; returns its mean error.

    It goes on from the one that the weights began with. passes, rate: see `calibrate`. last: of the last weights
    instead of their average; must be as in `export`.
    """
    torch.manual_seed(seed)
    sam = build_nano()
    sam.load_state_dict(_trained(folder, last=last)[0])
    settings = TrainSettings(steps=steps, decay_steps=steps, seed=seed)
    batches = Batches(training_groups(windows, scenes), WEIGHTS, settings)
    error = calibrate(sam, batches, steps=steps, passes=passes, learning_rate=rate, seed=seed)
    assert sam.mask_scorer is not None
    torch.save(sam.mask_scorer.state_dict(), folder / "scorer.pt")
    return error


def fit_classes(windows: Path, scenes: Path, folder: Path, *, steps: int, last: bool, seed: int) -> float:
    """Teach the class head of the trained network, and write it to `folder/classes.pt`; returns its mean error.

    last: as of `fit_scores`.
    """
    torch.manual_seed(seed)
    sam = build_nano()
    sam.load_state_dict(_trained(folder, last=last)[0])
    settings = TrainSettings(steps=steps, decay_steps=steps, seed=seed, layouts=((256, 2, 20), (512, 1, 30)), pasted=0)
    error = teach_classes(sam, Batches(training_groups(windows, scenes), WEIGHTS, settings), steps=steps, seed=seed)
    assert sam.class_head is not None
    torch.save(sam.class_head.state_dict(), folder / "classes.pt")
    return error


def _learner() -> NanoSam:
    """The network with what teaches its encoder classes."""
    sam = build_nano()
    sam.class_map = ClassMap(coarse_dim=128, middle_dim=32, fine_dim=32)
    return sam


def begin(weights: Sequence[Path], folder: Path) -> None:
    """Write a checkpoint of step 0 from the mean of exported weights, so that `train` goes on from it.

    Weights that the network has more of than the files, at the end of an axis, begin with 0.
    """
    sam = _learner()
    wanted = sam.state_dict()
    needed = [name for name in wanted if not name.startswith((*LATER, TEACHER))]
    stored = [load_file(path) for path in weights]
    for path, tensors in zip(weights, stored, strict=True):
        missing = [name for name in needed if name not in tensors]
        if missing:
            raise UsageError(f"{path}: lacks {', '.join(missing[:3])}; expected weights of samgeo-nano")
    shared = [name for name in stored[0] if all(name in tensors for tensors in stored)]
    mean = {
        name: torch.stack([_grown(tensors[name].float(), wanted[name].shape) for tensors in stored]).mean(dim=0)
        for name in shared
    }
    sam.load_state_dict(mean, strict=False)
    average = torch.optim.swa_utils.AveragedModel(sam)
    folder.mkdir(parents=True, exist_ok=True)
    state = {"step": 0, "model": sam.state_dict(), "average": average.state_dict(), "optimizer": None}
    torch.save(state, folder / "checkpoint.pt")
    (folder / BEFORE).write_text(str(max(map(_steps, weights))))


def _grown(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The tensor with zeros at the ends of the axes along which it is smaller; one that is larger stays so."""
    missing = [max(0, wanted - have) for wanted, have in zip(reversed(shape), reversed(tensor.shape), strict=True)]
    return F.pad(tensor, [side for count in missing for side in (0, count)])


def _steps(weights: Path) -> int:
    with safe_open(weights, "pt") as file:
        return int((file.metadata() or {}).get("steps", "0"))


def export(folder: Path, out: Path, *, last: bool = False) -> None:
    """The averaged weights of the last checkpoint as a safetensors file, most of it 16-bit numbers.

    last: the last weights instead, which are better after a run too short for the average to forget its start.
    """
    chosen, step = _trained(folder, last=last)
    for part, file in LATER.items():
        if (folder / file).exists():
            taught = torch.load(folder / file, weights_only=True)
            chosen |= {f"{part}.{name}": value for name, value in taught.items()}
    tensors = {name: tensor.half() if _fits_in_half(name, tensor) else tensor for name, tensor in chosen.items()}
    before = folder / BEFORE
    steps = step + (int(before.read_text()) if before.exists() else 0)
    metadata = {"architecture": "nano", "name": "samgeo-nano", "steps": str(steps)}
    write_weights(tensors, out, metadata, overwrite=True)


def _fits_in_half(name: str, tensor: Tensor) -> bool:
    """Whether 16 bits are enough; the variances of activations go beyond what they hold, 65,504."""
    return tensor.is_floating_point() and not name.endswith((".running_mean", ".running_var"))


def _trained(folder: Path, *, last: bool) -> tuple[dict[str, Tensor], int]:
    """The weights of the last checkpoint, averaged or as they are, and its step."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")
    prefix = "module."
    average = {k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)}
    chosen = state["model"] if last else average
    return {name: value for name, value in chosen.items() if not name.startswith(TEACHER)}, int(state["step"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m samgeo.train.nano", description="The recipe of samgeo-nano.")
    steps = parser.add_subparsers(dest="step", required=True)
    material = argparse.ArgumentParser(add_help=False)
    material.add_argument("--windows", type=Path, default=Path(".train/windows"))
    material.add_argument("--scenes", type=Path, default=Path(".train/scenes"))
    material.add_argument("--run", type=Path, default=Path(".train/nano"))
    scenes = steps.add_parser("scenes", help="write made-up scenes")
    scenes.add_argument("--out", type=Path, default=Path(".train/scenes"))
    scenes.add_argument("--count", type=int, default=1000)
    training = steps.add_parser("train", parents=[material], help="train, or resume")
    training.add_argument("--steps", type=int, default=6500)
    training.add_argument("--decay-steps", type=int, default=2500)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--optimizer", default="muon", choices=get_args(Optimizer), help="what moves the weights")
    training.add_argument("--accumulate", type=int, default=1, help="batches to a step")
    training.add_argument("--device", default="cpu", help="cpu, cuda; with torchrun, one card a process")
    scoring = steps.add_parser("calibrate", parents=[material], help="teach the scorer of the trained network")
    scoring.add_argument("--steps", type=int, default=500)
    scoring.add_argument("--passes", type=int, default=30, help="how often it goes through the masks of all batches")
    scoring.add_argument("--rate", type=float, default=2e-3, help="learning rate, which falls to nothing")
    scoring.add_argument("--seed", type=int, default=1)
    scoring.add_argument("--last", action="store_true", help="for the last weights instead of their average")
    naming = steps.add_parser("classify", parents=[material], help="teach the class head of the trained network")
    naming.add_argument("--steps", type=int, default=800)
    naming.add_argument("--seed", type=int, default=2)
    naming.add_argument("--last", action="store_true", help="for the last weights instead of their average")
    beginning = steps.add_parser("begin", help="begin a run from exported weights, or from the mean of several")
    beginning.add_argument("--weights", type=Path, nargs="+", required=True)
    beginning.add_argument("--run", type=Path, default=Path(".train/nano"))
    exporting = steps.add_parser("export", help="write the weights file")
    exporting.add_argument("--run", type=Path, default=Path(".train/nano"))
    exporting.add_argument("--out", type=Path, required=True)
    exporting.add_argument("--last", action="store_true", help="the last weights instead of their average")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.step == "scenes":
            write_scenes(options.out, options.count)
        elif options.step == "train":
            settings = TrainSettings(
                steps=options.steps,
                decay_steps=options.decay_steps,
                seed=options.seed,
                optimizer=options.optimizer,
                accumulate=options.accumulate,
            )
            run(options.windows, options.scenes, options.run, settings, device=options.device)
        elif options.step == "calibrate":
            error = fit_scores(
                options.windows,
                options.scenes,
                options.run,
                steps=options.steps,
                passes=options.passes,
                rate=options.rate,
                last=options.last,
                seed=options.seed,
            )
            sys.stdout.write(f"mean error of the scores on training crops: {error:.3f}\n")
        elif options.step == "classify":
            error = fit_classes(
                options.windows, options.scenes, options.run, steps=options.steps, last=options.last, seed=options.seed
            )
            sys.stdout.write(f"mean error of the classes on training crops: {error:.3f}\n")
        elif options.step == "begin":
            begin(options.weights, options.run)
        else:
            export(options.run, options.out, last=options.last)
    except SamgeoError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
