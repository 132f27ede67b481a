"""Which bands of a file are the picture, what their values mean, and which of its pixels are valid."""

from __future__ import annotations

import os
import shlex
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from samgeo.errors import RasterError, UsageError

_PRIMARIES = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_INKS = {ColorInterp.cyan, ColorInterp.Y, ColorInterp.Cb, ColorInterp.hue, ColorInterp.lightness}
_COLOUR_NAMES = (("red", "b04", "b4"), ("green", "b03", "b3"), ("blue", "b02", "b2"))
_LIGHTNESS = {8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv"}
"""Values of the TIFF tag PhotometricInterpretation whose first band is lightness and whose others are no colours."""


@dataclass(frozen=True, kw_only=True)
class BandPlan:
    """Which bands of a file become colours, and how."""

    indexes: tuple[int, ...]
    """One or three band numbers, counted from 1."""
    alpha: int | None = None
    """Band whose zeros are not valid, where GDAL's own masks leave it out."""
    palette: NDArray[np.uint8] | None = field(default=None, repr=False)
    """(n, 4) red, green, blue, alpha for each value of the one band that holds indices."""

    def __str__(self) -> str:
        if len(self.indexes) == 3:
            return "bands {}, {}, {}".format(*self.indexes)
        return f"band {self.indexes[0]} {'as grey' if self.palette is None else 'through its palette'}"


def plan_bands(dataset: DatasetReader, bands: tuple[int, ...] | None, name: str) -> BandPlan:
    """Which bands are the colours: those asked for, else what the file itself says they are."""
    meaning = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    alphas = [index for index, colour in meaning.items() if colour == ColorInterp.alpha]
    indexes = _asked_bands(dataset, bands, name) if bands else _own_bands(dataset, meaning, name)
    _check_types(dataset, indexes, name)
    palette = _read_palette(dataset, indexes[0], name) if meaning[indexes[0]] == ColorInterp.palette else None
    alpha = next((index for index in alphas if index not in indexes), None)
    return BandPlan(indexes=indexes, alpha=alpha, palette=palette)


def read_valid(
    dataset: DatasetReader, plan: BandPlan, part: RasterioWindow, shape: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """(h, w) bool from nodata, mask bands and alpha; alpha counts as valid above 0.

    shape: (h, w) where it is not that of `part`: the nearest pixels then, from overviews where there are any.
    """
    valid = np.ones(shape or (int(part.height), int(part.width)), dtype=bool)
    one: dict[str, Any] = {"window": part} if shape is None else {"window": part, "out_shape": shape}
    each = one if shape is None else {"window": part, "out_shape": (len(plan.indexes), *shape)}
    flags = [dataset.mask_flag_enums[index - 1] for index in plan.indexes]
    if any(MaskFlags.per_dataset in flag or MaskFlags.alpha in flag for flag in flags):
        valid &= dataset.read_masks(plan.indexes[0], **one) > 0
    elif any(MaskFlags.nodata in flag for flag in flags) or not all(MaskFlags.all_valid in flag for flag in flags):
        masks = dataset.read_masks(list(plan.indexes), **each) > 0
        valid &= valid_pixels(masks, np.dtype(dataset.dtypes[plan.indexes[0] - 1]))
    if plan.alpha is not None:
        valid &= dataset.read(plan.alpha, **one) > 0
    return valid


def valid_pixels(masks: NDArray[np.bool_], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """(h, w) from the masks (B, h, w) of bands.

    In unsigned numbers nodata is often a natural value too (0 is black, 255 is white): one valid band suffices. In all
    others it is a number that no pixel has, and averages and stretches must never see it.
    """
    return np.asarray(masks.any(axis=0) if dtype.kind == "u" else masks.all(axis=0))


def finite(bands: NDArray[Any]) -> NDArray[np.bool_]:
    """(h, w) True where every band (B, h, w) holds a number."""
    if bands.dtype.kind != "f":
        return np.ones(bands.shape[1:], dtype=bool)
    return np.asarray(np.isfinite(bands).all(axis=0))


def used_bits(dataset: DatasetReader, plan: BandPlan) -> int:
    """Bits that a value uses, where a TIFF says that it packs them tighter than its type."""
    if plan.palette is not None:
        return 8
    packed = dataset.tags(plan.indexes[0], ns="IMAGE_STRUCTURE").get("NBITS")
    return int(packed) if packed else np.dtype(dataset.dtypes[plan.indexes[0] - 1]).itemsize * 8


def _asked_bands(dataset: DatasetReader, bands: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(bands) not in (1, 3):
        raise UsageError(f"--bands {','.join(map(str, bands))}: expected one band or three")
    wrong = [index for index in bands if index not in dataset.indexes]
    if wrong:
        raise UsageError(f"{name}: has no band {wrong[0]}; expected --bands between 1 and {dataset.count}")
    return bands


def _own_bands(dataset: DatasetReader, meaning: dict[int, ColorInterp], name: str) -> tuple[int, ...]:
    data = [index for index in dataset.indexes if meaning[index] != ColorInterp.alpha]
    places = {colour: index for index, colour in meaning.items()}
    if len(data) <= 4 and all(colour in places for colour in _PRIMARIES):
        return tuple(places[colour] for colour in _PRIMARIES)
    lightness = _lightness(dataset)
    if lightness:
        raise RasterError(
            f"{name}: its colours are {lightness}, expected red, green and blue. "
            "Fix: --bands 1 for their lightness as a grey picture"
        )
    if len(data) in (1, 3) and not _INKS & set(places):
        return tuple(data)
    raise RasterError(f"{name}: {_what_is_unclear(dataset, meaning)}")


def _what_is_unclear(dataset: DatasetReader, meaning: dict[int, ColorInterp]) -> str:
    """Why these bands are not taken for red, green and blue, and what to do."""
    names = [dataset.descriptions[index - 1] or meaning[index].name for index in dataset.indexes]
    texts = [f"{index} {text}" for index, text in zip(dataset.indexes, names, strict=True)]
    listed = f"has {dataset.count} bands ({', '.join(texts[:20])}{', ...' if dataset.count > 20 else ''})"
    if ColorInterp.cyan in meaning.values() and dataset.count == 4:
        return f"{listed}, expected red, green and blue. Fix: {_ink_command(dataset)}"
    fix = "--bands 1 for a grey picture"
    if dataset.count > 2:
        fix = f"--bands {_likely_bands(names)} (numbers from 1), or one number for a grey picture"
    return f"{listed} and does not say which are red, green and blue. Fix: {fix}"


def _ink_command(dataset: DatasetReader) -> str:
    """Makes red, green and blue of cyan, magenta, yellow and black as GDAL does it for 8 bits."""
    dtype = dataset.dtypes[0]
    full = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    inks = [f"(* (- {full} (read 1 {ink})) (/ (- {full} (read 1 4)) {full}.0))" for ink in (1, 2, 3)]
    return f"rio calc -t {dtype} '(asarray {' '.join(inks)})' {shlex.quote(dataset.name)} rgb.tif"


def _likely_bands(names: list[str]) -> str:
    """What to propose, and only that: the bands named red, green and blue, or as Sentinel-2 names these."""
    plain = [name.lower() for name in names]
    found = [[plain.index(word) + 1 for word in words if word in plain] for words in _COLOUR_NAMES]
    return ",".join(str(indexes[0]) for indexes in found) if all(found) else "R,G,B"


def _check_types(dataset: DatasetReader, indexes: tuple[int, ...], name: str) -> None:
    types = {dataset.dtypes[index - 1] for index in indexes}
    if len(types) > 1:
        raise RasterError(
            f"{name}: bands {indexes} have the types {sorted(types)}: expected one type for all. "
            f"Fix: gdal_translate -ot Float32 {shlex.quote(name)} even.tif"
        )
    if types & {"complex_int16", "complex64", "complex128"}:
        amplitude = f"(asarray (absolute (read 1 {indexes[0]})))"
        raise RasterError(
            f"{name}: bands {indexes} are complex, expected real numbers. Fix: make amplitudes, for example with "
            f"rio calc -t float32 '{amplitude}' {shlex.quote(name)} amplitude.tif"
        )
    palettes = [index for index in indexes if dataset.colorinterp[index - 1] == ColorInterp.palette]
    if palettes and len(indexes) > 1:
        raise RasterError(
            f"{name}: band {palettes[0]} holds places in a colour table, which are no brightness. "
            f"Fix: --bands {palettes[0]} for its colours"
        )


def _read_palette(dataset: DatasetReader, index: int, name: str) -> NDArray[np.uint8] | None:
    dtype = dataset.dtypes[index - 1]
    try:
        colours = dataset.colormap(index)
    except ValueError:  # a palette that nobody wrote: the values are all there is
        return None
    if dtype not in ("uint8", "uint16"):
        raise RasterError(
            f"{name}: band {index} holds places in a colour table as {dtype}, expected uint8 or uint16. "
            f"Fix: gdal_translate -expand rgb {shlex.quote(name)} rgb.tif"
        )
    palette = np.zeros((np.iinfo(dtype).max + 1, 4), dtype=np.uint8)
    palette[:, 3] = 255
    for value, colour in colours.items():
        palette[value] = colour
    return palette


def _lightness(dataset: DatasetReader) -> str | None:
    """Name of the colour space of a local TIFF whose bands GDAL hands out as they are, without saying what they are."""
    if dataset.driver != "GTiff" or dataset.colorinterp[0] != ColorInterp.undefined or not os.path.isfile(dataset.name):
        return None
    with open(dataset.name, "rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
        entry = struct.Struct(order + ("H10xH6x" if big else "H6xH2x"))  # tag, its type and count, its value
        file.seek(struct.unpack_from(f"{order}Q", head, 8)[0] if big else struct.unpack_from(f"{order}I", head, 4)[0])
        (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
        tags = file.read(min(count, 2**16) * entry.size)
    values = dict(entry.iter_unpack(tags[: len(tags) // entry.size * entry.size]))
    return _LIGHTNESS.get(values.get(262, -1))
