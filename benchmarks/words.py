"""How well a word finds objects in imagery that was held out: precision, recall and F1 of a source.

    python -m benchmarks.words field fields_naip_us [--model samgeo-nano] [--windows .train/windows/validation]

Each window goes through `segment` with the word, as a raster of its own, and its features are compared with the objects
that are labelled there, at an IoU of 0.5. Windows are made by `python -m samgeo.train.prepare`. Where labels are not
complete, precision says too little.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import geopandas
from affine import Affine
from pyproj import CRS
from tqdm import tqdm

import samgeo
from samgeo.grid import Grid
from samgeo.model.contract import PromptableModel
from samgeo.model.weights import load_model
from samgeo.polygons import mask_to_polygon
from samgeo.settings import Settings
from samgeo.train.labelled import LabelledImage

MIN_PX = 60
"""Smaller objects are left out of the truth."""
PLACE = CRS.from_epsg(32633)


def compare(labelled: LabelledImage, word: str, model: PromptableModel) -> tuple[int, int, int]:
    """Features found, objects that are there, and objects that were found."""
    size, (height, width) = labelled.gsd_m or 1.0, labelled.image.shape[:2]
    grid = Grid(height=height, width=width, transform=Affine(size, 0, 5e5, 0, -size, 5e6), crs=PLACE)
    settings = Settings(use_cache=False)
    prompts = samgeo.Prompts(text=word)
    result = samgeo.segment(labelled.image, prompts, model=model, grid=grid, settings=settings)
    found = result.to_gdf()
    objects = [mask for mask in labelled.objects if mask.area_px >= MIN_PX and mask.label in (word, None)]
    truth = geopandas.GeoDataFrame(geometry=[mask_to_polygon(mask, grid) for mask in objects], crs=PLACE)
    if not len(found) or not objects:
        return len(found), len(objects), 0
    (half,) = (score for score in samgeo.evaluate(found, truth).thresholds if score.iou == 0.5)
    return len(found), len(objects), half.found


def main() -> int:
    """Print one line for the source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word")
    parser.add_argument("source", help="windows whose name begins so")
    parser.add_argument("--model", default="samgeo-nano")
    parser.add_argument("--windows", type=Path, default=Path(".train/windows/validation"))
    args = parser.parse_args()
    files = sorted(args.windows.glob(f"{args.source}*.npz"))
    if not files:
        print(f"{args.windows}: no windows of {args.source}. Fix: python -m samgeo.train.prepare --data FOLDER")
        return 2
    model = load_model(args.model)
    counts = [compare(LabelledImage.load(path), args.word, model) for path in tqdm(files, file=sys.stderr)]
    found, there, right = (sum(column) for column in zip(*counts, strict=True))
    precision, recall = (right / count if count else 0.0 for count in (found, there))
    f1 = 2 * right / (found + there) if found + there else 0.0
    print(
        f"{args.word}, {args.source}, {len(files)} windows: {found} features, {there} objects, precision"
        f" {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
