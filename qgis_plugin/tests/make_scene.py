"""Run by the engine's Python: write a raster of so many pixels a side and print where its objects lie, as JSON.

python make_scene.py scene.tif 1000
"""

import json
import sys

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from samgeo.train.scenes import make_scene

BLOCK_PX = 1000
PLACE = Affine(0.3, 0, 500_000, 0, -0.3, 5_500_000)
OBJECTS = 60
"""So many of each kind in the first block are told, the largest first."""


def main() -> None:
    """Large rasters repeat one scene."""
    path, side = sys.argv[1], int(sys.argv[2])
    scene = make_scene(1_000_003, height_px=BLOCK_PX, width_px=BLOCK_PX, gsd_m=0.3)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"transform": PLACE, "tiled": True, "photometric": "RGB"}
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, side, BLOCK_PX):
            for col in range(0, side, BLOCK_PX):
                high, wide = min(BLOCK_PX, side - row), min(BLOCK_PX, side - col)
                block = np.moveaxis(scene.image[:high, :wide], -1, 0)
                dataset.write(block, window=Window(col, row, wide, high))
    if side > 4 * BLOCK_PX:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([4, 16])
    places = []
    for mask in sorted(scene.objects, key=lambda mask: -mask.area_px):
        rows, cols = np.nonzero(mask.pixels)
        middle = np.argmin(np.abs(rows - rows.mean()) + np.abs(cols - cols.mean()))
        col, row = int(mask.window.col + cols[middle]), int(mask.window.row + rows[middle])
        if col < side and row < side:
            x, y = PLACE @ (col + 0.5, row + 0.5)
            places.append({"label": mask.label, "x": x, "y": y, "col": col, "row": row, "area_px": int(mask.area_px)})
    kinds = {place["label"] for place in places}
    told = [place for kind in sorted(kinds) for place in [p for p in places if p["label"] == kind][:OBJECTS]]
    sys.stdout.write(json.dumps({"block_m": BLOCK_PX * 0.3, "places": told}))


if __name__ == "__main__":
    main()
