"""More features than 16 bits count, and more than fit into memory at once: streamed, all there, in every format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fiona
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from samgeo.grid import Grid, parse_crs
from samgeo.output.labels import LabelWriter
from samgeo.output.vector import FeatureWriter
from samgeo.pipeline.painting import outlines
from samgeo.pixels import Window
from tests.features import ENDINGS, UTM

COLUMNS = {"id": "int64", "label": "str", "score": "float", "area_m2": "float", "tiles": "int32", "model": "str"}
MANY = 70_000
"""More than 65,535."""


def boxes(count: int):
    """Small squares on a lattice, row by row."""
    for start in range(0, count, 1000):
        number = np.arange(start, min(start + 1000, count))
        x, y = 500_000.0 + 3 * (number % 1000), 5_000_000.0 - 3 * (number // 1000)
        yield from zip((number + 1).tolist(), shapely.box(x, y, x + 2, y + 2), strict=True)


def write(path: Path, count: int) -> Path:
    with FeatureWriter(path, crs_wkt=UTM, columns=COLUMNS, metadata={"model": "samgeo-nano"}, overwrite=True) as writer:
        for number, box in boxes(count):
            record = {"id": number, "label": "roof", "score": 0.5, "area_m2": 4.0, "tiles": 1, "model": "samgeo-nano"}
            writer.write(box, record)
    return path


def ids_in(path: Path) -> list[int]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path, columns=["id"])["id"].to_pylist()
    with fiona.open(path) as collection:
        return [int(feature.properties["id"]) for feature in collection]


@pytest.mark.parametrize(
    "ending", [pytest.param(e, marks=[] if e in {".gpkg", ".parquet"} else pytest.mark.sweep) for e in ENDINGS]
)
def test_o13_more_than_65535_features_keep_their_ids(tmp_path: Path, ending: str) -> None:
    found = ids_in(write(tmp_path / f"out{ending}", MANY))
    assert sorted(found) == list(range(1, MANY + 1))


def test_o13_more_than_65535_labels_stay_distinct_and_come_back_as_polygons(tmp_path: Path) -> None:
    """Ids around 2**16, 2**20, 2**24 and 2**31 - 1 side by side, and as many as there are pixels."""
    height, width = 300, 300
    labels = np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width)
    for row, edge in enumerate((2**16, 2**20, 2**24, 2**31 - 4)):
        labels[row, :8] = edge - 4 + np.arange(8)
    grid = Grid(width=width, height=height, transform=Affine(1, 0, 5e5, 0, -1, 5e6), crs=parse_crs(32633))
    with LabelWriter(tmp_path / "ids.tif", grid=grid) as writer:
        writer.write(Window(row=0, col=0, height=height, width=width), labels)
    with rasterio.open(tmp_path / "ids.tif") as dataset:
        found = dataset.read(1)
    assert np.array_equal(found, labels)
    values = [value for value, _ in outlines(found, grid.window)]
    assert len(values) == height * width
    assert sorted(values) == sorted(labels.ravel().tolist())


MEASURE = """
import resource, sys, time
from pathlib import Path
from tests.test_many_features import write
path, count = Path(sys.argv[1]), int(sys.argv[2])
write(path.with_name("few" + path.suffix), 10_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
write(path, count)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.perf_counter() - start, before, after, path.stat().st_size)
"""


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ending", ENDINGS)
def test_o13_a_million_features_are_streamed_in_64_mib_more_than_ten_thousand_take(tmp_path: Path, ending: str) -> None:
    """But for FlatGeobuf, whose index is sorted in memory at the end: some 170 bytes a feature."""
    path = tmp_path / f"out{ending}"
    done = subprocess.run([sys.executable, "-c", MEASURE, path, "1000001"], check=True, capture_output=True, text=True)
    seconds, before, after, size = map(float, done.stdout.split())
    print(f"{ending}: {seconds:.0f} s, {before / 1024:.0f} -> {after / 1024:.0f} MiB, {size / 1e6:.0f} MB")  # noqa: T201
    assert after - before <= (200 if ending == ".fgb" else 64) * 1024
    if ending != ".parquet":
        with fiona.open(path) as collection:
            assert len(collection) == 1_000_001
