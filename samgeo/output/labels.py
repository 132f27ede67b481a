"""LabelWriter: a raster of object ids, written block by block into a Cloud Optimized GeoTIFF that is verified.

Ids are int32, 0 is no object: floats would merge neighbours with ids above 2**20 when they are made polygons again, and
GDAL polygonizes no wider integers. rasterio does not see write errors at closing, and on a full disk leaves files that
open well and read as zeros, so every block is read back and compared before the file gets its name.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from samgeo.commit import Ready, staged
from samgeo.errors import OutputError, SamgeoError, UsageError
from samgeo.grid import Grid
from samgeo.output.columns import LABEL_RASTERS
from samgeo.output.overviews import begins_as_cog, wrong_overview_blocks
from samgeo.pixels import Window

BLOCK_PX = 512
"""Side of the blocks of the file; windows are written in whole blocks."""

_PROFILE = {
    "driver": "GTiff",
    "dtype": "int32",
    "count": 1,
    "nodata": 0,
    "tiled": True,
    "blockxsize": BLOCK_PX,
    "blockysize": BLOCK_PX,
    "compress": "deflate",
    "zlevel": 1,
    "predictor": 2,
    "sparse_ok": True,
    "bigtiff": "yes",
}
_COG = {
    "driver": "COG",
    "COMPRESS": "DEFLATE",
    "PREDICTOR": "STANDARD",
    "BLOCKSIZE": str(BLOCK_PX),
    "OVERVIEW_RESAMPLING": "NEAREST",
    "BIGTIFF": "IF_SAFER",
}
# GDAL's own errors sometimes come as they are, under a name that rasterio keeps to itself.
_LIBRARY_ERRORS = (OSError, RuntimeError, ValueError, RasterioError, CPLE_BaseError)


class LabelWriter:
    """A context manager that takes windows of ids in any order; leaving it verifies the file and gives it its name.

    An error in the block, or Ctrl-C, leaves nothing behind, and an older file as it was.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        grid: Grid,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        ready: Ready | None = None,
    ) -> None:
        """Describe the file; nothing is made before the block is entered.

        grid: the raster that the ids are for; any affine transform, with or without a CRS.
        metadata: a flat dict of what JSON can hold; it becomes tags of the GeoTIFF.
        overwrite: permits replacing a file.
        ready: called with the complete file before it gets its name.

        Raises `UsageError` for another ending than .tif or .tiff.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in LABEL_RASTERS:
            raise UsageError(f"{self.path}: expected the ending {' or '.join(LABEL_RASTERS)}")
        self.grid = grid
        self._tags = {
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
            for name, value in (metadata or {}).items()
        }
        self._overwrite = overwrite
        self._ready = ready
        shape = -(-grid.height // BLOCK_PX), -(-grid.width // BLOCK_PX)
        self._is_written = np.zeros(shape, bool)
        self._checksums = np.zeros(shape, np.uint32)

    def __enter__(self) -> Self:
        """Open a scratch file beside the final name. Raises `OutputExistsError` and `OutputError`."""
        with ExitStack() as stack:
            self._final = stack.enter_context(staged(self.path, overwrite=self._overwrite, ready=self._ready))
            self._scratch = self._final.with_name("scratch.tif")
            try:
                self._dataset = self._create()
            except _LIBRARY_ERRORS as error:
                raise self._failure(error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._close_quietly()
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            try:
                self._finish()
            except BaseException as failure:
                self._close_quietly()
                if isinstance(failure, _LIBRARY_ERRORS):
                    raise self._failure(failure) from failure
                raise

    def write(self, window: Window, labels: NDArray[np.int32]) -> None:
        """Write the ids of a window; what is never written stays 0.

        window: starts at multiples of BLOCK_PX and ends there or at the edge of the grid; each block once.
        labels: (window.height, window.width) int32, at least 0.

        Raises `UsageError` for another window or array, `OutputError` if the disk refuses.
        """
        self._check(window, labels)
        rows, cols = _block_slices(window)
        self._is_written[rows, cols] = True
        for block in self._blocks(rows, cols):
            inside = block.shift(-window.row, -window.col).slices()
            self._checksums[block.row // BLOCK_PX, block.col // BLOCK_PX] = _checksum(labels[inside])
        try:
            self._dataset.write(labels, 1, window=_theirs(window))
        except _LIBRARY_ERRORS as error:
            raise self._failure(error) from error

    def _check(self, window: Window, labels: NDArray[np.int32]) -> None:
        if labels.dtype != np.int32 or labels.shape != window.shape:
            raise UsageError(f"labels {labels.shape} {labels.dtype}: expected {window.shape} int32")
        ends = ((window.row_end, self.grid.height), (window.col_end, self.grid.width))
        aligned = window.row % BLOCK_PX == window.col % BLOCK_PX == 0
        if not aligned or any(end % BLOCK_PX and end != edge for end, edge in ends) or window.is_empty:
            raise UsageError(f"{window}: expected whole blocks of {BLOCK_PX} px")
        if not self.grid.window.contains(window):
            raise UsageError(f"{window}: expected a window inside {self.grid}")
        if self._is_written[_block_slices(window)].any():
            raise UsageError(f"{window}: was written before; expected each block once")
        if labels.size and labels.min() < 0:
            raise UsageError(f"{window}: has the id {labels.min()}; expected at least 0")

    def _blocks(self, rows: slice, cols: slice) -> Iterator[Window]:
        """The windows of blocks, cut at the edges of the grid."""
        for row in range(rows.start, rows.stop):
            for col in range(cols.start, cols.stop):
                block = Window(row=row * BLOCK_PX, col=col * BLOCK_PX, height=BLOCK_PX, width=BLOCK_PX)
                yield block.intersection(self.grid.window)

    def _create(self) -> Any:
        with _quiet():
            dataset = rasterio.open(
                self._scratch,
                "w",
                width=self.grid.width,
                height=self.grid.height,
                crs=self.grid.crs_wkt,
                transform=self.grid.transform,
                **_PROFILE,
            )
            dataset.update_tags(**self._tags)
        return dataset

    def _finish(self) -> None:
        with _quiet():
            self._dataset.close()
            rasterio.shutil.copy(self._scratch, self._final, **_COG)
            with rasterio.open(self._final, driver="GTiff") as found:
                if problems := self._problems(found):
                    raise OutputError(f"{self.path}: not written as given: {'; '.join(problems)}. Is the disk full?")
        for path in self._scratch.parent.glob(self._scratch.name + "*"):
            path.unlink()

    def _problems(self, found: Any) -> list[str]:
        """What the file has otherwise than it was given."""
        tags = found.tags()
        facts = {
            "size": ((found.height, found.width), self.grid.shape),
            "type": (found.dtypes, ("int32",)),
            "transform": (tuple(found.transform)[:6], tuple(self.grid.transform)[:6]),
            "CRS": (found.crs is None, self.grid.crs is None),
            "tags": ({name: tags.get(name) for name in self._tags}, self._tags),
            "layout": (found.tags(ns="IMAGE_STRUCTURE").get("LAYOUT"), "COG"),
            "first directory in front": (begins_as_cog(self._final), True),
        }
        problems = [f"{what}: {is_} instead of {wanted}" for what, (is_, wanted) in facts.items() if is_ != wanted]
        if problems:
            return problems
        rows, cols = self._is_written.shape
        wrong = 0
        for block in self._blocks(slice(0, rows), slice(0, cols)):
            index = block.row // BLOCK_PX, block.col // BLOCK_PX
            labels = found.read(1, window=_theirs(block))
            wrong += _checksum(labels) != self._checksums[index] if self._is_written[index] else bool(labels.any())
        problems = [f"{wrong} of {rows * cols} blocks"] if wrong else []
        if coarse := wrong_overview_blocks(self._final):
            problems.append(f"{coarse} blocks of overviews")
        return problems

    def _close_quietly(self) -> None:
        with suppress(*_LIBRARY_ERRORS), _quiet():
            self._dataset.close()

    def _failure(self, error: BaseException) -> BaseException:
        if isinstance(error, SamgeoError):
            return error
        return OutputError(
            f"{self.path}: cannot be written: {str(error)[:300]}. Is there room on the disk for all of it?"
        )


def _theirs(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)


def _block_slices(window: Window) -> tuple[slice, slice]:
    return (
        slice(window.row // BLOCK_PX, -(-window.row_end // BLOCK_PX)),
        slice(window.col // BLOCK_PX, -(-window.col_end // BLOCK_PX)),
    )


def _checksum(labels: NDArray[np.int32]) -> int:
    return zlib.crc32(np.ascontiguousarray(labels).data)


@contextmanager
def _quiet() -> Iterator[None]:
    """A grid without a CRS or transform was the subject of a message when the raster was opened; none comes here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
