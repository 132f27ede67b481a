from __future__ import annotations

import geopandas
import numpy as np
import pytest

from samgeo.errors import OutputError, PromptError, UsageError
from samgeo.pixels import Mask, Window
from samgeo.session import Session, to_logits
from tests.clicked import FAR, GRID, NEST, NO_CACHE, SCENE, outline
from tests.rasters import write


def at(row, col):
    x, y = GRID.to_map(col + 0.5, row + 0.5)
    return float(x), float(y)


def told(session):
    """What is known of each feature that was accepted."""
    return [dict(feature.attributes) | {"wkb": feature.geometry.wkb} for feature in session.features]


def test_one_click_gives_three_candidates_in_the_coordinates_of_the_session(session):
    assert session.crs == GRID.crs
    assert session.candidates == ()
    found = session.add_point(*at(25, 25))
    assert {candidate.geometry.wkb for candidate in found} == {outline(mask).wkb for mask in NEST}
    assert session.candidates == found
    assert all(candidate.score == 1 for candidate in found)


def test_what_is_previewed_is_what_is_saved(session, tmp_path):
    session.add_point(*at(25, 25))
    assert session.chosen_index == 0
    wanted = session.choose(1).geometry
    assert session.chosen_index == 1
    assert session.accept(label="roof") == 1
    assert session.chosen_index is None
    assert session.candidates == ()
    session.add_point(*at(100, 130))
    assert session.accept() == 2
    path = session.save(tmp_path / "roofs.gpkg")
    table = geopandas.read_file(path)
    assert table["label"].fillna("").tolist() == ["roof", ""]
    assert table.geometry[0].geoms[0].normalize().wkb == wanted.normalize().wkb
    assert table.geometry[1].geoms[0].normalize().equals_exact(outline(FAR).normalize())
    assert [feature.attributes["id"] for feature in session.features] == [1, 2]


def test_a_session_records_what_a_run_records(session):
    wanted = {"samgeo", "raster", "stretch", "model", "model_sha256", "precision", "tile_px", "overlap_px"}
    assert wanted <= set(session.features.metadata)


def test_later_clicks_refine_the_chosen_mask(session, model):
    session.add_point(*at(25, 25))
    chosen = session.choose(0)
    found = session.add_point(*at(12, 12), positive=False)
    prompts, multimask = model.asked[-1]
    assert not multimask
    assert prompts.labels.tolist() == [[1, 0]]
    window = session._now.window
    np.testing.assert_array_equal(prompts.masks[0] > 0, chosen.mask.shift(-window.row, -window.col).to_array(64, 64))
    assert len(found) == 1
    assert found[0].geometry.wkb in {outline(NEST[1]).wkb, outline(NEST[2]).wkb}


def test_undo_and_redo_bring_the_candidates_back(session):
    assert session.undo() == session.redo() == ()
    one = session.add_point(*at(25, 25))
    two = session.add_point(*at(12, 12), positive=False)
    assert session.undo() == one
    assert session.undo() == ()
    assert session.redo() == one
    assert session.redo() == two
    session.undo()
    session.add_point(*at(38, 42))
    assert session.redo() == session.candidates, "a new click ends what could be done again"
    session.clear()
    assert session.candidates == session.undo() == ()


def test_a_box_stands_for_one_object(session, model):
    corners = [at(14.5, 14.5), at(14.5, 39.5), at(34.5, 39.5), at(34.5, 14.5)]
    xs, ys = zip(*corners, strict=True)
    found = session.add_box(min(xs), min(ys), max(xs), max(ys))
    assert len(found) == 1
    assert model.asked[-1][0].boxes is not None


def test_a_window_that_is_encoded_is_used_again(session, model):
    session.add_point(*at(25, 25))
    session.add_point(*at(30, 38))
    session.accept()
    session.add_point(*at(28, 22))
    assert model.encoded == 1
    with pytest.raises(PromptError, match=r"span 109 x 73 px: .* window of 64 px"):
        session.add_point(*at(100, 130))
    session.clear()
    session.add_point(*at(100, 130))
    assert model.encoded == 2


def test_prefetch_makes_the_click_cheap(session, model):
    session.prefetch(*at(100, 130))
    session.add_point(*at(100, 130))
    assert model.encoded == 1


def test_prefetch_encodes_the_window_of_the_next_click(session):
    session.add_point(*at(25, 25))
    for place in [(28, 30), (2, 2), (40, 60), (60, 25), (50, 50)]:
        session.prefetch(*at(*place))
        assert session.is_ready(*at(*place)), place


def test_no_window_is_encoded_for_a_click_that_would_be_refused(session, model):
    session.add_point(*at(25, 25))
    for ask in (session.prefetch, session.is_ready):
        with pytest.raises(PromptError, match="clicks and box span"):
            ask(*at(100, 130))
    assert model.encoded == 1


def test_a_place_without_data_is_named_in_plain_words(tmp_path, model):
    bands = np.moveaxis(SCENE.image, -1, 0).copy()
    bands[:, :10] = 0
    path = write(tmp_path / "scene.tif", bands, nodata=0)
    with Session(path, model=model, settings=NO_CACHE) as session:
        to_map = session.grid.to_map
        with pytest.raises(PromptError, match=r"^scene\.tif has no data at this place$"):
            session.add_point(*map(float, to_map(50.5, 5.5)))
        with pytest.raises(PromptError, match=r"^this place is not on scene\.tif$"):
            session.add_point(*map(float, to_map(-0.5, 5.5)))


def test_clicks_that_cannot_be_used_change_nothing(session):
    with pytest.raises(PromptError, match="this place is not on"):
        session.add_point(*at(500, 500))
    with pytest.raises(PromptError, match=r"^this box is not on"):
        session.add_box(*at(500, 500), *at(490, 510))
    with pytest.raises(PromptError, match=r"^this box: no width or no height"):
        session.add_box(*at(25, 25), *at(25, 25))
    with pytest.raises(PromptError, match=r"^this place: coordinates that are not finite"):
        session.add_point(float("nan"), 0.0)
    with pytest.raises(PromptError, match="beside the object"):
        session.add_point(*at(25, 25), positive=False)
    with pytest.raises(UsageError, match="nothing to accept"):
        session.accept()
    with pytest.raises(UsageError, match="candidate 2: there are 0"):
        session.choose(2)
    assert session.undo() == ()
    assert session.add_point(*at(60, 100)) == (), "nothing is there"


def test_a_mask_becomes_logits_by_the_share_of_each_cell_that_it_covers():
    mask = Mask(window=Window(row=0, col=0, height=4, width=6), pixels=np.ones((4, 6), dtype=bool))
    np.testing.assert_array_equal(to_logits(mask, (8, 8), (2, 2)), [[10, 0], [-10, -10]])


def test_reading_the_features_does_not_end_the_session(session):
    session.add_point(*at(100, 130))
    session.accept()
    with session.features as features:
        assert len(features) == 1
    session.add_point(*at(25, 25))
    session.accept()
    assert [feature.attributes["id"] for feature in session.features] == [1, 2]


def test_a_feature_can_be_taken_back(session, tmp_path):
    for place, label in [((25, 25), "roof"), ((100, 130), "yard"), ((12, 12), "roof")]:
        session.add_point(*at(*place))
        session.accept(label=label)
    kept = [feature.geometry.wkb for feature in session.features]
    session.remove(2)
    assert session.revision == 1
    assert [feature.attributes["id"] for feature in session.features] == [1, 2]
    assert [feature.attributes["label"] for feature in session.features] == ["roof", "roof"]
    assert [feature.geometry.wkb for feature in session.features] == [kept[0], kept[2]]
    session.add_point(*at(100, 130))
    assert session.accept() == 3
    assert len(geopandas.read_file(session.save(tmp_path / "all.gpkg"))) == 3
    for number in (0, 4):
        with pytest.raises(UsageError, match=f"feature {number}: there are 3"):
            session.remove(number)


def test_undo_brings_back_what_was_removed(session):
    for place, label in [((25, 25), "roof"), ((100, 130), "yard")]:
        session.add_point(*at(*place))
        session.accept(label=label)
    both = told(session)
    assert not session.can_undo
    session.add_point(*at(25, 25))
    session.remove(1)
    (yard,) = told(session)
    assert yard == both[1] | {"id": 1}
    session.add_point(*at(12, 12), positive=False)
    assert len(session.undo()) == 3, "first the click"
    assert len(session.undo()) == 3, "then the removal"
    assert told(session) == both
    assert session.undo() == ()
    assert not session.can_undo
    session.redo()
    session.redo()
    assert told(session) == [yard]
    session.redo()
    assert session.prompt.labels.tolist() == [1, 0]
    assert not session.can_redo


def test_a_removal_is_not_forgotten_with_the_clicks(session):
    for place in [(25, 25), (100, 130)]:
        session.add_point(*at(*place))
        session.accept(label="roof")
    both = told(session)
    session.remove(2)
    session.remove(1)
    session.add_point(*at(12, 12))
    session.accept(label="yard")
    session.clear()
    (yard,) = told(session)
    session.undo()
    session.undo()
    assert told(session) == [*both, yard | {"id": 3}]
    assert not session.can_undo


@pytest.mark.parametrize("ending", ["gpkg", "shp", "tif"])
def test_a_folder_that_is_not_there_is_named(session, tmp_path, ending):
    session.add_point(*at(100, 130))
    session.accept()
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere. Fix: mkdir -p"):
        session.save(tmp_path / "nowhere" / f"roofs.{ending}")


def test_a_session_tells_what_was_clicked_and_where_a_click_is_quick(session, model):
    assert session.prompt.is_empty
    assert not session.is_ready(*at(25, 25))
    session.prefetch(*at(25, 25))
    assert session.is_ready(*at(25, 25))
    session.add_point(*at(25, 25))
    session.add_point(*at(12, 12), positive=False)
    assert np.allclose(session.prompt.points, [[25, 25], [12, 12]])
    assert session.prompt.labels.tolist() == [1, 0]
    assert model.encoded == 1
    assert session.raster.grid == session.grid
    with pytest.raises(PromptError):
        session.is_ready(0, 0)


def test_a_box_may_be_in_pixels_of_the_raster(session):
    top, left, bottom, right = 90, 120, 110, 150
    session.add_box(left, top, right, bottom, crs="pixel")
    assert session.prompt.box == (left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)
    assert session.chosen.geometry.wkb == outline(FAR).wkb
