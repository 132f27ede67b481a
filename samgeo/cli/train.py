"""`samgeo train`: fine-tune a model on outlines of one's own imagery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from samgeo.cli.options import (
    OTHER,
    HeadedCommand,
    debug_option,
    headed,
    model_and_device,
    progress_option,
    raster_options,
)
from samgeo.cli.progress import phases_of, reporter

if TYPE_CHECKING:
    from samgeo.train.learning import Learned

WORSE = 0.01
"""A smaller fall of the mean IoU is chance."""
READING = ("bands", "resolution_m", "raster_crs", "labels_crs", "tile_px")


@click.command(cls=HeadedCommand, short_help="Teach a model what you have outlined.")
@click.argument("labels")
@click.argument("raster", required=False)
@headed("Learning", "--output", "-o", "out", required=True, metavar="FILE", help="The weights, a .safetensors file.")
@headed(
    "Learning",
    "--tune",
    type=click.Choice(["decoder", "adapters", "all"]),
    default="decoder",
    show_default=True,
    help="What learns: decoder is quickest; adapters reach into the encoder's attention; all changes everything.",
)
@headed("Learning", "--steps", type=click.IntRange(min=1), default=300, show_default=True, help="How long.")
@headed(
    "Learning",
    "--held-out",
    type=click.FloatRange(0, 0.9),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Share of the windows that is not shown but judged by.",
)
@headed(
    "Learning",
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of everything that is drawn at random.",
)
@headed(
    "Learning",
    "--labels-crs",
    metavar="CRS",
    help='CRS of LABELS that have none, or "raster" for that of RASTER, or "pixel".',
)
@headed("Learning", "--overwrite", is_flag=True, help="Replace FILE.")
@model_and_device
@raster_options
@progress_option
@headed(OTHER, "--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@debug_option
def train(labels: str, raster: str | None, as_json: bool, **options: Any) -> None:
    """Teach a model what LABELS draw on RASTER.

    LABELS are polygons in any CRS, or a raster with a number for each class or object and 0 for nothing. Or they are
    JSON of COCO or SA-1B, or a folder of that; then RASTER is the folder with the pictures, where they are not beside
    it.

    Fifty outlines are a start. What nobody outlined does no harm. The weights that come out are the model's own kind:
    give them to --model. Part of the windows is held out, and the masks there are judged before and after. A run that
    is cut off goes on when the same command is given again.
    """
    from samgeo.train.finetune import FineTuning
    from samgeo.train.learning import learn

    with reporter(options["progress"]) as report:
        done = learn(
            raster,
            labels,
            options["out"],
            model=options["model"],
            device=options["device"],
            settings=FineTuning(tune=options["tune"], steps=options["steps"], seed=options["seed"]),
            held_out=options["held_out"],
            overwrite=options["overwrite"],
            report=phases_of(report),
            **{name: options[name] for name in READING},
        )
    click.echo(done.to_json() if as_json else told(done))


def told(done: Learned) -> str:
    """What came of it as lines of text."""
    lines = [f"{done.outlines:,} outlines in {_windows(done.windows + done.judged)}"]
    lines += [f"refused: {line}" for line in done.refused]
    if done.before is None or done.after is None:
        why = "One window only" if done.windows == 1 else "--held-out 0"
        lines += [f"{why}: nothing was held out, so nothing says how good it is elsewhere."]
    else:
        lines += [
            f"mean IoU of {done.after.objects:,} objects in {_windows(done.judged)} that learning did not see:",
            "",
            "                         before   after",
        ]
        for what, name in FIGURES.items():
            lines.append(f"  {what:<20}   {getattr(done.before, name):7.3f} {getattr(done.after, name):7.3f}")
        if max(done.after.box - done.before.box, done.after.click - done.before.click) < -WORSE:
            lines += ["", "It got worse: too few or wrong outlines, or too many steps."]
    return "\n".join([*lines, "", f"{done.weights}; curves in {done.folder}"])


def _windows(count: int) -> str:
    return "1 window" if count == 1 else f"{count:,} windows"


FIGURES = {
    "box": "box",
    "1 click, by score": "click",
    "1 click, best of 3": "best",
    "3 clicks": "click_3",
    "5 clicks": "click_5",
}
