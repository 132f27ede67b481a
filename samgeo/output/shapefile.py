"""What GDAL does not tell about a Shapefile that reads well: its small files, and the extent in its headers."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from samgeo.output.tally import Tally

_CODE, _VERSION, _HEADER_BYTES = 9994, 1000, 100


def problems(path: Path, *, has_crs: bool, written: Tally) -> list[str]:
    """What is wrong beside the features themselves: encoding, CRS, headers."""
    wrong = []
    if not _reads(path.with_suffix(".cpg"), "UTF-8"):
        wrong.append("the .cpg does not say UTF-8")
    if has_crs and not _is_crs(path.with_suffix(".prj")):
        wrong.append("the .prj is not whole")
    for ending in (".shp", ".shx"):
        file = path.with_suffix(ending)
        if not _has_header(file, written):
            wrong.append(f"the header of the {ending} is not that of its features")
    return wrong


def _reads(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="ascii", errors="replace").strip() == text


def _is_crs(path: Path) -> bool:
    """True if the file holds a whole CRS; the beginning of one is none, as its brackets stay open."""
    try:
        CRS.from_wkt(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, CRSError):
        return False
    return True


def _has_header(path: Path, written: Tally) -> bool:
    """True if the header states the length of the file and the extent of the features.

    See the ESRI Shapefile Technical Description (1998), table 1: lengths count 16-bit words.
    """
    with path.open("rb") as handle:
        header = handle.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return False
    code, words = struct.unpack(">i20xi", header[:28])
    version, _, *extent = struct.unpack("<2i4d", header[28:68])
    if (code, 2 * words, version) != (_CODE, path.stat().st_size, _VERSION):
        return False
    return not written.features or np.array_equal(extent, written.extent)
