"""Prompts: which of them are one object, what it is called, and what the pipeline gets."""

from __future__ import annotations

import io
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from samgeo.errors import PromptError, UsageError
from samgeo.grid import Grid
from samgeo.pixels import Window
from samgeo.prompts.prompts import Prompts
from samgeo.prompts.text import split_words
from tests.prompting import GRID, at, box, click, geojson, refusals, table

# ---- objects ----


def test_clicks_of_one_object_join() -> None:
    rows = [click(5, 5, tree=2), click(9, 9, tree=1), click(6, 6, tree=2.0), click(7, 7, tree=None)]
    placed = Prompts(points=table(rows), object_column="tree").to_pixels(GRID)
    assert placed.prompt_ids.tolist() == ["2", "1"]
    assert np.allclose(placed[0].points, [[4.5, 4.5], [5.5, 5.5]])
    assert refusals(placed) == {"points/3": "no value in the object column"}
    assert placed[0].window == Window(row=5, col=5, height=2, width=2)


def test_a_box_and_clicks_of_one_object_join() -> None:
    points = table([click(15, 15, house="a", on="bg"), click(12, 12, house="b", on="fg")])
    boxes = table([box(10, 10, 20, 20, house="a", use="barn"), box(50, 50, 60, 60, house="c", use="shed")])
    placed = Prompts(points=points, boxes=boxes, object_column="house", label_column="on").to_pixels(GRID)
    assert placed.prompt_ids.tolist() == ["a", "b", "c"]
    assert placed[0].labels.tolist() == [0]
    assert placed[0].box == pytest.approx((9.5, 9.5, 19.5, 19.5))
    assert placed[0].attributes == {"house": "a", "use": "barn"}
    assert placed[1].box is None
    assert placed[1].attributes == {"house": "b", "use": None}
    assert len(placed[2].points) == 0


def test_a_second_box_of_an_object_is_refused() -> None:
    boxes = table([box(10, 10, 20, 20, k=1), box(50, 50, 60, 60, k=1)])
    placed = Prompts(boxes=boxes, object_column="k").to_pixels(GRID)
    assert list(refusals(placed)) == ["boxes/1"]
    assert len(placed) == 1


def test_background_belongs_to_the_one_object_or_to_none() -> None:
    one = table([click(5, 5, on=1), click(9, 9, on=0), click(8, 9, on=0)])
    placed = Prompts(points=one, label_column="on").to_pixels(GRID)
    assert len(placed) == 1
    assert placed.labels.tolist() == [1, 0, 0]
    two = table([click(5, 5, on=1), click(9, 9, on=0), click(50, 50, on=1)])
    with pytest.raises(PromptError, match=r"1 background clicks and 2 objects.*--object-column"):
        Prompts(points=two, label_column="on").to_pixels(GRID)
    with pytest.raises(PromptError, match=r"background clicks and 0 objects"):
        Prompts(points=two[1:2], label_column="on").to_pixels(GRID)
    boxed = Prompts(points=two[1:2], boxes=table([box(3, 3, 20, 20)]), label_column="on").to_pixels(GRID)
    assert len(boxed) == 1
    assert boxed.labels.tolist() == [0]


def test_an_object_without_a_click_on_it_is_refused() -> None:
    rows = [click(5, 5, k=1, on="0"), click(900, 5, k=1, on="1"), click(50, 50, k=2, on="Positive")]
    placed = Prompts(points=table(rows), object_column="k", label_column="on").to_pixels(GRID)
    assert placed.prompt_ids.tolist() == ["2"]
    assert list(refusals(placed)) == ["points/0", "points/1"]
    assert "its object has no click" in placed.refused[0].reason


def test_labels_that_mean_nothing_are_refused() -> None:
    rows = [click(5, 5, on=1), click(6, 6, on="maybe"), click(7, 7, on=None), click(8, 8, on=2)]
    placed = Prompts(points=table(rows), label_column="on").to_pixels(GRID)
    assert list(refusals(placed)) == ["points/1", "points/2", "points/3"]


def test_equal_clicks_are_one_and_contradictions_none() -> None:
    placed = Prompts(points=[at(5, 5), at(9, 9), at(5, 5)], crs="raster").to_pixels(GRID)
    assert len(placed) == 2
    assert placed.report["duplicate_of"] == {"points/2": "points/0"}
    rows = [click(5, 5, k=1, on=1), click(5, 5, k=1, on=0), click(6, 6, k=1, on=1), click(5, 5, k=2, on=1)]
    placed = Prompts(points=table(rows), object_column="k", label_column="on").to_pixels(GRID)
    assert list(refusals(placed)) == ["points/0", "points/1"]
    assert np.allclose(placed[0].points, [[5.5, 5.5]])
    assert len(placed) == 2


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(PromptError, match=r"--object-column tre: no such column.*expected one of tree"):
        Prompts(points=table([click(5, 5, tree=1)]), object_column="tre").to_pixels(GRID)
    with pytest.raises(PromptError, match=r"--label-column on: no such column"):
        Prompts(points=table([click(5, 5, tree=1)]), label_column="on").to_pixels(GRID)


def test_labels_for_plain_numbers() -> None:
    placed = Prompts(points=[at(5, 5), at(9, 9)], labels=[1, 0], crs="raster").to_pixels(GRID)
    assert placed.labels.tolist() == [1, 0]
    assert placed.columns == {}
    with pytest.raises(PromptError, match="1 labels for 2 points"):
        Prompts(points=[at(5, 5), at(9, 9)], labels=[1], crs="raster")


# ---- columns ----


def test_columns_travel_and_clashing_names_give_way() -> None:
    row = click(5, 5, id=7, fid=3, Label="roof", prompt_id="x", prompt_label="y", height=2.5, built=True, tags=["a", 1])
    placed = Prompts(points=table([row])).to_pixels(GRID)
    assert placed.attributes(0) == {
        "prompt_id_2": 7,
        "prompt_fid": 3,
        "prompt_Label_2": "roof",
        "prompt_prompt_id": "x",
        "prompt_label": "y",
        "height": 2.5,
        "built": True,
        "tags": '["a", 1]',
    }
    assert sorted(placed.columns.values()) == ["bool", "float", "int64", "int64", "str", "str", "str", "str"]
    assert placed.report["renamed_columns"] == {
        "id": "prompt_id_2",
        "fid": "prompt_fid",
        "Label": "prompt_Label_2",
        "prompt_id": "prompt_prompt_id",
    }


def test_columns_of_several_layers() -> None:
    points = table([click(5, 5, a=1, b="x")])
    boxes = table([box(9, 9, 20, 20, a=2.5, c=np.datetime64("2024-05-01T12:00"))])
    placed = Prompts(points=points, boxes=boxes).to_pixels(GRID)
    assert placed.columns == {"a": "float", "b": "str", "c": "datetime"}
    assert placed.attributes(0) == {"a": 1, "b": "x", "c": None}
    assert placed.attributes(1)["a"] == 2.5


# ---- words ----


def test_words() -> None:
    assert split_words("  red  roof, tree ,, tree") == ("red roof", "tree")
    assert split_words("e\u0301cole") == ("\u00e9cole",)
    assert Prompts(text="roof, tree").words == ("roof", "tree")
    for bad in ("", " , ", "x" * 1001, "a\x00b", "\ud800"):
        with pytest.raises(PromptError, match="--text"):
            split_words(bad)
    with pytest.raises(PromptError, match="only words"):
        Prompts(text="roof").to_pixels(GRID)
    with pytest.raises(PromptError, match="no prompts"):
        Prompts()


# ---- the command line ----


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"points": None, "boxes": None, "masks": None, "point": (), "box": (), "prompt_crs": None, "text": None}
    assert Prompts.from_options(nothing) is None
    inline = nothing | {"point": (at(5, 5), at(9, 9)), "box": ((*at(20, 20), *at(30, 30)),)}
    placed = Prompts.from_options(inline).to_pixels(GRID)
    assert placed.prompt_ids.tolist() == ["point/1", "point/2", "box/1"]
    pixel = nothing | {"point": ((5.0, 6.0),), "prompt_crs": "pixel"}
    assert Prompts.from_options(pixel).to_pixels(GRID).points.tolist() == [[4.5, 5.5]]
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*at(5, 5))
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(geojson(lon, lat))))
    assert len(Prompts.from_options(nothing | {"points": "-"}).to_pixels(GRID)) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("no json"))
    with pytest.raises(PromptError, match="stdin"):
        Prompts.from_options(nothing | {"points": "-"})
    with pytest.raises(UsageError, match="stdin can be read once"):
        Prompts.from_options(nothing | {"points": "-", "boxes": "-"})


@pytest.mark.parametrize("name", ["object_column", "label_column", "prompt_crs"])
def test_options_about_prompts_need_prompts(name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} without prompts"):
        Prompts.from_options({name: "x"})


def test_words_on_the_command_line_name_what_finds_them() -> None:
    prompts = Prompts.from_options({"text": "roof, car", "text_model": "folder", "device": "cpu"})
    assert prompts.words == ("roof", "car")
    assert (prompts.finder.name, prompts.finder.device) == ("folder", "cpu")
    assert Prompts.from_options({"text": "roof"}).finder.name == "samgeo-nano"
    with pytest.raises(UsageError, match="--text-model without --text"):
        Prompts.from_options({"text_model": "folder"})


# ---- what the pipeline asks ----


def test_pixel_prompts_of_a_window() -> None:
    rows = [click(50, 50, k=1), click(51, 52, k=1), click(60, 60, k=2), click(150, 60, k=2)]
    placed = Prompts(points=table(rows), object_column="k").to_pixels(GRID)
    asked = placed.to_pixel_prompts([1, 0], Window(row=40, col=40, height=64, width=64))
    assert asked.points.dtype == np.float32
    assert asked.points[0, 0].tolist() == [19.5, 19.5]
    assert asked.labels.tolist() == [[1, -1], [1, 1]]
    assert asked.points[1].tolist() == [[9.5, 9.5], [10.5, 11.5]]
    assert asked.boxes is None


def test_pixel_prompts_of_boxes() -> None:
    placed = Prompts(boxes=table([box(10, 10, 20, 20), box(30, 30, 90, 90)])).to_pixels(GRID)
    asked = placed.to_pixel_prompts([0, 1], Window(row=5, col=5, height=64, width=64))
    assert asked.points is None
    assert asked.boxes.tolist() == [[4.5, 4.5, 14.5, 14.5], [24.5, 24.5, 63.5, 63.5]]
    mixed = Prompts(boxes=table([box(10, 10, 20, 20)]), points=[at(5, 5)], crs="raster").to_pixels(GRID)
    with pytest.raises(PromptError, match="1 of 2 objects have a box"):
        mixed.to_pixel_prompts([0, 1], GRID.window)


@given(st.lists(st.tuples(st.floats(0.1, 199.9), st.floats(0.1, 99.9)), min_size=1, max_size=30, unique=True))
def test_every_object_is_inside_one_core(places: list[tuple[float, float]]) -> None:
    from samgeo.tiling import Tiling

    placed = Prompts(points=[at(*place) for place in places], crs="raster").to_pixels(GRID)
    tiling = Tiling(height=GRID.height, width=GRID.width, tile_px=32, overlap_px=8)
    found = [index for tile in tiling for index in placed.inside(tile.core)]
    assert sorted(found) == list(range(len(placed)))
    for tile in tiling:
        for index in placed.inside(tile.core):
            assert tile.core.contains(placed[index].window)


def test_the_digest_tells_prompts_apart() -> None:
    def digest(*points: tuple[float, float]) -> str:
        return Prompts(points=[*points], crs="raster").to_pixels(GRID).sha256

    assert digest(at(5, 5)) == digest(at(5, 5))
    assert digest(at(5, 5)) != digest(at(5, 6))


def test_real_layers(real_data: Path) -> None:
    import rasterio

    for kind, raster, layer in [
        ("boxes", "buildings_oam_banepa/banepa_east.tif", "buildings_oam_banepa/banepa_east_buildings.gpkg"),
        ("masks", "buildings_oam_uganda/kampala_b.tif", "buildings_oam_uganda/kampala_b_buildings.gpkg"),
        ("points", "trees_urban_naip/chico_2018_72.tif", "trees_urban_naip/chico_2018_72.geojson"),
    ]:
        with rasterio.open(real_data / raster) as dataset:
            grid = Grid(
                width=dataset.width, height=dataset.height, transform=dataset.transform, crs=CRS(dataset.crs.to_wkt())
            )
        placed = Prompts(**{kind: real_data / layer}).to_pixels(grid)
        assert placed.report["refused"] == 0
        assert len(placed) == len(gpd.read_file(real_data / layer))
