"""Where weights lie on this machine: in the package, or in the user's cache folder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from samgeo.folders import user_cache
from samgeo.model.published import Published


def weights_folder() -> Path:
    """Where fetched weights are kept: $SAMGEO_CACHE/weights, else in the user's cache folder."""
    return user_cache() / "weights"


def path_of(published: Published) -> Path:
    """Where the weights lie, if they are here."""
    if published.url:
        return weights_folder() / published.file
    return Path(str(files("samgeo.model") / published.file))
