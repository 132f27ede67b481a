"""load_model is one door: paths win over names, every kind of file loads alike, and wrong ones say what they are."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from samgeo.errors import ModelError, UnknownModelError, UnsafeInputError, WeightsError
from samgeo.model import spec as specs
from samgeo.model import weights
from samgeo.model.build import ARCHITECTURES, official_names
from samgeo.model.conversion import with_official_names
from samgeo.model.digests import digest_of
from samgeo.model.identify import MARKS, describe, identify
from samgeo.model.published import PUBLISHED, Digest, Published
from samgeo.model.spec import MODELS
from samgeo.model.verdict import verdict
from samgeo.model.weights import have_weights, load_model
from samgeo.pixels import PixelPrompts
from tests.model.seeded import TINY, picture, seeded_weights
from tests.model.test_official_layout import OFFICIAL

BOXES = PixelPrompts(boxes=np.array([[10, 10, 60, 50]], np.float32))


def network_of(spec):
    """Names and shapes in the official checkpoint of a row, without numbers."""
    with torch.device("meta"):
        return official_names(spec.architecture, ARCHITECTURES[spec.architecture].build(spec).state_dict())


@pytest.fixture(params=TINY)
def spec(request):
    return TINY[request.param]


@pytest.fixture
def tensors(spec):
    return seeded_weights({name: tuple(t.shape) for name, t in network_of(spec).items()})


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAMGEO_OFFLINE", "1")


def marked(name):
    """Tensors of no size to speak of that have the marks of a member."""
    return {key: torch.empty(shape or (1,), device="meta") for key, shape in MARKS[name].shapes.items()}


# Every kind of file


def as_pth(tensors, path):
    torch.save(tensors, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def as_keyed(tensors, path):
    torch.save({"model": tensors, "epoch": 4}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def as_safetensors(tensors, path):
    save_file(tensors, path.with_suffix(".safetensors"), {"format": "pt"})
    return path.with_suffix(".safetensors")


def as_zip(tensors, path):
    with zipfile.ZipFile(path.with_suffix(".pt.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(as_keyed(tensors, path), "inside.pt")
    return path.with_suffix(".pt.zip")


def test_every_kind_of_file_gives_the_same_model(spec, tensors, tmp_path):
    image = picture(64, 80)
    answers = []
    for save in (as_pth, as_keyed, as_safetensors, as_zip):
        model = load_model(save(tensors, tmp_path / "weights"), spec=spec, precision="exact", device="cpu")
        masks = model.decode(model.encode(image), BOXES)
        answers.append((masks.logits, masks.scores))
    for logits, scores in answers[1:]:
        np.testing.assert_array_equal(logits, answers[0][0])
        np.testing.assert_array_equal(scores, answers[0][1])


def test_weights_saved_by_the_transformers_library_load_under_official_names():
    """Names and shapes as its SamModel of this size saves them (5.24)."""
    saved = json.loads((Path(__file__).parent / "transformers_layout.json").read_text())
    found = with_official_names({name: tuple(shape) for name, shape in saved.items()})
    assert found == {name: tuple(t.shape) for name, t in network_of(TINY["tiny-sam"]).items()}


def test_half_precision_weights_load(spec, tensors, tmp_path):
    halved = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
    model = load_model(as_safetensors(halved, tmp_path / "half"), spec=spec, precision="exact", device="cpu")
    assert {p.dtype for p in model.sam.parameters()} == {torch.float32}


# Names and paths


def test_a_file_always_wins_over_a_name(spec, tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_pth(tensors, tmp_path / "a").rename("sam-vit-b")
    model = load_model("sam-vit-b", spec=spec, device="cpu")
    assert model.sha256 == digest_of(tmp_path / "sam-vit-b")


@pytest.mark.parametrize(
    "path",
    ["sam_vit_b_01ec64.pth", "weights/sam-vit-b", "./sam-vit-b", "sam-vit-b.pth", "sam2.1-hiera-tiny.pt", "a folder"],
)
def test_a_bad_path_is_an_error_and_never_a_download(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    monkeypatch.setattr(weights, "fetched", lambda *given: pytest.fail("tried to fetch"))
    for call in (load_model, have_weights):
        with pytest.raises(WeightsError, match=r"no such weights file|a folder"):
            call(path)


def test_the_name_of_a_published_file_says_which_model_it_is():
    with pytest.raises(WeightsError, match=r"fetched by its model's: sam-vit-b"):
        load_model("elsewhere/sam_vit_b_01ec64.pth")


def test_a_name_with_a_dot_is_a_name():
    with pytest.raises(WeightsError, match="SAMGEO_OFFLINE forbids"):
        load_model("sam2.1-hiera-tiny")


def test_a_name_that_is_nearly_known():
    with pytest.raises(UnknownModelError, match="did you mean sam-vit-b"):
        load_model("sam-vitb")


@pytest.fixture
def published_tiny(monkeypatch, tmp_path, tensors, spec):
    """A published member of that size, whose file somebody put where fetched ones lie."""
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    path = as_keyed(tensors, folder / "tiny")
    digest = Digest(kind="sha256", hex=digest_of(path))
    facts = {"base": "https://example.org/", "parameters": 1, "input_px": 256, "good_for": "tests"}
    member = Published(name=spec.name, file=path.name, size_bytes=path.stat().st_size, digest=digest, **facts)
    monkeypatch.setitem(PUBLISHED, spec.name, member)
    monkeypatch.setitem(specs.MODELS, spec.name, spec)
    return path


def test_published_weights_load_by_name_after_they_are_verified(published_tiny, spec):
    model = load_model(spec.name, device="cpu")
    assert (model.name, model.sha256) == (spec.name, digest_of(published_tiny))
    have_weights(spec.name)
    content = bytearray(published_tiny.read_bytes())
    content[len(content) // 2] ^= 1
    published_tiny.write_bytes(content)
    with pytest.warns(match="moved to"), pytest.raises(WeightsError, match="SAMGEO_OFFLINE"):
        load_model(spec.name, device="cpu")


def test_a_member_without_a_network_here_is_said_so_before_anything_is_fetched(monkeypatch):
    monkeypatch.delitem(specs.MODELS, "sam-vit-h")
    monkeypatch.setattr(weights, "fetched", lambda *given: pytest.fail("tried to fetch"))
    for call in (load_model, have_weights):
        with pytest.raises(ModelError, match="no network for them"):
            call("sam-vit-h")


# Wrong files


def test_weights_of_another_member_say_whose_they_are(monkeypatch, tmp_path):
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save({k: torch.zeros(t.shape) for k, t in marked("sam-vit-l").items()}, path)
    with pytest.raises(
        WeightsError, match=r"1 of the 482 tensors of sam-vit-l; expected those of sam-vit-b.*ask for sam-vit-l"
    ):
        load_model(path, spec=MODELS["sam-vit-b"])


def test_names_and_shapes_are_compared_before_loading(spec, tensors, tmp_path):
    name = max(tensors)
    for wrong in (
        {k: t for k, t in tensors.items() if k != name},
        tensors | {"one.more": torch.zeros(2)},
        tensors | {name: torch.zeros(3, 1, 4)},
    ):
        with pytest.raises(WeightsError, match="weights of another architecture"):
            load_model(as_pth(wrong, tmp_path / "wrong"), spec=spec)


def test_tensors_of_nobody_are_refused_with_what_they_are(tmp_path):
    path = as_pth({"backbone.weight": torch.zeros(2)}, tmp_path / "resnet")
    with pytest.raises(WeightsError, match=r"1 tensors of no known member \(backbone.weight"):
        load_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(value, spec, tensors, tmp_path):
    name = min(tensors)
    tensors[name].view(-1)[-1] = value
    with pytest.raises(WeightsError, match=f"{name} has values that are not numbers or not finite"):
        load_model(as_safetensors(tensors, tmp_path / "nan"), spec=spec)


def test_quantized_weights_are_refused(spec, tensors, tmp_path):
    name = min(tensors)
    with pytest.raises(WeightsError, match=f"{name} is torch.int8; expected floating-point"):
        load_model(as_pth(tensors | {name: tensors[name].to(torch.int8)}, tmp_path / "int8"), spec=spec)


# Whose tensors are these?


@pytest.mark.parametrize("name", MARKS)
def test_the_marks_of_a_member_are_those_of_no_other(name):
    assert identify(marked(name)) == name


@pytest.mark.parametrize("name", OFFICIAL)
def test_marks_agree_with_the_official_checkpoints(name):
    """By their network here: names and shapes are pinned to the official ones by test_official_layout."""
    found = identify(network_of(MODELS[name]))
    assert weights._is_same_network(found, MODELS[name])
    assert MARKS[name].tensors == OFFICIAL[name]["whole"]["tensors"]


def test_every_published_member_can_be_told():
    assert MARKS.keys() == PUBLISHED.keys() - {"samgeo-nano"}
    assert identify({}) == identify({"a": torch.zeros(1)}) == ""
    assert describe(marked("sam-vit-l")) == "1 of the 482 tensors of sam-vit-l"


# Is a file what it claims to be?


def test_a_published_file_is_known_by_its_bytes_under_any_name(published_tiny, spec, tmp_path):
    copy = tmp_path / "copy.bin"
    copy.write_bytes(published_tiny.read_bytes())
    for path in (copy, published_tiny):
        assert f"the published file of {spec.name}, byte for byte" in verdict(path)
    with pytest.raises(WeightsError, match=f"is the published file of {spec.name}; expected that of sam-vit-b"):
        verdict(copy, "sam-vit-b")


def test_a_file_with_a_published_name_and_other_content_is_not_what_it_claims(tmp_path):
    path = tmp_path / "sam_vit_l_0b3195.pth"
    torch.save({k: torch.zeros(t.shape) for k, t in marked("sam-vit-b").items()}, path)
    with pytest.raises(WeightsError, match=r"tensors of sam-vit-b; expected those of sam-vit-l"):
        verdict(path)
    path = path.rename(tmp_path / "sam_vit_b_01ec64.pth")
    with pytest.raises(WeightsError, match=r"is not the published file: .* expected 375042383"):
        verdict(path)
    assert "1 of the 314 tensors of sam-vit-b, not a published file" in verdict(path.rename(tmp_path / "mine.pth"))


def test_damaged_and_malicious_files_are_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'marker')!r}, 'w')",)

    path = tmp_path / "a.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "b": Attack()}, path)
    for call in (verdict, load_model):
        with pytest.raises(UnsafeInputError, match="eval"):
            call(path)
    assert not (tmp_path / "marker").exists()
    path.write_bytes(b"<html></html>")
    with pytest.raises(WeightsError, match="a web page"):
        verdict(path)
    with pytest.raises(WeightsError, match="no such weights file"):
        verdict(tmp_path / "none")
