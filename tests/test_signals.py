"""Signals on a real command with worker processes: it ends soon, leaves nobody behind, and the next one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs import command, digest, everything_in, write_scene

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups")
GRACE_S = 10
"""Far less than a second on a quiet machine; tests run beside others."""


class Desk:
    """One raster, and commands that segment it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raster = write_scene(folder / "scene.tif")
        self.cache = folder / "cache"
        self.whole = self.end(self.start("whole"))

    def output(self, name: str) -> Path:
        return self.folder / name / "out.gpkg"

    def start(self, name: str, *options: object, pause: float = 0.0, **environment: str) -> subprocess.Popen:
        output = self.output(name)
        output.parent.mkdir(exist_ok=True)
        arguments = ("segment", self.raster, output, "--no-cache", "--progress", "json", *options)
        return command(*arguments, pause=pause, **environment)

    def end(self, process: subprocess.Popen) -> str:
        """Wait for a run that goes well; the digest of what it wrote."""
        text = ending(process, seconds=120)
        assert process.returncode == 0, text
        output = Path(process.args[process.args.index("segment") + 2])
        assert everything_in(output.parent) == ["out.gpkg"]
        return digest(output)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


def wait_for_tiles(process: subprocess.Popen, done: int) -> None:
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["done"] >= done:
            return
    raise AssertionError("it ended before that")


def ending(process: subprocess.Popen, seconds: float = 60) -> str:
    """Wait for the end of a process; what it still says. One that hangs fails with what each of its threads is at."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(process.communicate()[1])


def members(group: int) -> list[int]:
    """The processes of a group that are alive, by what the system says."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state not in "ZX":
            found.append(int(folder.name))
    return found


def workers_of(process: subprocess.Popen) -> list[int]:
    return [
        pid
        for pid in members(process.pid)
        if pid != process.pid and b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
class TestWithWorkers:
    def parts(self, desk) -> int:
        return len(list(desk.output("interrupted").parent.rglob("*.part")))

    def test_ctrl_c_ends_all_of_it_at_once_and_the_next_run_ends_with_the_same_bytes(self, desk):
        process = desk.start("interrupted", "--workers", 2, pause=3.0)
        wait_for_tiles(process, 2)
        done = self.parts(desk)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        began = time.monotonic()
        text = ending(process)
        assert time.monotonic() - began < GRACE_S
        assert process.returncode == 130, text
        assert "Traceback" not in text
        assert f"samgeo segment {desk.raster} {desk.output('interrupted')}" in text
        while members(process.pid):  # the process that counts shared resources ends after its parent
            assert time.monotonic() - began < GRACE_S
            time.sleep(0.02)
        assert self.parts(desk) <= done + 1, "what was in flight is not waited for; one may end at that moment"
        again = desk.start("interrupted")
        assert json.loads(again.stderr.readline())["done"] >= 2
        assert desk.end(again) == desk.whole

    def test_workers_end_when_their_parent_is_killed(self, desk):
        process = desk.start("orphans", "--workers", 2, pause=0.5)
        wait_for_tiles(process, 1)
        assert len(workers_of(process)) == 2
        process.kill()
        process.wait()
        began = time.monotonic()
        while members(process.pid):
            assert time.monotonic() - began < GRACE_S
            time.sleep(0.02)
        process.stderr.close()
        assert everything_in(desk.output("orphans").parent) == ["out.gpkg.samgeo"]

    def test_a_killed_worker_costs_nothing_and_the_run_ends_with_the_same_bytes(self, desk):
        process = desk.start("murdered", "--workers", 2, pause=0.3)
        wait_for_tiles(process, 1)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        assert desk.end(process) == desk.whole


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_end_of_a_session_ends_a_run_in_order_and_says_how_to_go_on(desk, number, exit_code):
    name = f"ended-{exit_code}"
    process = desk.start(name, pause=0.5)
    wait_for_tiles(process, 1)
    process.send_signal(number)
    began = time.monotonic()
    text = ending(process)
    assert time.monotonic() - began < GRACE_S
    assert process.returncode == exit_code, text
    assert "Traceback" not in text
    assert f"To go on from there:\n  samgeo segment {desk.raster} {desk.output(name)}" in text
    assert everything_in(desk.output(name).parent) == ["out.gpkg.samgeo"]


def test_the_second_ctrl_c_does_not_wait_for_a_library_that_is_busy(desk):
    process = desk.start("busy", SAMGEO_TEST_BUSY="1")
    wait_for_tiles(process, 0)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "the first one waits"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < GRACE_S
    process.stderr.close()
    assert everything_in(desk.output("busy").parent) == ["out.gpkg.samgeo"]
