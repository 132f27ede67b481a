"""Doing something in a child process that may crash, hang or take memory, and saying how it ended."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class End:
    """How a child ended."""

    text: str | None = None
    """What the function returned; None if it did not."""
    fault: str | None = None
    """What it raised, with where, or the signal that ended it: of SIGALRM and SIGXCPU for taking too long."""


def in_child(function: Callable[[], str], *, seconds: int = 10, memory: int = 2**30) -> End:
    """Call a function in a forked child with so many seconds and bytes of address space more than it has now."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _live(function, write_end, seconds, memory)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        said = stream.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return End(fault=signal.Signals(os.WTERMSIG(status)).name)
    return End(text=said) if os.WEXITSTATUS(status) == 0 else End(fault=said)


def _live(function: Callable[[], str], write_end: int, seconds: int, memory: int) -> None:
    """All that a child does."""
    code, said = 1, "no word"
    try:
        for number in (signal.SIGALRM, signal.SIGXCPU):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(seconds + 10)  # the processor may be busy with others; its own time is what counts
        resource.setrlimit(resource.RLIMIT_CPU, (_used() + seconds, resource.RLIM_INFINITY))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + memory, resource.RLIM_INFINITY))
        code, said = 0, function()
    except BaseException:  # noqa: BLE001 - the edge of the process
        said = traceback.format_exc()
    finally:
        os.write(write_end, said.encode(errors="replace"))
        os._exit(code)


def _used() -> int:
    """Seconds of processor time of this process, rounded up."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + 1
