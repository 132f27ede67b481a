"""Settings: everything that `segment` can be told besides its input, its model and its output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from samgeo.errors import RasterError, UsageError

Granularity = Literal["whole", "part", "subpart", "best", "all"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to read, what to keep, how to write. Raises `UsageError` that names the option if a value cannot be right."""

    tile_px: int | None = None
    """Side of a read window in pixels of the working grid; None: what the model was made for."""
    overlap_px: int | None = None
    """Pixels that neighbouring read windows share, 2 to half a tile; None: an eighth of a tile."""
    bands: tuple[int, ...] | None = None
    """Bands that the model sees as red, green and blue, from 1; None: by colour interpretation."""
    resolution_m: float | None = None
    """Ground metres of one pixel of the working grid; None: the raster's own pixels."""
    raster_crs: str | None = None
    """CRS of the raster, in the place of what its file says: EPSG code, WKT or PROJ text; None: as the file says."""
    strict_crs: bool = False
    """Refuse prompts that a change of datum may move by more than a pixel, or by nobody knows how much."""
    granularity: Granularity | None = None
    """What to keep where masks nest. whole, part, subpart: the largest, middle, smallest of a prompt's three masks;
    best: the one with the highest score; all: every mask. None: best with prompts, what suits the model without."""
    exclusive: bool = False
    """No two features overlap: of overlapping ones the higher score, then the smaller area, keeps the pixels."""
    aoi: Any = None
    """Keep objects whose representative point is inside: a geometry in the raster's CRS, a GeoDataFrame, or a file.
    Without prompts no window farther away than a window is long is looked at."""
    min_area_m2: float = 0.0
    """Drop smaller features, after stitching; ground square metres."""
    simplify_m: float = 0.0
    """Tolerance of simplification in ground metres; 0: pixel-exact outlines. Alone, no dropped vertex lies farther from
    the outline; with `exclusive`, features that touch are simplified together, without gaps and overlaps, and a vertex
    goes if it spans with its neighbours a triangle below the square of this."""
    square: bool = False
    """Make corners right-angled, as buildings have them."""
    smooth: bool = False
    """Round the pixel steps off."""
    max_vertices: int = 5_000_000
    """Refuse to build a feature with more vertices."""
    points_per_side: int | None = None
    """Without prompts: the model is asked at so many points along each side of a window; None: what suits it."""
    points_per_batch: int | None = None
    """How many prompts are decoded at once; None: what suits the model."""
    pred_iou_thresh: float | None = None
    """Without prompts: drop masks with a lower score; None: what suits the model."""
    stability_score_thresh: float | None = None
    """Without prompts: drop masks with a lower stability; None: what suits the model."""
    box_nms_thresh: float | None = None
    """Without prompts: of two masks in one window whose boxes have a higher IoU, the worse one is dropped; None: what
    suits the model."""
    fast: bool = False
    """Without prompts: ask at few points first, and no more inside of what was found, unless it is large; parts of
    objects are missed."""
    text_thresh: float | None = None
    """With words: drop boxes that the text model is less sure of; None: what suits it."""
    use_cache: bool = True
    """Keep embeddings on disk and use those that are there."""
    layer: str | None = None
    """Name of the layer in the output; None: the name of the file."""
    overwrite: bool = False
    """Permit replacing a finished output."""
    resume: bool = True
    """Go on from a killed run of the same plan; False: start again from nothing."""

    def __post_init__(self) -> None:
        self._check_tiles()
        self._check_numbers()
        self._check_crs()
        if self.granularity is not None and self.granularity not in get_args(Granularity):
            raise UsageError(f"--granularity {self.granularity}: expected one of {', '.join(get_args(Granularity))}")
        if self.bands is not None:
            object.__setattr__(self, "bands", tuple(self.bands))
            if not self.bands or min(self.bands) < 1:
                raise UsageError(f"--bands {self.bands}: expected band numbers from 1, for example 4,3,2")
        if isinstance(self.aoi, str):
            object.__setattr__(self, "aoi", Path(self.aoi))
        for name in ("square", "smooth"):
            if self.exclusive and getattr(self, name):
                raise UsageError(f"--exclusive with --{name}: a {name}d outline would overlap its neighbour; drop one")

    def _check_tiles(self) -> None:
        if self.tile_px is not None and self.tile_px < 4:
            raise UsageError(f"--tile {self.tile_px}: expected at least 4 px")
        if self.overlap_px is not None and self.overlap_px < 2:
            raise UsageError(
                f"--overlap {self.overlap_px}: expected at least 2 px; without overlap objects cannot be joined"
            )
        if self.tile_px is not None and self.overlap_px is not None and self.overlap_px > self.tile_px // 2:
            raise UsageError(f"--overlap {self.overlap_px}: expected at most half of --tile {self.tile_px}")

    def _check_numbers(self) -> None:
        if self.resolution_m is not None and not (math.isfinite(self.resolution_m) and self.resolution_m > 0):
            raise UsageError(f"--resolution {self.resolution_m}: expected ground metres above 0")
        for name in ("min_area_m2", "simplify_m"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{option_of(name)} {value}: expected a number of at least 0")
        for name in ("points_per_side", "points_per_batch", "max_vertices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{option_of(name)} {value}: expected at least 1")
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "text_thresh"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{option_of(name)} {value}: expected a fraction from 0 to 1, not a percentage")

    def _check_crs(self) -> None:
        from samgeo.grid import parse_crs  # pyproj takes a while to load

        try:
            parse_crs(self.raster_crs)
        except RasterError as error:
            raise UsageError(f"--raster-crs {error}") from error

    @property
    def look(self) -> dict[str, Any]:
        """How the raster is looked at, as arguments of `Raster`."""
        return {"bands": self.bands, "resolution_m": self.resolution_m, "crs": self.raster_crs}

    def tile(self, model_tile_px: int) -> tuple[int, int]:
        """Tile and overlap in pixels for a model made for read windows of `model_tile_px`."""
        tile_px = self.tile_px or model_tile_px
        return tile_px, self.overlap_px or max(2, tile_px // 8)


def option_of(field: str) -> str:
    """The command line's name of a field."""
    return "--" + field.removesuffix("_m2").removesuffix("_px").removesuffix("_m").replace("_", "-")
