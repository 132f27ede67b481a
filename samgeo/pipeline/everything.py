"""Runs without prompts: everything in every window, near and far, and which of it becomes an object."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.pipeline.assembly import add_object, add_stitched
from samgeo.pipeline.growth import Growths, RefineJob
from samgeo.pipeline.journal import Journal
from samgeo.pipeline.parts import AT_HAND_BYTES, PartReader, read_table
from samgeo.pipeline.store import PolygonStore
from samgeo.pipeline.tilejob import Run, TileJob
from samgeo.settings import Settings
from samgeo.stitch.levels import Distant, Level, open_ends, take_from_afar
from samgeo.stitch.link import link
from samgeo.stitch.table import MaskTable
from samgeo.tiling import Tile, Tiling


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Which objects a raster has, before those from further away are drawn."""

    near: Level
    """What full resolution shows, stitched."""
    kept: NDArray[np.bool_]
    """(objects,) which of these stay."""
    ends: NDArray[np.int32]
    """(objects,) how often each goes on beyond a window and the next one does not show it."""
    distant: Sequence[Distant]
    """What is taken from further away."""


def tile_jobs(run: Run, journal: Journal, area: Any = None) -> list[TileJob]:
    """One job for every tile, and for every tile in larger pixels until one of them shows the whole raster.

    area: what `read_aoi` gave; tiles that are farther away from it than a window is long are left out. Objects longer
    than that are seen from further away, where a window is longer.
    """
    return [
        TileJob(run=far, window=tile.read, part=_part(journal, far.scale, tile.index), tile=tile)
        for far in (run, *(run.from_afar(scale) for scale in run.tiling.scales))
        for tile in tiles_near(area, far.tiling, far.scale)
    ]


def tiles_near(area: Any, tiling: Tiling, scale: int = 1) -> list[Tile]:
    """The tiles that are no farther away from the area than a window is long; all, if there is none.

    area: what `read_aoi` gave. scale: size of the tiling's pixels in those of the area.
    """
    tiles = list(tiling)
    if area is None:
        return tiles
    cores = [tile.core.scaled(scale) for tile in tiles]
    edges = np.array([(core.col, core.row, core.col_end, core.row_end) for core in cores], dtype=float)
    return list(compress(tiles, shapely.dwithin(area, shapely.box(*edges.T), tiling.tile_px * scale)))


def choose(run: Run, journal: Journal, jobs: Sequence[TileJob]) -> Choice:
    """Stitch what the tile jobs found; they must be done."""
    near = _stitched(run, journal, jobs)
    ends = open_ends(near.stitched, near.crops)
    far = [_stitched(run.from_afar(scale), journal, jobs) for scale in run.tiling.scales]
    kept, distant = take_from_afar(near, ends, far)
    return Choice(near=near, kept=kept, ends=ends, distant=distant)


def refine_jobs(distant: Sequence[Distant], run: Run, journal: Journal) -> Iterator[RefineJob]:
    """One job for each window that shows objects which are taken from further away."""
    for (scale, index), indices in _by_tile(distant).items():
        yield RefineJob(
            run=run,
            window=run.tiling.coarser(scale)[index].read.scaled(scale),
            scale=scale,
            seeds=_part(journal, scale, index),
            indices=indices,
            part=_drawn(journal, scale, index, indices),
        )


def add_everything(store: PolygonStore, choice: Choice, journal: Journal, settings: Settings) -> None:
    """Put all objects into the store; the refine jobs must be done."""
    add_stitched(store, choice.near.stitched, choice.near.crops, settings, kept=choice.kept)
    by_place = {(one.scale, one.tile, one.index): one for one in choice.distant}
    for (scale, tile), indices in _by_tile(choice.distant).items():
        for one in Growths.read(_drawn(journal, scale, tile, indices)).objects:
            box, seen = one.pieces[0].window, by_place[scale, tile, one.key]
            add_object(
                store,
                one.pieces,
                name=f"the object at row {box.row}, column {box.col}",
                max_vertices=settings.max_vertices,
                key=-1,
                score=one.pieces[0].score,
                stability=one.pieces[0].stability,
                tiles=one.windows,
                label=seen.label,
                label_score=seen.label_score,
            )


def _stitched(run: Run, journal: Journal, jobs: Sequence[TileJob]) -> Level:
    """The tiles of one distance that were looked at, linked."""
    part_of = partial(_part, journal, run.scale)
    crops = PartReader(part_of, max_bytes=AT_HAND_BYTES // run.scale)
    table = MaskTable.concatenate([read_table(job.part) for job in jobs if job.run.scale == run.scale])
    return Level(scale=run.scale, stitched=link(table, run.tiling, crops), crops=crops)


def _by_tile(distant: Sequence[Distant]) -> Mapping[tuple[int, int], tuple[int, ...]]:
    """(scale, tile) to the positions of its masks that are taken."""
    found: dict[tuple[int, int], list[int]] = {}
    for one in distant:
        found.setdefault((one.scale, one.tile), []).append(one.index)
    return {place: tuple(sorted(found[place])) for place in sorted(found)}


def _part(journal: Journal, scale: int, index: int) -> Path:
    return journal.part(f"tile-{scale:05d}-{index:07d}")


def _drawn(journal: Journal, scale: int, index: int, indices: tuple[int, ...]) -> Path:
    """Which of a window's objects are drawn depends on the area of interest, and so does the name."""
    return journal.part(f"drawn-{scale:05d}-{index:07d}-{zlib.crc32(repr(indices).encode()):08x}")
