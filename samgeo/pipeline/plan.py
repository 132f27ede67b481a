"""The plan of a run: which windows are segmented with which prompts, and what their part files depend on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from samgeo import __version__
from samgeo.grid import Grid
from samgeo.model.automatic import EverythingSettings
from samgeo.model.contract import NamesMasks, PromptableModel
from samgeo.pipeline.checks import Checked
from samgeo.pipeline.sought import Sought
from samgeo.pipeline.tilejob import ModelAddress, Run, as_address
from samgeo.raster.reader import Raster
from samgeo.settings import Settings
from samgeo.stretch import sample_windows
from samgeo.tiling import Tiling

FORMAT = 6
"""Raised when part files of an older version would mean something else."""

SAMPLE_PX = 500_000
"""About how many pixels tell one raster from another."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A run before it starts."""

    grid: Grid
    """The working grid."""
    run: Run
    """What the tile jobs share."""
    model: PromptableModel
    """The model itself."""
    record: dict[str, Any]
    """What the part files depend on; fit for JSON. Another run may use them if its record is equal."""


def make_plan(
    raster: Raster,
    *,
    model: PromptableModel | ModelAddress | str | Path | None,
    settings: Settings,
    checked: Checked,
    shared_memory: bool,
) -> Plan:
    """Settle everything that the tile jobs need.

    checked: the prompts, or the words that are looked for; neither: everything is wanted.
    shared_memory: the jobs run in this process, so that they can use the raster and the model that are here.
    """
    address = as_address(model)
    loaded = address.load() if isinstance(address, ModelAddress) else address
    tile_px, overlap_px = settings.tile(loaded.tile_px)
    tiling = Tiling(height=raster.grid.height, width=raster.grid.width, tile_px=tile_px, overlap_px=overlap_px)
    run = Run(
        raster=raster if shared_memory else raster.source(),
        model=loaded if shared_memory else _from_anywhere(address),
        model_sha256=loaded.sha256,
        cache_folder=_cache_folder(settings),
        granularity=settings.granularity or "best",
        everything=_everything(settings, loaded),
        tiling=tiling,
        sought=checked.sought,
        classes=loaded.classes if checked.sought is None and isinstance(loaded, NamesMasks) else (),
    )
    record = {
        "format": FORMAT,
        "samgeo": __version__,
        "raster": {
            "content": content_digest(raster),
            "grid": raster.grid.to_dict(),
            "stretch": raster.stretch.to_dict(),
            "resampling": raster.resampling,
        },
        "model": {"sha256": loaded.sha256, "precision": loaded.precision},
        "tiling": {"tile_px": tile_px, "overlap_px": overlap_px},
        "prompts": None if checked.placed is None else checked.placed.sha256,
        "words": None if checked.sought is None else _words(checked.sought),
        "search": asdict(run.everything) | {"granularity": settings.granularity},
    }
    return Plan(grid=raster.grid, run=run, model=loaded, record=record)


def _words(sought: Sought) -> dict[str, Any]:
    """What is looked for and by whom, fit for JSON."""
    name = sought.finder.name
    return {
        "words": list(sought.words),
        "finder": Path(name).name if Path(name).is_dir() else name,
        "finder_sha256": sought.finder_sha256,
        "least_score": sought.least_score,
    }


def _from_anywhere(model: PromptableModel | ModelAddress) -> PromptableModel | ModelAddress:
    """The model, or an address that does not depend on the folder that a process works in."""
    if isinstance(model, ModelAddress) and Path(model.name).is_file():
        return replace(model, name=str(Path(model.name).absolute()))
    return model


def content_digest(raster: Raster) -> str:
    """Hex digest of a sample of what the model will see: the same imagery elsewhere has the same, a new version not."""
    digest = hashlib.sha256()
    for window in sample_windows(*raster.grid.shape, sample_px=SAMPLE_PX):
        bands, valid = raster.read(window)
        for array in (np.ascontiguousarray(bands), valid):
            digest.update(repr((window, array.shape, str(array.dtype))).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def describe(plan: Plan, raster: Raster, settings: Settings) -> dict[str, Any]:
    """Metadata of the result; fit for JSON."""
    return {
        "samgeo": __version__,
        **raster.describe(),
        "model": plan.model.name,
        "model_sha256": plan.model.sha256,
        "precision": plan.model.precision,
        **plan.record["tiling"],
        "prompts_sha256": plan.record["prompts"],
        **({} if plan.record["words"] is None else {"words": plan.record["words"]}),
        "settings": {
            name: value
            for name, value in asdict(replace(settings, aoi=None)).items()
            if value is not None and name not in ("use_cache", "overwrite", "resume")
        },
    }


def _cache_folder(settings: Settings) -> Path | None:
    from samgeo.embeddings import default_folder

    return default_folder() if settings.use_cache else None


def _everything(settings: Settings, model: PromptableModel) -> EverythingSettings:
    """What was set, over what suits the model."""
    given: dict[str, Any] = {
        "points_per_side": settings.points_per_side,
        "points_per_batch": settings.points_per_batch,
        "pred_iou_thresh": settings.pred_iou_thresh,
        "stability_score_thresh": settings.stability_score_thresh,
        "box_nms_thresh": settings.box_nms_thresh,
        "granularity": settings.granularity,
        "fast": settings.fast or None,
    }
    return replace(model.everything, **{name: value for name, value in given.items() if value is not None})
