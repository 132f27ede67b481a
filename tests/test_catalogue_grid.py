"""The catalogue of rasters that lie oddly, row by row (G1 to G22): each is handled exactly, or refused with a fix.

Where rasters lie in all the ordinary ways (G6 to G12, G15, G19) clicks are followed to their pixel in `test_address`.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from pyproj import CRS, Transformer
from rasterio.control import GroundControlPoint

from samgeo.cli import samgeo
from samgeo.errors import PromptError, RasterError, SamgeoWarning, UsageError
from samgeo.grid import Grid, horizontal_crs, parse_crs
from samgeo.pipeline import tilejob
from samgeo.pipeline.segment import segment
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from samgeo.session import Session
from samgeo.settings import Settings
from tests.address import HEIGHT, KINDS, PIXELS, TILED, WIDTH, AddressModel, covered, places, write_kind
from tests.doubles import NORTH_UP, address_raster
from tests.prompting import LOCAL, at
from tests.rasters import noise, write

PACKAGE = Path(__file__).resolve().parent.parent / "samgeo"
SIZE = {"width": WIDTH, "height": HEIGHT, "dtype": "uint8", "photometric": "rgb"}
CENTRE = (0.5, 0.5)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command, with the address model in place of every model."""
    monkeypatch.setattr(tilejob, "_load", lambda address: AddressModel())
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object):
        return CliRunner().invoke(samgeo, ["segment", *map(str, arguments), "--tile", "48", "--no-cache"])

    return invoke


def answered(path, prompts, settings=TILED):
    """The pixels of each feature."""
    with segment(path, prompts, model=AddressModel(), settings=settings) as result:
        return [covered(path, feature.geometry) for feature in result]


def test_a_million_affines_lead_to_the_map_and_back_within_a_millionth_of_a_pixel():
    """Pixels of 1 cm to 1 km, rotated, sheared, flipped, not square, origins to 1e7, all at once."""
    n = 1_000_000
    rng = np.random.default_rng(22)
    angle, shear = rng.uniform(0, 2 * np.pi, n), np.tan(rng.uniform(-1, 1, n))
    side = np.exp(rng.uniform(np.log(0.01), np.log(1000), (2, n))) * rng.choice([-1, 1], (2, n))
    cos, sin = np.cos(angle), np.sin(angle)
    a, d = side[0] * cos, side[0] * sin
    b, e = side[1] * (cos * shear - sin), side[1] * (sin * shear + cos)
    c, f = rng.uniform(-1e7, 1e7, (2, n))
    grid = object.__new__(Grid)  # one grid with a million transforms: its arithmetic does not mind
    object.__setattr__(grid, "transform", SimpleNamespace(a=a, b=b, c=c, d=d, e=e, f=f, determinant=a * e - b * d))
    cols, rows = rng.uniform(-10, 1000, (2, n))
    x, y = grid.to_map(cols, rows)
    back = grid.to_pixel(x, y)
    assert np.abs(back - np.array([cols, rows])).max() < 1e-6
    one = Affine(a[7], b[7], c[7], d[7], e[7], f[7])
    assert Grid(width=9, height=9, transform=one).to_map(cols[7], rows[7]) == (x[7], y[7])
    assert np.allclose((x[7], y[7]), one @ (cols[7], rows[7]), rtol=1e-14)


def test_g1_no_crs(run, tmp_path):
    path = address_raster(tmp_path / "a.tif", crs=None, **SIZE)
    x, y = NORTH_UP @ (3.5, 2.5)
    assert answered(path, Prompts(points=[(x, y)], crs="raster")) == [[(2, 3)]]
    assert answered(path, Prompts(points=[(3.5, 2.5)], crs="pixel")) == [[(2, 3)]]
    refused = run("a.tif", "o.gpkg", "--point", "15,45", "--prompt-crs", "EPSG:4326")
    assert refused.exit_code == 4
    assert "the raster has no CRS" in refused.stderr
    assert "--raster-crs EPSG:CODE" in refused.stderr
    done = run("a.tif", "o.gpkg", "--point", f"{x},{y}")
    assert done.exit_code == 0
    assert "no CRS, so o.gpkg will have none either" in done.stderr
    assert not geopandas.read_file("o.gpkg").crs or "Undefined" in geopandas.read_file("o.gpkg").crs.name


def test_g1_the_crs_can_be_stated(run, tmp_path):
    path = address_raster(tmp_path / "a.tif", crs=None, **SIZE)
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*NORTH_UP @ (3.5, 2.5))
    point = ("--point", f"{lon},{lat}", "--prompt-crs", "EPSG:4326")
    done = run(path, "o.gpkg", *point, "--raster-crs", "EPSG:32633")
    assert done.exit_code == 0, done.output
    table = geopandas.read_file("o.gpkg")
    assert table.crs == "EPSG:32633"
    assert covered(path, table.geometry[0]) == [(2, 3)]
    assert run(path, "o.gpkg", *point, "--raster-crs", "EPSG:nonsense").exit_code == 2
    assert (
        "CRS      WGS 84 / UTM zone 33N"
        in run(path, "p.gpkg", *point, "--raster-crs", "EPSG:32633", "--dry-run").stdout
    )
    stated = Settings(raster_crs="EPSG:32633", tile_px=48, use_cache=False)
    with Session(path, model=AddressModel(), settings=stated) as session:
        assert session.crs == CRS(32633)
    with Raster(path) as raster, pytest.raises(UsageError, match="stated there only"):
        segment(raster, model=AddressModel(), settings=stated)


def test_g2_no_transform_takes_pixels_only(run, tmp_path):
    address_raster(tmp_path / "a.tif", crs="EPSG:32633", transform=None, **SIZE)
    refused = run("a.tif", "o.gpkg", "--point", "3.5,2.5")
    assert refused.exit_code == 3
    assert "a.tif: cannot be placed on the map, it has no geotransform. Fix: gdal_edit.py" in refused.stderr
    assert run("a.tif", "o.gpkg", "--point", "3.5,2.5", "--raster-crs", "EPSG:32633").exit_code == 3
    done = run("a.tif", "o.gpkg", "--point", "3.5,2.5", "--prompt-crs", "pixel")
    assert done.exit_code == 0, done.output
    assert geopandas.read_file("o.gpkg").geometry[0].bounds == (3, 2, 4, 3)
    assert "o.gpkg will be in columns and rows" in done.stderr
    with Session("a.tif", model=AddressModel(), settings=TILED) as session:
        assert session.crs is None
        session.add_point(3.5, 2.5)
        assert session.chosen.geometry.bounds == (3, 2, 4, 3)


def test_g3_g4_control_points_or_coefficients_alone_are_refused_for_map_prompts(run, tmp_path):
    corners = [(0, 0, 10, 50), (0, 30, 11, 50), (20, 0, 10, 49), (20, 30, 11, 49)]
    points = [GroundControlPoint(row=row, col=col, x=x, y=y) for row, col, x, y in corners]
    terms = {f"{way}_{part}_coeff": [1] * 20 for way in ("line", "samp") for part in ("num", "den")}
    scales = {f"{name}_{kind}": 1 for name in ("height", "lat", "line", "long", "samp") for kind in ("off", "scale")}
    for name, extra, fix in [
        ("gcp.tif", {"gcps": (points, rasterio.crs.CRS.from_epsg(4326))}, "gdalwarp -t_srs EPSG:4326"),
        ("rpc.tif", {"rpcs": rasterio.rpc.RPC(**terms, **scales)}, "gdalwarp -rpc"),
    ]:
        write(tmp_path / name, noise(3), crs=None, transform=None, **extra)
        refused = run(name, "o.gpkg", "--point", "10.5,49.5", "--overwrite")
        assert refused.exit_code == 3
        assert f"{name}: cannot be placed on the map" in refused.stderr
        assert fix in refused.stderr
        assert run(name, "o.gpkg", "--point", "3.5,2.5", "--prompt-crs", "pixel", "--overwrite").exit_code == 0


def test_g5_an_identity_that_is_stated_is_a_transform(run, tmp_path):
    address_raster(tmp_path / "a.tif", crs=None, transform=Affine.identity(), **SIZE)
    assert run("a.tif", "o.gpkg", "--point", "3.5,2.5").exit_code == 0
    assert geopandas.read_file("o.gpkg").geometry[0].bounds == (3, 2, 4, 3)


@pytest.mark.parametrize("name", ["rotated", "sheared", "south up", "right to left", "not square"])
def test_g6_g7_g8_outlines_are_valid_and_boxes_cover_their_pixels(name, tmp_path):
    kind = KINDS[name]
    path = write_kind(tmp_path / "a.tif", kind)
    ring = [kind.transform @ corner for corner in [(30, 20), (70, 20), (70, 60), (30, 60)]]
    with segment(
        path, Prompts(boxes=[shapely.Polygon(ring)], crs=kind.crs), model=AddressModel(), settings=TILED
    ) as result:
        (feature,) = result
    polygon = feature.geometry.geoms[0] if feature.geometry.geom_type == "MultiPolygon" else feature.geometry
    assert polygon.is_valid
    inside = set(covered(path, polygon))
    asked = {(row, col) for row in range(20, 60) for col in range(30, 70)}
    assert asked <= inside
    if name in ("south up", "right to left", "not square"):
        assert asked == inside
        assert polygon.exterior.is_ccw, "outer rings run against the clock, as RFC 7946 and OGC have it"
    area = abs(kind.transform.determinant) * len(inside)
    assert polygon.area == pytest.approx(area, rel=1e-9)


@pytest.mark.parametrize("name", ["lon lat", "feet", "grads", "web mercator"])
def test_g9_g10_metres_are_ground_metres_in_any_unit(name, tmp_path):
    kind = KINDS[name]
    path = write_kind(tmp_path / "a.tif", kind)
    prompts = Prompts(points=places(path, at=CENTRE), crs="raster")
    with segment(path, prompts, model=AddressModel(), settings=TILED) as result:
        areas = [feature.attributes["area_m2"] for feature in result]
        for feature, area in zip(result, areas, strict=True):
            degrees = shapely.transform(feature.geometry, geodetic(kind.crs))
            geod = CRS(kind.crs).get_geod()
            assert area == pytest.approx(abs(geod.geometry_area_perimeter(degrees)[0]), rel=1e-6)
    middle = sorted(areas)[3]
    kept = answered(path, prompts, Settings(tile_px=48, overlap_px=8, use_cache=False, min_area_m2=middle))
    assert len(kept) == sum(area >= middle for area in areas)
    with Raster(path, resolution_m=2 * math.sqrt(middle)) as coarse:
        assert coarse.grid.gsd_m == pytest.approx(2 * math.sqrt(middle), rel=0.02)


def geodetic(crs):
    own = CRS(crs)
    factor = math.degrees(own.geodetic_crs.axis_info[0].unit_conversion_factor)
    way = Transformer.from_crs(own, own.geodetic_crs, always_xy=True)
    return lambda xy: np.stack(way.transform(*xy.T), axis=1) * factor


# The antimeridian and the poles -------------------------------------------------------------------------------------

FIJI = Grid(width=400, height=100, transform=Affine(0.01, 0, 178, 0, -0.01, -16.5), crs=parse_crs(4326))


def test_g11_a_prompt_that_was_split_at_the_antimeridian_is_one():
    """RFC 7946, section 3.1.9, and what this package itself writes."""
    split = shapely.MultiPolygon([shapely.box(179, -17, 180, -16.6), shapely.box(-180, -17, -178.5, -16.6)])
    for kind in ("boxes", "masks"):
        placed = Prompts(**{kind: geopandas.GeoDataFrame(geometry=[split], crs=4326)}).to_pixels(FIJI)
        assert np.allclose(placed.boxes + 0.5, [[100, 10, 350, 50]], atol=1e-6)
    assert shapely.area(placed.polygons[0]) == pytest.approx(250 * 40)
    assert placed.polygons[0].geom_type == "Polygon"


@pytest.mark.parametrize("lon", [179.995, -180.005, 539.995])
def test_g11_longitudes_count_modulo_a_turn(lon):
    assert np.allclose(Prompts(points=[(lon, -17)], crs=4326).to_pixels(FIJI).points + 0.5, [[199.5, 50]])


def test_g11_the_last_meridian_of_a_globe_is_its_first():
    globe = Grid(width=360, height=180, transform=Affine(1, 0, -180, 0, -1, 90), crs=parse_crs(4326))
    placed = Prompts(points=[(-180, 0.5), (180, 10.5), (179.5, 0.5)], crs=4326).to_pixels(globe)
    assert placed.points[:, 0].tolist() == [-0.5, -0.5, 359]


def test_g11_web_mercator_goes_on_across_the_antimeridian():
    half = math.pi * 6378137
    grid = Grid(width=100, height=100, transform=Affine(1000, 0, half - 50_000, 0, -1000, -1.8e6), crs=parse_crs(3857))
    across = math.degrees(25_500 / 6378137)
    placed = Prompts(points=[(180 - across, -16.5), (-180 + across, -16.5)], crs=4326).to_pixels(grid)
    assert np.allclose(placed.points[:, 0] + 0.5, [24.5, 75.5])
    assert np.allclose(Prompts(points=[(25_500 - half, -1.85e6)], crs=3857).to_pixels(grid).points + 0.5, [[75.5, 50]])


def test_g11_an_outline_across_the_antimeridian_is_split_in_geojson_and_comes_back_whole(tmp_path):
    path = write_kind(tmp_path / "a.tif", KINDS["antimeridian in degrees"])
    box = (179.96, -16.56, -179.96, -16.52)
    settings = Settings(tile_px=120, use_cache=False)
    prompts = Prompts(boxes=[box], crs=4326)
    with segment(path, prompts, model=AddressModel(), settings=settings, output=tmp_path / "o.geojson") as result:
        pixels = covered(path, result[0].geometry)
    assert {(row, col) for row, col in pixels} == {(row, col) for row in range(20, 60) for col in range(20, 100)}
    again = Prompts(boxes=tmp_path / "o.geojson")
    with Raster(path) as raster:
        assert np.allclose(again.to_pixels(raster.grid).boxes + 0.5, [[20, 20, 100, 60]], atol=1e-3)


def test_g12_a_box_of_longitudes_and_latitudes_around_the_pole_is_its_whole_cap():
    grid = Grid(width=400, height=400, transform=Affine(10_000, 0, -2e6, 0, -10_000, 2e6), crs=parse_crs(3413))
    placed = Prompts(boxes=[(-180, 80, 180, 90)], crs=4326).to_pixels(grid)
    x, y = Transformer.from_crs(4326, 3413, always_xy=True).transform(np.linspace(-180, 180, 9999), np.full(9999, 80.0))
    radius = np.hypot(x, y).max() / 10_000
    assert np.allclose(placed.boxes + 0.5, [[200 - radius, 200 - radius, 200 + radius, 200 + radius]], atol=0.5)


# Coordinate reference systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "flat", "transform"),
    [
        ("EPSG:32633+5773", "EPSG:32633", NORTH_UP),
        ("EPSG:4979", "EPSG:4326", Affine(1e-5, 0, 10, 0, -1e-5, 50)),
    ],
)
def test_g13_heights_of_a_crs_are_left_out_and_said(crs, flat, transform, run, tmp_path):
    path = address_raster(tmp_path / "a.tif", crs=crs, transform=transform, **SIZE)
    x, y = transform @ (3.5, 2.5)
    done = run("a.tif", "o.gpkg", "--point", f"{x},{y}")
    assert done.exit_code == 0, done.output
    assert "heights are left out" in done.stderr
    table = geopandas.read_file("o.gpkg")
    assert table.crs == flat
    assert not table.geometry.has_z.any()
    assert covered(path, table.geometry[0]) == [(2, 3)]


@pytest.mark.parametrize(("code", "found"), [(5773, "heights alone"), (4978, "distances from the centre")])
def test_g13_a_crs_without_a_map_is_refused(code, found, tmp_path):
    with pytest.raises(RasterError, match=found):
        horizontal_crs(CRS(code))
    with pytest.raises(RasterError, match=found):
        Raster(address_raster(tmp_path / "a.tif", **SIZE), crs=code)
    with pytest.raises(PromptError, match=f"--prompt-crs {code}.*{found}"):
        Prompts(points=[(1, 2)], crs=code)


def test_g14_a_local_crs_is_reached_from_itself_alone(tmp_path):
    path = address_raster(tmp_path / "a.tif", crs=LOCAL, transform=Affine(2, 0, 40, 0, -2, 50), **SIZE)
    assert answered(path, Prompts(points=[(47, 45)], crs=LOCAL)) == [[(2, 3)]]
    for other in (LOCAL.replace("site", "another site"), "EPSG:4326", "EPSG:32633"):
        with pytest.raises(PromptError, match=r"no way from .* local CRS.*--prompt-crs raster"):
            answered(path, Prompts(points=[(47, 45)], crs=other))
    utm = address_raster(tmp_path / "b.tif", **SIZE)
    with pytest.raises(PromptError, match="no way from one to the other, since site is a local CRS"):
        answered(utm, Prompts(points=[(47, 45)], crs=LOCAL))


def test_g15_a_crs_without_a_code_travels_as_wkt(tmp_path):
    kind = KINDS["wkt only"]
    path = write_kind(tmp_path / "a.tif", kind)
    assert CRS(kind.crs).to_epsg() is None
    prompts = Prompts(points=places(path, at=CENTRE, crs="EPSG:4326"), crs="EPSG:4326")
    for name in ("o.gpkg", "o.parquet", "o.fgb", "o.shp"):
        segment(path, prompts, model=AddressModel(), settings=TILED, output=tmp_path / name).close()
        table = (geopandas.read_parquet if name.endswith("parquet") else geopandas.read_file)(tmp_path / name)
        assert table.crs.equals(CRS(kind.crs), ignore_axis_order=True), name
        found = [covered(path, geometry) for geometry in table.geometry]
        assert sorted(found) == sorted([pixel] for pixel in PIXELS)


def test_g16_every_transformer_of_the_package_has_x_first():
    found = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("Transformer.from_crs", "TransformerGroup", "Transformer.from_pipeline", "Transformer.from_proj")
            ):
                found += 1
                xy = [keyword.value for keyword in node.keywords if keyword.arg == "always_xy"]
                assert [ast.unparse(value) for value in xy] == ["True"], f"{path}:{node.lineno}"
    assert found >= 3


def test_g17_swapped_coordinates_are_named_and_never_swapped_back(run, tmp_path):
    path = write_kind(tmp_path / "a.tif", KINDS["utm"])
    lon, lat = places(path, at=CENTRE, crs="EPSG:4326")[4]
    done = run("a.tif", "o.gpkg", "--point", f"{lat},{lon}", "--prompt-crs", "EPSG:4326")
    assert done.exit_code == 4
    assert "--point: 0 of 1 points lie on the raster, but 1 do with the two coordinates swapped" in done.stderr
    assert not Path("o.gpkg").exists()
    assert run("a.tif", "o.gpkg", "--point", f"{lon},{lat}", "--prompt-crs", "EPSG:4326").exit_code == 0
    x, y = places(path, at=CENTRE)[4]
    with Session(path, model=AddressModel(), settings=TILED) as session, pytest.raises(PromptError, match="swapped"):
        session.add_point(y, x)


# The datum ----------------------------------------------------------------------------------------------------------

LEIPZIG = Affine(0.5, 0, 317_000, 0, -0.5, 5_690_000)


def dhdn(col, row):
    """A place of Leipzig's raster on a datum that is metres away without a grid file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Transformer.from_crs(32633, 4314, always_xy=True).transform(*LEIPZIG @ (col, row))


def test_g18_operation_and_accuracy_in_metres_and_pixels_are_reported_and_told(run, tmp_path):
    address_raster(tmp_path / "a.tif", transform=LEIPZIG, **SIZE)
    x, y = dhdn(50, 50)
    point = ("--point", f"{x},{y}", "--prompt-crs", "EPSG:4314", "--report", "r.json")
    done = run("a.tif", "o.gpkg", *point)
    assert done.exit_code == 0, done.output
    told = json.loads(Path("r.json").read_text())["prompts"]
    assert "DHDN to WGS 84" in told["operation"]
    assert told["accuracy_m"] >= 1
    assert told["accuracy_px"] == pytest.approx(told["accuracy_m"] / 0.5, rel=1e-3)
    assert told["layers"][0]["accuracy_px"] == told["accuracy_px"]
    assert f"may be off by {told['accuracy_m']:g} m, which is" in done.stderr
    assert "px; a pixel is 0.5 m. Operation:" in done.stderr


def test_g18_strict_crs_refuses_what_else_is_warned_of(run, tmp_path):
    address_raster(tmp_path / "a.tif", transform=LEIPZIG, **SIZE)
    x, y = dhdn(50, 50)
    refused = run("a.tif", "o.gpkg", "--point", f"{x},{y}", "--prompt-crs", "EPSG:4314", "--strict-crs")
    assert refused.exit_code == 4
    assert "Expected at most a pixel with --strict-crs. Fix: " in refused.stderr
    assert not Path("o.gpkg").exists()
    coarse = run(
        "a.tif", "o.gpkg", "--point", f"{x},{y}", "--prompt-crs", "EPSG:4314", "--strict-crs", "--resolution", "20"
    )
    assert coarse.exit_code == 0, "a pixel of 20 m is more than the datum is off"
    x, y = LEIPZIG @ (50, 50)
    assert run("a.tif", "p.gpkg", "--point", f"{x},{y}", "--strict-crs").exit_code == 0


def test_g18_the_least_accurate_operation_that_was_used_is_the_one_that_counts():
    from samgeo.prompts.placement import place
    from samgeo.prompts.route import Operation, Route, Target

    class Half:
        """Has no answer for the east."""

        def transform(self, x, y):
            return np.where(x < 500_050, x, np.inf), y

    class Rest:
        def transform(self, x, y):
            return x, y

    grid = Grid(width=200, height=100, transform=NORTH_UP, crs=parse_crs(32633))
    fine, coarse = Operation(name="by grid", accuracy_m=0.01), Operation(name="by seven numbers", accuracy_m=3.0)
    route = Route(transformers=(Half(), Rest()), operations=(fine, coarse))
    west = Prompts(points=[at(5, 5)], crs=25833).layers[0]
    target = Target(grid=grid, route=route, native=grid)
    placed = place(west, target)
    assert route.worst(placed.way) == fine
    both = Prompts(points=[at(5, 5), at(150, 5)], crs=25833).layers[0]
    placed = place(both, target)
    assert placed.way.tolist() == [0, 1]
    assert route.worst(placed.way) == coarse


# What files say -----------------------------------------------------------------------------------------------------


def geotiff(path, *, raster_type):
    """A GeoTIFF written tag by tag: tie point and pixel scale as the specification has them, GDAL has no part in it."""
    tags = ImageFileDirectory_v2()
    tags[33550], tags.tagtype[33550] = (0.5, 0.5, 0.0), 12
    tags[33922], tags.tagtype[33922] = (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0), 12
    keys = [(1024, 0, 1, 1), (1025, 0, 1, raster_type), (3072, 0, 1, 32633)]
    tags[34735], tags.tagtype[34735] = tuple(np.array([(1, 1, 0, len(keys)), *keys]).ravel().tolist()), 3
    rows, cols = np.indices((HEIGHT, WIDTH))
    Image.fromarray(np.stack([rows, cols, rows * 0], axis=-1).astype(np.uint8)).save(path, tiffinfo=tags)
    return path


@pytest.mark.parametrize(("raster_type", "shift"), [(1, 0.0), (2, -0.25)])
def test_g19_a_tie_point_is_a_corner_or_a_centre_as_the_file_says(raster_type, shift, tmp_path):
    """GeoTIFF 1.1, 7.1.2: with PixelIsPoint (2) the tie point is the centre of the first pixel, of 0.5 m here."""
    path = geotiff(tmp_path / "a.tif", raster_type=raster_type)
    with Raster(path) as raster:
        assert raster.grid.transform == Affine(0.5, 0, 500_000 + shift, 0, -0.5, 5_000_000 - shift)
    clicks = [(500_000 + 0.5 * col + shift + 0.01, 5_000_000 - 0.5 * row - shift - 0.01) for row, col in PIXELS]
    assert answered(path, Prompts(points=clicks, crs=32633)) == [[pixel] for pixel in PIXELS]


def test_g19_a_world_file_gives_the_centre_of_the_first_pixel(tmp_path):
    path = address_raster(tmp_path / "a.tif", crs=None, transform=None, **SIZE)
    path.with_suffix(".tfw").write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    with Raster(path) as raster:
        assert raster.grid.transform == NORTH_UP
        assert raster.describe()["georeference_source"] == "WORLDFILE"
    x, y = NORTH_UP @ (3.01, 2.01)
    assert answered(path, Prompts(points=[(x, y)], crs="raster")) == [[(2, 3)]]


@pytest.mark.parametrize(
    ("transform", "crs", "found"),
    [
        (Affine(1e-3, 0, 10, 0, -1e-3, 95), "EPSG:4326", "94.9"),
        (Affine(1, 0, 500_000, 0, -1, 50), "EPSG:4326", "500060"),
        (Affine(1e27, 0, 1e30, 0, -1e27, 1e30), "EPSG:32633", "e[+]30"),
        (Affine(1, 0, 1e30, 0, -1, 1e30), "EPSG:32633", "e[+]30.*64 bits"),
        (Affine(1e-14, 0, 10, 0, -1e-14, 50), "EPSG:4326", "1e-14.*64 bits"),
    ],
)
def test_g21_absurd_extents_are_refused_with_the_numbers(transform, crs, found, tmp_path):
    path = address_raster(tmp_path / "a.tif", crs=crs, transform=transform, **SIZE)
    with pytest.raises(RasterError, match=rf"a\.tif.*{found}.*Fix: "):
        Raster(path)


def test_g21_longitudes_from_0_to_360_and_half_a_pixel_beyond_the_pole_are_not_absurd(tmp_path):
    globe = Affine(3, 0, 181.5, 0, -2.02, 90.9)
    with Raster(address_raster(tmp_path / "a.tif", crs="EPSG:4326", transform=globe, **SIZE)) as raster:
        assert raster.grid.bounds[2] > 540


def test_g22_where_sources_disagree_it_is_said_which_is_believed(tmp_path, monkeypatch):
    path = address_raster(tmp_path / "a.tif", **SIZE)
    world = path.with_suffix(".tfw")
    world.write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    with Raster(path) as raster:  # they agree
        assert raster.describe()["georeference_source"] == "INTERNAL"
    world.write_text("1\n0\n0\n-1\n700000.5\n5999999.5\n")
    with pytest.warns(SamgeoWarning, match=r"a\.tif: INTERNAL puts .* 500000, 5000000, WORLDFILE at 700000, 6000000"):
        raster = Raster(path)
    with raster:
        assert raster.grid.transform == NORTH_UP
    monkeypatch.setenv("GDAL_GEOREF_SOURCES", "WORLDFILE")
    with pytest.warns(SamgeoWarning, match="WORLDFILE is believed"), Raster(path) as raster:
        assert raster.grid.transform == Affine(1, 0, 700_000, 0, -1, 6_000_000)
    monkeypatch.delenv("GDAL_GEOREF_SOURCES")
    world.unlink()
    Path(f"{path}.aux.xml").write_text("<PAMDataset><GeoTransform>600000,1,0,5500000,0,-1</GeoTransform></PAMDataset>")
    with pytest.warns(SamgeoWarning, match="PAM puts"), Raster(path) as raster:
        assert raster.describe()["georeference_source"] == "PAM"
