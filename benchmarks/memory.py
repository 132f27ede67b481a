"""Peak memory of `segment` by raster size, with a model double that knows each object by its colour.

    python benchmarks/memory.py 10000 20000 40000            200,000 objects at each size
    python benchmarks/memory.py 10000 20000 40000 --grow     200,000 at the last size, as dense at the others

Each size runs in a process of its own, on a made-up GeoTIFF with a rectangle in each cell of a grid and a road through
all of it. What should come out: under 1 GB, and for equally many objects the same within 64 MiB at every size.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from math import isqrt
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from samgeo.pipeline import tilejob
from samgeo.pipeline.segment import Progress, segment
from samgeo.pixels import Mask, Window
from samgeo.raster.reader import Raster
from samgeo.settings import Settings

BLOCK_PX = 512
ROAD_PX = 4
"""Width of the road, which runs between two columns of cells."""
SEEN_PX = 16
"""What has fewer pixels no model sees: all rectangles, seen from far away."""
CELL_PX = 20
"""Smallest side of a cell: rectangles of 4 to 13 px that touch neither each other nor the road."""


class ByColour:
    """As much of a model as everything-mode needs that is always right; the embedding is the image itself."""

    name, sha256, precision, tile_px, everything = "by-colour", "0" * 64, "exact", 1024, tilejob.EverythingSettings()

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image."""
        return image

    def restore(self, *_: object) -> None:
        """Never asked: there is no cache."""

    def decode(self, *_: object, **__: object) -> None:
        """Never asked: there are no prompts."""


def by_colour(_model: object, image: NDArray[np.uint8], _settings: object, *, valid: NDArray[np.bool_]) -> list[Mask]:
    """One mask for each colour but black, if it has enough pixels."""
    bgr0 = np.zeros((*valid.shape, 4), np.uint8)
    bgr0[..., :3] = image[..., ::-1]
    codes = np.where(valid, bgr0.view("<u4")[..., 0], 0)
    place = np.flatnonzero(codes)  # most of a scene is black: only the rest is sorted
    place = place[np.argsort(codes.flat[place], kind="stable")]
    colours, first, area = np.unique(codes.flat[place], return_index=True, return_counts=True)
    if not len(place):
        return []
    rows, cols = np.divmod(place, valid.shape[1])
    top, left = np.minimum.reduceat(rows, first), np.minimum.reduceat(cols, first)
    height, width = np.maximum.reduceat(rows, first) - top + 1, np.maximum.reduceat(cols, first) - left + 1
    windows = [
        Window(row=row, col=col, height=h, width=w)
        for row, col, h, w in np.stack([top, left, height, width], axis=1).tolist()
    ]
    return [
        Mask(window=window, pixels=codes[window.slices()] == colour)
        for colour, window, pixels in zip(colours.tolist(), windows, area.tolist(), strict=True)
        if pixels >= SEEN_PX
    ]


def write_scene(path: Path, size: int, objects: int) -> None:
    """A scene of `size` px on a side: a square number of rectangles, at most `objects`, and a road down the middle.

    Object k has colour k, the road the last one.
    """
    side = isqrt(objects)
    if size < CELL_PX * side:
        raise SystemExit(f"{size} px: expected at least {CELL_PX * side} for {objects} objects")
    rng = np.random.default_rng(0)
    edges = np.arange(side) * size // side
    height, width = rng.integers(4, 14, (2, side, side))
    top = edges[:, None] + rng.integers(3, size // side - 1 - height - 3 + 1)
    left = edges + rng.integers(3, size // side - 1 - width - 3 + 1)
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "interleave": "pixel"}
    tiles = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "compress": "zstd", "zstd_level": 1}
    transform = Affine(0.3, 0, 500_000, 0, -0.3, 5_538_000)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, bigtiff="yes", **profile, **tiles) as dataset:
        for row in range(0, size, BLOCK_PX):
            strip = np.zeros((min(BLOCK_PX, size - row), size), np.uint32)
            for k in np.flatnonzero((top < row + len(strip)) & (top + height > row)).tolist():
                y, x, h, w = (int(edge.flat[k]) for edge in (top, left, height, width))
                strip[max(0, y - row) : y + h - row, x : x + w] = k + 1
            middle = int(edges[side // 2]) - ROAD_PX // 2
            strip[:, middle : middle + ROAD_PX] = 2**24 - 1
            bands = np.stack([strip >> 16, strip >> 8, strip]).astype(np.uint8)
            dataset.write(bands, window=RasterioWindow(0, row, size, len(strip)))


def measure(folder: Path, size: int, settings: Settings) -> None:
    """Segment the scene in a folder and print a line of the table."""
    tilejob.generate_masks = by_colour  # type: ignore[assignment]
    peaks = {"start": peak_mib()}

    def tell(progress: Progress) -> None:
        peaks[progress.phase] = peak_mib()

    start = time.perf_counter()
    with Raster(folder / "scene.tif", resampling="nearest") as raster:
        result = segment(raster, model=ByColour(), output=folder / "out.gpkg", settings=settings, progress=tell)
    seconds = time.perf_counter() - start
    told = "".join(f"{peaks[phase]:12,.0f}" for phase in PHASES)
    print(f"{size:8,}{len(result):10,}{seconds:9,.0f}{told}", flush=True)


PHASES = ("start", "tiles", "assembling", "writing")
HEADER = f"{'px':>8}{'objects':>10}{'seconds':>9}" + "".join(f"{phase + ', MiB':>12}" for phase in PHASES)
"""Of each phase the peak since the process began."""


def peak_mib() -> float:
    """Peak resident memory of this process so far; what Linux calls ru_maxrss would begin with that of the parent."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def alone(function: Callable[..., None], *arguments: object) -> None:
    """Run in a process of its own, so that the peak is that of this function."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 20_000], help="pixels on a side")
    parser.add_argument("--objects", type=int, default=200_704, help="at every size  [default: 448 x 448]")
    parser.add_argument("--grow", action="store_true", help="so many at the last size, as dense at the others")
    parser.add_argument("--exclusive", action="store_true", help="take overlaps away, too")
    parser.add_argument("--folder", help="where the scenes are made  [default: the system's choice]")
    options = parser.parse_args()
    settings = Settings(use_cache=False, exclusive=options.exclusive)
    print(HEADER)
    for size in options.sizes:
        objects = options.objects * size**2 // options.sizes[-1] ** 2 if options.grow else options.objects
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            alone(write_scene, Path(name) / "scene.tif", size, objects)
            alone(measure, Path(name), size, settings)


if __name__ == "__main__":
    main()
