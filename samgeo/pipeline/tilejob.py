"""The tile job: one window, from pixels to masks in a part file. The unit of distribution.

A job is a small record that can be pickled; `run_tile` opens the raster and loads the model itself, once a process.
Running a job twice is harmless: the same part file appears again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from samgeo.embeddings import EmbeddingCache
from samgeo.errors import ResourceLimitError
from samgeo.model.automatic import EverythingSettings, generate_masks
from samgeo.model.contract import Embedding, PromptableModel
from samgeo.pipeline.journal import write_part
from samgeo.pipeline.parts import pack_masks, read_masks
from samgeo.pipeline.prompting import NO_MASK, ObjectPrompt, segment_objects
from samgeo.pixels import Mask, PixelPrompts, Window
from samgeo.raster.reader import Raster, RasterSource
from samgeo.settings import Granularity
from samgeo.stitch.grow import Decode, grow
from samgeo.stitch.table import MaskTable, is_cut
from samgeo.tiling import Tile, Tiling

EMBEDDINGS_AT_HAND = 9
"""How many windows an object that grows keeps at hand: one and its neighbours."""


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


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all tile jobs of a run share."""

    raster: RasterSource | Raster
    """Address of the raster with its bands, working resolution and stretch; or the raster itself, within a process."""
    model: ModelAddress | PromptableModel
    """Address of the model; or the model itself."""
    cache_folder: Path | None
    """Where embeddings are kept; None: they are not."""
    granularity: Granularity
    """Which of a prompt's masks is kept."""
    everything: EverythingSettings
    """How windows are searched when there are no prompts."""
    tiling: Tiling
    """All tiles."""


@dataclass(frozen=True, kw_only=True)
class TileJob:
    """One window of one run: everything in a tile, or some prompted objects in a window."""

    run: Run
    """What it shares with the other jobs."""
    window: Window
    """What the model sees, in pixels of the working grid; it may reach beyond it."""
    part: Path
    """The file that the masks go to."""
    tile: Tile | None = None
    """The tile whose window it is, if everything in it is wanted."""
    prompts: tuple[ObjectPrompt, ...] = ()
    """The objects to segment, in pixels of the grid, if not."""

    def __str__(self) -> str:
        window = self.window
        return f"window of {window.width} x {window.height} px at column {window.col}, row {window.row}"


def run_tile(job: TileJob) -> int:
    """Do a job and write its part file, with masks in pixels of the grid. Returns the number of masks."""
    seen = _look(job.run, job.window)
    found = [] if seen is None else _find(*seen, job)
    masks = [mask.shift(job.window.row, job.window.col) for _, mask in found]
    arrays = pack_masks(masks, [key for key, _ in found])
    if job.tile is not None:
        arrays |= MaskTable.from_masks(masks, tile=job.tile, tiling=job.run.tiling).arrays()
    write_part(job.part, arrays)
    return len(found)


@dataclass(frozen=True, kw_only=True)
class GrowJob:
    """The prompted objects of one window that reach beyond it."""

    run: Run
    """What it shares with the other jobs."""
    window: Window
    """The window that cuts them."""
    seeds: Path
    """The part file of that window."""
    part: Path
    """The file that the whole objects go to, in pieces that share no pixel."""

    def __str__(self) -> str:
        return f"objects that reach beyond the {TileJob.__str__(self)}"  # type: ignore[arg-type]


def run_growth(job: GrowJob) -> int:
    """Ask the windows around for the rest of each object, and write the part file. Returns the number of objects.

    A prompt that reaches through too many windows is refused in the part file, so that the others do not suffer.
    """
    tiling = job.run.tiling
    cut = [(key, mask) for key, mask in read_masks(job.seeds) if is_cut(mask.window, job.window, tiling)]
    decode = _decoder(job.run)
    pieces: list[tuple[int, Mask, int, int]] = []
    refused: dict[int, str] = {}
    for key, mask in cut:
        try:
            grown = grow(mask, job.window, tiling=tiling, decode=decode)
        except ResourceLimitError as error:
            refused[key] = str(error)
            continue
        pieces += [(key, piece, grown.windows, grown.open_ends) for piece in grown.pieces]
    facts: dict[str, NDArray[np.generic]] = {
        "windows": np.array([windows for _, _, windows, _ in pieces], np.int32),
        "open_ends": np.array([ends for _, _, _, ends in pieces], np.int32),
        "refused": np.array(list(refused), np.int64),
        "reasons": np.array(list(refused.values()), dtype="U"),
    }
    write_part(job.part, pack_masks([piece for _, piece, _, _ in pieces], [key for key, _, _, _ in pieces]) | facts)
    return len(cut)


def _decoder(run: Run) -> Decode:
    """What `grow` asks: prompts in a window to candidates, with the latest embeddings at hand."""
    look = lru_cache(maxsize=EMBEDDINGS_AT_HAND)(partial(_look, run))

    def decode(window: Window, prompts: PixelPrompts) -> list[list[Mask]]:
        seen = look(window)
        if seen is None:
            return [[NO_MASK]] * len(prompts)
        model, embedding, valid = seen
        size = run.everything.points_per_batch
        batches = [prompts[slice(start, start + size)] for start in range(0, len(prompts), size)]
        found = [row for batch in batches for row in model.decode(embedding, batch).to_masks()]
        return [[clip(mask, valid) for mask in row] for row in found]

    return decode


def encode(
    model: PromptableModel, rgb: NDArray[np.uint8], valid: NDArray[np.bool_], cache: EmbeddingCache | None
) -> Embedding:
    """The embedding of a window (h, w, 3) with its valid pixels (h, w); from the cache if it is there."""
    if cache is None:
        return model.encode(rgb)
    key = cache.key_for(rgb, valid, model.sha256, model.precision)
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
    cut = Mask.from_array(pixels, score=mask.score, stability=mask.stability)
    return cut.shift(inside.window.row, inside.window.col)


def _look(run: Run, window: Window) -> tuple[PromptableModel, Embedding, NDArray[np.bool_]] | None:
    """The model, the embedding of a window and its valid pixels (h, w); None if there are none."""
    raster = run.raster if isinstance(run.raster, Raster) else _open(run.raster)
    rgb, valid = raster.read_rgb(window)
    if not valid.any():
        return None
    model = run.model.load() if isinstance(run.model, ModelAddress) else run.model
    cache = None if run.cache_folder is None else open_cache(run.cache_folder)
    return model, encode(model, rgb, valid, cache), valid


def _find(
    model: PromptableModel, embedding: Embedding, valid: NDArray[np.bool_], job: TileJob
) -> list[tuple[int, Mask]]:
    """Key and mask of each object, in the pixels of the window."""
    if job.tile is not None:
        return [(-1, mask) for mask in generate_masks(model, embedding, job.run.everything, valid=valid)]
    prompts = [prompt.inside(job.window) for prompt in job.prompts]
    masks = segment_objects(
        model, embedding, prompts, granularity=job.run.granularity, batch=job.run.everything.points_per_batch
    )
    pairs = [(prompt.key, clip(mask, valid)) for prompt, mask in zip(prompts, masks, strict=True)]
    return [(key, mask) for key, mask in pairs if not mask.window.is_empty]


@lru_cache(maxsize=1)
def _load(address: ModelAddress) -> PromptableModel:
    from samgeo.model.weights import load_model

    return cast(PromptableModel, load_model(address.name, device=address.device, precision=address.precision))


@lru_cache(maxsize=2)
def _open(source: RasterSource) -> Raster:
    return source.open()


@lru_cache(maxsize=2)
def open_cache(folder: Path) -> EmbeddingCache:
    """The embedding cache in a folder; opened once in a process."""
    return EmbeddingCache(folder)
