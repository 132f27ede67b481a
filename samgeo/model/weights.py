"""From a name or a path to a model that is ready: find the file, verify it, build the network, load it strictly."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samgeo.errors import ModelError, WeightsError
from samgeo.model.build import ARCHITECTURES, assemble
from samgeo.model.precision import has_fast_bf16
from samgeo.model.predict import Model
from samgeo.model.published import PUBLISHED
from samgeo.model.spec import DEFAULT_MODEL, MODELS, ModelSpec, find_spec
from samgeo.model.store import path_of


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    spec: ModelSpec | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Load a model by a known name, or from a weights file.

    name_or_path: a name of `samgeo models list`, or a .safetensors file; a path always wins over a name.
    spec: what the file holds; without it the file's own metadata says.
    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    precision: "auto" (16 bit where the device is made for it) or "exact".

    Raises UnknownModelError, WeightsError (missing, damaged, of another architecture), ModelError (device, precision).
    """
    chosen = _device(device)
    numerics = _precision(precision, chosen)
    as_path = Path(name_or_path)
    looks_like_path = as_path.suffix or len(as_path.parts) > 1
    if as_path.exists() or (looks_like_path and str(as_path) not in PUBLISHED):  # sam2.1-... has a dot too
        return _load(as_path, spec, chosen, numerics)
    found = find_spec(str(name_or_path))
    return _load(path_of(PUBLISHED[found.name]), spec or found, chosen, numerics)


def _load(path: Path, spec: ModelSpec | None, device: torch.device, precision: str) -> Model:
    tensors, metadata = read_safetensors(path)
    if spec is None:
        spec = next((s for s in MODELS.values() if s.architecture == metadata.get("architecture")), None)
    if spec is None:
        found = metadata.get("architecture", "no architecture")
        raise WeightsError(
            f"{path}: its metadata names {found}; expected one of {', '.join(ARCHITECTURES)}. Pass spec="
        )
    sam = assemble(spec, tensors, source=str(path))
    name = metadata.get("name", path.stem)
    return Model(
        sam,
        name=name,
        sha256=_sha256(path, path.stat().st_mtime_ns),
        device=device,
        precision=precision,
        spec=spec,
    )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; WeightsError where it is missing or damaged."""
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weights file; expected a .safetensors file or a name of samgeo models list"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch or save it again") from error


@cache
def _sha256(path: Path, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _device(name: str) -> torch.device:
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


def _precision(name: str, device: torch.device) -> str:
    """What "auto" means on this device: bf16 where matrix units for it exist, fp32 elsewhere."""
    if name == "exact":
        return "exact"
    if name != "auto":
        raise ModelError(f"precision {name!r}: expected auto or exact")
    if has_fast_bf16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"
