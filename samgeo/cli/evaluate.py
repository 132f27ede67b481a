"""`samgeo evaluate`: compare a layer with the truth."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from samgeo.cli.options import OTHER, HeadedCommand, debug_option, headed

if TYPE_CHECKING:
    from samgeo.evaluation import Evaluation


@click.command(cls=HeadedCommand, short_help="Compare predicted polygons with true ones.")
@click.argument("predictions", metavar="PRED")
@click.argument("truth", metavar="TRUTH")
@headed(
    "Comparing",
    "--tolerance",
    "tolerance_m",
    type=float,
    metavar="M",
    default=2.0,
    show_default=True,
    help="How far outlines may lie apart and still agree, in ground metres.",
)
@headed("Comparing", "--aoi", metavar="FILE", help="Compare only objects inside these polygons.")
@headed(
    "Comparing",
    "--score-column",
    metavar="NAME",
    help="Column of numbers that orders PRED for average precision.  [default: score, where there is one]",
)
@headed(
    "Comparing",
    "--by",
    metavar="COLUMN",
    help="Also the scores of each class in this column of TRUTH; precision where PRED has the column, too.",
)
@headed("Comparing", "--pred-layer", "prediction_layer", metavar="NAME", help="Layer of PRED, where it has several.")
@headed("Comparing", "--truth-layer", metavar="NAME", help="Layer of TRUTH, where it has several.")
@headed(OTHER, "--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@debug_option
def evaluate(predictions: str, truth: str, as_json: bool, **options: Any) -> None:
    """Compare predicted polygons PRED with true ones TRUTH, in any two CRSs.

    Prints the mean IoU, precision, recall, F1 and average precision at IoUs of 0.50 to 0.95, and how well outlines
    agree.
    """
    from samgeo.evaluation import evaluate as compare

    result = compare(predictions, truth, **options)
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else table(result))


def table(result: Evaluation) -> str:
    """The figures as lines of text."""
    lines = [
        f"{result.predictions:,} predictions, {result.truths:,} true objects",
        "",
        f"mean IoU            {_figure(result.mean_iou)}   over all true objects, 0 for those that were missed",
        f"mean IoU, found     {_figure(result.mean_iou_found)}   over those with an IoU of 0.5 and more",
        f"average precision   {_figure(result.average_precision)}   mean over the IoUs below",
        f"boundary F          {_figure(result.boundary_f)}   of outlines within {result.tolerance_m:g} m",
        f"  precision         {_figure(result.boundary_precision)}   of the predicted outlines' length",
        f"  recall            {_figure(result.boundary_recall)}   of the true outlines' length",
        "",
        "  IoU    found  precision  recall     F1     AP",
    ]
    lines += [
        f" {score.iou:.2f} {score.found:8,}      {_figure(score.precision)}   {_figure(score.recall)}  "
        f"{_figure(score.f1)}  {_figure(score.average_precision)}"
        for score in result.thresholds
    ]
    if result.classes:
        lines += ["", f"  {'class, at IoU 0.50':<20}  objects  predictions  precision  recall     F1  mean IoU"]
    lines += [
        f"  {score.name:<20} {score.truths:8,}     {score.predictions:8,}      {_figure(score.precision)}   "
        f"{_figure(score.recall)}  {_figure(score.f1)}     {_figure(score.mean_iou)}"
        for score in result.classes
    ]
    return "\n".join(lines)


def _figure(value: float) -> str:
    return "    -" if math.isnan(value) else f"{value:.3f}"
