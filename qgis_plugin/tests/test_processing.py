"""The algorithms in real QGIS, by `processing.run`, on the real engine."""

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from samgeo_qgis.provider import Provider


@pytest.fixture
def provider(qgis_app, qgis_processing, qgis_new_project):
    one = Provider()
    QgsApplication.processingRegistry().addProvider(one)
    yield one
    QgsApplication.processingRegistry().removeProvider(one)


def points(scene, count=1):
    layer = QgsVectorLayer("Point?crs=EPSG:32633&field=name:string", "clicks", "memory")
    for number in range(count):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(scene.x + 0.5 * number, scene.y)))
        feature["name"] = f"n{number}"
        layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    return layer


def run(name, scene, output, **parameters):
    import processing

    feedback = QgsProcessingFeedback()
    steps = []
    feedback.progressChanged.connect(steps.append)
    out = processing.run(f"samgeo:{name}", {"INPUT": scene.path, "OUTPUT": output, **parameters}, feedback=feedback)
    assert steps
    assert steps[-1] == 100
    return QgsVectorLayer(out["OUTPUT"], name, "ogr")


def test_points(provider, scene, tmp_path):
    found = run("points", scene, str(tmp_path / "found.gpkg"), PROMPTS=points(scene, 2), SQUARE=True)
    assert found.featureCount() == 2
    first = next(found.getFeatures())
    assert first["name"] == "n0"
    assert first.geometry().contains(QgsPointXY(scene.x, scene.y))


def test_selected_points_in_one_object(provider, scene, tmp_path):
    layer = points(scene, 3)
    layer.selectByIds([2, 3])
    layer.startEditing()
    found = run("points", scene, str(tmp_path / "found.gpkg"), PROMPTS=layer)
    assert [one["name"] for one in found.getFeatures()] == ["n1", "n2"]
    layer.rollBack()


def test_in_a_model(provider, scene, tmp_path):
    """As the model designer makes it."""
    step = QgsProcessingModelChildAlgorithm("samgeo:points")
    step.setChildId("clicked")
    for name, value in (("INPUT", scene.path), ("PROMPTS", points(scene).id())):
        step.addParameterSources(name, [QgsProcessingModelChildParameterSource.fromStaticValue(value)])
    features = QgsProcessingModelOutput("found")
    features.setChildId("clicked")
    features.setChildOutputName("OUTPUT")
    step.setModelOutputs({"found": features})
    model = QgsProcessingModelAlgorithm("roofs")
    model.addChildAlgorithm(step)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    out, worked = model.run({"clicked:found": str(tmp_path / "found.gpkg")}, context, QgsProcessingFeedback(False))
    assert worked
    assert QgsVectorLayer(out["clicked:found"], "found", "ogr").featureCount() == 1


@pytest.mark.parametrize("name", ["boxes", "polygons"])
def test_boxes_and_polygons(provider, scene, tmp_path, name):
    layer = QgsVectorLayer("Polygon?crs=EPSG:32633", "rough", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(scene.x, scene.y)).buffer(6, 8))
    layer.dataProvider().addFeature(feature)
    found = run(name, scene, str(tmp_path / "found.gpkg"), PROMPTS=layer)
    assert found.featureCount() == 1


def test_everything_and_words_to_other_formats(provider, scene, tmp_path):
    found = run("everything", scene, str(tmp_path / "found.shp"), MIN_AREA=5, EXCLUSIVE=True)
    assert found.featureCount() > 0
    words = run("words", scene, str(tmp_path / "words.gpkg"), WORDS="building")
    assert {one["label"] for one in words.getFeatures()} <= {"building"}


def test_an_area_of_interest_and_fast(provider, scene, tmp_path):
    whole = run("everything", scene, str(tmp_path / "whole.gpkg"), FAST=True)
    one = min(whole.getFeatures(), key=lambda feature: feature.geometry().area())
    area = QgsVectorLayer("Polygon?crs=EPSG:32633", "area", "memory")
    around = QgsFeature()
    around.setGeometry(one.geometry().buffer(1, 8))
    area.dataProvider().addFeature(around)
    found = run("everything", scene, str(tmp_path / "found.gpkg"), FAST=True, AOI=area)
    assert 0 < found.featureCount() < whole.featureCount()
    assert all(each.geometry().intersects(around.geometry()) for each in found.getFeatures())


def test_encode(provider, scene):
    import processing

    assert processing.run("samgeo:encode", {"INPUT": scene.path}) == {}


def test_what_was_encoded_stays_when_it_is_cancelled(provider, scene):
    def cached():
        return {file: file.stat().st_ino for file in Path(os.environ["SAMGEO_CACHE"]).rglob("*") if file.is_file()}

    def encode(feedback):
        algorithm = QgsApplication.processingRegistry().algorithmById("samgeo:encode").create()
        return algorithm.run({"INPUT": scene.path, "RESOLUTION": 0.08}, QgsProcessingContext(), feedback)[1]

    at_first, stopped = cached(), QgsProcessingFeedback()
    stopped.progressChanged.connect(lambda percent: percent > 0 and stopped.cancel())
    assert not encode(stopped)
    before = cached()
    assert len(before) > len(at_first)
    assert encode(QgsProcessingFeedback())
    assert len(cached()) > len(before)
    assert before.items() <= cached().items(), "nothing is encoded twice"


def test_what_cannot_be_is_said_with_samgeos_own_words(provider, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match="sam-vit-x"):
        run("everything", scene, str(tmp_path / "found.gpkg"), MODEL="sam-vit-x")
    import processing

    feedback = QgsProcessingFeedback(False)
    url = "type=xyz&url=http://127.0.0.1:9/%7Bz%7D/%7Bx%7D/%7By%7D.png"
    parameters = {"INPUT": QgsRasterLayer(url, "tiles", "wms"), "OUTPUT": "TEMPORARY_OUTPUT"}
    with pytest.raises(QgsProcessingException):
        processing.run("samgeo:everything", parameters, feedback=feedback)
    assert "not a file on this machine" in feedback.htmlLog()


def test_cancel_ends_soon(provider, scene, tmp_path):
    algorithm = QgsApplication.processingRegistry().algorithmById("samgeo:everything").create()
    feedback, context = QgsProcessingFeedback(), QgsProcessingContext()
    context.setProject(QgsProject.instance())
    threading.Timer(2.0, feedback.cancel).start()
    started = time.monotonic()
    parameters = {"INPUT": scene.path, "OUTPUT": str(tmp_path / "found.gpkg"), "RESOLUTION": 0.05}
    _, worked = algorithm.run(parameters, context, feedback)
    assert not worked
    assert time.monotonic() - started < 20
    assert not (tmp_path / "found.gpkg").exists()


@pytest.mark.parametrize("named", [True, False])
def test_only_what_goes_on_is_said_to(provider, scene, tmp_path, named):
    algorithm = QgsApplication.processingRegistry().algorithmById("samgeo:everything").create()
    feedback, context = QgsProcessingFeedback(False), QgsProcessingContext()
    context.setProject(QgsProject.instance())
    feedback.cancel()
    output = str(tmp_path / "found.gpkg") if named else "TEMPORARY_OUTPUT"
    _, worked = algorithm.run({"INPUT": scene.path, "OUTPUT": output}, context, feedback)
    assert not worked
    assert "Cancelled." in feedback.htmlLog()
    assert ("goes on" in feedback.htmlLog()) == named


def test_only_what_can_be_written_is_offered(provider, tmp_path):
    assert provider.supportedOutputVectorLayerExtensions()[:4] == ["gpkg", "shp", "geojson", "fgb"]
    assert not provider.supportsNonFileBasedOutput()
    form = QgsApplication.processingRegistry().algorithmById("samgeo:everything").parameterDefinition("OUTPUT")
    context = QgsProcessingContext()
    for name, can_be in (("found.fgb", True), ("found.kml", False), ("found.xlsx", False)):
        assert provider.isSupportedOutputValue(str(tmp_path / name), form, context)[0] == can_be, name


def test_the_raster_is_where_qgis_shows_it(provider, scene, tmp_path):
    import processing

    layer = QgsRasterLayer(scene.path, "moved")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32634"))
    out = processing.run("samgeo:everything", {"INPUT": layer, "OUTPUT": str(tmp_path / "found.gpkg")})
    found = QgsVectorLayer(out["OUTPUT"], "found", "ogr")
    assert found.crs().authid() == "EPSG:32634"


def test_every_algorithm_explains_itself(provider):
    for algorithm in provider.algorithms():
        assert len(algorithm.shortHelpString()) > 80
        assert algorithm.displayName()
        assert all(p.description() for p in algorithm.parameterDefinitions())
    assert (ROOT / "qgis_plugin" / "samgeo_qgis" / "metadata.txt").is_file()


@pytest.mark.skipif(shutil.which("qgis_process.bin") is None, reason="qgis_process is not installed under this name")
def test_without_a_window(scene, tmp_path):
    """As a server or a script does it: by qgis_process, prompts from a file."""
    clicks = tmp_path / "clicks.geojson"
    point = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [scene.x, scene.y]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    clicks.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [point]}))
    environment = {
        **os.environ,
        "QGIS_PLUGINPATH": str(ROOT / "qgis_plugin"),
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "a profile"),
        "QT_QPA_PLATFORM": "offscreen",
    }
    out = tmp_path / "found.gpkg"

    def call(*arguments):
        command = ["qgis_process.bin", "--json", *arguments]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    call("plugins", "enable", "samgeo_qgis")
    assert "samgeo:words" in call("list")
    call("run", "samgeo:encode", "--", f"INPUT={scene.path}")
    call("run", "samgeo:points", "--", f"INPUT={scene.path}", f"PROMPTS={clicks}", f"OUTPUT={out}")
    assert QgsVectorLayer(str(out), "found", "ogr").featureCount() == 1
