"""The canvas: a picture, beside it for each pixel the object that it shows, and the height that it lies at.

Everything is painted from the ground up. Each pixel remembers only the innermost object on top of it; what contains
that object (a roof half lies in a building, a building in a row) follows from the parents, so that the masks are what
can be seen, parts lie inside their wholes and siblings never overlap, whatever is painted over what.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samgeo.train.scenes.geometry import Cover, Floats, Polygon, cover, sweep
from samgeo.train.scenes.textures import NoiseBank

if TYPE_CHECKING:
    from collections.abc import Iterable

NOTHING = 0
"""The id of pixels that show no object."""


@dataclass(kw_only=True, eq=False)
class Canvas:
    """A scene while it is painted."""

    rng: np.random.Generator
    """The only source of chance."""
    gsd_m: float
    """Ground metres a pixel."""
    rgb: Floats
    """(H, W, 3) reflectance, about 0 to 1."""
    ids: NDArray[np.int32]
    """(H, W) innermost object that each pixel shows; 0 is none."""
    elevation: NDArray[np.float16]
    """(H, W) metres above ground: what a shadow needs to know."""
    noise: NoiseBank
    """Where textures come from."""
    sun: NDArray[np.float64]
    """Unit vector (x, y) that shadows point along."""
    reach: float
    """Metres of shadow for a metre of height."""
    lean: NDArray[np.float64]
    """Pixels (x, y) that a roof is displaced by for a metre of height: the view is not straight down."""
    gloom: float
    """How much light a shadow takes, 0 to 1."""
    labels: list[str] = field(default_factory=lambda: [""])
    """Label of each object; number 0 is none."""
    parents: list[int] = field(default_factory=lambda: [NOTHING])
    """The object that each is a part of; 0 is none."""

    @classmethod
    def blank(cls, rng: np.random.Generator, height: int, width: int, gsd_m: float) -> Canvas:
        """An empty canvas with a sun and a viewing angle drawn by chance."""
        turn, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(33, 70))
        tilt = rng.uniform(0, 0.32) if rng.random() < (0.55 if gsd_m < 0.2 else 0.3) else rng.uniform(0, 0.05)
        away = rng.uniform(0, 2 * math.pi)
        return cls(
            rng=rng,
            gsd_m=gsd_m,
            rgb=np.zeros((height, width, 3), dtype=np.float32),
            ids=np.zeros((height, width), dtype=np.int32),
            elevation=np.zeros((height, width), dtype=np.float16),
            noise=NoiseBank(rng),
            sun=np.array([math.cos(turn), math.sin(turn)]),
            reach=1 / math.tan(elevation),
            lean=np.array([math.cos(away), math.sin(away)]) * tilt / gsd_m,
            gloom=float(rng.uniform(0.4, 0.68)),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.ids.shape[0], self.ids.shape[1]

    def px(self, metres: float) -> float:
        """A length on the ground in pixels."""
        return metres / self.gsd_m

    def new(self, label: str, parent: int = NOTHING) -> int:
        """Register an object; returns its id."""
        self.labels.append(label)
        self.parents.append(parent)
        return len(self.labels) - 1

    def cover(self, polygons: Iterable[Polygon]) -> Cover | None:
        """Coverage of polygons on this canvas; None where they miss it."""
        return cover(polygons, *self.shape)

    def whole(self) -> Cover:
        """All of the canvas."""
        height, width = self.shape
        return Cover(rows=slice(0, height), cols=slice(0, width), alpha=np.ones(self.shape, dtype=np.float32))

    def paint(self, where: Cover, color: Floats, owner: int | None = None, height_m: float | None = None) -> None:
        """Lay a colour, (3,) or (h, w, 3), over a window; None for `owner` and `height_m` leaves what was there."""
        at = (where.rows, where.cols)
        alpha = where.alpha[..., None]
        target = self.rgb[at]
        target += (color - target) * alpha
        solid = where.alpha >= 0.5
        if owner is not None:
            self.ids[at][solid] = owner
        if height_m is not None:
            self.elevation[at][solid] = height_m

    def scale(self, where: Cover, factor: Floats) -> None:
        """Make a window lighter or darker by (h, w) or (h, w, 1) factors, where it is covered."""
        target = self.rgb[where.rows, where.cols]
        gain = factor if factor.ndim == 3 else factor[..., None]
        target *= 1 + (gain - 1) * where.alpha[..., None]

    def shade(self, polygon: Polygon, height_m: float) -> None:
        """Cast the shadow of a convex thing that stands `height_m` high onto all that is clearly lower."""
        length = self.px(height_m * self.reach)
        if length < 0.4:
            return
        where = self.cover([sweep(polygon, self.sun * length)])
        if where is None:
            return
        lower = self.elevation[where.rows, where.cols] < height_m * 0.7
        light = np.array([1 - self.gloom, 1 - 0.95 * self.gloom, 1 - 0.85 * self.gloom], dtype=np.float32)
        self.scale(where.with_alpha(where.alpha * lower), np.broadcast_to(light, (*where.alpha.shape, 3)))
