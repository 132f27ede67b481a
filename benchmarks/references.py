"""The reference implementations with seeded weights, each asked by its own predictor.

They run outside of this repository; nothing of them is a dependency or is copied here.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samgeo.model.spec import MODELS, ModelSpec
from samgeo.pixels import PixelPrompts
from tests.model.seeded import seeded_weights

Arrays = dict[str, NDArray[Any]]


class Reference:
    """A network of the reference implementation with seeded weights."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        network.load_state_dict(seeded_weights(self.shapes))
        self.network = network.eval()

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Features of the image by the names of `Features`."""
        raise NotImplementedError

    def answer(self, prompts: PixelPrompts, *, multimask: bool) -> Arrays:
        """logits (M, h, w), scores (M,), full (M, H, W) logits at the image's size; of the image encoded last."""
        given = {
            "point_coords": None if prompts.points is None else prompts.points[0],
            "point_labels": None if prompts.labels is None else prompts.labels[0],
            "box": None if prompts.boxes is None else prompts.boxes[0],
            "mask_input": prompts.masks,
        }
        full, scores, logits = self.predictor.predict(**given, multimask_output=multimask, return_logits=True)
        return {"logits": logits, "scores": scores, "full": full}

    predictor: Any


class ReferenceSam(Reference):
    """facebookresearch/segment-anything."""

    package = "segment_anything"

    def __init__(self, spec: ModelSpec) -> None:
        package = importlib.import_module(self.package)
        self.modeling = package.modeling
        if spec.name in MODELS:
            name = "vit_" + ("t" if spec.name == "mobile-sam" else spec.name.rpartition("-")[2])
            network = package.sam_model_registry[name]()
        else:
            network = self.small(spec)
        super().__init__(network)
        self.predictor = package.SamPredictor(network)

    def small(self, spec: ModelSpec) -> torch.nn.Module:
        """The parts of the reference, put together with other numbers."""
        side = spec.frame_px // 16
        prompt_encoder = self.modeling.PromptEncoder(
            embed_dim=256,
            image_embedding_size=(side, side),
            input_image_size=(spec.frame_px, spec.frame_px),
            mask_in_chans=16,
        )
        transformer = self.modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
        decoder = self.decoder(spec, transformer_dim=256, transformer=transformer)
        network: torch.nn.Module = self.modeling.Sam(self.encoder(spec), prompt_encoder, decoder)
        return network

    def encoder(self, spec: ModelSpec) -> torch.nn.Module:
        """A small image encoder."""
        encoder: torch.nn.Module = self.modeling.ImageEncoderViT(
            img_size=spec.frame_px,
            **spec.encoder,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
        )
        return encoder

    def decoder(self, spec: ModelSpec, **sizes: Any) -> torch.nn.Module:  # noqa: ARG002
        """The mask decoder."""
        decoder: torch.nn.Module = self.modeling.MaskDecoder(**sizes)
        return decoder

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Only stride 16."""
        self.predictor.set_image(image)
        return {"stride16": self.predictor.features.numpy()[0]}


class ReferenceMobileSam(ReferenceSam):
    """ChaoningZhang/MobileSAM."""

    package = "mobile_sam"

    def encoder(self, spec: ModelSpec) -> torch.nn.Module:
        """TinyViT."""
        return tiny_vit(self.modeling, spec)


class ReferenceHQSam(ReferenceSam):
    """SysCV/sam-hq."""

    def decoder(self, spec: ModelSpec, **sizes: Any) -> torch.nn.Module:
        """The mask decoder for this encoder."""
        early = spec.encoder["embed_dims"][2] if "embed_dims" in spec.encoder else spec.encoder["embed_dim"]
        decoder: torch.nn.Module = self.modeling.MaskDecoderHQ(**sizes, vit_dim=early)
        return decoder

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Stride 16, and the HQ features, which the reference computes anew for each prompt."""
        found = super().encode(image)
        decoder, early = self.network.get_submodule("mask_decoder"), self.predictor.interm_features[0]
        enlarge, compress = (decoder.get_submodule(name) for name in ("embedding_encoder", "compress_vit_feat"))
        fused = enlarge(self.predictor.features) + compress(early.permute(0, 3, 1, 2))
        return found | {"stride4": fused.detach().numpy()[0]}


class ReferenceLightHQSam(ReferenceHQSam):
    """SysCV/sam-hq with TinyViT."""

    def encoder(self, spec: ModelSpec) -> torch.nn.Module:
        """TinyViT with an early feature."""
        return tiny_vit(self.modeling, spec, early=True)


def tiny_vit(modeling: Any, spec: ModelSpec, *, early: bool = False) -> torch.nn.Module:
    """The reference's TinyViT, whose own `forward` knows images of 1024 px only."""
    encoder: torch.nn.Module = modeling.TinyViT(img_size=spec.frame_px, **spec.encoder, drop_path_rate=0.0)
    side = spec.frame_px // 16

    def forward(image: torch.Tensor) -> Any:
        x, passed = encoder.get_submodule("patch_embed")(image), []
        for layer in encoder.get_submodule("layers").children():
            x = layer(x)
            passed.append(x)
        embedding = encoder.get_submodule("neck")(x.transpose(1, 2).unflatten(2, (side, side)))
        return (embedding, [passed[1].unflatten(1, (side, side))]) if early else embedding

    encoder.forward = forward
    return encoder


class ReferenceSam2(Reference):
    """facebookresearch/sam2, by its own configuration files."""

    template = "sam2.1-hiera-tiny"
    variant = ""

    def __init__(self, spec: ModelSpec) -> None:
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        super().__init__(self.build(spec))
        self.predictor = SAM2ImagePredictor(self.network)
        self.predictor._bb_feat_sizes = [(spec.frame_px // s, spec.frame_px // s) for s in (4, 8, 16)]

    def build(self, spec: ModelSpec) -> torch.nn.Module:
        """The network for images."""
        from sam2.build_sam import build_sam2

        name = spec.name.removeprefix("hq-") if spec.name in MODELS else self.template
        version, _, size = name.partition("-hiera-")
        short = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[size]
        file = f"configs/{version}/{version}_{self.variant}hiera_{short}.yaml"
        extra = [] if spec.name in MODELS else _overrides(spec)
        network: torch.nn.Module = build_sam2(file, device="cpu", hydra_overrides_extra=extra)
        return network

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Strides 16, 8 and 4."""
        self.predictor.set_image(image)
        stride4, stride8 = self.predictor._features["high_res_feats"]
        found = {"stride16": self.predictor._features["image_embed"], "stride8": stride8, "stride4": stride4}
        return {name: tensor.numpy()[0] for name, tensor in found.items()}


class ReferenceHQSam2(ReferenceSam2):
    """SysCV/sam-hq, folder sam-hq2."""

    template = "sam2.1-hiera-large"
    variant = "hq_"


class ReferenceEdgeTam(ReferenceSam2):
    """facebookresearch/EdgeTAM, which needs timm."""

    def build(self, spec: ModelSpec) -> torch.nn.Module:
        """The network for images."""
        from sam2.build_sam import build_sam2

        network: torch.nn.Module = build_sam2(edge_tam(spec), device="cpu", hydra_overrides_extra=edge_overrides(spec))
        return network


def edge_tam(spec: ModelSpec) -> str:
    """The configuration of EdgeTAM, whose trunk is not to fetch weights and takes the sizes of small members."""
    import timm
    from sam2.modeling.backbones import timm as backbone

    backbone.create_model = lambda _, **given: timm.create_model(
        "repvit_m1", **given | {"pretrained": False}, **spec.encoder
    )
    return "configs/edgetam.yaml"


def edge_overrides(spec: ModelSpec) -> list[str]:
    """Sizes of the network for frames of another size, and of small members."""
    side, windows = spec.frame_px // 16, round(spec.memory["num_latents_2d"] ** 0.5)
    widths = ",".join(map(str, reversed(spec.encoder["embed_dim"])))
    rotated = "++model.memory_attention.layer.cross_attention"
    return [
        f"++model.image_size={spec.frame_px}",
        f"++model.image_encoder.neck.backbone_channel_list=[{widths}]",
        *(f"++model.spatial_perceiver.{name}={count}" for name, count in spec.memory.items()),
        f"{rotated}.q_sizes=[{side},{side}]",
        f"{rotated}.k_sizes=[{windows},{windows}]",
    ]


def _overrides(spec: ModelSpec) -> list[str]:
    """A small trunk instead of the configured one."""
    trunk = dict(spec.encoder)
    side = trunk.pop("window_pos_embed_bkg_spatial_size")
    values = {"window_spec": (8, 4, 14, 7), **trunk, "window_pos_embed_bkg_spatial_size": [side, side]}
    texts = [f"++model.image_encoder.trunk.{k}={str(v).replace('(', '[').replace(')', ']')}" for k, v in values.items()]
    widths = [trunk["embed_dim"] * 2**stage for stage in (3, 2, 1, 0)]
    return [
        *(text.replace(",]", "]").replace(" ", "") for text in texts),
        f"++model.image_encoder.neck.backbone_channel_list={widths}".replace(" ", ""),
        f"++model.image_size={spec.frame_px}",
    ]


class ReferenceEfficientSam(Reference):
    """yformer/EfficientSAM."""

    def __init__(self, spec: ModelSpec) -> None:
        from efficient_sam import efficient_sam

        numbers = dict(spec.encoder)
        network = efficient_sam.build_efficient_sam(numbers["patch_embed_dim"], numbers["num_heads"])
        if spec.name not in MODELS:
            side = spec.frame_px // 16
            network.image_encoder = efficient_sam.ImageEncoderViT(
                img_size=spec.frame_px,
                patch_size=16,
                in_chans=3,
                normalization_type="layer_norm",
                mlp_ratio=4.0,
                neck_dims=[256, 256],
                act_layer=torch.nn.GELU,
                **numbers,
            )
            network.prompt_encoder = efficient_sam.PromptEncoder(256, (side, side), (spec.frame_px, spec.frame_px))
        super().__init__(network)

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Only stride 16."""
        self.shape = image.shape[:2]
        planes = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            self.embedding = self.network.get_image_embeddings(planes)
        return {"stride16": self.embedding.numpy()[0]}

    def answer(self, prompts: PixelPrompts, *, multimask: bool) -> Arrays:
        """It knows no masks: a mask alone is asked for by the box around it."""
        boxes = prompts.boxes
        if prompts.masks is not None and prompts.points is None:
            logits = prompts.masks[0]
            rows, cols = (np.flatnonzero((logits > 0).any(axis=axis)) for axis in (1, 0))
            corners = np.array([cols[0], rows[0], cols[-1], rows[-1]]) * 4 + (0, 0, 3, 3)
            boxes = corners * (np.tile(self.shape[::-1], 2) / (4 * len(logits)))
        points, labels = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        if boxes is not None:
            points, labels = np.reshape(boxes, (2, 2)), np.array([2, 3])
        if prompts.points is not None and prompts.labels is not None:
            points, labels = np.concatenate([points, prompts.points[0]]), np.concatenate([labels, prompts.labels[0]])
        given = (
            self.embedding,
            torch.from_numpy(points.astype(np.float32))[None, None],
            torch.from_numpy(labels)[None, None],
            multimask,
            *self.shape,
        )
        with torch.inference_mode():
            logits, scores = self.network.predict_masks(*given)
            full, _ = self.network.predict_masks(*given, *self.shape)
        return {"logits": logits[0, 0].numpy(), "scores": scores[0, 0].numpy(), "full": full[0, 0].numpy()}


REFERENCES: dict[str, type[Reference]] = {
    "sam": ReferenceSam,
    "mobile-sam": ReferenceMobileSam,
    "hq-sam": ReferenceHQSam,
    "light-hq-sam": ReferenceLightHQSam,
    "sam2": ReferenceSam2,
    "hq-sam2": ReferenceHQSam2,
    "edge-tam": ReferenceEdgeTam,
    "efficient-sam": ReferenceEfficientSam,
}
"""By `ModelSpec.architecture`."""
