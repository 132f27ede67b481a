from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from samgeo.engines import GIVE_UP_AFTER, process_pool, run_jobs
from samgeo.errors import ModelError, PartialResultError, RasterError


def double(job: int) -> int:
    return 2 * job


def fail_on_three(job: int) -> int:
    if job == 3:
        raise ValueError("three is too much")
    return job


def fail_first_time(folder: Path, job: int) -> int:
    mark = folder / str(job)
    if not mark.exists():
        mark.touch()
        raise RasterError("the network hung up")
    return job


def die_on(folder: Path, deaths: dict[int, int], job: int) -> int:
    """Kill the own process the first deaths[job] times that the job runs."""
    marks = [folder / f"{job}-{time}" for time in range(deaths.get(job, 0))]
    for mark in marks:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 3)], ids=["here", "threads"])
def test_every_job_is_yielded_with_its_result(executor):
    assert sorted(run_jobs(double, range(50), executor=executor)) == [(job, 2 * job) for job in range(50)]


def test_an_executor_of_the_caller_stays_open():
    with ThreadPoolExecutor(2) as executor:
        assert len(list(run_jobs(double, range(5), executor=executor))) == 5
        assert executor.submit(double, 4).result() == 8


@pytest.mark.parametrize("executor", [partial(ThreadPoolExecutor, 3), partial(process_pool, 2)])
def test_the_main_thread_takes_no_lock_that_a_signal_could_leave_locked(executor, monkeypatch):
    taken = set()
    enter = threading.Condition.__enter__

    def noted(condition):
        if threading.get_ident() == threading.main_thread().ident:
            taken.add(sys._getframe(2).f_code.co_qualname)
        return enter(condition)

    monkeypatch.setattr(threading.Condition, "__enter__", noted)
    assert len(list(run_jobs(double, range(9), executor=executor, in_flight=4))) == 9
    assert taken <= {"Thread.start"}, "it is over before anything waits for it"


def test_few_jobs_are_in_flight():
    taken = []

    def jobs():
        for job in range(100):
            taken.append(job)
            yield job

    with ThreadPoolExecutor(2) as executor:
        for count, _ in enumerate(run_jobs(double, jobs(), executor=executor, in_flight=3)):
            assert len(taken) <= count + 1 + 3


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 3)], ids=["here", "threads"])
def test_a_job_that_keeps_failing_is_named_after_the_rest_is_done(executor):
    done = []
    run = run_jobs(fail_on_three, range(10), executor=executor)
    with pytest.raises(PartialResultError, match=r"1 job failed for good:\n  3: ValueError: three is too much"):
        done.extend(job for job, _ in run)
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 3)], ids=["here", "threads"])
def test_a_job_that_fails_once_is_tried_again(executor, tmp_path):
    assert sorted(run_jobs(partial(fail_first_time, tmp_path), range(6), executor=executor)) == [
        (job, job) for job in range(6)
    ]


def test_an_error_of_the_model_ends_the_run_at_once():
    tried = []

    def no_model(job):
        tried.append(job)
        raise ModelError("no weights")

    with pytest.raises(ModelError, match="no weights"):
        list(run_jobs(no_model, range(10)))
    assert tried == [0]


def test_the_run_gives_up_when_everything_fails():
    tried = set()

    def fail(job):
        tried.add(job)
        raise OSError("gone")

    with pytest.raises(PartialResultError, match=f"{GIVE_UP_AFTER} jobs failed"):
        list(run_jobs(fail, range(1000)))
    assert len(tried) == GIVE_UP_AFTER


# CPython's pool may trip over a job that is submitted at the very moment a worker dies; its manager thread then ends
# with "dictionary changed size during iteration". What counts is that no job is lost.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_killed_worker_costs_nothing_and_a_deadly_job_is_named(tmp_path):
    deadly = partial(die_on, tmp_path, {2: 1, 5: 99})
    done = []
    run = run_jobs(deadly, range(8), executor=partial(process_pool, 2), in_flight=3)
    with pytest.raises(PartialResultError, match=r"1 job failed for good:\n  5: BrokenProcessPool"):
        done.extend(job for job, _ in run)
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7]


def test_a_broken_executor_of_the_caller_names_the_jobs_in_flight(tmp_path):
    run = partial(die_on, tmp_path, {1: 99})
    with process_pool(1) as executor, pytest.raises(PartialResultError, match=r"executor broke .* while it ran: .*1"):
        list(run_jobs(run, range(3), executor=executor))


class DiedError(Exception):
    """What an executor raises that replaces dead workers itself."""


def test_of_jobs_that_a_dead_worker_took_with_it_only_the_deadly_one_is_named():
    running, most, blamed = set(), [], set()

    def job(number):
        running.add(number)
        if number == 5 or (number in (4, 6) and number not in blamed):
            blamed.add(number)
            running.discard(number)
            raise DiedError("its workers died")
        if blamed and number in (4, 6):
            most.append(len(running))
        running.discard(number)
        return number

    done = []
    with ThreadPoolExecutor(3) as executor, pytest.raises(PartialResultError, match=r"1 job failed.*\n  5: DiedError"):
        done.extend(n for n, _ in run_jobs(job, range(10), executor=executor, in_flight=lambda: 3, deaths=(DiedError,)))
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert most == [1, 1]
