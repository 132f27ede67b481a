"""However many prompts and whatever they are: accepted and refused are all that was given, and memory is bounded."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from samgeo.pipeline.prompted import group_by_window
from samgeo.prompts.prompts import Prompts
from samgeo.tiling import Tiling
from tests.prompting import GRID, at

BYTES_A_PROMPT = 1000
"""Of a point with nothing but its place: what placing and grouping take at their peak, its own geometry counted."""

ROOT = Path(__file__).resolve().parent.parent

# Accounts -----------------------------------------------------------------------------------------------------------

EDGE = st.sampled_from([0.0, 100.0, 200.0, -0.001, 99.999, 199.999])
NUMBER = st.one_of(st.floats(-20, 220), st.floats(1, 99), EDGE)
STRANGE = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e30])
CRS = st.sampled_from([32633, 4326, 3857])


@st.composite
def odd(draw: st.DrawFn) -> object:
    """What no prompt can be made of, or only for some kinds of layers."""
    col, row = draw(NUMBER), draw(NUMBER)
    x, y = at(col, row)
    line = shapely.LineString([(x, y), at(col + 3, row + 2)])
    return draw(
        st.sampled_from(
            [
                *(None, shapely.Point(), shapely.Polygon(), shapely.MultiPoint(), line),
                *(shapely.Point(draw(STRANGE), y), shapely.Point(x, draw(STRANGE)), shapely.box(x, y, x, y)),
            ]
        )
    )


@st.composite
def clicks(draw: st.DrawFn) -> object:
    col, row = draw(NUMBER), draw(NUMBER)
    several = shapely.MultiPoint([at(col, row), at(col + 1, row), at(row, col)])
    return draw(st.sampled_from([shapely.Point(at(col, row)), shapely.Point(*at(col, row), 7.0), several]))


@st.composite
def areas(draw: st.DrawFn) -> object:
    col, row = draw(NUMBER), draw(NUMBER)
    width, height = draw(st.sampled_from([0.0, 1e-9, 1.0, 17.5, 500.0])), draw(st.sampled_from([0.0, 3.0, 20.0]))
    one = shapely.box(*at(col, row + height), *at(col + width, row))
    bow = shapely.Polygon([at(col, row), at(col + 9, row + 9), at(col + 9, row), at(col, row + 9)])
    return draw(st.sampled_from([one, one, bow, shapely.MultiPolygon([one, shapely.box(*at(1, 2), *at(2, 1))])]))


@st.composite
def layers(draw: st.DrawFn, kind: str) -> geopandas.GeoDataFrame:
    """A layer with columns of objects and labels, in one of several CRSs, with one prompt that can be used."""
    rows = draw(st.lists(st.one_of(odd(), clicks() if kind == "points" else areas()), max_size=8))
    good = shapely.Point(at(50, 50)) if kind == "points" else shapely.box(*at(40, 40), *at(60, 20))
    rows.insert(draw(st.integers(0, len(rows))), good)
    objects = st.sampled_from([1, 2, "2", "a", "", None, math.nan])
    columns = {
        "object": ["good" if one is good else draw(objects) for one in rows],
        "on": [1 if one is good else draw(st.sampled_from([1, "fg", 0, "bg", "?", None])) for one in rows],
    }
    table = geopandas.GeoDataFrame(
        {name: np.array([*values, None], dtype=object)[:-1] for name, values in columns.items()},
        geometry=np.array([*rows, None], dtype=object)[:-1],
        crs=32633,
    )
    return reprojected(table, draw(CRS))


def reprojected(table: geopandas.GeoDataFrame, crs: int) -> geopandas.GeoDataFrame:
    """As `to_crs`, which stumbles over what is not finite."""
    if crs == 32633:
        return table
    way = Transformer.from_crs(32633, crs, always_xy=True)
    moved = [
        one if one is None else shapely.transform(one, lambda xy: np.stack(way.transform(*xy.T), axis=1))
        for one in table.geometry
    ]
    return table.set_geometry(geopandas.GeoSeries(np.array([*moved, None], dtype=object)[:-1], crs=crs), crs=crs)


def ids_of(kind: str, table: geopandas.GeoDataFrame) -> list[str]:
    """The ids of all prompts of a layer, in the order given."""
    found = []
    for row, geometry in enumerate(table.geometry):
        parts = (
            len(geometry.geoms)
            if kind == "points" and geometry is not None and geometry.geom_type == "MultiPoint"
            else 1
        )
        found += [f"{kind}/{row}.{part + 1}" for part in range(parts)] if parts > 1 else [f"{kind}/{row}"]
    return found


@given(st.data(), st.booleans(), st.booleans())
def test_every_prompt_is_accepted_or_refused_once_by_its_own_id_and_in_order(data, with_objects, with_labels) -> None:
    kinds = data.draw(st.sampled_from([("points",), ("boxes",), ("points", "boxes"), ("masks",), ("points", "masks")]))
    tables = {kind: data.draw(layers(kind)) for kind in kinds}
    with_labels = with_labels and with_objects and "points" in kinds
    prompts = Prompts(
        **tables, object_column="object" if with_objects else None, label_column="on" if with_labels else None
    )
    placed = prompts.to_pixels(GRID)
    expected = [name for kind, table in tables.items() for name in ids_of(kind, table)]
    refused = [refusal.prompt_id for refusal in placed.refusals]
    told = placed.report
    assert told["given"] == len(expected) == told["accepted"] + len(refused)
    assert told["refused"] == len(refused)
    assert [name for name in expected if name in set(refused)] == refused, "each once, in the order given"
    assert all(refusal.reason for refusal in placed.refusals)
    assert all(
        (refusal.distance_px is not None) == (refusal.reason == "outside the raster") for refusal in placed.refused
    )
    assert told["accepted"] == placed.counts.sum() > 0
    assert [layer["given"] for layer in told["layers"]] == [len(ids_of(kind, table)) for kind, table in tables.items()]
    assert told["accepted"] == sum(layer["accepted"] for layer in told["layers"])
    accepted = [name for name in expected if name not in set(refused)]
    objects = placed.prompt_ids.tolist()
    assert len(set(objects)) == len(objects) == told["objects"]
    if not with_objects:
        homes = list(dict.fromkeys(name.partition(".")[0] for name in accepted if name not in told["duplicate_of"]))
        assert objects == homes, "objects come in prompt order"
    inside = (placed.points >= -0.5) & (placed.points < np.array([GRID.width, GRID.height]) - 0.5)
    assert inside.all()
    json.dumps(told)


# Many ---------------------------------------------------------------------------------------------------------------


def scattered(count: int) -> np.ndarray:
    """(count, 2) longitudes and latitudes, nearly all on the grid."""
    rng = np.random.default_rng(1)
    x, y = GRID.to_map(rng.uniform(-1, 199, count), rng.uniform(0, 99, count))
    return np.stack(Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y), axis=1)


def place_and_group(xy: np.ndarray) -> int:
    """How many prompts were placed and grouped by window, or refused."""
    placed = Prompts(points=xy, crs=4326).to_pixels(GRID)
    groups = group_by_window(placed, Tiling(height=GRID.height, width=GRID.width, tile_px=32, overlap_px=8))
    return sum(map(len, groups.values())) + len(placed.refusals)


def test_m11_ten_thousand_points_take_a_bounded_number_of_bytes_each() -> None:
    place_and_group(scattered(10))  # what is loaded and cached once
    peaks = []
    for count in (5_000, 10_000):
        xy = scattered(count)
        tracemalloc.start()
        assert place_and_group(xy) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 10_000 * BYTES_A_PROMPT
    assert peaks[1] < 2.2 * peaks[0]


@pytest.mark.sweep
def test_m11_a_million_points_are_placed_and_grouped_in_a_minute_and_bounded_memory() -> None:
    """In a process of its own, whose peak is the prompts' own. `benchmarks/prompts.py` prints the figures."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.prompts", "1000000", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    [figures] = [json.loads(line) for line in told.stdout.splitlines()]
    assert figures["prompts"] == 1_000_000
    assert figures["placed"] + figures["refused"] == 1_000_000
    assert figures["seconds"] < 60
    assert figures["bytes_a_prompt"] < BYTES_A_PROMPT
