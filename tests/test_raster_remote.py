"""Rasters behind a server that drops, stalls, refuses or lies: right pixels or an error, never blanks. Row Z15."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from samgeo.errors import RasterError
from samgeo.raster import access, dataset
from samgeo.raster.reader import Raster
from tests.flaky_server import requests, serving
from tests.rasters import everything, write

TILES = {"tiled": True, "blockxsize": 128, "blockysize": 128}
PIXELS = np.random.default_rng(15).integers(1, 255, (3, 512, 512)).astype(np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder) as address:
        yield address, folder


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience, in less time."""
    monkeypatch.setattr(dataset, "RETRY_DELAY_S", 0.0)
    monkeypatch.setitem(access.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", 0.05)
    monkeypatch.setitem(access.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", 1)


def put(server: tuple[str, Path], mode: str, name: str, **profile: object) -> str:
    """Serve the pixels under an address that GDAL has not cached."""
    address, folder = server
    write(folder / name, PIXELS, **TILES, **profile)
    return f"{address}/{mode}/{name}"


compressions = pytest.mark.parametrize("compress", ["none", "deflate"])


@compressions
@pytest.mark.parametrize("mode", ["whole", "grown", "drop-once", "short-once", "busy-once"])
def test_z15_a_fault_that_passes_does_no_harm(server: tuple[str, Path], mode: str, compress: str) -> None:
    with Raster(put(server, mode, f"{mode}-{compress}.tif", compress=compress)) as raster:
        assert np.array_equal(everything(raster)[0], PIXELS)


@compressions
@pytest.mark.parametrize("mode", ["drop", "short", "shrunk", "busy", "gone"])
def test_z15_a_fault_that_stays_is_an_error_that_names_the_file_and_never_blank_pixels(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, mode: str, compress: str
) -> None:
    """With this variable in the environment, GDAL 3.10 left to itself takes the bytes that never came for zeros."""
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")
    with (
        Raster(put(server, mode, f"{mode}-{compress}.tif", compress=compress)) as raster,
        pytest.raises(RasterError, match=rf"{mode}-{compress}\.tif, bands .* rows .*Fix: download it"),
    ):
        everything(raster)


def test_z15_nor_does_a_dataset_that_was_opened_with_threads_give_blank_pixels(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")
    with (
        rasterio.open(put(server, "drop", "given.tif")) as opened,
        Raster(opened) as raster,
        pytest.raises(RasterError, match=r"given\.tif, bands"),
    ):
        everything(raster)


def test_z15_a_server_that_falls_silent_is_an_error_soon(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "REMOTE_RETRIES", 0)
    monkeypatch.setitem(access.GDAL_OPTIONS, "GDAL_HTTP_LOW_SPEED_TIME", 1)
    with Raster(put(server, "stall", "stall.tif")) as raster, pytest.raises(RasterError, match=r"stall\.tif, bands"):
        everything(raster)


def test_z15_a_server_without_ranges_is_refused_with_what_to_do(server: tuple[str, Path]) -> None:
    with pytest.raises(RasterError, match=r"norange\.tif: cannot be opened.*Fix: download it, then use the file"):
        Raster(put(server, "norange", "norange.tif"))


def test_z16_a_remote_file_that_was_replaced_is_noticed(server: tuple[str, Path]) -> None:
    url = put(server, "whole", "moving.tif", compress="deflate")
    with Raster(url) as raster:
        everything(raster)
        raster.require_unchanged()
        source = raster.source()
        write(server[1] / "moving.tif", PIXELS[::-1] // 2, **TILES, compress="deflate")
        with pytest.raises(RasterError, match=r"moving\.tif: has changed while it was read"):
            raster.require_unchanged()
    with pytest.raises(RasterError, match=r"moving\.tif: has changed since"):
        source.open()


def test_z18_nothing_that_is_secret_is_in_an_error(server: tuple[str, Path]) -> None:
    address, _ = server
    for url in [
        f"{address.replace('//', '//user:hush@')}/whole/none.tif?X-Signature=hush",
        "http://user:hush@127.0.0.1:1/none.tif?X-Signature=hush",
        "/vsicurl/http://user:hush@127.0.0.1:1/none.tif?X-Signature=hush",
        f"{put(server, 'gone', 'secret.tif')}?X-Signature=hush",
    ]:
        with pytest.raises(RasterError) as refused, Raster(url) as raster:
            everything(raster)
        assert "hush" not in str(refused.value)
        assert ".tif" in str(refused.value)


def test_z9_an_overview_that_a_file_wants_from_elsewhere_is_never_asked_for(server: tuple[str, Path]) -> None:
    address, folder = server
    path = write(folder / "trap.tif", PIXELS)
    with rasterio.open(path, "r+") as opened:
        opened.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/whole/elsewhere.tif")
    for resolution in (None, 2.0, 0.3):
        with Raster(path, resolution_m=resolution) as raster:
            everything(raster)
            raster.look(raster.grid.window, (5, 5))
            raster.warn_if_slow_to_look_at()
    assert not any("elsewhere" in asked for asked in requests(address))
    with rasterio.open(path) as opened:
        opened.overviews(1)
    assert any("elsewhere" in asked for asked in requests(address))  # the trap is a trap
