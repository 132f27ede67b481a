"""commit: a file under its final name is whole, an old one stays until then, nothing is left beside."""

import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from samgeo.commit import companions, date_stamp, probe_writable, staged, write_file
from samgeo.errors import OutputError, OutputExistsError
from tests.runs import Assassin, exit_code, fork

posix = pytest.mark.skipif(sys.platform == "win32", reason="fork and POSIX permissions")
not_root = pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_published_after_the_block(tmp_path):
    path = tmp_path / "out.gpkg"
    with staged(path) as temporary:
        assert temporary.parent.parent == tmp_path
        assert temporary.name == path.name
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.gpkg"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_nothing_after_an_error(tmp_path, error):
    path = tmp_path / "out.gpkg"
    path.write_text("old")

    def fail() -> None:
        with staged(path, overwrite=True) as temporary:
            temporary.write_text("new")
            temporary.with_name("out.gpkg-journal").write_text("x")
            (temporary.parent / "sub").mkdir()
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.gpkg"]


def test_an_error_when_all_is_ready_publishes_nothing(tmp_path):
    path = tmp_path / "out.json"

    def refuse(written: Path) -> None:
        assert written.read_text() == "new"
        raise OutputError("no")

    with pytest.raises(OutputError, match="no"), staged(path, ready=refuse) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == []


def test_nothing_written(tmp_path):
    with pytest.raises(OutputError, match="nothing was written"), staged(tmp_path / "out.gpkg"):
        pass
    assert names(tmp_path) == []


def test_existing_output(tmp_path):
    path = tmp_path / "out.gpkg"
    path.write_text("old")
    for check in (lambda: probe_writable(path), lambda: staged(path).__enter__()):
        with pytest.raises(OutputExistsError, match="--overwrite"):
            check()
    probe_writable(path, overwrite=True)
    with staged(path, overwrite=True) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_output_that_appears_meanwhile_stays(tmp_path):
    path = tmp_path / "out.gpkg"

    def race() -> None:
        with staged(path) as temporary:
            temporary.write_text("new")
            path.write_text("theirs")

    with pytest.raises(OutputExistsError):
        race()
    assert path.read_text() == "theirs"


def test_a_part_of_a_shapefile_is_in_the_way(tmp_path):
    (tmp_path / "out.dbf").write_text("x")
    with pytest.raises(OutputExistsError, match=r"out\.dbf.*part of out\.shp"):
        probe_writable(tmp_path / "out.shp")
    probe_writable(tmp_path / "out.gpkg")


def test_output_is_the_input(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("raster")
    link = tmp_path / "link.tif"
    link.symlink_to(path)
    for target in (path, link, tmp_path / "." / "a.tif"):
        with pytest.raises(OutputError, match="is the input"):
            probe_writable(target, inputs=["https://example.org/a.tif", "/vsimem/x", path], overwrite=True)
    assert path.read_text() == "raster"


def test_missing_folder_and_folder_as_output(tmp_path):
    with pytest.raises(OutputError, match="mkdir -p"):
        probe_writable(tmp_path / "no" / "out.gpkg")
    (tmp_path / "out.gpkg").mkdir()
    with pytest.raises(OutputError, match="a folder"):
        probe_writable(tmp_path / "out.gpkg", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        probe_writable(tmp_path / "file" / "out.gpkg")


@posix
@not_root
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            probe_writable(tmp_path / "out.gpkg")
    finally:
        tmp_path.chmod(0o700)


def test_folder_that_refuses(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"out\.gpkg: cannot be written: Permission denied"):
        probe_writable(tmp_path / "out.gpkg")


def test_probe_leaves_nothing(tmp_path):
    probe_writable(tmp_path / "out.gpkg")
    assert names(tmp_path) == []


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real.gpkg", tmp_path / "link.gpkg"
    real.write_text("old")
    link.symlink_to(real)
    with staged(link, overwrite=True) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_stale_companions_go_with_the_old_file(tmp_path):
    for name in ("out.gpkg", "out.gpkg-wal", "out.gpkg-journal", "out.gpkg.txt", "out.dbf"):
        (tmp_path / name).write_text("old")
    with staged(tmp_path / "out.gpkg", overwrite=True) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["out.dbf", "out.gpkg", "out.gpkg.txt"]


@pytest.fixture
def moves(tmp_path, monkeypatch):
    """What happens to names in tmp_path, in order: -NAME is taken away, +NAME comes."""
    order = []
    rename = Path.replace

    def replace(self, to):
        order.append(f"-{self.name}" if self.parent == tmp_path else f"+{to.name}")
        return rename(self, to)

    monkeypatch.setattr(Path, "replace", replace)
    return order


def write_all(path: Path, tails: list[str], text: str = "new", **options) -> None:
    with staged(path, **options) as temporary:
        for tail in tails:
            temporary.with_name(temporary.stem + tail).write_text(text)


def test_the_files_of_a_shapefile_come_together(tmp_path, moves):
    for name in ("out.shp", "out.shx", "out.dbf", "out.qix", "out.txt"):
        (tmp_path / name).write_text("old")
    write_all(tmp_path / "out.shp", [".shp", ".shx", ".dbf", ".prj", ".shp.json"], overwrite=True)
    assert moves[0] == "-out.shp"
    assert sorted(moves[1:4]) == ["-out.dbf", "-out.qix", "-out.shx"]
    assert moves[4:] == ["+out.dbf", "+out.prj", "+out.shp.json", "+out.shx", "+out.shp"]
    assert names(tmp_path) == ["out.dbf", "out.prj", "out.shp", "out.shp.json", "out.shx", "out.txt"]
    assert (tmp_path / "out.txt").read_text() == "old"


def test_a_file_never_has_the_companion_of_another(tmp_path, moves):
    path = tmp_path / "out.fgb"
    write_all(path, [".fgb", ".fgb.json"], "old")
    assert moves == ["+out.fgb.json", "+out.fgb"]
    moves.clear()
    write_all(path, [".fgb", ".fgb.json"], overwrite=True)
    assert moves == ["-out.fgb.json", "+out.fgb", "+out.fgb.json"]


@posix
@pytest.mark.parametrize("is_there", [True, False], ids=["over an old file", "new"])
@pytest.mark.parametrize("tails", [[".gpkg"], [".fgb", ".fgb.json"], [".shp", ".shx", ".dbf", ".prj", ".shp.json"]])
def test_a_kill_before_any_step_of_publishing_leaves_old_or_new(tmp_path, tails, is_there):
    """A file never meets the companion of another; only a Shapefile, whose files must all change, may be gone."""
    old, path = tmp_path / "old", tmp_path / "work" / f"out{tails[0]}"
    old.mkdir()
    if is_there:
        write_all(old / path.name, tails, "old")
    seen = set()
    for number in range(1, 100):
        shutil.rmtree(path.parent, ignore_errors=True)
        shutil.copytree(old, path.parent)

        def die(number=number):
            Assassin(path.parent, number)
            write_all(path, tails, overwrite=True)

        if exit_code(fork(die)) == 0:
            break
        found = {name: text for name, text in contents(path.parent).items() if not name.startswith(".")}
        texts = set(found.values())
        if path.name in found:
            assert len(texts) == 1, found
            assert len(found) == len(tails) or (is_there and set(found) == {path.name}), found
        else:
            assert texts <= {"new"} if not is_there else tails[0] == ".shp", found
        seen |= {found.get(path.name)}
        write_all(path, tails, overwrite=True)
        assert set(contents(path.parent).values()) == {"new"}
    assert number > 8
    assert seen == {"old", "new"} | ({None} if tails[0] == ".shp" else set()) if is_there else {None, "new"}


def test_an_output_may_have_any_name(tmp_path):
    for name in ("lock", "old", ".hidden"):
        write_all(tmp_path / name, [""])
    assert names(tmp_path) == [".hidden", "lock", "old"]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


def error_of(work) -> OutputError | None:
    try:
        work()
    except OutputError as error:
        return error
    return None


@pytest.mark.parametrize("is_there", [True, False], ids=["over an old file", "new"])
@pytest.mark.parametrize("tails", [[".gpkg"], [".fgb", ".fgb.json"], [".shp", ".shx", ".dbf", ".prj", ".shp.json"]])
@pytest.mark.parametrize(
    ("where", "step", "is_for_good"),
    [(os, "fsync", False), (os, "fsync", True), (Path, "mkdir", True), (Path, "replace", False)],
)
def test_a_step_of_publishing_that_fails_leaves_the_old_files_as_they_were(
    tmp_path, monkeypatch, where, step, is_for_good, tails, is_there
):
    """The n-th call fails, or all from the n-th on, for every n and with every error of a disk."""
    path = tmp_path / f"out{tails[0]}"
    if is_there:
        write_all(path, tails, "old")
    before, failed = contents(tmp_path), 0
    work = getattr(where, step)
    for number, code in itertools.product(range(1, 40), (errno.ENOSPC, errno.EIO, errno.EDQUOT)):
        calls = itertools.count(1)

        def fail(*args, number=number, code=code, calls=calls, **options):
            call = next(calls)
            if call == number or (is_for_good and call > number):
                raise OSError(code, os.strerror(code))
            return work(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(where, step, fail)
            error = error_of(lambda: write_all(path, tails, overwrite=True))
        if error is None:
            break
        failed += 1
        assert str(path) in str(error)
        assert os.strerror(code) in str(error)
        assert contents(tmp_path) == before, (number, code)
    assert failed >= 3
    assert set(contents(tmp_path).values()) == {"new"}


def test_companions_of_formats():
    assert Path("a.gpkg-wal") in companions(Path("a.gpkg"))
    assert Path("x/A.dbf") in companions(Path("x/A.SHP"))
    assert companions(Path("a.json")) == []


def test_two_writers_of_one_output(tmp_path):
    path = tmp_path / "out.gpkg"
    with staged(path) as temporary:
        temporary.write_text("first")
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing it"):
            staged(path).__enter__()
        with staged(tmp_path / "other.gpkg") as other:
            other.write_text("x")
    assert path.read_text() == "first"


def _wait_inside(path: Path, inside: object) -> None:
    with staged(path) as temporary:
        temporary.write_text("half")
        inside.set()
        time.sleep(60)


@posix
def test_what_a_killed_writer_left_is_taken_over(tmp_path):
    context = multiprocessing.get_context("fork")
    inside = context.Event()
    path = tmp_path / "out.gpkg"
    writer = context.Process(target=_wait_inside, args=(path, inside))
    writer.start()
    assert inside.wait(30)
    with pytest.raises(OutputError, match=f"process {writer.pid} on"):
        probe_writable(path)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert names(tmp_path) == [".out.gpkg.partial"]
    with staged(path) as temporary:
        assert not temporary.exists()
        temporary.write_text("whole")
    assert names(tmp_path) == ["out.gpkg"]


def _take_turns(path: Path) -> int:
    done = 0
    for _ in range(30):
        with suppress(OutputError), staged(path, overwrite=True) as temporary:
            temporary.write_text("x" * 10_000)
            done += 1
    return done


@posix
def test_many_writers_never_share_a_folder(tmp_path):
    path = tmp_path / "out.txt"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert sum(pool.map(_take_turns, [path] * 4)) > 0
    assert path.read_text() == "x" * 10_000
    assert names(tmp_path) == ["out.txt"]


def test_write_file(tmp_path):
    path = tmp_path / "a.bin"
    for durable in (True, False):
        write_file(path, [b"ab", memoryview(b"cd")], durable=durable)
        assert path.read_bytes() == b"abcd"

    def broken():
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_file(path, broken())
    assert path.read_bytes() == b"abcd"
    assert names(tmp_path) == ["a.bin"]


def test_date_stamp(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert date_stamp().isoformat() == "2000-01-01T00:00:00+00:00"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert date_stamp().isoformat() == "1970-01-01T00:00:00+00:00"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(OutputError, match="SOURCE_DATE_EPOCH=today"):
        date_stamp()
