"""Features of the tests, written and read back."""

import hashlib
from pathlib import Path

import geopandas
import numpy as np
import shapely
from pyproj import CRS

from samgeo.output.vector import FeatureWriter

GDAL_ENDINGS = [".gpkg", ".shp", ".geojson", ".fgb"]
ENDINGS = [*GDAL_ENDINGS, ".parquet"]
UTM = CRS.from_epsg(32633).to_wkt()
COLUMNS = {"id": "int64", "label": "str", "score": "float", "perimeter_m": "float", "kept": "bool", "tiles": "int32"}
METADATA = {"model": "samgeo-nano", "stretch": {"low": [1, 2.5], "high": [7, 8]}, "Größe": "ä < & > \"'"}

HOLED = shapely.Polygon(
    [(500000, 5000000), (500100, 5000000), (500100, 5000100), (500000, 5000100)],
    [[(500020, 5000020), (500020, 5000040), (500040, 5000040), (500040, 5000020)]],
)
PAIR = shapely.MultiPolygon(
    [shapely.box(500200, 5000000, 500210, 5000010), shapely.box(500210, 5000010, 500220, 5000020)]
)


def small(count: int, seed: int = 0) -> list[shapely.Polygon]:
    corners = np.random.default_rng(seed).integers(0, 10_000, (count, 2)) + np.array([500_000, 5_000_000])
    return [shapely.box(x, y, x + 3, y + 2) for x, y in corners.tolist()]


def properties(number: int) -> dict:
    values = {"id": number, "label": "Dächer", "score": 0.1 * number, "perimeter_m": 1e7 / 3, "kept": True, "tiles": -1}
    return values if number % 7 else dict.fromkeys(values)


def write(path: Path, geometries, *, crs_wkt=UTM, metadata=METADATA, **options) -> Path:
    with FeatureWriter(path, crs_wkt=crs_wkt, columns=COLUMNS, metadata=metadata, **options) as writer:
        for number, geometry in enumerate(geometries, 1):
            writer.write(geometry, properties(number))
    return path


def read(path: Path) -> geopandas.GeoDataFrame:
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def expected_files(ending: str) -> list[str]:
    others = {
        ".shp": [".cpg", ".dbf", ".prj", ".shp.json", ".shx"],
        ".geojson": [".geojson.json"],
        ".fgb": [".fgb.json"],
    }
    return sorted("out" + tail for tail in [ending, *others.get(ending, [])])


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
