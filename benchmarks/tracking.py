"""The tracker beside the reference's video predictor, frame for frame, on the same seeded weights.

    python -m benchmarks.tracking sam2.1-hiera-tiny --reference SAM2 [--script "click, box"] [--size 480x640]
    python -m benchmarks.tracking tiny-sam2.1 --reference SAM2 --golden tests/model/goldens/tiny-sam2.1-tracker.npz

SAM2 is a clone of facebookresearch/sam2, or for edge-tam of facebookresearch/EdgeTAM, outside of this repository, see
`parity`. The first form compares, the second stores samples of what the reference answers. Its frames are resampled as
SAM 2 resamples images; its own reading of a film would resample them otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.references import _overrides, edge_overrides, edge_tam
from samgeo.model.frame import SquareFrame
from samgeo.model.spec import MODELS, ModelSpec
from samgeo.model.tracker import Tracker
from tests.model.clips import (
    HEIGHT,
    SCRIPTS,
    TINY_TRACKERS,
    WIDTH,
    Outcome,
    Prompt,
    Propagate,
    Script,
    adjust,
    clip,
    clip_model,
    disc,
    packed,
    play,
)
from tests.model.seeded import seeded_weights


def video_network(spec: ModelSpec, *, corrections_stay: bool) -> Any:
    """The reference's video predictor by its own configuration file, small members with a small trunk."""
    from sam2.build_sam import build_sam2_video_predictor

    stay = [f"++model.add_all_frames_to_correct_as_cond={str(corrections_stay).lower()}"]
    if spec.architecture == "edge-tam":
        extra = edge_overrides(spec) + stay
        return build_sam2_video_predictor(edge_tam(spec), device="cpu", hydra_overrides_extra=extra)
    version = "sam2.1" if spec.memory.get("newer") else "sam2"
    size = spec.name.partition("-hiera-")[2] if spec.name in MODELS else "tiny"
    short = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[size]
    extra = stay + ([] if spec.name in MODELS else _overrides(spec))
    file = f"configs/{version}/{version}_hiera_{short}.yaml"
    return build_sam2_video_predictor(file, device="cpu", hydra_overrides_extra=extra)


class ReferenceVideo:
    """A video predictor of the reference implementation with seeded weights, and one object in a clip."""

    def __init__(self, network: Any, spec: ModelSpec, script: Script) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        weights = seeded_weights(shapes)
        adjust(weights, script)
        network.load_state_dict(weights)
        # memories are kept in 16 bit; without a pointer of 32 bit beside them they stay so, which its layers refuse
        network.memory_attention.register_forward_pre_hook(
            lambda _, args, given: (args, given | {"memory": given["memory"].float()}), with_kwargs=True
        )
        self.network, self.spec = network.eval(), spec

    def play(self, frames: list[NDArray[np.uint8]], script: Script) -> Outcome:
        """Everything that it answers, each object asked about alone."""
        found: Outcome = {}
        for object_id in sorted({step.object_id for step in script.steps if isinstance(step, Prompt)}):
            found |= self._play(frames, script, object_id)
        return found

    def _play(self, frames: list[NDArray[np.uint8]], script: Script, object_id: str) -> Outcome:
        state, found, prompted = self._state(frames), {}, False
        for number, step in enumerate(script.steps):
            if isinstance(step, Prompt) and step.object_id == object_id:
                prompted = True
                full = self._prompt(state, step, frames[0].shape[:2])
                found |= _named(f"{number}/{object_id}/{step.frame}", state, "temp_output_dict_per_obj", full)
            elif isinstance(step, Propagate) and prompted:
                count = abs(step.stop - step.start)
                for frame, _, full in self.network.propagate_in_video(state, step.start, count, step.reverse):
                    found |= _named(f"{number}/{object_id}/{frame}", state, "output_dict_per_obj", full)
        return found

    def _state(self, frames: list[NDArray[np.uint8]]) -> Any:
        resampled = torch.cat([SquareFrame(size_px=self.spec.frame_px).prepare(frame) for frame in frames])
        reading = importlib.import_module("sam2.sam2_video_predictor")
        reading.load_video_frames = lambda **_: (resampled, *frames[0].shape[:2])  # type: ignore[attr-defined]
        return self.network.init_state(video_path="")

    def _prompt(self, state: Any, prompt: Prompt, shape: tuple[int, ...]) -> torch.Tensor:
        height, width = shape
        if prompt.disc:
            return self.network.add_new_mask(state, prompt.frame, 1, disc(height, width, prompt.disc))[2]  # type: ignore[no-any-return]
        points = np.array(prompt.points).reshape(-1, 3)
        given: dict[str, Any] = {"clear_old_points": bool(prompt.box)}
        if prompt.box:
            given["box"] = (np.array(prompt.box) * (width, height, width, height)).astype(np.float32)
        else:
            given |= {
                "points": (points[:, :2] * (width, height)).astype(np.float32),
                "labels": points[:, 2].astype(int),
            }
        return self.network.add_new_points_or_box(state, prompt.frame, 1, **given)[2]  # type: ignore[no-any-return]


def _named(name: str, state: Any, kept: str, full: torch.Tensor) -> Outcome:
    """What the predictor keeps of its only object in a frame, and what it shows."""
    frame = int(name.rpartition("/")[2])
    outputs = state[kept][0]
    out = outputs["cond_frame_outputs"].get(frame) or outputs["non_cond_frame_outputs"].get(frame)
    return {
        f"{name}/logits": out["pred_masks"][0, 0].numpy(),
        f"{name}/presence": out["object_score_logits"][0].numpy(),
        f"{name}/full": full[0, 0].numpy(),
    }


def compare(theirs: Outcome, ours: Outcome) -> bool:
    """Print the largest differences of each step; True if all are within the promise."""
    agree = theirs.keys() == ours.keys()
    for step in sorted({name.rpartition("/")[0].rpartition("/")[0] for name in theirs}):
        names = [name for name in theirs if name.startswith(f"{step}/")]
        logits, presence = (
            max(float(np.abs(theirs[n] - ours[n]).max()) for n in names if n.endswith(kind))
            for kind in ("logits", "presence")
        )
        pixels = max(np.mean((theirs[n] > 0) != ours[n]) for n in names if n.endswith("full"))
        spread = max(float(np.abs(theirs[n]).max()) for n in names if n.endswith("logits"))
        agree &= logits < 1e-3 and presence < 1e-3 and pixels < 1e-4
        print(f"  {step:<6} {len(names) // 3} frames: logits {logits:.1e} of {spread:.1f}, ", end="")
        print(f"presence {presence:.1e}, pixels {pixels:.1e}")
    return agree


def main() -> int:
    """Compare, or store what the reference says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*TINY_TRACKERS, *MODELS])
    parser.add_argument("--reference", type=Path, required=True, help="a clone of the reference, outside of this one")
    parser.add_argument("--script", choices=SCRIPTS, action="append", help="what to ask; repeatable; all if none")
    parser.add_argument("--size", help="height x width of frames, as 480x640")
    parser.add_argument("--golden", type=Path, help="store samples of the reference's answers here")
    args = parser.parse_args()
    sys.path.insert(0, str(args.reference))
    spec = TINY_TRACKERS.get(args.name) or MODELS[args.name]
    height, width = map(int, args.size.split("x")) if args.size else (HEIGHT, WIDTH)
    frames, stored, agree = clip(height, width), {}, True
    for name in args.script or SCRIPTS:
        script = SCRIPTS[name]
        with torch.inference_mode():
            start = time.perf_counter()
            network = video_network(spec, corrections_stay=script.corrections_stay)
            theirs = ReferenceVideo(network, spec, script).play(frames, script)
        if args.golden:
            stored |= {f"{name}/{kind}": rows for kind, rows in packed(theirs).items()}
            continue
        middle = time.perf_counter()
        tracker = Tracker(clip_model(spec, script), corrections_stay=script.corrections_stay)
        for frame in frames:
            tracker.add_frame(frame)
        ours = play(tracker, script, (height, width))
        print(f"{name}: {middle - start:.0f} s there, {time.perf_counter() - middle:.0f} s here")
        agree &= compare(theirs, ours)
    if args.golden:
        np.savez_compressed(args.golden, **stored)
        return 0
    print("agree" if agree else "DIFFER")
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
