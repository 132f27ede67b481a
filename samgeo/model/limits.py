"""What a device cannot do, said in a way that helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from samgeo.errors import ModelError, ResourceLimitError

NO_ROOM = ("out of memory", "can't allocate memory", "not enough memory")
NO_KERNEL = ("no kernel image", "not implemented for", "not currently implemented")
"""How torch says it, in any of its errors."""


@contextmanager
def plain_refusals(device: torch.device) -> Iterator[None]:
    """Errors of torch about memory become ResourceLimitError, those about missing kernels ModelError."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # torch.OutOfMemoryError is a RuntimeError
        said = str(error).splitlines()[0]
        if isinstance(error, torch.OutOfMemoryError) or any(words in said for words in NO_ROOM):
            raise ResourceLimitError(
                f"device {device}: out of memory ({said}). Fix: a smaller --tile, or another --device; "
                "what is done is kept"
            ) from error
        if isinstance(error, NotImplementedError) or any(words in said for words in NO_KERNEL):
            raise ModelError(f"device {device} cannot run this model ({said}). Fix: --device cpu") from error
        raise
