"""The notebooks run from top to bottom, on data that they make themselves, and what comes out lies on the truth."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LAST = """
import json, shapely
both = found.union_all().intersection(truth.union_all()).area
print(json.dumps([len(found), both / truth.area.sum(), both / found.union_all().area]))
"""
LEAST = {"field_extraction": (8, 0.4, 0.6), "building_extraction": (20, 0.4, 0.5)}
"""Features, share of the truth that they cover, share of them that lies on the truth."""


def test_there_are_five():
    names = "building_extraction field_extraction fine_tune getting_started prompts_from_a_vector_layer"
    assert [path.stem for path in NOTEBOOKS] == names.split()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_finds_what_is_there(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("STEPS = 300", "STEPS = 6")  # more would teach it something, and take minutes
    notebook.cells.append(nbformat.v4.new_code_cell(LAST))
    client = NotebookClient(notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    if folder := os.environ.get("SAMGEO_PICTURES"):
        nbformat.write(notebook, Path(folder) / path.name)
    told = "".join(output.text for output in notebook.cells[-1].outputs if output.output_type == "stream")
    count, recall, precision = json.loads(told)
    least = LEAST.get(path.stem, (5, 0.6, 0.6))
    assert count >= least[0]
    assert recall >= least[1]
    assert precision >= least[2]
