"""What samgeo-nano does beyond SAM: it draws its prompts, compares pixels with them, judges and names its masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.classes import ClassHead
from samgeo.model.drawing import draw_prompts, outside_box
from samgeo.model.frame import NativeFrame
from samgeo.model.likeness import compare, reach
from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.nano_encoder import NanoEncoder
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.sam import Embedded, Features, Sam, with_corners
from samgeo.model.scoring import MaskScorer
from samgeo.model.transformer import TwoWayTransformer

BLOCK_PX = 32
"""Images are padded to multiples of this."""


class NanoSam(Sam):
    """SAM with drawn prompts, maps of likeness and a scorer of masks."""

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        mask_scorer: MaskScorer,
        class_head: ClassHead,
    ) -> None:
        super().__init__(image_encoder, prompt_encoder, mask_decoder, frame=NativeFrame(block_px=BLOCK_PX))
        self.mask_scorer = mask_scorer
        self.class_head = class_head

    def project(self, stride16: Tensor, stride8: Tensor | None = None, stride4: Tensor | None = None) -> Features:
        """Features as SAM 2's, and a unit vector for each pixel of stride 4."""
        features = super().project(stride16, stride8, stride4)
        return features._replace(units=F.normalize(self.mask_decoder.unit(stride4).float(), dim=1))

    def list_prompts(self, points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """SAM's order; a mask alone has a padding point, as in training."""
        return with_corners(points, labels, boxes)

    def embed_prompts(
        self,
        features: Features,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        origin_px: Tensor | None = None,
    ) -> Embedded:
        """Tokens, and the prompts drawn and compared with the image. Arguments as of `Sam.embed_prompts`."""
        dtype = features.stride16.dtype
        encoder = self.prompt_encoder
        assert features.units is not None
        alike, looks = compare(features.units, points, labels, masks)  # (N, 5, 4h, 4w), (N, T, D)
        size, stride_px = features.logits_size, encoder.stride_px // 4
        drawn = draw_prompts(points, labels, size=size, stride_px=stride_px)
        outside = outside_box(points, labels, size=size, stride_px=stride_px)[:, None]
        reached = reach(features.units, alike, points, labels).to(alike.dtype)  # (N, 2, 4h, 4w)
        shown = torch.cat([drawn.to(alike.dtype), alike, reached], dim=1)  # (N, 12, 4h, 4w)
        masks = None if masks is None else masks.clamp(-8, 8)
        earlier = torch.zeros_like(outside) if masks is None else masks / 8
        own = torch.cat([outside, drawn[:, :-1], earlier.to(drawn.dtype)], dim=1)  # (N, 6, 4h, 4w), the box sharper
        return Embedded(
            sparse=encoder.sparse(points, labels, looks, origin_px=origin_px).to(dtype),
            dense=encoder.dense(masks, shown).to(dtype),
            maps=torch.cat([alike, own.to(alike.dtype), reached], dim=1),  # (N, 13, 4h, 4w)
        )


def build_nano() -> NanoSam:
    """The architecture of samgeo-nano with random weights."""
    dim, fine, likeness = 128, 64, 32
    sam = NanoSam(
        NanoEncoder(widths=(48, 96, 192, 256), depths=(2, 2, 2, 2), out_channels=dim, fine_channels=fine),
        PromptEncoder(embed_dim=dim, image_size_px=1024, mask_in_chans=64, likeness_dim=likeness),
        MaskDecoder(
            transformer=TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=4, mlp_dim=512),
            transformer_dim=dim,
            upscaling_dims=(32, 32),
            high_res_channels=fine,
            iou_sigmoid=True,
            likeness_dim=likeness,
            activation=nn.SiLU,  # in fp32 on a processor the backward pass of GELU takes ten times as long
        ),
        MaskScorer(token_dim=dim),
        ClassHead(coarse_dim=dim, fine_dim=32, unit_dim=likeness),
    )
    sam.prompt_encoder.pe_layer.spread_wavelengths(24, 2048)
    return sam
