"""Figures that can be worked out by hand, and invariances."""

import math

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from samgeo.errors import UsageError
from samgeo.evaluation import THRESHOLDS, evaluate

ORIGIN = (500_000.0, 5_500_000.0)


def squares(places, *, side=10.0, crs="EPSG:32633", **columns):
    """A layer of squares, each given by how far its lower left corner lies from the origin, in metres."""
    x0, y0 = ORIGIN
    shapes = [shapely.box(x0 + x, y0 + y, x0 + x + side, y0 + y + side) for x, y in places]
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs)


def test_the_truth_itself_is_perfect():
    truth = squares([(0, 0), (50, 0), (0, 50)])
    result = evaluate(truth, truth)
    assert (result.predictions, result.truths) == (3, 3)
    assert result.mean_iou == pytest.approx(1)
    assert result.average_precision == pytest.approx(1)
    assert result.boundary_f == pytest.approx(1)
    assert [score.f1 for score in result.thresholds] == [1.0] * 10


def test_shifted_by_a_fifth():
    result = evaluate(squares([(2, 0)]), squares([(0, 0)]), tolerance_m=0.5)
    assert result.mean_iou == pytest.approx(80 / 120, abs=1e-6)
    assert [score.found for score in result.thresholds] == [1 if iou <= 80 / 120 else 0 for iou in THRESHOLDS]
    assert result.average_precision == pytest.approx(0.4)
    # of 40 m of outline, 2 x 8 m lie on the other's; the 0.5 m around the four places where they part count too
    assert result.boundary_precision == pytest.approx((16 + 2 * 0.5 + 2 * 0.5) / 40, abs=0.02)
    assert result.boundary_recall == pytest.approx(result.boundary_precision, abs=1e-6)


def test_a_missed_object_and_a_wrong_one():
    result = evaluate(squares([(0, 0), (200, 0), (300, 0)]), squares([(0, 0), (50, 0)]))
    half = result.thresholds[0]
    assert (half.found, half.precision, half.recall) == (1, pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert half.f1 == pytest.approx(2 / 5)
    assert result.mean_iou == pytest.approx(0.5)
    assert result.mean_iou_found == pytest.approx(1)


@pytest.mark.parametrize(("scores", "expected"), [([0.9, 0.1], 1.0), ([0.1, 0.9], 0.5)])
def test_average_precision_depends_on_the_order_of_the_scores(scores, expected):
    result = evaluate(squares([(0, 0), (200, 0)], score=scores), squares([(0, 0)]))
    assert result.average_precision == pytest.approx(expected)


def test_two_predictions_of_one_object_count_once():
    result = evaluate(squares([(0, 0), (0, 0)]), squares([(0, 0)]))
    assert result.thresholds[0].found == 1
    assert result.thresholds[0].precision == pytest.approx(0.5)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:25833"])
def test_the_crs_does_not_matter(crs):
    predictions, truth = squares([(1, 0), (50, 1)]), squares([(0, 0), (50, 0)])
    here, there = evaluate(predictions, truth), evaluate(predictions.to_crs(crs), truth)
    assert there.mean_iou == pytest.approx(here.mean_iou, abs=1e-4)
    assert there.boundary_f == pytest.approx(here.boundary_f, abs=1e-3)


@pytest.mark.parametrize(("crs", "east"), [("EPSG:32701", 180_100), ("OGC:CRS84", 179_955), ("EPSG:3832", 180_100)])
def test_the_line_where_longitudes_begin_again_does_not_matter(crs, east):
    # in UTM 1S, 17 degrees south of the equator, 180 degrees are 180,548 m east: in a square, or between two of them
    corners = [(x, y) for x in (0, 400, 800, 1200) for y in (0, 400)]

    def layer(east, shift):
        shapes = [shapely.box(east + x, 8_118_000 + y, east + x + 90, 8_118_000 + y + 90) for x, y in corners]
        moved = [shapely.affinity.translate(shape, shift, shift) for shape in shapes]
        return geopandas.GeoDataFrame(geometry=moved, crs="EPSG:32701")

    beside, across = (evaluate(layer(x, 6).to_crs(crs), layer(x, 0).to_crs(crs)) for x in (190_000, east))
    assert across.boundary_f == pytest.approx(beside.boundary_f, abs=5e-3)
    assert across.boundary_f < 0.2
    assert across.mean_iou == pytest.approx(beside.mean_iou, abs=1e-3)


def test_web_mercator_tolerance_is_on_the_ground():
    # at 49.65 degrees north, 3 m on the ground are 4.6 m in Web Mercator
    predictions, truth = squares([(3, 3)], side=100), squares([(0, 0)], side=100)
    assert evaluate(predictions.to_crs(3857), truth.to_crs(3857), tolerance_m=3.1).boundary_f > 0.95
    assert evaluate(predictions.to_crs(3857), truth.to_crs(3857), tolerance_m=2.9).boundary_f < 0.2


def test_area_of_interest_leaves_out_what_is_outside():
    area = squares([(-5, -5)], side=30).to_crs(4326)
    result = evaluate(squares([(0, 0), (200, 0)]), squares([(0, 0), (300, 0)]), aoi=area)
    assert (result.predictions, result.truths, result.thresholds[0].f1) == (1, 1, 1.0)


def test_empty_layers_have_no_figures_and_say_so_in_json():
    nothing = squares([])
    result = evaluate(nothing, squares([(0, 0)]))
    assert (result.mean_iou, result.boundary_recall) == (0.0, 0.0)
    assert math.isnan(result.boundary_precision)
    assert result.to_dict()["boundary_precision"] is None
    elsewhere = squares([(-5, -5)], side=5)
    assert evaluate(squares([(0, 0)]), squares([(0, 0)]), aoi=elsewhere).to_dict()["mean_iou"] is None


def test_a_file_without_features_is_a_result(tmp_path):
    (tmp_path / "none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    for column in (None, "certainty"):
        result = evaluate(tmp_path / "none.geojson", squares([(0, 0)]), score_column=column)
        assert (result.predictions, result.mean_iou) == (0, 0.0)


POINT, FLAT = shapely.Point(0, 0), shapely.Polygon([(0, 0), (1, 1), (2, 2)])


@pytest.mark.parametrize(
    ("shapes", "found"),
    [([POINT, POINT], "2 Point"), ([None], "1 without geometry"), ([], "no rows"), ([FLAT], "1 Polygon")],
)
def test_a_truth_without_polygons_is_refused(shapes, found):
    truth = geopandas.GeoDataFrame(geometry=geopandas.GeoSeries(shapes, crs="EPSG:32633"))
    with pytest.raises(UsageError, match=rf"^truth: found {found}; expected polygons with an area"):
        evaluate(squares([(0, 0)]), truth)


def test_predictions_and_areas_without_polygons_are_refused(tmp_path):
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(ORIGIN)], crs="EPSG:32633")
    points.to_file(tmp_path / "points.gpkg")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"points\.gpkg: found 1 Point; expected polygons.* as predictions"):
        evaluate(tmp_path / "points.gpkg", squares([(0, 0)]))
    with pytest.raises(UsageError, match=r"area of interest: found 1 Point"):
        evaluate(squares([(0, 0)]), squares([(0, 0)]), aoi=points)
    with pytest.raises(UsageError, match=r"table\.csv: a table without geometries"):
        evaluate(squares([(0, 0)]), tmp_path / "table.csv")
    with pytest.raises(UsageError, match="predictions: a table without geometries"):
        evaluate(geopandas.GeoDataFrame({"a": [1]}), squares([(0, 0)]))


def test_scores_are_numbers_in_a_column_that_is_there():
    truth = squares([(0, 0)])
    with pytest.raises(UsageError, match=r"--score-column score: .*'high'.* expected numbers"):
        evaluate(squares([(0, 0)], score=["high"]), truth)
    with pytest.raises(UsageError, match="--score-column certainty: no such column in the predictions; found sure, n"):
        evaluate(squares([(0, 0)], sure=[0.5], n=[1]), truth, score_column="certainty")
    assert evaluate(squares([(0, 0), (200, 0)], sure=[None, 0.5]), truth, score_column="sure").average_precision == 0.5


def test_holes_and_crossing_rings_are_polygons_too():
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    layer = geopandas.GeoDataFrame(geometry=[shapely.affinity.translate(bow_tie, *ORIGIN)], crs="EPSG:32633")
    assert evaluate(layer, layer).mean_iou == pytest.approx(1)


SPIKED = shapely.Polygon([(100, 0), (110, 0), (110, 10), (110, 20), (110, 10), (100, 10)])
"""A square with a line that goes out and back; valid, it is a polygon and a line."""


def placed(*shapes):
    """A layer of shapes, in metres from the origin."""
    return geopandas.GeoDataFrame(
        geometry=[shapely.affinity.translate(shape, *ORIGIN) for shape in shapes], crs="EPSG:32633"
    )


def test_an_outline_with_a_spike_is_missed_like_any_other():
    square = shapely.box(0, 0, 10, 10)
    result = evaluate(placed(square), placed(square, SPIKED))
    assert result.thresholds[0].recall == pytest.approx(0.5)
    assert result.boundary_recall == pytest.approx(0.5)


@pytest.mark.parametrize("also", [SPIKED, shapely.GeometryCollection([SPIKED, shapely.Point(0, 0)])])
def test_of_what_is_not_a_polygon_alone_its_polygons_are_compared(also):
    result = evaluate(placed(shapely.box(100, 0, 110, 10)), placed(also))
    assert result.mean_iou == pytest.approx(1)
    assert result.boundary_f == pytest.approx(1)


def test_files(tmp_path):
    truth = squares([(0, 0), (50, 0)])
    truth.to_crs(4326).to_file(tmp_path / "truth.geojson")
    truth.to_file(tmp_path / "predictions.gpkg")
    assert evaluate(tmp_path / "predictions.gpkg", str(tmp_path / "truth.geojson")).mean_iou > 0.99


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"missing\.gpkg: cannot read the predictions"):
        evaluate(tmp_path / "missing.gpkg", squares([(0, 0)]))
    with pytest.raises(UsageError, match="another has no CRS"):
        evaluate(squares([(0, 0)], crs=None), squares([(0, 0)]))
    with pytest.raises(UsageError, match="--tolerance 0"):
        evaluate(squares([(0, 0)]), squares([(0, 0)]), tolerance_m=0)


def test_without_any_crs_plain_coordinates_are_compared():
    assert evaluate(squares([(0, 0)], crs=None), squares([(0, 0)], crs=None)).mean_iou == 1


def test_by_class_each_is_compared_with_its_own():
    predictions = squares([(0, 0), (50, 0), (200, 0), (300, 0)], kind=["roof", "tree", "tree", "car"])
    truth = squares([(0, 0), (50, 0), (100, 0), (150, 0)], kind=["roof", "roof", "tree", None])
    result = evaluate(predictions, truth, by="kind")
    car, roof, tree = result.classes
    assert (roof.name, roof.truths, roof.predictions, roof.precision, roof.recall) == ("roof", 2, 1, 1.0, 0.5)
    assert (roof.f1, roof.mean_iou) == (pytest.approx(2 / 3), pytest.approx(0.5))
    assert (tree.name, tree.truths, tree.predictions, tree.precision, tree.recall) == ("tree", 1, 2, 0.0, 0.0)
    assert (car.name, car.truths, car.predictions, car.precision) == ("car", 0, 1, 0.0)
    assert math.isnan(car.recall)
    assert result.thresholds == evaluate(predictions, truth).thresholds


def test_by_class_predictions_without_classes_are_compared_with_each():
    truth = squares([(0, 0), (50, 0), (100, 0)], kind=["roof", "roof", "tree"])
    roof, tree = evaluate(squares([(0, 0), (100, 0)]), truth, by="kind").to_dict()["classes"]
    assert (roof["recall"], roof["mean_iou"], roof["precision"], roof["f1"]) == (0.5, pytest.approx(0.5), None, None)
    assert (tree["recall"], tree["predictions"]) == (1.0, 2)


def test_numbered_classes_are_the_same_where_some_are_missing():
    predictions = squares([(0, 0), (50, 0)], kind=[3.0, math.nan])
    (three,) = evaluate(predictions, squares([(0, 0)], kind=[3]), by="kind").classes
    assert (three.name, three.precision, three.recall) == ("3", 1.0, 1.0)


def test_classes_of_a_column_that_is_not_there_are_refused():
    with pytest.raises(UsageError, match="--by kind: no such column in the truth; found sort"):
        evaluate(squares([(0, 0)]), squares([(0, 0)], sort=["roof"]), by="kind")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8), st.randoms())
def test_order_does_not_matter_without_scores_and_figures_are_fractions(places, random):
    truth = squares([(0, 0), (20, 20), (40, 5)])
    result = evaluate(squares(places), truth)
    shuffled = list(places)
    random.shuffle(shuffled)
    assert evaluate(squares(shuffled), truth).mean_iou == pytest.approx(result.mean_iou)
    figures = np.array([result.mean_iou, result.average_precision, result.boundary_f, result.thresholds[0].f1])
    assert np.all((figures >= 0) & (figures <= 1 + 1e-9))
