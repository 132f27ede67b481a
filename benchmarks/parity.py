"""The networks here beside the reference implementations, on the same seeded weights.

    python -m benchmarks.parity sam-vit-b --reference CHECKOUT [--sizes 300x420,1024x1024]
    python -m benchmarks.parity tiny-sam --reference CHECKOUT --golden tests/model/goldens/tiny-sam.npz
    python -m benchmarks.parity sam-vit-b --reference CHECKOUT --layout tests/model/official_layouts.json

CHECKOUT is a clone of the member's reference outside of this repository (tests/model/goldens/README.md names them).
What it needs (torchvision; for sam2 also hydra-core, omegaconf, iopath) must be importable; nothing of it is a
dependency here.
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

from benchmarks.references import REFERENCES, Arrays, Reference
from samgeo.model.build import ARCHITECTURES
from samgeo.model.predict import Model
from samgeo.model.spec import MODELS, ModelSpec
from tests.model.seeded import SIZES, TINY, as_answered, digest, picture, questions, sample, seeded_model


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
            masks = as_answered(model.decode(embedding, prompts, multimask=multimask), len(answer["scores"]))
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
