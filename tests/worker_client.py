"""A client of the worker that speaks its frames by itself, as a program without samgeo would, well or badly."""

from __future__ import annotations

import json
import os
import queue
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

PATIENCE = 120.0


class Client:
    """Starts a worker and talks to it. A context manager."""

    def __init__(self, command: list[str] | None = None) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "samgeo.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.said: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        self.errors: list[bytes] = []
        self.last = 0
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._drain)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(timeout=PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with suppress(OSError):  # what was not sent yet
                stream.close()

    def send(self, op: Any = None, payload: bytes = b"", **header: Any) -> int:
        """Ask; returns the number of the request."""
        self.last += 1
        text = json.dumps({"id": self.last, "op": op} | header).encode()
        self.raw(struct.pack("<II", len(text), len(payload)) + text + payload)
        return self.last

    def raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def hear(self, timeout: float = PATIENCE) -> tuple[dict[str, Any], bytes]:
        """The next answer."""
        frame = self.said.get(timeout=timeout)
        assert frame is not None, b"".join(self.errors).decode()
        return frame

    def ask(self, op: str, payload: bytes = b"", **header: Any) -> tuple[dict[str, Any], bytes]:
        """Ask and wait for that answer, which must be the next one and no refusal."""
        number = self.send(op, payload, **header)
        told, data = self.hear()
        assert told["id"] == number
        assert "error" not in told, told
        return told, data

    def refused(self, op: str | None, payload: bytes = b"", **header: Any) -> str:
        """Ask for what cannot be; returns the message."""
        number = self.send(op, payload, **header)
        told, _ = self.hear()
        assert told["id"] == number
        return str(told["error"]["message"])

    def until_busy(self, number: int) -> None:
        """Wait until the worker is at work on a request."""
        while True:
            ping = self.send("ping")
            told, _ = self.hear()
            assert told["id"] == ping
            if told["working_on"] == number:
                return
            time.sleep(0.01)

    def printed(self) -> str:
        """All of its standard error; it has ended."""
        self._threads[1].join(timeout=PATIENCE)
        return b"".join(self.errors).decode()

    def end(self) -> int:
        """Close the channel and wait; returns the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=PATIENCE)

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while len(start := stream.read(8)) == 8:
            header, payload = struct.unpack("<II", start)
            self.said.put((json.loads(stream.read(header)), stream.read(payload)))
        self.errors.append(b"" if not start else b"half a frame")
        self.said.put(None)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
