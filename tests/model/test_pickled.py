"""Nothing in a pickle is ever run: not by attackers, not by accident, and what it leaves ends with it."""

import io
import pickle
import struct
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samgeo.errors import UnsafeInputError, WeightsError
from samgeo.model.pickled import BROKEN, Inert, TensorUnpickler
from samgeo.model.reading import read_weights

PROTO, STOP = b"\x80\x02", b"."
FLOATS = b"ctorch\nFloatStorage\n"


def archive_of(path, program, records=None):
    """What torch.save would have written, with any pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for key, data in (records or {"0": bytes(16)}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


class Attack:
    """Pickles as a call of any function."""

    def __init__(self, function, *given):
        self.call = function, given

    def __reduce__(self):
        return self.call


def acting_calls(marker):
    import os
    import shutil
    import subprocess

    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Attack(os.system, f"touch {marker}"),
        "subprocess": Attack(subprocess.check_call, ["touch", str(marker)]),
        "eval": Attack(eval, code),
        "exec": Attack(exec, code),
        "open": Attack(open, str(marker), "w"),
        "shutil": Attack(shutil.rmtree, str(marker.parent)),
    }


@pytest.mark.parametrize("name", list(acting_calls(__import__("pathlib").Path("/nowhere"))))
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("where", ["instead of weights", "beside weights", "inside the weights"])
def test_a_malicious_pickle_is_refused_and_never_run(name, protocol, where, tmp_path):
    marker = tmp_path / "marker"
    attack = acting_calls(marker)[name]
    weights = {"a": torch.zeros(3)}
    saved = {
        "instead of weights": attack,
        "beside weights": {"model": weights, "hook": attack},
        "inside the weights": {"model": weights | {"b": attack}},
    }[where]
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save(saved, path, pickle_protocol=protocol)
    with pytest.raises((UnsafeInputError, WeightsError)) as caught:
        read_weights(path)
    if protocol:
        assert "Nothing was run" in str(caught.value)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 8
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posix", "system"),
        ("nt", "system"),
        ("os", "path.join"),
        ("__builtin__", "eval"),
        ("builtins", "exec.__call__"),
        ("importlib", "import_module"),
        ("runpy", "_run_code"),
        ("pickle", "loads"),
        ("multiprocessing.util", "subprocess"),
        ("torch.serialization", "load"),
        ("torch.hub", "load_state_dict_from_url"),
        ("builtins", "getattr"),
        ("operator", "methodcaller"),
        ("functools", "partial"),
        ("types", "FunctionType"),
        ("a.library", "of.nobody"),
    ],
)
def test_no_function_that_a_pickle_names_is_ever_found(module, name):
    reader = TensorUnpickler(PROTO + b"}" + STOP, bytes)
    try:
        found = reader.find_class(module, name)
    except UnsafeInputError:
        return
    assert issubclass(found, Inert)
    assert vars(found(1, key=2)) == {}


def test_objects_of_unknown_classes_are_inert_and_forgotten_with_the_file(tmp_path):
    """getattr, as real files call it, and state for what it returned; the next file sees nothing of it."""
    program = (
        PROTO
        + b"cbuiltins\ngetattr\n(cnobody\nKnows\nX\x05\x00\x00\x00shape"
        + b"tR}X\x05\x00\x00\x00stateK\x01sb"
        + STOP
    )
    with pytest.raises(WeightsError, match="no tensors by name"):
        read_weights(archive_of(tmp_path / "a.pt", program))
    assert Inert().state is None
    one, other = (TensorUnpickler(program, bytes).find_class("nobody", "Knows") for _ in range(2))
    assert one is not other


def test_a_pickle_cannot_change_the_functions_that_build_tensors(tmp_path):
    for function in (b"ctorch._utils\n_rebuild_tensor_v2\n", FLOATS, b"ccollections\nOrderedDict\n"):
        program = PROTO + function + b"}X\x01\x00\x00\x00xK\x01sb" + STOP
        with pytest.raises(WeightsError, match="not a whole weights file"):
            read_weights(archive_of(tmp_path / "a.pt", program))


def number(n):
    return b"J" + struct.pack("<i", n)


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string


def tensor_program(*, numel=4, key=b"0", offset=0, size=(4,), stride=(1,), storage=FLOATS, kind=b"storage"):
    """A pickle of {"a": tensor}."""
    numbers = [b"(" + b"".join(map(number, n)) + b"t" for n in (size, stride)]
    described = b"(" + text(kind) + storage + text(key) + text(b"cpu") + number(numel) + b"tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + described + number(offset) + b"".join(numbers)
    return PROTO + b"}" + text(b"a") + call + b"\x89ccollections\nOrderedDict\n)RtRs" + STOP


def test_the_program_itself_is_good(tmp_path):
    data = struct.pack("<4f", 1, 2, 3, 4)
    read = read_weights(archive_of(tmp_path / "a.pt", tensor_program(size=(2,), stride=(2,), offset=1), {"0": data}))
    assert read.tensors["a"].tolist() == [2, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (5,)},
        {"size": (2,), "offset": 3},
        {"size": (2,), "stride": (4,)},
        {"size": (2**30,), "stride": (0,)},
        {"size": (2, 2), "stride": (1,)},
        {"size": (-1,)},
        {"size": (2,), "stride": (-1,), "offset": 3},
        {"size": (2,), "offset": -1},
        {"numel": 5},
        {"numel": 3},
        {"numel": -4},
        {"key": b"1"},
        {"key": b"../data.pkl"},
        {"kind": b"module"},
        {"storage": b"ctorch\nQInt8Storage\n"},
        {"storage": b"ctorch\nHalfStorage\n"},
        {"storage": b"ctorch\nSize\n"},
    ],
    ids=str,
)
def test_tensors_never_reach_beyond_their_storage(wrong, tmp_path):
    with pytest.raises(WeightsError, match="not a whole weights file"):
        read_weights(archive_of(tmp_path / "a.pt", tensor_program(**wrong)))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PROTO + b"}", id="no end"),
        pytest.param(PROTO + b"}r\xff\xff\xff\xff" + STOP, id="a memo of 32 GB"),
        pytest.param(PROTO + b"\x82\x01" + STOP, id="a class by number"),
        pytest.param(PROTO + b"\x8a\xff" + STOP, id="a number that is cut"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + STOP, id="bytes without end"),
        pytest.param(b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}" + STOP, id="a frame without end"),
        pytest.param(b"(" * 100_000 + STOP, id="marks"),
        pytest.param(PROTO + b"]" + b"]\x85" * 3 + b"a" + STOP, id="a stack that runs empty"),
        pytest.param(PROTO + b"}q\x00" + text(b"model") + b"h\x00s" + STOP, id="a dict in itself"),
        pytest.param(
            PROTO + b"cnobody\nModule\n)R}" + text(b"_modules") + b"K\x01sb" + STOP, id="modules that are none"
        ),
    ],
)
def test_broken_pickles_are_refused(program, tmp_path):
    with pytest.raises(WeightsError, match="not a whole weights file"):
        read_weights(archive_of(tmp_path / "a.pt", program))


def test_modules_in_modules_have_an_end(tmp_path):
    module = PROTO + b"cnobody\nModule\n)Rq\x00}" + text(b"_modules") + b"}" + text(b"m") + b"h\x00ssb" + STOP
    with pytest.raises(WeightsError, match="nested too deeply"):
        read_weights(archive_of(tmp_path / "a.pt", module))


@given(st.binary(max_size=60))
def test_any_bytes_for_a_pickle_are_read_or_refused(data):
    for program in (data, PROTO + data + STOP, tensor_program()[:40] + data + STOP):
        try:
            TensorUnpickler(program, lambda key: bytes(16)).load()
        except (UnsafeInputError, *BROKEN):
            pass


def test_packed_and_overlapping_records_are_refused(tmp_path):
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_program())
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(WeightsError, match="packed records"):
        read_weights(packed)
    with pytest.raises(WeightsError, match=r"records that overlap|Overlapped"):
        read_weights(overlapping(tmp_path))


def overlapping(folder):
    """Many names for the same bytes of the archive: small on disk, large in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", tensor_program())
        archive.writestr("archive/data/0", bytes(100_000))
        for key in range(1, 9):
            info = zipfile.ZipInfo.__new__(zipfile.ZipInfo)
            for slot in zipfile.ZipInfo.__slots__:
                if hasattr(archive.filelist[1], slot):
                    setattr(info, slot, getattr(archive.filelist[1], slot))
            info.filename = f"archive/data/{key}"
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    path = folder / "overlapping.pt"
    path.write_bytes(buffer.getvalue())
    return path


def test_numbers_in_big_endian_order_are_refused(tmp_path):
    path = archive_of(tmp_path / "a.pt", tensor_program())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", b"big")
    with pytest.raises(WeightsError, match="big-endian"):
        read_weights(path)


def test_the_attacks_would_work_on_a_reader_that_trusts(tmp_path):
    """Without it, the tests above could pass because the attacks are no attacks."""
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(acting_calls(marker)["os.system"]))
    assert marker.exists()
