"""Clicking on a map of ipyleaflet or leafmap: the same verbs as `SamMap` has, on the map that a notebook has already.

    import leafmap
    from samgeo.notebook import attach

    m = leafmap.Map()
    clicks = attach(m, "ortho.tif", labels=["roof", "yard"])
    m
    clicks.to_gdf()

The map speaks longitude and latitude, the session the raster's CRS; outlines and clicks are brought from one to the
other here. There is no server: the raster is laid over the map as one picture.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipyleaflet
import ipywidgets
import shapely
from pyproj import Transformer

from samgeo.errors import PromptError, RasterError, SamgeoError, SamgeoWarning, UsageError
from samgeo.model.contract import PromptableModel
from samgeo.notebook.drawing import COLOURS
from samgeo.notebook.overlay import Bounds, overlay
from samgeo.notebook.widget import listed, open_session
from samgeo.pipeline.result import Segmentation
from samgeo.pixels import FOREGROUND
from samgeo.session import Session
from samgeo.settings import Settings

if TYPE_CHECKING:
    import geopandas

CANDIDATE, ON, BESIDE = "#ff8c00", "#12a150", "#e02424"
LONLAT = "EPSG:4326"


def attach(
    map_: Any,
    source: object,
    *,
    model: PromptableModel | str | Path | None = None,
    settings: Settings | None = None,
    labels: Iterable[str] = (),
    show_raster: bool = True,
) -> Attached:
    """Click on a raster on an ipyleaflet or leafmap map: left on an object, right beside it, buttons for the rest.

    source: what `Session` takes, or a `Session`. show_raster: lay a picture of the raster over the map, and go there;
    False if the map shows the imagery already.
    Raises `UsageError` for what is no such map, or labels that are one string; `RasterError` without a CRS.
    """
    if not isinstance(map_, ipyleaflet.Map):
        raise UsageError(
            f"a map of type {type(map_).__name__}: expected an ipyleaflet or leafmap.Map. Fix: import leafmap.leafmap, "
            "whose maps are of ipyleaflet; or SamMap, which needs no map"
        )
    labels = listed(labels)
    session = open_session(source, model=model, settings=settings)
    if session.grid.crs is None:
        raise RasterError(
            f"{session.raster.name}: has no CRS, so it lies on no map. Fix: rio edit-info --crs EPSG:CODE"
        )
    return Attached(map_, session, labels=labels, show_raster=show_raster)


class _NoMenu(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore] # anywidget says little of its types
    """Nothing to see: while it is on a map, a right click there does not open the menu of JupyterLab."""

    _esm = Path(__file__).parent / "leaflet.js"


class Attached:
    """A session on somebody's map; made by `attach`."""

    def __init__(self, map_: Any, session: Session, *, labels: list[str], show_raster: bool) -> None:
        self.map = map_
        """The map, as it was given."""
        self.session = session
        """What the clicks go to."""
        self._labels = labels
        self._to_map = Transformer.from_crs(session.grid.crs_wkt, LONLAT, always_xy=True)
        self._from_map = Transformer.from_crs(LONLAT, session.grid.crs_wkt, always_xy=True)
        self._corner: tuple[float, float] | None = None
        self._layers: list[Any] = []
        self._sent = (0, 0)  # how many features the map shows, and their revision
        if show_raster:
            picture, bounds = overlay(session.raster)
            self._layers.append(ipyleaflet.ImageOverlay(url=picture, bounds=bounds, name=session.raster.name))
            map_.add(self._layers[0])
            map_.center, map_.zoom = _view(bounds)  # fit_bounds waits for a page, which there is none of yet
        self._accepted = self._geojson("accepted")
        self._candidate = self._geojson("candidate")
        self._clicks = ipyleaflet.LayerGroup(name="samgeo clicks")
        map_.add(self._clicks)
        self._layers.append(self._clicks)
        self._build()
        map_.add(self._control)
        map_.on_interaction(self._heard)
        self.refresh()

    @property
    def features(self) -> Segmentation:
        """What was accepted so far."""
        return self.session.features

    def to_gdf(self) -> geopandas.GeoDataFrame:
        """What was accepted so far, in the raster's CRS."""
        return self.session.features.to_gdf()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write what was accepted so far; see `Segmentation.to_file`."""
        return self.session.save(path, overwrite=overwrite)

    def detach(self) -> None:
        """Leave the map as it was; what was accepted stays."""
        self.map.on_interaction(self._heard, remove=True)
        for layer in self._layers:
            self.map.remove(layer)
        self.map.remove(self._control)
        self._layers = []

    def refresh(self) -> None:
        """Show what the session holds now."""
        chosen = self.session.chosen
        self._candidate.data = _collection([] if chosen is None else [(self._lonlat(chosen.geometry), CANDIDATE)])
        count = len(self.session.features)
        if self._sent != (count, self.session.revision):
            self._sent = (count, self.session.revision)
            colours = [(feature, self._colour(feature.attributes["label"])) for feature in self.session.features]
            self._accepted.data = _collection([(self._lonlat(one.geometry), colour) for one, colour in colours])
        self._clicks.layers = self._marks()
        found = self.session.candidates
        self._masks.options = [(f"{index + 1}  {one.score:.2f}", index) for index, one in enumerate(found)]
        self._masks.value = self.session.chosen_index
        self._accept.disabled = chosen is None
        self._status.value = f"{count} accepted"

    # What the user does

    def _heard(self, **event: Any) -> None:
        kind = event.get("type")
        if kind not in ("click", "contextmenu"):
            return
        lat, lon = event["coordinates"]
        if kind == "contextmenu":
            self._do(lambda: self.session.add_point(*self._place(lon, lat), positive=False))
        elif self._mode.value == "box":
            self._box(lon, lat)
        else:
            positive = self._mode.value == "add"
            self._do(lambda: self.session.add_point(*self._place(lon, lat), positive=positive))

    def _box(self, lon: float, lat: float) -> None:
        """Two clicks are two corners."""
        if self._corner is None:
            self._corner = (lon, lat)
            self._status.value = "now the opposite corner"
            return
        (other_lon, other_lat), self._corner = self._corner, None
        west, east = sorted((lon, other_lon))
        south, north = sorted((lat, other_lat))
        self._do(lambda: self.session.add_box(west, south, east, north, crs=LONLAT))

    def _do(self, act: Callable[[], object]) -> None:
        """Act on the session, and show what came of it or why nothing did."""
        self._status.value = "at work ..."
        told = ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SamgeoWarning)
            try:
                act()
            except SamgeoError as error:
                told = str(error)
            except BaseException as error:  # an interruption too
                told = f"{type(error).__name__}: {error}"
                raise
            finally:
                said = [str(one.message) for one in caught if issubclass(one.category, SamgeoWarning)]
                self.refresh()
                if told or said:
                    self._status.value = " ".join([told, *said]).strip()

    def _take(self) -> None:
        label = self._label.value.strip()
        self.session.accept(label or None)
        if label and label not in self._labels:
            self._labels.append(label)
            self._label.options = tuple(self._labels)

    def _choose(self, change: dict[str, Any]) -> None:
        chosen, index = self.session.chosen_index, change["new"]
        if index is not None and chosen is not None and index != chosen:
            self._do(lambda: self.session.choose(index))

    # What the map shows

    def _build(self) -> None:
        layout = ipywidgets.Layout(width="auto")
        self._mode = ipywidgets.ToggleButtons(
            options=["add", "remove", "box"], value="add", style={"button_width": "78px"}
        )
        self._mode.tooltips = ["left click: on the object", "left click: beside it", "two clicks: opposite corners"]
        self._masks = ipywidgets.ToggleButtons(options=[], style={"button_width": "78px"})
        self._masks.observe(self._choose, names="value")
        self._label = ipywidgets.Combobox(
            value=self._labels[0] if self._labels else "",
            options=tuple(self._labels),
            placeholder="label",
            layout=ipywidgets.Layout(width="120px"),
        )
        self._accept = ipywidgets.Button(description="Accept", button_style="primary", layout=layout)
        self._accept.on_click(lambda _: self._do(self._take))
        self._status = ipywidgets.Label(layout=ipywidgets.Layout(max_width="260px"))
        verbs = {"Undo": self.session.undo, "Redo": self.session.redo, "Clear": self._clear}
        self._buttons = {name: ipywidgets.Button(description=name, layout=layout) for name in verbs}
        for name, act in verbs.items():
            self._buttons[name].on_click(lambda _, act=act: self._do(act))
        rows = [
            self._mode,
            ipywidgets.HBox(list(self._buttons.values())),
            self._masks,
            ipywidgets.HBox([self._label, self._accept]),
            self._status,
            _NoMenu(),
        ]
        box = ipywidgets.VBox(rows, layout=ipywidgets.Layout(padding="6px"))
        self._control = ipyleaflet.WidgetControl(widget=box, position="topright")

    def _clear(self) -> None:
        self._corner = None
        self.session.clear()

    def _geojson(self, name: str) -> Any:
        layer = ipyleaflet.GeoJSON(data=_collection([]), name=f"samgeo {name}")
        self.map.add(layer)
        self._layers.append(layer)
        return layer

    def _marks(self) -> tuple[Any, ...]:
        """A green disc for each click on the object, a red one beside it, and the box."""
        prompt = self.session.prompt
        marks = []
        for (col, row), label in zip(prompt.points, prompt.labels, strict=True):
            lon, lat = self._to_map.transform(*self.session.grid.to_map(col + 0.5, row + 0.5))
            colour = ON if label == FOREGROUND else BESIDE
            place = (float(lat), float(lon))
            marks.append(
                ipyleaflet.CircleMarker(
                    location=place, radius=6, color="white", weight=2, fill_color=colour, fill_opacity=1
                )
            )
        if prompt.box is not None:
            left, top, right, bottom = (edge + 0.5 for edge in prompt.box)
            x, y = self.session.grid.to_map([left, right, right, left], [top, top, bottom, bottom])
            lons, lats = self._to_map.transform(x, y)
            corners = [(float(lat), float(lon)) for lon, lat in zip(lons, lats, strict=True)]
            marks.append(ipyleaflet.Polygon(locations=corners, color=CANDIDATE, fill=False, weight=2, dash_array="6 4"))
        return tuple(marks)

    def _colour(self, label: str | None) -> str:
        if label is None:
            return "#e8edf2"
        if label not in self._labels:
            self._labels.append(label)
        return COLOURS[self._labels.index(label) % len(COLOURS)]

    def _lonlat(self, geometry: Any) -> Any:
        return shapely.transform(geometry, self._to_map.transform, interleaved=False)

    def _place(self, lon: float, lat: float) -> tuple[float, float]:
        x, y = self._from_map.transform(lon, lat)
        if not (abs(x) < float("inf") and abs(y) < float("inf")):
            raise PromptError(f"{lon:.5f}, {lat:.5f}: lies outside the domain of the raster's CRS")
        return float(x), float(y)


def _view(bounds: Bounds) -> tuple[tuple[float, float], int]:
    """Latitude and longitude of the middle, and the zoom at which all of it fits into a map of usual size."""
    (south, west), (north, east) = bounds
    middle = (south + north) / 2, (west + east) / 2
    across = (east - west) / 360 * 256  # pixels at zoom 0
    down = (north - south) / 360 * 256 / math.cos(math.radians(middle[0]))
    return middle, max(0, min(18, math.floor(math.log2(min(800 / across, 560 / down)))))


def _collection(drawn: list[tuple[Any, str]]) -> dict[str, Any]:
    """GeoJSON of geometries in longitude and latitude, each in a colour."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"style": {"color": colour, "weight": 2, "fillOpacity": 0.25}},
                "geometry": shapely.geometry.mapping(geometry),
            }
            for geometry, colour in drawn
        ],
    }
