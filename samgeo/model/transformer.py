"""The two-way transformer of SAM's mask decoder (Kirillov et al. 2023, appendix A, "Lightweight mask decoder").

Tokens attend to themselves and to the image, and the image attends to the tokens, so that both know of each other.
Positions are added to queries and keys at every attention, never to values.

Many prompts ask one image: until it has attended to them it is one image, and what is projected from it is projected
once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.layers import Activation, MLPBlock

Places = tuple[tuple[Tensor, ...], ...]
"""Positions of the image's cells, projected, for each layer and for the last look."""


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its input."""

    def __init__(self, embedding_dim: int, num_heads: int, *, downsample_rate: int = 1, kv_dim: int = 0) -> None:
        """kv_dim: width of keys and values, if it is another than that of queries."""
        super().__init__()
        inner = embedding_dim // downsample_rate
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, inner)
        self.k_proj = nn.Linear(kv_dim or embedding_dim, inner)
        self.v_proj = nn.Linear(kv_dim or embedding_dim, inner)
        self.out_proj = nn.Linear(inner, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (N, Tq, C), k and v (N, Tk, C) -> (N, Tq, C)."""
        return self.attend(*self.project(q, k, v))

    def project(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (N, Tq, C), k and v (N, Tk, Ck) -> as heads, (N, heads, T, D)."""
        return self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Heads (N, heads, T, D) -> (N, Tq, C)."""
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # (N, Tq, heads, D)
        return self.out_proj(out.flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, heads, T, D)
        return heads


class TokensToImage(Attention):
    """A few tokens of each prompt ask the image.

    Once prompts have changed it, the image is another for each, and large. So nothing is projected from it: q . (K x)
    is (q K) . x, and the mean of V x is V times the mean of x. Positions are the same for all and are projected once.
    """

    def locate(self, image_pe: Tensor) -> Tensor:
        """Positions of the image (N or 1, HW, C) -> their share of the keys, (N or 1, heads, HW, D)."""
        return self._heads(F.linear(image_pe, self.k_proj.weight))  # a bias, the same for all keys, changes nothing

    def forward(self, tokens: Tensor, image: Tensor, places: Tensor) -> Tensor:
        """tokens (N, T, C); image (N or 1, HW, C); places from `locate`, of N only if the image is -> (N, T, C)."""
        q = self._heads(self.q_proj(tokens))  # (N, heads, T, D)
        if image.shape[0] != tokens.shape[0]:  # projected once; the tokens of all prompts ask it like those of one
            k, v = self._heads(F.linear(image, self.k_proj.weight)) + places, self._heads(self.v_proj(image))
            together = q.transpose(0, 1).flatten(1, 2)[None]  # (1, heads, N T, D)
            out = F.scaled_dot_product_attention(together, k, v)[0].unflatten(1, q.shape[:3:2]).transpose(0, 1)
        else:
            q = q * q.shape[-1] ** -0.5
            key, value = (p.weight.unflatten(0, (self.num_heads, -1)) for p in (self.k_proj, self.v_proj))
            logits = _products(q, places).flatten(1, 2)  # (N, heads T, HW)
            logits = torch.baddbmm(logits, (q @ key).flatten(1, 2), image.transpose(1, 2))
            seen = (logits.softmax(dim=2) @ image).unflatten(1, q.shape[1:3])  # (N, heads, T, C)
            out = seen @ value.transpose(1, 2)  # (N, heads, T, D)
            out = out + self.v_proj.bias.unflatten(0, (self.num_heads, 1, -1)).to(out.dtype)
        return self.out_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class ImageToTokens(Attention):
    """The image asks the few tokens of each prompt; by the same algebra it is projected once, or not at all."""

    def locate(self, image_pe: Tensor) -> Tensor:
        """Positions of the image (N or 1, HW, C) -> their share of the queries, (N or 1, heads, HW, D)."""
        return self._heads(self.q_proj(image_pe))

    def forward(self, image: Tensor, places: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # type: ignore[override]
        """image and places as of `TokensToImage`; keys, values (N, T, C), of the tokens -> (N, HW, C)."""
        k, v = self._heads(self.k_proj(keys)), self._heads(self.v_proj(values))  # (N, heads, T, D)
        k = k * k.shape[-1] ** -0.5
        out = self.out_proj.weight.unflatten(1, (self.num_heads, -1)).permute(1, 2, 0)  # (heads, D, C)
        if image.shape[0] != keys.shape[0]:
            logits = _products(k, self._heads(F.linear(image, self.q_proj.weight)) + places)  # (N, heads, T, HW)
        else:
            asked = (k @ self.q_proj.weight.unflatten(0, (self.num_heads, -1))).flatten(1, 2)  # (N, heads T, C)
            logits = torch.baddbmm(_products(k, places).flatten(1, 2), asked, image.transpose(1, 2))
            logits = logits.unflatten(1, k.shape[1:3])
        share = logits.softmax(dim=2).flatten(1, 2).transpose(1, 2)  # (N, HW, heads T)
        told: Tensor = v @ out  # (N, heads, T, C)
        told = told + (self.out_proj.bias / self.num_heads).to(told.dtype)  # the shares of each head add up to 1
        seen: Tensor = share @ told.flatten(1, 2)  # (N, HW, C)
        return seen


def _products(few: Tensor, many: Tensor) -> Tensor:
    """few (N, heads, T, D) times each of many (N or 1, heads, M, D): (N, heads, T, M)."""
    if many.shape[0] != 1:
        return few @ many.transpose(2, 3)
    together = few.transpose(0, 1).flatten(1, 2) @ many[0].transpose(1, 2)  # (heads, N T, M)
    both: Tensor = together.unflatten(1, few.shape[:3:2]).transpose(0, 1)
    return both


class TwoWayAttentionBlock(nn.Module):
    """Tokens to tokens, tokens to image, MLP, image to tokens; normalised after each."""

    activation: Activation = staticmethod(F.relu)
    """Of the MLP."""

    def __init__(self, embedding_dim: int, num_heads: int, mlp_dim: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = TokensToImage(embedding_dim, num_heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, activation=self.activation)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = ImageToTokens(embedding_dim, num_heads, downsample_rate=2)

    def locate(self, image_pe: Tensor) -> tuple[Tensor, ...]:
        """What `forward` knows of positions in the image (N or 1, HW, C)."""
        return self.cross_attn_token_to_image.locate(image_pe), self.cross_attn_image_to_token.locate(image_pe)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, places: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """tokens (N, T, C), image (N or 1, HW, C), token_pe as tokens, places from `locate` -> both, updated."""
        tokens = self.norm1(self.among_tokens(tokens, token_pe))
        attended = self.cross_attn_token_to_image(tokens + token_pe, image, places[0])
        tokens = self.norm2(tokens + attended)
        tokens = self.norm3(tokens + self.mlp(tokens))
        attended = self.cross_attn_image_to_token(image, places[1], tokens + token_pe, tokens)
        return tokens, self.norm4(image + attended)

    def among_tokens(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """Tokens attend to tokens: (N, T, C) -> (N, T, C)."""
        if self.first:  # the first block has no residual here: tokens carry their position already
            return self.self_attn(tokens, tokens, tokens)  # type: ignore[no-any-return]
        q = tokens + token_pe
        return tokens + self.self_attn(q, q, tokens)  # type: ignore[no-any-return]


class TwoWayTransformer(nn.Module):
    """Blocks of two-way attention, then a last look of the tokens at the image."""

    def __init__(
        self,
        *,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        block: type[TwoWayAttentionBlock] = TwoWayAttentionBlock,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(block(embedding_dim, num_heads, mlp_dim, first=i == 0) for i in range(depth))
        self.final_attn_token_to_image = TokensToImage(embedding_dim, num_heads, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def locate(self, image_pe: Tensor) -> Places:
        """Positions of the image's cells (N or 1, HW, C) as `forward` reads them, for all prompts."""
        last = (self.final_attn_token_to_image.locate(image_pe),)
        blocks = [layer.locate(image_pe) for layer in self.layers if isinstance(layer, TwoWayAttentionBlock)]
        return (*blocks, last)

    def forward(self, image: Tensor, places: Places, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """image (N or 1, HW, C), places from `locate`, tokens (N, T, C) -> tokens (N, T, C), image (N, HW, C)."""
        token_pe = tokens
        *blocks, (last,) = places
        for layer, placed in zip(self.layers, blocks, strict=True):
            tokens, image = layer(tokens, image, token_pe, placed)
        attended = self.final_attn_token_to_image(tokens + token_pe, image, last)
        return self.norm_final_attn(tokens + attended), image
