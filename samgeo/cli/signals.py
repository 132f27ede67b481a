"""Signals that end a run: the first one in order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

WORDS = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}
if hasattr(signal, "SIGHUP"):
    WORDS[signal.SIGHUP] = "The terminal is gone."


class Stopped(BaseException):
    """A signal asks the run to end. Not an `Exception`, so that nothing on the way takes it for a failed tile."""

    def __init__(self, number: int) -> None:
        self.word = WORDS[signal.Signals(number)]
        self.exit_code = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise `Stopped` in the main thread, where Python hears them. Those ignored stay so.

    Python hears nothing while a library is busy; a second signal does not wait for that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in WORDS}
    with _second_is_final():
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)


@contextmanager
def _second_is_final() -> Iterator[None]:
    """Watch the numbers of signals, which the system's own handler writes to a pipe before Python hears of them."""
    if os.name == "nt":  # needs a socket there, and the system ends a process itself
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_watch, args=(reader,), daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int) -> None:
    """Until the pipe is closed; worker processes end by themselves when this one is gone."""
    heard = 0
    while number := os.read(reader, 1):
        heard += number[0] in WORDS
        if heard > 1:
            os._exit(128 + number[0])
