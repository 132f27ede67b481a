"""Serving: one thread reads what the client says, another works, and nobody else may write on the channel.

What a library prints goes to standard error, and standard input is empty for it: the channel is taken away from both
before anything else is imported. A request that a newer one makes needless, or that the client cancels, is answered at
once with `dropped`. When the client goes away the worker ends, in the midst of work too.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from samgeo.errors import ModelError, SamgeoError, SamgeoWarning, UsageError
from samgeo.worker.frames import BrokenChannelError, Frame, read_frame, write_frame

if TYPE_CHECKING:
    from samgeo.model.contract import PromptableModel
    from samgeo.worker.operations import Desk

GRACE_SECONDS = 1.0
"""How long work may go on after the client is gone."""
LAST_WORDS_SECONDS = 0.5
"""How long the reader of a channel that broke may take to notice."""
MOST_WAITING = 256
"""Requests that may wait; a client that sends more does not read its answers."""
LOOKS = frozenset({"preview", "prefetch"})
"""What changes nothing: of those that wait, only the last one of a session matters."""


@dataclass(eq=False)
class Request:
    """A frame that waits for its answer, or is being worked on."""

    id: int
    """The client's number."""
    frame: Frame
    """What is asked for."""
    dropped: str | None = None
    """Why nobody wants the answer any more: "cancelled", "stale"."""


class Server:
    """One client on one channel."""

    def __init__(self, reading: BinaryIO, writing: BinaryIO, work: Callable[[Frame], Frame]) -> None:
        """work: answers one frame; called from the thread that calls `serve`."""
        self._reading, self._writing, self._work = reading, writing, work
        self._waiting: deque[Request] = deque()
        self._now: Request | None = None
        self._ends = False
        self._changed = threading.Condition()
        self._pen = threading.Lock()

    def serve(self) -> int:
        """Until the client ends it or is gone. Returns 0, or 2 where the channel broke."""
        reader = threading.Thread(target=self._listen, name="samgeo-listening", daemon=True)
        self._code = 0
        reader.start()
        while (request := self._next()) is not None:
            self._answer(request, self._do(request))
        reader.join(LAST_WORDS_SECONDS)  # a thread that still starts or ends when Python does may abort the process
        return self._code

    def _next(self) -> Request | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ends)
            if not self._waiting:
                return None
            self._now = self._waiting.popleft()
            return self._now

    def _do(self, request: Request) -> Frame:
        try:
            return self._work(request.frame)
        except SamgeoError as error:
            return _refusal(type(error).__name__, str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001 - the worker outlives whatever a request does
            traceback.print_exc()
            return _refusal("InternalError", f"{type(error).__name__}: {error}", 1)

    def _answer(self, request: Request, answer: Frame) -> None:
        with self._changed:
            dropped, self._now = request.dropped, None
        self._send(request.id, Frame({"dropped": dropped}) if dropped else answer)

    def _send(self, number: int | None, answer: Frame) -> None:
        try:
            with self._pen:
                write_frame(self._writing, Frame({"id": number} | answer.header, answer.payload))
        except (OSError, ValueError):  # the client is gone
            self._end()

    def _listen(self) -> None:
        """Read frames until there are no more, and sort them; whatever goes wrong here, the worker ends."""
        try:
            self._read_all()
        finally:
            self._end()

    def _read_all(self) -> None:
        while not self._ends:
            try:
                frame = read_frame(self._reading)
            except BrokenChannelError as error:
                self._code = error.exit_code
                self._send(None, _refusal("BrokenChannelError", str(error), error.exit_code))
                frame = None
            except UsageError as error:
                self._send(None, _refusal("UsageError", str(error), error.exit_code))
                continue
            except (OSError, ValueError):
                frame = None
            if frame is None:
                return
            self._sort(frame)

    def _sort(self, frame: Frame) -> None:
        number = frame.header.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            self._send(None, _refusal("UsageError", f"id {number!r}: expected a whole number with each request", 2))
            return
        operation = frame.header.get("op")
        if operation == "ping":
            now = self._now
            self._send(number, Frame({"working_on": None if now is None else now.id}))
        elif operation == "cancel":
            self._send(number, Frame({"found": self._drop(frame.header.get("target"), "cancelled")}))
        elif operation == "shutdown":
            self._send(number, Frame({}))
            self._end()
        else:
            self._queue(Request(id=number, frame=frame))

    def _queue(self, request: Request) -> None:
        stale: list[Request] = []
        with self._changed:
            full = len(self._waiting) >= MOST_WAITING
            if not full:
                stale = [other for other in self._waiting if _outdates(request, other)]
                for other in stale:
                    self._waiting.remove(other)
                if self._now is not None and _outdates(request, self._now):
                    self._now.dropped = "stale"
                self._waiting.append(request)
                self._changed.notify()
        if full:
            message = f"{MOST_WAITING} requests wait already: expected a client that reads its answers"
            self._send(request.id, _refusal("ResourceLimitError", message, 7))
        for other in stale:
            self._send(other.id, Frame({"dropped": "stale"}))

    def _drop(self, number: Any, why: str) -> bool:
        """Whether a request of this number waited or is worked on; nobody gets its answer now."""
        with self._changed:
            waiting = next((request for request in self._waiting if request.id == number), None)
            if waiting is not None:
                self._waiting.remove(waiting)
            elif self._now is not None and self._now.id == number:
                self._now.dropped = why
                return True
        if waiting is None:
            return False
        self._send(waiting.id, Frame({"dropped": why}))
        return True

    def _end(self) -> None:
        """No more requests; what is being worked on has a moment, since nothing can stop it from here."""
        timer = threading.Timer(GRACE_SECONDS, os._exit, [self._code])
        timer.daemon = True
        timer.start()
        with self._changed:
            self._ends = True
            self._waiting.clear()
            self._changed.notify()


def _outdates(newer: Request, older: Request) -> bool:
    """Both ask for the same kind of look at the same session, of which only the last one matters."""
    kinds = [(request.frame.header.get("op"), request.frame.header.get("session")) for request in (newer, older)]
    return kinds[0] == kinds[1] and isinstance(kinds[0][0], str) and kinds[0][0] in LOOKS


def _refusal(kind: str, message: str, exit_code: int) -> Frame:
    return Frame({"error": {"kind": kind, "message": message, "exit_code": exit_code}})


def take_channel() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for us alone: prints go to standard error, and whoever reads finds nothing."""
    sys.stdout.flush()
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (reading, writing):
            msvcrt.setmode(descriptor, os.O_BINARY)
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve standard input and output; returns the exit code."""
    if arguments if arguments is not None else sys.argv[1:]:
        sys.stderr.write("python -m samgeo.worker takes no arguments: what it does is said in frames\n")
        return 2
    reading, writing = take_channel()
    desk: list[Desk] = []

    def work(frame: Frame) -> Frame:
        from samgeo.worker.operations import Desk, answer

        if not desk:
            desk.append(Desk(load=_load_model))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SamgeoWarning)
            done = answer(desk[0], frame)
        said = [str(one.message) for one in caught if issubclass(one.category, SamgeoWarning)]
        return Frame(done.header | {"warnings": said}, done.payload) if said else done

    return Server(reading, writing, work).serve()


def _load_model(name: str, *, device: str, precision: str) -> PromptableModel:
    """As `load_model`; but nothing is fetched, which would take minutes without a word."""
    from typing import cast

    from samgeo.model.published import PUBLISHED
    from samgeo.model.store import path_of
    from samgeo.model.weights import load_model, named

    published = named(name)
    if published and not path_of(PUBLISHED[published]).is_file():
        raise ModelError(f"{published}: its weights are not here. Fix: samgeo models pull {published}")
    return cast("PromptableModel", load_model(name, device=device, precision=precision))
