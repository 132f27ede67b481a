"""How good are predicted objects, against a vector truth: IoU, precision, recall, F1, average precision, boundary F.

Both layers are brought to one equal-area projection around the truth, so that areas are ground areas and lengths near
the truth are ground metres, whatever their own CRS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from samgeo.errors import UsageError
from samgeo.prompts.files import map_layers

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU at which a prediction counts as found: 0.50 to 0.95, as COCO has them (https://cocodataset.org/#detection-eval)."""

_PAIRS_AT_ONCE = 100_000
_SAMPLES_A_TOLERANCE = 4

Geometries = NDArray[np.object_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class ThresholdScore:
    """What is found if a prediction must overlap a truth object by at least one IoU."""

    iou: float
    """The IoU from which on a prediction counts."""
    found: int
    """Number of truth objects that have a prediction of their own."""
    precision: float
    """Share of the predictions that found an object."""
    recall: float
    """Share of the truth objects that were found."""
    f1: float
    """Harmonic mean of precision and recall."""
    average_precision: float
    """Mean precision over 101 recalls with predictions in falling order of score, as COCO defines it."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """What is found of the truth objects of one class, at an IoU of 0.5."""

    name: str
    """The class, as the truth calls it."""
    truths: int
    """Number of truth objects of the class."""
    predictions: int
    """Number of predictions of the class; of all predictions where they have no classes."""
    precision: float
    """Share of the class's predictions that found an object of it; NaN where predictions have no classes."""
    recall: float
    """Share of the class's truth objects that were found."""
    f1: float
    """Harmonic mean of precision and recall; NaN where predictions have no classes."""
    mean_iou: float
    """Mean over the class's truth objects of the IoU with the paired prediction, 0 where there is none."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The figures of one comparison; what has nothing to be computed from is NaN."""

    predictions: int
    """Number of predicted objects."""
    truths: int
    """Number of truth objects."""
    mean_iou: float
    """Mean over all truth objects of the IoU with the prediction that is paired with it, 0 where there is none."""
    mean_iou_found: float
    """The same over those truth objects whose pair reaches an IoU of 0.5."""
    average_precision: float
    """Mean of the average precisions over the IoU thresholds 0.50 to 0.95."""
    boundary_f: float
    """Harmonic mean of the two shares below."""
    boundary_precision: float
    """Share of the predicted outlines' length within the tolerance of an outline of the truth."""
    boundary_recall: float
    """Share of the truth outlines' length within the tolerance of a predicted outline."""
    tolerance_m: float
    """How far two outlines may lie apart and still agree, in metres on the ground."""
    thresholds: tuple[ThresholdScore, ...]
    """The scores at each IoU threshold."""
    classes: tuple[ClassScore, ...] = ()
    """The scores of each class, by name; none where classes were not asked for."""

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON can store them: NaN becomes None."""
        return _without_nan(asdict(self))  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Objects:
    """What is compared of one layer: N polygons."""

    shapes: Geometries
    """(N,) polygons in the common CRS."""
    scores: Floats
    """(N,) what orders them."""
    classes: Names | None
    """(N,) their classes, "" for none; None where the layer does not tell, or was not asked."""

    def of(self, name: str) -> _Objects:
        """Those of one class; all where the layer does not tell."""
        if self.classes is None:
            return self
        here = self.classes == name
        return _Objects(shapes=self.shapes[here], scores=self.scores[here], classes=self.classes[here])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Every prediction and truth that overlap."""

    prediction: Integers
    truth: Integers
    iou: Floats


def evaluate(
    predictions: Any,
    truth: Any,
    *,
    tolerance_m: float = 2.0,
    score_column: str | None = None,
    by: str | None = None,
    aoi: Any = None,
    prediction_layer: str | None = None,
    truth_layer: str | None = None,
) -> Evaluation:
    """Compare predicted polygons with true ones.

    predictions, truth: GeoDataFrame, or path of anything that GDAL reads; each in its own CRS.
    tolerance_m: how far outlines may lie apart and still agree, in ground metres.
    score_column: the predictions' column of numbers that orders them for average precision. None: `score`; where there
        is none, they count as equal.
    by: the truth's column of classes, each of which also gets scores of its own, from the predictions with the same
        value in the same column, or from all if they have no such column. Values that are missing are no class.
    aoi: polygons; only objects whose representative point lies inside are compared. None: all of both layers, so a
        prediction outside the area that the truth covers counts as wrong.
    prediction_layer, truth_layer: names of the layers, where files have several.

    Predictions without any row are a result. Raises `UsageError` if a layer cannot be read or holds no polygon, if one
    has a CRS and another has none, or if a column that is named is missing, or the scores are not numbers.
    """
    if not (math.isfinite(tolerance_m) and tolerance_m > 0):
        raise UsageError(f"--tolerance {tolerance_m}: expected ground metres above 0")
    predicted, true = _read(predictions, "predictions", prediction_layer), _read(truth, "truth", truth_layer)
    if by is not None and by not in _columns(true):
        raise _no_column("--by", by, true, "truth")
    area = None if aoi is None else _read(aoi, "area of interest", None)
    crs = _common_crs(true, predicted, *([] if area is None else [area]))
    found = _objects(predicted, crs, area, scores=_scores(predicted, score_column), by=by)
    sought = _objects(true, crs, area, by=by)
    ours, theirs = found.shapes, sought.shapes
    pairs = _overlaps(ours, theirs)
    paired = _pair_up(pairs, len(ours), len(theirs))
    order = _order(found.scores)
    thresholds = tuple(_score_at(iou, pairs, order, sizes=(len(ours), len(theirs))) for iou in THRESHOLDS)
    near, covered = _boundary_share(ours, theirs, tolerance_m), _boundary_share(theirs, ours, tolerance_m)
    return Evaluation(
        predictions=len(ours),
        truths=len(theirs),
        mean_iou=_mean(paired),
        mean_iou_found=_mean(paired[paired >= 0.5]),
        average_precision=_mean(np.array([score.average_precision for score in thresholds])),
        boundary_f=_harmonic(near, covered),
        boundary_precision=near,
        boundary_recall=covered,
        tolerance_m=tolerance_m,
        thresholds=thresholds,
        classes=_class_scores(found, sought),
    )


def _read(source: Any, role: str, layer: str | None) -> Any:
    """A GeoDataFrame that holds polygons; predictions may also be none at all."""
    import geopandas

    opened = isinstance(source, geopandas.GeoDataFrame)
    table, name = source if opened else _open(Path(source), role, layer), role if opened else source
    if not isinstance(table, geopandas.GeoDataFrame) or table.active_geometry_name is None:
        raise UsageError(f"{name}: a table without geometries; expected a vector layer as {role}")
    if not _has_area(table) and (len(table) or role != "predictions"):
        kinds = table.geom_type.fillna("without geometry").value_counts()
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no rows"
        raise UsageError(
            f"{name}: found {found}; expected polygons with an area, as {role}. Fix: name a file, or a layer of this "
            "one, that holds polygons"
        )
    return table


def _open(path: Path, role: str, layer: str | None) -> Any:
    """A table, with or without geometries."""
    import geopandas

    try:
        if path.suffix.lower() == ".parquet":
            return geopandas.read_parquet(path)
        return geopandas.read_file(path, layer=layer or next(iter(map_layers(path)), None))
    except Exception as error:
        raise UsageError(f"{path}: cannot read the {role}: {error}. Expected a vector file that GDAL reads") from error


def _has_area(table: Any) -> bool:
    """Is there any polygon; the area of one that crosses itself may be 0 until it is made valid."""
    geometries = np.asarray(table.geometry, dtype=object)
    return bool(np.any(shapely.area(geometries) > 0) or np.any(shapely.area(shapely.make_valid(geometries)) > 0))


def _scores(predicted: Any, column: str | None) -> Floats:
    """(predictions,) what orders them; equal where no column is named and none is called `score`."""
    name = column or "score"
    if name not in _columns(predicted):
        if column is not None and len(predicted):
            raise _no_column("--score-column", name, predicted, "predictions")
        return np.ones(len(predicted))
    try:
        return np.asarray(predicted[name].to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--score-column {name}: {error}; expected numbers. Fix: name a column of the predictions that holds some"
        ) from error


def _columns(table: Any) -> list[str]:
    """Names of all columns but that of the geometries."""
    return [str(name) for name in table.columns if name != table.geometry.name]


def _no_column(option: str, name: str, table: Any, role: str) -> UsageError:
    there = ", ".join(_columns(table)) or "none"
    return UsageError(
        f"{option} {name}: no such column in the {role}; found {there}. Fix: name one of these, or leave {option} out"
    )


def _common_crs(true: Any, *others: Any) -> pyproj.CRS | None:
    """Where all layers are compared: an equal-area projection around the truth, or their own CRS if it is local."""
    own = None if true.crs is None else pyproj.CRS(true.crs)
    for other in others:
        if (own is None) != (other.crs is None):
            raise UsageError(
                f"one layer is in {(own or pyproj.CRS(other.crs)).name}, another has no CRS; expected both or neither. "
                "Fix: state the missing one with ogr2ogr -a_srs"
            )
    if own is None:
        return None
    if own.is_engineering:
        if any(pyproj.CRS(other.crs) != own for other in others):
            raise UsageError(f"the truth is in the local CRS {own.name}; expected the predictions in it too")
        return own
    longitude, latitude = _middle(true.to_crs("OGC:CRS84").bounds.to_numpy(dtype=float))
    return pyproj.CRS(f"+proj=laea +lat_0={latitude:.6f} +lon_0={longitude:.6f} +datum=WGS84")


def _middle(bounds: Floats) -> tuple[float, float]:
    """Longitude and latitude of the mean direction, from the Earth's centre, of the corners of boxes.

    bounds: (N, 4) west, south, east, north in degrees. Unlike a mean of degrees, it is right across 180 degrees, too.
    """
    corners = np.radians(bounds[np.isfinite(bounds).all(axis=1)][:, [[0, 1], [0, 3], [2, 1], [2, 3]]]).reshape(-1, 2)
    longitudes, latitudes = corners.T
    x = (np.cos(latitudes) * np.cos(longitudes)).sum()
    y = (np.cos(latitudes) * np.sin(longitudes)).sum()
    z = np.sin(latitudes).sum()
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def _objects(
    layer: Any, crs: pyproj.CRS | None, area: Any, *, scores: Floats | None = None, by: str | None = None
) -> _Objects:
    """The polygons of a layer in the common CRS. scores: (rows,) of the layer. by: a column of classes it may have."""
    shapes, rows = _polygons(layer, crs, area)
    scores = np.ones(len(layer)) if scores is None else scores
    classes = _names(layer[by])[rows] if by is not None and by in _columns(layer) else None
    return _Objects(shapes=shapes, scores=scores[rows], classes=classes)


def _names(column: Any) -> Names:
    """The values as text, "" where there is none; whole numbers are the same whether a hole made them floats or not."""
    return np.asarray(column.convert_dtypes().astype("string").fillna(""), dtype=str)


def _polygons(layer: Any, crs: pyproj.CRS | None, area: Any) -> tuple[Geometries, Integers]:
    """The valid polygons of a layer in the common CRS, and the rows that they come from."""
    placed = layer.geometry if crs is None else layer.geometry.to_crs(crs)
    geometries = shapely.force_2d(np.asarray(placed, dtype=object))
    present = ~shapely.is_missing(geometries)
    geometries[present] = _polygonal(shapely.make_valid(geometries[present]))
    rows = np.flatnonzero(shapely.area(geometries) > 0)
    if area is not None:
        inside = shapely.union_all(_polygons(area, crs, None)[0])
        shapely.prepare(inside)
        rows = rows[shapely.intersects(inside, shapely.point_on_surface(geometries[rows]))]
    return geometries[rows], rows


def _polygonal(geometries: Geometries) -> Geometries:
    """Collections become the union of their polygons, since no outline comes from a mix; the rest stays as it is."""
    mixed = shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION
    geometries[mixed] = shapely.buffer(geometries[mixed], 0)  # 0 metres around a line or a point is nothing
    return geometries


def _overlaps(ours: Geometries, theirs: Geometries) -> _Pairs:
    """IoU of every two polygons that overlap."""
    if len(ours) == 0 or len(theirs) == 0:
        none = np.empty(0, dtype=np.int64)
        return _Pairs(prediction=none, truth=none, iou=np.empty(0))
    first, second = shapely.STRtree(theirs).query(ours, predicate="intersects")
    common = np.empty(len(first))
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        common[part] = shapely.area(shapely.intersection(ours[first[part]], theirs[second[part]]))
    iou = common / (shapely.area(ours)[first] + shapely.area(theirs)[second] - common)
    keep = iou > 0
    return _Pairs(prediction=first[keep], truth=second[keep], iou=iou[keep])


def _pair_up(pairs: _Pairs, predictions: int, truths: int) -> Floats:
    """(truths,) IoU with the prediction that is paired with it: the best overlaps first, each object once."""
    paired, taken = np.zeros(truths), np.zeros(predictions, dtype=bool)
    for index in np.lexsort((pairs.prediction, pairs.truth, -pairs.iou)):
        prediction, true = pairs.prediction[index], pairs.truth[index]
        if not taken[prediction] and paired[true] == 0:
            taken[prediction], paired[true] = True, pairs.iou[index]
    return paired


def _class_scores(found: _Objects, sought: _Objects) -> tuple[ClassScore, ...]:
    """One for each class of the truth and of the predictions, by name."""
    if sought.classes is None:
        return ()
    names = {*sought.classes.tolist(), *([] if found.classes is None else found.classes.tolist())} - {""}
    return tuple(_class_score(name, found.of(name), sought.of(name)) for name in sorted(names))


def _class_score(name: str, found: _Objects, sought: _Objects) -> ClassScore:
    """The scores of one class, whose objects these are."""
    sizes = len(found.shapes), len(sought.shapes)
    pairs = _overlaps(found.shapes, sought.shapes)
    half = _score_at(0.5, pairs, _order(found.scores), sizes=sizes)
    known = found.classes is not None
    return ClassScore(
        name=name,
        truths=sizes[1],
        predictions=sizes[0],
        precision=half.precision if known else math.nan,
        recall=half.recall,
        f1=half.f1 if known else math.nan,
        mean_iou=_mean(_pair_up(pairs, *sizes)),
    )


def _order(scores: Floats) -> Integers:
    """Positions by falling score; those without a score come last."""
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")


def _score_at(iou: float, pairs: _Pairs, order: Integers, *, sizes: tuple[int, int]) -> ThresholdScore:
    """Scores at one IoU threshold; sizes: numbers of predictions and truth objects."""
    predictions, truths = sizes
    hits = _hits(iou, pairs, order, truths)
    found = int(hits.sum())
    precision, recall = _share(found, predictions), _share(found, truths)
    return ThresholdScore(
        iou=iou,
        found=found,
        precision=precision,
        recall=recall,
        f1=_share(2 * found, predictions + truths),
        average_precision=_average_precision(hits, truths),
    )


def _hits(iou: float, pairs: _Pairs, order: Integers, truths: int) -> NDArray[np.bool_]:
    """(predictions,) in falling order of score: does it overlap, best of all, a truth that no better one has taken."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    good = np.flatnonzero(pairs.iou >= iou)
    hits, taken = np.zeros(len(order), dtype=bool), np.zeros(truths, dtype=bool)
    for index in good[np.lexsort((pairs.truth[good], -pairs.iou[good], rank[pairs.prediction[good]]))]:
        place, true = rank[pairs.prediction[index]], pairs.truth[index]
        if not hits[place] and not taken[true]:
            hits[place] = taken[true] = True
    return hits


def _average_precision(hits: NDArray[np.bool_], truths: int) -> float:
    """Precision at 101 recalls, each the best precision at that recall or a higher one (COCO)."""
    if truths == 0:
        return math.nan
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    at = np.searchsorted(found / truths, np.linspace(0, 1, 101), side="left")
    return float(best[at].mean())


def _boundary_share(outlines: Geometries, others: Geometries, tolerance_m: float) -> float:
    """Share of the length of the polygons' outlines that lies within the tolerance of an outline of the others."""
    if len(outlines) == 0:
        return math.nan
    if len(others) == 0:
        return 0.0
    tree = shapely.STRtree(_segments(shapely.boundary(others)))
    pieces = _segments(shapely.segmentize(shapely.boundary(outlines), tolerance_m / _SAMPLES_A_TOLERANCE))
    lengths = shapely.length(pieces)
    middles = shapely.line_interpolate_point(pieces, 0.5, normalized=True)
    near, _ = tree.query_nearest(middles, max_distance=tolerance_m, all_matches=False)
    return float(lengths[near].sum() / lengths.sum())


def _segments(lines: Geometries) -> Geometries:
    """Every straight piece of the lines as a line of its own."""
    coordinates, line = shapely.get_coordinates(shapely.get_parts(lines), return_index=True)
    inner = line[1:] == line[:-1]
    return np.asarray(shapely.linestrings(np.stack([coordinates[:-1], coordinates[1:]], axis=1)[inner]), dtype=object)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _harmonic(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
