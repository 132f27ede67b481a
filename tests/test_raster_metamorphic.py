"""What the model sees depends on the pixels and on nothing else: not on tiles, container, compression or a frame."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from samgeo.pixels import Window
from samgeo.raster.reader import Raster
from tests.doubles import NORTH_UP
from tests.rasters import write

# In a dozen random pixels a third may be a number far from the others, which is told.
pytestmark = pytest.mark.filterwarnings("ignore:.*far from all others:samgeo.errors.SamgeoWarning")

FILL = {"uint8": 0, "uint16": 65535, "int16": -32768, "float32": -9999.0}
HIDINGS = ("nothing", "nodata", "mask", "alpha", "nan")

Seen = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Pixels, and how a file says which of them are not there."""

    bands: np.ndarray
    """(B, H, W) of one or three bands."""
    hidden: np.ndarray
    """(H, W)."""
    hiding: str
    """One of `HIDINGS`."""

    def framed(self, top: int, bottom: int, left: int, right: int) -> Scene:
        """The same with a frame around it that is not there."""
        frame = ((top, bottom), (left, right))
        bands = np.stack([np.pad(band, frame, constant_values=FILL[str(band.dtype)]) for band in self.bands])
        return Scene(bands=bands, hidden=np.pad(self.hidden, frame, constant_values=True), hiding=self.hiding)

    def write(self, path: Path, **profile: object) -> Path:
        """A GeoTIFF of it."""
        bands, extra = self.bands.copy(), {}
        if self.hiding == "nodata":
            bands[:, self.hidden] = FILL[str(bands.dtype)]
            extra["nodata"] = FILL[str(bands.dtype)]
        if self.hiding == "nan":
            bands[0, self.hidden] = np.nan
        if self.hiding == "mask":
            extra["mask"] = ~self.hidden
        if self.hiding == "alpha":
            opaque = np.where(self.hidden, 0, 255).astype(bands.dtype)
            bands = np.concatenate([bands, opaque[None]])
            named = (ColorInterp.red, ColorInterp.green, ColorInterp.blue) if len(bands) == 4 else (ColorInterp.gray,)
            extra["colours"] = (*named, ColorInterp.alpha)
        return write(path, bands, **extra, **profile)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    dtype = draw(st.sampled_from(list(FILL)))
    hiding = draw(st.sampled_from(HIDINGS if dtype == "float32" else HIDINGS[:-1]))
    shape = (draw(st.sampled_from([1, 3])), draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    bands = random.integers(1, 250, shape).astype(dtype)
    hidden = random.random(shape[1:]) < draw(st.sampled_from([0, 0.2, 0.9, 1]))
    return Scene(bands=bands, hidden=hidden & (hiding != "nothing"), hiding=hiding)


sixteens = st.sampled_from([16, 32, 48])


@st.composite
def containers(draw: st.DrawFn) -> dict[str, object]:
    """Everything about a GeoTIFF that is not its pixels."""
    profile: dict[str, object] = {
        "interleave": draw(st.sampled_from(["pixel", "band"])),
        "compress": draw(st.sampled_from([None, "lzw", "deflate", "zstd", "packbits", "lzma"])),
        "BIGTIFF": draw(st.sampled_from(["NO", "YES"])),
        "ENDIANNESS": draw(st.sampled_from(["LITTLE", "BIG"])),
        "SPARSE_OK": draw(st.booleans()),
    }
    if draw(st.booleans()):
        profile |= {"tiled": True, "blockxsize": draw(sixteens), "blockysize": draw(sixteens)}
    else:
        profile["blockysize"] = draw(st.integers(1, 45))
    if profile["compress"] in ("lzw", "deflate", "zstd"):
        profile["predictor"] = draw(st.sampled_from([1, 2]))
    return {key: value for key, value in profile.items() if value is not None}


def see(path: Path, **options: object) -> Seen:
    with Raster(path, **options) as raster:
        return raster.read_rgb(raster.grid.window)


def same(one: Seen, other: Seen) -> bool:
    """Bit for bit."""
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


@given(scenes(), containers(), st.sampled_from([None, None, 0.4, 1.3]))
def test_the_container_changes_nothing_that_the_model_sees(
    scene: Scene, container: dict, resolution: float | None
) -> None:
    """Interleave, strips or tiles of any size, compression, predictor, BigTIFF, byte order, sparse blocks."""
    with tempfile.TemporaryDirectory() as folder:
        plain = see(scene.write(Path(folder) / "plain.tif"), resolution_m=resolution)
        assert same(plain, see(scene.write(Path(folder) / "other.tif", **container), resolution_m=resolution))
    assert resolution or np.array_equal(plain[1], ~scene.hidden)


@given(scenes(), containers(), st.integers(4, 25), st.integers(4, 25))
def test_any_tiling_adds_up_to_what_the_whole_shows(scene: Scene, container: dict, rows: int, cols: int) -> None:
    """One stretch a raster: also for a reader that never saw more than one tile before."""
    height, width = scene.hidden.shape
    tiles = [
        Window(row=row, col=col, height=rows, width=cols)
        for row in range(0, height, rows)
        for col in range(0, width, cols)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = scene.write(Path(folder) / "scene.tif", **container)
        rgb, valid = see(path)
        joined, joined_valid = np.zeros_like(rgb), np.zeros_like(valid)
        with Raster(path) as raster:
            for tile in reversed(tiles):
                inside = tile.intersection(raster.grid.window)
                part, part_valid = raster.read_rgb(tile)
                joined[inside.slices()] = part[: inside.height, : inside.width]
                joined_valid[inside.slices()] = part_valid[: inside.height, : inside.width]
    assert same((rgb, valid), (joined, joined_valid))


@given(scenes(), st.tuples(*[st.integers(0, 30)] * 4), st.booleans())
def test_a_frame_of_nodata_changes_nothing_inside_it(
    scene: Scene, frame: tuple[int, int, int, int], hide: bool
) -> None:
    """Nor does what lies in the hidden pixels themselves."""
    if scene.hiding == "nothing":
        scene = Scene(bands=scene.bands, hidden=scene.hidden, hiding="mask")
    top, _, left, _ = frame
    with tempfile.TemporaryDirectory() as folder:
        plain = see(scene.write(Path(folder) / "plain.tif"))
        framed = scene.framed(*frame)
        if hide:
            framed.bands[:, framed.hidden] = FILL[str(scene.bands.dtype)]
        moved = NORTH_UP @ Affine.translation(-left, -top)
        rgb, valid = see(framed.write(Path(folder) / "framed.tif", transform=moved))
    height, width = scene.hidden.shape
    inside = slice(top, top + height), slice(left, left + width)
    assert same(plain, (rgb[inside], valid[inside]))
    assert valid.sum() == plain[1].sum()
