"""Weights files of every kind are read; what is damaged or something else is refused with a reason, whatever it is."""

import io
import json
import random
import struct
import sys
import tempfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from samgeo.errors import UnsafeInputError, WeightsError
from samgeo.model.reading import read_weights

REFUSED = (WeightsError, UnsafeInputError)


def some_tensors():
    generator = torch.Generator().manual_seed(7)
    return {
        "image_encoder.pos_embed": torch.randn(1, 4, 4, 8, generator=generator),
        "mask_decoder.iou_token.weight": torch.randn(1, 16, generator=generator).half(),
        "encoder.bn.num_batches_tracked": torch.tensor(3),
        "encoder.turned": torch.randn(3, 5, generator=generator).T,
        "encoder.empty": torch.zeros(0, 4),
    }


def same(one, other):
    return one.keys() == other.keys() and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b) for a, b in ((one[k], other[k]) for k in one)
    )


def saved(what, path):
    torch.save(what, path)
    return path


@pytest.fixture
def pth(tmp_path):
    return saved(some_tensors(), tmp_path / "some.pth")


@pytest.fixture
def safetensors(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({k: t.contiguous() for k, t in some_tensors().items()}, path, {"architecture": "nano"})
    return path


def test_a_state_dict_and_its_safetensors_conversion_read_alike(pth, safetensors):
    assert same(read_weights(pth).tensors, some_tensors())
    assert same(read_weights(safetensors).tensors, some_tensors())
    assert read_weights(safetensors).metadata == {"architecture": "nano"}


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_a_state_dict_under_a_usual_key_is_found_among_what_training_left(key, tmp_path):
    rest = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "args": types.SimpleNamespace(lr=0.1)}
    assert same(read_weights(saved({key: some_tensors(), **rest}, tmp_path / "a.pt")).tensors, some_tensors())


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path):
    prefixed = {f"module.{k}": v for k, v in some_tensors().items()}
    assert same(read_weights(saved(prefixed, tmp_path / "a.pt")).tensors, some_tensors())


def test_parameters_are_read_as_tensors(tmp_path):
    linear = torch.nn.Linear(3, 2)
    path = saved(dict(linear.named_parameters()), tmp_path / "a.pt")
    assert same(read_weights(path).tensors, linear.state_dict())


def test_the_name_of_a_file_does_not_matter(pth, safetensors, tmp_path):
    for path in (pth, safetensors):
        assert same(read_weights(path.rename(tmp_path / "weights.bin")).tensors, some_tensors())


def test_safetensors_headers_of_any_length_are_read(tmp_path):
    """Their first bytes are that length, and some lengths look like the beginning of another kind of file."""
    for padding in range(0, 4000, 8):
        path = tmp_path / "a.safetensors"
        save_file({"a": torch.zeros(1)}, path, {"padding": "x" * padding})
        assert list(read_weights(path).tensors) == ["a"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(
    st.lists(
        st.tuples(
            st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8]),
            st.lists(st.integers(0, 4), max_size=4),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([2, 3, 4, 5]),
)
def test_what_is_read_is_what_torch_reads(described, protocol):
    tensors = {f"t{i}": (torch.rand(shape) * 9).to(dtype) for i, (dtype, shape, _) in enumerate(described)}
    tensors = {
        k: t.movedim(0, -1) if turn and t.dim() > 1 else t
        for (k, t), (_, _, turn) in zip(tensors.items(), described, strict=True)
    }
    tensors["view"] = torch.arange(20.0)[3:19:2]
    buffer = io.BytesIO()
    torch.save(tensors, buffer, pickle_protocol=protocol)
    buffer.seek(0)
    expected = torch.load(buffer, weights_only=protocol < 4)  # its restricted reader knows no newer ones
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        path.write_bytes(buffer.getvalue())
        assert same(read_weights(path).tensors, expected)


# A pickled network of a library that is not installed where it is read


def foreign_network(monkeypatch):
    """A network as the one of FastSAM is pickled: with its classes, half precision, buffers, and much beside."""
    library = types.ModuleType("ultralytics")

    class Conv(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
            self.bn = torch.nn.BatchNorm2d(4)
            self.act = torch.nn.SiLU()
            self.register_buffer("passing", torch.zeros(2), persistent=False)

    class SegmentationModel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Sequential(Conv(), torch.nn.Upsample(scale_factor=2), Conv())
            self.names = {0: "object"}
            self.stride = torch.tensor([8.0, 16.0])

    class IterableSimpleNamespace(types.SimpleNamespace):
        pass

    for kind in (Conv, SegmentationModel, IterableSimpleNamespace):
        kind.__module__, kind.__qualname__ = "ultralytics", kind.__name__
        setattr(library, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "ultralytics", library)
    network = SegmentationModel().half()
    network.args = IterableSimpleNamespace(imgsz=1024, model=None)
    return network


def test_tensors_of_a_pickled_network_are_read_where_its_code_is_not(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        network = foreign_network(patch)
        path = saved({"epoch": -1, "model": network, "ema": None, "train_args": {"lr": 0.1}}, tmp_path / "FastSAM-s.pt")
    assert "ultralytics" not in sys.modules
    tensors = read_weights(path).tensors
    assert same(tensors, dict(network.state_dict()))
    assert "model.0.passing" not in tensors
    assert "ultralytics" not in sys.modules


def test_weights_in_a_zip_are_read(pth, tmp_path):
    packed = tmp_path / "efficient_sam_vits.pt.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(pth, "weights/efficient_sam_vits.pt")
        archive.writestr("__MACOSX/weights/._efficient_sam_vits.pt", b"resource fork")
    assert same(read_weights(packed).tensors, some_tensors())


# What is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"\n\n  <HTML><head><title>404</title>", "a web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        (b'{"error": "quota"}', "text"),
        (b"\x1f\x8b\x08\x00", "a packed file"),
        (b"\x80\x02}q\x00.", "a bare pickle"),
        (b"\x93NUMPY\x01\x00", "begins with"),
        (b"PK\x05\x06" + bytes(18), "0 weights files"),
        (b"PK\x03\x04" + bytes(60), "not a whole weights file"),
    ],
)
def test_what_is_no_weights_file_is_refused_by_what_it_is(content, reason, tmp_path):
    path = tmp_path / "sam.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_folders_and_missing_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="a folder"):
        read_weights(tmp_path)
    with pytest.raises(WeightsError, match="no such weights file"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_truncated_anywhere_is_refused(kind, request):
    path = request.getfixturevalue(kind)
    whole = path.read_bytes()
    for length in sorted({*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_weights(path)


def test_a_truncated_published_file_says_how_large_it_should_be_and_how_to_fetch_it_again(pth, tmp_path):
    cut = tmp_path / "sam_vit_b_01ec64.pth"
    cut.write_bytes(pth.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"375042383 bytes.*sha256 ec2df627.*samgeo models pull sam-vit-b"):
        read_weights(cut)


def flipped(data, rng):
    at, bit = rng.randrange(len(data)), rng.randrange(8)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_a_flipped_bit_in_what_torch_saved_never_changes_a_number(pth):
    rng, whole = random.Random(3), pth.read_bytes()
    refused = 0
    for _ in range(1000):
        pth.write_bytes(flipped(whole, rng))
        try:
            read = read_weights(pth).tensors
        except REFUSED:
            refused += 1
        else:
            assert same(read, some_tensors())
    assert refused > 200


def test_a_flipped_bit_in_safetensors_is_refused_or_changes_numbers_only(safetensors):
    rng, whole = random.Random(4), safetensors.read_bytes()
    for _ in range(300):
        safetensors.write_bytes(flipped(whole, rng))
        try:
            read = read_weights(safetensors).tensors
        except REFUSED:
            continue
        assert all(isinstance(t, torch.Tensor) for t in read.values())


def safetensors_with(header, data=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(safetensors_with(b"{}", length=2**63), id="header of 2^63 bytes"),
        pytest.param(safetensors_with(b"{" + b" " * 99, length=200_000_000), id="header above the limit"),
        pytest.param(safetensors_with(b"{" * 50_000), id="nested"),
        pytest.param(safetensors_with(b'{"a":' * 50_000), id="nested objects"),
        pytest.param(safetensors_with({"a": TENSOR, "b": TENSOR}, bytes(8)), id="overlapping"),
        pytest.param(safetensors_with({"a": TENSOR | {"data_offsets": [4, 12]}}, bytes(12)), id="hole"),
        pytest.param(safetensors_with({"a": TENSOR | {"data_offsets": [8, 0]}}, bytes(8)), id="backwards"),
        pytest.param(safetensors_with({"a": TENSOR | {"shape": [2**62, 4]}}, bytes(8)), id="overflow"),
        pytest.param(safetensors_with({"a": TENSOR | {"shape": [3]}}, bytes(8)), id="shape of another size"),
        pytest.param(safetensors_with({"a": TENSOR | {"dtype": "F99"}}, bytes(8)), id="dtype"),
        pytest.param(safetensors_with({"a": TENSOR}, bytes(7)), id="data too short"),
        pytest.param(safetensors_with({"a": TENSOR}, bytes(9)), id="data too long"),
        pytest.param(safetensors_with(b'{"a":%b,"a":%b}' % ((json.dumps(TENSOR).encode(),) * 2), bytes(8)), id="twice"),
        pytest.param(safetensors_with(b"\xff\xfe{}"), id="not UTF-8"),
    ],
)
def test_safetensors_headers_that_lie_are_refused(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_weights(path)


def test_a_zip_that_would_unpack_to_much_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr("samgeo.model.reading.MAX_UNPACKED_BYTES", 10_000)
    path = tmp_path / "bomb.pt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.pt", bytes(50_000))
    with pytest.raises(WeightsError, match="unpack to more than"):
        read_weights(path)


def test_a_zip_of_several_weights_is_refused(pth, tmp_path):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(pth, "a.pt")
        archive.write(pth, "b.pt")
    with pytest.raises(WeightsError, match="2 weights files"):
        read_weights(path)


def test_a_file_with_no_tensors_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no tensors by name"):
        read_weights(saved({"epoch": 3}, tmp_path / "a.pt"))
    with pytest.raises(WeightsError, match="no tensors by name"):
        read_weights(saved([np.float64(3).item()], tmp_path / "b.pt"))
