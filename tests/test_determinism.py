"""The same work gives the same bytes: whatever the environment, however many workers, in every format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runs import ENDINGS, command, everything_in, visible, write_scene

ENVIRONMENTS = [
    {
        "PYTHONHASHSEED": "1",
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "OGR_CURRENT_DATE": "1999-01-01T00:00:00Z",
    },
    {"PYTHONHASHSEED": "2", "TZ": "America/St_Johns", "LC_ALL": "de_DE.UTF-8", "SOURCE_DATE_EPOCH": "946684800"},
    {"PYTHONHASHSEED": "random", "TZ": "UTC", "LC_ALL": "C", "OGR_SQLITE_JOURNAL": "WAL"},
]
"""Locales that are not installed here fall back to C; the variables are set all the same."""


def written(folder: Path, ending: str, *options: object, **environment: str) -> dict[str, str]:
    """What a command of its own makes of the scene beside `folder`."""
    folder.mkdir()
    output = folder / f"out{ending}"
    line = ("segment", folder.parent / "scene.tif", output, "--no-cache", *options)
    process = command(*line, **environment)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text
    found = visible(output)
    assert everything_in(folder) == sorted(found)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_scene(folder / "scene.tif")
    return folder


@pytest.fixture(scope="module")
def plain(place):
    """The GeoPackage of a plain run."""
    return written(place / "plain", ".gpkg")


def test_hash_seed_time_zone_language_and_settings_of_gdal_change_no_byte(place, plain):
    assert written(place / "environment", ".gpkg", **ENVIRONMENTS[0]) == plain


def test_the_date_in_a_file_is_the_one_that_is_stated(place, plain):
    assert written(place / "later", ".gpkg", SOURCE_DATE_EPOCH="1700000000") != plain
    assert b"2023-11-14T22:13:20.000Z" in (place / "later" / "out.gpkg").read_bytes()
    assert b"2000-01-01T00:00:00.000Z" in (place / "plain" / "out.gpkg").read_bytes()


@pytest.mark.sweep
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_format_depends_on_environment_or_workers(place, ending):
    found = [written(place / f"{ending[1:]}-{k}", ending, **given) for k, given in enumerate(ENVIRONMENTS)]
    found += [written(place / f"{ending[1:]}-w{n}", ending, "--workers", n, TMPDIR=os.fspath(place)) for n in (1, 2, 4)]
    assert all(one == found[0] for one in found)
