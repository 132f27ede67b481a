"""Download: one file over HTTP, gone on from where it stopped. Verifying what arrived is its caller's part."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from samgeo.errors import WeightsError
from samgeo.model.kinds import HEAD_BYTES, what_it_is

CONNECT_S, SILENCE_S = 15.0, 30.0
"""How long to wait for a connection, and for the next bytes on it."""
PAUSES_S = (1.0, 4.0, 15.0)
"""Before each new try after a failure; used up, it fails for good. Enough new bytes give them all back."""
ENOUGH_BYTES = 2**20
CHUNK_BYTES = 2**14
"""Read at once, and lost when the connection ends."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of servers that may be other ones in a moment."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Interrupted(Exception):  # noqa: N818 - no error: the next try goes on from here
    """The connection ended early, or the server is busy."""


class Download:
    """One file on its way."""

    def __init__(self, url: str, part: Path, *, size_bytes: int, report: Callable[[int, int], object]) -> None:
        """part: where it arrives; what is there already is gone on from. size_bytes: of the whole, 0 if unknown."""
        self._url = url
        self._part = part
        self._expected = size_bytes
        self._report = report
        self._etag = ""

    def run(self) -> None:
        """Fetch what is missing. Raises WeightsError when it cannot be had, OSError when it cannot be written."""
        pauses, mark = list(PAUSES_S), self._here
        while not self._is_whole:
            try:
                self._go_on()
            except (_Interrupted, requests.RequestException) as error:
                if self._here >= mark + ENOUGH_BYTES:
                    pauses, mark = list(PAUSES_S), self._here
                if not pauses:
                    raise WeightsError(self._failed(error)) from error
                time.sleep(pauses.pop(0))

    @property
    def _here(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    @property
    def _is_whole(self) -> bool:
        return 0 < self._expected == self._here

    def _go_on(self) -> None:
        """One connection. Raises _Interrupted if it ended before the file did."""
        start = self._here
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._etag:
                headers["If-Range"] = self._etag
        with requests.get(self._url, headers=headers, stream=True, timeout=(CONNECT_S, SILENCE_S)) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range") == f"bytes */{start}":
                    self._expected = start
                    return
                self._part.unlink()  # what is here is not the beginning of what is there
                raise _Interrupted(f"the server has fewer than {start} bytes")
            self._check_status(answer)
            start, total = self._placed(answer, start)
            etag = answer.headers.get("ETag", "")
            self._etag = "" if etag.startswith("W/") else etag  # a weak one does not promise the same bytes
            self._check_size(total, start)
            self._receive(answer, start, total or self._expected)
        if self._here < (total or self._expected or 1):
            raise _Interrupted(f"the connection ended after {self._here} of {total or self._expected} bytes")
        self._expected = self._here

    def _check_status(self, answer: requests.Response) -> None:
        if answer.status_code in PASSING:
            raise _Interrupted(f"the server answers {answer.status_code} {answer.reason}")
        if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise WeightsError(self._failed(f"the server answers {answer.status_code} {answer.reason}"))

    def _placed(self, answer: requests.Response, start: int) -> tuple[int, int]:
        """From which byte on the answer is, and how many the whole file has, 0 if the server does not say."""
        if answer.status_code == requests.codes.partial_content:
            placed = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if placed is not None and int(placed[1]) == start:
                return start, int(placed[2])
            self._part.unlink(missing_ok=True)
            raise _Interrupted("the server sends another part than was asked for")
        length: Any = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else 0

    def _check_size(self, total: int, start: int) -> None:
        if self._expected and total not in (0, self._expected):
            raise WeightsError(self._failed(f"the server offers {total} bytes, expected {self._expected}"))
        missing = (total or self._expected) - start
        room = shutil.disk_usage(self._part.parent).free
        if missing > room:
            raise OSError(0, f"{missing} bytes are missing and {room} are free")

    def _receive(self, answer: requests.Response, start: int, limit: int) -> None:
        """Write what arrives. limit: bytes that the whole may have, 0 if unknown."""
        with self._part.open("r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            for chunk in answer.iter_content(CHUNK_BYTES):
                if not done and len(chunk) >= HEAD_BYTES:
                    self._check_head(chunk[:HEAD_BYTES])
                file.write(chunk)
                done += len(chunk)
                if limit and done > limit:
                    raise WeightsError(self._failed(f"the server sends more than {limit} bytes"))
                self._report(done, limit)

    def _check_head(self, head: bytes) -> None:
        """A page to log in, an error as JSON: no need to wait for all of it."""
        found = what_it_is(head)
        if found:
            raise WeightsError(
                self._failed(f"the server sends {found}, expected weights; log in to the network if it wants that")
            )

    def _failed(self, reason: object) -> str:
        done = f" {self._here} bytes are here; the same command goes on from there." if self._here else ""
        return (
            f"{self._url}: {reason}.{done} Fix: try again, check the network and HTTPS_PROXY, or download it by hand "
            f"to {self._part.parent.parent / self._part.name}, or pass the path of your copy instead of the name"
        )
