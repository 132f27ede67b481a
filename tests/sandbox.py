"""Doing something in a child process that may crash, hang or take memory, and saying how it ended."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class End:
    """How it ended."""

    text: str | None = None
    """What the function returned; None if it did not."""
    fault: str | None = None
    """What it raised, with where, or the signal that ended it: SIGPROF or SIGALRM for taking too long."""


def in_child(function: Callable[[], str], *, seconds: float = 10, memory: int = 2**30) -> End:
    """Call a function in a forked child: see `each_in_child`."""
    return each_in_child(lambda _: function(), [None], seconds=seconds, memory=memory)[0]


def each_in_child(
    function: Callable[[Item], str], items: Sequence[Item], *, seconds: float = 10, memory: int = 2**30
) -> list[End]:
    """Call a function with one item after another in a forked child, and in a new one after each that dies.

    seconds: of processor time for each item. memory: bytes of address space beyond what the process has now.
    """
    ends: list[End] = []
    while len(ends) < len(items):
        ends += _some(function, items[len(ends) :], seconds, memory)
    return ends


def _some(function: Callable[[Item], str], items: Sequence[Item], seconds: float, memory: int) -> list[End]:
    """The ends of all items, or of those up to the one that the child died of."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _live(function, items, write_end, seconds, memory)
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        ends = [End(**json.loads(line)) for line in stream]
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ends.append(End(fault=signal.Signals(os.WTERMSIG(status)).name))
    elif os.WEXITSTATUS(status) != 0:
        ends.append(End(fault=f"exit {os.WEXITSTATUS(status)}"))
    return ends


def _live(function: Callable[[Item], str], items: Sequence[Item], write_end: int, seconds: float, memory: int) -> None:
    """All that a child does."""
    faulthandler.disable()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(write_end, "w") as stream:
        for item in items:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            signal.alarm(int(seconds) + 30)  # the processor may be busy with others; its own time is what counts
            try:
                end = {"text": function(item)}
            except BaseException:  # noqa: BLE001 - the edge of the process
                end = {"fault": traceback.format_exc()}
            stream.write(json.dumps(end) + "\n")
            stream.flush()
    os._exit(0)
