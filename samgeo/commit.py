"""The only way a file gets its final name: written in a folder beside it, verified, brought to disk, renamed.

    .OUTPUT.partial/     beside the output, so on the same file system; removed whatever happens
      .lock              held by the process that writes here
      OUTPUT             and the files that go with it
      .old/              what was there before, until the new files have their names

Renaming replaces a file at once, so what is under the final name is the old file or the new one, both whole. Files that
go with it cannot be renamed at the same instant. They come before a new file, and after one that takes an old one's
place, so that nobody meets a file with the companions of another. The files of a Shapefile make sense only together:
there the old .shp goes first and the new one comes last.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from samgeo.errors import OutputError, OutputExistsError
from samgeo.lock import LOCK, FolderLock

APPENDED = {
    ".gpkg": ("-journal", "-wal", "-shm"),
    ".tif": (".aux.xml", ".ovr", ".msk"),
    ".tiff": (".aux.xml", ".ovr", ".msk"),
    ".shp": (".xml", ".json"),
    ".geojson": (".json",),
    ".fgb": (".json",),
    ".onnx": (".data",),
}
"""By the ending of an output: what is appended to its name to name the files that belong to it."""

REPLACED = {".shp": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".qpj", ".sbn", ".sbx", ".idm", ".ind"), ".tif": (".tfw",)}
"""By the ending of an output: endings in its place that name the files that belong to it."""

MANY_FILES = frozenset({".shp"})
"""Endings of outputs whose files make sense only together."""


Ready = Callable[[Path], object]
"""What is called with a complete file before it gets its final name."""


def companions(path: Path) -> list[Path]:
    """The files beside `path` that belong to it if they are there: indexes, journals, statistics, metadata.

    A stale one would be read together with a new file, so they are replaced or removed with the old one.
    """
    ending = path.suffix.lower()
    appended = [path.with_name(path.name + tail) for tail in APPENDED.get(ending, ())]
    return appended + [path.with_suffix(tail) for tail in REPLACED.get(ending, ())]


def probe_writable(path: Path, *, inputs: Iterable[Path | str] = (), overwrite: bool = False) -> None:
    """Find out before any work whether `path` can be written: makes a file beside it and removes it again.

    inputs: what is read; none of it may be the output. What is not a file (a URL) is passed over.

    Raises `OutputExistsError` if it is there and `overwrite` is False, and `OutputError` if it is one of the inputs, is
    not a regular file, or its folder is missing or cannot be written.
    """
    _check_inputs(path, inputs)
    _check_target(path, overwrite=overwrite)
    with _held(_real(path)) as folder:
        probe = folder / path.name
        try:
            probe.write_bytes(b"\0" * 4096)
        except OSError as error:
            raise _cannot_write(path, error) from error


@contextmanager
def staged(path: Path, *, overwrite: bool = False, ready: Ready | None = None) -> Iterator[Path]:
    """Give a path to write to; leaving the block without an error publishes what is there under its final name.

    Files that the block puts beside that path are published too. An error in the block or in `ready`, or Ctrl-C,
    publishes nothing, removes what was written and leaves the old file untouched.

    Raises `OutputExistsError` and `OutputError` as `probe_writable` does, and `OutputError` if another process writes
    the same output, if there is nothing to publish, or if the disk refuses.
    """
    _check_target(path, overwrite=overwrite)
    final = _real(path)
    with _held(final) as folder:
        temporary = folder / final.name
        yield temporary
        if ready is not None:
            ready(temporary)
        try:
            if not overwrite:
                _check_target(path, overwrite=False)
            _publish(folder, final)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise _cannot_write(path, error) from error


def write_file(path: Path, chunks: Iterable[bytes | memoryview], *, durable: bool = True) -> None:
    """Write one small file so that it appears under `path` whole or not at all, replacing what is there.

    Many processes may do so at once: the last one stays. durable: wait until the disk has it; False is for files that
    carry a checksum and can be made again. Raises the OSError of the system; the temporary file is gone then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
    try:
        with temporary.open("xb") as handle:
            handle.writelines(chunks)
            if durable:
                handle.flush()
                os.fsync(handle.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _check_inputs(path: Path, inputs: Iterable[Path | str]) -> None:
    for given in inputs:
        if _is_same_file(path, given):
            raise OutputError(f"{path}: is the input {given}; expected another file. Fix: give the output another name")


def _is_same_file(path: Path, given: Path | str) -> bool:
    try:
        return os.path.samefile(path, given)
    except (OSError, ValueError):  # no such file: a URL, a dataset's address, or an error for its reader
        return False


def _check_target(path: Path, *, overwrite: bool) -> None:
    """Raise if `path` is there and must stay, or cannot be a file."""
    try:
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise OutputError(f"{path}: a folder or a device; expected the name of a file to write")
        folder = _real(path).parent
        if not folder.is_dir():
            raise OutputError(f"{path}: there is no folder {folder}. Fix: mkdir -p '{folder}'")
        there = [p for p in (path, *companions(_real(path))) if p.exists()]
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _cannot_write(path, error) from error
    if there and not overwrite:
        also = "" if there[0] == path else f" (it would be taken for a part of {path.name})"
        raise OutputExistsError(f"{there[0]}: is there already{also}. Fix: --overwrite, or another name for the output")


def _real(path: Path) -> Path:
    """Where the file is, so that a link stays a link to the new file."""
    return path.resolve() if path.is_symlink() else path.absolute()


def staging_folder(final: Path) -> Path:
    """The hidden folder beside an output that it is written in; what is in it goes when the output is written again."""
    return final.with_name(f".{final.name}.partial")


@contextmanager
def _held(final: Path) -> Iterator[Path]:
    """An empty folder beside `final` that this process alone works in; removed afterwards."""
    try:
        lock = FolderLock(staging_folder(final), output=final)
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(final, error) from error
    try:
        lock.empty()
        yield lock.folder
    finally:
        lock.empty()
        lock.remove()


def _publish(folder: Path, final: Path) -> None:
    """Bring the new files to disk, then under their names; if a step fails, the old ones are as they were."""
    main = folder / final.name
    if not main.is_file():
        raise OutputError(f"{final}: nothing was written")
    others = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in (main.name, LOCK))
    for path in (*others, main):
        _sync_file(path)
    aside = folder / ".old"
    aside.mkdir()
    takes_place = final.exists() and final.suffix.lower() not in MANY_FILES
    with ExitStack() as undo:
        for old in (final, *companions(final)):
            if old.exists():
                undo.callback(_put_back, aside / old.name, old)
                _set_aside(old, aside / old.name, keep=takes_place and old == final)
        for path in (main, *others) if takes_place else (*others, main):
            if path is not main or not takes_place:
                undo.callback(_take_back, final.with_name(path.name), path)
            path.replace(final.with_name(path.name))
        _sync_folder(final.parent)
        undo.pop_all()


def _set_aside(old: Path, aside: Path, *, keep: bool) -> None:
    """Move a file away; with `keep` it only gets a second name, where the file system has such."""
    if not keep:
        old.replace(aside)
        return
    with suppress(OSError):
        os.link(old, aside)


def _put_back(aside: Path, old: Path) -> None:
    with suppress(OSError):
        aside.replace(old)


def _take_back(published: Path, staged_as: Path) -> None:
    """Remove a new file that has its final name already."""
    if not staged_as.exists():
        with suppress(OSError):
            published.unlink()


def _sync_file(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the names to disk; Windows has no such call, and some network file systems refuse it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path}: cannot be written: {reason}. Expected a writable folder with room on the disk")


def date_stamp() -> dt.datetime:
    """The date that outputs carry, so that the same work gives the same bytes: SOURCE_DATE_EPOCH, or 2000-01-01 UTC.

    See https://reproducible-builds.org/specs/source-date-epoch/. Raises `OutputError` if the variable is not a number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "946684800")
    try:
        return dt.datetime.fromtimestamp(int(text), tz=dt.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise OutputError(f"SOURCE_DATE_EPOCH={text}: expected seconds since 1970 as a whole number") from error
