"""QuietThread: calls in a thread that hears no signals.

What a signal asks for (KeyboardInterrupt) is raised between any two steps of the main thread. In the midst of
`concurrent.futures` or `queue` it would leave a lock locked, and other threads would wait for it for ever. So the main
thread lets a quiet one call them, and waits where that is safe, on a `SimpleQueue`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")

LISTEN_S = 0.1
"""So long may a signal wait to be heard by who waits for an answer."""


class QuietThread:
    """A thread that does what it is asked for, in that order. Processes that it starts hear no Ctrl-C either."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def begin(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Callable[[], Result]:
        """Ask for a call; what waits for it, once, and returns or raises what it did."""
        answer: SimpleQueue[tuple[Result, None] | tuple[None, BaseException]] = SimpleQueue()

        def call() -> None:
            try:
                answer.put((function(*args, **kwargs), None))
            except BaseException as error:  # noqa: BLE001  it is raised where the answer is taken
                answer.put((None, error))

        def take() -> Result:
            while True:  # a signal that comes right before it begins to wait does not wake it
                try:
                    result, error = answer.get(timeout=LISTEN_S)
                except Empty:
                    continue
                if error is not None:
                    raise error
                return result  # type: ignore[return-value]

        self._calls.put(call)
        return take

    def call(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Ask for a call and wait for it."""
        return self.begin(function, *args, **kwargs)()

    def end(self, *, wait: bool) -> None:
        """No more calls come; those that were asked for are done, after this if it does not wait."""
        self._calls.put(None)
        if wait:
            self._thread.join()

    def _serve(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what is started here inherits it
        while (call := self._calls.get()) is not None:
            call()
            del call  # with what it holds
