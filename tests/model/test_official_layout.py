"""The shared core carries the names and sizes of the official checkpoints (facts of the published files)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from samgeo.model.build import ARCHITECTURES, official_names
from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.published import PUBLISHED
from samgeo.model.spec import MODELS
from samgeo.model.transformer import TwoWayTransformer
from tests.model.seeded import digest

OFFICIAL = json.loads((Path(__file__).parent / "official_layouts.json").read_text())
"""Of each published checkpoint, and of what is read of it here: number of tensors and of values, digest."""


@pytest.mark.parametrize("name", OFFICIAL)
def test_names_and_shapes_are_those_of_the_official_checkpoint(name: str) -> None:
    spec = MODELS[name]
    with torch.device("meta"):
        sam = ARCHITECTURES[spec.architecture].build(spec)
    tensors = official_names(spec.architecture, sam.state_dict())
    assert digest({n: tuple(t.shape) for n, t in tensors.items()}) == OFFICIAL[name]["read"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_published_counts_are_those_of_the_official_checkpoint(name: str) -> None:
    """The Fourier matrix and what batch normalisation has measured are no parameters."""
    with torch.device("meta"):
        sam = ARCHITECTURES[MODELS[name].architecture].build(MODELS[name])
    buffers = sum(buffer.numel() for buffer in sam.buffers())
    assert OFFICIAL[name]["whole"]["values"] == PUBLISHED[name].parameters + buffers


@pytest.fixture
def decoder() -> MaskDecoder:
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
    return MaskDecoder(transformer=transformer, transformer_dim=256, upscaling_dims=(64, 32))


def test_size_of_the_sam_decoder(decoder: MaskDecoder) -> None:
    assert sum(p.numel() for p in decoder.parameters()) == 4_058_340


def test_names_of_the_sam_decoder(decoder: MaskDecoder) -> None:
    names = set(decoder.state_dict())
    for name in (
        "transformer.layers.0.self_attn.q_proj.weight",
        "transformer.layers.1.cross_attn_token_to_image.out_proj.bias",
        "transformer.layers.1.cross_attn_image_to_token.k_proj.weight",
        "transformer.layers.0.mlp.lin1.weight",
        "transformer.layers.0.norm4.bias",
        "transformer.final_attn_token_to_image.v_proj.weight",
        "transformer.norm_final_attn.weight",
        "iou_token.weight",
        "mask_tokens.weight",
        "output_upscaling.0.weight",
        "output_upscaling.1.bias",
        "output_upscaling.3.weight",
        "output_hypernetworks_mlps.3.layers.2.weight",
        "iou_prediction_head.layers.0.weight",
    ):
        assert name in names
    assert decoder.state_dict()["transformer.layers.0.cross_attn_token_to_image.q_proj.weight"].shape == (128, 256)


def test_size_and_names_of_the_sam_prompt_encoder() -> None:
    encoder = PromptEncoder(embed_dim=256, image_size_px=1024)
    assert sum(p.numel() for p in encoder.parameters()) == 6_220
    names = set(encoder.state_dict())
    assert "pe_layer.positional_encoding_gaussian_matrix" in names
    assert {f"point_embeddings.{i}.weight" for i in range(4)} <= names
    assert {f"mask_downscaling.{i}.weight" for i in (0, 1, 3, 4, 6)} <= names


def test_padding_has_no_position() -> None:
    """SAM replaces the position of a padding point by zero before it adds the learned vector."""
    encoder = PromptEncoder(embed_dim=256, image_size_px=1024)
    points = torch.tensor([[[10.0, 20.0], [500.0, 7.0]]])
    tokens = encoder.sparse(points, torch.tensor([[-1, -1]]))
    assert torch.equal(tokens[0, 0], tokens[0, 1])
    assert torch.equal(tokens[0, 0], encoder.not_a_point_embed.weight[0])


def test_decoder_shapes(decoder: MaskDecoder) -> None:
    image, position = torch.randn(1, 256, 8, 6), torch.randn(1, 256, 8, 6)
    logits, iou, tokens = decoder(image, decoder.locate(position), torch.randn(3, 2, 256), torch.randn(3, 256, 8, 6))
    assert logits.shape == (3, 4, 32, 24)
    assert iou.shape == (3, 4)
    assert tokens.shape == (3, 4, 256)
