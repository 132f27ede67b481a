"""Disks that are full or fail under whole runs: an error that names the output, and the old file as it was."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from samgeo.commit import staging_folder
from samgeo.errors import OutputError
from samgeo.grid import Grid, parse_crs
from samgeo.output.labels import LabelWriter
from samgeo.pipeline.painting import blocks
from tests.features import small, write
from tests.runs import (
    ENDINGS,
    every_piece,
    everything_in,
    exit_code,
    fork,
    journal_folder,
    outcome,
    run,
    visible,
    write_scene,
)

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="fork and resource limits")]
FAILED = OutputError.exit_code
Fault = Callable[[Path], tuple[int, str]]
"""Runs over an output while something is wrong; the exit code of the run and its error."""


class Disk:
    """A raster, and the same run over and over with an output that is there already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raster = write_scene(folder / "scene.tif")

    def output(self, ending: str) -> Path:
        return self.folder / "work" / f"out{ending}"

    def run(self, output: Path) -> None:
        warnings.simplefilter("ignore")  # a cache that cannot be written is a warning
        run(self.raster, output, use_cache=True, overwrite=True)

    def run_otherwise(self, output: Path) -> None:
        run(self.raster, output, overwrite=True, simplify_m=2)

    def fresh(self, ending: str) -> tuple[dict[str, str], dict[str, str]]:
        """Put an old file in place. Returns what is visible then, and what a good run makes of it."""
        output = self.output(ending)
        output.parent.mkdir()
        self.run(output)
        new = visible(output)
        shutil.copytree(output.parent, self.folder / "new")
        self.run_otherwise(output)
        shutil.copytree(output.parent, self.folder / "old")
        return visible(output), new

    def sweep(self, ending: str, faults: Iterable[Fault]) -> Counter:
        """Try each fault on a run over the old file: it ends well, or with an error that leaves everything as it was.

        Afterwards the disk is well again and the same run goes on from where it stopped.
        """
        before, new = self.fresh(ending)
        output, count = self.output(ending), Counter()
        meant = meaning(self.folder / "new" / output.name)
        for number, fault in enumerate(faults):
            status, error = fault(output)
            count[status] += 1
            if status == 0:
                assert visible(output) == new or meaning(output) == meant, number
            else:
                assert visible(output) == before, (number, error)
                if status != -signal.SIGSEGV:  # GDAL itself falls over one of these; a kill like any other
                    assert status == FAILED, (number, error)
                    assert str(output) in error, (number, error)
                    assert set(everything_in(output.parent)) - set(before) <= {journal_folder(output).name}, number
                assert exit_code(fork(partial(self.run, output))) == 0, number
                assert visible(output) == new, number
            assert set(everything_in(output.parent)) == set(new)
            shutil.rmtree(output.parent)
            shutil.copytree(self.folder / "old", output.parent)
        return count


def meaning(path: Path) -> object:
    """What a reader gets from a raster, whose directory lies elsewhere if it was written twice; for others unequal."""
    if path.suffix != ".tif":
        return object()
    with rasterio.open(path) as dataset:
        levels = len(dataset.overviews(1))
        facts = [dict(dataset.profile), dataset.tags(), dataset.tags(ns="IMAGE_STRUCTURE")]
    for level in range(-1, levels):
        with rasterio.open(path, **({} if level < 0 else {"overview_level": level})) as dataset:
            facts.append((dataset.shape, dataset.block_shapes, dataset.read(1).tobytes()))
    return facts


class Writers(Disk):
    """Files that take many system calls to write, without the run before them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, output: Path) -> None:
        if output.suffix == ".tif":
            self._labels(output, height=1100, width=1300)
        else:
            write(output, small(2000, seed=1), overwrite=True)

    def run_otherwise(self, output: Path) -> None:
        if output.suffix == ".tif":
            self._labels(output, height=40, width=30)
        else:
            write(output, small(5), overwrite=True)

    def _labels(self, output: Path, *, height: int, width: int) -> None:
        transform = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
        grid = Grid(width=width, height=height, transform=transform, crs=parse_crs("EPSG:32633"))
        labels = np.repeat(np.arange(1, 1 + -(-height // 4), dtype=np.int32), 4)[:height, None] * np.ones(
            width, np.int32
        )
        with LabelWriter(output, grid=grid, metadata={"model": "oracle"}, overwrite=True) as writer:
            for block in blocks(height, width, 512):
                writer.write(block, labels[block.slices()])


@pytest.fixture
def disk(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
    return Disk(tmp_path)


def limited(disk: Disk, limit: int) -> Fault:
    """No file may grow above so many bytes: what a full disk does, at a place that we choose."""
    import resource

    def work(output: Path) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        disk.run(output)

    return lambda output: outcome(partial(work, output))


def limits(steps: int) -> list[int]:
    """From nothing to more than the largest file of any format."""
    return [0, *np.geomspace(50, 200_000, steps - 1).astype(int).tolist()]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_on_a_short_disk_ends_well_or_leaves_the_old_file(disk, ending):
    count = disk.sweep(ending, [limited(disk, limit) for limit in limits(5)])
    assert count.keys() == {0, FAILED}


@pytest.mark.sweep
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_on_any_of_forty_short_disks_ends_well_or_leaves_the_old_file(disk, ending):
    count = disk.sweep(ending, [limited(disk, limit) for limit in limits(40)])
    print(f"\n{ending}: {dict(count)}")  # noqa: T201 - read with -s
    assert count.keys() == {0, FAILED}


class Strace:
    """Lets system calls of a run fail that touch the files being written, from outside, as a disk would."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.hits = 0

    def fault(self, output: Path, *, calls: str, error: str, when: str) -> tuple[int, str]:
        reader, writer = os.pipe()
        child = fork(partial(self._run_once_traced, output), errors=writer)
        os.close(writer)
        os.waitpid(child, os.WUNTRACED)
        log = self.disk.folder / "strace.txt"
        staging = staging_folder(output)
        paths = [staging / name for name in (*visible(output), "scratch.tif")]
        line = ["strace", "-f", "-q", "-o", log, "-e", f"inject={calls}:error={error}:when={when}", "-p", str(child)]
        tracer = subprocess.Popen([*line, *itertools.chain(*(("-P", path) for path in paths))], stderr=subprocess.PIPE)
        while not _is_traced(child):
            if tracer.poll() is not None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.skip(f"strace may not trace here: {tracer.communicate()[1]!r}")
            time.sleep(0.005)
        os.kill(child, signal.SIGCONT)
        status = exit_code(child)
        tracer.communicate()
        self.hits = log.read_text().count("(INJECTED)")
        with os.fdopen(reader) as errors:
            return status, errors.read()

    def _run_once_traced(self, output: Path) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        self.disk.run(output)

    def faults(self, *, calls: str, error: str, at_most: int) -> Iterator[Fault]:
        """The n-th call fails, or all from the n-th on, until there is no n-th call."""
        for number, more in itertools.product(range(1, at_most + 1), ("", "+")):
            yield partial(self.fault, calls=calls, error=error, when=f"{number}{more}")
            if not self.hits:
                return


def _is_traced(child: int) -> bool:
    tasks = Path(f"/proc/{child}/task").iterdir()
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


@pytest.mark.sweep
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
@pytest.mark.parametrize(
    ("calls", "error"),
    [("write,pwrite64,writev", "ENOSPC"), ("write,pwrite64,writev", "EIO"), ("fsync,fdatasync,ftruncate", "EIO")],
)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", [Disk, Writers], ids=["runs", "large files"])
def test_a_system_call_that_fails_ends_well_or_leaves_the_old_file(disk, kind, ending, calls, error):
    disk = kind(disk.folder)
    count = disk.sweep(ending, Strace(disk).faults(calls=calls, error=error, at_most=40))
    print(f"\n{kind.__name__} {ending} {calls} {error}: {dict(count)}")  # noqa: T201 - read with -s
    assert FAILED in count


@pytest.fixture
def small_disk(disk):
    """A file system of its own for the output, which is really full at times; returns what sets its size in kB."""
    place = disk.folder / "work"
    place.mkdir()

    def resize(kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", place], check=True, capture_output=True)

    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield resize
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("ending", [".gpkg", ".shp"])
def test_a_run_on_a_disk_that_is_really_full_ends_well_or_leaves_no_file(disk, small_disk, ending):
    output, count = disk.output(ending), Counter()
    for kilobytes in (4, 48, 96, 1000):
        small_disk(kilobytes)
        status, error = outcome(partial(disk.run, output))
        count[status] += 1
        if status:
            assert status == FAILED, error
            assert str(output) in error
            assert visible(output) == {}
            assert set(everything_in(output.parent)) <= {journal_folder(output).name}
        else:
            assert not journal_folder(output).exists()
            for path in output.parent.iterdir():
                path.unlink()
    assert count.keys() == {0, FAILED}
