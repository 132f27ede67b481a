"""Notice the other distribution that installs a package named samgeo, and say what to do.

`segment-geospatial` installs into the same folder. Whichever is installed last overwrites files of the other, and
removing one removes files of both; pip says nothing. This is looked for on every import, so it must cost next to
nothing.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OTHER = "segment-geospatial"
"""The distribution that installs the same import name."""

THEIR_FILES = frozenset(
    {"caption.py", "common.py", "detectree2.py", "fast_sam.py", "fer.py", "hq_sam.py", "samgeo.py", "samgeo2.py"}
    | {"samgeo3.py", "text_sam.py", "utmconv.py"}
)
"""Modules that are in its package and not in ours."""

FIX = (
    "Fix: keep them in separate environments; or here `pip uninstall -y segment-geospatial samgeo`, delete the folder "
    "{folder} if it is still there, and `pip install samgeo`"
)


def find_clash(folder: Path) -> str | None:
    """What is wrong with the installed package in `folder`, and the fix; None where nothing is.

    folder: the folder of this package, in which modules of the other distribution may lie.
    """
    fix = FIX.format(folder=folder)
    try:
        other = version(OTHER)
    except PackageNotFoundError:
        other = None
    if other is not None:
        return (
            f"the distribution {OTHER} {other} is installed beside samgeo; both install the package {folder}, so files "
            f"of one have overwritten the other's. {fix}"
        )
    foreign = sorted(THEIR_FILES.intersection(os.listdir(folder)))
    if foreign:
        return (
            f"{folder} holds {', '.join(foreign)} of the distribution {OTHER}, which has the same import name; samgeo "
            f"may be incomplete or mixed with it. {fix}"
        )
    return None
