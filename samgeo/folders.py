"""Where samgeo keeps files of its own on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder of what can be made or fetched again: $SAMGEO_CACHE, else samgeo's part of the user's cache folder."""
    import pooch

    return Path(os.environ.get("SAMGEO_CACHE") or pooch.os_cache("samgeo")).expanduser()
