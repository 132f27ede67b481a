"""Word finders of the transformers library, tiny and with random weights, made here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import geopandas
import numpy as np
import pytest
import torch
from click.testing import CliRunner

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from samgeo.cli import samgeo  # noqa: E402
from samgeo.errors import ModelError, PromptError, WeightsError  # noqa: E402
from samgeo.model import grounding  # noqa: E402
from samgeo.model.finder import FinderAddress, WordFinder  # noqa: E402
from tests.model.seeded import picture  # noqa: E402
from tests.rasters import write  # noqa: E402

WORDS = ("solar panel", "car", "roof")
SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {
    "vocab_size": 1100,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "projection_dim": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tokenizer():
    """Words to numbers; the full stop and the ends have the numbers that Grounding DINO knows them by."""
    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012}
    vocabulary |= {word: 1040 + k for k, word in enumerate(("solar", "panel", "car", "roof"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def grounding_dino():
    swin = transformers.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )
    bert = transformers.BertConfig(vocab_size=1100, num_hidden_layers=1, **SMALL | {"hidden_size": 16})
    sides = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("attention_heads", "layers")}
    widths = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 32, "num_queries": 10, "num_feature_levels": 3}
    config = transformers.GroundingDinoConfig(backbone_config=swin, text_config=bert, **sides, **widths)
    return transformers.GroundingDinoForObjectDetection(config)


def owlv2():
    vision = {"image_size": 64, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 1}
    config = transformers.Owlv2Config(text_config=TEXT, vision_config=SMALL | vision, projection_dim=16)
    return transformers.Owlv2ForObjectDetection(config)


def sam3():
    backbone = {"model_type": "sam3_vit_model", "num_hidden_layers": 2, "image_size": 112, "pretrain_image_size": 56}
    backbone |= {"patch_size": 14, "window_size": 4, "global_attn_indexes": [1], **SMALL}
    sizes = [[32, 32], [16, 16], [8, 8]]
    config = transformers.Sam3Config(
        vision_config={"backbone_config": backbone, "fpn_hidden_size": 32, "backbone_feature_sizes": sizes},
        text_config=TEXT,
        geometry_encoder_config={"num_layers": 1, "roi_size": 2, **SMALL},
        detr_encoder_config={"num_layers": 1, **SMALL},
        detr_decoder_config={"num_layers": 1, "num_queries": 8, **SMALL},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    return transformers.Sam3Model(config)


MAKERS = {"grounding-dino": grounding_dino, "owlv2": owlv2, "sam3": sam3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One model of each kind, saved as the library saves them."""
    root = tmp_path_factory.mktemp("finders")
    for name, make in MAKERS.items():
        torch.manual_seed(3)
        make().save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)
    return {name: root / name for name in MAKERS}


@pytest.fixture(params=MAKERS)
def finder(request, folders):
    return FinderAddress(name=str(folders[request.param]), device="cpu").load()


def test_a_finder_gives_boxes_of_words_inside_the_image(finder) -> None:
    assert isinstance(finder, WordFinder)
    image = picture(90, 120)
    found = finder.find(image, WORDS, least_score=0)
    assert len(found.boxes) == len(found.words) == len(found.scores) > 0
    assert (found.boxes[:, :2] >= -0.5).all()
    assert (found.boxes[:, 2:] <= (119.5, 89.5)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert set(found.words.tolist()) <= {0, 1, 2}
    again = finder.find(image, WORDS, least_score=0)
    np.testing.assert_array_equal(found.boxes, again.boxes)
    middle = float(np.median(found.scores))
    some = finder.find(image, WORDS, least_score=middle)
    assert some.scores.min() >= middle
    assert len(finder.find(image, WORDS, least_score=1).boxes) == 0


def test_words_are_asked_by_themselves(finder) -> None:
    """What is found for the last word depends on the word, not on its place; in Grounding DINO a little."""
    image = picture(64, 64)
    alone = finder.find(image, ("car",), least_score=0)
    assert set(alone.words.tolist()) == {0}
    if finder.kind.network == "Sam3Model":
        among = finder.find(image, ("roof", "car"), least_score=0)
        np.testing.assert_allclose(among.scores[among.words == 1], alone.scores, atol=1e-5)


def test_a_sentence_knows_which_token_is_of_which_word() -> None:
    ids, owner = grounding.sentence(tokenizer(), ("Solar panel", "car"))
    assert ids == [101, 1040, 1041, 1012, 1042, 1012, 102]
    assert owner == [-1, 0, 0, -1, 1, -1, -1]
    with pytest.raises(PromptError, match="nothing that the model can read"):
        grounding.sentence(tokenizer(), (".",))


def test_too_many_words_are_refused(folders) -> None:
    finder = FinderAddress(name=str(folders["grounding-dino"]), device="cpu").load()
    with pytest.raises(PromptError, match="256 at once"):
        finder.find(picture(64, 64), tuple(f"car{'.' * 0}" for _ in range(200)), least_score=0)


@pytest.mark.parametrize("shape", [(90, 120), (300, 100), (64, 64)])
def test_images_are_prepared_as_the_librarys_own_processor_does(shape: tuple[int, int]) -> None:
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    image = picture(*shape)
    wanted = GroundingDinoImageProcessorPil()(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(grounding.grounding_dino_pixels(image), wanted, atol=1e-4, rtol=0)
    wanted = Owlv2ImageProcessorPil(size={"height": 96, "width": 96})(image, return_tensors="pt")["pixel_values"]
    assert (grounding.owlv2_pixels(image, 96) - wanted).abs().mean() < 0.1


def test_sam3_sees_a_square_from_minus_one_to_one() -> None:
    image = np.zeros((30, 50, 3), np.uint8)
    image[:, 25:] = 255
    pixels = grounding.sam3_pixels(image, 100)
    assert pixels.shape == (1, 3, 100, 100)
    assert (pixels[..., :45] == -1).all()
    assert (pixels[..., 55:] == 1).all()


def test_the_command_finds_words(folders, tmp_path) -> None:
    raster = write(tmp_path / "ortho.tif", np.moveaxis(picture(120, 150), -1, 0))
    output = tmp_path / "found.gpkg"
    words = (
        "--text",
        "solar panel, car",
        "--text-model",
        str(folders["owlv2"]),
        "--text-thresh",
        "0",
        "--tile",
        "64",
        "--overlap",
        "16",
    )
    done = CliRunner().invoke(samgeo, ["segment", str(raster), str(output), *words])
    assert done.exit_code == 0, done.output
    found = geopandas.read_file(output)
    assert len(found) > 0
    assert set(found["label"]) <= {"solar panel", "car"}
    assert found["label_score"].between(0, 1).all()


def test_what_finds_no_words_is_refused(folders, tmp_path, monkeypatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="finds no words; expected the files of a model of the types grounding-dino"):
        grounding.load_finder(str(tmp_path))
    (tmp_path / "config.json").write_text("no json")
    with pytest.raises(ModelError, match=r"no config\.json"):
        grounding.load_finder(str(tmp_path))
    with pytest.raises(ModelError, match="no such folder"):
        grounding.load_finder(str(tmp_path / "elsewhere" / "deeper"))
    monkeypatch.setenv("SAMGEO_OFFLINE", "1")
    with pytest.raises(ModelError, match="SAMGEO_OFFLINE forbids fetching"):
        grounding.load_finder("nobody/nothing")


def test_only_safetensors_are_read(folders, tmp_path) -> None:
    """A pickle in the place of the weights is not opened."""
    for file in folders["owlv2"].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nmkdir\n.")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        grounding.load_finder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        grounding.load_finder(str(tmp_path))
