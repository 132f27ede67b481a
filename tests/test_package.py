"""The package as a whole: its front door, what importing it costs, its size limits, and its namesake."""

import ast
import json
import subprocess
import sys
import tokenize
import warnings
from pathlib import Path

import pytest

import samgeo
from samgeo.clash import find_clash

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "samgeo").rglob("*.py"))

PUBLIC = [
    "EmbeddingCache",
    "Grid",
    "Mask",
    "PixelPrompts",
    "Prompts",
    "Raster",
    "SamgeoError",
    "SamgeoWarning",
    "Segmentation",
    "Session",
    "Settings",
    "Stretch",
    "Window",
    "__version__",
    "evaluate",
    "load_model",
    "segment",
]


def test_public_names_are_pinned_sorted_and_few():
    assert samgeo.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC
    assert len(PUBLIC) <= 20


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_there_and_documented(name):
    value = getattr(samgeo, name)
    assert name == "__version__" or value.__doc__
    assert name in dir(samgeo)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'segmnt'.*load_model"):
        _ = samgeo.segmnt


@pytest.mark.parametrize("name", ["SamGeo", "SamGeo2", "LangSAM"])
def test_names_of_the_namesake_are_explained(name):
    with pytest.raises(AttributeError, match=rf"{name} belongs to another distribution, segment-geospatial"):
        getattr(samgeo, name)


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_importing_is_quick_and_loads_neither_torch_nor_gdal():
    code = """
import json, sys, time
start = time.process_time()  # a busy machine is no fault of ours
import samgeo
seconds = time.process_time() - start
print(json.dumps([seconds, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    runs = [in_a_new_process(code) for _ in range(3)]
    heavy = {"torch", "rasterio", "fiona", "pyogrio", "geopandas", "pandas", "pyproj", "shapely", "scipy", "numpy"}
    assert heavy.isdisjoint(runs[0][1])
    assert min(seconds for seconds, _ in runs) < 0.3


def test_the_first_click_does_not_wait_for_what_it_does_not_need():
    code = """
import json, sys
import numpy as np
from affine import Affine
import samgeo.worker.operations
from samgeo import Grid, Session, Settings
grid = Grid(width=64, height=64, transform=Affine.scale(1, -1), crs=None)
with Session(np.eye(64, dtype=np.uint8)[..., None].repeat(3, 2) * 255, grid, settings=Settings(use_cache=False)) as one:
    one.add_point(32.5, -32.5)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    assert {"fiona", "geopandas", "pandas", "pyogrio", "requests", "scipy"}.isdisjoint(in_a_new_process(code))


def test_help_loads_neither_torch_nor_gdal():
    code = """
import json, sys
from click.testing import CliRunner
from samgeo.cli import samgeo
assert CliRunner().invoke(samgeo, ["segment", "--help"]).exit_code == 0
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    assert {"torch", "rasterio", "fiona", "geopandas"}.isdisjoint(in_a_new_process(code))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    with tokenize.open(path) as file:
        text = file.read()
    assert text.count("\n") <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{node.name} is too long"


def test_the_sentence_stands_where_a_newcomer_looks():
    sentence = "Users speak map coordinates, networks speak pixels of a window; `Grid` is the only bridge"
    for place in ("README.md", "samgeo/__init__.py", "docs/index.md"):
        words = " ".join((ROOT / place).read_text(encoding="utf-8").replace("> ", " ").split())
        assert sentence in words, place


def install_beside(folder, *, version="1.4.2"):
    info = folder / f"segment_geospatial-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: segment-geospatial\nVersion: {version}\n")


def test_no_clash_here():
    assert find_clash(Path(samgeo.__file__).parent) is None


def test_an_installed_namesake_is_noticed(tmp_path, monkeypatch):
    install_beside(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    clash = find_clash(Path(samgeo.__file__).parent)
    assert "segment-geospatial 1.4.2 is installed beside samgeo" in clash
    assert "pip uninstall -y segment-geospatial samgeo" in clash


def test_left_over_files_of_the_namesake_are_noticed(tmp_path):
    (tmp_path / "samgeo2.py").touch()
    (tmp_path / "grid.py").touch()
    clash = find_clash(tmp_path)
    assert "holds samgeo2.py of the distribution segment-geospatial" in clash
    assert "grid.py" not in clash


def test_importing_beside_the_namesake_warns_once(tmp_path):
    install_beside(tmp_path)
    code = f"""
import json, sys, warnings
sys.path.append({str(tmp_path)!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import samgeo
print(json.dumps([[type(w.message).__name__, str(w.message)] for w in caught]))
"""
    [(category, message)] = in_a_new_process(code)
    assert category == "SamgeoWarning"
    assert "separate environments" in message


def test_importing_alone_is_silent():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samgeo._warn_of_clash()
    assert caught == []
