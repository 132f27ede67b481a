"""A device that is too small or lacks a kernel is told in plain words, not as a fault of samgeo."""

import pytest
import torch

from samgeo.errors import ModelError, ResourceLimitError
from samgeo.model.limits import plain_refusals
from tests.model.seeded import TINY, picture, seeded_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "becomes", "fix"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ResourceLimitError, "--tile"),
        (RuntimeError("MPS backend out of memory"), ResourceLimitError, "--tile"),
        (RuntimeError("CUDA error: no kernel image is available for execution"), ModelError, "--device cpu"),
        (
            NotImplementedError("The operator 'aten::x' is not currently implemented for MPS"),
            ModelError,
            "--device cpu",
        ),
        (RuntimeError("shapes do not match"), RuntimeError, "shapes"),
    ],
)
def test_what_a_device_cannot_do_comes_with_a_fix(error, becomes, fix):
    with pytest.raises(becomes, match=fix) as caught, plain_refusals(CPU):
        raise error
    assert type(caught.value) is becomes


def test_a_processor_without_memory_is_refused_too():
    with pytest.raises(ResourceLimitError, match="out of memory"), plain_refusals(CPU):
        torch.empty(2**60)


def test_encoding_and_decoding_say_it(monkeypatch):
    model = seeded_model(TINY["tiny-sam"])

    def fail(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.sam, "encode", fail)
    with pytest.raises(ResourceLimitError, match="device cpu: out of memory"):
        model.encode(picture(64, 64))
