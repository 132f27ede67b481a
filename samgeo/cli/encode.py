"""`samgeo encode`: fill the embedding cache ahead."""

from __future__ import annotations

from typing import Any

import click

from samgeo.cli.options import (
    HeadedCommand,
    debug_option,
    model_options,
    progress_option,
    reading_options,
    workers_option,
)
from samgeo.cli.progress import reporter


@click.command(cls=HeadedCommand)
@click.argument("raster")
@model_options
@reading_options
@workers_option
@progress_option
@debug_option
def encode(raster: str, **options: Any) -> None:
    """Encode RASTER ahead, so that later runs on it only decode.

    Encoding is the slow part. What is encoded lies in the cache (`samgeo doctor` says where), is used by `samgeo
    segment` with the same model, bands, resolution and tiles, and makes room by itself when the cache is full. A prompt
    near the edge of a tile is still encoded when it is segmented, in a window with the object in its middle.
    """
    from samgeo.pipeline.encoding import encode_ahead
    from samgeo.pipeline.segment import ModelAddress, Settings

    names = ("bands", "resolution_m", "raster_crs", "tile_px", "overlap_px")
    with reporter(options["progress"]) as report:
        done = encode_ahead(
            raster,
            model=ModelAddress(name=options["model"], device=options["device"], precision=options["precision"]),
            settings=Settings(**{name: options[name] for name in names}),
            workers=options["workers"],
            progress=report,
        )
    empty = f", {done.empty:,} of them empty" if done.empty else ""
    click.echo(f"{done.windows:,} windows{empty}. The cache is {done.folder}")
