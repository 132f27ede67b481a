"""Published weights brought to this machine: resumed, verified before anything reads them, by one process at a time.

    WEIGHTS/FILE              verified; the only name under which weights are read
    WEIGHTS/.FILE.partial/    held by the process that fetches; what has arrived stays there and is gone on from
    WEIGHTS/quarantine/FILE   what arrived and was not what was published, for a look; never read

$SAMGEO_OFFLINE keeps samgeo from the network.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from samgeo.errors import OutputError, SamgeoWarning, WeightsError
from samgeo.lock import FolderLock
from samgeo.model.digests import difference, digest_of
from samgeo.model.published import Published
from samgeo.model.store import path_of, weights_folder

Report = Callable[[int, int], object]
"""Told the bytes that are here and the bytes of the whole, 0 where nobody knows."""

ASK_AGAIN_S = 0.2
"""Between looks at whether another process is done."""


def fetched(published: Published, report: Report | None = None) -> Path:
    """Where the verified weights of a member lie; fetches them if they are not here.

    report: told how far it is; None: a bar on a terminal and in notebooks.

    Raises WeightsError: offline, no connection, a server that sends something else, bytes that are not those that
    were published. What is not as published goes to quarantine; it is fetched anew once.
    """
    path = path_of(published)
    if is_good(published):
        return path
    if not published.url:
        raise WeightsError(f"{path}: the weights of {published.name} are missing. Fix: install samgeo again")
    _refuse_offline(published, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(path) as folder:
            if not is_good(published):  # another process may have been as quick
                _fetch(published, folder / path.name, path, report)
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(
            f"{path}: cannot be written: {reason}. Expected room for {published.size_text}. Fix: free some, or set "
            "SAMGEO_CACHE to another folder"
        ) from error
    return path


def is_good(published: Published) -> bool:
    """Are its weights here, byte for byte as published? What is there and is not goes to quarantine."""
    path = path_of(published)
    if not path.is_file():
        return False
    problem = difference(path, published)
    if problem:
        moved = _quarantine(path)
        warnings.warn(f"{path}: {problem}; moved to {moved}", SamgeoWarning, stacklevel=3)
    return not problem


def by_hand(published: Published, path: Path) -> str:
    """How to do without samgeo's fetching."""
    return f"By hand: download {published.url} to {path}, or pass your copy's path instead of the name"


def _fetch(published: Published, part: Path, path: Path, report: Report | None) -> None:
    """Into `part`, then verified, then under its name."""
    from samgeo.model.download import Download  # takes a while to load, and is seldom needed

    problem = ""
    for _ in range(2):
        with _bar(published, report) as told:
            Download(published.url, part, size_bytes=published.size_bytes, report=told).run()
        problem = difference(part, published)
        if not problem:
            if published.digest is None:
                warnings.warn(
                    f"{published.name}: no digest is published; what arrived has sha256 {digest_of(part)}. Only its "
                    "tensors are checked",
                    SamgeoWarning,
                    stacklevel=4,
                )
            part.replace(path)
            return
        moved = _quarantine(part)
    raise WeightsError(
        f"{published.url}: sends {problem}; tried twice, the last copy is {moved}. It is not read. "
        "Fix: try from another network, or update samgeo if the publisher has changed the file"
    )


def _quarantine(path: Path) -> Path:
    """Move a file to where nothing is read from; an earlier one of its name goes."""
    folder = weights_folder() / "quarantine"
    folder.mkdir(parents=True, exist_ok=True)
    return path.replace(folder / path.name)


def _refuse_offline(published: Published, path: Path) -> None:
    if os.environ.get("SAMGEO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"{published.name}: its weights are not at {path}, and SAMGEO_OFFLINE forbids fetching "
            f"{published.size_text}. Fix: unset it. {by_hand(published, path)}"
        )


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[Path]:
    """The folder to fetch into; waits for another process that does the same. What is left there stays."""
    told = False
    while True:
        try:
            lock = FolderLock(path.with_name(f".{path.name}.partial"), output=path)
            break
        except OutputError as held:
            if not told:
                warnings.warn(f"waiting: {held}", SamgeoWarning, stacklevel=4)
                told = True
            time.sleep(ASK_AGAIN_S)
    try:
        yield lock.folder
    finally:
        lock.remove()


@contextmanager
def _bar(published: Published, report: Report | None) -> Iterator[Report]:
    """`report`, or a bar of our own."""
    if report is not None:
        yield report
        return
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    with tqdm(desc=published.file, unit="B", unit_scale=True, disable=not seen, file=sys.stderr) as bar:

        def draw(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield draw
