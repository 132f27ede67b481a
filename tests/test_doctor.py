"""What the examination finds here, and what it would find where something is wrong."""

import pytest

from samgeo import doctor
from samgeo.model import store


@pytest.fixture(scope="module")
def findings():
    return {finding.subject: finding for finding in doctor.examine()}


def test_this_environment_is_well(findings):
    problems = [f for f in findings.values() if f.state == "problem"]
    assert problems == []


def test_every_copy_of_gdal_and_proj_is_named(findings):
    assert all(name in findings["GDAL"].text for name in ("rasterio 3.", "fiona 3.", "pyogrio 3."))
    assert all(name in findings["PROJ"].text for name in ("pyproj 9.", "rasterio 9."))


def test_a_missing_library_and_its_fix(monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", ("numpy", "no-such-library"))
    found, missing = doctor._libraries()
    assert (found.state, missing.state) == ("ok", "problem")
    assert "pip install no-such-library" in missing.text


def test_weights_that_are_missing_are_a_problem(findings, monkeypatch, tmp_path):
    assert findings["model samgeo-nano"].state == "ok"
    monkeypatch.setattr(store, "files", lambda package: tmp_path)
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path))
    [missing] = doctor._weights()
    assert missing.state == "problem"
    assert "Fix: install samgeo again" in missing.text


def test_copies_that_disagree_are_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "_by_rasterio", lambda *given: (500_000.0, 5_538_630.0))
    states = {finding.state for finding in doctor._transformations()}
    assert states == {"problem"}
    assert "m apart: pyproj" in next(doctor._transformations()).text


def test_a_copy_that_fails_is_a_problem(monkeypatch):
    def fail(*given):
        raise RuntimeError("proj.db not found")

    monkeypatch.setattr(doctor, "_by_rasterio", fail)
    assert "RuntimeError: proj.db not found" in next(doctor._transformations()).text


def test_proj_variables_are_mentioned(monkeypatch):
    monkeypatch.setenv("PROJ_LIB", "/somewhere")
    assert any(finding.subject == "PROJ_LIB" and "/somewhere" in finding.text for finding in doctor._copies())
