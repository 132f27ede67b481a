"""The networks here beside the reference implementations, on the same seeded weights.

    python -m benchmarks.parity sam-vit-b --reference CHECKOUT [--sizes 300x420,1024x1024]
    python -m benchmarks.parity tiny-sam --reference CHECKOUT --golden tests/model/goldens/tiny-sam.npz
    python -m benchmarks.parity sam-vit-b --reference CHECKOUT --layout tests/model/official_layouts.json

CHECKOUT is a clone of facebookresearch/segment-anything or facebookresearch/sam2 outside of this repository. What it
needs (torchvision; for sam2 also hydra-core, omegaconf, iopath) must be importable; nothing of it is a dependency here.
The first form compares, the second stores what the reference answers, the third stores names and shapes of its tensors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samgeo.model.build import ARCHITECTURES
from samgeo.model.predict import Model
from samgeo.model.spec import MODELS, ModelSpec
from samgeo.pixels import PixelPrompts
from tests.model.seeded import SIZES, TINY, digest, picture, questions, sample, seeded_model, seeded_weights

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

    def __init__(self, spec: ModelSpec) -> None:
        from functools import partial

        from segment_anything import SamPredictor, build_sam, modeling

        encoder = modeling.ImageEncoderViT(
            img_size=spec.frame_px,
            **spec.encoder,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
        )
        side = spec.frame_px // 16
        prompt_encoder = modeling.PromptEncoder(
            embed_dim=256,
            image_embedding_size=(side, side),
            input_image_size=(spec.frame_px, spec.frame_px),
            mask_in_chans=16,
        )
        transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
        network = modeling.Sam(
            encoder, prompt_encoder, modeling.MaskDecoder(transformer_dim=256, transformer=transformer)
        )
        if spec.name in MODELS:  # the official builder knows these better
            network = getattr(build_sam, "__globals__", {})["sam_model_registry"][spec.name[4:].replace("-", "_")]()
        super().__init__(network)
        self.predictor = SamPredictor(network)

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Only stride 16."""
        self.predictor.set_image(image)
        return {"stride16": self.predictor.features.numpy()[0]}


class ReferenceSam2(Reference):
    """facebookresearch/sam2, by its own configuration files."""

    def __init__(self, spec: ModelSpec) -> None:
        from sam2.build_sam import build_sam2
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        name = spec.name if spec.name in MODELS else "sam2.1-hiera-tiny"
        version, _, size = name.partition("-hiera-")
        short = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[size]
        file = f"configs/{version}/{version}_hiera_{short}.yaml"
        extra = [] if spec.name in MODELS else _overrides(spec)
        super().__init__(build_sam2(file, device="cpu", hydra_overrides_extra=extra))
        self.predictor = SAM2ImagePredictor(self.network)
        self.predictor._bb_feat_sizes = [(spec.frame_px // s, spec.frame_px // s) for s in (4, 8, 16)]

    def encode(self, image: NDArray[np.uint8]) -> Arrays:
        """Strides 16, 8 and 4."""
        self.predictor.set_image(image)
        stride4, stride8 = self.predictor._features["high_res_feats"]
        found = {"stride16": self.predictor._features["image_embed"], "stride8": stride8, "stride4": stride4}
        return {name: tensor.numpy()[0] for name, tensor in found.items()}


def _overrides(spec: ModelSpec) -> list[str]:
    """A small trunk instead of the configured one."""
    trunk = dict(spec.encoder)
    side = trunk.pop("window_pos_embed_bkg_spatial_size")
    values = {**trunk, "window_pos_embed_bkg_spatial_size": [side, side]}
    texts = [f"++model.image_encoder.trunk.{k}={str(v).replace('(', '[').replace(')', ']')}" for k, v in values.items()]
    widths = [trunk["embed_dim"] * 2**stage for stage in (3, 2, 1, 0)]
    return [
        *(text.replace(",]", "]").replace(" ", "") for text in texts),
        f"++model.image_encoder.neck.backbone_channel_list={widths}".replace(" ", ""),
        f"++model.image_size={spec.frame_px}",
    ]


REFERENCES = {"sam": ReferenceSam, "sam2": ReferenceSam2}


def golden(reference: Reference, spec: ModelSpec) -> Arrays:
    """Samples of everything that the reference answers."""
    found: Arrays = {}
    for height, width in SIZES:
        size = f"{height}x{width}"
        for name, array in reference.encode(picture(height, width)).items():
            found[f"{size}/{name}"] = sample(array)
        for case, (prompts, multimask) in questions(height, width, spec.frame_px // 4).items():
            answer = reference.answer(prompts, multimask=multimask)
            found |= {f"{size}/{case}/{kind}": sample(array) for kind, array in answer.items()}
    return found


def compare(reference: Reference, model: Model, spec: ModelSpec, sizes: list[tuple[int, int]]) -> bool:
    """Print the largest differences; True if all are within the promise."""
    agree = True
    for height, width in sizes:
        start = time.perf_counter()
        image = picture(height, width)
        theirs = reference.encode(image)
        middle = time.perf_counter()
        embedding = model.encode(image)
        seconds = middle - start, time.perf_counter() - middle
        print(f"{height} x {width}: encoder {seconds[0]:.1f} s there, {seconds[1]:.1f} s here")
        for name, array in embedding.arrays().items():
            relative = np.abs(array - theirs[name]).max() / np.abs(theirs[name]).max()
            agree &= bool(relative < 1e-5)
            print(f"  {name:<18} relative {relative:.1e}")
        for case, (prompts, multimask) in questions(height, width, spec.frame_px // 4).items():
            answer = reference.answer(prompts, multimask=multimask)
            masks = model.decode(embedding, prompts, multimask=multimask)
            logits, score = (float(np.abs(answer[k] - getattr(masks, k)[0]).max()) for k in ("logits", "scores"))
            drawn = np.stack([mask.to_array(height, width) for mask in masks.to_masks()[0]])
            differing = np.count_nonzero(drawn != (answer["full"] > 0)) / drawn.size
            agree &= logits < 1e-3 and score < 1e-3 and differing < 1e-4
            spread = np.abs(answer["logits"]).max()
            print(f"  {case:<18} logits {logits:.1e} of {spread:.1f}, scores {score:.1e}, pixels {differing:.1e}")
    return agree


def layout(shapes: Mapping[str, tuple[int, ...]], spec: ModelSpec) -> dict[str, Any]:
    """Counts and a digest of names and shapes: of the whole checkpoint, and of what is read here."""
    read = {k: v for k, v in shapes.items() if not k.startswith(ARCHITECTURES[spec.architecture].unread)}
    return {"whole": digest(shapes), "read": digest(read)}


def main() -> int:
    """Compare, or store what the reference says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*TINY, *MODELS])
    parser.add_argument("--reference", type=Path, required=True, help="a clone of the reference, outside of this one")
    parser.add_argument("--sizes", help="height x width of images, as 300x420,1024x1024")
    parser.add_argument("--golden", type=Path, help="store samples of the reference's answers here")
    parser.add_argument("--layout", type=Path, help="add names and shapes of the reference's tensors here")
    args = parser.parse_args()
    sys.path.insert(0, str(args.reference))
    spec = TINY.get(args.name) or MODELS[args.name]
    reference = REFERENCES[spec.architecture](spec)
    if args.golden:
        args.golden.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(args.golden, **golden(reference, spec))
        return 0
    if args.layout:
        known = json.loads(args.layout.read_text()) if args.layout.exists() else {}
        known[spec.name] = layout(reference.shapes, spec)
        args.layout.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        return 0
    sizes = [tuple(map(int, s.split("x"))) for s in args.sizes.split(",")] if args.sizes else list(SIZES)
    with torch.inference_mode():
        agree = compare(reference, seeded_model(spec), spec, sizes)
    print("agree" if agree else "DIFFER")
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
