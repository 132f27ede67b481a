"""Members run through `samgeo segment`: seeded weights in the official file format stand in for the download."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from samgeo.cli import samgeo
from samgeo.model.build import official_names
from samgeo.model.identify import MARKS, Marks
from samgeo.model.published import PUBLISHED, Published
from samgeo.model.spec import MODELS
from samgeo.model.weights import load_model
from tests.model.seeded import TINY, picture, seeded_model
from tests.rasters import write

FIRST = {
    "sam": "image_encoder.pos_embed",
    "sam2": "image_encoder.trunk.patch_embed.proj.weight",
    "mobile-sam": "image_encoder.patch_embed.seq.0.c.weight",
    "hq-sam": "image_encoder.pos_embed",
    "light-hq-sam": "image_encoder.patch_embed.seq.0.c.weight",
    "hq-sam2": "image_encoder.trunk.patch_embed.proj.weight",
    "efficient-sam": "image_encoder.pos_embed",
    "edge-tam": "image_encoder.trunk.body.stem.conv1.c.weight",
}
"""A tensor whose shape tells a small member from the published ones."""
UNREAD = {"mobile-sam": {"image_encoder.head.bias": (1000,)}}
"""Tensors of the official files that no network here has."""
IN_MODEL = ("sam2", "hq-sam2", "efficient-sam", "edge-tam")
"""Official files of these have the tensors under the key `model`."""


@pytest.fixture(params=TINY)
def weights(request, tmp_path: Path, monkeypatch) -> Path:
    """The file of a small member that is known by its rows, as any other."""
    spec = TINY[request.param]
    tensors = official_names(spec.architecture, seeded_model(spec).sam.state_dict())
    path = tmp_path / f"{spec.name}.pth"
    more = {name: torch.zeros(shape) for name, shape in UNREAD.get(spec.architecture, {}).items()}
    torch.save({"model": tensors | more} if spec.architecture in IN_MODEL else tensors | more, path)
    first = FIRST[spec.architecture]
    marks = Marks(shapes={first: tuple(tensors[first].shape)}, tensors=len(tensors))
    row = Published(name=spec.name, file=path.name, parameters=1, input_px=256, good_for="tests")
    for table, entry in ((MODELS, spec), (PUBLISHED, row), (MARKS, marks)):
        monkeypatch.setitem(table, spec.name, entry)
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """300 x 280 pixels, more than one window of the small members."""
    return write(tmp_path / "ortho.tif", np.moveaxis(picture(280, 300), -1, 0))


def segment(raster: Path, weights: Path, *options: str) -> tuple[Result, Path]:
    output = raster.with_name("found.gpkg")
    arguments = ("segment", str(raster), str(output), "--model", str(weights), "--precision", "exact", *options)
    return CliRunner().invoke(samgeo, list(arguments)), output


@pytest.mark.parametrize(
    "options",
    [
        ("--point", "60.5,70.5", "--prompt-crs", "pixel"),
        ("--box", "60,80,140,150", "--prompt-crs", "pixel"),
        ("--points-per-side", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--granularity", "best"),
    ],
    ids=["point", "box", "everything"],
)
def test_a_member_segments_a_geotiff(raster: Path, weights: Path, options: tuple[str, ...]) -> None:
    done, output = segment(raster, weights, *options)
    assert done.exit_code == 0, done.output
    found = geopandas.read_file(output)
    assert len(found) > 0
    assert set(found["model"]) == {weights.stem}
    assert found.geometry.is_valid.all()


def test_the_official_file_gives_the_weights_that_were_saved(weights: Path) -> None:
    sam = load_model(weights, precision="exact").sam
    expected = seeded_model(TINY[weights.stem]).sam.state_dict()
    assert sam.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in sam.state_dict().items())
