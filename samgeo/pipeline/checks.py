"""What is checked before any work, by a run and by its rehearsal: output, area of interest, prompts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samgeo.errors import SamgeoWarning, UsageError
from samgeo.model.finder import BUILT_IN, FinderAddress
from samgeo.model.vocabulary import CLASSES, class_of
from samgeo.output.vector import probe_output
from samgeo.pipeline.assembly import read_aoi
from samgeo.pipeline.sought import Sought
from samgeo.prompts.placed import PlacedPrompts
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from samgeo.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a run needs to know of its inputs."""

    area: Any
    """The area of interest, from `read_aoi`; None: everywhere."""
    placed: PlacedPrompts | None
    """The prompts in pixels of the working grid; None: everything is wanted, or what words say."""
    sought: Sought | None
    """The words that are looked for, if any."""


def check(raster: Raster, prompts: Prompts | None, *, output: Path | None, settings: Settings) -> Checked:
    """Raise what would be wrong after hours of work: see `probe_output`, `read_aoi` and `Prompts.to_pixels`."""
    if prompts is not None and settings.granularity == "all":
        raise UsageError(
            "--granularity all with prompts: a prompt gives one object; expected whole, part, subpart or best"
        )
    if output is not None:
        probe_output(
            output,
            crs_wkt=raster.grid.crs_wkt,
            inputs=[raster.name, *_files(prompts, settings)],
            layer=settings.layer,
            overwrite=settings.overwrite,
        )
        _warn_of_no_place(raster, output)
    area = None if settings.aoi is None else read_aoi(settings.aoi, raster.grid)
    sought = None if prompts is None or not prompts.words else _seek(prompts, settings)
    placed = None if prompts is None or sought is not None else _place(prompts, raster, settings)
    return Checked(area=area, placed=placed, sought=sought)


def _seek(prompts: Prompts, settings: Settings) -> Sought:
    """The words with what finds them, loaded once here, so that what is wrong with it is said at once."""
    words = ", ".join(prompts.words)
    if prompts.layers:
        raise UsageError(f"--text {words} with other prompts: expected words alone, or no words")
    address = prompts.finder or FinderAddress(name=BUILT_IN)
    own = isinstance(address, FinderAddress) and address.tells_classes
    if own and (strange := [word for word in prompts.words if class_of(word) is None]):
        raise UsageError(
            f"--text {', '.join(strange)}: samgeo-nano knows {', '.join(CLASSES)}. Fix: one of these; or pip install "
            "'samgeo[text]', and --text-model with a folder or a hub name of Grounding DINO, OWLv2 or SAM 3, such as "
            "IDEA-Research/grounding-dino-tiny"
        )
    finder = address.load() if isinstance(address, FinderAddress) else address
    least = settings.text_thresh if settings.text_thresh is not None else finder.least_score
    return Sought(words=prompts.words, finder=address, finder_sha256=finder.sha256, least_score=least)


def _warn_of_no_place(raster: Raster, output: Path) -> None:
    """An output without a CRS is one that a GIS puts somewhere else."""
    if raster.unplaced:
        text = f"{raster.name}: {output} will be in columns and rows, since the raster has {raster.unplaced}"
    elif raster.grid.crs is None:
        text = f"{raster.name}: no CRS, so {output} will have none either, and areas are in its own units. "
        text += "Fix: --raster-crs EPSG:CODE"
    else:
        return
    warnings.warn(text, SamgeoWarning, stacklevel=4)


def _files(prompts: Prompts | None, settings: Settings) -> list[Path]:
    """The files besides the raster that a run reads."""
    files = [] if prompts is None else prompts.files
    return [*files, settings.aoi] if isinstance(settings.aoi, Path) else files


def _place(prompts: Prompts, raster: Raster, settings: Settings) -> PlacedPrompts:
    if not all(layer.in_pixels for layer in prompts.layers):
        raster.require_placed()
    return prompts.to_pixels(
        raster.grid, native_grid=raster.native_grid, valid=raster.valid_at, strict_crs=settings.strict_crs
    )
