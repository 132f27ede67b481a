"""From a row of the model table to a network, and from the names in its official checkpoint to the network's own.

A network is built on the meta device, where it costs nothing, and takes a checkpoint's tensors as its parameters.
Nothing may therefore be computed while it is built: what is not in the checkpoint is computed at use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samgeo.errors import WeightsError
from samgeo.model import efficient_sam
from samgeo.model.edge_tam import EdgeTam
from samgeo.model.efficient_sam import (
    EfficientAttentionBlock,
    EfficientMaskDecoder,
    EfficientPromptEncoder,
    EfficientSam,
)
from samgeo.model.efficient_vit import EfficientViT
from samgeo.model.frame import LongestSideFrame, SquareFrame
from samgeo.model.hiera import HieraEncoder
from samgeo.model.hq import HQMaskDecoder, HQSam
from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.memory_attention import MemoryAttention
from samgeo.model.nano_network import build_nano
from samgeo.model.perceiver import PerceiverResampler
from samgeo.model.precision import aligned
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.repvit import RepViTEncoder
from samgeo.model.sam import Sam
from samgeo.model.sam2 import Sam2
from samgeo.model.spec import ModelSpec
from samgeo.model.tiny_vit import TinyViT
from samgeo.model.transformer import TwoWayAttentionBlock, TwoWayTransformer
from samgeo.model.vit import ImageEncoderViT
from samgeo.model.yolo import FastSamNetwork


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How the networks of one kind are built and loaded."""

    build: Callable[[ModelSpec], Sam | FastSamNetwork]
    """The network of a row, with parameters of no particular value."""
    renames: tuple[tuple[str, str], ...] = ()
    """Parts of official names, and what stands in their place here."""
    unread: tuple[str, ...] = ()
    """Official names that begin so are of no use here."""
    device: str = "meta"
    """Where it is built. "meta" needs no memory, but torch loads its compiler for it; small networks do without."""


def build_sam(spec: ModelSpec) -> Sam:
    """SAM: ViT with a neck, prompt encoder, mask decoder without features of finer strides."""
    return _sam(spec, ImageEncoderViT(**spec.encoder, image_size_px=spec.frame_px, out_channels=spec.dim))


def build_mobile_sam(spec: ModelSpec) -> Sam:
    """MobileSAM: SAM with a smaller image encoder."""
    return _sam(spec, TinyViT(**spec.encoder, out_channels=spec.dim))


def build_hq_sam(spec: ModelSpec) -> Sam:
    """HQ-SAM for SAM."""
    encoder = ImageEncoderViT(**spec.encoder, image_size_px=spec.frame_px, out_channels=spec.dim, early=True)
    return _sam(spec, encoder, kind=HQSam, decoder=HQMaskDecoder, early_dim=encoder.early_dim)


def build_light_hq_sam(spec: ModelSpec) -> Sam:
    """HQ-SAM for MobileSAM."""
    encoder = TinyViT(**spec.encoder, out_channels=spec.dim, early=True)
    return _sam(spec, encoder, kind=HQSam, decoder=HQMaskDecoder, early_dim=encoder.early_dim)


def _sam(spec: ModelSpec, image_encoder: nn.Module, *, kind: type[Sam] = Sam, **decoder: Any) -> Sam:
    prompt_encoder = PromptEncoder(embed_dim=spec.dim, image_size_px=spec.frame_px)
    frame = LongestSideFrame(size_px=spec.frame_px)
    return kind(image_encoder, prompt_encoder, mask_decoder(spec.dim, **decoder), frame=frame)


def build_hq_sam2(spec: ModelSpec) -> Sam2:
    """HQ-SAM for SAM 2.1, which needs no early feature: SAM 2 has features of finer strides."""
    return _sam2(spec, HieraEncoder(**spec.encoder, out_channels=spec.dim), decoder=HQMaskDecoder, **spec.memory)


def build_sam2(spec: ModelSpec) -> Sam2:
    """SAM 2 and 2.1, which differ in what they remember."""
    return _sam2(spec, HieraEncoder(**spec.encoder, out_channels=spec.dim), **spec.memory)


def build_edge_tam(spec: ModelSpec) -> Sam2:
    """EdgeTAM: SAM 2 with a smaller image encoder and smaller memories."""
    encoder = RepViTEncoder(**spec.encoder, out_channels=spec.dim)
    perceiver = PerceiverResampler(spec.dim // 4, **spec.memory)
    return _sam2(spec, encoder, kind=EdgeTam, num_layers=2, perceiver=perceiver)


def _sam2(
    spec: ModelSpec,
    image_encoder: nn.Module,
    *,
    kind: type[Sam2] = Sam2,
    decoder: type[MaskDecoder] = MaskDecoder,
    num_layers: int = 4,
    **memory: Any,
) -> Sam2:
    return kind(
        image_encoder,
        PromptEncoder(embed_dim=spec.dim, image_size_px=spec.frame_px),
        mask_decoder(spec.dim, decoder, high_res_channels=spec.dim, iou_sigmoid=True, object_score=True),
        frame=SquareFrame(size_px=spec.frame_px),
        memory_attention=MemoryAttention(dim=spec.dim, memory_dim=spec.dim // 4, num_layers=num_layers),
        memory_dim=spec.dim // 4,
        **memory,
    )


def build_efficient_sam(spec: ModelSpec) -> EfficientSam:
    """EfficientSAM: a plain ViT, and small differences in every part after it."""
    return EfficientSam(
        EfficientViT(**spec.encoder, out_channels=spec.dim),
        EfficientPromptEncoder(embed_dim=spec.dim, image_size_px=spec.frame_px),
        mask_decoder(spec.dim, EfficientMaskDecoder, block=EfficientAttentionBlock),
        frame=SquareFrame(size_px=spec.frame_px, antialias=False, cubic=True),
    )


def build_fast_sam(spec: ModelSpec) -> FastSamNetwork:
    """FastSAM: no prompts go into the network."""
    return FastSamNetwork(**spec.encoder, size_px=spec.frame_px)


def mask_decoder(
    dim: int,
    decoder: type[MaskDecoder] = MaskDecoder,
    *,
    block: type[TwoWayAttentionBlock] = TwoWayAttentionBlock,
    **settings: Any,
) -> MaskDecoder:
    """The mask decoder with the sizes that the whole family shares. settings: further arguments of its class."""
    return decoder(
        transformer=TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=8, mlp_dim=2048, block=block),
        transformer_dim=dim,
        upscaling_dims=(dim // 4, dim // 8),
        **settings,
    )


CLASSIFIER = ("image_encoder.norm_head.", "image_encoder.head.")
"""What TinyViT was first trained with."""

SAM2_NAMES = (
    ("sam_prompt_encoder.", "prompt_encoder."),
    ("sam_mask_decoder.", "mask_decoder."),
    (".mlp.layers.0.", ".mlp.lin1."),
    (".mlp.layers.1.", ".mlp.lin2."),
)

REPVIT_NAMES = ((".trunk.body.stem.", ".trunk.stem."), (".trunk.body.stages_", ".trunk.stages."))

ARCHITECTURES = {
    "nano": Architecture(build=lambda _: build_nano(), device="cpu"),
    "sam": Architecture(build=build_sam),
    "mobile-sam": Architecture(build=build_mobile_sam, unread=CLASSIFIER),
    "hq-sam": Architecture(build=build_hq_sam),
    "light-hq-sam": Architecture(build=build_light_hq_sam, unread=CLASSIFIER),
    "sam2": Architecture(build=build_sam2, renames=SAM2_NAMES),
    "hq-sam2": Architecture(build=build_hq_sam2, renames=SAM2_NAMES),
    "edge-tam": Architecture(build=build_edge_tam, renames=(*SAM2_NAMES, *REPVIT_NAMES)),
    "efficient-sam": Architecture(build=build_efficient_sam, renames=efficient_sam.names()),
    "fast-sam": Architecture(build=build_fast_sam),
}
"""Kinds of networks by `ModelSpec.architecture`."""


def assemble(spec: ModelSpec, tensors: Mapping[str, Tensor], *, source: str) -> Sam | FastSamNetwork:
    """The network of a row with the tensors of its checkpoint, in 32 bit.

    tensors: by their official names. source: the file, for messages. Raises WeightsError where names or shapes differ.
    """
    sam = _unfilled(spec)
    own, found = sam.state_dict(), own_names(spec.architecture, tensors)
    missing, foreign = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    reshaped = [k for k in own.keys() & found.keys() if own[k].shape != found[k].shape]
    if missing or foreign or reshaped:
        raise WeightsError(
            f"{source}: weights of another architecture: {len(missing)} missing ({', '.join(missing[:2])}), "
            f"{len(foreign)} unknown ({', '.join(foreign[:2])}), {len(reshaped)} of another shape; "
            f"expected the {len(own)} tensors of {spec.name}. Name the right model, or pass spec="
        )
    sam.load_state_dict({k: aligned(v.to(own[k].dtype)) for k, v in found.items()}, assign=True)
    return sam


def own_names(architecture: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an official checkpoint under the names that the network here has for them."""
    kind = ARCHITECTURES[architecture]
    return {_replaced(n, kind.renames): t for n, t in tensors.items() if not n.startswith(kind.unread)}


def official_names(architecture: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network here under the names of its official checkpoint."""
    back = tuple((own, official) for official, own in ARCHITECTURES[architecture].renames)
    return {_replaced(name, back): tensor for name, tensor in tensors.items()}


def _replaced(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for old, new in renames:
        name = name.replace(old, new)
    return name


def _unfilled(spec: ModelSpec) -> Sam | FastSamNetwork:
    kind = ARCHITECTURES[spec.architecture]
    with torch.device(kind.device):
        return kind.build(spec)
