"""Witness: what a job saw, so that a run that goes on from its part file can tell whether it would see the same.

Neither name, size nor time of a file says what is in it. So a part file carries a digest of each window that was looked
at, and a run that finds the part file reads these windows again before it relies on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import Window
from samgeo.quiet import QuietThread
from samgeo.raster.coarse import read_rgb_coarse
from samgeo.raster.reader import Raster

Seen = tuple[NDArray[np.uint8], NDArray[np.bool_], bytes]
"""RGB (h, w, 3) and valid (h, w) of a window, and their digest."""


class Ahead:
    """Windows that a thread reads before they are looked at. Each is kept until it is taken, with the error if any."""

    def __init__(self, thread: QuietThread) -> None:
        self._thread = thread
        self._read: dict[tuple[Window, int], Callable[[], Seen]] = {}

    def expect(self, raster: Raster, window: Window, scale: int) -> None:
        """Begin to read a window."""
        self._read[window, scale] = self._thread.begin(_see, raster, window, scale)

    def take(self, window: Window, scale: int) -> Seen | None:
        """What was read, once it is; None if it was not expected, or was taken. Raises what the reading raised."""
        read = self._read.pop((window, scale), None)
        return None if read is None else read()


class Witness:
    """Digests of windows, to be noted while they are looked at."""

    def __init__(self, ahead: Ahead | None = None) -> None:
        self._ahead = ahead
        self._digests: dict[tuple[Window, int], bytes] = {}

    def look(self, raster: Raster, window: Window, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """RGB (h, w, 3) and valid (h, w) of a window in pixels of `scale` x `scale` working pixels; noted."""
        taken = None if self._ahead is None else self._ahead.take(window, scale)
        rgb, valid, self._digests[window, scale] = taken or _see(raster, window, scale)
        return rgb, valid

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What a part file carries: (n, 5) row, column, height, width and scale of the windows, (n, 32) digests."""
        windows = [(w.row, w.col, w.height, w.width, scale) for w, scale in self._digests]
        return {
            "seen": np.array(windows, np.int64).reshape(-1, 5),
            "seen_sha256": np.frombuffer(b"".join(self._digests.values()), np.uint8).reshape(-1, 32),
        }


def looks_the_same(raster: Raster, arrays: Mapping[str, NDArray[np.generic]]) -> bool:
    """True if all windows that the arrays of a part file tell of have the same pixels now."""
    now = Witness()
    for row, col, height, width, scale in arrays["seen"].tolist():
        now.look(raster, Window(row=row, col=col, height=height, width=width), scale)
    return np.array_equal(now.arrays()["seen_sha256"], arrays["seen_sha256"])


def _see(raster: Raster, window: Window, scale: int) -> Seen:
    rgb, valid = read_rgb_coarse(raster, window, scale)
    digest = hashlib.sha256(np.ascontiguousarray(rgb).data)
    digest.update(np.packbits(valid).data)
    return rgb, valid, digest.digest()
