"""The journal of a run: a folder with the plan and one checksummed part file for each job that is done.

    OUTPUT.samgeo/
      plan.json           what the part files depend on; a run may go on only from an equal plan
      lock                held by the process that works here
      parts/NAME.part     sha256 of the rest, then named arrays (npz)

A part file appears by rename, so one that is there is whole; the checksum is for disks that lose what they were given.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from samgeo.commit import try_lock, write_file
from samgeo.errors import OutputError, UsageError

Arrays = Mapping[str, NDArray[np.generic]]
_DIGEST_BYTES = 32


def write_part(path: Path, arrays: Arrays) -> None:
    """Write named arrays so that they appear under `path` whole or not at all; the same file written twice is fine."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    payload = buffer.getvalue()
    try:
        write_file(path, [hashlib.sha256(payload).digest(), payload], durable=False)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write the part file: {error}. Expected a writable folder with room"
        ) from error


def read_part(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a part file; None if it is not there or damaged."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, payload = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return dict(arrays)


class Journal:
    """A folder that this process alone works in. A context manager; leaving it keeps the folder and frees the lock."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, resume: bool = True) -> None:
        """Make the folder, or take up the one that is there.

        plan: what the part files depend on, as JSON can store it.
        resume: False throws away what an earlier run left.

        Raises `OutputError` if another process works there or the folder cannot be written, and `UsageError` with the
        list of differences if an earlier run had another plan.
        """
        self.folder = folder
        self._lock: IO[str] | None = None
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder / "lock")
            if not resume:
                self._forget()
            self._settle_plan(plan)
        except OSError as error:
            self.close()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{folder}: cannot keep the journal of the run there: {error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def _parts(self) -> Path:
        return self.folder / "parts"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the lock; the folder stays."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """The run is complete: free the lock and remove the folder."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def part(self, name: str) -> Path:
        """Where the part file of a job belongs."""
        return self._parts / f"{name}.part"

    def is_done(self, name: str) -> bool:
        """True if the part file is there and whole."""
        return read_part(self.part(name)) is not None

    def names(self) -> Iterator[str]:
        """The names of the part files that are there."""
        return (path.stem for path in sorted(self._parts.glob("*.part")))

    def _forget(self) -> None:
        (self.folder / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self._parts)
        self._parts.mkdir()

    def _settle_plan(self, plan: Mapping[str, Any]) -> None:
        path = self.folder / "plan.json"
        wanted = json.loads(json.dumps(plan))
        if not path.exists():
            write_file(path, [json.dumps(wanted, indent=1, sort_keys=True).encode()])
            return
        try:
            stored = json.loads(path.read_text())
        except ValueError:
            stored = {}
        found = _differences(stored, wanted)
        if found:
            raise UsageError(
                f"{self.folder}: a run that was not finished had another plan:\n"
                + "\n".join(f"  {line}" for line in found)
                + "\nexpected the same plan. Fix: run it as before, or start anew with --no-resume"
            )


def _differences(stored: object, wanted: object, name: str = "") -> list[str]:
    """One line for each value that is not the same."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        keys = sorted(stored.keys() | wanted.keys())
        prefix = f"{name}." if name else ""
        return [line for k in keys for line in _differences(stored.get(k), wanted.get(k), f"{prefix}{k}")]
    return [] if stored == wanted else [f"{name}: {_brief(stored)} then, {_brief(wanted)} now"]


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lock(path: Path) -> IO[str]:
    """Hold a lock that the system frees when this process ends, however it ends. Raises `OutputError` if it is held."""
    handle = path.open("a+")
    if not try_lock(handle):
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        raise OutputError(f"{path.parent}: process {holder} works there; expected one run an output. Wait for it")
    handle.truncate(0)
    handle.write(f"{os.getpid()} on {_host()}")
    handle.flush()
    return handle


def _host() -> str:
    import platform

    return platform.node()
