"""Jobs on the workers of a Dask cluster, on any number of machines. The one module that imports `distributed`.

    here      run_jobs ─► submit ─► scheduler ─► worker: does it see the run's folder? then the job, part file by rename
                 └─── done, or its workers died ◄───┘

What is done lies in the run's folder and nowhere else, so every worker must see that folder under the same path. A
scheduler that ends keeps nothing; the folder does, and any engine goes on from there.
"""

from __future__ import annotations

import platform
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from samgeo import __version__
from samgeo.engines import run_jobs
from samgeo.errors import ModelError, OutputError, PartialResultError, RasterError, SamgeoWarning, UsageError

Job = TypeVar("Job")
Result = TypeVar("Result")

CONNECT_SECONDS = 10
"""So long a scheduler may take to answer."""
COUNT_SECONDS = 5
"""So old the number of a cluster's threads may be: workers come and go."""
AT_LEAST = 8
"""So many jobs are submitted to a cluster without workers; one that grows by itself grows by what waits."""


def run_on_dask(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, address: str, folder: Path
) -> Iterator[tuple[Job, Result]]:
    """Yield each job with its result as `run_jobs` does, from the workers of a Dask cluster.

    address: of the scheduler, such as tcp://host:8786, or its scheduler file.
    folder: absolute; what the jobs write to.

    Raises `UsageError` if `distributed` is missing, no scheduler answers, or a worker has another samgeo; `OutputError`
    if a worker does not see the folder; `PartialResultError` as `run_jobs` does, and if the scheduler ends.
    """
    distributed = _import_distributed()
    with _marked(folder) as mark, _connected(distributed, address) as client:
        try:
            yield from run_jobs(
                partial(_visit, function, mark, __version__),
                jobs,
                executor=client.get_executor(pure=False),
                in_flight=_Room(client),
                deaths=(distributed.KilledWorker,),
            )
        except CancelledError as error:
            raise PartialResultError(
                f"--dask {address}: the scheduler is gone; what is done is kept in {folder}. "
                "Fix: the same command again, with a scheduler that runs or without --dask"
            ) from error


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError(f"--dask needs the library distributed: {error}. Fix: pip install 'samgeo[dask]'") from error
    return distributed


@contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """A file in the folder that no other folder of that path has."""
    mark = folder / f".{uuid.uuid4().hex}.partial"  # a name that the journal removes if we cannot
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    """A client of the cluster."""
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    # In two steps: one that failed must be closed here, since the garbage collector may try that in the client's own
    # thread, which then waits for itself.
    client = distributed.Client.__new__(distributed.Client)
    try:
        client.__init__(**where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        client.close()
        raise UsageError(
            f"--dask {address}: no scheduler answers there ({error}); expected one such as tcp://host:8786, or its "
            "scheduler file. Fix: start `dask scheduler`, and `dask worker` on each machine"
        ) from error
    with client:
        if not client.nthreads():
            warnings.warn(f"--dask {address}: no workers yet; the run waits for them", SamgeoWarning, stacklevel=2)
        yield client


class _Room:
    """How many jobs a cluster holds at once: one waits behind each that runs, so that no worker waits for its next."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._jobs, self._counted = AT_LEAST, float("-inf")

    def __call__(self) -> int:
        if time.monotonic() > self._counted + COUNT_SECONDS:
            self._jobs = max(AT_LEAST, 2 * sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._jobs


def _visit(function: Callable[[Job], Result], mark: Path, version: str, job: Job) -> Result:
    """Run a job on a worker, if that worker can do it as every other would."""
    here = f"the Dask worker on {platform.node()}"
    if version != __version__:
        raise UsageError(f"{here} has samgeo {__version__}; expected {version} as where the run was started")
    if not mark.exists():
        raise OutputError(
            f"{mark.parent}: {here} does not see this folder; expected one that all machines share, under the same "
            "path. Fix: an output on a shared disk"
        )
    try:
        return function(job)
    except (RasterError, ModelError) as error:
        raise type(error)(f"{error} (says {here})") from error
