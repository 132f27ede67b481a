"""A raster file that was opened and understood, or refused: its native grid, its colours, its valid pixels.

Whatever goes wrong inside the libraries comes out as a `RasterError` that names the file, the bands, the window and
what to do.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from samgeo.errors import RasterError
from samgeo.pixels import Window
from samgeo.raster.access import GDAL_OPTIONS, open_dataset, wrapped
from samgeo.raster.bands import finite, plan_bands, read_valid, used_bits
from samgeo.raster.header import check_header, layout_digest, read_facts, read_grid, sources_of
from samgeo.raster.paths import check_path, display_name, fingerprint, is_remote
from samgeo.raster.reduced import NO_NETWORK, Span, decoded_px, overview_factors, read_reduced

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Bands (B, h, w) and valid (h, w)."""

REMOTE_RETRIES = 2
"""How often a read over a network that failed is tried again; GDAL itself repeats requests that a server refuses."""
RETRY_DELAY_S = 1.0
PATIENCE_S = 30.0
"""A read that failed only after so long is not tried again: whoever is silent now will be silent then."""


class DatasetPixels:
    """Native pixels of one raster file, safe to read from several threads.

    A GDAL handle serves one thread at a time: each read takes a free handle and opens another where there is none.
    """

    def __init__(self, source: str | os.PathLike[str] | DatasetReader, *, bands: tuple[int, ...] | None = None) -> None:
        named = isinstance(source, (str, os.PathLike))
        self.path = check_path(source) if isinstance(source, (str, os.PathLike)) else str(source.name)
        self.name = display_name(self.path)
        self._remote = is_remote(self.path)
        # An open dataset keeps the threads that it was opened with: see `GDAL_NUM_THREADS` in `access`.
        self.reopens = named or (self._remote and type(source) is DatasetReader)
        self._lock = threading.Lock()
        self._free: list[DatasetReader] = [open_dataset(self.path) if self.reopens else source]
        self._opened: list[DatasetReader] = list(self._free) if self.reopens else []
        try:
            with self._handle() as dataset, wrapped(self.path):
                check_header(dataset, self.path, self.name)
                self.grid, self.unplaced = read_grid(dataset, self.name)
                self.plan = plan_bands(dataset, bands, self.name)
                self.dtype = np.dtype(
                    np.uint8 if self.plan.palette is not None else dataset.dtypes[self.plan.indexes[0] - 1]
                )
                self.bits = used_bits(dataset, self.plan)
                self.facts = {**read_facts(dataset, self.name), "picture": str(self.plan)}
                self._sources = sources_of(dataset)
                # The sources of a VRT may lie behind a network; a file on this machine has no business there.
                self._locally = {} if self._remote or dataset.driver == "VRT" else NO_NETWORK
                self.mark = layout_digest(dataset) if self._remote else self.current_mark()
        except BaseException:
            self.close()
            raise
        if self.dtype.itemsize == 8 and self.dtype.kind in "iu":
            self.dtype = np.dtype(np.float64)  # what all arithmetic happens in anyway
        self.count = 3 if self.plan.palette is not None else len(self.plan.indexes)

    def read(self, window: Window) -> Pixels:
        """Bands (B, h, w) and valid (h, w) of a window inside the raster."""
        return self._patiently(lambda: self._read(window))

    def read_reduced(self, span: Span, shape: tuple[int, int], *, mean: bool) -> Pixels:
        """Bands (B, h, w) and valid (h, w) of a span in `shape` pixels, through overviews: for looking at."""
        return self._patiently(lambda: self._read_reduced(span, shape, mean=mean))

    def decoded_px(self, span: Span, shape: tuple[int, int]) -> float:
        """How many pixels `read_reduced` decodes."""
        with self._handle() as dataset, wrapped(self.path), rasterio.Env(**self._locally):
            return decoded_px(overview_factors(dataset), span, shape)

    def current_mark(self) -> str | None:
        """What `mark` was when the file was opened, as it is now; None for what is neither a file nor remote."""
        if not self._remote:
            return fingerprint(self.path, [*self._sources, f"{self.path}.msk"])
        if not self.reopens:
            return self.mark
        self._forget()
        with self._handle() as dataset, wrapped(self.path):
            return layout_digest(dataset)

    def close(self) -> None:
        """Close every handle that was opened here; one that was given stays open."""
        with self._lock:
            for dataset in self._opened:
                dataset.close()
            self._free.clear()

    def _read(self, window: Window) -> Pixels:
        part = RasterioWindow(window.col, window.row, window.width, window.height)
        with self._handle() as dataset, wrapped(self.path, window=window, bands=self.plan.indexes):
            bands = dataset.read(list(self.plan.indexes), window=part)
            valid = read_valid(dataset, self.plan, part)
        return self._understood(bands, valid)

    def _read_reduced(self, span: Span, shape: tuple[int, int], *, mean: bool) -> Pixels:
        with self._handle() as dataset, wrapped(self.path), rasterio.Env(**self._locally):
            bands, valid = read_reduced(dataset, self.plan, span, shape, mean=mean)
        return self._understood(bands, valid)

    def _understood(self, bands: NDArray[Any], valid: NDArray[np.bool_]) -> Pixels:
        """Through the palette, in the type of all reads, and not valid where there is no number."""
        if self.plan.palette is not None:
            colours = self.plan.palette[bands[0]]
            bands, valid = np.moveaxis(colours[..., :3], -1, 0), valid & (colours[..., 3] > 0)
        return bands.astype(self.dtype, copy=False), valid & finite(bands)

    def _patiently(self, read: Callable[[], Pixels]) -> Pixels:
        """What `read` gives; over a network it may fail a few times."""
        give_up = time.monotonic() + PATIENCE_S
        for _ in range(REMOTE_RETRIES if self._remote else 0):
            try:
                return read()
            except RasterError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(RETRY_DELAY_S)
        return read()

    @contextmanager
    def _handle(self) -> Iterator[DatasetReader]:
        if not self.reopens:
            with self._lock, rasterio.Env(**GDAL_OPTIONS):
                yield self._free[0]
            return
        with self._lock:
            dataset = self._free.pop() if self._free else None
        with rasterio.Env(**GDAL_OPTIONS):
            dataset = dataset or self._another()
            whole = False
            try:
                yield dataset
                whole = True
            finally:
                with self._lock:
                    if whole or not self._remote:
                        self._free.append(dataset)
                    else:  # what it knows of the file may be wrong
                        self._opened.remove(dataset)
                        dataset.close()

    def _forget(self) -> None:
        """Close the handles that nobody uses, so that GDAL asks the server again."""
        with self._lock:
            while self._free:
                dataset = self._free.pop()
                self._opened.remove(dataset)
                dataset.close()

    def _another(self) -> DatasetReader:
        dataset = open_dataset(self.path)
        with self._lock:
            self._opened.append(dataset)
        if dataset.shape != self.grid.shape:
            raise RasterError(f"{self.name}: has changed while it was read. Fix: run again with --no-resume")
        return dataset
