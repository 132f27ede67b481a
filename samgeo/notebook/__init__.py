"""Notebooks: click on imagery in Jupyter, on a map of our own or on one of leafmap and ipyleaflet.

    from samgeo.notebook import SamMap

    SamMap("ortho.tif", labels=["roof", "yard"])

`pip install 'samgeo[notebook]'` brings what this needs; docs/notebook.md describes it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samgeo.notebook.drawing import picture
    from samgeo.notebook.leaflet import Attached, attach
    from samgeo.notebook.widget import SamMap

__all__ = ["Attached", "SamMap", "attach", "picture"]

_HOMES = {
    "Attached": "samgeo.notebook.leaflet",
    "SamMap": "samgeo.notebook.widget",
    "attach": "samgeo.notebook.leaflet",
    "picture": "samgeo.notebook.drawing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'samgeo.notebook' has no attribute {name!r}; it has {', '.join(__all__)}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("anywidget", "ipyleaflet", "ipywidgets"):
            raise
        raise ImportError(
            f"samgeo.notebook.{name} needs {error.name}, which is not installed. Fix: pip install 'samgeo[notebook]'"
        ) from error
    globals()[name] = value
    return value
