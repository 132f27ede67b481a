"""Run many jobs with few in flight: here and now, or on any `concurrent.futures.Executor`.

A job is any value whose `str()` says what it is about, for a tile its window. Running a job twice must be harmless:
jobs that fail are tried again, and those that were in flight when a worker process died are too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from samgeo.errors import PartialResultError, RasterError, SamgeoError
from samgeo.quiet import QuietThread

Job = TypeVar("Job")
Result = TypeVar("Result")

GIVE_UP_AFTER = 20
"""So many jobs may fail for good before the others are not tried any more: then it is not about single tiles."""


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    executor: Executor | Callable[[], Executor] | None = None,
    in_flight: int | Callable[[], int] = 4,
    retries: int = 2,
    deaths: tuple[type[BaseException], ...] = (),
) -> Iterator[tuple[Job, Result]]:
    """Yield each job with its result, as they are done; `jobs` is consumed no faster than they are.

    executor: None runs each job in the caller's thread. A function that makes executors is called again when a worker
        process dies; it and the executor that it makes are closed here. An executor is left open.
    in_flight: how many jobs an executor holds at once, or what says so now; bounds the memory that results take.
    retries: how often a job that raises is tried again. Errors that would be the same for every job (all of
        `SamgeoError` but those of reading) are not retried: they end the run at once.
    deaths: what an executor raises that replaces dead workers itself, for a job whose workers died again and again.

    Raises PartialResultError after the last job if some failed for good; it names each with its error.
    """
    ledger: _Ledger[Job] = _Ledger(retries=retries)
    if executor is None:
        yield from _run_here(function, jobs, ledger)
    else:
        flight: _Flight[Job, Result] = _Flight(function=function, executor=executor, ledger=ledger, deaths=deaths)
        room = in_flight if callable(in_flight) else lambda: in_flight
        try:
            yield from flight.run(iter(jobs), room)
        except BaseException:
            flight.abandon()
            raise
        flight.close()
    ledger.settle()


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of spawned processes that share the cores between them and end when their parent does.

    `run_jobs` starts them where Ctrl-C, which a terminal sends to them too, is not heard even before they run our code.
    """
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(workers,)
    )


def _start_worker(workers: int) -> None:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@dataclass
class _Attempt(Generic[Job]):
    job: Job
    number: int = 1
    suspect: bool = False
    """It was in flight when a worker died. It then runs alone, so that the next death has one culprit."""


@dataclass
class _Ledger(Generic[Job]):
    """Which jobs failed for good, and which may try again."""

    retries: int
    failed: list[tuple[Job, BaseException]] = field(default_factory=list)

    def may_retry(self, attempt: _Attempt[Job], error: BaseException) -> bool:
        """Note a failure; True if the job should run again. An error that is not about this job is raised."""
        if isinstance(error, SamgeoError) and not isinstance(error, RasterError):
            raise error
        if not isinstance(error, Exception):
            raise error
        attempt.number += 1
        if attempt.number <= self.retries + 1 and not isinstance(error, MemoryError):
            return True
        self.give_up(attempt, error)
        return False

    def give_up(self, attempt: _Attempt[Job], error: BaseException) -> None:
        """Note a failure for good; raise if there are too many."""
        self.failed.append((attempt.job, error))
        if len(self.failed) >= GIVE_UP_AFTER:
            self.settle()

    def settle(self) -> None:
        """Raise if a job failed for good."""
        if not self.failed:
            return
        lines = [f"  {job}: {type(error).__name__}: {error}" for job, error in self.failed]
        summary = f"{len(lines)} {'job' if len(lines) == 1 else 'jobs'} failed for good:"
        raise PartialResultError("\n".join([summary, *lines])) from self.failed[0][1]


def _run_here(
    function: Callable[[Job], Result], jobs: Iterable[Job], ledger: _Ledger[Job]
) -> Iterator[tuple[Job, Result]]:
    for job in jobs:
        attempt = _Attempt(job)
        while True:
            try:
                result = function(job)
            except Exception as error:  # noqa: BLE001  a job may fail in any way
                if ledger.may_retry(attempt, error):
                    continue
                break
            yield job, result
            break


class _Flight(Generic[Job, Result]):
    """Jobs on their way through an executor, and the executor where it is ours. A quiet thread alone touches it."""

    def __init__(
        self,
        *,
        function: Callable[[Job], Result],
        executor: Executor | Callable[[], Executor],
        ledger: _Ledger[Job],
        deaths: tuple[type[BaseException], ...],
    ) -> None:
        self._function = function
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else executor()
        self._quiet = QuietThread()
        self._ledger = ledger
        self._deaths = deaths
        self._flying: dict[Future[Result], _Attempt[Job]] = {}
        self._again: deque[_Attempt[Job]] = deque()

    def run(self, jobs: Iterator[Job], room: Callable[[], int]) -> Iterator[tuple[Job, Result]]:
        while self._fill(jobs, room()):
            for future, result, error in self._quiet.call(_landed, tuple(self._flying)):
                if future not in self._flying:
                    continue  # grounded together with a broken executor
                if isinstance(error, BrokenExecutor):
                    self._replace(error)
                    continue
                attempt = self._flying.pop(future)
                if error is None:
                    yield attempt.job, cast(Result, result)
                elif self._may_fly_again(attempt, error):
                    self._again.append(attempt)

    def _may_fly_again(self, attempt: _Attempt[Job], error: BaseException) -> bool:
        """Whether a job that failed is tried again; of several that a worker took with it each is tried alone first."""
        if not isinstance(error, self._deaths):
            return self._ledger.may_retry(attempt, error)
        if attempt.suspect:
            self._ledger.give_up(attempt, error)
            return False
        attempt.suspect = True
        return True

    def close(self) -> None:
        """All jobs are done."""
        if self._make is not None:
            self._quiet.call(self._executor.shutdown, wait=True)
        self._quiet.end(wait=True)

    def abandon(self) -> None:
        """Stop at once where jobs run in processes of ours: what is lost is done again. Threads finish their job."""
        if self._make is None or not _kill_workers(self._executor):  # one of processes trips over what is cancelled
            for future in self._flying:
                future.cancel()
        if self._make is not None:
            self._quiet.call(_end, self._executor)
        self._quiet.end(wait=self._make is not None)  # a job in an executor of others may take its time

    def _fill(self, jobs: Iterator[Job], in_flight: int) -> bool:
        """Submit until enough are in flight; False when nothing is left to wait for."""
        while len(self._flying) < in_flight:
            if any(attempt.suspect for attempt in self._flying.values()):
                break
            attempt = self._next(jobs)
            if attempt is None:
                break
            if attempt.suspect and self._flying:
                self._again.appendleft(attempt)
                break
            try:
                future = self._quiet.call(self._executor.submit, self._function, attempt.job)
                self._flying[future] = attempt
            except BrokenExecutor as error:
                self._again.appendleft(attempt)
                self._replace(error)
        return bool(self._flying)

    def _next(self, jobs: Iterator[Job]) -> _Attempt[Job] | None:
        if self._again:
            return self._again.popleft()
        try:
            return _Attempt(next(jobs))
        except StopIteration:
            return None

    def _replace(self, error: BrokenExecutor) -> None:
        """A worker died and took the executor with it: every job in flight may be the cause."""
        attempts = list(self._flying.values())
        self._flying.clear()
        if self._make is None:
            names = "; ".join(str(attempt.job) for attempt in attempts)
            raise PartialResultError(f"the executor broke ({error}) while it ran: {names}") from error
        alone = len(attempts) == 1
        for attempt in reversed(attempts):
            attempt.number += not alone  # it may have been this one; alone, `may_retry` counts
            attempt.suspect = True
            if not alone or self._ledger.may_retry(attempt, error):
                self._again.appendleft(attempt)
        self._quiet.call(_end, self._executor)
        self._executor = self._make()


def _landed(
    flying: Collection[Future[Result]],
) -> list[tuple[Future[Result], Result | None, BaseException | None]]:
    """Wait for the first of the jobs in flight; each that is done with its result or error."""
    done, _ = wait(flying, return_when=FIRST_COMPLETED)
    errors = [(future, future.exception()) for future in done]
    return [(future, future.result() if error is None else None, error) for future, error in errors]


def _end(executor: Executor) -> None:
    """Shut an executor down whose results nobody waits for, or which is broken.

    A broken one of processes may have started a worker after it told all others to end, and would wait for it for ever.
    """
    _kill_workers(executor)
    executor.shutdown(wait=True, cancel_futures=True)


def _kill_workers(executor: Executor) -> bool:
    """Kill the processes of an executor; False if it has none."""
    processes = list((getattr(executor, "_processes", None) or {}).values())
    for process in processes:
        process.kill()
    return bool(processes)
