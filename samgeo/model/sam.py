"""The parts put together: image encoder, prompt encoder, mask decoder. Shapes are stated here once.

image   (B, 3, H, W) RGB
encode  -> Features: stride16 (B, C, H/16, W/16), stride8 (B, C8, H/8, W/8), stride4 (B, C4, H/4, W/4)
decode  -> logits (N, 4, H/4, W/4), iou (N, 4): mask 0 for unambiguous prompts, 1 to 3 for ambiguous ones
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.nano_encoder import NanoEncoder
from samgeo.model.prompt_encoder import BOX_CORNERS, PromptEncoder
from samgeo.model.transformer import TwoWayTransformer


class Features(NamedTuple):
    """What the image encoder leaves for the mask decoder."""

    stride16: Tensor
    """(B, C, H/16, W/16), the image embedding."""
    stride8: Tensor
    """(B, C8, H/8, W/8), through the decoder's `conv_s1`."""
    stride4: Tensor
    """(B, C4, H/4, W/4), through the decoder's `conv_s0`."""

    def repeat(self, times: int) -> Features:
        """Each image's features `times` over, for that many objects in each image."""
        return Features(*(x.repeat_interleave(times, dim=0) for x in self))


class Sam(nn.Module):
    """A promptable segmentation network; parameters carry the names of the official checkpoints."""

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def encode(self, image: Tensor) -> Features:
        """Run the image encoder once for B images (B, 3, H, W)."""
        return self.project(*self.image_encoder(image))

    def project(self, stride16: Tensor, stride8: Tensor, stride4: Tensor) -> Features:
        """What the image encoder returned, brought to the widths of the mask decoder, once for each image."""
        return Features(stride16, self.mask_decoder.conv_s1(stride8), self.mask_decoder.conv_s0(stride4))

    def decode(
        self,
        features: Features,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        origin_px: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All four masks of N objects: logits (N, 4, H/4, W/4), IoU (N, 4). Arguments as of `embed_prompts`."""
        embedded = self.embed_prompts(features, points, labels, masks, origin_px=origin_px)
        return self.mask_decoder(features.stride16, *embedded, (features.stride8, features.stride4))  # type: ignore[no-any-return]

    def embed_prompts(
        self,
        features: Features,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        origin_px: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positions (1 or N, C, h, w), sparse (N, T, C) and dense (N, C, h, w) embeddings of N objects' prompts.

        features: of one image, or of N (one for each object). points: (N, T, 2) x,y. labels: (N, T), box corners 2, 3.
        masks: (N, 1, H/4, W/4) logits or None. origin_px: (N, 2), where training places each crop in the frame that
        positions refer to.
        """
        size = features.stride16.shape[-2], features.stride16.shape[-1]
        dtype = features.stride16.dtype
        position = self.prompt_encoder.dense_position(size, origin_px).to(dtype)  # (1 or N, C, h, w)
        sparse = self.prompt_encoder.sparse(points, labels, origin_px).to(dtype)  # (N, T, C)
        dense = self.prompt_encoder.dense(masks, points, labels, size=size).to(dtype)  # (N, C, h, w)
        return position, sparse, dense


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
    dim = 128
    sam = Sam(
        NanoEncoder(widths=(64, 128, 256, 256), depths=(2, 2, 2, 2), out_channels=dim),
        PromptEncoder(embed_dim=dim, image_size_px=1024, mask_in_chans=64, drawn=True),
        MaskDecoder(
            transformer=TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=4, mlp_dim=512),
            transformer_dim=dim,
            upscaling_dims=(32, 16),
            high_res_features=True,
            iou_sigmoid=True,
        ),
    )
    sam.prompt_encoder.pe_layer.spread_wavelengths(24, 2048)
    return sam
