"""FastSAM: the published layout, the contract, the choice among instances, and `samgeo segment`."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import geopandas
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import nn

from samgeo.cli import samgeo
from samgeo.model import fast_sam
from samgeo.model.automatic import EverythingSettings, generate_masks
from samgeo.model.build import ARCHITECTURES
from samgeo.model.fast_sam import InstanceEmbedding, InstanceMasks, InstanceModel, distinct, snapped
from samgeo.model.frame import LetterboxFrame
from samgeo.model.identify import MARKS, Marks, identify
from samgeo.model.published import PUBLISHED, Published
from samgeo.model.spec import MODELS, ModelSpec
from samgeo.model.weights import load_model
from samgeo.model.yolo import Head
from samgeo.pixels import PixelPrompts
from tests.contract_suite import ContractSuite
from tests.model.seeded import picture, seeded_model
from tests.rasters import write

TINY_FAST_SAM = ModelSpec(
    name="tiny-fast-sam",
    architecture="fast-sam",
    encoder={"width": 0.125, "depth": 0.33, "max_channels": 512},
    frame_px=256,
    tile_px=256,
    everything=EverythingSettings(pred_iou_thresh=0.4, stability_score_thresh=0, granularity="best"),
)


@pytest.fixture(scope="module")
def model() -> InstanceModel:
    return seeded_model(TINY_FAST_SAM)


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return picture(96, 80)


class TestFastSam(ContractSuite):
    pass


@pytest.mark.parametrize(("name", "tensors"), [("fast-sam-s", 417), ("fast-sam-x", 657)])
def test_names_and_numbers_are_those_of_the_published_file(name: str, tensors: int) -> None:
    with torch.device("meta"):
        network = ARCHITECTURES["fast-sam"].build(MODELS[name])
    names = network.state_dict()
    assert len(names) == tensors == MARKS[name].tensors
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name].parameters
    assert identify(names) == name


def test_a_box_is_where_its_distributions_say() -> None:
    head = Head((8, 8, 8), 8)
    head.dfl[0].weight.data = torch.arange(16.0).view(1, 16, 1, 1)
    sides = torch.full((1, 4, 16, 2, 3), -1e4)
    for side, distance in enumerate((1, 2, 3, 4)):
        sides[0, side, distance] = 0
    boxes = head._boxes(sides.view(1, 64, 2, 3), 8)[0].view(2, 3, 4)
    centre = torch.tensor([2.5, 1.5])  # x, y of the last cell
    low, high = centre - torch.tensor([1, 2]), centre + torch.tensor([3, 4])
    torch.testing.assert_close(boxes[1, 2], 8 * torch.cat([low, high]))


@pytest.fixture
def scene() -> InstanceEmbedding:
    """On 64 x 64 cells: a large square, a small one inside it, and one beside them."""
    prototypes = torch.full((32, 64, 64), -1.0)
    areas = ((slice(8, 40), slice(8, 40)), (slice(16, 24), slice(16, 24)), (slice(44, 60), slice(44, 60)))
    for k, area in enumerate(areas):
        prototypes[k][area] = 1
    boxes = [[32, 32, 160, 160], [64, 64, 96, 96], [176, 176, 240, 240]]
    return InstanceEmbedding(
        boxes=torch.tensor(boxes, dtype=torch.float32),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        coefficients=4 * torch.eye(32)[:3],
        prototypes=prototypes,
        shape=(256, 256),
    )


def asked(*clicks: tuple[int, int, int], box: tuple[int, ...] | None = None) -> PixelPrompts:
    """One object of clicks x, y, label, and a box."""
    return PixelPrompts(
        points=np.array([[c[:2] for c in clicks]], np.float32) if clicks else None,
        labels=np.array([[c[2] for c in clicks]]) if clicks else None,
        boxes=None if box is None else np.array([box], np.float32),
    )


def areas(masks: InstanceMasks) -> list[int]:
    return [mask.area_px for mask in masks.to_masks()[0]]


LARGE, SMALL, OTHER = 128 * 128, 32 * 32, 64 * 64


@pytest.mark.parametrize(
    ("prompts", "multimask", "expected"),
    [
        (asked((80, 80, 1)), True, [LARGE, SMALL, 0]),
        (asked((80, 80, 1)), False, [LARGE]),
        (asked((80, 80, 1), (140, 140, 0)), True, [SMALL, 0, 0]),
        (asked((120, 120, 1), (80, 80, 0)), False, [LARGE - SMALL]),
        (asked((120, 120, 1), (200, 200, 1)), False, [LARGE + OTHER]),
        (asked(box=(64, 60, 98, 95)), False, [SMALL]),
        (asked(box=(30, 30, 160, 160)), True, [LARGE, SMALL, 0]),
        (asked((80, 80, 1), box=(170, 170, 250, 250)), False, [0]),
        (asked((5, 250, 1)), True, [0, 0, 0]),
        (asked((5, 250, 0), (6, 251, 0)), False, [0]),
    ],
)
def test_a_prompt_chooses_instances(
    model: InstanceModel, scene: InstanceEmbedding, prompts: PixelPrompts, multimask: bool, expected: list[int]
) -> None:
    """To two pixels along the outlines, which are enlarged from cells of 4 px."""
    found = model.decode(scene, prompts, multimask=multimask)
    for area, wanted in zip(areas(found), expected, strict=True):
        assert abs(area - wanted) <= 8 * wanted**0.5
    assert (found.scores[0] > 0).tolist() == [wanted > 0 for wanted in expected]


def test_a_mask_prompt_chooses_the_instance_that_it_is(model: InstanceModel, scene: InstanceEmbedding) -> None:
    for k in range(3):
        logits = scene.logits(torch.tensor([k])).numpy()
        found = model.decode(scene, PixelPrompts(masks=logits), multimask=False)
        np.testing.assert_array_equal(found.logits[0], logits)


@pytest.mark.parametrize("shape", [(256, 256), (300, 420), (61, 90)])
def test_an_instance_ends_where_its_box_does(model: InstanceModel, shape: tuple[int, int]) -> None:
    """At the pixel whose centre is the last inside, whatever the cells of the prototypes are."""
    box = np.array([[0.21, 0.33, 0.707, 0.62]], np.float32) * (shape[1], shape[0], shape[1], shape[0])
    corners = model.sam.frame.to_frame(box.reshape(2, 2) - 0.5, shape).reshape(1, 4) + 0.5
    height, width = model.sam.frame.prepare(np.zeros((*shape, 3), np.uint8)).shape[2:]
    full = InstanceEmbedding(
        boxes=torch.from_numpy(corners),
        scores=torch.tensor([0.9]),
        coefficients=torch.eye(32)[:1],
        prototypes=torch.ones(32, height // 4, width // 4),
        shape=shape,
    )
    drawn = model.find_all(full).to_masks()[0][0].to_array(*shape)
    x, y = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    x0, y0, x1, y1 = box[0]
    np.testing.assert_array_equal(drawn, ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1)))


def test_everything_is_every_instance(model: InstanceModel, scene: InstanceEmbedding) -> None:
    assert [mask.score for mask in generate_masks(model, scene, TINY_FAST_SAM.everything)] == pytest.approx(
        [0.9, 0.8, 0.7]
    )
    sure = EverythingSettings(pred_iou_thresh=0.75, stability_score_thresh=0, granularity="part")
    assert len(generate_masks(model, scene, sure)) == 2


def test_instances_are_sure_and_distinct() -> None:
    boxes = torch.tensor([[0, 0, 100, 100], [1, 0, 100, 100], [0, 0, 80, 100], [5, 5, 5, 9], [200, 0, 300, 50.0]])
    scores = torch.tensor([0.5, 0.9, 0.6, 0.95, 0.1])
    assert distinct(boxes, scores).tolist() == [1, 2]


def test_boxes_near_the_border_lie_on_it() -> None:
    boxes = torch.tensor([[10.0, 40, 100, 90], [30, 30, 235, 100], [25, 25, 230, 230]])
    inner = (0, 0, 256, 256)
    assert snapped(boxes, inner).tolist() == [[0, 40, 100, 90], [30, 30, 235, 100], [25, 25, 230, 230]]
    assert snapped(torch.tensor([[0.0, 0, 256, 235]]), inner).tolist() == [[0, 0, 256, 256]]


@pytest.mark.parametrize("shape", [(256, 256), (64, 256), (200, 100), (1, 300)])
def test_the_image_lies_in_the_middle_of_grey(shape: tuple[int, int]) -> None:
    frame = LetterboxFrame(size_px=256)
    image = np.full((*shape, 3), 255, np.uint8)
    framed = frame.prepare(image)[0, 0].numpy()
    assert all(side % 32 == 0 for side in framed.shape)
    x0, y0, x1, y1 = frame.inner_box(shape)
    assert (framed[y0:y1, x0:x1] == 1).all()
    assert np.count_nonzero(framed == 1) == (x1 - x0) * (y1 - y0)
    assert set(np.unique(framed)) <= {np.float32(114 / 255), np.float32(1)}
    corners = frame.to_frame(np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]], np.float32), shape)
    np.testing.assert_allclose(corners + 0.5, [[x0, y0], [x1, y1]], atol=1e-4)
    logits = torch.from_numpy(framed[::4, ::4].copy()) - 0.9
    values, row, col = frame.to_image(logits, shape)
    if shape[0] > 1:
        assert (values > 0).double().mean() > 0.9
    assert values.shape[0] + row == shape[0]
    assert values.shape[1] + col == shape[1]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch) -> Path:
    """A file like the published one: a pickled network in 16 bit, of classes that are not installed here."""
    network = seeded_model(TINY_FAST_SAM).sam
    foreign = types.ModuleType("foreign_detector")
    for kind in {type(part) for part in network.modules() if not type(part).__module__.startswith("torch.")}:
        class_ = type(kind.__name__, (nn.Module,), {"__module__": "foreign_detector"})
        setattr(foreign, kind.__name__, class_)
    monkeypatch.setitem(sys.modules, "foreign_detector", foreign)

    def translated(part: nn.Module) -> nn.Module:
        kind = type(part)
        if kind.__module__.startswith("torch."):
            twin = part
        else:
            twin = getattr(foreign, kind.__name__)()
            twin.__dict__.update({k: v for k, v in part.__dict__.items() if k != "frame"})
        twin._modules.update({name: translated(child) for name, child in part._modules.items()})
        return twin

    path = tmp_path / "FastSAM-t.pt"
    torch.save({"model": translated(network).half(), "epoch": -1, "train_args": {"data": "x"}}, path)
    monkeypatch.delitem(sys.modules, "foreign_detector")
    first = "model.0.conv.weight"
    marks = Marks(shapes={first: tuple(network.state_dict()[first].shape)}, tensors=417)
    row = Published(name="tiny-fast-sam", file=path.name, parameters=1, input_px=256, good_for="tests")
    for table, entry in ((MODELS, TINY_FAST_SAM), (PUBLISHED, row), (MARKS, marks)):
        monkeypatch.setitem(table, "tiny-fast-sam", entry)
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    return path


def test_the_published_kind_of_file_is_read_without_its_code(weights: Path, model: InstanceModel) -> None:
    loaded = load_model(weights, precision="exact")
    assert isinstance(loaded, InstanceModel)
    expected = model.sam.state_dict()
    assert loaded.sam.state_dict().keys() == expected.keys()
    for name, tensor in loaded.sam.state_dict().items():
        assert torch.equal(tensor, expected[name].half().to(tensor.dtype))
    assert "foreign_detector" not in sys.modules


@pytest.mark.parametrize(
    "options", [("--box", "60,80,140,150", "--prompt-crs", "pixel"), ()], ids=["box", "everything"]
)
def test_it_segments_a_geotiff(weights: Path, tmp_path: Path, monkeypatch, options: tuple[str, ...]) -> None:
    if not options:
        monkeypatch.setattr(fast_sam, "MOST", 30)
    raster = write(tmp_path / "ortho.tif", np.moveaxis(picture(280, 300), -1, 0))
    output = tmp_path / "found.gpkg"
    arguments = ["segment", str(raster), str(output), "--model", str(weights), "--precision", "exact", *options]
    done = CliRunner().invoke(samgeo, arguments)
    assert done.exit_code == 0, done.output
    found = geopandas.read_file(output)
    assert len(found) > 0
    assert found.geometry.is_valid.all()
