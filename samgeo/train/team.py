"""Several processes train one network: each looks at batches of its own, and what they learn from is the mean.

    torchrun --nproc-per-node 2 -m samgeo.train.nano train ...

`torchrun` says in the environment how many there are; alone, everything here does nothing. Gradients are averaged by
hand, because a step calls parts of the network one by one, which `DistributedDataParallel` does not see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import distributed, nn


@contextmanager
def team(device: str) -> Iterator[torch.device]:
    """Join the others for a while; gives the device of this process: of several graphics cards its own."""
    chosen = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def number() -> int:
    """The number of this process, from 0, which is the one that writes."""
    return distributed.get_rank() if _together() else 0


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Put the mean over all processes where each has its own gradients; what one has not counts as 0."""
    if not _together():
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= size()
    for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter))  # in its memory format


def average_buffers(network: nn.Module) -> None:
    """Put the mean over all processes where each has statistics of its own batches."""
    if not _together():
        return
    for buffer in network.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer.div_(size())


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
