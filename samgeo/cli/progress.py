"""Progress of a run: a bar on a terminal, one JSON object a line for programs, or nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from samgeo.cli.edge import tell

if TYPE_CHECKING:
    from samgeo.pipeline.segment import Progress

Report = Callable[["Progress"], None]
SECONDS_BETWEEN_LINES = 0.2
UNITS = {"tiles": "tile", "checking": "tile", "fetching": "B", "training": "step"} | dict.fromkeys(
    ("judging", "encoding", "judging again"), "window"
)
"""What is counted in a phase; features in all others."""


@contextmanager
def reporter(kind: str) -> Iterator[Report | None]:
    """What to hand to `segment` as its `progress`.

    kind: auto (a bar if stderr is a terminal, else nothing), bar, json or none.
    """
    if kind == "json":
        yield JsonLines()
    elif kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        bars = Bars()
        try:
            yield bars
        finally:
            bars.close()
    else:
        yield None


def bytes_of(report: Report | None) -> Callable[[int, int], object]:
    """What to hand to `fetched` as its `report`, so that weights on their way are one phase more."""
    return partial(phases_of(report), "fetching")


def phases_of(report: Report | None) -> Callable[[str, int, int], object]:
    """What to hand to what tells its phase, how much is done, and of how much."""
    from samgeo.pipeline.segment import Progress

    return lambda phase, done, total: report(Progress(phase=phase, done=done, total=total)) if report else None


class Bars:
    """One bar a phase: how many are done, how fast pixels go, and the time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""
        self._start = 0.0

    def __call__(self, progress: Progress) -> None:
        """Draw."""
        if progress.phase != self._phase:
            self._begin(progress)
        self._bar.total = progress.total
        if progress.pixels:
            speed = progress.pixels / max(time.monotonic() - self._start, 1e-9)
            self._bar.set_postfix_str(f"{speed / 1e6:.2f} Mpx/s", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None

    def _begin(self, progress: Progress) -> None:
        self.close()
        self._phase, self._start = progress.phase, time.monotonic()
        # Tiles of an earlier run are done at once; they must not count for the speed.
        self._bar = tqdm(
            total=progress.total,
            initial=progress.done,
            desc=progress.phase,
            unit=UNITS.get(progress.phase, "feature"),
            unit_scale=progress.phase == "fetching",
            file=sys.stderr,
            dynamic_ncols=True,
        )


class JsonLines:
    """One JSON object a line on stderr, at most five a second, and always the first and the last of a phase."""

    def __init__(self) -> None:
        self._phase = ""
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write a line."""
        now = time.monotonic()
        if progress.phase == self._phase and progress.done < progress.total and now < self._next:
            return
        self._phase, self._next = progress.phase, now + SECONDS_BETWEEN_LINES
        line = {"phase": progress.phase, "done": progress.done, "total": progress.total, "pixels": progress.pixels}
        tell(json.dumps(line))
