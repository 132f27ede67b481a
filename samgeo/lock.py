"""FolderLock: a folder that one process alone works in.

    FOLDER/.lock   held by the process that works there, whose number and machine it names

The system frees the lock when that process ends, however it ends, so a folder that a dead one left is taken over.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from samgeo.errors import OutputError

LOCK = ".lock"
"""A name that no output has."""


class FolderLock:
    """The hold of this process on a folder."""

    def __init__(self, folder: Path, *, output: Path) -> None:
        """Make the folder, or take over one that nobody holds; what is in it stays.

        output: the file that all this is for, which the error names.

        Raises `OutputError` that names the holder if another process works there, and the system's OSError.
        """
        self.folder = folder
        self._handle = _take(folder, output)
        with suppress(OSError):  # it is only said to others; a full disk is for the caller to find out
            self._handle.truncate(0)
            self._handle.write(f"{os.getpid()} on {platform.node()}")
            self._handle.flush()

    def contents(self) -> Iterator[Path]:
        """What is in the folder besides the lock."""
        return (path for path in sorted(self.folder.iterdir()) if path.name != LOCK)

    def empty(self) -> None:
        """Remove everything but the lock, as far as the system lets us."""
        with suppress(OSError):
            for path in self.contents():
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def move(self, folder: Path) -> None:
        """Rename the folder, with all that is in it and the hold on it. Raises the system's OSError."""
        self.folder.rename(folder)
        self.folder = folder

    def release(self) -> None:
        """Let others work there."""
        with suppress(OSError):  # a full disk refuses even the few words that say who we are
            self._handle.close()

    def remove(self) -> None:
        """Remove the folder if nothing else is in it, then let go: nobody takes over what is being removed."""
        if os.name == "nt":  # an open file cannot be removed there
            self.release()
        with suppress(OSError):
            (self.folder / LOCK).unlink()
            self.folder.rmdir()
        self.release()


def _take(folder: Path, output: Path) -> IO[str]:
    """The open lock file."""
    for _ in range(100):
        try:
            folder.mkdir(exist_ok=True)
            handle = (folder / LOCK).open("a+")
        except FileNotFoundError:  # its holder removed the folder in between
            if not folder.parent.is_dir():
                raise
            continue
        if not _try_lock(handle):
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise OutputError(
                f"{output}: process {holder} is writing it; expected one writer. "
                "Fix: wait for it, or give the output another name"
            )
        if _is_current(handle, folder / LOCK):
            return handle
        handle.close()
    raise OutputError(f"{output}: other processes keep writing it; expected one writer. Fix: wait for them")


def _try_lock(handle: IO[str]) -> bool:
    """Lock an open file until this process closes it or ends; False if another one holds it.

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
