"""Readers of labelled imagery: JSON of COCO and SA-1B, semantic masks, and rasters with vector labels.

Positions in COCO polygons count from the corner of the first pixel; a pixel belongs to an object if its centre is
inside. An object without a single pixel is left out; labels that cannot be right are an error with file and row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from samgeo.errors import RasterError, UsageError
from samgeo.pixels import Mask, Window
from samgeo.prompts.files import map_layers
from samgeo.stretch import Stretch
from samgeo.train.labelled import MIN_AREA_PX, LabelledImage
from samgeo.train.rle import decode_mask

GEO_ENDINGS = (".tif", ".tiff", ".vrt", ".jp2")
MIN_COMPONENT_PX = 64
"""Smaller components of a semantic mask are taken for noise."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture and what is drawn in it."""

    file: Path
    """The picture."""
    shape: tuple[int, int]
    """(H, W) that it is said to have."""
    objects: tuple[Mask, ...]
    """In pixels of the picture."""
    said_by: Path
    """The file that says so."""

    def check(self, shape: Sequence[int]) -> None:
        """Raises UsageError if the picture's real shape is another."""
        if tuple(shape[:2]) != self.shape:
            found, expected = (f"{width} x {height}" for height, width in (shape[:2], self.shape))
            raise UsageError(f"{self.file}: {found} px: expected {expected} as {self.said_by} says")


def read_coco(
    path: Path,
    *,
    name: str | None = None,
    bands: Sequence[int] | None = None,
    gsd_m: float | None = None,
    complete: bool = True,
    ellipses: bool = False,
) -> Iterator[LabelledImage]:
    """The images of a COCO JSON file with their objects: polygons and run-length codes, not boxes or crowds.

    path: the JSON; image names in it are relative to its folder. name: of the source, else the folder's.
    bands: three 1-based bands of the images, or one. ellipses: the objects are round, and known by their boxes alone.
    Raises UsageError naming file and annotation.
    """
    for picture in read_pictures(path, ellipses=ellipses):
        image = read_image(picture.file, bands)
        picture.check(image.shape)
        yield LabelledImage(
            image=image,
            objects=picture.objects,
            source=f"{name or path.parent.name}/{picture.file.stem}",
            gsd_m=gsd_m,
            complete=complete,
        )


def read_pictures(path: Path, folder: Path | None = None, *, ellipses: bool = False) -> Iterator[Picture]:
    """What is drawn in the pictures of a COCO JSON file, of a file of SA-1B, or of a folder of such files.

    folder: where the pictures are; None: beside the JSON. ellipses: each object is the largest ellipse in its box.
    Crowds are left out. Raises UsageError naming file and annotation.
    """
    if path.is_dir():
        for part in sorted(path.glob("*.json")):
            yield from read_pictures(part, folder, ellipses=ellipses)
        return
    content = _read_json(path)
    try:
        labels = {category["id"]: str(category["name"]) for category in content.get("categories", [])}
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            by_image[annotation.get("image_id")].append(annotation)
        images = [(e["id"], str(e["file_name"]), (int(e["height"]), int(e["width"]))) for e in content["images"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path}: cannot be understood ({type(error).__name__}: {error}): expected `images` with id, file_name, "
            "height and width, `annotations` with image_id, and `categories` with id and name"
        ) from error
    unknown = set(by_image) - {number for number, _, _ in images}
    if unknown:
        row = by_image[min(unknown, key=str)][0].get("id")
        raise UsageError(f"{path}: annotation {row} is of image {min(unknown, key=str)}: expected an id among `images`")
    for number, file_name, shape in images:
        masks = (_coco_mask(path, annotation, labels, shape, ellipses=ellipses) for annotation in by_image[number])
        yield Picture(
            file=(folder or path.parent) / file_name,
            shape=shape,
            objects=tuple(mask for mask in masks if mask is not None),
            said_by=path,
        )


def has_pictures(path: Path) -> bool:
    """Whether `read_pictures` reads this: a folder with JSON files, or a JSON file with annotations."""
    if path.is_dir():
        return any(path.glob("*.json"))
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "annotations" in content


def read_semantic(
    folder: Path,
    classes: Mapping[int, str],
    *,
    name: str | None = None,
    gsd_m: float | None = None,
    complete: bool = True,
) -> Iterator[LabelledImage]:
    """The images of `folder/images` with the connected components of their masks in `folder/masks`.

    classes: value in the mask -> label; other values are no objects. Mask and image have the same stem.
    """
    files = sorted(p for p in (folder / "images").glob("*") if not p.name.startswith("."))
    if not files:
        raise UsageError(
            f"{folder / 'images'}: no images: expected files with a mask of the same stem in {folder}/masks"
        )
    for file in files:
        mask_path = folder / "masks" / f"{file.stem}.png"
        if not mask_path.is_file():
            raise UsageError(f"{file}: no mask: expected {mask_path}")
        image, values = read_image(file), np.asarray(Image.open(mask_path))
        if values.shape != image.shape[:2]:
            raise UsageError(f"{mask_path}: mask of {values.shape}: expected one band of {image.shape[:2]}, as {file}")
        yield LabelledImage(
            image=image,
            objects=tuple(components(values, classes)),
            source=f"{name or folder.name}/{file.stem}",
            gsd_m=gsd_m,
            complete=complete,
        )


def read_label_raster(
    raster: Path,
    labels: Path,
    classes: Mapping[int, str],
    *,
    bands: Sequence[int] | None = None,
    name: str | None = None,
    gsd_m: float | None = None,
) -> LabelledImage:
    """A raster with a label raster on the same grid; the components of each class are the objects."""
    import rasterio

    image = read_image(raster, bands)
    with rasterio.open(labels) as dataset:
        values = dataset.read(1)
    if values.shape != image.shape[:2]:
        raise UsageError(f"{labels}: {values.shape} px: expected {image.shape[:2]}, the grid of {raster}")
    objects = tuple(components(values, classes))
    source = f"{name or raster.parent.name}/{raster.stem}"
    return LabelledImage(image=image, objects=objects, source=source, gsd_m=gsd_m, complete=True)


def read_vector(
    raster: Path,
    labels: Path,
    *,
    label: str | None = None,
    label_column: str | None = None,
    bands: Sequence[int] | None = None,
    name: str | None = None,
    gsd_m: float | None = None,
) -> LabelledImage:
    """A raster with polygons in a vector file of any CRS; `label`, or the text in `label_column`, says what they are.

    Raises UsageError naming file and row for empty or invalid polygons, other geometries, and a CRS that is missing.
    """
    import geopandas
    import rasterio

    layer = geopandas.read_file(labels, layer=next(iter(map_layers(labels)), None))
    if label_column is not None and label_column not in layer.columns:
        raise UsageError(f"{labels}: no column {label_column!r}: expected one of {', '.join(map(str, layer.columns))}")
    _check_polygons(labels, layer.geometry)
    with rasterio.open(raster) as dataset:
        if (layer.crs is None) != (dataset.crs is None):
            bare = labels if layer.crs is None else raster
            raise UsageError(f"{bare}: no CRS, so its place is unknown. Fix: set it, for example with QGIS")
        if layer.crs is not None:
            layer = layer.to_crs(dataset.crs.to_wkt())
        inverse = ~dataset.transform
    image = read_image(raster, bands)
    matrix = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    pixel_shapes = layer.geometry.affine_transform(matrix)
    names = [label] * len(layer) if label_column is None else [str(text) for text in layer[label_column]]
    masks = (burn([shape], image.shape[:2], name) for shape, name in zip(pixel_shapes, names, strict=True))
    objects = tuple(mask for mask in masks if mask is not None)
    source = f"{name or raster.parent.name}/{raster.stem}"
    return LabelledImage(image=image, objects=objects, source=source, gsd_m=gsd_m, complete=True)


def read_image(path: Path, bands: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture or raster; what is not 8-bit is stretched by its percentiles.

    bands: one or three 1-based bands; None takes a single band or the first three of a three-band raster.
    """
    if path.suffix.lower() not in GEO_ENDINGS:
        try:
            with Image.open(path) as picture:
                return np.array(picture.convert("RGB"))
        except OSError as error:
            raise RasterError(
                f"{path}: cannot be read as a picture ({error}): expected JPEG, PNG or GeoTIFF"
            ) from error
    import rasterio

    try:
        with rasterio.open(path) as dataset:
            if bands is None and dataset.count not in (1, 3):
                raise UsageError(f"{path}: {dataset.count} bands: expected `bands=` with the three to show")
            numbers = list(bands or dataset.indexes)
            values, valid = dataset.read(numbers), (dataset.read_masks(numbers) > 0).all(axis=0)
    except rasterio.RasterioIOError as error:
        raise RasterError(f"{path}: cannot be read as a raster ({error}): expected a GeoTIFF") from error
    if values.dtype == np.uint8:
        stretch = Stretch.identity(len(values))
    else:
        stretch = Stretch.fit(values.reshape(len(values), -1), valid.ravel())
    return stretch.apply(values, valid)


def components(values: NDArray[np.integer[Any]], classes: Mapping[int, str]) -> Iterator[Mask]:
    """The parts of each class in an (H, W) array that touch along an edge, 64 px or more each."""
    for value, label in classes.items():
        numbers, _ = ndimage.label(values == value)
        for mask in numbered(numbers, least_px=MIN_COMPONENT_PX):
            yield replace(mask, label=label)


def numbered(numbers: NDArray[np.integer[Any]], *, least_px: int) -> Iterator[Mask]:
    """Where each number from 1 on is in an (H, W) array, in order; numbers of fewer pixels are left out."""
    sizes = np.bincount(numbers.ravel())
    for number, (rows, cols) in enumerate(ndimage.find_objects(numbers), start=1):
        if sizes[number] < least_px:
            continue
        pixels = numbers[rows, cols] == number
        height, width = pixels.shape
        yield Mask(window=Window(row=rows.start, col=cols.start, height=height, width=width), pixels=pixels)


def burn(shapes: Sequence[Any], shape: tuple[int, ...], label: str | None = None) -> Mask | None:
    """The pixels whose centres lie in polygons of pixel coordinates (corner convention), or None if there are too few.

    shapes: one object's polygons, anything with __geo_interface__ or GeoJSON. shape: (H, W) of the image.
    """
    from affine import Affine
    from rasterio.features import bounds, rasterize

    boxes = np.array([bounds(part) for part in shapes])  # x_min, y_min, x_max, y_max
    low = np.floor(boxes[:, :2].min(axis=0)).astype(int)
    high = np.ceil(boxes[:, 2:].max(axis=0)).astype(int)
    box = Window(row=low[1], col=low[0], height=max(0, high[1] - low[1]), width=max(0, high[0] - low[0]))
    inside = box.intersection(Window(row=0, col=0, height=shape[0], width=shape[1]))
    if inside.is_empty:
        return None
    placed = Affine.translation(inside.col, inside.row)
    pixels = rasterize(list(shapes), out_shape=inside.shape, transform=placed, dtype="uint8").astype(bool)
    if np.count_nonzero(pixels) < MIN_AREA_PX:
        return None
    mask = Mask.from_array(pixels)
    return replace(mask, window=mask.window.shift(int(inside.row), int(inside.col)), label=label)


def _read_json(path: Path) -> dict[str, Any]:
    """A COCO file; one of SA-1B, which has one image, as if it were one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}): expected a COCO file") from error
    if isinstance(content, dict) and {"image", "annotations"} <= content.keys():
        try:
            annotations = [{**annotation, "image_id": 0} for annotation in content["annotations"]]
            return {"images": [{**content["image"], "id": 0}], "annotations": annotations}
        except TypeError as error:
            raise UsageError(f"{path}: not as SA-1B's files ({error}): expected objects in it") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise UsageError(
            f"{path}: not a COCO file: expected an object with `images` and `annotations`, or with `image` as in SA-1B"
        )
    return content


def _coco_mask(
    path: Path, annotation: Mapping[str, Any], labels: Mapping[Any, str], shape: tuple[int, ...], *, ellipses: bool
) -> Mask | None:
    if annotation.get("iscrowd"):
        return None
    label = labels.get(annotation.get("category_id"))
    field, expected = "segmentation", "lists of x1, y1, x2, y2, ... or a run-length code"
    if ellipses:
        field, expected = "bbox", "x, y, width, height"
    try:
        outline = [_ellipse(annotation[field])] if ellipses else annotation.get(field)
        if isinstance(outline, Mapping):
            height, width = outline["size"]
            if (height, width) != tuple(shape[:2]):
                raise UsageError(f"code for {width} x {height} px: expected {shape[1]} x {shape[0]} px")
            mask = replace(Mask.from_array(decode_mask(outline["counts"], height, width)), label=label)
            return mask if mask.area_px >= MIN_AREA_PX else None
        return burn([_polygon(ring) for ring in outline or [[]]], shape, label)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise UsageError(
            f"{path}: annotation {annotation.get('id')}: bad {field} ({error}): expected {expected}"
        ) from error


def _ellipse(box: Sequence[float]) -> NDArray[np.float64]:
    """The ring x1, y1, x2, y2, ... of the largest ellipse in a box of x, y, width, height."""
    x, y, width, height = box
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    half = np.array([width, height], dtype=np.float64) / 2
    return np.asarray((np.stack([np.cos(angle), np.sin(angle)], axis=1) * half + half + (x, y)).ravel())


def _polygon(ring: Sequence[float] | NDArray[np.float64]) -> dict[str, Any]:
    corners = np.asarray(ring, dtype=np.float64)
    if corners.ndim != 1 or corners.size < 6 or corners.size % 2 or not np.isfinite(corners).all():
        raise ValueError(f"a ring of {corners.size} numbers, expected at least three corners with finite x, y")
    points = corners.reshape(-1, 2).tolist()
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


def _check_polygons(path: Path, geometries: Any) -> None:
    import shapely

    for row, geometry in enumerate(geometries):
        if geometry is None or geometry.is_empty:
            raise UsageError(f"{path}: row {row} has no geometry. Fix: delete the row, or draw the object")
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise UsageError(f"{path}: row {row} is a {geometry.geom_type}: expected polygons as labels")
        if not geometry.is_valid:
            why = shapely.is_valid_reason(geometry)
            raise UsageError(f"{path}: row {row} is not valid ({why}). Fix: Vector > Fix geometries in QGIS")
