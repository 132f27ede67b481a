"""Members as ONNX files, which answer in onnxruntime as the networks do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from samgeo.cli import samgeo
from samgeo.errors import ModelError, OutputExistsError, UsageError
from samgeo.model import export
from samgeo.model.export import DecoderGraph, EncoderGraph, Exported, export_onnx
from samgeo.model.predict import full_size
from samgeo.model.weights import load_network
from samgeo.pixels import PixelPrompts
from tests.model.seeded import TINY, picture, seeded_model
from tests.model.test_fast_sam import TINY_FAST_SAM


@pytest.fixture(scope="module")
def model():
    return seeded_model(TINY["tiny-sam2"])


@pytest.fixture(scope="module")
def written(model, tmp_path_factory) -> Exported:
    return export_onnx(model, tmp_path_factory.mktemp("onnx") / "files")


def run(path: Path, **given: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def test_a_box_is_answered_in_onnxruntime_as_by_the_network(model, written) -> None:
    """As docs/onnx.md says it: corners first, then a padding point; the first of the four masks."""
    image = picture(300, 420)
    box = np.array([[84, 75, 231, 150]], np.float32)
    frame = model.sam.frame
    features = run(written.encoder, image=frame.prepare(image).numpy())
    corners = frame.to_frame(box.reshape(1, 2, 2), (300, 420))
    found = run(
        written.decoder,
        points=np.concatenate([corners, np.zeros((1, 1, 2), np.float32)], axis=1),
        labels=np.array([[2, 3, -1]]),
        masks=np.zeros((1, 1, 64, 64), np.float32),
        has_mask=np.zeros(1, np.float32),
        **features,
    )
    embedding = model.encode(image)
    for several in (True, False):
        expected = model.decode(embedding, PixelPrompts(boxes=box), multimask=several)
        asked = slice(1, 4) if several else slice(0, 1)
        if several or np.abs(found["logits"][0, 0] - expected.logits[0, 0]).max() < 1e-3:  # else it was not stable
            np.testing.assert_allclose(found["logits"][:, asked].clip(-32, 32), expected.logits, atol=1e-3)
            np.testing.assert_allclose(found["scores"][:, asked], expected.scores, atol=1e-4)
    mask = full_size(frame, found["logits"][0, 1], 0.0, (300, 420)).to_array(300, 420)
    network = model.decode(embedding, PixelPrompts(boxes=box)).to_masks()[0][0].to_array(300, 420)
    assert np.count_nonzero(mask != network) <= 5
    assert 0 < network.sum() < network.size


@pytest.mark.parametrize("name", [*TINY, "samgeo-nano"])
def test_the_graphs_are_what_the_model_answers(name: str) -> None:
    """Without onnxruntime: a click, a box, a click with a mask, the others with one that does not count."""
    member = seeded_model(TINY[name]) if name in TINY else load_network(name, device="cpu", precision="exact")
    side = 256
    image = picture(side, side)
    embedding = member.encode(image)
    click, box = np.array([[[0.3, 0.4]]], np.float32) * side, np.array([[0.2, 0.25, 0.55, 0.5]], np.float32) * side
    y, x = np.mgrid[: side // 4, : side // 4] / (side / 4)
    masks = (12 * (0.2 - np.hypot(x - 0.35, y - 0.4)) / 0.2)[None].astype(np.float32)
    labels = np.ones((1, 1), np.int64)
    features = EncoderGraph(member.sam)(member.sam.frame.prepare(image))
    graph = DecoderGraph(member.sam, list(embedding.arrays()))
    limit = member.sam.logit_limit or np.inf
    for prompts in (
        PixelPrompts(points=click, labels=labels),
        PixelPrompts(boxes=box),
        PixelPrompts(points=click, labels=labels, masks=masks),
    ):
        listed = member.sam.list_prompts(*member.in_frame(prompts, (side, side), masks.shape[1:])[:3])
        has = torch.tensor([0.0 if prompts.masks is None else 1.0])
        with torch.no_grad():
            logits, scores = graph(*listed, torch.from_numpy(masks)[None], has, *features)
        expected = member.decode(embedding, prompts)
        np.testing.assert_allclose(logits[:, 1:].clip(-limit, limit), expected.logits, atol=2e-3)
        np.testing.assert_allclose(scores[:, 1:], expected.scores, atol=1e-3)


@pytest.mark.parametrize(("prompts", "points"), [(1, 1), (2, 9), (70, 2)])
def test_any_number_of_prompts_and_points(written, prompts: int, points: int) -> None:
    side = 256
    draw = np.random.default_rng(prompts)
    given = {
        "points": (draw.random((prompts, points, 2)) * side).astype(np.float32),
        "labels": draw.integers(-1, 2, (prompts, points)),
        "masks": draw.standard_normal((prompts, 1, 64, 64)).astype(np.float32),
        "has_mask": np.arange(prompts, dtype=np.float32) % 2,
    }
    features = run(written.encoder, image=draw.random((1, 3, side, side)).astype(np.float32))
    found = run(written.decoder, **given, **features)
    assert found["logits"].shape == (prompts, 4, 64, 64)
    assert found["scores"].shape == (prompts, 4)
    last = {name: array[-1:] for name, array in given.items()}
    alone = run(written.decoder, **last, **features)
    np.testing.assert_allclose(found["logits"][-1:], alone["logits"], atol=1e-3)


def test_the_largest_difference_is_told_and_small(written) -> None:
    assert set(written.differences) == {"stride16", "stride8", "stride4", "logits", "scores"}
    assert max(written.differences.values()) < 1e-4


def test_a_file_says_what_it_is(model, written) -> None:
    for path in (written.encoder, written.decoder):
        about = json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["samgeo"])
        assert about["model"] == "tiny-sam2"
        assert about["weights_sha256"] == model.sha256
        assert about["frame_px"] == 256


def test_a_file_that_does_not_agree_is_refused(written) -> None:
    other = seeded_model(TINY["tiny-sam2"])
    other.sam.no_mem_embed.add_(1)
    image = other.sam.frame.prepare(picture(256, 256))
    with pytest.raises(ModelError, match="stride16 differs from the network's by"):
        export._differences(
            written.encoder, EncoderGraph(other.sam), [{"image": image}], ["stride16", "stride8", "stride4"]
        )


def test_files_that_are_there_stay(model, written) -> None:
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export_onnx(model, written.encoder.parent)


def test_without_the_extra_it_says_how_to_install_it(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"pip install 'samgeo\[onnx\]'"):
        export_onnx(model, tmp_path)


def test_the_command_names_the_files_and_the_differences(monkeypatch, tmp_path, written) -> None:
    asked = []

    def fake(model, folder, *, overwrite):
        asked.append((model.name, model.precision, folder, overwrite))
        return written

    monkeypatch.setattr(export, "export_onnx", fake)
    done = CliRunner().invoke(samgeo, ["models", "export", "samgeo-nano", "--onnx", str(tmp_path / "there")])
    assert done.exit_code == 0, done.output
    assert asked == [("samgeo-nano", "exact", tmp_path / "there", False)]
    assert done.stdout.split() == [str(written.encoder), str(written.decoder)]
    assert "logits " in done.stderr


@pytest.mark.sweep
def test_fast_sam_is_one_file(tmp_path) -> None:
    written = export_onnx(seeded_model(TINY_FAST_SAM), tmp_path)
    assert written.decoder is None
    assert set(written.differences) == {"boxes", "scores", "coefficients", "prototypes"}
    assert max(written.differences.values()) < 1e-4


@pytest.mark.sweep
@pytest.mark.parametrize("name", [*(name for name in TINY if name != "tiny-sam2"), "samgeo-nano"])
def test_every_member_agrees_with_its_files(name: str, tmp_path) -> None:
    member = seeded_model(TINY[name]) if name in TINY else load_network(name, device="cpu", precision="exact")
    assert max(export_onnx(member, tmp_path).differences.values()) < 1e-4
