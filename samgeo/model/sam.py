"""The parts put together: image encoder, prompt encoder, mask decoder. Shapes are stated here once.

image   (B, 3, H, W) as `Frame.prepare` makes it
encode  -> Features: stride16 (B, C, H/16, W/16), in some members stride8 (B, C8, H/8, W/8), stride4 (B, C4, H/4, W/4)
decode  -> logits (N, 4, H/4, W/4), iou (N, 4), tokens (N, 4, C): mask 0 for unambiguous prompts, 1 to 3 for ambiguous
           ones

`Sam` is Segment Anything (Kirillov et al. 2023); what members do differently is in classes derived from it (`sam2`,
`nano_network`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from samgeo.model.drawing import BOX_CORNERS
from samgeo.model.frame import Frame
from samgeo.model.mask_decoder import Decoded, HighRes, MaskDecoder
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.scoring import MaskScorer
from samgeo.model.transformer import Places


class Features(NamedTuple):
    """What the image encoder leaves for the mask decoder."""

    stride16: Tensor
    """(B, C, H/16, W/16), the image embedding."""
    stride8: Tensor | None = None
    """(B, C8, H/8, W/8), through the decoder's `conv_s1`."""
    stride4: Tensor | None = None
    """(B, C4, H/4, W/4), through the decoder's `conv_s0`; in HQ-SAM the HQ features."""
    units: Tensor | None = None
    """(B, D, H/4, W/4) unit vectors, for `likeness.compare`; None in networks that compare no pixels."""

    @property
    def high_res(self) -> HighRes | None:
        """Finer strides for the mask decoder, where the network has them: 8 and 4, or 4 alone."""
        return tuple(finer for finer in (self.stride8, self.stride4) if finer is not None) or None

    @property
    def logits_size(self) -> tuple[int, int]:
        """(h, w) of the masks' logits, which a mask prompt has too."""
        return 4 * self.stride16.shape[-2], 4 * self.stride16.shape[-1]

    def repeat(self, times: int) -> Features:
        """Each image's features `times` over, for that many objects in each image; `units` are shared by them.

        Those of a single image stay as they are: all its objects share them.
        """
        if self.stride16.shape[0] == 1:
            return self
        maps = {k: v for k in ("stride16", "stride8", "stride4") if (v := getattr(self, k)) is not None}
        return self._replace(**{k: v.repeat_interleave(times, dim=0) for k, v in maps.items()})


class Embedded(NamedTuple):
    """N objects' prompts as the mask decoder reads them."""

    sparse: Tensor
    """(N, T, C) tokens."""
    dense: Tensor
    """(N, C, h, w), or (1, C, 1, 1) for all, added to the image embedding."""
    maps: Tensor | None = None
    """(N, `mask_decoder.MAPS`, 4h, 4w) that masks can be products with, or None."""


class Sam(nn.Module):
    """A promptable segmentation network; parameters carry the names of SAM's official checkpoints."""

    stable_or_best: bool = False
    """One mask asked for: give another than the first if that one is not stable, see `sam2.stable_or_best`."""
    logit_limit: float | None = None
    """Logits that a mask prompt takes back are cut to plus and minus this."""

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder, *, frame: Frame
    ) -> None:
        """image_encoder: (B, 3, H, W) -> a tuple of features: stride 16, and 8 and 4 where the decoder takes them."""
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.frame = frame
        self.class_map: nn.Module | None = None  # what teaches the image encoder classes, in training alone
        self.class_head: nn.Module | None = None  # where the network tells what masks show, see `classes`
        self.mask_scorer: MaskScorer | None = None  # where the score of the mask decoder's own head is not enough

    def encode(self, image: Tensor) -> Features:
        """Run the image encoder once for B images (B, 3, H, W)."""
        return self.project(*self.image_encoder(image))

    def project(self, stride16: Tensor, stride8: Tensor | None = None, stride4: Tensor | None = None) -> Features:
        """What the image encoder returned, brought to the widths of the mask decoder, once for each image."""
        if stride8 is None or stride4 is None:
            return Features(stride16)
        return Features(stride16, self.mask_decoder.conv_s1(stride8), self.mask_decoder.conv_s0(stride4))

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
        sparse, dense, maps = self.embed_prompts(features, points, labels, masks, origin_px=origin_px)
        return self.mask_decoder(  # type: ignore[no-any-return]
            features.stride16,
            self.locate(features.stride16, origin_px),
            sparse,
            dense,
            high_res=features.high_res,
            units=features.units,
            maps=maps,
        )

    def locate(self, stride16: Tensor, origin_px: Tensor | None = None) -> Places:
        """Positions of the cells of an image embedding (N or 1, C, h, w) for the mask decoder.

        Of the embedding only size and type count. origin_px: as of `embed_prompts`.
        """
        positions = self.prompt_encoder.dense_position((stride16.shape[-2], stride16.shape[-1]), origin_px)
        return self.mask_decoder.locate(positions.to(stride16.dtype))  # from (1 or N, C, h, w)

    def list_prompts(self, points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Clicks (N, K, 2) with labels (N, K) and boxes (N, 4) as one list of points (N, T, 2), labels (N, T).

        SAM's order is `with_corners`; a mask alone has no token.
        """
        if boxes is None and not labels.shape[1]:
            return points, labels
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
        """The prompts of N objects.

        features: of one image, or of N (one for each object). points: (N, T, 2) x,y. labels: (N, T), box corners 2, 3.
        masks: (N, 1, H/4, W/4) logits or None. origin_px: (N, 2), where training places each crop in the frame that
        positions refer to.
        """
        dtype = features.stride16.dtype
        encoder = self.prompt_encoder
        return Embedded(
            sparse=encoder.sparse(points, labels, origin_px=origin_px).to(dtype),
            dense=encoder.dense(masks, None).to(dtype),
        )


def with_corners(points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Clicks (N, K, 2) with labels (N, K) and boxes (N, 4) as one list; without a box a padding point is appended.

    SAM's own order: clicks first, then the box's two corners.
    """
    if boxes is None:
        return (
            torch.cat([points, points.new_zeros(points.shape[0], 1, 2)], dim=1),
            torch.cat([labels, labels.new_full((labels.shape[0], 1), -1)], dim=1),
        )
    corners = labels.new_tensor(BOX_CORNERS).expand(boxes.shape[0], -1)
    return torch.cat([points, boxes.reshape(-1, 2, 2)], dim=1), torch.cat([labels, corners], dim=1)


def corners_first(points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same without padding, and the box's two corners first, which is the order of SAM 2."""
    if boxes is None:
        return points, labels
    corners, kinds = with_corners(points[:, :0], labels[:, :0], boxes)
    return torch.cat([corners, points], dim=1), torch.cat([kinds, labels], dim=1)
