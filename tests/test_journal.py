from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from samgeo.errors import OutputError, UsageError
from samgeo.pipeline.journal import Journal, read_part, write_part, wrote

PLAN = {"raster": {"sha256": "ab", "size": [3, 4]}, "settings": {"tile_px": 64}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out.gpkg.samgeo"


def test_a_part_comes_back_as_it_was(tmp_path):
    arrays = {"window": np.arange(4, dtype=np.int32), "empty": np.zeros((0, 4)), "bits": np.arange(9, dtype=np.uint8)}
    write_part(tmp_path / "a.part", arrays)
    back = read_part(tmp_path / "a.part")
    assert back is not None
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
    assert os.listdir(tmp_path) == ["a.part"]


def test_equal_parts_have_equal_bytes(tmp_path):
    for name in "ab":
        write_part(tmp_path / name, {"x": np.arange(100.0)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_cut_or_changed_part_is_no_part(tmp_path):
    path = tmp_path / "a.part"
    assert read_part(path) is None
    write_part(path, {"x": np.arange(100)})
    whole = path.read_bytes()
    for damaged in (b"", whole[:10], whole[:-1], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]):
        path.write_bytes(damaged)
        assert read_part(path) is None


def test_a_part_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OutputError, match=r"missing/a\.part"):
        write_part(tmp_path / "missing" / "a.part", {"x": np.arange(3)})


def test_a_run_goes_on_from_an_equal_plan(folder):
    with Journal(folder, PLAN) as journal:
        write_part(journal.part("t0"), {"x": np.arange(3)})
    with Journal(folder, PLAN) as journal:
        assert journal.is_done("t0")
        assert not journal.is_done("t1")
        journal.remove()
    assert not folder.exists()


def test_another_plan_is_refused_with_the_differences(folder):
    Journal(folder, PLAN).close()
    other = {"raster": {"sha256": "cd", "size": [3, 4]}, "settings": {"tile_px": 64, "overlap_px": 8}}
    with pytest.raises(UsageError) as refusal:
        Journal(folder, other)
    message = str(refusal.value)
    assert 'raster.sha256: "ab" then, "cd" now' in message
    assert "settings.overlap_px: null then, 8 now" in message
    assert "tile_px" not in message
    assert "--no-resume" in message


def test_without_resume_the_earlier_run_is_forgotten(folder):
    with Journal(folder, PLAN) as journal:
        write_part(journal.part("t0"), {"x": np.arange(3)})
    with Journal(folder, {"settings": {}}, resume=False) as journal:
        assert not journal.is_done("t0")


def test_a_job_that_outlives_its_run_leaves_nothing_for_one_with_another_plan(folder):
    with Journal(folder, PLAN) as journal:
        late = journal.part("t0")
    with Journal(folder, {"settings": {}}, resume=False) as journal:
        with pytest.raises(OutputError, match="t0"):
            write_part(late, {"x": np.arange(3)})
        late.parent.mkdir()  # as it is if it was not removed yet
        write_part(late, {"x": np.arange(3)})
        assert not journal.is_done("t0")
        assert not list(journal.names())


def test_parts_without_their_plan_are_never_used(folder):
    """A run with --no-resume that is killed after it has removed the old plan, and before it has removed the parts."""
    with Journal(folder, PLAN) as journal:
        write_part(journal.part("t0"), {"x": np.arange(3)})
    (folder / "plan.json").unlink()
    with Journal(folder, {"settings": {}}) as journal:
        assert not journal.is_done("t0")


def test_a_journal_that_lost_its_parts_starts_again(folder):
    Journal(folder, PLAN).close()
    shutil.rmtree(folder / "parts")
    with Journal(folder, PLAN) as journal:
        write_part(journal.part("t0"), {"x": np.arange(3)})


def test_a_complete_run_leaves_nothing(folder, tmp_path):
    with Journal(folder, PLAN) as journal:
        write_part(journal.part("t0"), {"x": np.arange(3)})
        (folder / ".plan.json.12.ab.partial").touch()
        journal.part("t1").with_name(".t1.part.12.ab.partial").touch()
        journal.remove()
    assert os.listdir(tmp_path) == []


def test_a_folder_of_somebody_else_is_not_touched(folder):
    (folder / "parts").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    for resume in (True, False):
        with pytest.raises(OutputError, match=r"out\.gpkg\.samgeo: holds notes\.txt.*another name than out\.gpkg"):
            Journal(folder, PLAN, resume=resume)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "parts").is_dir()


def test_a_damaged_plan_is_refused_with_the_way_out(folder):
    Journal(folder, PLAN).close()
    (folder / "plan.json").write_text('{"raster": ')
    with pytest.raises(UsageError, match="--no-resume"):
        Journal(folder, PLAN)
    Journal(folder, PLAN, resume=False).close()
    Journal(folder, PLAN).close()


def test_files_that_were_about_to_be_published_are_known_again_and_no_others(folder, tmp_path):
    output = tmp_path / "out.shp"
    staging = tmp_path / "staging"
    staging.mkdir()
    for name in ("out.shp", "out.dbf"):
        (staging / name).write_text("features")
    assert not wrote(folder, output)
    with Journal(folder, PLAN) as journal:
        journal.announce(staging / "out.shp")
        for name in ("out.dbf", "out.shp"):
            (staging / name).rename(tmp_path / name)
            assert wrote(folder, output)
        (staging / "out.shp").write_text("features")
        journal.announce(staging / "out.shp")
        assert wrote(folder, output), "killed again before the new one gets its name"
        (tmp_path / "out.prj").write_text("mine")
        assert not wrote(folder, output)
        (tmp_path / "out.prj").unlink()
        shutil.copy(output, tmp_path / "copy")
        (tmp_path / "copy").replace(output)
        assert not wrote(folder, output)
        journal.remove()
    assert not wrote(folder, output)


def test_two_processes_do_not_share_a_journal(folder):
    imports = "import sys; from pathlib import Path; from samgeo.pipeline.journal import Journal"
    code = f"{imports}; Journal(Path(sys.argv[1]), {{}})"
    with Journal(folder, {}):
        second = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert f"process {os.getpid()} on" in second.stderr
    assert "OutputError" in second.stderr
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == 0


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot keep the journal"):
        Journal(tmp_path / "file" / "x.samgeo", PLAN)
