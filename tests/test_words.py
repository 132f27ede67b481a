"""Words become labelled objects: a finder that reads the oracle's scenes, and the whole pipeline behind it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import resources

import geopandas
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from samgeo.cli import samgeo
from samgeo.errors import UsageError
from samgeo.grid import Grid, parse_crs
from samgeo.model.build import ARCHITECTURES
from samgeo.model.class_finder import ClassFinder
from samgeo.model.finder import BUILT_IN, FinderAddress, FoundWords, WordFinder
from samgeo.model.spec import MODELS
from samgeo.pipeline.segment import segment
from samgeo.pipeline.sought import without_duplicates
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.prompts.prompts import Prompts
from samgeo.settings import Settings
from samgeo.train.labelled import LabelledImage
from samgeo.train.scenes import make_scene
from tests.doubles import NORTH_UP
from tests.oracle import OracleEmbedding, OracleModel, OracleScene
from tests.rasters import write

WORDS = ("roof", "car", "lake")
SHAPE = (120, 150)


def rectangle(row: int, col: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + height, col : col + width] = True
    return mask


# Touching ones of different words, one larger than a window, one of each word alone.
OBJECTS = (
    (rectangle(5, 5, 20, 31), "roof"),
    (rectangle(5, 36, 20, 30), "car"),
    (rectangle(40, 10, 70, 100), "lake"),
    (rectangle(50, 120, 9, 13), "car"),
    (rectangle(90, 125, 20, 15), "roof"),
)
SCENE = OracleScene.from_masks([mask for mask, _ in OBJECTS], SHAPE)
GRID = Grid(width=SHAPE[1], height=SHAPE[0], transform=NORTH_UP, crs=parse_crs("EPSG:32633"))


@dataclass
class SceneFinder:
    """Finds every piece of every object, some of them twice."""

    name: str = "scene"
    sha256: str = "f" * 64
    least_score: float = 0.3

    def find(self, image, words, *, least_score) -> FoundWords:
        boxes, found, scores = [], [], []
        for number, piece in OracleEmbedding(colours=image, objects_of=SCENE.objects_of).pieces:
            word = OBJECTS[number][1]
            if word not in words:
                continue
            window = Mask.from_array(piece).window
            box = (window.col - 0.5, window.row - 0.5, window.col_end - 0.5, window.row_end - 0.5)
            for score in (0.5, 0.25 + 0.1 * number):
                boxes.append(box)
                found.append(words.index(word))
                scores.append(score)
        keep = np.array(scores) >= least_score
        return FoundWords(
            boxes=np.array(boxes, np.float32).reshape(-1, 4)[keep],
            words=np.array(found, np.int64)[keep],
            scores=np.array(scores, np.float32)[keep],
        )


def sought(text: str = ", ".join(WORDS), **settings):
    prompts = Prompts(text=text, text_model=SceneFinder())
    settings = Settings(use_cache=False, **{"tile_px": 48, "overlap_px": 8} | settings)
    return segment(SCENE.image, prompts, model=OracleModel(SCENE), grid=GRID, settings=settings)


@pytest.mark.parametrize(("tile", "overlap"), [(200, 2), (48, 8), (33, 16)])
def test_words_give_the_true_objects_with_their_labels_whatever_the_tiles(tile: int, overlap: int) -> None:
    with sought(tile_px=tile, overlap_px=overlap) as result:
        found = {(feature.attributes["label"], feature.geometry.wkb) for feature in result}
        scores = sorted({feature.attributes["label_score"] for feature in result})
        assert result.report["words"] == {"roof": 2, "car": 2, "lake": 1}
    assert found == {(word, mask_to_polygon(Mask.from_array(mask), GRID).wkb) for mask, word in OBJECTS}
    assert scores == pytest.approx([0.5, 0.55, 0.65])


def test_only_what_was_asked_for_is_found() -> None:
    with sought("car") as result:
        assert [feature.attributes["label"] for feature in result] == ["car", "car"]
        assert result.metadata["words"]["words"] == ["car"]
    with sought("bridge") as result:
        assert len(result) == 0


def test_the_threshold_is_the_finders_unless_stated() -> None:
    with sought(text_thresh=0.6) as result:
        assert [feature.attributes["label"] for feature in result] == ["roof"]


def test_of_boxes_that_are_much_the_same_the_surest_stays() -> None:
    found = FoundWords(
        boxes=np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10]], np.float32),
        words=np.array([0, 0, 1, 0]),
        scores=np.array([0.4, 0.9, 0.5, 0.3], np.float32),
    )
    kept = without_duplicates(found)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert kept.words.tolist() == [0, 1, 0]


def test_labels_are_in_the_file(tmp_path) -> None:
    with sought() as result:
        result.to_file(tmp_path / "found.gpkg")
    table = geopandas.read_file(tmp_path / "found.gpkg")
    assert sorted(table["label"]) == ["car", "car", "lake", "roof", "roof"]
    assert table["label_score"].between(0.5, 0.65).all()


def test_a_run_without_words_has_no_label_score() -> None:
    box = GRID.to_map([120, 133], [50, 59])
    boxes = Prompts(boxes=[(box[0][0], box[1][1], box[0][1], box[1][0])], crs="raster")
    with segment(SCENE.image, boxes, model=OracleModel(SCENE), grid=GRID, settings=Settings(use_cache=False)) as result:
        assert len(result) == 1
        assert "label_score" not in result.columns


def test_words_and_other_prompts_do_not_mix() -> None:
    prompts = Prompts(text="roof", text_model=SceneFinder(), boxes=[(0, 0, 5, 5)], crs="pixel")
    with pytest.raises(UsageError, match="expected words alone"):
        segment(SCENE.image, prompts, model=OracleModel(SCENE), grid=GRID)


def test_the_double_is_a_finder() -> None:
    assert isinstance(SceneFinder(), WordFinder)


def run(tmp_path, *options: str, text: str = "roof"):
    raster = write(tmp_path / "ortho.tif", np.moveaxis(SCENE.image, -1, 0))
    return CliRunner().invoke(samgeo, ["segment", str(raster), str(tmp_path / "out.gpkg"), "--text", text, *options])


def test_other_words_without_a_text_model_say_which_are_known_and_how_to_get_one(tmp_path) -> None:
    done = run(tmp_path, text="roof, unicorn")
    assert done.exit_code == 2
    assert "--text unicorn: samgeo-nano knows building, field, tree" in done.output
    assert "pip install 'samgeo[text]'" in done.output
    assert "--text-model" in done.output


def test_the_words_of_samgeo_nano_need_nothing_else(tmp_path) -> None:
    scene = LabelledImage.from_scene(make_scene(7))
    raster = write(tmp_path / "town.tif", np.moveaxis(scene.image[:384, :384], -1, 0))
    line = ["segment", raster, tmp_path / "found.gpkg", "--text", "houses, Field, tree", "--no-cache"]
    done = CliRunner().invoke(samgeo, [*map(str, line)])
    assert done.exit_code == 0, done.output
    table = geopandas.read_file(tmp_path / "found.gpkg", layer="found")
    assert len(table)
    assert set(table["label"]) <= {"houses", "Field", "tree"}
    assert table["label_score"].between(0.5, 1).all()


def test_weights_of_samgeo_nano_find_its_words(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    mine = tmp_path / "mine.safetensors"
    mine.symlink_to(resources.files("samgeo") / "model/nano/samgeo-nano.safetensors")
    finder = FinderAddress(name=str(mine), device="cpu").load()
    assert isinstance(finder, ClassFinder)
    assert finder.sha256 == FinderAddress(name=BUILT_IN, device="cpu").load().sha256
    done = run(tmp_path, "--text-model", str(mine), text="unicorn")
    assert done.exit_code == 2
    assert "--text unicorn: samgeo-nano knows building" in done.output


def test_weights_that_tell_no_classes_or_are_not_there_are_refused(tmp_path) -> None:
    done = run(tmp_path, "--text-model", str(tmp_path / "gone.safetensors"))
    assert done.exit_code == 5
    assert "gone.safetensors: no such weights file" in done.output
    spec = MODELS["mobile-sam"]
    weights = ARCHITECTURES[spec.architecture].build(spec).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "bare.safetensors")
    done = run(tmp_path, "--text-model", str(tmp_path / "bare.safetensors"))
    assert done.exit_code == 5
    assert "tells no classes; expected samgeo-nano" in done.output


def test_words_without_the_extra_say_how_to_install_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    done = run(tmp_path, "--text-model", str(tmp_path))
    assert done.exit_code == 2
    assert "pip install 'samgeo[text]'" in done.output
