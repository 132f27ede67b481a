"""The embedded default: its weights are in the package, and it sees objects in scenes it was not trained on."""

from __future__ import annotations

import numpy as np
import pytest

from samgeo.errors import UnknownModelError, WeightsError
from samgeo.model.published import PUBLISHED
from samgeo.model.pyramid import PyramidModel
from samgeo.model.store import path_of
from samgeo.model.weights import load_model
from samgeo.pixels import Mask, PixelPrompts
from samgeo.train.scenes import make_scene
from tests.contract_suite import ContractSuite

SEED = 1_000_003
"""Far from the seeds of training."""

NANO = PUBLISHED["samgeo-nano"]


@pytest.fixture(scope="module")
def model() -> PyramidModel:
    return load_model()


class TestEmbedded(ContractSuite):
    tolerance = 0.3  # 16-bit sums in another order
    differing_px = 60

    @pytest.fixture
    def image(self):
        return make_scene(SEED, height_px=128, width_px=128, gsd_m=0.3).image


def test_weights_are_small_and_in_the_package(model: PyramidModel) -> None:
    assert path_of(NANO).stat().st_size <= 30_000_000
    assert sum(p.numel() for p in model.plain.sam.parameters()) == NANO.parameters
    assert model.name == NANO.name


def test_boxes_find_buildings(model: PyramidModel) -> None:
    scene = make_scene(SEED, height_px=512, width_px=512, gsd_m=0.3)
    tops = [mask for mask, parent in zip(scene.objects, scene.parents, strict=True) if parent < 0]
    buildings = [mask for mask in tops if mask.label == "building" and mask.area_px > 400]
    assert len(buildings) >= 5
    boxes = np.array([(w.col, w.row, w.col_end - 1, w.row_end - 1) for w in (m.window for m in buildings)], np.float32)
    found = model.decode(model.encode(scene.image), PixelPrompts(boxes=boxes), multimask=False).to_masks()
    ious = [_iou(mask, truth) for (mask,), truth in zip(found, buildings, strict=True)]
    assert np.mean(ious) > 0.6


def test_unknown_names_and_missing_files() -> None:
    with pytest.raises(UnknownModelError, match="did you mean samgeo-nano"):
        load_model("samgeo-nan")
    with pytest.raises(WeightsError, match="no such weights file"):
        load_model("weights/of/nothing.safetensors")


def test_damaged_and_foreign_weights(tmp_path) -> None:
    from safetensors.numpy import save_file

    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(path_of(NANO).read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_model(torn)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, foreign, {"architecture": "nano"})
    with pytest.raises(WeightsError, match="weights of another architecture"):
        load_model(foreign)


def _iou(mask: Mask, truth: Mask) -> float:
    one, other = mask.to_array(512, 512), truth.to_array(512, 512)
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))
