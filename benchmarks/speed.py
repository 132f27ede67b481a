"""How long it takes: networks beside their reference on the same weights and pixels, and everything around them.

    python -m benchmarks.speed networks sam-vit-b --reference CHECKOUT [--rounds 3] [--everything]
    python -m benchmarks.speed nano [--rounds 5]
    python -m benchmarks.speed pipeline [--px 8192]
    python -m benchmarks.speed scene [--px 10000]

CHECKOUT is a clone of the member's reference outside of this repository; what it needs must be importable. Ours and
theirs take turns in one process, round by round, so that a busy machine slows both; a ratio is the median of the
rounds' ratios, with the smallest and the largest. Weights and pixels are from a seed, or made up.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.memory import ByColour, by_colour, peak_mib, write_scene
from benchmarks.references import REFERENCES, Reference
from samgeo.model.automatic import EverythingSettings, generate_masks
from samgeo.model.contract import PromptableModel
from samgeo.model.predict import Model
from samgeo.model.spec import MODELS
from samgeo.model.weights import choose_precision, load_model, running
from samgeo.pipeline import tilejob
from samgeo.pipeline.segment import segment
from samgeo.pixels import PixelPrompts
from samgeo.raster.reader import Raster
from samgeo.settings import Settings
from samgeo.train.scenes import make_scene
from tests.model.seeded import picture, seeded_model

SIDE_PX = 1024
CANDIDATES = 0.85
"""Random weights rank masks at random: everything-mode goes on with those above this quantile of their scores."""
CELLS_PX = (256, 64)
"""One object in a square of so many pixels: what a pixel costs shows in the one, what a feature costs in the other."""
WARM_UP_PX = 1024
"""Side of a scene that is not counted: a first run loads libraries."""
PATTERN_PX = 1000
"""Side of the made-up scene that large ones consist of."""
Work = Callable[[], object]


def by_turns(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round, after a first round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def clicks(count: int, seed: int = 0) -> PixelPrompts:
    """One click for each of `count` objects, all over the picture."""
    xy = np.random.default_rng(seed).uniform(0.05, 0.95, (count, 1, 2)).astype(np.float32) * SIDE_PX
    return PixelPrompts(points=xy, labels=np.ones((count, 1), dtype=np.int64))


def ask_theirs(reference: Reference, prompts: PixelPrompts) -> object:
    """Full-size masks of a batch of clicks, as the reference's own everything-mode asks for them."""
    assert prompts.points is not None
    predictor = reference.predictor
    points = torch.from_numpy(prompts.points)  # the picture has the size of the network's frame
    labels = torch.ones(points.shape[:2], dtype=torch.int)
    ask = getattr(predictor, "predict_torch", None) or predictor._predict
    return ask(points, labels, multimask_output=True)


def their_generator(reference: Reference, settings: EverythingSettings) -> Any:
    """The reference's everything-mode with the same settings."""
    package = getattr(reference, "package", None)
    if package is None:
        generator = importlib.import_module("sam2.automatic_mask_generator").SAM2AutomaticMaskGenerator
    else:
        generator = importlib.import_module(package).SamAutomaticMaskGenerator
    return generator(
        reference.network,
        points_per_side=settings.points_per_side,
        points_per_batch=settings.points_per_batch,
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
    )


def networks(name: str, *, rounds: int, everything: bool) -> None:
    """Print the table of one network beside its reference."""
    reference = REFERENCES[MODELS[name].architecture](MODELS[name])
    ours = {"exact": seeded_model(MODELS[name])}
    exact, auto = ours["exact"], choose_precision("auto", torch.device("cpu"))
    if auto != "fp32":
        ours[f"auto ({auto})"] = running(
            exact.sam, name=name, sha256=exact.sha256, device=exact.device, precision=auto, spec=MODELS[name]
        )
    image = picture(SIDE_PX, SIDE_PX)
    print(f"| {name} | theirs, s | ours, s | ratio |\n|---|---|---|---|")

    def compare(what: str, theirs: Work, each: Callable[[Model], Work], times: int) -> None:
        works = {"theirs": theirs, **{precision: each(model) for precision, model in ours.items()}}
        seconds = by_turns(works, times)
        for precision in ours:
            print(f"| {what}, {precision} | {ratio_row(seconds['theirs'], seconds[precision])} |", flush=True)

    compare("encode", lambda: reference.encode(image), lambda model: lambda: model.encode(image), rounds)
    embeddings = {id(model): model.encode(image) for model in ours.values()}
    for count in (1, 64):
        prompts = clicks(count)
        compare(
            f"{count} prompts, full-size masks",
            lambda prompts=prompts: ask_theirs(reference, prompts),  # type: ignore[misc]
            lambda model, prompts=prompts: lambda: model.decode(embeddings[id(model)], prompts).to_masks(),  # type: ignore[misc]
            max(rounds, 5) if count == 1 else rounds,
        )
    if everything:
        model = ours["exact"]
        scores = model.decode(embeddings[id(model)], clicks(64)).scores
        settings = EverythingSettings(
            pred_iou_thresh=float(np.quantile(scores, CANDIDATES)), stability_score_thresh=0.0, mask_nms_thresh=0.0
        )
        generator = their_generator(reference, settings)
        compare(
            "everything, 32 x 32 clicks",
            lambda: generator.generate(image),
            lambda model: lambda: generate_masks(model, model.encode(image), settings),
            1,
        )


def ratio_row(theirs: list[float], ours: list[float]) -> str:
    """Medians, and the ratio with its spread, as cells of a table."""
    ratios = [t / o for t, o in zip(theirs, ours, strict=True)]
    middle = statistics.median
    spread = f"{middle(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    return f"{middle(theirs):.3f} | {middle(ours):.3f} | {spread}"


def nano(*, rounds: int) -> None:
    """Print the times of the embedded default on a made-up scene."""
    model = load_model()
    image = make_scene(0, height_px=SIDE_PX, width_px=SIDE_PX).image
    embedding = model.encode(image)
    box = PixelPrompts(boxes=np.array([[300, 300, 420, 400]], np.float32))
    one, two = (
        PixelPrompts(points=np.array([[[350, 350], [390, 370]][:n]], np.float32), labels=np.ones((1, n), np.int64))
        for n in (1, 2)
    )
    more = replace(two, masks=model.decode(embedding, one, multimask=False).logits[:, 0])
    works: dict[str, Work] = {
        "encode": lambda: model.encode(image),
        "a first click": lambda: model.decode(embedding, one).to_masks(),
        "a further click": lambda: model.decode(embedding, more, multimask=False).to_masks(),
        "a box": lambda: model.decode(embedding, box, multimask=False).to_masks(),
        "everything": lambda: generate_masks(model, model.encode(image), model.everything),
    }
    print(f"| {model.name}, {SIDE_PX} px, {model.precision} | ms | smallest | largest |\n|---|---|---|---|")
    for what, work in works.items():
        (seconds,) = by_turns({what: work}, 1 if what == "everything" else rounds).values()
        cells = (1000 * f(seconds) for f in (statistics.median, min, max))
        print(f"| {what} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |", flush=True)


class Timed:
    """Adds up the seconds spent inside some functions, once where one calls another, and the calls."""

    seconds, calls, depth = 0.0, 0, 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is inside."""
        start = time.perf_counter()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            self.calls += 1
            if not self.depth:
                self.seconds += time.perf_counter() - start

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted."""

        def counted(*arguments: Any, **named: Any) -> Any:
            with self.running():
                return function(*arguments, **named)

        return counted


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a whole run took."""

    megapixels: float
    """Of the raster."""
    features: int
    """That were found."""
    windows: int
    """That the model saw."""
    seconds: float
    """Of everything."""
    inside: float
    """Seconds in the model."""

    def __str__(self) -> str:
        around, share = self.seconds - self.inside, self.inside / self.seconds
        return (
            f"| {self.features:,} | {self.windows} | {self.seconds:.2f} | {self.inside:.2f}, {share:.0%} | {around:.2f}"
            f" | {self.megapixels / around:.1f} | {around / self.megapixels:.4f} |"
        )


def whole_scene(path: Path, model: PromptableModel, find: Callable[..., Any], *, resampling: Any = "auto") -> Cost:
    """Segment everything in a raster."""
    inside, windows = Timed(), Timed()
    with ExitStack() as stack:
        for owner, name, work in (
            (tilejob, "generate_masks", find),
            (tilejob, "encode", windows.wrap(tilejob.encode)),
            (tilejob, "name_masks", tilejob.name_masks),
            (type(model), "decode", type(model).decode),  # large objects are drawn anew, prompt by prompt
        ):
            stack.enter_context(mock.patch.object(owner, name, inside.wrap(work)))
        start = time.perf_counter()
        with Raster(path, resampling=resampling) as raster:
            settings = Settings(use_cache=False, overwrite=True)
            result = segment(raster, model=model, output=path.with_suffix(".gpkg"), settings=settings)
        seconds = time.perf_counter() - start
    return Cost(
        megapixels=raster.grid.width * raster.grid.height / 1e6,
        features=len(result),
        windows=windows.calls,
        seconds=seconds,
        inside=inside.seconds,
    )


def pipeline(px: int) -> None:
    """Print what everything around the network costs: with a model that knows all, sparse and dense, small and large.

    Sides are such that windows fill them, near `px` and a quarter of it: of a window that reaches beyond the raster
    all is paid for.
    """
    head = "| scene | features | windows | s | in the model, s | around it: s | Mpx/s | s a Mpx |"
    print(head + "\n|" + "---|" * (head.count("|") - 1))
    with tempfile.TemporaryDirectory() as folder:
        for cell_px in CELLS_PX:
            for side in (WARM_UP_PX, filled(px // 4), filled(px)):
                path = Path(folder) / f"{side}-{cell_px}.tif"
                write_scene(path, side, objects=(side // cell_px) ** 2)
                cost = whole_scene(path, ByColour(), by_colour, resampling="nearest")  # type: ignore[arg-type]
                if side != WARM_UP_PX:
                    print(f"| {side:,} x {side:,}, an object in {cell_px} x {cell_px} px {cost}", flush=True)
        print(f"| samgeo-nano {nano_scene(Path(folder) / 'nano.tif', times=2)}")


def scene(px: int) -> None:
    """Print what everything in a large scene costs with the embedded default."""
    times = round(px / PATTERN_PX)
    with tempfile.TemporaryDirectory() as folder:
        cost = nano_scene(Path(folder) / "nano.tif", times=times)
    side = times * PATTERN_PX
    print(
        f"samgeo-nano, everything in {side:,} x {side:,} px: {cost.features:,} features in {cost.seconds:,.0f} s, "
        f"{cost.seconds / cost.megapixels:.1f} s a Mpx, {cost.inside / cost.seconds:.0%} in the model; "
        f"at most {peak_mib() * 2**20 / 1e9:.2f} GB of memory"
    )


def nano_scene(path: Path, *, times: int) -> Cost:
    """Everything in a dense made-up scene, `times` by `times` as large, with the embedded default."""
    write_tiled(path, make_scene(1, height_px=PATTERN_PX, width_px=PATTERN_PX).image, times=times)
    return whole_scene(path, load_model(), generate_masks)


def filled(px: int) -> int:
    """The side nearest to `px` that read windows of the oracle fill."""
    stride = ByColour.tile_px - ByColour.tile_px // 8
    return max(1, round(px / stride)) * stride + ByColour.tile_px // 8


def write_tiled(path: Path, image: NDArray[np.uint8], *, times: int) -> None:
    """A GeoTIFF of an image (H, W, 3) laid out `times` by `times`, each second one mirrored."""
    import rasterio

    row = np.concatenate([image[:, :: 1 - 2 * (k % 2)] for k in range(times)], axis=1)
    whole = np.concatenate([row[:: 1 - 2 * (k % 2)] for k in range(times)], axis=0)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "tiled": True, "compress": "deflate"}
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500_000, 5_538_000, 0.3, 0.3)}
    with rasterio.open(path, "w", height=whole.shape[0], width=whole.shape[1], **profile, **place) as dataset:
        dataset.write(np.moveaxis(whole, -1, 0))


def machine() -> str:
    """What it was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    rates = [f"{kind} {matrix_rate(getattr(torch, kind)):.2f}" for kind in ("float32", "bfloat16")]
    units = "with AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    return (
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {units}, torch {torch.__version__}; "
        f"products of matrices as large as ViT-B's: {', '.join(rates)} TFLOP/s"
    )


def matrix_rate(kind: torch.dtype) -> float:
    """TFLOP/s of 4096 tokens in an MLP of ViT-B, the best of some: what no encoder here can pass."""
    tokens, width = torch.randn(4096, 768).to(kind), torch.randn(768, 3072).to(kind)
    (seconds,) = by_turns({"": lambda: tokens @ width}, 10).values()
    return 2 * tokens.numel() * width.shape[1] / min(seconds) / 1e12


def main() -> int:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    beside = parts.add_parser("networks")
    beside.add_argument("name", choices=[name for name, spec in MODELS.items() if spec.architecture in REFERENCES])
    beside.add_argument("--reference", type=Path, required=True, help="a clone of the reference, outside of this one")
    beside.add_argument("--rounds", type=int, default=3)
    beside.add_argument("--everything", action="store_true", help="everything-mode too, which takes minutes")
    own = parts.add_parser("nano")
    own.add_argument("--rounds", type=int, default=5)
    around = parts.add_parser("pipeline")
    around.add_argument("--px", type=int, default=8192)
    large = parts.add_parser("scene")
    large.add_argument("--px", type=int, default=10_000, help="takes some 20 s a Mpx")
    args = parser.parse_args()
    with torch.inference_mode():
        if args.part == "networks":
            sys.path.insert(0, str(args.reference))
            networks(args.name, rounds=args.rounds, everything=args.everything)
        elif args.part == "nano":
            nano(rounds=args.rounds)
        elif args.part == "scene":
            scene(args.px)
        else:
            pipeline(args.px)
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
