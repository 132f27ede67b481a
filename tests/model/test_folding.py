"""What is computed in another order for speed equals what it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samgeo.model.attention import MANY, attend, pays_in_pieces
from samgeo.model.mask_decoder import doubled
from samgeo.model.nano_network import build_nano
from samgeo.model.patches import from_patches, to_patches
from samgeo.model.transformer import Attention, ImageToTokens, TokensToImage

C, HEADS, CELLS = 32, 4, 40


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def filled(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return layer


@given(st.integers(0, 2), st.integers(0, 2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_patches_go_back_to_their_places(n: int, halvings: int, c: int, h: int, w: int) -> None:
    whole = drawn(n, c, h << halvings, w << halvings)
    patches = to_patches(whole, halvings)
    assert torch.equal(from_patches(patches.transpose(1, 2), (h, w), halvings), whole)
    cell = whole[:, :, : 1 << halvings, : 1 << halvings].flatten(2)
    torch.testing.assert_close(patches[:, : 4**halvings].sum(dim=1), cell.sum(dim=2))


def test_no_prompts_no_masks() -> None:
    sam = build_nano().eval()
    features = sam.encode(drawn(1, 3, 64, 64))
    none = sam.decode(features, torch.zeros(0, 1, 2), torch.zeros(0, 1, dtype=torch.int64))
    assert none.logits.shape == (0, 4, 16, 16)


def test_a_doubling_is_the_transposed_convolution() -> None:
    layer, x = filled(nn.ConvTranspose2d(6, 5, 2, stride=2)), drawn(2, 6, 3, 4)
    assert layer.bias is not None
    cells = x.flatten(2).transpose(1, 2)
    once = doubled(cells, layer)
    torch.testing.assert_close(doubled(cells, layer, layer.bias.expand(1, 48, 5)), once)
    torch.testing.assert_close(from_patches(once.transpose(1, 2), (3, 4), 1), layer(x))
    torch.testing.assert_close(from_patches(to_patches(layer(x), 1).transpose(1, 2), (3, 4), 1), layer(x))


@pytest.mark.parametrize(("own_image", "own_places"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("prompts", [1, 3])
def test_attention_without_projecting_the_image(prompts: int, own_image: bool, own_places: bool) -> None:
    image, places = (
        drawn(prompts if own else 1, CELLS + i, C)[:, :CELLS] for i, own in enumerate((own_image, own_places))
    )
    tokens, keys = drawn(prompts, 5, C), drawn(prompts, 6, C)[:, :5]
    whole, there = (t.expand(prompts, -1, -1) for t in (image, places))
    asks = filled(TokensToImage(C, HEADS, downsample_rate=2))
    expected = Attention.forward(asks, tokens, whole + there, whole)
    torch.testing.assert_close(asks(tokens, image, asks.locate(places)), expected, rtol=1e-4, atol=1e-4)
    told = filled(ImageToTokens(C, HEADS, downsample_rate=2))
    expected = Attention.forward(told, whole + there, keys, tokens)
    torch.testing.assert_close(told(image, told.locate(places), keys, tokens), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_in_pieces(batch: int) -> None:
    side = 36
    q, k, v = drawn(3, batch, 5, side * side, 8)
    rows, cols = drawn(2, batch, 5, side * side, side)
    with torch.inference_mode():
        alone, with_places = attend(q, k, v), attend(q, k, v, rows=rows, cols=cols)
    torch.testing.assert_close(alone, F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(with_places, attend(q, k, v, rows=rows, cols=cols), rtol=1e-4, atol=1e-4)


def test_pieces_are_for_large_images_that_nobody_learns_from() -> None:
    many, few = torch.zeros(1, 1, MANY, 8), torch.zeros(1, 1, MANY - 1, 8)
    assert not pays_in_pieces(many)
    with torch.inference_mode():
        assert pays_in_pieces(many)
        assert not pays_in_pieces(few)
