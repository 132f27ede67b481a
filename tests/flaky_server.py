"""A web server with faults: /MODE/NAME serves the file NAME of a folder in the manner of MODE; /log says who asked.

    python -m tests.flaky_server FOLDER      prints its port

It runs in a process of its own, since GDAL may hold the interpreter's lock while it waits for an answer. The start of
a file, where its header lies, always arrives; faults come after it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

HEADER_BYTES = 16384
"""What GDAL asks for first."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent, and then perhaps nothing more for an hour, or the connection closed."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    then: str = "go on"


class Handler(BaseHTTPRequestHandler):
    """Answers range requests, more or less."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    asked: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.send(self.answer(), body=False)

    def do_GET(self) -> None:
        self.send(self.answer(), body=True)

    def answer(self) -> Answer:
        """One file, or a part of it."""
        if self.path == "/log":
            return Answer(status=200, body=json.dumps(self.asked).encode())
        mode, _, name = self.path.split("?")[0].strip("/").partition("/")
        self.asked[self.path] += 1
        if not (self.folder / name).is_file():
            return Answer(status=404)
        content = (self.folder / name).read_bytes()
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None or mode == "norange":
            size = len(content) // 2 if mode == "shrunk" else len(content)
            return Answer(status=200, body=content[:size], headers={"Accept-Ranges": "bytes"})
        start, stop = int(wanted[1]), min(len(content), int(wanted[2] or len(content)) + 1)
        return self.part(mode, content, start, stop) if stop <= HEADER_BYTES else self.late(mode, content, start, stop)

    def part(self, mode: str, content: bytes, start: int, stop: int, then: str = "go on") -> Answer:
        """Some bytes of a file, of whose size the truth may not be told."""
        total = {"shrunk": len(content) // 2, "grown": len(content) * 2}.get(mode, len(content))
        return Answer(
            status=206,
            body=content[start:stop],
            headers={"Content-Range": f"bytes {start}-{stop - 1}/{total}"},
            then=then,
        )

    def late(self, mode: str, content: bytes, start: int, stop: int) -> Answer:
        """Some bytes after the header, if things go well."""
        self.asked[f"late {self.path}"] += 1
        if mode.endswith("-once"):
            mode = "whole" if self.asked[f"late {self.path}"] > 1 else mode.removesuffix("-once")
        if mode in ("busy", "gone"):
            return Answer(status={"busy": 503, "gone": 404}[mode])
        if mode == "short":
            return self.part(mode, content, start, (start + stop) // 2)
        return self.part(mode, content, start, stop, then=mode)

    def send(self, answer: Answer, *, body: bool) -> None:
        """An answer, of which the second half may fail to come."""
        self.send_response(answer.status)
        for key, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        broken = answer.then in ("drop", "stall")
        self.wfile.write(answer.body[: len(answer.body) // 2] if broken else answer.body if body else b"")
        self.wfile.flush()
        if answer.then == "stall":
            time.sleep(3600)
        self.close_connection = self.close_connection or broken


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of a folder, without a slash at its end."""
    command = [sys.executable, "-m", "tests.flaky_server", str(folder)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def requests(address: str) -> dict[str, int]:
    """How often each path was asked for."""
    with urlopen(f"{address}/log", timeout=10) as answer:
        return dict(json.load(answer))


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        sys.stdout.write(f"{http.server_port}\n")
        sys.stdout.flush()
        http.serve_forever()
