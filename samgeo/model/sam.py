"""The parts put together: image encoder, prompt encoder, mask decoder. Shapes are stated here once.

image   (B, 3, H, W) RGB
encode  -> Features: stride16 (B, C, H/16, W/16), stride8 (B, C8, H/8, W/8), stride4 (B, C4, H/4, W/4)
decode  -> logits (N, 4, H/4, W/4), iou (N, 4), tokens (N, 4, C): mask 0 for unambiguous prompts, 1 to 3 for ambiguous
           ones
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.drawing import BOX_CORNERS, draw_prompts
from samgeo.model.likeness import compare
from samgeo.model.mask_decoder import Decoded, MaskDecoder
from samgeo.model.nano_encoder import NanoEncoder
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.scoring import MaskScorer
from samgeo.model.transformer import TwoWayTransformer


class Features(NamedTuple):
    """What the image encoder leaves for the mask decoder."""

    stride16: Tensor
    """(B, C, H/16, W/16), the image embedding."""
    stride8: Tensor
    """(B, C8, H/8, W/8), through the decoder's `conv_s1`."""
    stride4: Tensor
    """(B, C4, H/4, W/4), through the decoder's `conv_s0`."""
    units: Tensor | None = None
    """(B, D, H/4, W/4) unit vectors, for `likeness.compare`; None in networks that compare no pixels."""

    def repeat(self, times: int) -> Features:
        """Each image's features `times` over, for that many objects in each image; `units` are shared by them."""
        return self._replace(
            **{k: getattr(self, k).repeat_interleave(times, dim=0) for k in ("stride16", "stride8", "stride4")}
        )


class Embedded(NamedTuple):
    """N objects' prompts as the mask decoder reads them."""

    position: Tensor
    """(1 or N, C, h, w) positions of the image embedding's cells."""
    sparse: Tensor
    """(N, T, C) tokens."""
    dense: Tensor
    """(N, C, h, w), added to the image embedding."""
    alike: Tensor | None
    """(N, 5, 4h, 4w) maps of likeness, or None."""


class Sam(nn.Module):
    """A promptable segmentation network; parameters carry the names of the official checkpoints."""

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        mask_scorer: MaskScorer | None = None,
    ) -> None:
        """mask_scorer: judges masks by themselves, where the score of the mask decoder's own head is not enough."""
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.mask_scorer = mask_scorer

    def encode(self, image: Tensor) -> Features:
        """Run the image encoder once for B images (B, 3, H, W)."""
        return self.project(*self.image_encoder(image))

    def project(self, stride16: Tensor, stride8: Tensor, stride4: Tensor) -> Features:
        """What the image encoder returned, brought to the widths of the mask decoder, once for each image."""
        decoder = self.mask_decoder
        units = F.normalize(decoder.unit(stride4).float(), dim=1) if decoder.likeness_dim else None
        return Features(stride16, decoder.conv_s1(stride8), decoder.conv_s0(stride4), units)

    def decode(
        self,
        features: Features,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        origin_px: Tensor | None = None,
    ) -> Decoded:
        """All four masks of N objects. Arguments as of `embed_prompts`."""
        position, sparse, dense, alike = self.embed_prompts(features, points, labels, masks, origin_px=origin_px)
        high_res = (features.stride8, features.stride4)
        return self.mask_decoder(  # type: ignore[no-any-return]
            features.stride16, position, sparse, dense, high_res=high_res, units=features.units, alike=alike
        )

    def embed_prompts(
        self,
        features: Features,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        origin_px: Tensor | None = None,
    ) -> Embedded:
        """The prompts of N objects.

        features: of one image, or of N (one for each object). points: (N, T, 2) x,y. labels: (N, T), box corners 2, 3.
        masks: (N, 1, H/4, W/4) logits or None. origin_px: (N, 2), where training places each crop in the frame that
        positions refer to.
        """
        size = features.stride16.shape[-2], features.stride16.shape[-1]
        dtype = features.stride16.dtype
        encoder = self.prompt_encoder
        alike = looks = maps = None
        if features.units is not None:
            alike, looks = compare(features.units, points, labels, masks)  # (N, 5, 4h, 4w), (N, T, D)
            fine = (features.units.shape[-2], features.units.shape[-1])
            drawn = draw_prompts(points, labels, size=fine, stride_px=encoder.stride_px // 4)
            maps = torch.cat([drawn.to(alike.dtype), alike], dim=1)  # (N, 10, 4h, 4w)
        return Embedded(
            position=encoder.dense_position(size, origin_px).to(dtype),
            sparse=encoder.sparse(points, labels, looks, origin_px=origin_px).to(dtype),
            dense=encoder.dense(masks, maps, count=len(points), size=size).to(dtype),
            alike=alike,
        )


def with_corners(points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Clicks (N, K, 2) with labels (N, K) and boxes (N, 4) as one list; without a box a padding point is appended.

    SAM's own order: clicks first, then the box's two corners.
    """
    if boxes is None:
        return (
            torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1),
            torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1),
        )
    corners = labels.new_tensor(BOX_CORNERS).expand(len(boxes), -1)
    return torch.cat([points, boxes.reshape(-1, 2, 2)], dim=1), torch.cat([labels, corners], dim=1)


def build_nano() -> Sam:
    """The architecture of samgeo-nano with random weights."""
    dim, fine, likeness = 128, 64, 32
    sam = Sam(
        NanoEncoder(widths=(48, 96, 192, 256), depths=(2, 2, 2, 2), out_channels=dim, fine_channels=fine),
        PromptEncoder(embed_dim=dim, image_size_px=1024, mask_in_chans=64, likeness_dim=likeness),
        MaskDecoder(
            transformer=TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=4, mlp_dim=512),
            transformer_dim=dim,
            upscaling_dims=(32, 32),
            high_res_channels=fine,
            iou_sigmoid=True,
            likeness_dim=likeness,
            activation=nn.SiLU,  # where there are no matrix units, the backward pass of GELU takes ten times as long
        ),
        MaskScorer(token_dim=dim),
    )
    sam.prompt_encoder.pe_layer.spread_wavelengths(24, 2048)
    return sam
