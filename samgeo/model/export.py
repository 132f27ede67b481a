"""A member as two ONNX files: one sees an image once, one answers any number of prompts. Needs the extra `onnx`.

    NAME.encoder.onnx   image (1, 3, H, W)                               -> features, by the names of `Features`
    NAME.decoder.onnx   points (N, T, 2), labels (N, T),
                        masks (N, 1, h, w), has_mask (N,), features      -> logits (N, M, h, w), scores (N, M)

N and T are free. FastSAM has no second file: its encoder finds all instances, and choosing among them is no
network. docs/onnx.md says what goes in and comes out. Both files are run with onnxruntime beside the network
before they get their names, and the largest difference is told.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samgeo import __version__
from samgeo.commit import staged
from samgeo.errors import ModelError, UsageError
from samgeo.model.drawing import BOX_CORNERS
from samgeo.model.fast_sam import InstanceModel
from samgeo.model.predict import Model
from samgeo.model.sam import Features, Sam
from samgeo.model.scoring import describe
from samgeo.model.yolo import Proposals
from samgeo.pixels import PADDING

ONE_FILE_BYTES = 1_900_000_000
"""A protocol buffer holds 2 GiB; larger weights lie beside the file, in NAME.onnx.data."""
LARGEST = 1e-3
"""So far a file may be from the network, as a share of the network's largest value."""
TRIED = ((1, 2), (3, 5), (8, 1))
"""Numbers of prompts and points of each that a file is tried with."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Two files that agree with the network."""

    encoder: Path
    """Sees an image."""
    decoder: Path | None
    """Answers prompts; None where the encoder says everything."""
    differences: Mapping[str, float]
    """Output to its largest difference from the network's, as a share of the network's largest value."""


class EncoderGraph(nn.Module):
    """What the encoder's file computes."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) as `Frame.prepare` makes it -> the features that there are, in the order of `Features`."""
        return tuple(value for value in self.sam.encode(image) if value is not None)


class DecoderGraph(nn.Module):
    """What the decoder's file computes: all masks of a prompt, and the scores that `Model.decode` gives them."""

    def __init__(self, sam: Sam, names: Sequence[str]) -> None:
        """names: of the features, see `EncoderGraph`."""
        super().__init__()
        self.sam = sam
        self.names = names

    def forward(
        self, points: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor, *features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Prompts in the network's frame, with corners and padding among the points, see `Sam.list_prompts`.

        points: (N, T, 2) x,y. labels: (N, T) int64. masks: (N, 1, h, w) logits. has_mask: (N,) 0 or 1.
        """
        found = Features(**dict(zip(self.names, features, strict=True)))
        without = self.sam.embed_prompts(found, points, labels, None)
        given = self.sam.embed_prompts(found, points, labels, masks)
        has = has_mask[:, None, None, None] > 0
        maps = given.maps
        if maps is not None and without.maps is not None:
            maps = torch.where(has, maps, without.maps)
        dense = torch.where(has, given.dense, without.dense)
        decoded = self.sam.mask_decoder(
            found.stride16,
            self.sam.locate(found.stride16),
            given.sparse,
            dense,
            high_res=found.high_res,
            units=found.units,
            maps=maps,
        )
        if self.sam.mask_scorer is None or found.units is None:
            return decoded.logits, decoded.iou
        facts = describe(decoded.logits, decoded.iou, found.units, points, labels)
        return decoded.logits, self.sam.mask_scorer(facts, decoded.tokens)


def export_onnx(model: Model | InstanceModel, folder: Path, *, overwrite: bool = False) -> Exported:
    """Write both files of a model that was loaded with device="cpu" and precision="exact" into a folder.

    Raises UsageError without the extra `onnx`; ModelError if a file does not agree with the network; OutputError, also
    for files that are there unless `overwrite`. A file appears when it has been run and agrees.
    """
    _require_onnx()
    model = getattr(model, "plain", model)  # what `load_model` gives may ask one network at several sizes
    folder.mkdir(parents=True, exist_ok=True)
    image = model.sam.frame.prepare(np.zeros((model.tile_px, model.tile_px, 3), np.uint8))  # (1, 3, H, W)
    image = torch.rand(image.shape, generator=torch.Generator().manual_seed(1))
    if isinstance(model, InstanceModel):
        return _export_instances(model, folder / f"{model.name}.encoder.onnx", image, overwrite=overwrite)
    encoder = EncoderGraph(model.sam)
    with torch.no_grad():
        found = {name: value for name, value in model.sam.encode(image)._asdict().items() if value is not None}
    decoder = DecoderGraph(model.sam, list(found))
    given = [_prompts(n, t, image.shape[-1]) | found for n, t in TRIED]
    paths = [folder / f"{model.name}.{part}.onnx" for part in ("encoder", "decoder")]
    with ExitStack() as stack:
        first, second = (stack.enter_context(staged(path, overwrite=overwrite)) for path in paths)
        _write(encoder, {"image": image}, first, outputs=list(found), about=_about(model, image))
        told = _differences(first, encoder, [{"image": image}], list(found))
        _write(decoder, given[1], second, outputs=["logits", "scores"], about=_about(model, image))
        told |= _differences(second, decoder, given, ["logits", "scores"])
    return Exported(encoder=paths[0], decoder=paths[1], differences=told)


def _export_instances(model: InstanceModel, path: Path, image: Tensor, *, overwrite: bool) -> Exported:
    """The one file of FastSAM: image -> boxes, scores, coefficients and prototypes of `yolo.Proposals`."""
    with staged(path, overwrite=overwrite) as file:
        _write(model.sam, {"image": image}, file, outputs=Proposals._fields, about=_about(model, image))
        told = _differences(file, model.sam, [{"image": image}], Proposals._fields)
    return Exported(encoder=path, decoder=None, differences=told)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--onnx needs {error.name}, which is not installed. Fix: pip install 'samgeo[onnx]'"
        ) from error


def _prompts(count: int, points: int, frame_px: int) -> dict[str, Tensor]:
    """Some prompts of every kind for `DecoderGraph`, by name."""
    draw = torch.Generator().manual_seed(100 * count + points)
    side = frame_px // 4
    places = torch.rand(count, points, 2, generator=draw) * frame_px
    labels = torch.randint(0, 2, (count, points), generator=draw)
    if points > 1:  # every other one has a box, the others a padding point
        places[::2, -2:] = places[::2, -2:].sort(dim=1).values
        labels[::2, -2:] = torch.tensor(BOX_CORNERS)
        labels[1::2, -1] = PADDING
    return {
        "points": places,
        "labels": labels,
        "masks": 4 * torch.randn(count, 1, side, side, generator=draw),
        "has_mask": (torch.arange(count) % 2).float(),
    }


def _about(model: Model | InstanceModel, image: Tensor) -> str:
    """What whoever runs the files must know, as JSON."""
    facts = {
        "model": model.name,
        "weights_sha256": model.sha256,
        "samgeo": __version__,
        "frame": type(model.sam.frame).__name__,
        "frame_px": image.shape[-1],
        "logit_limit": getattr(model.sam, "logit_limit", None),
    }
    return json.dumps(facts)


def _write(graph: nn.Module, given: Mapping[str, Tensor], path: Path, *, outputs: Sequence[str], about: str) -> None:
    """One file; axes of prompts and points are free."""
    free = {"points": {0: "N", 1: "T"}, "labels": {0: "N", 1: "T"}, "masks": {0: "N"}, "has_mask": {0: "N"}}
    shapes = [
        {axis: torch.export.Dim(label, min=1, max=4096) for axis, label in free.get(name, {}).items()} for name in given
    ]
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            tuple(given.values()),
            dynamo=True,
            verbose=False,
            input_names=list(given),
            output_names=outputs,
            dynamic_shapes=(*shapes[:4], tuple(shapes[4:])) if len(shapes) > 1 else tuple(shapes),
        )
        assert program is not None
        program.model.metadata_props["samgeo"] = about
        size = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
        program.save(path, external_data=size > ONE_FILE_BYTES)


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter logs and warns of what does not matter here, such as torchvision that is not installed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _differences(
    path: Path, graph: nn.Module, given: Sequence[Mapping[str, Tensor]], outputs: Sequence[str]
) -> dict[str, float]:
    """Largest difference of each output from the network's, as a share of the network's largest value."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    known = {one.name for one in session.get_inputs()}  # an input that changes nothing is not there
    told = dict.fromkeys(outputs, 0.0)
    for inputs in given:
        with torch.no_grad():
            expected = graph(*inputs.values())
        found = session.run(list(outputs), {name: value.numpy() for name, value in inputs.items() if name in known})
        for name, here, there in zip(outputs, expected, found, strict=True):
            told[name] = max(told[name], _difference(here.numpy(), there))
    worst = max(told, key=lambda name: told[name])
    if not told[worst] < LARGEST:
        raise ModelError(
            f"{path.name}: {worst} differs from the network's by {told[worst]:.1e} of its largest value; expected less "
            f"than {LARGEST:.0e}. Fix: another version of onnxruntime"
        )
    return told


def _difference(here: NDArray[np.float32], there: NDArray[np.float32]) -> float:
    return float(np.abs(here - there).max() / np.abs(here).max())
