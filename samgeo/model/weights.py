"""From a name or a path to a model that is ready: find the file, verify it, see whose it is, build the network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from samgeo.errors import ModelError, WeightsError
from samgeo.model.build import assemble
from samgeo.model.digests import digest_of
from samgeo.model.fast_sam import InstanceModel
from samgeo.model.fetch import Report, fetched
from samgeo.model.identify import describe, identify
from samgeo.model.precision import has_fast_bf16
from samgeo.model.predict import Model
from samgeo.model.published import PUBLISHED, find_published
from samgeo.model.pyramid import PyramidModel
from samgeo.model.reading import WeightsFile, read_weights
from samgeo.model.sam import Sam
from samgeo.model.spec import DEFAULT_MODEL, MODELS, ModelSpec, find_spec
from samgeo.model.yolo import FastSamNetwork

NO_CLASSES = "no_classes"
"""Key of the metadata of weights whose class head knows nothing of their encoder."""
COUNTERS = "num_batches_tracked"
"""How the names of the only tensors of whole numbers end that networks save."""


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    spec: ModelSpec | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model | InstanceModel | PyramidModel:
    """Load a model by a known name, or from a weights file; arguments and errors as of `load_network`.

    A model that looks at images at two sizes does so.
    """
    model = load_network(name_or_path, spec=spec, device=device, precision=precision)
    return at_all_sizes(model) if isinstance(model, Model) else model


def at_all_sizes(model: Model) -> Model | PyramidModel:
    """The model as one that looks at images at all sizes that its network is asked at; the weights are shared."""
    return PyramidModel(model, model.spec.zoom) if model.spec.zoom > 1 else model


def load_network(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    spec: ModelSpec | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model | InstanceModel:
    """Load a model by a known name, or from a weights file.

    name_or_path: a file of weights, or a name of `samgeo models list`. A file always wins over a name, and what looks
    like a path is never fetched. Published weights that are not here are fetched and verified.
    spec: what the file holds; without it the file's metadata, or the names and shapes of its tensors, say.
    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    precision: "auto" (16 bit where the device is made for it) or "exact".

    Raises UnknownModelError, WeightsError (missing, damaged, not as published, of another architecture),
    UnsafeInputError (a file that would run something), ModelError (device, precision, no network for these weights).
    """
    chosen = choose_device(device)
    numerics = choose_precision(precision, chosen)
    published = named(name_or_path)
    asked = spec or (find_spec(published) if published else None)
    path = fetched(PUBLISHED[published]) if published else Path(name_or_path)
    file = read_weights(path)
    found = _whose(file, path, asked)
    _check_numbers(file.tensors, path)
    network = assemble(found, file.tensors, source=str(path))
    if isinstance(network, Sam) and NO_CLASSES in file.metadata:
        network.class_head = None
    return running(
        network,
        name=published or file.metadata.get("name", path.stem),
        sha256=digest_of(path),
        device=chosen,
        precision=numerics,
        spec=found,
    )


def running(
    network: Sam | FastSamNetwork, *, name: str, sha256: str, device: torch.device, precision: str, spec: ModelSpec
) -> Model | InstanceModel:
    """A network as the model that its kind makes. Arguments as of `Running`."""
    if isinstance(network, FastSamNetwork):
        return InstanceModel(network, name=name, sha256=sha256, device=device, precision=precision, spec=spec)
    return Model(network, name=name, sha256=sha256, device=device, precision=precision, spec=spec)


def named(name_or_path: str | Path) -> str:
    """The known model that is meant; empty if it is a file. Raises WeightsError, UnknownModelError if it is neither."""
    path = Path(name_or_path)
    if path.is_file():
        return ""
    if name_or_path in PUBLISHED:
        return str(name_or_path)
    if path.suffix or str(name_or_path) != path.name or path.exists():
        raise WeightsError(_missing(path))
    return find_published(str(name_or_path)).name


def have_weights(name_or_path: str | Path, report: Report | None = None) -> None:
    """Fetch the weights that `load_model` would fetch. report: as of `fetched`. Raises what it raises."""
    published = named(name_or_path)
    if published:
        find_spec(published)
        fetched(PUBLISHED[published], report)


def spec_of(name_or_path: str | Path) -> ModelSpec:
    """What `load_model` would load; nothing is fetched or built. Raises what it raises."""
    published, path = named(name_or_path), Path(name_or_path)
    return find_spec(published) if published else _whose(read_weights(path), path, None)


def _missing(path: Path) -> str:
    what = "a folder" if path.is_dir() else "no such weights file"
    same = [published.name for published in PUBLISHED.values() if published.file == path.name]
    fix = f"the published file of that name is fetched by its model's: {same[0]}" if same else "see samgeo models list"
    return f"{path}: {what}; expected a .safetensors, .pt or .pth file, or the name of a known model; {fix}"


def _whose(file: WeightsFile, path: Path, asked: ModelSpec | None) -> ModelSpec:
    """Which row of the table the tensors belong to; WeightsError if they are visibly those of another than asked."""
    found = identify(file.tensors)
    if asked is not None:
        if found and asked.name in PUBLISHED and not _is_same_network(found, asked):
            raise WeightsError(
                f"{path}: has {describe(file.tensors)}; expected those of {asked.name}. Fix: ask for {found}"
            )
        return asked
    if found:
        return find_spec(found)
    architecture = file.metadata.get("architecture")
    by_metadata = [spec for spec in MODELS.values() if spec.architecture == architecture]
    if len(by_metadata) == 1:
        return by_metadata[0]
    raise WeightsError(
        f"{path}: has {describe(file.tensors)}; expected those of one of {', '.join(MODELS)}. Pass spec="
    )


def _is_same_network(found: str, asked: ModelSpec) -> bool:
    """Whether a published member is built as the one that was asked for."""
    spec = MODELS.get(found)
    built = (asked.architecture, asked.encoder, asked.memory)
    return spec is not None and (spec.architecture, spec.encoder, spec.memory) == built


def _check_numbers(tensors: dict[str, Tensor], path: Path) -> None:
    """Weights are finite floating-point numbers."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith(COUNTERS):
            raise WeightsError(f"{path}: {name} is {tensor.dtype}; expected floating-point numbers, not quantized ones")
        if tensor.is_floating_point() and not _is_finite(tensor):
            raise WeightsError(
                f"{path}: {name} has values that are not numbers or not finite: damaged, or its training diverged. "
                "Fix: use an earlier copy"
            )


def _is_finite(tensor: Tensor) -> bool:
    """By its extremes, which are NaN if anything is: ten times as fast as asking for each value."""
    return not tensor.numel() or all(bool(extreme.isfinite()) for extreme in torch.aminmax(tensor))


def choose_device(name: str) -> torch.device:
    """The device of this name; auto: a graphics card if there is one. Raises ModelError if it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} is not there ({str(error).splitlines()[0]}); use --device auto") from error
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """What "auto" means on this device: bf16 where the processor has it, fp16 on older cards, else fp32."""
    if name == "exact":
        return "exact"
    if name != "auto":
        raise ModelError(f"precision {name!r}: expected auto or exact")
    if has_fast_bf16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"
