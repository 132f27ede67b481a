"""EfficientSAM (Xiong et al. 2024): what it does differently around SAM's parts.

It reads exactly six points an object; a box is two of them, and missing ones are filled with padding that has a
position of its own. Clicks beside the object have no vector that says so: it was not trained with them. It reads no
masks: the box around a mask stands in where nothing else says what is meant.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.errors import SamgeoWarning
from samgeo.model.drawing import BOX_CORNERS
from samgeo.model.frame import LOGIT_PX
from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.sam import Embedded, Features, Sam, corners_first
from samgeo.model.transformer import TwoWayAttentionBlock, TwoWayTransformer

POINTS = 6
"""How many points of an object are read."""
LAST = 1 << 30
"""More than an object has points."""


class EfficientSam(Sam):
    """SAM that knows points and boxes."""

    def list_prompts(self, points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The box's corners first, so that they are among the points that are read."""
        points, labels = corners_first(points, labels, boxes)
        if bool(((labels >= 0).sum(dim=1) > POINTS).any()):
            warnings.warn(
                f"EfficientSAM reads {POINTS} points an object, and a box is two of them: the rest of the clicks "
                "is left out. Use fewer clicks or another model",
                SamgeoWarning,
                stacklevel=2,
            )
        return points, labels

    def embed_prompts(
        self,
        features: Features,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        origin_px: Tensor | None = None,
    ) -> Embedded:
        """The prompts of N objects. Arguments as of `Sam.embed_prompts`; a mask counts where it is all there is."""
        if masks is not None:
            corners = box_of(masks).to(points.dtype)  # (N, 2, 2)
            alone = (labels < 0).all(dim=1, keepdim=True)  # (N, 1)
            kinds = torch.where(alone, labels.new_tensor(BOX_CORNERS), -1)  # (N, 2)
            points, labels = torch.cat([corners, points], dim=1), torch.cat([kinds, labels], dim=1)
        return super().embed_prompts(features, points, labels, None, origin_px=origin_px)


def box_of(masks: Tensor) -> Tensor:
    """Corners of the box around each mask (N, 1, h, w), or around everything if it is empty: (N, 2, 2) x,y."""
    cells = masks[:, 0] > 0
    cells = cells | ~cells.any(dim=(1, 2), keepdim=True)  # (N, h, w)
    ends = []
    for along in (cells.any(dim=1), cells.any(dim=2)):  # (N, w), (N, h)
        first, from_end = along.int().argmax(dim=1), along.flip(1).int().argmax(dim=1)
        ends.append(torch.stack([first, along.shape[1] - 1 - from_end], dim=1))  # (N, 2)
    return LOGIT_PX * torch.stack(ends, dim=2) + masks.new_tensor([[0], [LOGIT_PX - 1]])  # first and last pixel


class EfficientPromptEncoder(PromptEncoder):
    """Six tokens for each object, and nothing that is added to the image embedding."""

    def __init__(self, *, embed_dim: int, image_size_px: int) -> None:
        super().__init__(embed_dim=embed_dim, image_size_px=image_size_px)
        del self.no_mask_embed, self.mask_downscaling
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in ("object", *BOX_CORNERS))

    def sparse(
        self, points: Tensor, labels: Tensor, looks: Tensor | None = None, *, origin_px: Tensor | None = None
    ) -> Tensor:
        """Tokens of clicks and corners, (N, 6, C). Arguments as of `PromptEncoder.sparse`."""
        assert looks is None
        points, labels = _six(points, labels)
        padding, *known = (e.get_parameter("weight") for e in (self.not_a_point_embed, *self.point_embeddings))
        kinds = torch.cat([padding, torch.zeros_like(padding), *known])  # (5, C); the second is for label 0
        return self.position(torch.where(points < 0, -1, points), origin_px) + kinds[labels + 1]

    def dense(self, masks: Tensor | None, maps: Tensor | None) -> Tensor:
        """Zeros, (1, C, 1, 1)."""
        assert masks is None
        assert maps is None
        return self.not_a_point_embed.weight.new_zeros(1, self.embed_dim, 1, 1)


def _six(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, T, 2) and labels (N, T) -> (N, 6, 2), (N, 6): the first six that are no padding, then padding."""
    points, labels = F.pad(points, (0, 0, 0, POINTS)), F.pad(labels, (0, POINTS), value=-1)  # (N, T + 6)
    rank = torch.arange(labels.shape[1], device=labels.device) + LAST * (labels < 0)  # (N, T + 6), all different
    first = rank.topk(POINTS, dim=1, largest=False).indices  # (N, 6)
    points, labels = points.gather(1, first[..., None].expand(-1, -1, 2)), labels.gather(1, first)
    return torch.where((labels < 0)[..., None], -1, points), labels


class EfficientAttentionBlock(TwoWayAttentionBlock):
    """Tokens keep the position that was added to them, and no attention lacks a shortcut."""

    activation = staticmethod(F.gelu)

    def among_tokens(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """Tokens attend to tokens: (N, T, C) -> (N, T, C)."""
        tokens = tokens if self.first else tokens + token_pe
        return tokens + self.self_attn(tokens, tokens, tokens)  # type: ignore[no-any-return]


class EfficientMaskDecoder(MaskDecoder):
    """SAM's mask decoder with another activation in its heads and another norm where it enlarges."""

    head_activation = staticmethod(F.gelu)

    def __init__(
        self, *, transformer: TwoWayTransformer, transformer_dim: int, upscaling_dims: tuple[int, int]
    ) -> None:
        super().__init__(transformer=transformer, transformer_dim=transformer_dim, upscaling_dims=upscaling_dims)
        self.output_upscaling[1] = nn.GroupNorm(1, upscaling_dims[0])


def names() -> tuple[tuple[str, str], ...]:
    """Parts of official names, and what stands in their place here."""
    encoder, decoder = "prompt_encoder.", "mask_decoder."
    heads = [f"{decoder}output_hypernetworks_mlps.{i}." for i in range(4)] + [f"{decoder}iou_prediction_head."]
    blocks = [f"{decoder}transformer.layers.{i}.mlp." for i in range(2)]
    return (
        (f"{encoder}invalid_points.", f"{encoder}not_a_point_embed."),
        (f"{encoder}point_embeddings.weight", f"{encoder}point_embeddings.0.weight"),
        (f"{encoder}bbox_top_left_embeddings.", f"{encoder}point_embeddings.1."),
        (f"{encoder}bbox_bottom_right_embeddings.", f"{encoder}point_embeddings.2."),
        *((f"{block}layers.0.0.", f"{block}lin1.") for block in blocks),
        *((f"{block}fc.", f"{block}lin2.") for block in blocks),
        *((f"{head}layers.{i}.0.", f"{head}layers.{i}.") for head in heads for i in range(2)),
        *((f"{head}fc.", f"{head}layers.2.") for head in heads),
        *((f"{decoder}final_output_upscaling_layers.0.{i}.", f"{decoder}output_upscaling.{i}.") for i in range(2)),
        (f"{decoder}final_output_upscaling_layers.1.0.", f"{decoder}output_upscaling.3."),
        (".mlp.fc1.", ".mlp.lin1."),
        (".mlp.fc2.", ".mlp.lin2."),
    )
