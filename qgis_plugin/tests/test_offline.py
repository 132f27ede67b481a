"""The engine is installed from a folder of packages, with the real venv and pip."""

import base64
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, wait_for
from samgeo_qgis import interpreter
from samgeo_qgis.engine import Engine

sys.path.insert(0, str(ROOT / "qgis_plugin"))
import offline


def make_wheel(folder, name, files, needs=()):
    """The smallest package that pip takes."""
    info = f"{name}-1.0.dist-info"
    metadata = "".join(f"Requires-Dist: {one}\n" for one in needs)
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: hashlib.sha256(text.encode()).digest() for path, text in files.items()}
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()},{len(files[path])}\n"
        for path, digest in digests.items()
    )
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def packages(tmp_path):
    """A folder with a samgeo that stands on one other package, and the list of both."""
    folder = tmp_path / "packages é"
    folder.mkdir()
    make_wheel(folder, "samgeo", {"samgeo/__main__.py": "import ground; print('all is', ground.WELL)\n"}, ["ground"])
    make_wheel(folder, "ground", {"ground.py": "WELL = 'well'\n"})
    offline.write_list(folder)
    return folder


def find_base(wheels=None):
    """What the plugin's search finds."""
    found = []
    search = interpreter.Search(wheels)
    search.found.connect(found.append)
    search.start()
    wait_for(lambda: found, seconds=60)
    return found[0]


def install(base, wheels, folder, seconds=120):
    """Whether it worked, what was told at the end, and all that was said."""
    said, done = [], []
    installer = interpreter.Installer(base, str(folder), str(wheels))
    installer.said.connect(said.append)
    installer.done.connect(lambda worked, what: done.append((worked, what)))
    installer.start()
    wait_for(lambda: done, seconds=seconds)
    return (*done[0], "\n".join(said))


def test_what_the_list_names_is_installed(packages, tmp_path, qgis_app):
    worked, python, said = install(find_base(), packages, tmp_path / "engine")
    assert worked, said
    assert python == interpreter.python_in(str(tmp_path / "engine"))
    assert "all is well" in said


def test_a_package_that_was_changed_is_refused(packages, tmp_path, qgis_app):
    make_wheel(packages, "ground", {"ground.py": "WELL = 'not what it was'\n"})
    worked, told, said = install(find_base(), packages, tmp_path / "engine")
    assert not worked
    assert "DO NOT MATCH THE HASHES" in told
    assert "ground-1.0-py3-none-any.whl" in said
    assert "all is" not in said


def test_a_package_that_the_list_does_not_name_is_refused(packages, tmp_path, qgis_app):
    listed = (packages / offline.LIST).read_text().splitlines()
    (packages / offline.LIST).write_text(next(line for line in listed if line.startswith("samgeo")))
    worked, told, _ = install(find_base(), packages, tmp_path / "engine")
    assert not worked
    assert "ERROR: In --require-hashes mode" in told


def test_a_folder_that_is_not_empty_is_left_alone(packages, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["offline.py", str(packages)])
    monkeypatch.setattr(offline, "gather", None)
    assert offline.main() == 2


def test_the_search_takes_a_python_that_the_folder_is_for(packages, qgis_app):
    base = find_base()
    assert find_base(str(packages)) == "", "there is no torch in it"
    version = "".join(map(str, sys.version_info[:2]))
    (packages / f"torch-2.13.0+cpu-cp{version}-cp{version}-linux_x86_64.whl").touch()
    assert base
    assert find_base(str(packages))


@pytest.mark.skipif("SAMGEO_WHEELS" not in os.environ, reason="SAMGEO_WHEELS names no folder of `make offline`")
def test_a_click_is_answered_by_what_was_installed_from_a_folder(scene, tmp_path, qgis_app, monkeypatch):
    """The whole of it: `make offline` made the folder; call it where there is no network (docs/qgis.md says how)."""
    wheels = Path(os.environ["SAMGEO_WHEELS"]).resolve()
    worked, python, said = install(find_base(str(wheels)), wheels, tmp_path / "my engine é", seconds=1200)
    assert worked, said
    engine = Engine([python, "-m", "samgeo.worker"])
    answers, failures = [], []

    def ask(op, **header):
        engine.ask(op, lambda answer, payload: answers.append(answer), failures.append, **header)
        count = len(answers) + 1
        wait_for(lambda: failures or len(answers) == count)
        assert not failures
        return answers[-1]

    session = ask("open", path=scene.path, settings={"use_cache": False})["session"]
    found = ask("point", session=session, x=scene.x, y=scene.y)["candidates"]
    engine.stop()
    assert found[0]["area_px"] > 0
