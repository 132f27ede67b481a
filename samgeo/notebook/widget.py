"""SamMap: imagery in a notebook to click on. Pixels and outlines go over the kernel's own channel; there is no server.

    clicks = SamMap("ortho.tif", labels=["roof", "yard"])
    clicks                      # left click on an object, right click beside it, Enter accepts
    clicks.to_gdf()

`widget.js` draws and listens; all that is known is in the `Session`, so that a page that is loaded again, or another
browser, shows the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from samgeo.errors import UsageError
from samgeo.model.contract import PromptableModel
from samgeo.notebook.conversation import Conversation
from samgeo.pipeline.result import Segmentation
from samgeo.session import Session
from samgeo.settings import Settings

if TYPE_CHECKING:
    import geopandas

HERE = Path(__file__).parent


class SamMap(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore] # anywidget says little of its types
    """A map of one raster on which objects are clicked; a widget, shown by being the last line of a cell."""

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"
    height = traitlets.Unicode("600px").tag(sync=True)
    """Of the map on the page, as CSS writes it."""

    def __init__(
        self,
        source: object,
        *,
        model: PromptableModel | str | Path | None = None,
        settings: Settings | None = None,
        labels: Iterable[str] = (),
        height: str = "600px",
    ) -> None:
        """Open a raster, or show what a session that is open already looks at.

        source: what `Session` takes, or a `Session`, which then has its model and settings. labels: what objects may
        be; keys 1 to 9 choose among them, and others can be typed.

        Raises as `Session`; warns where the raster is large and has no overviews.
        """
        labels = listed(labels)
        self._session = open_session(source, model=model, settings=settings)
        self._own = None if self._session is source else self._session
        super().__init__(height=height)
        self._conversation = Conversation(self._session, self._tell, labels=labels)
        self.on_msg(self._hear)
        self._session.raster.warn_if_slow_to_look_at()

    @property
    def session(self) -> Session:
        """What the clicks go to. After using it from code, `refresh` shows what came of it."""
        return self._session

    @property
    def labels(self) -> list[str]:
        """What objects may be, those that were typed too."""
        return list(self._conversation.labels)

    @property
    def features(self) -> Segmentation:
        """What was accepted so far."""
        return self._session.features

    def to_gdf(self) -> geopandas.GeoDataFrame:
        """What was accepted so far, in the raster's CRS."""
        return self._session.features.to_gdf()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write what was accepted so far; see `Segmentation.to_file`."""
        return self._session.save(path, overwrite=overwrite)

    def close(self) -> None:
        """Take the map off the page, and close the session with what was accepted; a session that was given stays open.

        Save first. A map that is not closed keeps its raster open as long as the kernel lives.
        """
        super().close()
        own = getattr(self, "_own", None)  # a map that could not be made is closed too
        if own is not None:
            own.close()

    def refresh(self) -> None:
        """Show what the session holds now."""
        self._conversation.show()

    def fit(self) -> None:
        """Show the whole raster."""
        self._conversation.look_at_all()

    def zoom_to(self, x_min: float, y_min: float, x_max: float, y_max: float) -> None:
        """Show these map coordinates. Raises `UsageError` for bounds the wrong way round."""
        if not (x_min < x_max and y_min < y_max):
            bounds = (x_min, y_min, x_max, y_max)
            raise UsageError(f"zoom_to{bounds}: expected x_min < x_max and y_min < y_max")
        cols, rows = self._session.grid.to_pixel([x_min, x_max, x_max, x_min], [y_min, y_min, y_max, y_max])
        self._conversation.look_at(
            (float(cols.min()), float(cols.max())),
            (float(rows.min()), float(rows.max())),
        )

    def _tell(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.send(message, buffers)

    def _hear(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        self._conversation.hear(content)


def listed(labels: Iterable[str]) -> list[str]:
    """The labels. Raises `UsageError` for a string, which would be one for each letter."""
    if isinstance(labels, str):
        raise UsageError(f"labels {labels!r}: expected several, for example labels=[{labels!r}]")
    return list(labels)


def open_session(source: object, *, model: Any, settings: Settings | None) -> Session:
    """A session on a source, or the one that is given. Raises `UsageError` for a session with another model."""
    if not isinstance(source, Session):
        return Session(source, model=model, settings=settings)
    if model is not None or settings is not None:
        raise UsageError("a session with model= or settings=: it has its own; expected a raster, or a session alone")
    return source
