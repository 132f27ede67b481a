"""Which numbers a device is quick with."""

from __future__ import annotations

import torch


def has_fast_bf16(device: torch.device) -> bool:
    """True where bf16 products are faster than fp32 ones: on recent graphics cards, and on processors with AMX.

    Processors with AVX-512 instructions for bf16 but without matrix units take twice as long as in fp32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())  # there is no public question for it
