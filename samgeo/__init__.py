"""Turn imagery into map features: Segment Anything over GeoTIFFs of any size.

Users speak map coordinates, networks speak pixels of a window; `Grid` is the only bridge, and `pipeline` walks
across it tile by tile.

The names below are loaded when they are first used, so that `import samgeo` loads neither torch nor GDAL.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samgeo.embeddings import EmbeddingCache
    from samgeo.errors import SamgeoError, SamgeoWarning
    from samgeo.evaluation import evaluate
    from samgeo.grid import Grid
    from samgeo.model.weights import load_model
    from samgeo.pipeline.result import Segmentation
    from samgeo.pipeline.segment import segment
    from samgeo.pixels import Mask, PixelPrompts, Window
    from samgeo.prompts.prompts import Prompts
    from samgeo.raster.reader import Raster
    from samgeo.session import Session
    from samgeo.settings import Settings
    from samgeo.stretch import Stretch

__version__ = "0.1.0"

__all__ = [
    "EmbeddingCache",
    "Grid",
    "Mask",
    "PixelPrompts",
    "Prompts",
    "Raster",
    "SamgeoError",
    "SamgeoWarning",
    "Segmentation",
    "Session",
    "Settings",
    "Stretch",
    "Window",
    "__version__",
    "evaluate",
    "load_model",
    "segment",
]

_HOMES = {
    "EmbeddingCache": "samgeo.embeddings",
    "Grid": "samgeo.grid",
    "Mask": "samgeo.pixels",
    "PixelPrompts": "samgeo.pixels",
    "Prompts": "samgeo.prompts.prompts",
    "Raster": "samgeo.raster.reader",
    "SamgeoError": "samgeo.errors",
    "SamgeoWarning": "samgeo.errors",
    "Segmentation": "samgeo.pipeline.result",
    "Session": "samgeo.session",
    "Settings": "samgeo.settings",
    "Stretch": "samgeo.stretch",
    "Window": "samgeo.pixels",
    "evaluate": "samgeo.evaluation",
    "load_model": "samgeo.model.weights",
    "segment": "samgeo.pipeline.segment",
}

# Names that code written for the other distribution asks this package for.
_THEIR_NAMES = frozenset(
    {"SamGeo", "SamGeo2", "SamGeo3", "SamGeo3Video", "SamGeoPredictor", "LangSAM", "tms_to_geotiff"}
)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _THEIR_NAMES:
        raise AttributeError(
            f"samgeo.{name} belongs to another distribution, segment-geospatial, whose import name is samgeo too; this "
            "is the distribution samgeo. Fix: `pip install segment-geospatial` in an environment of its own, or see "
            "docs/guide.md for the same job with samgeo.segment"
        )
    raise AttributeError(f"module 'samgeo' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _warn_of_clash() -> None:
    """Say so where another distribution has put its files into this package."""
    from samgeo.clash import find_clash

    if clash := find_clash(Path(__file__).parent):
        import warnings

        from samgeo.errors import SamgeoWarning

        warnings.warn(clash, SamgeoWarning, stacklevel=3)


_warn_of_clash()
