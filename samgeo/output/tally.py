"""Tally: what a set of features amounts to, so that what was given can be compared with what a file holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vertices = Sequence[tuple[float, float]] | NDArray[np.float64]
"""x,y of each vertex of one feature."""

BATCH = 100_000
"""So many vertices and features are counted at once."""


@dataclass
class Tally:
    """What a set of features amounts to, to be compared before and after the disk."""

    features: int = 0
    """How many there are."""
    without_geometry: int = 0
    """How many of them have a null or empty geometry."""
    vertices: int = 0
    """How many vertices all rings have together, closing ones too."""
    values: int = 0
    """How many values are neither null nor blank."""
    extent: NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))
    """x_min, y_min, x_max, y_max."""
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    """Sum of x and of y over all vertices."""

    @classmethod
    def of(cls, features: Iterable[tuple[Vertices, list[Any]]]) -> Tally:
        """Count features given one by one: the vertices of each, none for a null geometry, and its values."""
        tally, parts, records, waiting = cls(), [], [], 0
        for vertices, values in features:
            tally.without_geometry += len(vertices) == 0
            parts.append(np.asarray(vertices, dtype=np.float64).reshape(-1, 2))
            records.append(values)
            waiting += len(vertices) + 1
            if waiting >= BATCH:
                tally.add(np.concatenate(parts), records)
                parts, records, waiting = [], [], 0
        tally.add(np.concatenate([np.empty((0, 2)), *parts]), records)
        return tally

    def add(self, coordinates: NDArray[np.float64], records: list[list[Any]]) -> None:
        """Count in some features. coordinates: (v, 2), all their vertices; records: the values of each."""
        self.features += len(records)
        self.values += sum(map(_is_filled, chain.from_iterable(records)))
        self.vertices += len(coordinates)
        if len(coordinates):
            self.extent[:2] = np.minimum(self.extent[:2], coordinates.min(axis=0))
            self.extent[2:] = np.maximum(self.extent[2:], coordinates.max(axis=0))
            # Along memory numpy adds by pairs. One by one the roundings of millions of vertices on a grid of pixels add
            # up, and the same vertices in other batches had another sum.
            self.centre += np.ascontiguousarray(coordinates.T).sum(axis=1)

    def differences(self, found: Tally, *, tolerance: float) -> list[str]:
        """One line for each thing that `found` has otherwise; coordinates may differ by `tolerance`."""
        names = ("features", "without_geometry", "vertices", "values")
        lines = [
            f"{name.replace('_', ' ')}: {getattr(found, name)} instead of {getattr(self, name)}"
            for name in names
            if getattr(found, name) != getattr(self, name)
        ]
        if lines or not self.features:
            return lines
        if not np.allclose(found.extent, self.extent, rtol=0, atol=tolerance):
            lines.append(f"extent: {found.extent.tolist()} instead of {self.extent.tolist()}")
        reach = np.maximum(np.abs(self.extent[:2]), np.abs(self.extent[2:]))
        if (np.abs(found.centre - self.centre) > self.vertices * (tolerance + 1e-13 * reach)).any():
            lines.append("coordinates: another sum than was written")
        return lines


def _is_filled(value: Any) -> bool:
    """False for null and for blank text, which a Shapefile cannot tell apart."""
    return value is not None and not (isinstance(value, str) and not value.strip())
