"""A server of one file that cuts, lies and stalls, in a process of its own: `python weights_server.py FILE`.

The first part of a URL's path is how it behaves, so that one server serves all tests: see BEHAVIOURS. What follows may
be anything: requests are counted by path, and `/count/PATH` tells the number. It prints its port when it is ready.
"""

import json
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = b"<!DOCTYPE html><html><body>Please sign in to this network." + b" " * 500 + b"</body></html>"
CONTENT = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else b""
COUNTS: Counter[str] = Counter()
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *given):
        pass

    def do_GET(self):
        with LOCK:
            COUNTS[self.path] += 1
            self.times = COUNTS[self.path]
        name, *rest = self.path.strip("/").split("/")
        self.close_connection = True
        if name == "count":
            self.send(200, json.dumps(COUNTS["/" + "/".join(rest)]).encode())
        else:
            BEHAVIOURS[name](self)

    def start(self):
        """Where the client wants to go on."""
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0

    def send(self, status, body, *, declared=None, headers=(), content=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if declared is None else declared))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # the client has heard enough
            self.wfile.write(body)

    def ranged(self, content, *, etag='"one"', until=None, pace=None):
        """As good servers do; until: bytes of this answer after which the connection ends."""
        start = self.start()
        if self.headers.get("If-Range", etag) != etag:
            start = 0
        headers = [("ETag", etag), ("Accept-Ranges", "bytes")]
        if start > len(content) or (start and start == len(content)):
            self.send(416, b"", headers=[("Content-Range", f"bytes */{len(content)}")])
            return
        if start:
            headers.append(("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"))
        body = content[start:]
        if pace:
            self.send(206 if start else 200, b"", declared=len(body), headers=headers)
            for at in range(0, len(body), 20_000):
                self.wfile.write(body[at : at + 20_000])
                time.sleep(pace)
            return
        self.send(206 if start else 200, body[:until], declared=len(body), headers=headers)


def flipped():
    return CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


def stall(handler):
    handler.send(200, CONTENT[:50_000], declared=len(CONTENT))
    time.sleep(60)


def other_range(handler):
    status, headers = (206, [("Content-Range", f"bytes 0-9/{len(CONTENT)}")]) if handler.start() else (200, [])
    handler.send(status, CONTENT[: 50_000 if status == 200 else 10], declared=len(CONTENT), headers=headers)


def no_length(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT)


BEHAVIOURS = {
    "good": lambda h: h.ranged(CONTENT),
    "slow": lambda h: h.ranged(CONTENT, pace=0.05),
    "cuts": lambda h: h.ranged(CONTENT, until=60_000),
    "cuts-once": lambda h: h.ranged(CONTENT, until=60_000 if h.times == 1 else None),
    "cuts-at-once": lambda h: h.ranged(CONTENT, until=0),
    "no-range": lambda h: h.send(200, CONTENT[: 60_000 if h.times == 1 else None], declared=len(CONTENT)),
    "other-range": other_range,
    "no-length": no_length,
    "stalls": stall,
    "stalls-once": lambda h: stall(h) if h.times == 1 else h.ranged(CONTENT),
    "says-more": lambda h: h.send(200, CONTENT, declared=len(CONTENT) + 1000),
    "says-less": lambda h: h.send(200, CONTENT, declared=len(CONTENT) - 1000),
    "flips": lambda h: h.ranged(flipped()),
    "flips-once": lambda h: h.ranged(flipped() if h.times == 1 else CONTENT),
    "changes": lambda h: (
        h.ranged(CONTENT[:4] + CONTENT[:3:-1], etag='"old"', until=60_000)
        if h.times == 1
        else h.ranged(CONTENT, etag='"new"')
    ),
    "page": lambda h: h.send(200, PAGE, headers=[("Content-Type", "text/html")]),
    "page-of-that-size": lambda h: h.send(200, PAGE.ljust(len(CONTENT)), headers=[("Content-Type", "text/html")]),
    "empty": lambda h: h.send(200, b""),
    "missing": lambda h: h.send(404, b"no"),
    "busy-once": lambda h: h.send(503, b"busy") if h.times == 1 else h.ranged(CONTENT),
    "busy": lambda h: h.send(503, b"busy"),
    "moved": lambda h: h.send(302, b"", headers=[("Location", "/good/elsewhere")]),
    "hangs-up": lambda h: h.connection.close(),
}

if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
