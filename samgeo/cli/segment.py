"""`samgeo segment`: the main job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from samgeo.cli.edge import JOURNAL, tell
from samgeo.cli.options import (
    HeadedCommand,
    Numbers,
    debug_option,
    headed,
    model_options,
    progress_option,
    reading_options,
    together,
    workers_option,
)
from samgeo.cli.progress import reporter
from samgeo.errors import PartialResultError, UsageError
from samgeo.model.vocabulary import CLASSES

TOLD = 10
"""So many refused prompts are named on stderr."""

prompt_options = together(
    headed("Prompts", "--points", metavar="FILE", help='Clicks: a vector file in its own CRS; "-": GeoJSON on stdin.'),
    headed("Prompts", "--boxes", metavar="FILE", help="One object a feature, known by its bounding box."),
    headed("Prompts", "--masks", metavar="FILE", help="One object a polygon, known by its rough outline."),
    headed("Prompts", "--point", multiple=True, type=Numbers("X,Y", count=2), help="One click. Repeatable."),
    headed(
        "Prompts",
        "--box",
        multiple=True,
        type=Numbers("XMIN,YMIN,XMAX,YMAX", count=4),
        help="One box. Repeatable.",
    ),
    headed(
        "Prompts",
        "--prompt-crs",
        metavar="CRS",
        help='CRS of --point, --box and of files that have none, or "pixel".  [default: the raster\'s]',
    ),
    headed(
        "Prompts",
        "--strict-crs",
        is_flag=True,
        help="Refuse prompts that a change of datum may move by more than a pixel.  [default: warn]",
    ),
    headed(
        "Prompts",
        "--text",
        metavar="WORDS",
        help=f"What to look for. samgeo-nano knows {', '.join(CLASSES)}; all other words need --text-model.",
    ),
    headed(
        "Prompts",
        "--text-model",
        metavar="FOLDER|FILE|NAME",
        help="What finds the words: a folder of Grounding DINO, OWLv2 or SAM 3, a name on the Hugging Face hub, or "
        "weights of samgeo-nano.  [default: samgeo-nano]",
    ),
    headed(
        "Prompts",
        "--text-thresh",
        type=float,
        metavar="X",
        help="Drop what the text model is less sure of.  [default: the model's]",
    ),
    headed(
        "Prompts", "--object-column", metavar="NAME", help="Column of --points that tells which belong to one object."
    ),
    headed(
        "Prompts",
        "--label-column",
        metavar="NAME",
        help="Column of --points: 1 or fg on the object, 0 or bg beside it.",
    ),
)

everything_options = together(
    headed(
        "Everything",
        "--points-per-side",
        type=int,
        metavar="N",
        show_default="the model's",
        help="Clicks along each side of a window.",
    ),
    headed(
        "Everything",
        "--pred-iou-thresh",
        type=float,
        metavar="X",
        help="Drop masks with a lower score.  [default: the model's]",
    ),
    headed(
        "Everything",
        "--stability-score-thresh",
        type=float,
        metavar="X",
        help="Drop masks with a lower stability.  [default: the model's]",
    ),
    headed("Everything", "--fast", is_flag=True, help="Ask no more inside of what was found; parts are missed."),
)

keeping_options = together(
    headed(
        "Keeping",
        "--granularity",
        type=click.Choice(["whole", "part", "subpart", "best", "all"]),
        help="What to keep where masks nest.  [default: best with prompts, the model's without]",
    ),
    headed("Keeping", "--aoi", metavar="FILE", help="Look at and keep what is inside these polygons; any vector file."),
    headed("Keeping", "--exclusive", is_flag=True, help="No two features overlap."),
    headed(
        "Keeping",
        "--min-area",
        "min_area_m2",
        type=float,
        metavar="M2",
        default=0.0,
        help="Drop smaller features, in ground square metres.",
    ),
)

writing_options = together(
    headed(
        "Outlines",
        "--simplify",
        "simplify_m",
        type=float,
        metavar="M",
        default=0.0,
        help="Tolerance in ground metres.  [default: pixel-exact]",
    ),
    headed("Outlines", "--square", is_flag=True, help="Right-angled corners, as buildings have them."),
    headed("Outlines", "--smooth", is_flag=True, help="Round the pixel steps off."),
    headed(
        "Outlines",
        "--max-vertices",
        type=int,
        metavar="N",
        default=5_000_000,
        show_default=True,
        help="Refuse features with more.",
    ),
    headed("Writing", "--layer", metavar="NAME", help="Name of the layer.  [default: the name of OUTPUT]"),
    headed(
        "Writing", "--overwrite", is_flag=True, help="Replace OUTPUT; the old one stays until the new one is whole."
    ),
    headed(
        "Writing",
        "--report",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write what was done, prompt by prompt, as JSON.",
    ),
)

running_options = together(
    headed(
        "Running",
        "--resume/--no-resume",
        default=True,
        help="Go on from a stopped run, or start anew.  [default: resume]",
    ),
    workers_option,
    headed(
        "Running",
        "--dask",
        metavar="ADDRESS",
        help="Run on a Dask cluster: where its scheduler is, such as tcp://host:8786, or its scheduler file. All "
        "machines must see RASTER and the folder of OUTPUT under the same paths.",
    ),
    headed(
        "Running",
        "--no-cache",
        "use_cache",
        flag_value=False,
        default=True,
        type=bool,
        help="Neither keep encoded windows on disk nor use those that are there.",
    ),
    headed("Running", "--dry-run", is_flag=True, help="Check everything and say what would be done; write nothing."),
    progress_option,
)


EXAMPLES = """\b
Examples:
  samgeo segment ortho.tif all.gpkg --min-area 4
  samgeo segment ortho.tif roofs.gpkg --boxes footprints.shp --square
  samgeo segment ortho.tif one.geojson --point 13.4012,52.5163 --prompt-crs EPSG:4326
  samgeo segment s2.tif fields.gpkg --bands 4,3,2 --min-area 2000 --exclusive
"""


@click.command(cls=HeadedCommand, epilog=EXAMPLES)
@click.argument("raster")
@click.argument("output", type=click.Path(path_type=Path))
@prompt_options
@model_options
@reading_options
@everything_options
@keeping_options
@writing_options
@running_options
@debug_option
@click.pass_context
def segment(ctx: click.Context, /, raster: str, output: Path, **options: Any) -> None:
    """Segment RASTER and write the objects to OUTPUT.

    With prompts: one feature for each prompted object. With --text: what the words say. Else: everything in the raster.

    RASTER is a file, URL or anything else that GDAL opens. OUTPUT is by its ending .gpkg .shp .geojson .fgb .parquet
    (features) or .tif (labels, int32, cloud-optimized).
    """
    from samgeo.pipeline.segment import ModelAddress, Settings, journal_folder
    from samgeo.pipeline.segment import segment as run
    from samgeo.prompts.prompts import Prompts

    if options["dask"] is not None and options["workers"] > 1:
        raise UsageError(
            f"--workers {options['workers']} with --dask: a cluster has its own workers; drop one of the two"
        )
    settings = Settings(**{field.name: options[field.name] for field in fields(Settings) if field.name in options})
    model = ModelAddress(name=options["model"], device=options["device"], precision=options["precision"])
    prompts = Prompts.from_options(options)
    if options["report"] is not None:
        probe_report(options["report"], raster, output, options)
    if options["dry_run"]:
        from samgeo.cli.dryrun import describe

        text, refused = describe(raster, output, prompts=prompts, model=model, settings=settings)
        click.echo(text)
        ctx.exit(PartialResultError.exit_code if refused else 0)
    ctx.meta[JOURNAL] = journal_folder(output)
    with (
        reporter(options["progress"]) as report,
        run(
            raster,
            prompts,
            model=model,
            output=output,
            settings=settings,
            workers=options["dask"] or options["workers"],
            progress=report,
        ) as result,
    ):
        done, count = result.report | {"result": result.metadata}, len(result)
    if options["report"] is not None:
        write_report(options["report"], done)
    tell(f"{count:,} feature{'' if count == 1 else 's'} in {output}")
    ctx.exit(tell_refusals(done))


def probe_report(path: Path, raster: str, output: Path, options: Mapping[str, Any]) -> None:
    """Find out before any work whether the report can be written, and that it replaces nothing that the run needs.

    Raises `UsageError` if the report is the output or one of its files, and what `probe_writable` raises.
    """
    from samgeo.commit import companions, probe_writable

    if path.resolve() in [part.resolve() for part in (output, *companions(output))]:
        raise UsageError(f"--report {path}: that is a file of the output. Fix: another name, such as report.json")
    inputs = [raster, *(options[name] for name in ("points", "boxes", "masks", "aoi") if options[name] is not None)]
    probe_writable(path, inputs=inputs, overwrite=True)


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report of a run as JSON; it appears whole or not at all."""
    from samgeo.commit import staged

    with staged(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def tell_refusals(report: Mapping[str, Any]) -> int:
    """Say which prompts were refused, and why. Returns the exit code that follows from it."""
    refused = report.get("prompts", {}).get("refused", [])
    for refusal in refused[:TOLD]:
        tell(f"Refused: prompt {refusal['prompt_id']}: {refusal['reason']}")
    if len(refused) > TOLD:
        tell(f"... and {len(refused) - TOLD:,} more; --report FILE lists them all")
    return PartialResultError.exit_code if refused else 0
