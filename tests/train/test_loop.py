"""Training end to end on a few made-up images: the loss falls, and a resumed run ends with the same weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from samgeo.errors import UsageError
from samgeo.model.vocabulary import CLASSES
from samgeo.model.weights import load_model, load_network
from samgeo.pixels import Mask, PixelPrompts
from samgeo.train import nano
from samgeo.train.calibrate import _describe, calibrate
from samgeo.train.labelled import LabelledImage
from samgeo.train.loop import Batches, TrainSettings, best_of_some, class_cells, interact, look, schedule, train
from samgeo.train.losses import class_loss
from samgeo.train.optimizers import Optimizer
from samgeo.train.saving import write_weights

LAYOUTS = ((64, 2, 2), (96, 1, 2))


def labelled(seed: int) -> LabelledImage:
    """Bright rectangles on a dark ground."""
    rng = np.random.default_rng(seed)
    image = rng.integers(20, 60, (160, 160, 3)).astype(np.uint8)
    objects = []
    for row in (10, 60, 110):
        for col in (10, 60, 110):
            full = np.zeros((160, 160), dtype=bool)
            full[row : row + rng.integers(20, 40), col : col + rng.integers(20, 40)] = True
            image[full] = rng.integers(120, 250, 3)
            objects.append(Mask.from_array(full))
    return LabelledImage(image=image, objects=tuple(objects), source=f"made/{seed}", gsd_m=0.5, complete=True)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.npz" for seed in range(3)]
    for seed, path in enumerate(paths):
        labelled(seed).save(path)
    return paths


def test_batches_depend_on_seed_and_step_alone(files: list[Path]) -> None:
    settings = TrainSettings(steps=4, decay_steps=2, layouts=LAYOUTS)
    one, other = (Batches({"a": files}, {"a": 1}, settings) for _ in range(2))
    one[0], one[1]
    for first, second in zip(one[2], other[2], strict=True):
        assert torch.equal(first, second)
    assert one[2][0].shape == (2, 3, 64, 64)
    assert one[3][1].shape == (1, 2, 96, 96)


def test_schedule() -> None:
    settings = TrainSettings(steps=1000, decay_steps=400)
    assert schedule(0, settings) == pytest.approx(0.01)
    assert schedule(300, settings) == 1
    assert schedule(800, settings) == pytest.approx(0.5)
    assert 0 < schedule(999, settings) < 0.01


def test_every_mask_may_win() -> None:
    losses = torch.tensor([[0.1, 0.5, 0.9]]).repeat(400, 1)
    drawn = best_of_some(losses, 0.3, generator=torch.Generator().manual_seed(0)) - 0.05 * losses.mean(dim=1)
    assert {round(float(x), 3) for x in drawn} == {0.1, 0.5, 0.9}


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "optimizer"), [(1, "adamw"), (2, "adamw"), (1, "muon")])
def test_resuming_is_exact_and_the_weights_load(
    files: list[Path], tmp_path: Path, accumulate: int, optimizer: Optimizer
) -> None:
    def run(folder: Path, steps: int, total: int) -> None:
        settings = TrainSettings(
            steps=total,
            decay_steps=4,
            layouts=LAYOUTS,
            checkpoint_every=2,
            accumulate=accumulate,
            optimizer=optimizer,
        )
        torch.manual_seed(0)
        sam = nano.build_nano()
        batches = Batches({"a": files}, {"a": 1}, settings)
        train(sam, batches, settings, folder, stop_after=steps)

    run(tmp_path / "whole", 6, 6)
    run(tmp_path / "halves", 4, 6)
    run(tmp_path / "halves", 6, 6)
    whole, halves = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "halves"))
    assert whole["step"] == halves["step"] == 6
    for key, value in whole["model"].items():
        assert torch.equal(value, halves["model"][key]), key

    nano.export(tmp_path / "whole", tmp_path / "mine.safetensors")
    model = load_model(tmp_path / "mine.safetensors")
    decoded = model.decode(model.encode(labelled(0).image), PixelPrompts(boxes=np.array([[5, 5, 40, 40]], np.float32)))
    assert decoded.scores.shape == (1, 3)


def test_metrics_of_steps_that_come_again_are_not_kept_twice(files: list[Path], tmp_path: Path) -> None:
    settings = TrainSettings(steps=2, decay_steps=2, layouts=LAYOUTS)
    metrics = tmp_path / "run" / "metrics.jsonl"
    for step in (1, 2):
        torch.manual_seed(0)
        train(nano.build_nano(), Batches({"a": files}, {"a": 1}, settings), settings, tmp_path / "run", stop_after=step)
        steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()] if metrics.exists() else []
        assert steps == ([] if step == 1 else [1])
        metrics.write_text('{"step": 1, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n{"step": 40, "lo')


@pytest.mark.parametrize(("optimizer", "tolerance"), [("adamw", 0.02), ("muon", 0.1)])  # Muon computes in 16 bit
def test_a_checkpoint_goes_on_in_another_memory_format(
    files: list[Path], tmp_path: Path, optimizer: Optimizer, tolerance: float
) -> None:
    settings = TrainSettings(steps=3, decay_steps=2, layouts=LAYOUTS, optimizer=optimizer)

    def run(name: str, steps: int, memory_format: torch.memory_format) -> torch.Tensor:
        torch.manual_seed(0)
        sam = nano.build_nano().to(memory_format=memory_format)
        train(sam, Batches({"a": files}, {"a": 1}, settings), settings, tmp_path / name, stop_after=steps)
        return torch.cat([parameter.detach().flatten() for parameter in sam.parameters()])

    before = run("same", 2, torch.contiguous_format)
    shutil.copytree(tmp_path / "same", tmp_path / "other")
    same, other = run("same", 3, torch.contiguous_format), run("other", 3, torch.channels_last)
    assert (same - other).abs().mean() < tolerance * (same - before).abs().mean()


def test_statistics_beyond_what_16_bits_hold_are_exported(tmp_path: Path) -> None:
    sam = nano.build_nano()
    sam.get_buffer("image_encoder.stage16.3.norm.running_var").fill_(1e5)
    average = torch.optim.swa_utils.AveragedModel(sam)
    state = {"step": 1, "model": sam.state_dict(), "average": average.state_dict(), "optimizer": None}
    torch.save(state, tmp_path / "checkpoint.pt")
    nano.export(tmp_path, tmp_path / "mine.safetensors")
    stored = load_network(tmp_path / "mine.safetensors").sam.state_dict()
    assert (stored["image_encoder.stage16.3.norm.running_var"] == 1e5).all()


def test_a_run_does_not_change_its_optimizer(files: list[Path], tmp_path: Path) -> None:
    settings = TrainSettings(steps=2, decay_steps=2, layouts=LAYOUTS)
    batches = Batches({"a": files}, {"a": 1}, settings)
    train(nano.build_nano(), batches, settings, tmp_path, stop_after=1)
    with pytest.raises(UsageError, match=r"checkpoint.pt: trained with adamw; found muon. Fix: the same, or another"):
        train(nano.build_nano(), batches, replace(settings, optimizer="muon"), tmp_path)


TEAM = """
import sys
from pathlib import Path
import torch
from samgeo.train import nano
from samgeo.train.loop import Batches, TrainSettings, train
from samgeo.train.team import size, team
from torch import distributed

files, folder, accumulate = sorted(Path(sys.argv[1]).glob("*.npz")), Path(sys.argv[2]), int(sys.argv[3])
settings = TrainSettings(steps=3, decay_steps=2, layouts=((64, 2, 2),), checkpoint_every=2, accumulate=accumulate)
with team("cpu") as device:
    torch.manual_seed(0)
    sam = nano.build_nano().to(device).to(memory_format=torch.channels_last)
    train(sam, Batches({"a": files}, {"a": 1}, settings), settings, folder)
    if size() == 2:
        for tensor in sam.state_dict().values():
            both = [torch.empty_like(tensor) for _ in range(2)]
            distributed.all_gather(both, tensor)
            assert torch.equal(*both), "all end with the same network, statistics and all"
"""


def test_a_team_of_two_takes_the_step_that_one_takes_with_two_batches(files: list[Path], tmp_path: Path) -> None:
    script = tmp_path / "team.py"
    script.write_text(TEAM)
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start, accumulate in (("team", together, 1), ("one", [sys.executable], 2), ("half", [sys.executable], 1)):
        line = [*start, script, tmp_path, tmp_path / name, accumulate]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run([*map(str, line)], check=True, env=environment, capture_output=True, timeout=300)
    states = {
        name: torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("team", "one", "half")
    }
    assert all(state["step"] == 3 for state in states.values())
    learned = {
        name: torch.cat([v.flatten() for k, v in state["model"].items() if k.startswith("mask_decoder.")])
        for name, state in states.items()
    }
    apart = {name: float((learned[name] - learned["one"]).abs().mean()) for name in ("team", "half")}
    assert apart["team"] < 0.02 * apart["half"]


def test_a_step_without_batches_and_other_steps_than_before_are_refused(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 steps of 0 batches"):
        TrainSettings(steps=3, decay_steps=2, accumulate=0)
    settings = TrainSettings(steps=2, decay_steps=2, layouts=LAYOUTS)
    train(nano.build_nano(), Batches({"a": files}, {"a": 1}, settings), settings, tmp_path / "run", stop_after=1)
    other = replace(settings, accumulate=2)
    with pytest.raises(UsageError, match="a step had 1 batches; found 2"):
        train(nano.build_nano(), Batches({"a": files}, {"a": 1}, other), other, tmp_path / "run")


def test_classes_of_cells_are_shares_of_what_is_shown_and_known() -> None:
    bits = torch.zeros(1, 2, 8, 8, dtype=torch.int32)
    bits[0, 0, :4, :2] = 0b101
    bits[0, 1, :, :4] = 0b111
    bits[0, 1, 7, 0] = 0b011
    shown, known = class_cells(bits)
    assert shown.shape == known.shape == (1, len(CLASSES), 2, 2)
    assert shown[0, :3].tolist() == [[[0.5, 0], [0, 0]], [[0, 0], [0, 0]], [[0.5, 0], [0, 0]]]
    assert known[0, :3].tolist() == [[[1, 0], [1, 0]], [[1, 0], [1, 0]], [[1, 0], [0, 0]]]
    assert not known[0, 3:].any()


def test_what_is_not_known_of_classes_costs_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(2, 5, 6, 7, generator=generator) > 0.7).float()
    known = (torch.rand(2, 5, 6, 7, generator=generator) > 0.3).float()
    right = torch.where(target > 0, 20.0, -20.0)
    assert float(class_loss(torch.where(known > 0, right, -right), target, known)) < 1e-4
    assert float(class_loss(-right, target, known)) > 10
    assert float(class_loss(right, target, torch.zeros_like(known))) == 0
    unsure = torch.zeros_like(right)
    one = torch.zeros_like(known)
    one[1, 2] = known[1, 2]
    alone = class_loss(unsure[1:, 2:3], target[1:, 2:3], known[1:, 2:3])
    assert float(class_loss(unsure, target, one)) == pytest.approx(float(alone)), "classes nobody knows do not count"


def test_training_begins_with_weights_that_lack_the_class_map_and_exports_without_it(
    files: list[Path], tmp_path: Path
) -> None:
    weights, again = tmp_path / "weights.safetensors", tmp_path / "again.safetensors"
    torch.manual_seed(0)
    write_weights(nano.build_nano().state_dict(), weights, {"steps": "7"}, overwrite=False)
    nano.begin([weights], tmp_path / "run")
    settings = TrainSettings(steps=1, decay_steps=1, layouts=LAYOUTS, ema_after=0)
    train(nano._learner(), Batches({"a": files}, {"a": 1}, settings), settings, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert any(name.startswith("class_map.") for name in state["model"])
    nano.export(tmp_path / "run", again)
    assert load_file(again).keys() == load_file(weights).keys()


def test_what_the_network_has_more_of_than_its_weights_begins_with_zero(tmp_path: Path) -> None:
    weights = nano.build_nano().state_dict()
    grown = "prompt_encoder.mask_downscaling.0.weight"
    write_weights(weights | {grown: weights[grown][:, :-2]}, tmp_path / "7.safetensors", {}, overwrite=False)
    nano.begin([tmp_path / "7.safetensors"], tmp_path / "run")
    begun = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"][grown]
    assert torch.equal(begun[:, :-2], weights[grown][:, :-2])
    assert not begun[:, -2:].any()
    larger = torch.cat([weights[grown], weights[grown][:, :1]], dim=1)
    write_weights(weights | {grown: larger}, tmp_path / "7.safetensors", {}, overwrite=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        nano.begin([tmp_path / "7.safetensors"], tmp_path / "other")


def test_a_run_begins_with_the_mean_of_several_weights(tmp_path: Path) -> None:
    paths = [tmp_path / f"{steps}.safetensors" for steps in (7, 5)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        write_weights(nano.build_nano().state_dict(), path, {"steps": path.stem}, overwrite=False)
    nano.begin(paths, tmp_path / "run")
    nano.export(tmp_path / "run", tmp_path / "mean.safetensors", last=True)
    one, other, mean = map(load_file, (*paths, tmp_path / "mean.safetensors"))
    assert one.keys() == mean.keys()
    for name, value in mean.items():
        torch.testing.assert_close(value.float(), (one[name].float() + other[name].float()) / 2, rtol=1e-3, atol=1e-3)
    with safe_open(tmp_path / "mean.safetensors", "pt") as file:
        assert file.metadata()["steps"] == "7"
    write_weights({"mask_decoder.x": torch.zeros(1)}, paths[0], {}, overwrite=True)
    with pytest.raises(UsageError, match=r"7\.safetensors: lacks"):
        nano.begin(paths, tmp_path / "none")


def test_every_step_begins_by_a_box_and_by_a_click(files: list[Path]) -> None:
    torch.manual_seed(0)
    sam = nano.build_nano()
    image, masks, _ = Batches({"a": files}, {"a": 1}, TrainSettings(steps=1, decay_steps=1, layouts=((64, 1, 2),)))[0]
    features, objects = look(sam, image).repeat(2), masks.flatten(0, 1)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        report = interact(sam, features, objects, rounds=2, left_out=0, generator=generator)
        assert report.keys() == {"loss", "box", "click", "best", "last"}


@pytest.mark.slow
def test_what_is_where_is_learned_with_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    named = labelled(0)
    replace(named, objects=tuple(replace(mask, label="building") for mask in named.objects)).save(path)
    settings = TrainSettings(steps=100, decay_steps=20, layouts=((64, 2, 2),), learning_rate=3e-3)
    torch.manual_seed(0)
    train(nano._learner(), Batches({"a": [path]}, {"a": 1}, settings), settings, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["classes"] < 0.7 * lines[0]["classes"]


@pytest.mark.slow
def test_calibrating_teaches_the_scorer_and_changes_nothing_else(files: list[Path]) -> None:
    settings = TrainSettings(steps=8, decay_steps=8, layouts=((64, 2, 3),))
    torch.manual_seed(0)
    sam = nano.build_nano()
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    batches = Batches({"a": files}, {"a": 1}, settings)
    untaught = calibrate(sam, batches, steps=8, passes=1, learning_rate=0.0)
    taught = calibrate(sam, batches, steps=8, passes=30)
    assert taught < 0.7 * untaught
    changed = {name for name, value in sam.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("mask_scorer.") for name in changed)


def test_images_of_all_kinds_and_sizes_are_calibrated_on_together(files: list[Path]) -> None:
    """Bytes and what a frame prepared are the same image; one that cannot be halved is seen at one size."""
    torch.manual_seed(0)
    sam = nano.build_nano()
    settings = TrainSettings(steps=2, decay_steps=2, layouts=((64, 2, 3), (96, 1, 3)))
    batches = [Batches({"a": files}, {"a": 1}, settings)[step] for step in range(2)]
    prepared = [batch._replace(image=batch.image.float() / 255) for batch in batches]
    read, shown = (list(_describe(sam, kind, 2, 0)) for kind in (batches, prepared))
    for one, other in zip(read, shown, strict=True):
        for mine, its in zip(one, other, strict=True):
            torch.testing.assert_close(mine, its, equal_nan=True)
    facts, _, truth = (torch.cat(part) for part in zip(*read, strict=True))
    assert facts.shape[:2] == truth.shape == (len(truth), 12)
    assert not truth[:6].isnan().any()
    assert truth[-3:, 4:].isnan().all()


@pytest.mark.slow
def test_the_loss_falls(files: list[Path], tmp_path: Path) -> None:
    settings = TrainSettings(steps=120, decay_steps=40, layouts=((64, 2, 3),))
    torch.manual_seed(0)
    train(nano.build_nano(), Batches({"a": files}, {"a": 1}, settings), settings, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 120
    assert lines[-1]["loss"] < 0.75 * lines[0]["loss"]
