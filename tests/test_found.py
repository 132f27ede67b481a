"""Found by a word, or without one: windows of the oracle judged together, and figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import words
from benchmarks.words import EVERYTHING, compare, finder_of, is_meant
from samgeo.errors import UsageError
from samgeo.model.finder import FoundWords
from samgeo.model.weights import load_model
from samgeo.pixels import Mask, boxes_of
from samgeo.train.finetune import save_weights
from samgeo.train.labelled import LabelledImage
from tests.oracle import OracleEmbedding, OracleModel, OracleScene

SHAPE = (64, 80)


def rectangle(row: int, col: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + height, col : col + width] = True
    return mask


PLACES = (rectangle(4, 4, 20, 20), rectangle(4, 40, 20, 30), rectangle(34, 10, 20, 40), rectangle(40, 60, 20, 16))
LABELS = ("house", "house", "solar panel group", None)
SCORES = {400: 0.99, 600: 0.95, 800: 0.93, 320: 0.91}
"""How sure the model is of each place, by its size in pixels."""
OUTLINES_PX = 80 + 100 + 120 + 72
SCENE = OracleScene.from_masks(PLACES, SHAPE)


class Scoring(OracleModel):
    """An oracle that is surer of some objects than of others."""

    def _score(self, mask: np.ndarray) -> float:
        return SCORES[int(np.count_nonzero(mask))]


class AllOfThem:
    """Takes every object for the first word."""

    name, sha256, least_score = "all", "f" * 64, 0.3

    def find(self, image, words, *, least_score) -> FoundWords:
        seen = OracleEmbedding(colours=image, objects_of=SCENE.objects_of).wholes
        boxes = boxes_of([Mask.from_array(one) for one in seen])
        return FoundWords(
            boxes=boxes, words=np.zeros(len(seen), np.int64), scores=np.full(len(seen), 0.5, dtype=np.float32)
        )


def window(drawn=(0, 1, 2, 3), *, gsd_m=0.5, complete=True) -> LabelledImage:
    """The scene with only some of its objects drawn."""
    objects = tuple(replace(Mask.from_array(PLACES[number]), label=LABELS[number]) for number in drawn)
    return LabelledImage(image=SCENE.image, objects=objects, source="town/1", gsd_m=gsd_m, complete=complete)


MODEL = Scoring(SCENE, tile_px=128)


def test_an_oracle_finds_everything() -> None:
    result = compare([window(), window(gsd_m=10), window(gsd_m=None)], EVERYTHING, MODEL)
    assert (result.predictions, result.truths) == (12, 12)
    assert result.mean_iou == pytest.approx(1)
    assert result.average_precision == result.boundary_f == pytest.approx(1)


def test_all_windows_are_one_ranking() -> None:
    """Each window alone has an average precision of 1; together, what one of them lacks comes in between."""
    assert compare([window((0,))], EVERYTHING, MODEL).average_precision == pytest.approx(1)
    result = compare([window(), window((0,))], EVERYTHING, MODEL)
    half = result.thresholds[0]
    assert (result.predictions, result.truths, half.found) == (8, 5, 5)
    assert (half.precision, half.recall, half.f1) == pytest.approx((5 / 8, 1, 10 / 13))
    # In falling order of score: right, right, right, wrong, right, wrong, right, wrong.
    assert result.average_precision == pytest.approx((61 * 1 + 20 * 4 / 5 + 20 * 5 / 7) / 101)
    assert result.boundary_precision == pytest.approx((OUTLINES_PX + 80) / (2 * OUTLINES_PX))
    assert result.boundary_recall == pytest.approx(1)


def test_small_objects_are_not_looked_for() -> None:
    speck = Mask.from_array(rectangle(30, 70, 5, 11))
    result = compare([replace(window(), objects=(*window().objects, speck))], EVERYTHING, MODEL)
    assert result.truths == 4


@pytest.mark.parametrize(
    ("word", "truths"), [("solar panel", 2), ("pv", 2), ("building", 3), ("houses", 3), ("ship", 1)]
)
def test_a_word_is_compared_with_what_means_the_same(monkeypatch, word: str, truths: int) -> None:
    """The object without a label counts for every word."""
    monkeypatch.setattr(words, "finder_of", lambda model: AllOfThem())
    result = compare([window()], word, MODEL)
    assert (result.predictions, result.truths) == (4, truths)
    assert result.thresholds[0].precision == pytest.approx(truths / 4)
    assert result.thresholds[0].recall == pytest.approx(1)


def test_words_of_no_class_mean_only_themselves() -> None:
    assert is_meant("crane", "crane")
    assert is_meant(None, "crane")
    assert not is_meant("silo", "crane")
    assert not is_meant("building", "crane")
    assert is_meant("silo", EVERYTHING)


def test_nothing_found_has_a_row_and_nothing_there_is_an_error() -> None:
    black = replace(window(), image=np.zeros((*SHAPE, 3), np.uint8))
    nothing = compare([black], EVERYTHING, MODEL)
    assert (nothing.predictions, nothing.thresholds[0].recall, nothing.average_precision) == (0, 0, 0)
    assert words.row("x", "town", [black], nothing) == (
        "| x | town | 1 | 0 | 4 | nan | 0.00 | 0.00 | 0.00 | 0.00 | nan |"
    )
    with pytest.raises(UsageError, match="nothing of 60 px"):
        compare([window(())], EVERYTHING, MODEL)


def run(tmp_path, monkeypatch, *sources: str, word: str = EVERYTHING) -> int:
    window().save(tmp_path / "town__a.npz")
    window((0,)).save(tmp_path / "town__b.npz")
    window((0, 1, 2), complete=False).save(tmp_path / "wood__a.npz")
    monkeypatch.setattr(words, "load_model", lambda name, precision: MODEL)
    return words.main([word, *sources, "--windows", str(tmp_path)])


def test_the_command_prints_a_row_for_each_source(tmp_path, monkeypatch, capsys) -> None:
    assert run(tmp_path, monkeypatch, "town", "wood") == 0
    out = capsys.readouterr().out
    heading, _, town, wood, *notes = out.splitlines()
    assert heading.startswith("| word | source | windows | features | objects | precision | recall | F1 | AP |")
    assert town == "| everything | town | 2 | 8 | 5 | 0.62 | 1.00 | 0.77 | 0.90 | 0.90 | 0.76 |"
    assert wood.startswith("| everything | wood* | 1 | 4 | 3 | 0.75 | 1.00 | 0.86 | 1.00 | 1.00 |")
    assert "Not every object is labelled there" in notes[1]
    assert "of a class that is not labelled" in notes[2]


def test_the_command_with_a_word_and_one_source_says_nothing_of_incomplete_labels(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(words, "finder_of", lambda model: AllOfThem())
    assert run(tmp_path, monkeypatch, "town", word="building") == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    assert out[2].startswith("| building | town | 2 | 8 | 4 | 0.50 | 1.00 | 0.67 |")


def test_missing_windows_are_an_error_with_its_fix(tmp_path, monkeypatch, capsys) -> None:
    assert run(tmp_path, monkeypatch, "town", "moon") == 2
    assert "no windows of moon. Fix: python -m samgeo.train.prepare" in capsys.readouterr().err


def test_a_model_that_tells_classes_finds_the_words_itself(tmp_path):
    """Else other weights would be judged by what those in the box find."""
    model = load_model("samgeo-nano")
    assert finder_of(model)._head is model.plain.sam.class_head
    save_weights(model.plain, tmp_path / "mine.safetensors", tune="all")
    assert finder_of(load_model(tmp_path / "mine.safetensors")) is None
    assert finder_of(MODEL) is None
