"""Which member of the family are these tensors? Told by names and shapes, so that no network need be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]

_V1 = "image_encoder.pos_embed"
_HQ = "mask_decoder.hf_token.weight"
_TINY_VIT = "image_encoder.patch_embed.seq.0.c.weight"
_HIERA = "image_encoder.trunk.patch_embed.proj.weight"
_HIERA_HQ = "sam_mask_decoder.hf_token.weight"
_HIERA_21 = "no_obj_embed_spatial"
_REPVIT = "image_encoder.trunk.body.stem.conv1.c.weight"
_YOLO = "model.0.conv.weight"
_YOLO_MASKS = "model.22.proto.cv1.conv.weight"
_NANO = "mask_scorer."


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What tells one member from all others."""

    shapes: Mapping[str, Shape | None]
    """Tensors that it has, with their shapes; None: any."""
    lacks: tuple[str, ...] = ()
    """Tensors that it does not have."""
    tensors: int
    """How many there are in the published file."""


def _v1(width: int, tensors: int, *, hq: bool) -> Marks:
    shapes: dict[str, Shape | None] = {_V1: (1, 64, 64, width)}
    return Marks(shapes=shapes | ({_HQ: (1, 256)} if hq else {}), lacks=() if hq else (_HQ,), tensors=tensors)


def _hiera(width: int, blocks: int, tensors: int, *, newer: bool, hq: bool = False) -> Marks:
    last, beyond = (f"image_encoder.trunk.blocks.{n}.norm1.weight" for n in (blocks - 1, blocks))
    shapes: dict[str, Shape | None] = {_HIERA: (width, 3, 7, 7), last: None}
    has = ((_HIERA_21, newer), (_HIERA_HQ, hq))
    return Marks(
        shapes=shapes | {name: None for name, there in has if there},
        lacks=(beyond, *(name for name, there in has if not there)),
        tensors=tensors,
    )


MARKS = {
    "sam-vit-b": _v1(768, 314, hq=False),
    "sam-vit-l": _v1(1024, 482, hq=False),
    "sam-vit-h": _v1(1280, 594, hq=False),
    "sam2-hiera-tiny": _hiera(96, 12, 468, newer=False),
    "sam2-hiera-small": _hiera(96, 16, 516, newer=False),
    "sam2-hiera-base-plus": _hiera(112, 24, 612, newer=False),
    "sam2-hiera-large": _hiera(144, 48, 900, newer=False),
    "sam2.1-hiera-tiny": _hiera(96, 12, 471, newer=True),
    "sam2.1-hiera-small": _hiera(96, 16, 519, newer=True),
    "sam2.1-hiera-base-plus": _hiera(112, 24, 615, newer=True),
    "sam2.1-hiera-large": _hiera(144, 48, 903, newer=True),
    "hq-sam-vit-b": _v1(768, 339, hq=True),
    "hq-sam-vit-l": _v1(1024, 507, hq=True),
    "hq-sam-vit-h": _v1(1280, 619, hq=True),
    "hq-sam-vit-tiny": Marks(shapes={_TINY_VIT: (32, 3, 3, 3), _HQ: (1, 256)}, tensors=464),
    "hq-sam2.1-hiera-large": _hiera(144, 48, 916, newer=True, hq=True),
    "mobile-sam": Marks(shapes={_TINY_VIT: (32, 3, 3, 3)}, lacks=(_HQ,), tensors=439),
    "efficient-sam-ti": Marks(shapes={_V1: (1, 197, 192)}, tensors=278),
    "efficient-sam-s": Marks(shapes={_V1: (1, 197, 384)}, tensors=278),
    "edge-tam": Marks(shapes={_REPVIT: (24, 3, 3, 3)}, tensors=982),
    "fast-sam-s": Marks(shapes={_YOLO: (32, 3, 3, 3), _YOLO_MASKS: None}, tensors=417),
    "fast-sam-x": Marks(shapes={_YOLO: (80, 3, 3, 3), _YOLO_MASKS: None}, tensors=657),
}
"""What tells the published members apart, by name. samgeo-nano says what it is in its metadata."""


def identify(tensors: Mapping[str, Tensor]) -> str:
    """The name of the member that has such tensors; empty if none has."""
    for name, marks in MARKS.items():
        has = all(k in tensors and s in (None, tuple(tensors[k].shape)) for k, s in marks.shapes.items())
        if has and not any(name in tensors for name in marks.lacks):
            return name
    return ""


def describe(tensors: Mapping[str, Tensor]) -> str:
    """What tensors look like, for messages: the member, how many of its tensors are there, or the first names."""
    name = identify(tensors)
    if not name:
        return f"{len(tensors)} tensors of no known member ({', '.join(sorted(tensors)[:3])} ...)"
    wanted = MARKS[name].tensors
    return f"the tensors of {name}" if len(tensors) == wanted else f"{len(tensors)} of the {wanted} tensors of {name}"
