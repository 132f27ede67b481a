"""The tile job: one window, from pixels to masks in a part file. The unit of distribution.

A job is a small record that can be pickled; `run_tile` opens the raster and loads the model itself, once a process.
Running a job twice is harmless: the same part file appears again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from samgeo.embeddings import EmbeddingCache
from samgeo.errors import ModelError, UsageError
from samgeo.model.automatic import EverythingSettings, generate_masks
from samgeo.model.contract import Embedding, NamesMasks, PromptableModel
from samgeo.pipeline.journal import write_part
from samgeo.pipeline.parts import pack_masks, require_part
from samgeo.pipeline.prompting import ObjectPrompt, segment_objects
from samgeo.pipeline.sought import Sought, draw_found
from samgeo.pipeline.witness import Ahead, Witness, looks_the_same
from samgeo.pixels import Mask, Window, fill_invalid
from samgeo.quiet import QuietThread
from samgeo.raster.reader import Raster, RasterSource
from samgeo.settings import Granularity
from samgeo.stitch.table import MaskTable, is_cut
from samgeo.tiling import Tile, Tiling

ALL = 0.9
"""Share of the valid pixels of a window from which a mask may be no more than where the data ends."""


@dataclass(frozen=True, kw_only=True)
class ModelAddress:
    """Where a process finds its own copy of a model: what `load_model` takes."""

    name: str
    """A known name, or the path of a file."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: str = "auto"
    """auto or exact."""

    def load(self) -> PromptableModel:
        """The model; loaded once in a process."""
        return _load(self)

    def fetch(self, report: Callable[[int, int], object]) -> None:
        """Bring the weights here that `load` would fetch. report: called with bytes that are here and of how many."""
        from samgeo.model.weights import have_weights

        have_weights(self.name, report)


def as_address(model: PromptableModel | ModelAddress | str | Path | None) -> PromptableModel | ModelAddress:
    """A name or path as an address; None is the embedded default."""
    if model is None:
        from samgeo.model.spec import DEFAULT_MODEL

        return ModelAddress(name=DEFAULT_MODEL)
    if isinstance(model, (str, Path)):
        return ModelAddress(name=str(model))
    if not isinstance(model, (ModelAddress, PromptableModel)):
        raise UsageError(f"model of type {type(model).__name__}: expected a name, a path or what load_model returns")
    return model


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all tile jobs of a run share."""

    raster: RasterSource | Raster
    """Address of the raster with its bands, working resolution and stretch; or the raster itself, within a process."""
    model: ModelAddress | PromptableModel
    """Address of the model; or the model itself."""
    model_sha256: str
    """What every process must find at the address."""
    cache_folder: Path | None
    """Where embeddings are kept; None: they are not."""
    granularity: Granularity
    """Which of a prompt's masks is kept."""
    everything: EverythingSettings
    """How windows are searched when there are no prompts."""
    tiling: Tiling
    """All tiles, in pixels of the grid or of `scale` x `scale` of them."""
    scale: int = 1
    """Pixels of the grid along the side of one pixel that the model sees."""
    sought: Sought | None = None
    """The words that are looked for; None: everything, or what the prompts say."""

    classes: tuple[str, ...] = ()
    """What the model calls masks of itself, if nothing is sought."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that masks may have."""
        return self.classes if self.sought is None else self.sought.words

    def from_afar(self, scale: int) -> Run:
        """The same in pixels `scale` times as large."""
        return replace(self, tiling=self.tiling.coarser(scale), scale=scale * self.scale)


@dataclass(frozen=True, kw_only=True)
class TileJob:
    """One window of one run: everything in a tile, or some prompted objects in a window."""

    run: Run
    """What it shares with the other jobs."""
    window: Window
    """What the model sees, in pixels of the run's tiling; it may reach beyond the grid."""
    part: Path
    """The file that the masks go to."""
    tile: Tile | None = None
    """The tile whose window it is, if everything in it is wanted."""
    prompts: tuple[ObjectPrompt, ...] = ()
    """The objects to segment, in pixels of the grid, if not."""
    ahead: Ahead | None = None
    """What may have read the window before, within a process."""

    def __str__(self) -> str:
        return self.window.scaled(self.run.scale).in_words()


def run_tile(job: TileJob) -> int:
    """Do a job and write its part file, with masks in pixels of the run's tiling. Returns the number of masks."""
    witness = Witness(job.ahead)
    if job.run.sought is not None:
        found = [(-1, mask) for mask in _find_words(job, job.run.sought, witness)]
    else:
        seen = look(job.run, job.window, witness)
        found = [] if seen is None else _find(*seen, job)
    found = [(key, mask.shift(job.window.row, job.window.col)) for key, mask in found]
    if job.run.scale > 1:
        found = [(key, mask) for key, mask in found if _is_for_afar(mask.window, job)]
    masks = [mask for _, mask in found]
    arrays = pack_masks(masks, [key for key, _ in found], labels=job.run.labels)
    if job.tile is not None:
        tiling, labels, sought = job.run.tiling, job.run.labels, job.run.sought is not None
        arrays |= MaskTable.from_masks(masks, tile=job.tile, tiling=tiling, labels=labels, sought=sought).arrays()
    write_part(job.part, arrays | witness.arrays())
    return len(found)


@contextmanager
def reading_ahead(jobs: Sequence[TileJob]) -> Iterator[Iterator[TileJob]]:
    """The jobs, for this thread: while it does one, another reads the window of the next."""
    thread = QuietThread()
    try:
        yield _each_ahead(jobs, Ahead(thread))
    finally:
        thread.end(wait=True)  # the raster may be closed then


def _each_ahead(jobs: Sequence[TileJob], ahead: Ahead) -> Iterator[TileJob]:
    for job, following in zip_longest(jobs, jobs[1:]):
        if following is not None:
            ahead.expect(_raster(following.run), following.window, following.run.scale)
        yield replace(job, ahead=ahead)


@dataclass(frozen=True, kw_only=True)
class CheckJob:
    """A part file of an earlier run, before this one relies on it."""

    run: Run
    """The run that goes on."""
    part: Path
    """The part file."""
    about: str
    """What it is about, in words."""

    def __str__(self) -> str:
        return self.about


def run_check(job: CheckJob) -> bool:
    """True if the part file was made from the pixels that are there now."""
    return looks_the_same(_raster(job.run), require_part(job.part))


def encode(
    model: PromptableModel, rgb: NDArray[np.uint8], valid: NDArray[np.bool_], cache: EmbeddingCache | None
) -> Embedding:
    """The embedding of a window (h, w, 3) with its valid pixels (h, w); from the cache if it is there."""
    rgb = fill_invalid(rgb, valid)
    if cache is None:
        return model.encode(rgb)
    key = cache.key_for(rgb, valid, model.sha256, model.precision, type(model).__name__)
    arrays = cache.get(key)
    if arrays is not None:
        return model.restore(arrays, valid.shape)
    embedding = model.encode(rgb)
    cache.put(key, embedding.arrays())
    return embedding


def clip(mask: Mask, valid: NDArray[np.bool_]) -> Mask:
    """The mask without pixels that are not valid (h, w), cropped again."""
    seen = mask.window.intersection(Window(row=0, col=0, height=valid.shape[0], width=valid.shape[1]))
    inside = mask.crop(seen)
    pixels = inside.pixels & valid[inside.window.slices()]
    cut = Mask.from_array(pixels)
    return replace(mask, window=cut.window.shift(inside.window.row, inside.window.col), pixels=cut.pixels)


def look(run: Run, window: Window, witness: Witness) -> tuple[PromptableModel, Embedding, NDArray[np.bool_]] | None:
    """The model, the embedding of a window and its valid pixels (h, w); None if there are none."""
    rgb, valid = witness.look(_raster(run), window, run.scale)
    return (*_embed(run, rgb, valid), valid) if valid.any() else None


def _embed(run: Run, rgb: NDArray[np.uint8], valid: NDArray[np.bool_]) -> tuple[PromptableModel, Embedding]:
    model = run.model.load() if isinstance(run.model, ModelAddress) else run.model
    if model.sha256 != run.model_sha256:
        raise ModelError(
            f"{model.name}: its weights are not those that the run began with. Fix: the same file everywhere"
        )
    cache = None if run.cache_folder is None else open_cache(run.cache_folder)
    return model, encode(model, rgb, valid, cache)


def _find_words(job: TileJob, sought: Sought, witness: Witness) -> list[Mask]:
    """The masks of what is sought, in the pixels of the window; the window is encoded only if there is something."""
    rgb, valid = witness.look(_raster(job.run), job.window, job.run.scale)
    found = sought.find(fill_invalid(rgb, valid)) if valid.any() else None
    if found is None or not len(found.boxes):
        return []
    model, embedding = _embed(job.run, rgb, valid)
    masks = draw_found(model, embedding, found, sought.words, batch=job.run.everything.points_per_batch)
    clipped = [clip(mask, valid) for mask in masks]
    return [mask for mask in clipped if not mask.window.is_empty]


def _find(
    model: PromptableModel, embedding: Embedding, valid: NDArray[np.bool_], job: TileJob
) -> list[tuple[int, Mask]]:
    """Key and mask of each object, in the pixels of the window."""
    if job.tile is not None:
        every = name_masks(model, embedding, generate_masks(model, embedding, job.run.everything, valid=valid))
        if job.run.scale > 1:  # seen whole, what is of no class and nearly all that is valid is the raster itself
            all_px = ALL * np.count_nonzero(valid)
            every = [mask for mask in every if mask.label is not None or mask.area_px < all_px]
        return [(-1, mask) for mask in every]
    prompts = [prompt.inside(job.window) for prompt in job.prompts]
    masks = segment_objects(
        model, embedding, prompts, granularity=job.run.granularity, batch=job.run.everything.points_per_batch
    )
    pairs = [(prompt.key, clip(mask, valid)) for prompt, mask in zip(prompts, masks, strict=True)]
    there = [(key, mask) for key, mask in pairs if not mask.window.is_empty]
    named = name_masks(model, embedding, [mask for _, mask in there])
    return [(key, mask) for (key, _), mask in zip(there, named, strict=True)]


def name_masks(model: PromptableModel, embedding: Embedding, masks: list[Mask]) -> list[Mask]:
    """The masks with what the model calls them, if it does."""
    return model.name_masks(embedding, masks) if isinstance(model, NamesMasks) else masks


def _is_for_afar(box: Window, job: TileJob) -> bool:
    """True for a mask that is seen whole, and that need not be so in smaller pixels."""
    tiling = job.run.tiling
    return 2 * max(box.shape) > tiling.overlap_px and not is_cut(box, job.window, tiling)


@lru_cache(maxsize=1)
def _load(address: ModelAddress) -> PromptableModel:
    from samgeo.model.weights import load_model

    return cast(PromptableModel, load_model(address.name, device=address.device, precision=address.precision))


def _raster(run: Run) -> Raster:
    return run.raster if isinstance(run.raster, Raster) else _open(run.raster)


@lru_cache(maxsize=2)
def _open(source: RasterSource) -> Raster:
    return source.open()


@lru_cache(maxsize=2)
def open_cache(folder: Path) -> EmbeddingCache:
    """The embedding cache in a folder; opened once in a process."""
    return EmbeddingCache(folder)
