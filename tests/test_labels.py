"""LabelWriter: every id on its pixel, lossless, in the same bytes; nothing half-done under the final name."""

import hashlib
import itertools
import shutil
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from samgeo.commit import staging_folder
from samgeo.errors import OutputError, OutputExistsError, UsageError
from samgeo.grid import Grid
from samgeo.output.labels import BLOCK_PX, LabelWriter
from samgeo.output.overviews import begins_as_cog, wrong_overview_blocks
from samgeo.pixels import Window
from tests.fresh import in_fresh_child, killed_ever_later, on_short_disk

NORTH_UP = Affine(0.1, 0, 500_000.3, 0, -0.1, 5_000_000.7)
METADATA = {"model": "samgeo-nano", "stretch": {"low": [1, 2.5]}, "Größe": "ä < & >"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="kills and resource limits")


def grid(height: int = 700, width: int = 1100, transform: Affine = NORTH_UP, epsg: int | None = 32633) -> Grid:
    return Grid(width=width, height=height, transform=transform, crs=epsg and CRS.from_epsg(epsg))


def ids(on: Grid, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 2**31, (-(-on.height // 9), -(-on.width // 9)), dtype=np.int32)
    return np.kron(coarse * (coarse % 3 > 0), np.ones((9, 9), np.int32))[: on.height, : on.width]


def windows(on: Grid, side: int = BLOCK_PX) -> list[Window]:
    starts = [(row, col) for row in range(0, on.height, side) for col in range(0, on.width, side)]
    return [Window(row=r, col=c, height=side, width=side).intersection(on.window) for r, c in starts]


def write(path: Path, on: Grid, labels: np.ndarray, *, order: list[Window] | None = None, **options) -> Path:
    with LabelWriter(path, grid=on, metadata=METADATA, **options) as writer:
        for window in windows(on) if order is None else order:
            writer.write(window, labels[window.slices()])
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_round_trip(tmp_path):
    path = write(tmp_path / "out.tif", grid(), ids(grid()))
    with rasterio.open(path) as found:
        np.testing.assert_array_equal(found.read(1), ids(grid()))
        assert (found.dtypes, found.count, found.nodata, found.crs.to_epsg()) == (("int32",), 1, 0, 32633)
        assert found.transform == NORTH_UP
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert found.tags()["model"] == "samgeo-nano"
        assert found.tags()["Größe"] == METADATA["Größe"]
        assert found.overviews(1)
    assert names(tmp_path) == ["out.tif"]


@pytest.mark.parametrize(
    "transform",
    [
        Affine(0.1, 0.02, 500_000.3, 0.03, -0.1, 5_000_000.7),
        Affine(0.1, 0, 500_000.3, 0, 0.25, 5_000_000.7),
        Affine(0, 1e-7, 13.1, 1e-7, 0, 45.2),
    ],
)
def test_transforms_are_exact(tmp_path, transform):
    small = grid(40, 30, transform)
    with rasterio.open(write(tmp_path / "out.tif", small, ids(small))) as found:
        assert found.transform == transform


def test_without_crs(tmp_path):
    for number, transform in enumerate((NORTH_UP, Affine.identity())):
        small = grid(40, 30, transform, epsg=None)
        path = write(tmp_path / f"{number}.tif", small, ids(small))
        with rasterio.MemoryFile(path.read_bytes()) as memory, warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with memory.open() as found:
                assert found.crs is None
                assert found.transform == transform


def test_what_is_not_written_is_zero(tmp_path):
    labels = ids(grid())
    path = write(tmp_path / "out.tif", grid(), labels, order=windows(grid())[1:3])
    labels[:, :512] = labels[512:] = 0
    with rasterio.open(path) as found:
        np.testing.assert_array_equal(found.read(1), labels)
    empty = write(tmp_path / "empty.tif", grid(), labels, order=[])
    with rasterio.open(empty) as found:
        assert not found.read(1).any()


def test_the_same_bytes_in_any_order_and_size_of_windows(tmp_path):
    labels, orders = ids(grid()), [windows(grid()), windows(grid())[::-1], windows(grid(), 1024)]
    found = {digest(write(tmp_path / f"{n}.tif", grid(), labels, order=order)) for n, order in enumerate(orders)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("window", "labels", "message"),
    [
        (Window(row=0, col=100, height=512, width=512), np.zeros((512, 512), np.int32), "whole blocks"),
        (Window(row=0, col=0, height=512, width=500), np.zeros((512, 500), np.int32), "whole blocks"),
        (Window(row=0, col=0, height=0, width=512), np.zeros((0, 512), np.int32), "whole blocks"),
        (Window(row=0, col=1024, height=512, width=512), np.zeros((512, 512), np.int32), "inside"),
        (Window(row=-512, col=0, height=512, width=512), np.zeros((512, 512), np.int32), "inside"),
        (Window(row=0, col=0, height=512, width=512), np.zeros((512, 512), np.uint32), "int32"),
        (Window(row=0, col=0, height=512, width=512), np.zeros((512, 511), np.int32), "expected"),
        (Window(row=0, col=0, height=512, width=512), np.full((512, 512), -1, np.int32), "at least 0"),
        (Window(row=512, col=512, height=188, width=588), np.zeros((188, 588), np.int32), "written before"),
    ],
)
def test_wrong_windows(tmp_path, window, labels, message):
    first = Window(row=512, col=1024, height=188, width=76), np.zeros((188, 76), np.int32)

    def attempt():
        with LabelWriter(tmp_path / "out.tif", grid=grid()) as writer:
            writer.write(*first)
            writer.write(window, labels)

    with pytest.raises(UsageError, match=message):
        attempt()
    assert names(tmp_path) == []


def test_other_endings():
    with pytest.raises(UsageError, match=r"\.tif"):
        LabelWriter("out.png", grid=grid())


def test_existing_output_and_its_companions(tmp_path):
    path = write(tmp_path / "out.tif", grid(40, 30), ids(grid(40, 30)))
    before = digest(path)
    with pytest.raises(OutputExistsError):
        write(path, grid(), ids(grid()))
    assert digest(path) == before
    (tmp_path / "out.tif.aux.xml").write_text("<PAMDataset/>")
    write(path, grid(), ids(grid()), overwrite=True)
    assert digest(path) != before
    assert names(tmp_path) == ["out.tif"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = write(tmp_path / "out.tif", grid(40, 30), ids(grid(40, 30)))
    before = digest(path)

    def broken():
        yield windows(grid())[0]
        raise error

    with pytest.raises(error):
        write(path, grid(), ids(grid()), order=broken(), overwrite=True)
    assert digest(path) == before
    assert names(tmp_path) == ["out.tif"]


def test_a_block_that_reads_otherwise_is_noticed(tmp_path, monkeypatch):
    writer = LabelWriter(tmp_path / "out.tif", grid=grid())
    first, counter = windows(grid())[0], itertools.count()
    monkeypatch.setattr("samgeo.output.labels._checksum", lambda labels: next(counter))
    with pytest.raises(OutputError, match="1 of 6 blocks"), writer:
        writer.write(first, ids(grid())[first.slices()])
    assert names(tmp_path) == []


@posix
def test_short_disk(tmp_path):
    on = grid(600, 900)
    old = write(tmp_path / "out.tif", grid(40, 30), ids(grid(40, 30)))
    before, labels = digest(old), ids(on)
    whole = write(tmp_path / "whole.tif", on, labels)
    complete, size = digest(whole), whole.stat().st_size
    whole.unlink()
    work = partial(write, old, on, labels, overwrite=True)
    outcomes = set()
    for limit in np.linspace(0, size * 1.4, 20).astype(int).tolist():
        code = in_fresh_child(partial(on_short_disk, work, limit)).code
        assert code in (0, 1), limit
        assert digest(old) == (before if code else complete), limit
        assert names(tmp_path) == ["out.tif"]
        outcomes.add(code)
        if code == 0:
            write(old, grid(40, 30), ids(grid(40, 30)), overwrite=True)
    assert outcomes == {0, 1}


@posix
def test_killed_at_any_instant(tmp_path):
    on, few = grid(600, 900), grid(40, 30)
    path = write(tmp_path / "out.tif", few, ids(few))
    old = digest(path)
    work = partial(write, path, on, ids(on), overwrite=True)
    whole = in_fresh_child(work)
    assert whole.code == 0
    new = digest(path)
    write(path, few, ids(few), overwrite=True)
    interrupted = 0
    for ended in killed_ever_later(work, seconds=whole.seconds):
        assert ended.code in (0, -signal.SIGKILL)
        assert digest(path) in ((old, new) if ended.code else (new,))
        interrupted += staging_folder(path).exists()
        if digest(path) == new:
            write(path, few, ids(few), overwrite=True)
    assert interrupted
    write(path, few, ids(few), overwrite=True)
    assert names(tmp_path) == ["out.tif"]


def test_overviews_are_compared_too(tmp_path):
    """Every block of every level, with any parity of sides; a level that the disk lost reads as zeros."""
    for height, width in ((1025, 1300), (2050, 700)):
        on = grid(height, width)
        path = write(tmp_path / f"{height}.tif", on, ids(on))
        assert wrong_overview_blocks(path) == 0
        with rasterio.open(path) as dataset:
            levels = len(dataset.overviews(1))
        for level in range(levels):
            damaged = tmp_path / "damaged.tif"
            shutil.copy(path, damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with rasterio.open(damaged, "r+", overview_level=level, IGNORE_COG_LAYOUT_BREAK="YES") as coarse:
                    coarse.write(np.zeros((1, 8, 8), np.int32), window=rasterio.windows.Window(0, 0, 8, 8))
            assert wrong_overview_blocks(damaged) > 0


def test_a_directory_that_is_not_in_front_is_noticed(tmp_path):
    path = write(tmp_path / "out.tif", grid(40, 30), ids(grid(40, 30)))
    assert begins_as_cog(path)
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(more="x" * 3000)
    assert not begins_as_cog(path)
    path.write_bytes(b"")
    assert not begins_as_cog(path)
