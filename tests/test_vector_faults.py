"""FeatureWriter: columns, tallies, and disks and processes that die: nothing half-done gets the name."""

import datetime as dt
import hashlib
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from samgeo.commit import staging_folder
from samgeo.errors import OutputError, UsageError
from samgeo.output.columns import Columns, ending_of, field_names
from samgeo.output.tally import Tally
from samgeo.output.vector import FeatureWriter, _FionaSink
from tests.features import (
    ENDINGS,
    HOLED,
    UTM,
    digests,
    read,
    small,
    write,
)
from tests.fresh import in_fresh_child, killed_ever_later, on_short_disk


class TestColumns:
    def test_field_names(self):
        columns = ["predicted_iou", "predicted_iou_raw", "perimeter_m", "PERIM_M", "größenordnung", "id", ""]
        found = field_names(columns, ".shp")
        assert (
            list(found.values())
            == [
                "pred_iou",
                "predicted_",
                "perim_m_2",
                "PERIM_M",
                "größenor",
                "id",
                "column",
            ]
            or found["PERIM_M"] == "PERIM_M"
        )
        assert all(0 < len(name.encode()) <= 10 for name in found.values())
        assert len({name.casefold() for name in found.values()}) == len(columns)
        assert field_names(["a" * 300, "b"], ".gpkg") == {"a" * 300: "a" * 300, "b": "b"}

    @pytest.mark.parametrize(
        ("kind", "value", "wanted"),
        [
            ("int", np.int64(5), 5),
            ("int", 5.0, 5),
            ("int", True, 1),
            ("float", np.float32(0.5), 0.5),
            ("float", float("nan"), None),
            ("float", 3, 3.0),
            ("bool", np.bool_(True), True),
            ("bool", 0, False),
            ("str", 5, "5"),
            ("date", "2024-05-01", dt.date(2024, 5, 1)),
            ("date", dt.datetime(2024, 5, 1, 3, tzinfo=dt.UTC), dt.date(2024, 5, 1)),
            ("datetime", "2024-05-01T10:11:12", dt.datetime(2024, 5, 1, 10, 11, 12)),  # noqa: DTZ001
            ("datetime", np.datetime64("NaT"), None),
        ],
    )
    def test_values(self, kind, value, wanted):
        (found,) = Columns.for_format({"x": kind}, ".gpkg").record({"x": value}).values()
        assert found == wanted
        assert type(found) is type(wanted)

    def test_missing_value_of_pandas(self):
        assert Columns.for_format({"x": "int"}, ".gpkg").record({"x": pd.NA}) == {"x": None}

    @pytest.mark.parametrize(
        ("kind", "value"),
        [("int", 1.5), ("int", "7"), ("int", 2**63), ("int32", 2**31), ("int", np.inf), ("float", "1"), ("bool", 2),
         ("bool", "yes"), ("date", "May"), ("datetime", 5)],
    )  # fmt: skip
    def test_wrong_values(self, kind, value):
        with pytest.raises(OutputError, match=r"column x: .*expected"):
            Columns.for_format({"x": kind}, ".gpkg").record({"x": value})

    def test_unknown_property(self):
        with pytest.raises(OutputError, match="property extra"):
            Columns.for_format({"x": "int"}, ".gpkg").record({"extra": 1})

    def test_unknown_type_and_ending(self):
        with pytest.raises(UsageError, match="type int8"):
            Columns.for_format({"x": "int8"}, ".gpkg")
        for name in ("out.kml", "out"):
            with pytest.raises(UsageError, match=r"\.gpkg, .*\.tif"):
                ending_of(Path(name))
        with pytest.raises(UsageError, match="does not hold features"):
            FeatureWriter("out.tif", crs_wkt=None, columns={})

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_dates(self, tmp_path, ending):
        day, moment = dt.date(2024, 5, 1), dt.datetime(2024, 5, 1, 10, 11, 12, 345000)  # noqa: DTZ001
        columns = {"day": "date", "moment": "datetime"}
        with FeatureWriter(tmp_path / f"out{ending}", crs_wkt=UTM, columns=columns) as writer:
            writer.write(HOLED, {"day": day, "moment": moment})
        row = read(tmp_path / f"out{ending}").iloc[0]
        assert str(row.day)[:10] == "2024-05-01"
        assert str(row.moment).replace("T", " ")[:23] == "2024-05-01 10:11:12.345"


class TestTally:
    """Each way in which a disk loses features must show."""

    def rows(self):
        return [(list(geometry.exterior.coords), ["a", 1, None]) for geometry in small(20)]

    def difference(self, rows) -> list[str]:
        return Tally.of(self.rows()).differences(Tally.of(rows), tolerance=0)

    def test_equal_in_any_order(self):
        assert self.difference(self.rows()) == []
        assert self.difference(self.rows()[::-1]) == []
        assert Tally().differences(Tally(), tolerance=0) == []

    def test_millions_of_vertices_have_one_sum_whatever_the_batches(self):
        """A feature of that many is written at once and read back in parts."""
        steps = np.random.default_rng(0).integers(0, 1000, (3_000_000, 2))
        vertices = np.array([454331.8573, 38479.502]) + 0.075 * steps
        once, by_parts = Tally(), Tally()
        once.add(vertices, [[]])
        for start in range(0, len(vertices), 100_000):
            by_parts.add(vertices[start : start + 100_000], [] if start else [[]])
        assert once.differences(by_parts, tolerance=0) == []
        by_parts.centre[0] += 1
        assert once.differences(by_parts, tolerance=0) == ["coordinates: another sum than was written"]

    @pytest.mark.parametrize("index", [0, 7, 19])
    def test_losses(self, index):
        for damage in (
            lambda rows: rows.pop(index),
            lambda rows: rows.__setitem__(index, ([], rows[index][1])),
            lambda rows: rows.__setitem__(index, (rows[index][0][:-1], rows[index][1])),
            lambda rows: rows.__setitem__(index, ([(0.0, 0.0)] * 5, rows[index][1])),
            lambda rows: rows.__setitem__(index, (rows[index - 1][0], rows[index][1])),
            lambda rows: rows.__setitem__(index, (rows[index][0], ["", 1, None])),
        ):
            rows = self.rows()
            damage(rows)
            assert self.difference(rows)


posix = pytest.mark.skipif(sys.platform == "win32", reason="kills and resource limits")


@posix
@pytest.mark.parametrize("ending", ENDINGS)
def test_short_disk(tmp_path, ending):
    """A file size limit stands for a full disk: 20 limits from nothing to the whole file."""
    old = write(tmp_path / f"out{ending}", small(5))
    before = digests(tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    features = small(600, seed=1)
    write(whole / f"out{ending}", features)
    complete, largest = digests(whole), max(path.stat().st_size for path in whole.iterdir())
    shutil.rmtree(whole)
    work = partial(write, old, features, overwrite=True)
    outcomes = set()
    for limit in np.linspace(0, largest * 1.05, 20).astype(int).tolist():
        code = in_fresh_child(partial(on_short_disk, work, limit)).code
        assert code in (0, 1)
        assert digests(tmp_path) == (before if code else complete), limit
        outcomes.add(code)
        if code == 0:
            write(old, small(5), overwrite=True)
            assert digests(tmp_path) == before
    assert outcomes == {0, 1}


@posix
@pytest.mark.parametrize("ending", ENDINGS)
def test_killed_at_any_instant(tmp_path, ending):
    """kill -9: the old file or the new one, and the next run takes over what was left."""
    path = write(tmp_path / f"out{ending}", small(5))
    old = digests(tmp_path)
    work = partial(write, path, small(300, seed=1), overwrite=True)
    whole = in_fresh_child(work)
    assert whole.code == 0
    new = digests(tmp_path)
    write(path, small(5), overwrite=True)
    sidecar = {f"{path.name}.json"} if ending != ".shp" else set()  # what goes with a file comes after it
    bare_old, bare_new = ({name: files[name] for name in files.keys() - sidecar} for files in (old, new))
    interrupted = 0
    for ended in killed_ever_later(work, seconds=whole.seconds):
        assert ended.code in (0, -signal.SIGKILL)
        found = digests_of_files(tmp_path)
        is_gone = ending == ".shp" and path.name not in found  # between the old files and the new: see samgeo.commit
        assert found in ((old, bare_old, new, bare_new) if ended.code else (new,)) or (ended.code and is_gone)
        interrupted += staging_folder(path).exists()
        if found != old:
            write(path, small(5), overwrite=True)
    assert interrupted
    write(path, small(5), overwrite=True)
    assert digests(tmp_path) == old


def digests_of_files(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


def cut(tail: str, size: int | None):
    """Shorten a file beside the output to so many bytes; None removes it."""

    def damage(path: Path) -> None:
        file = path.with_suffix(tail)
        content = file.read_bytes()
        file.unlink()
        if size is not None:
            file.write_bytes(content[:size])

    return damage


def overwrite(tail: str, start: int, content: bytes):
    def damage(path: Path) -> None:
        with path.with_suffix(tail).open("rb+") as handle:
            handle.seek(start)
            handle.write(content)

    return damage


def sql(statement: str):
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA trusted_schema = 1")
            database.execute(statement)
            database.commit()

    return damage


@pytest.mark.parametrize(
    ("ending", "damage", "told"),
    [
        (".gpkg", sql("DELETE FROM gpkg_spatial_ref_sys WHERE srs_id = 32633"), "rows for its CRS: 0 instead of 1"),
        (".gpkg", sql("PRAGMA application_id = 0"), "application: 0 instead of"),
        (".gpkg", sql("PRAGMA user_version = 0"), "version: False"),
        (".shp", cut(".cpg", 0), r"\.cpg does not say UTF-8"),
        (".shp", cut(".cpg", None), r"\.cpg does not say UTF-8"),
        (".shp", cut(".prj", None), r"\.prj is not whole"),
        (".shp", cut(".prj", 300), r"\.prj is not whole"),
        (".shp", overwrite(".shp", 36, bytes(8)), r"header of the \.shp"),
        (".shp", overwrite(".shx", 60, bytes(8)), r"header of the \.shx"),
    ],
)
def test_what_a_disk_lost_beside_the_features_is_noticed(tmp_path, monkeypatch, ending, damage, told):
    """A single write that fails while GDAL reports success: found by failing every one of them."""
    close = _FionaSink.close

    def close_and_damage(sink: _FionaSink) -> None:
        close(sink)
        damage(sink._path)

    monkeypatch.setattr(_FionaSink, "close", close_and_damage)
    with pytest.raises(OutputError, match=told):
        write(tmp_path / f"out{ending}", small(20))
    assert list(tmp_path.iterdir()) == []
