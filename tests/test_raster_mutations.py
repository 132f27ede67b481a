"""Tiny TIFFs with one byte changed: pixels or one clear error, no crash, no hang, no gigabyte, no foreign exception."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samgeo.errors import RasterError, ResourceLimitError
from samgeo.pixels import Window
from samgeo.raster.reader import Raster
from tests.rasters import noise, write
from tests.sandbox import each_in_child

SEEDS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda path: write(path, noise(1, 4, 4), crs=None),
    "rgb strips": lambda path: write(path, noise(3, 6, 5), blockysize=2, crs=None),
    "planar lzw": lambda path: write(path, noise(3, 6, 5), interleave="band", compress="lzw", predictor=2, crs=None),
    "tiled deflate": lambda path: write(
        path, noise(1, 20, 20) // 50, tiled=True, blockxsize=16, blockysize=16, compress="deflate", crs=None
    ),
    "float nodata": lambda path: write(path, noise(1, 4, 4, "float32"), nodata=-9999, crs=None),
    "bits": lambda path: write(path, noise(1, 8, 8) % 2, nbits=1, compress="packbits", crs=None),
    "big-endian": lambda path: write(path, noise(1, 4, 4, "uint16"), ENDIANNESS="BIG", crs=None),
    "bigtiff": lambda path: write(path, noise(1, 4, 4, "int16"), BIGTIFF="YES", crs=None),
    "masked": lambda path: write(path, noise(1, 8, 8), mask=np.eye(8, dtype=bool), crs=None),
    "crs": lambda path: write(path, noise(1, 4, 4), crs="EPSG:4326", transform=None),
    "lab": lambda path: write(path, noise(3, 4, 4, "uint16"), photometric="ICCLAB", crs=None),
}

CHANGES: dict[str, Callable[[int], int]] = {
    "zero": lambda _: 0x00,
    "ones": lambda _: 0xFF,
    "flip": lambda byte: byte ^ 0xFF,
}

Mutant = tuple[str, int, str]
"""Name of a seed, place of a byte, name of a change."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    contents = {name: make(folder / "seed.tif").read_bytes() for name, make in SEEDS.items()}
    assert max(map(len, contents.values())) < 1000
    return contents


def mutants(seeds: dict[str, bytes]) -> list[Mutant]:
    """All that differ from their seed."""
    return [
        (name, place, change)
        for name, content in seeds.items()
        for place, byte in enumerate(content)
        for change, make in CHANGES.items()
        if make(byte) != byte
    ]


def try_all(some: list[Mutant], seeds: dict[str, bytes], folder: Path) -> Counter[str]:
    """How many were read and refused; fails with those that did neither."""
    path = folder / "mutant.tif"

    def look(mutant: Mutant) -> str:
        name, place, change = mutant
        content = bytearray(seeds[name])
        content[place] = CHANGES[change](content[place])
        path.write_bytes(content)
        warnings.simplefilter("ignore")
        try:
            with Raster(path) as raster:
                raster.read_rgb(Window(row=0, col=0, height=512, width=512))
                raster.describe()
        except (RasterError, ResourceLimitError) as error:
            return str(error)
        return "read"

    ends = dict(zip(some, each_in_child(look, some), strict=True))
    unclear = [mutant for mutant, end in ends.items() if not is_clear(end.text)]
    assert not unclear, f"{len(unclear)} of {len(some)}, the first: {unclear[0]} {ends[unclear[0]]}"
    return Counter("read" if end.text == "read" else "refused" for end in ends.values())


def is_clear(text: str | None) -> bool:
    """Pixels, or a message that names the file and a fix."""
    return text is not None and (text == "read" or ("mutant.tif" in text and "Fix: " in text))


def test_the_sandbox_tells_a_crash_a_hang_greed_and_an_exception_from_an_answer() -> None:
    def behave(how: str) -> str:
        if how == "crash":
            os.abort()
        while how == "hang":
            pass
        return bytes(2**31 if how == "greed" else {"fine": 1}[how]).hex()

    ends = each_in_child(behave, ["fine", "crash", "fine", "hang", "greed", "fault", "fine"], seconds=0.2)
    assert [end.text for end in ends] == ["00", None, "00", None, None, None, "00"]
    assert [(end.fault or "").split("\n")[-2 if "\n" in (end.fault or "") else -1] for end in ends] == [
        "", "SIGABRT", "", "SIGPROF", "MemoryError", "KeyError: 'fault'", "",
    ]  # fmt: skip


def test_two_hundred_changed_bytes_do_no_harm(seeds: dict[str, bytes], tmp_path: Path) -> None:
    everything = mutants(seeds)
    some = [everything[index] for index in np.linspace(0, len(everything) - 1, 200).astype(int)]
    counts = try_all(some, seeds, tmp_path)
    assert counts["read"] > 20
    assert counts["refused"] > 20


@pytest.mark.sweep
@pytest.mark.parametrize("name", SEEDS)
def test_no_changed_byte_does_harm(seeds: dict[str, bytes], tmp_path: Path, name: str) -> None:
    counts = try_all(mutants({name: seeds[name]}), seeds, tmp_path)
    assert counts["refused"] > 20


@pytest.mark.sweep
def test_no_two_changed_bytes_do_harm(seeds: dict[str, bytes], tmp_path: Path) -> None:
    """A second change on top of a first, 5000 of them at random."""
    random = np.random.default_rng(0)
    twice = {}
    for index in range(5000):
        name = str(random.choice(list(seeds)))
        content = bytearray(seeds[name])
        content[random.integers(len(content))] = random.integers(256)
        twice[f"{name} {index}"] = bytes(content)
    some = [(name, int(random.integers(len(content))), "flip") for name, content in twice.items()]
    try_all(some, twice, tmp_path)
