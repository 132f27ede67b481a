"""Which numbers a device is quick with, and what makes its sums the same each time."""

from __future__ import annotations

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes: where torch lets the memory of its own tensors start."""


def has_fast_bf16(device: torch.device) -> bool:
    """True where bf16 products are faster than fp32 ones: recent graphics cards, processors with AMX or AVX512_BF16.

    Without matrix units (AMX), AVX512_BF16 alone makes products and convolutions 2 to 2.5 times as fast.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # There is no public question for it.
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def aligned(tensor: Tensor) -> Tensor:
    """The tensor, copied if its memory is not aligned as that of torch's own.

    Products on some processors add in another order otherwise: the same weights from another kind of file, or the same
    embedding from a cache, would give masks that differ in their last bits.
    """
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
