"""The journal of a run: a folder with the plan and one checksummed part file for each job that is done.

    OUTPUT.samgeo/
      .lock               held by the process that works here
      plan.json           what the part files depend on; a run may go on only from an equal plan
      parts/PLAN/NAME.part  named arrays, packed as an entry of `EmbeddingCache`; PLAN is the start of the plan's sha256
      output.json         which files were about to get the name OUTPUT and those of its companions

A part file appears by rename, so one that is there is whole; the checksum is for disks that lose what they were given.
A job that outlives its run, on another machine perhaps, writes where only runs of the same plan look.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from samgeo.commit import companions, staging_folder, write_file
from samgeo.embeddings import pack, unpack
from samgeo.errors import OutputError, UsageError
from samgeo.lock import FolderLock

Arrays = Mapping[str, NDArray[np.generic]]
_PLAN, _OUTPUT = "plan.json", "output.json"


def write_part(path: Path, arrays: Arrays) -> None:
    """Write named arrays so that they appear under `path` whole or not at all; the same file written twice is fine."""
    try:
        write_file(path, pack(arrays), durable=False)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write the part file: {error}. Expected a writable folder with room"
        ) from error


def read_part(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a part file, sharing its memory; None if it is not there or damaged."""
    try:
        return unpack(bytearray(path.read_bytes()))
    except OSError:  # not there, or the disk cannot read it any more
        return None


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
        self._wanted = json.dumps(plan, indent=1, sort_keys=True).encode()
        self._parts = folder / "parts" / hashlib.sha256(self._wanted).hexdigest()[:16]
        self._output = folder.with_name(folder.name.removesuffix(".samgeo"))
        try:
            self._lock = FolderLock(folder, output=self._output)
            try:
                self._refuse_strangers()
                self._settle_plan(resume=resume)
            except BaseException:
                self.close()
                raise
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{self._output}: cannot keep the journal of the run in {folder}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the lock; the folder stays."""
        self._lock.release()

    def remove(self) -> None:
        """The run is complete: remove the folder.

        It is renamed first, so that no run goes on from half of it if this one is killed meanwhile; the next run that
        writes the same output removes what is left.
        """
        with suppress(OSError):
            self._lock.move(staging_folder(self._output))
        self._lock.empty()
        self._lock.remove()

    def part(self, name: str) -> Path:
        """Where the part file of a job belongs."""
        return self._parts / f"{name}.part"

    def is_done(self, name: str) -> bool:
        """True if the part file is there and whole."""
        return read_part(self.part(name)) is not None

    def names(self) -> Iterator[str]:
        """The names of the part files that are there."""
        return (path.stem for path in sorted(self._parts.glob("*.part")))

    def announce(self, complete: Path) -> None:
        """Note what is about to be renamed to OUTPUT, and all beside it, so that a run that is killed then knows it."""
        files = [_identity(path) for path in complete.parent.iterdir() if path.is_file()]
        write_file(self.folder / _OUTPUT, [json.dumps(_announced(self.folder) + files).encode()])

    def _refuse_strangers(self) -> None:
        """Raise if the folder holds what no journal does: then it is not ours to empty."""
        ours = {_PLAN, _OUTPUT, "parts"}
        strangers = [path.name for path in self._lock.contents() if path.name[0] != "." and path.name not in ours]
        if strangers:
            raise OutputError(
                f"{self.folder}: holds {strangers[0]}, which samgeo did not put there; expected the journal of a run, "
                f"or nothing. Fix: give the output another name than {self._output.name}"
            )

    def _forget(self) -> None:
        """Remove the plan, then what was made by it and what killed writers left. Raises the system's OSError."""
        (self.folder / _PLAN).unlink(missing_ok=True)
        if self._parts.parent.exists():
            shutil.rmtree(self._parts.parent)
        for left in self.folder.glob(".*.partial"):
            left.unlink(missing_ok=True)

    def _settle_plan(self, *, resume: bool) -> None:
        path = self.folder / _PLAN
        if not (resume and path.exists()):  # parts without a plan are of one that was being forgotten
            self._forget()
            self._parts.mkdir(parents=True)
            write_file(path, [self._wanted])
            return
        try:
            stored = json.loads(path.read_text())
        except ValueError:
            stored = {}
        found = _differences(stored, json.loads(self._wanted))
        if found:
            raise UsageError(
                f"{self.folder}: a run that was not finished had another plan:\n"
                + "\n".join(f"  {line}" for line in found)
                + "\nexpected the same plan. Fix: run it as before, or start anew with --no-resume"
            )
        self._parts.mkdir(parents=True, exist_ok=True)


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


def wrote(folder: Path, output: Path) -> bool:
    """True if nothing is there of `output` but what the run with the journal in `folder` published and was killed."""
    real, known = output.resolve(), _announced(folder)
    try:
        return bool(known) and all(_identity(path) in known for path in (real, *companions(real)) if path.exists())
    except OSError:
        return False


def _announced(folder: Path) -> list[list[int]]:
    try:
        known = json.loads((folder / _OUTPUT).read_text())
    except (OSError, ValueError):
        return []
    return known if isinstance(known, list) else []


def _identity(path: Path) -> list[int]:
    """What stays the same when a file is renamed, and tells it from all others on the machine."""
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
