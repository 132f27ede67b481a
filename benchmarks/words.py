"""How well objects are found without prompts, by a word or all of them, in imagery that was held out.

    python -m benchmarks.words field fields_naip_us [--model samgeo-nano] [--windows .train/windows/validation]
    python -m benchmarks.words everything buildings_oam_uganda trees_neon

WORD, then windows whose names begin so, one row of the table each: precision, recall and F1 at an IoU of 0.5, average
precision over the IoUs 0.50 to 0.95 and at 0.50, and boundary F within two pixels; all by `samgeo.evaluate`, with
features in falling order of `score`. The word `everything` stands for no word: the everything-mode, whose features are
compared with all objects that are labelled, of any class.

Each window goes through `segment` as a raster of its own. Then the windows are laid beside each other on one map, so
that one comparison judges all of them together: average precision needs the scores of all features in one order.

An object counts for a word if its label means the same class, or if it has no label. Where not every object is
labelled, recall says what is found and the other shares say too little; of everything-mode they always do, as what is
found may be there and of a class that is not labelled. Windows are made by `python -m samgeo.train.prepare`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import geopandas
from affine import Affine
from pyproj import CRS
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry
from tqdm import tqdm

import samgeo
from samgeo.errors import SamgeoError, UsageError
from samgeo.evaluation import Evaluation
from samgeo.grid import Grid
from samgeo.model.class_finder import ClassFinder
from samgeo.model.contract import PromptableModel
from samgeo.model.pyramid import PyramidModel
from samgeo.model.vocabulary import class_of
from samgeo.model.weights import load_model
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.settings import Settings
from samgeo.train.labelled import LabelledImage

EVERYTHING = "everything"
"""The word that stands for no word."""
MIN_PX = 60
"""Smaller objects are left out of the truth."""
TOLERANCE_PX = 2.0
"""How far outlines may lie apart and still agree."""
GAP_PX = 100
"""Between two windows on the map: nothing of one reaches into another."""
PLACE = CRS.from_epsg(32633)
COLUMNS = ("word", "source", "windows", "features", "objects", "precision", "recall", "F1", "AP", "AP at .5")
HEADING = f"| {' | '.join((*COLUMNS, 'boundary F'))} |\n{'|---' * (len(COLUMNS) + 1)}|"


def read_windows(folder: Path, source: str) -> list[LabelledImage]:
    """The windows whose names begin with `source`."""
    files = sorted(folder.glob(f"{source}*.npz"))
    if not files:
        raise UsageError(f"{folder}: no windows of {source}. Fix: python -m samgeo.train.prepare --data FOLDER")
    return [LabelledImage.load(path) for path in files]


def compare(windows: Iterable[LabelledImage], word: str, model: PromptableModel) -> Evaluation:
    """What the model finds by a word, or without one, in all windows, beside what is labelled there.

    Raises UsageError where nothing of that is labelled.
    """
    found: list[tuple[BaseGeometry, float]] = []
    truth: list[BaseGeometry] = []
    left_px = 0
    for labelled in windows:
        grid = _grid(labelled)
        onto = Affine.translation(left_px, 0) * ~grid.transform  # map coordinates of the window to pixels of all
        found += [(_move(shape, onto), score) for shape, score in find(labelled, grid, word, model)]
        truth += [_move(mask_to_polygon(mask, grid), onto) for mask in labelled.objects if _counts(mask, word)]
        left_px += grid.width + GAP_PX
    if not truth:
        raise UsageError(f"{word}: nothing of {MIN_PX} px that means this is labelled there; expected objects to find")
    return samgeo.evaluate(
        geopandas.GeoDataFrame({"score": [score for _, score in found]}, geometry=[shape for shape, _ in found]),
        geopandas.GeoDataFrame(geometry=truth),
        tolerance_m=TOLERANCE_PX,  # without a CRS, lengths are those of the coordinates: pixels
    )


def find(labelled: LabelledImage, grid: Grid, word: str, model: PromptableModel) -> list[tuple[BaseGeometry, float]]:
    """Outline in the grid's map coordinates and score of every feature of one window."""
    prompts = None if word == EVERYTHING else samgeo.Prompts(text=word, text_model=finder_of(model))
    settings = Settings(use_cache=False)
    with samgeo.segment(labelled.image, prompts, model=model, grid=grid, settings=settings) as result:
        return [(feature.geometry, feature.attributes["score"]) for feature in result]


def finder_of(model: PromptableModel) -> ClassFinder | None:
    """What finds the words: the model where it tells classes; None, which is the built-in one, where it does not."""
    return ClassFinder(model) if isinstance(model, PyramidModel) and model.classes else None


def _grid(labelled: LabelledImage) -> Grid:
    """Where on Earth a window could lie, at its own ground resolution; 1 m where that is not known."""
    size, (height, width) = labelled.gsd_m or 1.0, labelled.image.shape[:2]
    return Grid(height=height, width=width, transform=Affine(size, 0, 5e5, 0, -size, 5e6), crs=PLACE)


def _move(shape: BaseGeometry, onto: Affine) -> BaseGeometry:
    return affine_transform(shape, onto.to_shapely())


def _counts(mask: Mask, word: str) -> bool:
    return mask.area_px >= MIN_PX and is_meant(mask.label, word)


def is_meant(label: str | None, word: str) -> bool:
    """Is an object of this label looked for? One without a label may be."""
    if word == EVERYTHING or label in (word, None):
        return True
    return class_of(label) is not None and class_of(label) == class_of(word)


def row(word: str, source: str, windows: Sequence[LabelledImage], result: Evaluation) -> str:
    """Markdown; the name of a source where not every object is labelled ends with a star."""
    (half,) = (score for score in result.thresholds if score.iou == 0.5)
    name = source if all(window.complete for window in windows) else f"{source}*"
    shares = (half.precision, half.recall, half.f1, result.average_precision, half.average_precision, result.boundary_f)
    counts = (len(windows), result.predictions, result.truths)
    return f"| {' | '.join((word, name, *map(str, counts), *(f'{share:.2f}' for share in shares)))} |"


def notes(word: str, *, complete: bool) -> list[str]:
    """What to bear in mind about the table, after an empty line."""
    said = (
        [] if complete else ["\\* Not every object is labelled there: recall says what is found, the rest too little."]
    )
    if word == EVERYTHING:
        said.append(
            "What is found may be there and of a class that is not labelled: recall counts, the rest is a floor."
        )
    return ["", *said] if said else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row for each source; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.words", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("word", help=f"what to look for; {EVERYTHING}: no word")
    parser.add_argument("sources", nargs="+", help="windows whose name begins so")
    parser.add_argument("--model", default="samgeo-nano")
    parser.add_argument("--precision", default="auto", choices=("auto", "exact"))
    parser.add_argument("--windows", type=Path, default=Path(".train/windows/validation"))
    args = parser.parse_args(arguments)
    try:
        windows = {source: read_windows(args.windows, source) for source in args.sources}
        model = load_model(args.model, precision=args.precision)
        rows = [
            row(args.word, source, some, compare(tqdm(some, desc=source, file=sys.stderr), args.word, model))
            for source, some in windows.items()
        ]
    except SamgeoError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    complete = all(window.complete for some in windows.values() for window in some)
    print(HEADING, *rows, *notes(args.word, complete=complete), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
