"""Peak memory of `segment` by raster size, with a model double that sees connected components of colour.

    python benchmarks/memory.py 5000 20000

Each size runs in a process of its own, on a made-up GeoTIFF with a field of rectangles and a road through all of it.
Prints pixels on a side, objects, seconds and peak resident memory.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow
from scipy import ndimage

from samgeo.pipeline import tilejob
from samgeo.pipeline.segment import Progress, segment
from samgeo.pixels import Mask
from samgeo.settings import Settings

CELL_PX = 100
BLOCK_PX = 500


class Components:
    """As much of a model as everything-mode needs; the embedding is the image itself."""

    name, sha256, precision, tile_px = "components", "0" * 64, "exact", 1024

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image."""
        return image

    def restore(self, *_: object) -> None:
        """Never asked: there is no cache."""

    def decode(self, *_: object, **__: object) -> None:
        """Never asked: there are no prompts."""


def components(_model: object, image: NDArray[np.uint8], _settings: object, *, valid: NDArray[np.bool_]) -> list[Mask]:
    """One mask for each connected part that is not ground."""
    parts, _ = ndimage.label((image[..., 0] > 0) & valid)
    return [
        Mask.from_array(parts[window] == number).shift(window[0].start, window[1].start)
        for number, window in enumerate(ndimage.find_objects(parts), start=1)
    ]


def write_scene(path: Path, size: int) -> None:
    """A rectangle in each cell of 100 px, and a road of 8 px down the middle."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "compress": "deflate"}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "if_safer"}
    transform = Affine(0.3, 0, 500_000, 0, -0.3, 5_538_000)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **profile, **tiles) as dataset:
        for row in range(0, size, BLOCK_PX):
            strip = np.zeros((BLOCK_PX, size), np.uint8)
            for top in range(0, BLOCK_PX, CELL_PX):
                for left in range(0, size, CELL_PX):
                    y, x, h, w = rng.integers(5, 45, 4)
                    strip[top + y : top + y + h, left + x : left + x + w] = 200
            strip[:, size // 2 : size // 2 + 8] = 200
            dataset.write(np.stack([strip] * 3), window=RasterioWindow(0, row, size, BLOCK_PX))


def measure(folder: Path, size: int) -> None:
    """Segment the scene in a folder and print a line."""
    tilejob.generate_masks = components  # type: ignore[assignment]
    seen = {"start": peak_mib()}

    def tell(progress: Progress) -> None:
        seen[progress.phase] = peak_mib()

    start = time.perf_counter()
    result = segment(
        folder / "scene.tif",
        model=Components(),
        output=folder / "out.gpkg",
        settings=Settings(use_cache=False),
        progress=tell,
    )
    seconds = time.perf_counter() - start
    phases = ", ".join(f"{phase} {mib:.0f}" for phase, mib in seen.items())
    print(f"{size} px: {len(result)} objects, {seconds:.0f} s, peak {peak_mib():.0f} MiB ({phases})", flush=True)


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(function: Callable[..., None], *arguments: object) -> None:
    """Run in a process of its own, so that the peak is that of this function."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()


if __name__ == "__main__":
    for argument in sys.argv[1:] or ["5000", "10000"]:
        with tempfile.TemporaryDirectory() as name:
            alone(write_scene, Path(name) / "scene.tif", int(argument))
            alone(measure, Path(name), int(argument))
