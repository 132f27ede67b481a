"""Weights to a file that everybody may read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from samgeo.commit import staged


def write_weights(tensors: Mapping[str, Tensor], out: Path, metadata: dict[str, str], *, overwrite: bool) -> None:
    """Write a .safetensors file; what was there stays until the new one is whole. Raises as `staged` does."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with staged(out, overwrite=overwrite) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(ready, temporary, metadata)
        temporary.chmod(mode)  # else only the owner may read it
