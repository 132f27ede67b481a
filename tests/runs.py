"""Whole runs with the oracle: in this process, in forks that may be killed, and as commands of their own.

`python -m tests.runs ARGUMENTS` is `samgeo ARGUMENTS` with the oracle in place of every model, in worker processes too.
SAMGEO_TEST_PAUSE: seconds that each encoding takes longer. SAMGEO_TEST_BUSY: each is a library that hears no signals.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio

import samgeo.pipeline.tilejob
from samgeo.cli import main
from samgeo.pipeline.segment import journal_folder, segment
from samgeo.pixels import Mask
from samgeo.settings import Settings
from tests.oracle import OracleModel
from tests.scenes import random_scene

ROOT = Path(__file__).resolve().parent.parent
ENDINGS = [".gpkg", ".shp", ".geojson", ".fgb", ".parquet", ".tif"]
SCENE = random_scene(3, height=90, width=110, disjoint=True)
"""Seven objects, some of which reach through several windows."""


class SlowOracle(OracleModel):
    """The oracle of the scene, which waits before it looks."""

    def __init__(self) -> None:
        super().__init__(SCENE, tile_px=48)
        self.pause = float(os.environ.get("SAMGEO_TEST_PAUSE", "0"))

    def encode(self, image):
        time.sleep(self.pause)
        if "SAMGEO_TEST_BUSY" in os.environ:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)  # a minute or so, without the interpreter
        return super().encode(image)


def every_piece(_model, embedding, _settings, *, valid):
    """Everything in a window, without the time that asking at every pixel takes; `test_automatic` shows it is so."""
    return [Mask.from_array(piece & valid) for _, piece in embedding.pieces if (piece & valid).any()]


def write_scene(path: Path, image=SCENE.image) -> Path:
    height, width = image.shape[:2]
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500_000, 5_538_000, 1, 1)}
    profile = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(np.moveaxis(image, -1, 0))
    return path


def run(raster: Path, output: Path, *, progress=None, **settings) -> None:
    """Segment everything; needs the fixture or the patch that puts `every_piece` in place."""
    given = {"tile_px": 48, "overlap_px": 8, "use_cache": False} | settings
    segment(raster, model=SlowOracle(), output=output, settings=Settings(**given), progress=progress).close()


def fork(work: Callable[[], object], *, errors: int = 2) -> int:
    """Start `work` in a forked process that ends with 0 or the exit code of its samgeo error; its number.

    errors: where to write the error; usually shown if the test fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks of processes with threads
        child = os.fork()
    if child:
        return child
    status = 70
    try:
        work()
        status = 0
    except Exception as error:  # noqa: BLE001 - the edge of the process
        status = getattr(error, "exit_code", 70)
        os.write(errors, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def outcome(work: Callable[[], object]) -> tuple[int, str]:
    """Exit code and error of `work` in a forked process."""
    reader, writer = os.pipe()
    status = exit_code(fork(work, errors=writer))
    os.close(writer)
    with os.fdopen(reader) as errors:
        return status, errors.read()


def exit_code(child: int) -> int:
    """Wait for a process; its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def visible(output: Path) -> dict[str, str]:
    """What a user sees beside the output: digest by name of all files but those that say they are not for users."""
    return {
        path.name: digest(path)
        for path in sorted(output.parent.iterdir())
        if not path.name.startswith(".") and path != journal_folder(output)
    }


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Assassin:
    """Kills its process right before the n-th thing that it does to the files of a folder; Python tells of each."""

    EVENTS = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"})

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.left = str(folder), number
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple) -> None:
        writes = event == "open" and isinstance(args[1], str) and args[1].strip("rb") != ""
        if (writes or event in self.EVENTS) and str(args[0]).startswith(self.folder):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def command(*arguments: object, pause: float = 0.0, **environment: str) -> subprocess.Popen:
    """`samgeo ARGUMENTS` in a process group of its own, as a shell starts it: no signal is ignored."""
    variables = os.environ | {"SAMGEO_TEST_PAUSE": str(pause), "PYTHONFAULTHANDLER": "1"} | environment
    line = [sys.executable, "-m", "tests.runs", *map(str, arguments)]
    ends = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in ends]  # what is ignored here would be ignored there
    try:
        return subprocess.Popen(line, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True, process_group=0)
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)


if __name__ in {"__main__", "__mp_main__"}:  # the latter in worker processes
    samgeo.pipeline.tilejob._load = lambda _address: SlowOracle()
    samgeo.pipeline.tilejob.generate_masks = every_piece
if __name__ == "__main__":
    main()
