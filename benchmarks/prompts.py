"""Time and memory that placing many point prompts takes, and grouping them by the window that is to segment them.

    python -m benchmarks.prompts 100000 1000000

Each number of points runs in a process of its own: longitudes and latitudes, scattered over a raster of 40,000 px on a
side in UTM. What should come out: under 60 s for a million on one core, and as many bytes a prompt at every number.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from affine import Affine
from pyproj import Transformer

from benchmarks.memory import alone, peak_mib
from samgeo.grid import Grid, parse_crs
from samgeo.pipeline.prompted import group_by_window
from samgeo.prompts.prompts import Prompts
from samgeo.tiling import Tiling

SIDE_PX = 40_000
GRID = Grid(
    width=SIDE_PX, height=SIDE_PX, transform=Affine(0.5, 0, 500_000, 0, -0.5, 5_500_000), crs=parse_crs("EPSG:32633")
)
TILING = Tiling(height=SIDE_PX, width=SIDE_PX, tile_px=1024, overlap_px=128)
HEADER = f"{'prompts':>10}{'placed':>10}{'refused':>9}{'windows':>9}{'seconds':>9}{'MiB':>8}{'bytes a prompt':>16}"


def measure(count: int, as_json: bool) -> None:
    """Place and group so many points, and print a line."""
    rng = np.random.default_rng(0)
    x, y = GRID.to_map(rng.uniform(-40, SIDE_PX, count), rng.uniform(0, SIDE_PX, count))
    lonlat = np.stack(Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y), axis=1)
    Prompts(points=lonlat[-10:], crs=4326).to_pixels(GRID)  # what is loaded once
    before, start = peak_mib(), time.process_time()
    placed = Prompts(points=lonlat, crs=4326).to_pixels(GRID)
    groups = group_by_window(placed, TILING)
    seconds, mib = time.process_time() - start, peak_mib() - before
    figures = {
        "prompts": count,
        "placed": sum(map(len, groups.values())),
        "refused": len(placed.refusals),
        "windows": len(groups),
        "seconds": round(seconds, 1),
        "mib": round(mib),
        "bytes_a_prompt": round(mib * 2**20 / count),
    }
    widths = (10, 10, 9, 9, 9, 8, 16)
    line = "".join(f"{value:{width},}" for value, width in zip(figures.values(), widths, strict=True))
    print(json.dumps(figures) if as_json else line, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[100_000, 1_000_000], help="numbers of points")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    if not options.json:
        print(HEADER)
    for count in options.counts:
        alone(measure, count, options.json)


if __name__ == "__main__":
    main()
