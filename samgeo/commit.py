"""The only way a file gets its final name: written in a folder beside it, verified, brought to disk, renamed.

    .OUTPUT.partial/     beside the output, so on the same file system; removed whatever happens
      lock               held by the process that writes here, freed by the system when that process ends
      OUTPUT             and the files that go with it

Renaming replaces a file at once, so what is under the final name is the old file or the new one, both whole. The
files of a Shapefile make sense only together and cannot all be renamed at once: there the old .shp goes first and the
new one comes last, so that nobody meets a mixture.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from samgeo.errors import OutputError, OutputExistsError

APPENDED = {
    ".gpkg": ("-journal", "-wal", "-shm"),
    ".tif": (".aux.xml", ".ovr", ".msk"),
    ".tiff": (".aux.xml", ".ovr", ".msk"),
    ".shp": (".xml", ".json"),
    ".geojson": (".json",),
    ".fgb": (".json",),
}
"""By the ending of an output: what is appended to its name to name the files that belong to it."""

REPLACED = {".shp": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".qpj", ".sbn", ".sbx", ".idm", ".ind"), ".tif": (".tfw",)}
"""By the ending of an output: endings in its place that name the files that belong to it."""

MANY_FILES = frozenset({".shp"})
"""Endings of outputs whose files make sense only together."""

_LOCK = "lock"
_STAGING = ".partial"


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
    with _held(_staging_folder(_real(path))) as folder:
        probe = folder / path.name
        try:
            probe.write_bytes(b"\0" * 4096)
        except OSError as error:
            raise _cannot_write(path, error) from error


@contextmanager
def staged(path: Path, *, overwrite: bool = False, verify: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Give a path to write to; leaving the block without an error publishes what is there under its final name.

    Files that the block puts beside that path are published too, the main file last. `verify` is called with the path
    when the block is done. An error in it or in the block, or Ctrl-C, publishes nothing, removes what was written and
    leaves the old file untouched.

    Raises `OutputExistsError` and `OutputError` as `probe_writable` does, and `OutputError` if another process writes
    the same output, if there is nothing to publish, or if the disk refuses.
    """
    _check_target(path, overwrite=overwrite)
    final = _real(path)
    with _held(_staging_folder(final)) as folder:
        temporary = folder / final.name
        yield temporary
        if verify is not None:
            verify(temporary)
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


def _staging_folder(final: Path) -> Path:
    return final.with_name(f".{final.name}{_STAGING}")


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """An empty folder that this process alone works in; removed afterwards."""
    try:
        handle = _take(folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _cannot_write(_output_of(folder), error) from error
    try:
        _empty(folder)
        with suppress(OSError):  # it is only said to others; a full disk is for the caller to find out
            handle.truncate(0)
            handle.write(f"{os.getpid()} on {platform.node()}")
            handle.flush()
        yield folder
    finally:
        _empty(folder)
        if os.name == "nt":  # an open file cannot be removed there
            handle.close()
        with suppress(OSError):
            (folder / _LOCK).unlink()
            folder.rmdir()
        with suppress(OSError):
            handle.close()


def _take(folder: Path) -> IO[str]:
    """Make the folder or take over one that a dead process left; the open lock file."""
    for _ in range(100):
        try:
            folder.mkdir(exist_ok=True)
            handle = (folder / _LOCK).open("a+")
        except FileNotFoundError:  # its holder removed the folder in between
            if not folder.parent.is_dir():
                raise
            continue
        if not try_lock(handle):
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise OutputError(
                f"{_output_of(folder)}: process {holder} is writing it; expected one writer. "
                "Fix: wait for it, or give the output another name"
            )
        if _is_current(handle, folder / _LOCK):
            return handle
        handle.close()
    raise OutputError(f"{_output_of(folder)}: other processes keep writing it; expected one writer. Fix: wait for them")


def _output_of(folder: Path) -> Path:
    return folder.with_name(folder.name[1 : -len(_STAGING)])


def try_lock(handle: IO[str]) -> bool:
    """Lock an open file until this process closes it or ends, however it ends; False if another one holds it.

    File systems without locks are trusted to have one writer.
    """
    try:
        if os.name == "nt":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
    return True


def _is_current(handle: IO[str], path: Path) -> bool:
    """False if the file was removed between opening and locking it, so that the lock protects nothing."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _empty(folder: Path) -> None:
    """Remove everything but the lock."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                with suppress(OSError):
                    path.unlink()


def _publish(folder: Path, final: Path) -> None:
    main = folder / final.name
    if not main.is_file():
        raise OutputError(f"{final}: nothing was written")
    others = sorted(p for p in folder.iterdir() if p.name != _LOCK and p != main)
    for path in (*others, main):
        _sync_file(path)
    if final.suffix.lower() in MANY_FILES:
        final.unlink(missing_ok=True)
    kept = {path.name for path in others}
    for stale in companions(final):
        if stale.name not in kept:
            stale.unlink(missing_ok=True)
    for path in others:
        path.replace(final.with_name(path.name))
    main.replace(final)
    _sync_folder(final.parent)


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
