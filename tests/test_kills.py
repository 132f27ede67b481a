"""kill -9 at any instant: nothing, the old file or the new one has the output's name, and the next run ends alike."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import struct
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from samgeo import commit
from samgeo.pipeline.result import Segmentation
from tests.runs import (
    ENDINGS,
    Assassin,
    every_piece,
    everything_in,
    exit_code,
    fork,
    journal_folder,
    run,
    visible,
    write_scene,
)

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="fork and kill")]
PHASES = ("starting", "tiles", "assembling", "writing", "renaming", "clearing")


class Watch:
    """Memory that is shared with forked processes: in which phase a run is, and when it began each."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (1 + len(PHASES)))

    def enter(self, phase: str) -> None:
        struct.pack_into("d", self._memory, 8 * (1 + PHASES.index(phase)), time.monotonic())
        self._memory[0] = PHASES.index(phase)

    @property
    def now(self) -> int:
        return self._memory[0]

    def seconds(self) -> dict[str, float]:
        """How long each phase took, once a run is through."""
        begun = [*struct.unpack_from(f"{len(PHASES)}d", self._memory, 8), time.monotonic()]
        return {phase: max(0.0, begun[k + 1] - begun[k]) for k, phase in enumerate(PHASES)}

    def over(self, work):
        """The same work, watched; for a process that ends afterwards."""

        def watched(*args, **options):
            self.enter("starting")
            publish, to_file = commit._publish, Segmentation.to_file

            def renaming(*args):
                self.enter("renaming")
                publish(*args)
                self.enter("clearing")

            def writing(result, *args, **options):
                self.enter("writing")
                return to_file(result, *args, **options)

            def report(progress):
                if progress.phase == "tiles":
                    self.enter("tiles" if progress.done < progress.total else "assembling")

            commit._publish, Segmentation.to_file = renaming, writing
            work(*args, **options, progress=report)

        return watched


class Lab:
    """Runs that are killed, and what they may leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raster = write_scene(folder / "scene.tif")
        self.old = {ending: self._finished(ending, "old", simplify_m=1.5, points_per_side=3) for ending in ENDINGS}
        self.typical: dict[str, dict[str, float]] = {}
        self.new = {ending: self._finished_in_a_fork(ending) for ending in ENDINGS}

    def run(self, output: Path, **options) -> None:
        run(self.raster, output, tile_px=33, use_cache=True, **options)

    def _finished(self, ending: str, name: str, **settings) -> dict[str, str]:
        output = self.place(ending, name)
        self.run(output, **settings)
        return visible(output)

    def _finished_in_a_fork(self, ending: str) -> dict[str, str]:
        """As the runs are that will be killed; how long its phases take is noted."""
        output, watch = self.place(ending, "new"), Watch()
        assert exit_code(fork(lambda: watch.over(self.run)(output))) == 0
        self.typical[ending] = watch.seconds()
        return visible(output)

    def place(self, ending: str, name: str, *, over_old: bool = False) -> Path:
        """A name to write to, in an empty folder or over an old file."""
        folder = self.folder / f"{name}{ending}"
        shutil.rmtree(folder, ignore_errors=True)
        if over_old:
            shutil.copytree(self.folder / f"old{ending}", folder)
        else:
            folder.mkdir()
        return folder / f"out{ending}"

    def is_complete(self, output: Path) -> bool:
        """All new files are there, and no journal from which a run would go on."""
        return visible(output) == self.new[output.suffix] and not journal_folder(output).exists()

    def check(self, output: Path, *, over_old: bool) -> str:
        """What a killed run left: nothing, old or new; fails if it is anything between."""
        ending = output.suffix
        found, old, new = visible(output), self.old[ending], self.new[ending]
        if output.name not in found:
            assert ending == ".shp" or not over_old, "the old file is gone"
            assert found.items() <= old.items() | new.items() if over_old else found.items() <= new.items()
            return "nothing"
        assert found[output.name] == new[output.name] or (over_old and found[output.name] == old[output.name])
        whole = new if found[output.name] == new[output.name] else old
        assert found.items() <= whole.items(), "a file with the companion of another"
        missing = whole.keys() - found.keys()
        assert not missing or (over_old and missing == {f"{output.name}.json"} and ending != ".shp"), missing
        return "new" if whole is new else "old"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
    return Lab(tmp_path)


def kill_many(lab: Lab, kills: int, *, seed: int) -> tuple[Counter, Counter]:
    """Kill runs and those that go on from them, until so many were killed; in which phase, and what was there then.

    Half of the kills come at any time of a run, half somewhere in a phase that is chosen first.
    """
    rng, watch = random.Random(seed), Watch()
    phases, left = Counter(), Counter()
    while sum(phases.values()) < kills:
        ending, over_old = rng.choice(ENDINGS), rng.random() < 0.4
        output, status = lab.place(ending, "killed", over_old=over_old), -signal.SIGKILL
        while status == -signal.SIGKILL:
            watch.enter("starting")
            child = fork(lambda output=output, over_old=over_old: watch.over(lab.run)(output, overwrite=over_old))
            status = _kill_at_random(child, watch, lab.typical[ending], rng)
            if status == -signal.SIGKILL:
                phases[PHASES[watch.now]] += 1
                left[lab.check(output, over_old=over_old)] += 1
                if lab.is_complete(output):
                    status = 0  # only hidden files were still to be removed
        assert status == 0
        assert lab.is_complete(output)
    return phases, left


def _kill_at_random(child: int, watch: Watch, typical: dict[str, float], rng: random.Random) -> int:
    """The exit code of a run that is killed in a while, unless it is faster."""
    phase = rng.choice(PHASES) if rng.random() < 0.5 else None
    if phase is None:
        deadline = time.monotonic() + rng.uniform(0, sum(typical.values()))
    else:
        while watch.now < PHASES.index(phase):
            if _has_ended(child):
                return exit_code(child)
        deadline = time.monotonic() + rng.uniform(0, 1.2 * typical[phase])
    while (left := deadline - time.monotonic()) > 0 and not _has_ended(child):
        time.sleep(min(left, 0.01))
    os.kill(child, signal.SIGKILL)
    return exit_code(child)


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_twenty_kills_leave_nothing_half_done_and_every_resumed_run_has_the_same_bytes(lab):
    phases, _ = kill_many(lab, 20, seed=0)
    assert len(phases) >= 3


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_two_thousand_kills_leave_nothing_half_done_and_every_resumed_run_has_the_same_bytes(lab):
    began = time.monotonic()
    phases, left = kill_many(lab, 2000, seed=int(os.environ.get("SAMGEO_TEST_SEED", "1")))
    print(f"\n{sum(phases.values())} kills in {time.monotonic() - began:.0f} s; {dict(phases)}; left: {dict(left)}")  # noqa: T201 - read with -s
    assert phases.keys() == set(PHASES)
    assert left.keys() == {"nothing", "old", "new"}


def kill_at_every_step(lab: Lab, ending: str, *, over_old: bool, from_phase: str) -> int:
    """Kill a run before each of its steps from a phase on, one run a step; how many steps there are."""

    def die_in(output: Path, number: int) -> None:
        def report(progress):
            if progress.phase == from_phase and progress.done == progress.total:
                Assassin(output.parent, number)

        lab.run(output, overwrite=over_old, progress=report)

    stopped = lab.place(ending, "stopped", over_old=over_old)
    assert exit_code(fork(lambda: die_in(stopped, 1))) == -signal.SIGKILL
    for number in range(1, 1000):
        output = lab.place(ending, "step")
        shutil.copytree(stopped.parent, output.parent, dirs_exist_ok=True)
        if exit_code(fork(lambda output=output, number=number: die_in(output, number))) == 0:
            return number - 1
        lab.check(output, over_old=over_old)
        again = over_old or lab.is_complete(output)  # only hidden files were still to be removed
        assert exit_code(fork(lambda output=output, again=again: lab.run(output, overwrite=again))) == 0, number
        assert everything_in(output.parent) == sorted(lab.new[ending])
    raise AssertionError("it does not end")


@pytest.mark.sweep
@pytest.mark.parametrize("over_old", [True, False], ids=["over an old file", "new"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_kill_before_any_step_from_the_tiles_on_loses_nothing(lab, ending, over_old):
    assert kill_at_every_step(lab, ending, over_old=over_old, from_phase="assembling") > 10
