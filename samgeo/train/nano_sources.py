"""What samgeo-nano learns from and is validated on: every source with its licence, its role and what is held out.

Data rule: CC0, CC BY, MIT, public domain and OpenStreetMap footprints (ODbL, named) may train. Share-alike imagery and
GPL labels may only validate. Scenes, never crops, are held out, and copies of one original stay on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Literal

from samgeo.pixels import Mask
from samgeo.train.datasets import read_coco, read_image, read_label_raster, read_semantic, read_vector
from samgeo.train.labelled import LabelledImage
from samgeo.train.nano_regions import around_ships, spanish_fields, urban_crowns

Role = Literal["train", "validation", "never"]

FOOTPRINTS = "imagery CC BY 4.0 (OpenAerialMap contributors); footprints ODbL 1.0 (OpenStreetMap contributors)"
GSI_ROADS = "Public Data License 1.0 (Geospatial Information Authority of Japan, 2022, Technical Paper H1-No.17)"
GSI_SOLAR = "Public Data License 1.0 (Geospatial Information Authority of Japan, 2022, Technical Document H1-No.20)"
SENTINEL = "contains modified Copernicus Sentinel data"
SEN1FLOODS = f"CC BY 4.0 (Sen1Floods11); {SENTINEL}"
SPAIN = Path("flood_s2_sen1floods11", "spain_s2_13band_int16.tif")
SHIPS_HELD_OUT = ("durban*", "cartagena*")
DUBAI_CLASSES = {1: "building", 2: "land", 3: "road", 4: "vegetation", 5: "water"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One folder of data, or one way of looking at it."""

    name: str
    """Unique; what follows a "+" tells a second view of the same folder apart."""
    licence: str
    """Licence and credit."""
    gsd_m: float | None
    """Ground metres a pixel, where they are known."""
    role: Role
    """"train" with what is held out of it for validation; "validation" alone; or "never", with `note` saying why."""
    held_out: tuple[str, ...] = ()
    """Patterns of the scenes that are for validation, although the source trains."""
    read: Callable[[Path], Iterator[LabelledImage]] | None = None
    """From the folder of all data to the images; None where there are no masks to read."""
    enlarge: tuple[int, ...] = (1,)
    """Sizes at which the images are shown: 1 as they are, 3 three times enlarged."""
    note: str = ""
    """What to know about it."""

    def role_of(self, scene: str) -> Role:
        """The side that a scene of this source is on."""
        held_out = any(fnmatchcase(scene, pattern) for pattern in self.held_out)
        return "validation" if held_out and self.role == "train" else self.role


def _coco(
    data: Path,
    *,
    name: str,
    file: str,
    gsd_m: float | None = None,
    bands: Sequence[int] | None = None,
    complete: bool = True,
    ellipses: bool = False,
) -> Iterator[LabelledImage]:
    return read_coco(data / file, name=name, bands=bands, gsd_m=gsd_m, complete=complete, ellipses=ellipses)


def _semantic(
    data: Path, *, name: str, classes: dict[int, str], gsd_m: float | None = None, complete: bool = True
) -> Iterator[LabelledImage]:
    return read_semantic(data / name, classes, name=name, gsd_m=gsd_m, complete=complete)


def _flood(data: Path, *, name: str, bands: Sequence[int]) -> Iterator[LabelledImage]:
    image = data / SPAIN
    labels = image.with_name("spain_label_int16.tif")
    yield read_label_raster(image, labels, {1: "water"}, bands=bands, name=name, gsd_m=10)


def _atlanta(data: Path) -> Iterator[LabelledImage]:
    folder = data / "spacenet_samples"
    raster, labels = folder / "atlanta_pan_uint16.tif", folder / "atlanta_buildings.gpkg"
    yield read_vector(raster, labels, label="building", gsd_m=0.5)


def _spain(data: Path, *, name: str, bands: Sequence[int]) -> Iterator[LabelledImage]:
    path = data / SPAIN
    yield _unlabelled(path, spanish_fields(path), name=name, bands=bands, gsd_m=10)


def _urban(data: Path, *, name: str, bands: Sequence[int]) -> Iterator[LabelledImage]:
    for path in sorted((data / "trees_urban_naip").glob("*.tif")):
        yield _unlabelled(path, urban_crowns(path, path.with_suffix(".geojson")), name=name, bands=bands, gsd_m=0.6)


def _ports(data: Path, *, name: str, bands: Sequence[int]) -> Iterator[LabelledImage]:
    file = "instances_uint16.json" if 4 in bands else "instances.json"
    for port in read_coco(data / "ships_s2" / file, name=name, bands=bands, gsd_m=8, complete=False):
        if not any(fnmatchcase(port.source, f"{name}/{held_out}") for held_out in SHIPS_HELD_OUT):
            yield replace(port, objects=around_ships(port.image, port.objects))


def _unlabelled(
    path: Path, objects: tuple[Mask, ...], *, name: str, bands: Sequence[int], gsd_m: float
) -> LabelledImage:
    """An image that nobody outlined, with what was found in it."""
    image, source = read_image(path, bands), f"{name}/{path.stem}"
    return LabelledImage(image=image, objects=objects, source=source, gsd_m=gsd_m, complete=False)


def _landsat(data: Path, *, name: str, bands: Sequence[int]) -> Iterator[LabelledImage]:
    folder = data / "timeseries_landsat_river"
    for path in sorted(folder.glob("landsat_*.tif")):
        labels = folder / "derived_water" / path.name.replace("landsat", "water")
        read = read_label_raster(path, labels, {1: "water"}, bands=bands, name=name, gsd_m=90)
        yield replace(read, complete=False)


def _buildings(name: str, gsd_m: float, held_out: str) -> Source:
    read = partial(_coco, name=name, file=f"{name}/instances.json", gsd_m=gsd_m)
    return Source(name=name, licence=FOOTPRINTS, gsd_m=gsd_m, role="train", held_out=(held_out,), read=read)


def _ships(name: str, file: str, bands: Sequence[int] | None = None) -> Source:
    return Source(
        name=name,
        licence=f"annotations MIT; imagery {SENTINEL}",
        gsd_m=8,
        role="train",
        held_out=SHIPS_HELD_OUT,
        read=partial(_coco, name=name, file=f"ships_s2/{file}", gsd_m=8, bands=bands),
        enlarge=(1, 3),
        note="10 Mercator metres are 5 to 9 m on the ground; many ships are smaller than 60 px",
    )


def _views(
    name: str,
    read: Callable[..., Iterator[LabelledImage]],
    views: dict[str, Sequence[int]],
    *,
    licence: str,
    gsd_m: float,
    note: str = "",
) -> Iterator[Source]:
    """Several looks at a training source, as it is and enlarged.

    views: what follows the name, and the three bands that are shown. read: gets the folder of all data, name and bands.
    """
    for ending, bands in views.items():
        view = f"{name}{ending}"
        yield Source(
            name=view,
            licence=licence,
            gsd_m=gsd_m,
            role="train",
            read=partial(read, name=view, bands=bands),
            enlarge=(1, 3),
            note=note,
        )


SOURCES: tuple[Source, ...] = (
    _buildings("buildings_oam_banepa", 0.13, "banepa_east"),
    _buildings("buildings_oam_tanzania", 0.074, "tanzania_b"),
    _buildings("buildings_oam_uganda", 0.075, "kampala_b"),
    Source(
        name="fields_naip_us",
        licence="imagery USDA NAIP (public domain); polygons MIT",
        gsd_m=1,
        role="train",
        # By place: the four around 43.3N 83.6W neighbour each other, and so do the ones around 41.4N 89W in training.
        held_out=("*43.3076N*", "*43.3216N*", "*43.4066N*", "*43.4089N*", "*37.2292N*", "*40.7993N*", "*45.6151N*"),
        read=partial(_coco, name="fields_naip_us", file="fields_naip_us/instances.json", gsd_m=1, complete=False),
        note="hand drawn; grass strips and lawns are sometimes drawn too",
    ),
    Source(
        name="fields_s2_flanders",
        licence=f"labels GPL-3.0; imagery {SENTINEL}",
        gsd_m=10,
        role="validation",
        read=partial(_coco, name="fields_s2_flanders", file="fields_s2_flanders/instances.json", gsd_m=10),
        enlarge=(3,),
        note="GPL labels: validation only. Near infrared, red, green; windows of 64 px, so only enlarged",
    ),
    _ships("ships_s2", "instances.json"),
    _ships("ships_s2+uint16", "instances_uint16.json", (3, 2, 1)),
    _ships("ships_s2+infrared", "instances_uint16.json", (4, 3, 2)),
    Source(
        name="solar_gsi_japan",
        licence=GSI_SOLAR,
        gsd_m=0.2,
        role="train",
        held_out=("solar_?136", "solar_397", "solar_h76", "solar_h223", "solar_r20"),
        read=partial(_coco, name="solar_gsi_japan", file="solar_gsi_japan/instances.json", gsd_m=0.2),
        note="h and r mark mirrored and turned copies; 136 is there as both",
    ),
    Source(
        name="roads_gsi_japan",
        licence=GSI_ROADS,
        gsd_m=0.2,
        role="train",
        held_out=("road_108", "road_363", "road_491", "road_825", "road_1019"),
        read=partial(_semantic, name="roads_gsi_japan", classes={255: "road"}, gsd_m=0.2),
    ),
    Source(
        name="forest_amazon_s2",
        licence="CC BY 4.0 (Bragagnolo et al., Zenodo 4498086)",
        gsd_m=10,
        role="train",
        held_out=("amazon_10255", "amazon_10393", "amazon_10488", "amazon_10580"),
        read=partial(_semantic, name="forest_amazon_s2", classes={255: "forest", 0: "clearing"}, gsd_m=10),
        enlarge=(1, 3),
        note="clouds are labelled as not forest, so some clearings are clouds",
    ),
    Source(
        name="flood_aerial",
        licence="CC0 1.0",
        gsd_m=None,
        role="train",
        held_out=("flood_10029", "flood_10226"),
        read=partial(_semantic, name="flood_aerial", classes={255: "water"}),
        note="oblique photographs",
    ),
    *_views("flood_s2_sen1floods11", _flood, {"": (4, 3, 2), "+infrared": (8, 4, 3)}, licence=SEN1FLOODS, gsd_m=10),
    *_views(
        "regions_s2_spain",
        _spain,
        {"": (4, 3, 2), "+infrared": (8, 4, 3), "+shortwave": (12, 8, 4)},
        licence=SEN1FLOODS,
        gsd_m=10,
        note="no labels: regions of like colours; what is neither under water nor bright is called a field",
    ),
    *_views(
        "landsat_river",
        _landsat,
        {"": (1, 2, 3), "+infrared": (2, 3, 4)},
        licence="masks MIT; imagery public domain (Landsat, USGS)",
        gsd_m=90,
        note="masks by thresholds of two bands; narrow water is not in them",
    ),
    Source(
        name="landcover_dubai",
        licence="CC0 1.0 (Humans in the Loop; Mohammed Bin Rashid Space Centre)",
        gsd_m=None,
        role="train",
        held_out=("tile2_*", "tile6_*"),
        read=partial(_semantic, name="landcover_dubai", classes=DUBAI_CLASSES, complete=False),
        note="rough labels; touching buildings are one component",
    ),
    Source(
        name="roads_spacenet_vegas",
        licence="CC BY-SA 4.0 (SpaceNet)",
        gsd_m=0.4,
        role="validation",
        read=partial(_semantic, name="roads_spacenet_vegas", classes={255: "road"}, gsd_m=0.4),
        note="share alike: validation only. Corridors of one width around centre lines, not road edges",
    ),
    Source(
        name="spacenet_samples",
        licence="CC BY-SA 4.0 (SpaceNet)",
        gsd_m=0.5,
        role="validation",
        read=_atlanta,
        note="share alike: validation only. 16-bit panchromatic, far off nadir",
    ),
    Source(
        name="trees_neon",
        licence="imagery CC0 (NEON); boxes CC BY 4.0 (NeonTreeEvaluation)",
        gsd_m=0.1,
        role="train",
        held_out=("*4", "*6"),
        read=partial(_coco, name="trees_neon", file="trees_neon/boxes.json", gsd_m=0.1, complete=False, ellipses=True),
        note="boxes alone: a crown is taken for the ellipse in its box. Some crowns have none",
    ),
    *_views(
        "trees_urban_naip",
        _urban,
        {"": (1, 2, 3), "+infrared": (4, 1, 2)},
        licence="imagery USDA NAIP (public domain); points CC BY 4.0 (Ventura et al., urban-tree-detection-data)",
        gsd_m=0.6,
        note="points of trees: crowns are the green regions around one; other regions have no labels",
    ),
    *_views(
        "ports_s2",
        _ports,
        {"": (1, 2, 3), "+infrared": (4, 3, 2)},
        licence=SENTINEL,
        gsd_m=8,
        note="no labels: regions of like colours around the ships of ships_s2",
    ),
    Source(name="vehicles_aerial", licence="CC BY 3.0, CC BY-SA", gsd_m=0.15, role="never", note="boxes, no masks"),
)
