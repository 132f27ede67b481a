"""Prompts: every one is placed to a fraction of a pixel, or refused with a reason under its own id."""

from __future__ import annotations

import math
import pickle
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from samgeo.errors import NoUsablePromptError, PromptError, SamgeoWarning
from samgeo.grid import Grid, parse_crs
from samgeo.pixels import Window
from samgeo.prompts.prompts import Prompts
from tests.prompting import GRID, LOCAL, at, click, geojson, refusals, table

# ---- placing ----


@given(
    st.floats(0, 199.99),
    st.floats(0, 99.99),
    st.floats(0, 360),
    st.floats(-50, 50),
    st.sampled_from([(1, -1), (1, 1), (-3, 0.2)]),
)
def test_a_point_lands_on_its_pixel_whatever_the_affine(
    col: float, row: float, angle: float, shear: float, scale: tuple[float, float]
) -> None:
    origin = Affine.translation(4e5, 5e6)
    transform = origin @ Affine.rotation(angle) @ Affine.shear(shear, 0) @ Affine.scale(*scale)
    grid = Grid(width=200, height=100, transform=transform, crs=parse_crs(32633))
    # A hair inside, since a point on the very edge may land on either side of it.
    placed = Prompts(points=[at(col + 1e-3, row + 1e-3, grid)], crs="raster").to_pixels(grid)
    assert np.abs(placed.points[0] - (col + 1e-3 - 0.5, row + 1e-3 - 0.5)).max() < 1e-6
    window = placed[0].window
    assert (window.row, window.col, window.height, window.width) == (int(row + 1e-3), int(col + 1e-3), 1, 1)


@pytest.mark.parametrize("code", [4326, 25833, 3857, 3035, 4258])
@pytest.mark.filterwarnings("ignore::samgeo.errors.SamgeoWarning")
def test_any_crs_lands_on_the_same_pixel(code: int) -> None:
    cols, rows = np.array([0.5, 17.25, 199.9]), np.array([0.5, 42.75, 99.9])
    x, y = Transformer.from_crs(32633, code, always_xy=True).transform(*GRID.to_map(cols, rows))
    layer = gpd.GeoDataFrame(geometry=gpd.points_from_xy(x, y), crs=code)
    placed = Prompts(points=layer).to_pixels(GRID)
    assert np.abs(placed.points + 0.5 - np.stack([cols, rows], 1)).max() < 5e-3
    assert placed.report["accuracy_m"] is not None
    assert placed.report["operation"] != "none: same CRS"


def test_same_crs_is_still_converted_to_pixels() -> None:
    grid = Grid(width=100, height=60, transform=Affine(0.01, 0, 10, 0, -0.01, 50), crs=parse_crs(4326))
    placed = Prompts(boxes=[(10.2, 49.7, 10.5, 49.9)], crs=4326).to_pixels(grid)
    assert np.allclose(placed.boxes, [[19.5, 9.5, 49.5, 29.5]])
    assert placed.report["operation"] == "none: same CRS"


def test_edges_are_half_open() -> None:
    placed = Prompts(points=[at(0, 0), at(200, 50), at(50, 100), at(199.999, 99.999)], crs="raster").to_pixels(GRID)
    assert len(placed) == 2
    assert refusals(placed) == {"points/1": "outside the raster", "points/2": "outside the raster"}


def test_outside_tells_how_far() -> None:
    placed = Prompts(points=[at(5, 5), at(203, 104), at(-7, 50)], crs="raster").to_pixels(GRID)
    assert [refusal.distance_px for refusal in placed.refused] == pytest.approx([5, 7])
    assert str(placed.refused[0]) == "points/1: outside the raster by 5 px"


def test_numbers_that_are_none_are_refused_one_by_one() -> None:
    points = [at(5, 5), (np.nan, 1.0), (np.inf, np.inf), (1e40, 1e40)]
    placed = Prompts(points=points, crs="raster").to_pixels(GRID)
    assert refusals(placed) == {
        "points/1": "coordinates that are not finite numbers",
        "points/2": "coordinates that are not finite numbers",
        "points/3": "outside the raster",
    }
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*at(5, 5))
    placed = Prompts(points=[(lon, lat), (10.0, 95.0)], crs=4326).to_pixels(GRID)
    assert refusals(placed) == {"points/1": "outside the domain of the raster's CRS"}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)), min_size=1, max_size=8))
def test_accepted_and_refused_are_all_that_was_given(points: list[tuple[float, float]]) -> None:
    layer = [*points, at(3, 3), at(3, 4)]
    placed = Prompts(points=layer, crs="raster").to_pixels(GRID)
    assert placed.report["accepted"] + placed.report["refused"] == placed.report["given"] == len(layer)
    assert len(placed.refused) == placed.report["refused"]
    assert len(placed) + placed.report["duplicates"] == placed.report["accepted"]


def test_pixel_coordinates() -> None:
    placed = Prompts(points=[(10.5, 20.5)], crs="pixel").to_pixels(GRID)
    assert placed.points.tolist() == [[10.0, 20.0]]
    coarse = GRID.rescaled(1.0)
    assert coarse.width == 100
    placed = Prompts(points=[(10.5, 20.5)], crs="pixel").to_pixels(coarse, native_grid=GRID)
    assert np.allclose(placed.points, [[4.75, 9.75]])


def test_no_crs_anywhere_is_fine_in_the_rasters_own_coordinates() -> None:
    bare = Grid(width=10, height=10, transform=Affine(2, 0, 0, 0, 2, 0))
    assert Prompts(points=[(3, 5)], crs="raster").to_pixels(bare).points.tolist() == [[1.0, 2.0]]
    with pytest.raises(PromptError, match="the raster has no CRS"):
        Prompts(points=[(3, 5)], crs=4326).to_pixels(bare)


def test_a_local_crs_cannot_be_reached_from_the_globe() -> None:
    site = Grid(width=10, height=10, transform=Affine(2, 0, 0, 0, 2, 0), crs=parse_crs(LOCAL))
    with pytest.raises(PromptError, match="no way from"):
        Prompts(points=[(3, 5)], crs=4326).to_pixels(site)


def test_nodata_refuses_clicks() -> None:
    prompts = Prompts(points=[at(5.9, 5.2), at(60, 6)], crs="raster")
    placed = prompts.to_pixels(GRID, valid=lambda rows, cols: (rows != 5) | (cols != 5))
    assert refusals(placed) == {"points/0": "on nodata"}


def test_the_antimeridian() -> None:
    grid = Grid(width=40, height=20, transform=Affine(0.1, 0, 178, 0, -0.1, -16), crs=parse_crs(4326))
    placed = Prompts(points=[(-179.05, -17.05)], boxes=[(179, -17, -179, -16.5)], crs=4326).to_pixels(grid)
    assert np.allclose(placed.points, [[29, 10]])
    assert np.allclose(placed.boxes[1], [9.5, 4.5, 29.5, 9.5])


# ---- boxes ----


def test_boxes_are_normalised_cut_and_refused_when_flat() -> None:
    boxes = [
        (*at(30, 40), *at(10, 20)),
        (*at(-50, -50), *at(20, 20)),
        (*at(5, 5), *at(5, 9)),
        (*at(300, 5), *at(310, 9)),
    ]
    placed = Prompts(boxes=boxes, crs="raster").to_pixels(GRID)
    assert np.allclose(placed.boxes, [[9.5, 19.5, 29.5, 39.5], [-0.5, -0.5, 19.5, 19.5]])
    assert [refusal.prompt_id for refusal in placed.refused] == ["boxes/2", "boxes/3"]
    assert "no width" in placed.refused[0].reason
    assert placed.refused[1].distance_px == pytest.approx(100)
    assert placed[1].window == Window(row=0, col=0, height=20, width=20)


def test_a_box_larger_than_the_raster_is_the_raster() -> None:
    placed = Prompts(boxes=[(*at(-1e6, -1e6), *at(1e6, 1e6))], crs="raster").to_pixels(GRID)
    assert np.allclose(placed.boxes, [[-0.5, -0.5, 199.5, 99.5]])
    assert placed[0].window == GRID.window


def test_edges_of_a_box_from_another_crs_are_curves() -> None:
    """A parallel bulges towards the equator on the map, so the corners alone would cut a box off."""
    grid = Grid(width=2000, height=3000, transform=Affine(100, 0, 400_000, 0, -100, 6_800_000), crs=parse_crs(32633))
    bounds = (14.0, 59.0, 16.0, 61.0)
    placed = Prompts(boxes=[bounds], crs=4326).to_pixels(grid)
    lon = np.linspace(bounds[0], bounds[2], 20_001)
    transformer = Transformer.from_crs(4326, 32633, always_xy=True)
    edges = [grid.to_pixel(*transformer.transform(lon, np.full_like(lon, lat))) for lat in (bounds[1], bounds[3])]
    rows = np.concatenate([edge[1] for edge in edges])
    corner_rows = np.concatenate([edge[1][[0, -1]] for edge in edges])
    assert placed.boxes[0, 1] + 0.5 == pytest.approx(rows.min(), abs=0.05)
    assert placed.boxes[0, 3] + 0.5 == pytest.approx(rows.max(), abs=0.05)
    assert rows.max() - corner_rows.max() > 4


def test_a_rotated_raster_takes_the_pixel_bounds_of_a_map_box() -> None:
    turned = Affine.translation(5e5, 5e6) @ Affine.rotation(30)
    grid = Grid(width=400, height=400, transform=turned, crs=parse_crs(32633))
    corners = [at(*corner, grid) for corner in [(100, 100), (120, 100), (120, 120), (100, 120)]]
    placed = Prompts(boxes=[shapely.Polygon(corners)], crs="raster").to_pixels(grid)
    assert np.allclose(placed.boxes + 0.5, [[100, 100, 120, 120]], atol=1e-6)


# ---- masks ----


def test_an_outline_is_a_box_a_point_inside_and_itself() -> None:
    u = shapely.Polygon([(0, 0), (30, 0), (30, 30), (20, 30), (20, 10), (10, 10), (10, 30), (0, 30)])
    u = shapely.transform(u, lambda xy: np.stack(GRID.to_map(xy[:, 0] + 40, xy[:, 1] + 40), 1))
    placed = Prompts(masks=table([{"geometry": u}])).to_pixels(GRID)
    one = placed[0]
    assert one.box == pytest.approx((39.5, 39.5, 69.5, 69.5))
    assert one.labels.tolist() == [1]
    assert shapely.contains(one.polygon, shapely.Point(one.points[0] + 0.5))
    assert shapely.area(one.polygon) == pytest.approx(700)


def test_outlines_that_reach_beyond_the_raster_or_are_broken() -> None:
    bow = [at(10, 10), at(30, 30), at(30, 10), at(10, 30)]
    out = [at(190, 50), at(400, 50), at(400, 60), at(190, 60)]
    gone = [at(300, 50), at(400, 50), at(400, 60), at(300, 60)]
    rows = [shapely.Polygon(bow), shapely.Polygon(out), shapely.Polygon(gone), shapely.LineString(bow)]
    placed = Prompts(masks=rows, crs="raster").to_pixels(GRID)
    assert np.allclose(placed.boxes, [[9.5, 9.5, 29.5, 29.5], [189.5, 49.5, 199.5, 59.5]])
    assert placed.points[1, 0] < 199.5
    assert refusals(placed) == {"masks/2": "outside the raster", "masks/3": "a LineString; expected a polygon"}


# ---- layers ----


def test_a_layer_without_crs_names_the_option() -> None:
    with pytest.raises(PromptError, match="--prompt-crs"):
        Prompts(points=gpd.GeoDataFrame(geometry=[shapely.Point(1, 2)]))
    with pytest.raises(PromptError, match="--prompt-crs"):
        Prompts(points=[(1, 2)])
    with pytest.raises(PromptError, match="--prompt-crs nonsense"):
        Prompts(points=[(1, 2)], crs="nonsense")


def test_its_own_crs_counts_more_than_a_stated_one() -> None:
    assert len(Prompts(points=table([click(5, 5)]), crs=4326).to_pixels(GRID)) == 1


def test_a_compound_crs_places_by_its_horizontal_part() -> None:
    layer = gpd.GeoDataFrame(geometry=[shapely.Point(*at(5, 5), 100.0)], crs="EPSG:32633+5773")
    assert np.allclose(Prompts(points=layer).to_pixels(GRID).points, [[4.5, 4.5]])


def test_geojson_is_lon_lat_unless_it_says_otherwise() -> None:
    lon, lat = Transformer.from_crs(32633, "OGC:CRS84", always_xy=True).transform(*at(5, 5))
    assert np.allclose(Prompts(points=geojson(lon, lat)).to_pixels(GRID).points, [[4.5, 4.5]], atol=1e-3)
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    assert np.allclose(Prompts(points=geojson(*at(5, 5), crs=crs)).to_pixels(GRID).points, [[4.5, 4.5]])
    feature = geojson(lon, lat)["features"][0]
    assert len(Prompts(points=feature).to_pixels(GRID)) == len(Prompts(points=feature["geometry"]).to_pixels(GRID)) == 1
    with pytest.raises(PromptError, match="names no CRS"):
        Prompts(points=geojson(1, 2, crs={"type": "name", "properties": {"name": "nonsense"}}))
    for broken in ({"type": "Nothing"}, {"type": "FeatureCollection"}, {"type": "FeatureCollection", "features": [3]}):
        with pytest.raises(PromptError, match="GeoJSON"):
            Prompts(points=broken)


@pytest.mark.parametrize("name", ["layer.gpkg", "layer.geojson", "layer.shp", "layer.fgb", "layer.parquet"])
def test_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*GRID.to_map([5, 9], [5, 9]))
    layer = gpd.GeoDataFrame({"kind": ["oak", "elm"]}, geometry=gpd.points_from_xy(lon, lat), crs=4326)
    layer.to_parquet(path) if name.endswith("parquet") else layer.to_file(path)
    placed = Prompts(points=path).to_pixels(GRID)
    first = 1 if name.endswith("gpkg") else 0
    assert placed.prompt_ids.tolist() == [f"points/{first}", f"points/{first + 1}"]
    assert placed.columns == {"kind": "str"}
    elm = placed.values["kind"].tolist().index("elm")  # FlatGeobuf puts features in an order of its own
    assert np.allclose(placed[elm].points + 0.5, [[9, 9]], atol=1e-3)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="cannot be read"):
        Prompts(points=tmp_path / "nowhere.gpkg")
    (tmp_path / "broken.geojson").write_text("{")
    with pytest.raises(PromptError, match="cannot be read"):
        Prompts(points=tmp_path / "broken.geojson")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PromptError, match="without geometries"):
        Prompts(points=tmp_path / "table.csv")


def test_several_layers_are_not_guessed_from(tmp_path: Path) -> None:
    path = tmp_path / "two.gpkg"
    table([click(5, 5)]).to_file(path, layer="oaks")
    table([click(7, 7)]).to_file(path, layer="elms")
    with pytest.raises(PromptError, match=r"2 layers, oaks, elms.*layername=oaks"):
        Prompts(points=path)
    assert np.allclose(Prompts(points=f"{path}|layername=elms").to_pixels(GRID).points, [[6.5, 6.5]])


def test_the_users_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "busy.gpkg"
    table([click(5, 5)]).to_file(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
    before = path.read_bytes()
    assert len(Prompts(points=path).to_pixels(GRID)) == 1
    assert path.read_bytes() == before
    path.chmod(0o400)
    assert len(Prompts(points=path).to_pixels(GRID)) == 1


def test_empty_and_odd_geometries() -> None:
    with pytest.raises(PromptError, match="0 features"):
        Prompts(points=gpd.GeoDataFrame(geometry=[], crs=4326))
    with pytest.raises(PromptError, match=r"0 of 2 prompts can be used.*no geometry"):
        Prompts(points=gpd.GeoDataFrame(geometry=[None, shapely.Point()], crs=32633)).to_pixels(GRID)
    rows = [click(5, 5), {"geometry": shapely.box(*at(1, 1), *at(2, 2))}, {"geometry": None}]
    placed = Prompts(points=table(rows)).to_pixels(GRID)
    assert refusals(placed) == {"points/1": "a Polygon; expected a point", "points/2": "no geometry"}


def test_a_multipoint_is_one_object_of_several_prompts() -> None:
    rows = [{"geometry": shapely.MultiPoint([at(5, 5), at(300, 5), at(9, 9)])}, click(20, 20)]
    placed = Prompts(points=table(rows)).to_pixels(GRID)
    assert placed.prompt_ids.tolist() == ["points/0", "points/1"]
    assert np.allclose(placed[0].points, [[4.5, 4.5], [8.5, 8.5]])
    assert refusals(placed) == {"points/0.2": "outside the raster"}
    assert placed.report["given"] == 4


def test_heights_are_left_out() -> None:
    layer = table([{"geometry": shapely.Point(*at(5, 5), 77.0)}])
    assert np.allclose(Prompts(points=layer).to_pixels(GRID).points, [[4.5, 4.5]])


# ---- where a whole layer is wrong ----


def test_swapped_axes_are_recognised() -> None:
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*GRID.to_map([5, 9, 50], [5, 9, 50]))
    swapped = np.stack([lat, lon], axis=1)
    with pytest.raises(PromptError, match="swapped"):
        Prompts(points=swapped, crs=4326).to_pixels(GRID)
    with pytest.raises(PromptError, match="swapped"):
        Prompts(points=swapped[:1], crs=4326).to_pixels(GRID)
    boxes = np.column_stack([swapped[:1], swapped[2:]])
    with pytest.raises(PromptError, match="swapped"):
        Prompts(boxes=boxes, crs=4326).to_pixels(GRID)


def test_a_wrong_crs_shows_both_extents() -> None:
    points = [at(col, 50) for col in range(10, 60, 5)]
    with pytest.raises(PromptError, match=r"0 of 10 points lie on the raster.*prompts span .* raster 500000, 4999950"):
        Prompts(points=points, crs=32632).to_pixels(GRID)


def test_a_layer_of_the_whole_country_is_no_wrong_crs() -> None:
    x, y = np.meshgrid(np.arange(300_000, 700_000, 10_000), np.arange(4_800_000, 5_200_000, 10_000))
    far = np.stack([x.ravel() + 1, y.ravel() + 1], axis=1)
    placed = Prompts(points=[*far, at(5, 5)], crs=32633).to_pixels(GRID)
    assert len(placed) == 1
    assert placed.prompt_ids.tolist() == ["points/1600"]


def test_few_that_all_miss_say_how_far() -> None:
    with pytest.raises(NoUsablePromptError, match=r"0 of 1 prompts can be used: points/0: outside the raster by 50 px"):
        Prompts(points=[at(250, 50)], crs="raster").to_pixels(GRID)


def test_an_error_about_all_prompts_says_why_as_a_value() -> None:
    with pytest.raises(NoUsablePromptError) as refused:
        Prompts(points=[at(250, 50), at(260, 50), (math.nan, 0)], crs="raster").to_pixels(GRID)
    again = pickle.loads(pickle.dumps(refused.value))
    assert again.reasons == {"outside the raster", "coordinates that are not finite numbers"}
    assert str(again) == str(refused.value)
    assert "--" not in str(again), "options are the command line's"


def test_a_coarse_datum_warns() -> None:
    leipzig = replace(GRID, transform=Affine(0.5, 0, 317_000, 0, -0.5, 5_690_000))
    lon, lat = Transformer.from_crs(32633, 4314, always_xy=True).transform(*at(50, 50, leipzig))
    with pytest.warns(SamgeoWarning, match=r"may be off .* a pixel is 0\.5 m"):
        placed = Prompts(points=[(lon, lat)], crs=4314).to_pixels(leipzig)
    assert "DHDN" in placed.report["operation"]
    assert placed.report["layers"][0]["accuracy_px"] > 1
