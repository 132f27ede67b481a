"""Doing something in a child of a clean process, one that has imported what the work needs and done nothing else.

A fork of the process that runs the tests has a copy of every lock that a thread held there at that instant, and nobody
lets those go. The clean process is started with the first child and ends with the process that runs the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from samgeo.errors import OutputError

PRELOADED = ["pytest", "pyarrow.parquet", "samgeo.output.labels", "tests.features"]
"""What a child need not import again. A list for all tests: the clean process is the same for all of them."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended."""

    code: int
    """0 fine, 1 OutputError, 2 anything else; negative if a signal ended it."""
    seconds: float
    """From the instant when it began to work, which is after it was started and had imported everything."""


def in_fresh_child(work: Callable[[], object], *, kill_after: float | None = None) -> Ended:
    """Call a function of a module, or a partial of one, in a child.

    kill_after: seconds after it began to work; unless it has ended by then.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_live, args=(work, writer), daemon=True)
    with reader:
        with writer:
            child.start()
        try:
            reader.recv_bytes()  # EOFError: the child could not even begin, and has said why
            start = time.perf_counter()
            child.join(kill_after)
            seconds = time.perf_counter() - start
        finally:
            child.kill()
            child.join()
    code = child.exitcode
    child.close()
    return Ended(code=code, seconds=seconds)


def killed_ever_later(work: Callable[[], object], *, seconds: float, times: int = 20) -> Iterator[Ended]:
    """One child after another that is killed, the first hardly having begun, the last after its end or nearly so.

    seconds: how long the whole work takes in a child.
    """
    rng = random.Random(0)
    for number in range(times):
        ended = in_fresh_child(work, kill_after=1.1 * seconds * (number + rng.random()) / times)
        if ended.code == 0:
            seconds = min(seconds, ended.seconds)  # what was given came from a busy moment
        yield ended


def on_short_disk(work: Callable[[], object], limit: int) -> None:
    """Work where no file can have more than so many bytes, which stands for a full disk. Only in a child."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    work()


def _live(work: Callable[[], object], writer: Connection) -> None:
    """All that a child does."""
    status = 2
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        writer.send_bytes(b"begun")
        work()
        status = 0
    except OutputError:
        status = 1
    finally:
        os._exit(status)
