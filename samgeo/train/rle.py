"""COCO's run-length codes of masks: runs of 0 and 1 by turns, down the columns, plain or packed into text.

The packed form writes each run as its difference from the run two before it, in groups of five bits from the lowest
on; 32 marks that another group follows, 16 the sign, and 48 is added to reach printable characters. From `maskApi.c`
of https://github.com/cocodataset/cocoapi (Lin et al. 2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import UsageError


def decode_runs(text: str) -> list[int]:
    """The run lengths of a packed code."""
    runs: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        group = byte - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def encode_runs(runs: Sequence[int]) -> str:
    """The packed code of run lengths."""
    groups: list[int] = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            groups.append(group + (32 if more else 0) + 48)
    return bytes(groups).decode("ascii")


def decode_mask(counts: str | Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) mask of a plain or packed code. Raises UsageError where the runs do not fill it exactly."""
    runs = decode_runs(counts) if isinstance(counts, str) else list(counts)
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise UsageError(f"run-length code of {sum(runs)} px: expected {width} x {height} = {width * height} px")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """The packed code of an (H, W) mask."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return encode_runs([0, *runs] if flat.size and flat[0] else runs)
