"""Raster: imagery of any size, read window by window on the working grid, with one look throughout.

    with Raster("ortho.tif", resolution_m=0.3) as raster:
        rgb, valid = raster.read_rgb(Window(row=0, col=0, height=1024, width=1024))

A window may reach beyond the raster: the missing part is zeros and not valid. What a pixel holds depends on nothing
but the raster, the working grid and the pixel's place in it, never on the window that it was read with.
"""

from __future__ import annotations

import itertools
import os
import shlex
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
import rasterio
from numpy.typing import NDArray

from samgeo.errors import RasterError, ResourceLimitError, SamgeoWarning, UsageError
from samgeo.grid import Grid, horizontal_crs, parse_crs
from samgeo.pixels import Window
from samgeo.raster.arrays import ArrayPixels
from samgeo.raster.dataset import DatasetPixels
from samgeo.raster.reduced import Span
from samgeo.raster.resample import Axis, read_resampled
from samgeo.stretch import SAMPLE_PX, Stretch, sample_windows, undeclared_fill

Resampling = Literal["auto", "nearest"]

BLOCK_PX = 512
"""Side of the blocks that `Raster.valid_at` reads."""
SCAN_PX = 2048
"""Side of the blocks that a raster is looked through by."""
LOOK_PX = 2**26
"""Native pixels that a look may decode, some tenths of a second."""
WHOLE_LOOK = (512, 512)
"""Pixels in which the whole of a raster is shown at least."""
MIN_SAMPLE_PX = 10_000
"""Valid pixels that a stretch should rest on; with fewer in the sample, the whole raster is looked through."""


class NativePixels(Protocol):
    """What a raster is made of, whatever it comes from."""

    name: str
    grid: Grid
    unplaced: str | None
    dtype: np.dtype[Any]
    bits: int
    count: int
    facts: dict[str, Any]
    mark: str | None
    """Changes when the file does; None for what is in memory."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, h, w) and valid (h, w) of a window inside the native grid."""
        ...

    def read_reduced(self, span: Span, shape: tuple[int, int], *, mean: bool) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, h, w) and valid (h, w) of a span inside the native grid in `shape` pixels, through overviews."""
        ...

    def decoded_px(self, span: Span, shape: tuple[int, int]) -> float:
        """How many pixels `read_reduced` decodes."""
        ...

    def current_mark(self) -> str | None:
        """What `mark` was when it was opened, as it is now."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


@dataclass(frozen=True, kw_only=True)
class RasterSource:
    """Where a raster is and how it is looked at: small, picklable, opened by whoever reads."""

    path: str
    """Absolute path or URL."""
    bands: tuple[int, ...] | None = None
    """One or three band numbers, counted from 1; None for what the file says is red, green and blue."""
    resolution_m: float | None = None
    """Ground metres of a working pixel; None for the pixels as stored."""
    crs: str | None = None
    """CRS as WKT2 that takes the place of the file's own."""
    resampling: Resampling = "auto"
    """"auto" averages and interpolates, "nearest" does neither."""
    stretch: Stretch | None = None
    """The one look of the raster; None to fit it on first use."""
    fingerprint: str | None = None
    """What `Raster.fingerprint` was; opening a file that has changed since is an error."""

    def open(self) -> Raster:
        """The raster, with handles of its own. Raises `RasterError` if the file has changed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamgeoWarning)  # whoever made this has been told
            raster = Raster(
                self.path,
                bands=self.bands,
                resolution_m=self.resolution_m,
                crs=self.crs,
                resampling=self.resampling,
                stretch=self.stretch,
            )
        if self.fingerprint not in (None, raster.fingerprint):
            raster.close()
            raise RasterError(f"{raster.name}: has changed since work on it began. Fix: run again with --no-resume")
        return raster


class Raster:
    """Imagery on its working grid; a context manager; safe to read from several threads.

    source: path, URL, open rasterio dataset, array (H, W), (H, W, B) or (B, H, W) with `grid`, or a DataArray with the
    `rio` accessor of rioxarray. Masked arrays and NaN are not valid pixels. A dataset that was given stays open; one
    behind a URL is opened again.
    bands: one or three numbers counted from 1; None takes what the file calls red, green and blue, or its only band.
    resolution_m: ground metres of a working pixel. crs: takes the place of the source's own CRS.

    Raises `RasterError` (file, found, expected, fix), `UnsafeInputError` for GDAL connection strings,
    `ResourceLimitError` for headers that declare absurd sizes, `UsageError` for options that cannot be right.
    """

    def __init__(
        self,
        source: object,
        *,
        grid: Grid | None = None,
        bands: Sequence[int] | None = None,
        resolution_m: float | None = None,
        crs: object = None,
        resampling: Resampling = "auto",
        stretch: Stretch | None = None,
    ) -> None:
        if resampling not in ("auto", "nearest"):
            raise UsageError(f"resampling {resampling!r}: expected auto or nearest")
        self._given_bands = None if bands is None else tuple(bands)
        given_crs = parse_crs(crs)
        self._given_crs = given_crs and horizontal_crs(given_crs)
        self._pixels = _open_pixels(source, grid, self._given_bands)
        self._closed = False
        self.resolution_m = resolution_m
        self.resampling: Resampling = resampling
        try:
            self.native_grid = self._place(self._pixels.grid)
            self.grid = self.native_grid if resolution_m is None else self.native_grid.rescaled(resolution_m)
            self._stretch = self._checked(stretch)
        except BaseException:
            self.close()
            raise
        self._stretch_lock = threading.Lock()
        nearest = resampling == "nearest"
        self._rows = Axis(native=self.native_grid.height, working=self.grid.height, nearest=nearest)
        self._cols = Axis(native=self.native_grid.width, working=self.grid.width, nearest=nearest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Raster({self.name}: {self.grid})"

    @property
    def name(self) -> str:
        """Path or URL for messages and metadata, without passwords and signatures."""
        return self._pixels.name

    @property
    def count(self) -> int:
        """Number of bands that `read` gives: 1 or 3."""
        return self._pixels.count

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that `read` gives."""
        return self._pixels.dtype

    @property
    def unplaced(self) -> str | None:
        """Why the raster lies on no map, and what to do about it; None where it has a transform.

        Coordinates of `grid` are then those of native pixels, with y downwards. A raster with a transform and without
        a CRS is placed, in unknown units: `grid.crs` is None.
        """
        return self._pixels.unplaced

    def require_placed(self) -> None:
        """Raise `RasterError` with a ready command if the raster lies on no map. For callers with map coordinates."""
        if self.unplaced:
            raise RasterError(f"{self.name}: cannot be placed on the map, it has {self.unplaced}")

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, h, w), B = 1 or 3, in the source's dtype, and valid (h, w), of a window of the working grid.

        Pixels outside the raster are 0 and not valid. Raises `RasterError` with bands and window if the file cannot
        be read there.
        """
        if self._closed:
            raise UsageError(f"{self.name}: the raster is closed; expected reads inside its with block")
        inside = window.intersection(self.grid.window)
        if inside == window and not window.is_empty:
            return self._read_inside(window)
        bands = np.zeros((self.count, *window.shape), dtype=self.dtype)
        valid = np.zeros(window.shape, dtype=bool)
        if not inside.is_empty:
            rows, cols = inside.shift(-window.row, -window.col).slices()
            bands[:, rows, cols], valid[rows, cols] = self._read_inside(inside)
        return bands, valid

    def read_rgb(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """(h, w, 3) uint8 RGB through `stretch`, black where not valid, and valid (h, w)."""
        bands, valid = self.read(window)
        return self.stretch.apply(bands, valid), valid

    def look(self, window: Window, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """(h, w, 3) uint8 RGB and valid (h, w) of a window inside the grid in `shape` pixels: for the eye only.

        Made through overviews, which may be old or sampled in any way; never for a model. `shape` may be more than the
        working pixels of the window, where native pixels are finer.
        Raises `ResourceLimitError` where more than `LOOK_PX` pixels would be decoded, `RasterError`.
        """
        if self._closed:
            raise UsageError(f"{self.name}: the raster is closed; expected looks inside its with block")
        if window.is_empty or min(shape) < 1 or not self.grid.window.contains(window):
            raise UsageError(f"look at {window.in_words()} in {shape}: expected a window inside {self.grid}")
        span = self._span(window)
        if self._pixels.decoded_px(span, shape) > LOOK_PX:
            raise ResourceLimitError(
                f"{self.name}: has no overviews, so this view would take long. Fix: zoom in, or "
                + self._overview_command
            )
        bands, valid = self._pixels.read_reduced(span, shape, mean=self.resampling == "auto")
        return self.stretch.apply(bands, valid), valid

    def warn_if_slow_to_look_at(self) -> None:
        """Warn if the raster is large and has no overviews, so that all of it cannot be shown at once."""
        if self._pixels.decoded_px(self._span(self.grid.window), WHOLE_LOOK) > LOOK_PX:
            text = f"{self.name}: is large and has no overviews, so it is shown from nearby only. "
            warnings.warn(f"{text}Fix: {self._overview_command}", SamgeoWarning, stacklevel=3)

    @property
    def _overview_command(self) -> str:
        factors = [2**k for k in range(1, 12) if max(self.native_grid.shape) > 256 * 2 ** (k - 1)]
        return f"rio overview --build {','.join(map(str, factors))} {shlex.quote(self.name)}"

    def _span(self, window: Window) -> Span:
        """A window of the working grid in native pixels."""
        down = self.native_grid.height / self.grid.height
        across = self.native_grid.width / self.grid.width
        return window.row * down, window.col * across, window.height * down, window.width * across

    def valid_at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True for each of n pixels of the working grid that has data; block by block, each read once."""
        found = np.zeros(len(rows), dtype=bool)
        blocks = np.stack([rows, cols], axis=1) // BLOCK_PX
        order = np.lexsort(blocks.T[::-1])
        edges = 1 + np.flatnonzero((np.diff(blocks[order], axis=0) != 0).any(axis=1))
        for members in np.split(order, edges) if len(order) else []:
            row, col = (blocks[members[0]] * BLOCK_PX).tolist()
            _, valid = self.read(Window(row=row, col=col, height=BLOCK_PX, width=BLOCK_PX))
            found[members] = valid[rows[members] - row, cols[members] - col]
        return found

    @property
    def stretch(self) -> Stretch:
        """The one look of the raster: as stated, else identity for 8 bits, else fitted once to a sample of it."""
        with self._stretch_lock:
            if self._stretch is None:
                self._stretch = self._fit_stretch()
            return self._stretch

    @property
    def fingerprint(self) -> str | None:
        """Of a local file as it was opened: size, time of change, a digest of samples; of a remote one: its layout.

        None for what is in memory.
        """
        return self._pixels.mark

    def require_unchanged(self) -> None:
        """Raise `RasterError` if the file has changed since it was opened. For the end of a run."""
        if self._pixels.current_mark() != self._pixels.mark:
            raise RasterError(f"{self.name}: has changed while it was read. Fix: run again with --no-resume")

    def warn_if_blank(self) -> None:
        """Warn if no pixel is valid, which explains an empty result. Reads until it finds one that is."""
        windows = itertools.chain(sample_windows(*self.native_grid.shape), self._blocks())
        if not any(self._pixels.read(window)[1].any() for window in windows):
            fix = "rio edit-info --unset-nodata" if self._pixels.facts.get("nodata") else "check it with rio info"
            text = f"{self.name}: every pixel is nodata, so nothing can be found. Fix, if that is wrong: {fix}"
            warnings.warn(text, SamgeoWarning, stacklevel=3)

    @property
    def reopens(self) -> bool:
        """True if reads open the file for themselves: it is not in memory, and no dataset that somebody else uses."""
        return bool(getattr(self._pixels, "reopens", False))

    def source(self) -> RasterSource:
        """The address for other processes, with the stretch fitted. Raises `RasterError` for a raster in memory."""
        path = getattr(self._pixels, "path", None)
        if path is None or not self.reopens:
            raise RasterError(
                f"{self.name}: is in memory, other processes cannot open it. Fix: --workers 1, or save it"
            )
        crs = None if self._given_crs is None else self._given_crs.to_wkt()
        return RasterSource(
            path=path,
            bands=self._given_bands,
            resolution_m=self.resolution_m,
            crs=crs,
            resampling=self.resampling,
            stretch=self.stretch,
            fingerprint=self.fingerprint,
        )

    def describe(self) -> dict[str, Any]:
        """What the metadata of a result says about its raster; fit for JSON."""
        return {
            "raster": self.name,
            "fingerprint": self.fingerprint,
            **self._pixels.facts,
            "native_grid": self.native_grid.to_dict(),
            "grid": self.grid.to_dict(),
            "georeference": self.unplaced or "transform",
            "resampling": self.resampling,
            "stretch": self.stretch.to_dict(),
        }

    def close(self) -> None:
        """Close the handles that were opened here."""
        self._closed = True
        self._pixels.close()

    def _place(self, grid: Grid) -> Grid:
        """The native grid under the CRS that was stated; proves that metres can be measured in its middle."""
        if self._given_crs is not None:
            self.require_placed()
            grid = replace(grid, crs=self._given_crs)
        try:
            _ = grid.pixel_size_m
        except RasterError as error:
            raise RasterError(f"{self.name}: {error}") from error
        return grid

    def _checked(self, stretch: Stretch | None) -> Stretch | None:
        if stretch is not None and len(stretch.low) != self.count:
            raise UsageError(f"{self.name}: a stretch of {len(stretch.low)} bands for {self.count}; expected as many")
        return stretch

    def _read_inside(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        if self.grid.shape == self.native_grid.shape:
            return self._pixels.read(window)
        return read_resampled(self._pixels.read, window, rows=self._rows, cols=self._cols)

    def _fit_stretch(self) -> Stretch:
        if self.dtype == np.uint8:
            white = float(2 ** min(8, self._pixels.bits) - 1)
            return Stretch(low=(0.0,) * self.count, high=(white,) * self.count)
        windows = sample_windows(*self.native_grid.shape)
        sample = self._sample(windows)
        if len(windows) > 1 and sample.shape[1] < MIN_SAMPLE_PX:
            sample = self._sample_everywhere()
        self._warn_of_fill(sample)
        return Stretch.fit(sample, np.ones(sample.shape[1], dtype=bool))

    def _warn_of_fill(self, sample: NDArray[Any]) -> None:
        found = next(filter(None, map(undeclared_fill, sample)), None)
        if found is not None:
            value, share = found
            warnings.warn(
                f"{self.name}: {share:.0%} of the pixels are {value:.9g}, far from all others, which lose their "
                f"contrast to it. Fix, if it means nodata: rio edit-info --nodata {value:.9g} {shlex.quote(self.name)}",
                SamgeoWarning,
                stacklevel=5,
            )

    def _sample(self, windows: Iterable[Window]) -> NDArray[Any]:
        """(B, n) valid native pixels of some windows."""
        read = (self._pixels.read(window) for window in windows)
        return np.concatenate([bands[:, valid] for bands, valid in read], axis=1)

    def _sample_everywhere(self) -> NDArray[Any]:
        """(B, n) from a raster that is nearly empty: read throughout, thinned whenever it grows beyond `SAMPLE_PX`."""
        parts: list[NDArray[Any]] = []
        step, count = 1, 0
        for window in self._blocks():
            part = self._sample([window])[:, ::step]
            parts.append(part)
            count += part.shape[1]
            if count > SAMPLE_PX:
                parts = [part[:, ::2] for part in parts]
                step, count = step * 2, sum(part.shape[1] for part in parts)
        return np.concatenate(parts, axis=1)

    def _blocks(self) -> Iterator[Window]:
        """Windows of the native grid that cover it."""
        height, width = self.native_grid.shape
        for row in range(0, height, SCAN_PX):
            for col in range(0, width, SCAN_PX):
                yield Window(row=row, col=col, height=SCAN_PX, width=SCAN_PX).intersection(self.native_grid.window)


def _open_pixels(source: object, grid: Grid | None, bands: tuple[int, ...] | None) -> NativePixels:
    if isinstance(source, (str, os.PathLike, rasterio.DatasetBase)):
        if grid is not None:
            raise UsageError(f"{source}: a file has its own grid; expected grid= only with an array")
        return DatasetPixels(source, bands=bands)
    return ArrayPixels(source, grid=grid, bands=bands)
