"""SAM's ambiguity-aware mask decoder, with the high-resolution features that SAM 2 added.

One token predicts the mask of an unambiguous prompt, three more predict whole, part and subpart of an ambiguous one,
and a further token predicts the IoU of each (Kirillov et al. 2023, section 3). Ravi et al. 2024 add features of
strides 8 and 4 from the image encoder while upscaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model import drawing, likeness
from samgeo.model.layers import MLP, Activation, LayerNorm2d
from samgeo.model.patches import from_patches, to_patches
from samgeo.model.transformer import Places, TwoWayTransformer

NUM_MASKS = 4
"""One mask for unambiguous prompts and three for ambiguous ones."""
SINGLE, MULTIMASK, EVERY_MASK = slice(1), slice(1, None), slice(None)
"""Which of them: that of an unambiguous prompt, those of an ambiguous one, all."""
MAPS = len(likeness.MAPS) + len(drawing.MAPS) + 1 + len(likeness.REACHED)
"""What a mask can be a product with beside features: likeness, the drawn prompts, the earlier mask, what is reached."""
LIKENESS_GAIN = 4.0
"""Cosines are small beside the other features; the gain spares the weights to grow."""

HighRes = tuple[Tensor, ...]
"""Features of finer strides, the finest last."""


class Decoded(NamedTuple):
    """All four masks of N prompted objects; the first is for unambiguous prompts."""

    logits: Tensor
    """(N, 4, 4h, 4w)."""
    iou: Tensor
    """(N, 4), what the IoU head expects."""
    tokens: Tensor
    """(N, 4, C), the mask tokens."""


class Attended(NamedTuple):
    """What the transformer made of N objects' prompts: enough to rank their masks and to draw them."""

    tokens: Tensor
    """(N, 4, C), the mask tokens; the first is for unambiguous prompts. HQ-SAM has one more behind them."""
    src: Tensor
    """(N, h, w, C), the image embedding as the prompts changed it."""
    iou: Tensor
    """(N, 4), what the IoU head expects."""
    object_score: Tensor | None
    """(N, 1), above 0 where the object is in the image; None in decoders that do not say (SAM's)."""


class MaskDecoder(nn.Module):
    """Image embedding and prompt tokens to mask logits at stride 4 and IoU predictions."""

    head_activation: Activation = staticmethod(F.relu)
    """Of the MLPs that turn tokens into weights and IoU."""
    refines: bool = False
    """Something is added to masks that are judged without it, see `hq`."""

    def __init__(
        self,
        *,
        transformer: TwoWayTransformer,
        transformer_dim: int,
        upscaling_dims: tuple[int, int],
        high_res_channels: int = 0,
        iou_sigmoid: bool = False,
        object_score: bool = False,
        likeness_dim: int = 0,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        """upscaling_dims: channels at strides 8 and 4. high_res_channels: of the encoder's features there, if any.

        iou_sigmoid, object_score: SAM 2's: IoU in 0..1, and a token that says whether the object is there at all.
        likeness_dim: width of the unit vectors that masks also are products with, see `likeness`.
        """
        super().__init__()
        middle, fine = upscaling_dims
        self.iou_sigmoid = iou_sigmoid
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(NUM_MASKS, transformer_dim)
        self.object_score = object_score
        if object_score:
            self.obj_score_token = nn.Embedding(1, transformer_dim)
            self.pred_obj_score_head = MLP(transformer_dim, transformer_dim, 1, 3)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(transformer_dim, middle, 2, stride=2),
            LayerNorm2d(middle),
            activation(),
            nn.ConvTranspose2d(middle, fine, 2, stride=2),
            activation(),
        )
        if high_res_channels:
            self.conv_s1 = nn.Conv2d(high_res_channels, middle, 1)
            self.conv_s0 = nn.Conv2d(high_res_channels, fine, 1)
        self.likeness_dim = likeness_dim
        products = fine
        if likeness_dim:
            self.unit = nn.Conv2d(high_res_channels, likeness_dim, 1)
            products += likeness_dim + MAPS
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, products, 3, activation=self.head_activation)
            for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = MLP(transformer_dim, 256, NUM_MASKS, 3, activation=self.head_activation)

    def forward(
        self,
        image: Tensor,
        places: Places,
        sparse: Tensor,
        dense: Tensor,
        *,
        high_res: HighRes | None = None,
        units: Tensor | None = None,
        maps: Tensor | None = None,
    ) -> Decoded:
        """All four masks of N prompted objects. Arguments as of the parts below."""
        tokens, src, iou, _ = self.attend(image, places, sparse, dense)
        upscaled = self.upscale(src, self.in_patches(high_res))
        return Decoded(self.draw(self.weights(tokens), upscaled, src.shape[1:3], units, maps), iou, tokens)

    def locate(self, image_pe: Tensor) -> Places:
        """Positions (N or 1, C, h, w) of the image embedding's cells as `attend` reads them, for all prompts."""
        return self.transformer.locate(image_pe.flatten(2).transpose(1, 2).contiguous())

    def attend(self, image: Tensor, places: Places, sparse: Tensor, dense: Tensor) -> Attended:
        """What is cheap and enough to rank the masks: the transformer and the heads.

        image: (N or 1, C, h, w). places: from `locate`. sparse: (N, T, C). dense: (N, C, h, w) or, for all, of 1.
        """
        own = torch.cat([token.weight for token in self._own_tokens()])  # (S, C), S = 5, or 6 with the object's score
        tokens = torch.cat([own.expand(sparse.shape[0], -1, -1).to(sparse.dtype), sparse], dim=1)  # (N, S + T, C)
        src = image + dense  # (N or 1, C, h, w)
        flat = src.flatten(2).transpose(1, 2).contiguous()  # (N or 1, hw, C)
        tokens, flat = self.transformer(flat, places, tokens)
        first = 1 if self.object_score else 0
        iou = self.iou_prediction_head(tokens[:, first])  # (N, 4)
        return Attended(
            tokens=tokens[:, first + 1 : len(own)],
            src=flat.unflatten(1, src.shape[-2:]),
            iou=iou.sigmoid() if self.iou_sigmoid else iou,
            object_score=self.pred_obj_score_head(tokens[:, 0]) if self.object_score else None,
        )

    def _own_tokens(self) -> list[nn.Embedding]:
        """The decoder's tokens in their order, before those of the prompts."""
        first = [self.obj_score_token] if self.object_score else []
        return [*first, self.iou_token, self.mask_tokens]

    def in_patches(self, high_res: HighRes | None) -> HighRes | None:
        """Features as of `forward` as `upscale` adds them, once for each image: in patch order, (N or 1, P, C).

        The biases of the layers whose output they are added to are in them.
        """
        if high_res is None:
            return None
        first, _, _, second, _ = self.output_upscaling
        patches = [to_patches(finer, k + 1) for k, finer in enumerate(high_res)]
        biases = [layer.get_parameter("bias") for layer in (first, second)]
        return tuple(finer + bias.to(finer.dtype) for finer, bias in zip(patches, biases, strict=True))

    def upscale(self, src: Tensor, finer: HighRes | None) -> Tensor:
        """(N, h, w, C) to the features that masks are products with, in patch order: (N, 16 h w, C4).

        finer: from `in_patches`, strides 8 and 4.
        """
        first, norm, act1, second, act2 = self.output_upscaling
        added8, added4 = finer or (None, None)
        x = doubled(src.flatten(1, 2), first, added8)  # (N, 4 h w, C8)
        x = doubled(act1(normalised(x, norm)), second, added4)  # (N, 16 h w, C4)
        return act2(x)  # type: ignore[no-any-return]

    def weights(self, tokens: Tensor, *, refined: bool = True) -> Tensor:  # noqa: ARG002
        """What the masks are drawn with, from the tokens in `Attended`: (N, 4, C) -> (N, 4, P), for `draw`.

        refined: False leaves out what a decoder adds that `refines`.
        """
        return torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)

    def draw(
        self, weights: Tensor, upscaled: Tensor, size: Sequence[int], units: Tensor | None, maps: Tensor | None
    ) -> Tensor:
        """Logits of M masks for each of N objects, (N, M, 4h, 4w): products of the masks' weights with features.

        weights: (N, M, P) from `weights`. upscaled: (N, 16 h w, C4) from `upscale`, size: (h, w). units: (B, D, 4h, 4w)
        of B images with N / B consecutive objects in each; maps: (N, MAPS, 4h, 4w); both None in a decoder without
        likeness.
        """
        (n, m, _), c4 = weights.shape, upscaled.shape[2]
        product: Tensor = weights[..., :c4] @ upscaled.transpose(1, 2)  # (N, M, 16 h w), in patch order
        logits = from_patches(product, size, 2)  # (N, M, 4h, 4w)
        if units is None or maps is None:
            return logits
        shared, own = (LIKENESS_GAIN * weights[..., c4:]).split([self.likeness_dim, MAPS], dim=2)
        by_image = shared.reshape(len(units), n // len(units) * m, self.likeness_dim)  # (B, K M, D)
        common = by_image @ units.flatten(2).to(shared.dtype)  # (B, K M, 4h 4w)
        added: Tensor = common.reshape(product.shape) + own @ maps.flatten(2).to(own.dtype)  # (N, M, 4h 4w)
        return logits + added.reshape(logits.shape)


def doubled(x: Tensor, layer: nn.Module, added: Tensor | None = None) -> Tensor:
    """A transposed convolution that makes four cells of one, in patch order: (N, P, C) -> (N, 4 P, C').

    added: (N or 1, 4 P, C'), added to the output in place of the layer's bias.
    """
    assert isinstance(layer, nn.ConvTranspose2d)
    assert layer.bias is not None
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 C', C)
    four: Tensor = F.linear(x, weight, layer.bias.repeat(4) if added is None else None)  # (N, P, 4 C')
    four = four.reshape(x.shape[0], 4 * x.shape[1], layer.out_channels)
    return four if added is None else four.add_(added)


def normalised(x: Tensor, norm: nn.Module) -> Tensor:
    """A norm of maps, in patch order: (N, P, C) -> (N, P, C)."""
    return norm(x.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)  # type: ignore[no-any-return]  # a map of P x 1
