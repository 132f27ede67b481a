"""What `samgeo segment --dry-run` says: everything is opened, placed and counted; nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samgeo.pipeline.checks import check
from samgeo.pipeline.everything import tiles_near
from samgeo.raster.reader import Raster
from samgeo.tiling import Tiling

if TYPE_CHECKING:
    from samgeo.pipeline.segment import ModelAddress
    from samgeo.prompts.placed import PlacedPrompts
    from samgeo.prompts.prompts import Prompts
    from samgeo.settings import Settings


def describe(
    raster: str, output: Path, *, prompts: Prompts | None, model: ModelAddress, settings: Settings
) -> tuple[str, int]:
    """What a run would do, as lines of text, and how many prompts it would refuse.

    Raises what the run would raise before it starts.
    """
    with Raster(raster, **settings.look) as opened:
        grid = opened.grid
        checked = check(opened, prompts, output=output, settings=settings)
        placed, sought = checked.placed, checked.sought
        tile_px, overlap_px = settings.tile(model.load().tile_px)
        tiling = Tiling(height=grid.height, width=grid.width, tile_px=tile_px, overlap_px=overlap_px)
        tiles = len(tiling) if placed is not None else len(tiles_near(checked.area, tiling))
        stretch = opened.stretch
        if sought is not None:
            lines, refused = [f"words    {', '.join(sought.words)}: found by {sought.finder.name}"], 0
        else:
            lines, refused = ([], 0) if prompts is None or placed is None else _prompt_lines(prompts, placed)
    x_m, y_m = grid.pixel_size_m
    lines = [
        f"raster   {opened.name}: {grid.width:,} x {grid.height:,} px of {x_m:.3g} x {y_m:.3g} m",
        f"CRS      {grid.crs.name if grid.crs else 'none'}",
        f"stretch  {', '.join(f'{a:g} to {b:g}' for a, b in zip(stretch.low, stretch.high, strict=True))}",
        f"tiles    {tiles:,} of {tile_px} px, {overlap_px} px shared",
        f"model    {model.name}",
        *(lines or ["prompts  none: everything in the raster"]),
        f"output   {output}: can be written",
    ]
    return "\n".join(lines), refused


def _prompt_lines(prompts: Prompts, placed: PlacedPrompts) -> tuple[list[str], int]:
    lines = [f"prompts  {len(prompts):,} given, {len(placed.refusals):,} refused, {len(placed):,} objects"]
    lines += [f"         {refusal}" for refusal in placed.refusals]
    return lines, len(placed.refusals)
