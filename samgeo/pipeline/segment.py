"""segment(): from a raster and prompts to features, tile by tile.

    A  tile jobs        read a window, encode, decode ─► one part file each, in OUTPUT.samgeo/
    B  linking          which masks of neighbouring windows are one object; tables only
       drawing          objects larger than a window, seen from further away, at full resolution; part files too
    C  assembly         polygons in id order ─► one file, verified, renamed; OUTPUT.samgeo/ goes

A run that was stopped goes on from its part files: A skips what is done, B and C are cheap and start again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from operator import not_
from pathlib import Path
from typing import Any

from samgeo.engines import process_pool, run_jobs
from samgeo.errors import UsageError
from samgeo.grid import Grid
from samgeo.model.contract import PromptableModel
from samgeo.output.columns import LABEL_RASTERS
from samgeo.pipeline.assembly import finish
from samgeo.pipeline.checks import Checked, check
from samgeo.pipeline.everything import add_everything, choose, refine_jobs, tile_jobs
from samgeo.pipeline.growth import GrowJob, RefineJob, run_growth, run_refinement
from samgeo.pipeline.journal import Journal, wrote
from samgeo.pipeline.plan import Plan, describe, make_plan
from samgeo.pipeline.prompted import account, add_prompted, group_by_window, growth_jobs, prompt_jobs
from samgeo.pipeline.result import Feature, Origin, Segmentation
from samgeo.pipeline.store import PolygonStore
from samgeo.pipeline.tilejob import CheckJob, ModelAddress, TileJob, as_address, reading_ahead, run_check, run_tile
from samgeo.prompts.placed import PlacedPrompts
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from samgeo.settings import Settings

__all__ = ["Feature", "ModelAddress", "Progress", "Report", "Segmentation", "Settings", "journal_folder", "segment"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    phase: str
    """fetching, tiles, growing, refining, assembling or writing; checking: what an earlier run left."""
    done: int
    """Windows, features or bytes that are done, those of an earlier run among them."""
    total: int
    """All of them."""
    pixels: int = 0
    """Pixels of the working grid that this run has read."""


Report = Callable[[Progress], object]
Engine = Callable[..., Iterator[tuple[Any, int]]]
"""Runs a function over jobs and yields each with its result, as `run_jobs` does."""


def segment(
    raster: object,
    prompts: Prompts | None = None,
    *,
    model: PromptableModel | ModelAddress | str | Path | None = None,
    output: str | Path | None = None,
    settings: Settings | None = None,
    workers: int | str | Executor = 1,
    progress: Report | None = None,
    grid: Grid | None = None,
) -> Segmentation:
    """Segment a raster: one feature for each prompted object, what words say, or everything if there are no prompts.

    raster: path, URL, open dataset, DataArray with CRS and transform, `Raster`, or an array with its `grid`.
    model: what `load_model` returned, a known name, a path, or a `ModelAddress`; None: the embedded default.
    output: .gpkg .shp .geojson .fgb .parquet, or .tif for a raster of ids; None: the result is only returned.
    workers: 1 runs here; more are processes if the model is given by name, path or address, else threads; a text is
        the address of a Dask scheduler, or its scheduler file; or any `concurrent.futures.Executor`.
    progress: called with a `Progress` now and then.

    Raises an error of `samgeo.errors` that says what to do; `PartialResultError` names windows that kept failing, after
    all others are done. Whatever stops it, Ctrl-C too, leaves OUTPUT.samgeo/, and the same call goes on from there.
    """
    settings = settings or Settings()
    target = None if output is None else Path(output)
    tell = progress or (lambda _: None)
    if target is not None and wrote(journal_folder(target), target):
        settings = replace(settings, overwrite=True)
    with ExitStack() as stack:
        opened = stack.enter_context(_opened(raster, grid, settings))
        checked = check(opened, prompts, output=target, settings=settings)
        placed = checked.placed
        fetch_weights(model, tell)
        shared = _shares_memory(workers, model)
        plan = make_plan(opened, model=model, settings=settings, checked=checked, shared_memory=shared)
        folder = stack.enter_context(_work_folder(target))
        journal = stack.enter_context(Journal(folder, plan.record, resume=settings.resume))
        run_all = _engine(workers, folder, shared_memory=shared)
        store = PolygonStore(target)
        work = _Work(plan=plan, journal=journal, settings=settings, run_all=run_all, tell=tell)
        done = work.everything(store, checked.area) if placed is None else work.prompted(store, placed)
        opened.require_unchanged()
        tell(Progress(phase="assembling", done=len(store), total=len(store)))
        result = work.result(store, done, raster=opened, checked=checked, to_labels=_is_label_raster(target))
        if target is not None:
            result.to_file(target, overwrite=settings.overwrite, ready=journal.announce)
            tell(Progress(phase="writing", done=len(result), total=len(result)))
        journal.remove()
    return result


def fetch_weights(model: PromptableModel | ModelAddress | str | Path | None, tell: Report) -> None:
    """Fetch the weights of a model that is named and not here yet; raises what `load_model` raises for such a name."""
    address = as_address(model)
    if isinstance(address, ModelAddress):
        address.fetch(lambda done, total: tell(Progress(phase="fetching", done=done, total=total)))


def journal_folder(output: str | Path) -> Path:
    """Where a run keeps what it needs to go on if it is stopped; gone when the output is there."""
    path = Path(output)
    return path.with_name(path.name + ".samgeo")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """The phases of one run."""

    plan: Plan
    journal: Journal
    settings: Settings
    run_all: Engine
    tell: Report

    def everything(self, store: PolygonStore, area: Any) -> dict[str, Any]:
        """Fill the store with all objects of the raster in or near the area; what was done, for the report."""
        run, journal = self.plan.run, self.journal
        jobs = tile_jobs(run, journal, area)
        self._run(run_tile, jobs, "tiles")
        choice = choose(run, journal, jobs)
        self._run(run_refinement, list(refine_jobs(choice.distant, run, journal)), "refining")
        add_everything(store, choice, journal, self.settings)
        return {
            "windows": len(jobs),
            "masks": len(choice.near.stitched.table),
            "objects": len(store),
            "from_afar": len(choice.distant),
            "open_ends": int(choice.ends[choice.kept].sum()),
        }

    def prompted(self, store: PolygonStore, placed: PlacedPrompts) -> dict[str, Any]:
        """Fill the store with the object of each prompt; what was done, for the report."""
        run, groups = self.plan.run, group_by_window(placed, self.plan.run.tiling)
        self._run(run_tile, list(prompt_jobs(placed, groups, run, self.journal)), "tiles")
        more = list(growth_jobs(placed, groups, run, self.journal))
        self._run(run_growth, more, "growing")
        fates = add_prompted(store, groups, more, self.journal, settings=self.settings, placed=placed)
        return {"windows": len(groups), "windows_that_cut": len(more), "fates": fates}

    def result(
        self, store: PolygonStore, done: dict[str, Any], *, raster: Raster, checked: Checked, to_labels: bool
    ) -> Segmentation:
        """What a filled store and the record of what was done come to."""
        found, placed = set(store.table["key"].tolist()), checked.placed
        exclusive = self.settings.exclusive or to_labels
        finish(store, self.plan.grid, self.settings, exclusive=exclusive, area=checked.area)
        if len(store) == 0:
            raster.warn_if_blank()
        labels = self.plan.run.labels
        if labels:
            done["words" if checked.sought else "labels"] = {
                word: int((store.table["label"] == k).sum()) for k, word in enumerate(labels)
            }
        if placed is not None:
            done["prompts"] = account(placed, found, set(store.table["key"].tolist()), done.pop("fates"))
        return Segmentation(
            store,
            grid=self.plan.grid,
            settings=self.settings,
            origin=Origin(model=self.plan.model.name, labels=labels, placed=placed),
            metadata=describe(self.plan, raster, self.settings),
            report=done | {"features": len(store)},
            exclusive=exclusive,
        )

    def _run(
        self, function: Callable[[Any], int], jobs: list[TileJob] | list[GrowJob] | list[RefineJob], phase: str
    ) -> None:
        """Phase A: run the jobs whose part files are not there, once it is sure that those which are can be used."""
        there = set(self.journal.names())  # never ask a shared disk for a file that another machine has yet to write
        done_before = [job.part.stem in there and self.journal.is_done(job.part.stem) for job in jobs]
        left = list(compress(jobs, map(not_, done_before)))
        done, pixels = len(jobs) - len(left), 0
        if jobs:
            self.tell(Progress(phase=phase, done=done, total=len(jobs)))
        self._check(list(compress(jobs, done_before)))
        with self._ahead(left) as coming:
            for _ in self.run_all(function, coming):
                done, pixels = done + 1, pixels + self.plan.run.tiling.stride_px**2
                self.tell(Progress(phase=phase, done=done, total=len(jobs), pixels=pixels))

    def _ahead(self, jobs: list[Any]) -> AbstractContextManager[Iterable[Any]]:
        """The jobs; windows of a file are read ahead where jobs run one by one, in this thread."""
        raster, tiles = self.plan.run.raster, bool(jobs) and isinstance(jobs[0], TileJob)
        alone = self.run_all is run_jobs and isinstance(raster, Raster) and raster.reopens
        return reading_ahead(jobs) if tiles and alone else nullcontext(jobs)

    def _check(self, kept: Sequence[TileJob | GrowJob | RefineJob]) -> None:
        """Raise if a part file of an earlier run was made from other pixels than there are now."""
        jobs = [CheckJob(run=job.run, part=job.part, about=str(job)) for job in kept]
        for done, (job, is_same) in enumerate(self.run_all(run_check, jobs), start=1):
            if not is_same:
                raise UsageError(
                    f"{self.journal.folder}: a run that was not finished saw other pixels in the {job}; expected the "
                    "raster as it was then. Fix: start anew with --no-resume"
                )
            self.tell(Progress(phase="checking", done=done, total=len(jobs)))


@contextmanager
def _opened(raster: object, grid: Grid | None, settings: Settings) -> Iterator[Raster]:
    if isinstance(raster, Raster):
        if grid is not None or any(given is not None for given in settings.look.values()):
            raise UsageError(
                f"{raster.name}: a Raster has its grid, bands, resolution and CRS; expected them stated there only"
            )
        yield raster
        return
    with Raster(raster, grid=grid, **settings.look) as opened:
        yield opened


@contextmanager
def _work_folder(target: Path | None) -> Iterator[Path]:
    if target is not None:
        yield journal_folder(target.absolute())  # others may work there, too
        return
    with tempfile.TemporaryDirectory(prefix="samgeo-") as folder:
        yield Path(folder) / "journal"


def _shares_memory(workers: int | str | Executor, model: object) -> bool:
    """Whether the jobs run in this process, and may use the raster and the model that are here."""
    if isinstance(workers, int):
        if workers < 1:
            raise UsageError(f"--workers {workers}: expected at least 1")
        return workers == 1 or not (model is None or isinstance(model, (str, Path, ModelAddress)))
    return isinstance(workers, ThreadPoolExecutor)


def _engine(workers: int | str | Executor, folder: Path, *, shared_memory: bool) -> Engine:
    """What runs jobs that write to a folder. Few are in flight: see `engines.run_jobs`."""
    if isinstance(workers, Executor):
        return partial(run_jobs, executor=workers, in_flight=8)
    if isinstance(workers, str):
        from samgeo.dask_engine import run_on_dask

        return partial(run_on_dask, address=workers, folder=folder)
    if workers == 1:
        return run_jobs
    pool = ThreadPoolExecutor if shared_memory else process_pool
    return partial(run_jobs, executor=partial(pool, workers), in_flight=workers + 1)


def _is_label_raster(target: Path | None) -> bool:
    return target is not None and target.suffix.lower() in LABEL_RASTERS
