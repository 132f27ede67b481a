"""What SQLite knows about a GeoPackage and GDAL does not tell: other layers, the spatial index, its own check."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from samgeo.errors import OutputExistsError
from samgeo.output.tally import Tally

_APPLICATION, _OLDEST_VERSION = 0x47504B47, 10200
"""GPKG in ASCII, and the first version that is stated beside it; https://www.geopackage.org/spec140/#_file_format."""


def refuse_other_layers(path: Path) -> None:
    """Replacing a GeoPackage replaces all that is in it: refuse if that is more than one layer."""
    if not path.is_file():
        return
    try:
        with closing(_sqlite(path)) as database:
            layers = [row[0] for row in database.execute("SELECT table_name FROM gpkg_contents ORDER BY 1")]
    except sqlite3.Error:
        return
    layers = [name for name in layers if name != "layer_styles"]
    if len(layers) > 1:
        raise OutputExistsError(
            f"{path}: holds {len(layers)} layers ({', '.join(layers)}), and --overwrite would remove them all. "
            "Fix: give the output another name"
        )


def _sqlite(path: Path) -> sqlite3.Connection:
    """Open for reading without locks and without making a file beside it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def problems(path: Path, *, layer: str, written: Tally) -> list[str]:
    """What is wrong with a GeoPackage that reads well: SQLite's own check, the spatial index, the extent."""
    table = layer.replace('"', '""')
    with closing(_sqlite(path)) as database:

        def one(sql: str, *values: str) -> Any:
            row = database.execute(sql, values).fetchone()
            return None if row is None else row if len(row) > 1 else row[0]

        place = "SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = ?"
        expected = {
            "quick check": (one("PRAGMA quick_check"), "ok"),
            "application": (one("PRAGMA application_id"), _APPLICATION),
            "version": (one("PRAGMA user_version") >= _OLDEST_VERSION, True),
            "rows for its CRS": (one(f"SELECT count(*) FROM gpkg_spatial_ref_sys WHERE srs_id = ({place})", layer), 1),  # noqa: S608 - constant
            "rows": (one(f'SELECT count(*) FROM "{table}"'), written.features),  # noqa: S608 - quoted above
            "spatial index": (one(f'SELECT count(*) FROM "rtree_{table}_geom_rowid"'), written.features),  # noqa: S608
            "styles": (one("SELECT count(*) FROM layer_styles WHERE f_table_name = ?", layer), 1),
            "feature count": (
                one("SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = ?", layer)
                or 0,  # NULL: no features
                written.features,
            ),
        }
        if written.features:
            sql = "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = ?"
            found = one(sql, layer)
            # GDAL states the extent as decimal text, which may be off in the last bit.
            close = found is not None and np.allclose(np.array(found, float), written.extent, rtol=1e-12, atol=0)
            expected["extent"] = (written.extent.tolist() if close else found, written.extent.tolist())
    left = sorted(p.name for p in path.parent.iterdir() if p.name.startswith(path.name + "-"))
    wrong = [f"{what}: {found} instead of {wanted}" for what, (found, wanted) in expected.items() if found != wanted]
    return wrong + [f"{name} was left" for name in left]
