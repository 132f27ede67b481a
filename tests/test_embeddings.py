"""EmbeddingCache: what comes back is what was stored or nothing; nothing that is wrong with it stops a run."""

import hashlib
import math
import os
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samgeo.embeddings import MAGIC, EmbeddingCache, default_folder, pack, unpack
from samgeo.errors import SamgeoWarning, UsageError

DTYPES = ["?", "|u1", "|i1", "<u2", ">u2", "<i4", ">i8", "<f2", ">f2", "<f4", ">f8"]


@st.composite
def some_arrays(draw):
    """Arrays of random bytes, so with NaN, infinities and the ends of all ranges."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = {}
    for name in draw(st.lists(st.text(max_size=8), max_size=3, unique=True)):
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        shape = draw(st.lists(st.integers(0, 5), max_size=4))
        raw = rng.integers(0, 2 if dtype.kind == "b" else 256, math.prod(shape) * dtype.itemsize, dtype=np.uint8)
        arrays[name] = raw.view(dtype).reshape(shape)
    return arrays


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def entry(size: int = 1000) -> dict[str, np.ndarray]:
    return {"features": np.arange(size, dtype=np.uint8)}


def entries(cache: EmbeddingCache) -> list[Path]:
    return sorted(cache.folder.rglob("*.emb"))


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and first.astype(first.dtype.newbyteorder("<")).tobytes() == second.tobytes()


@given(some_arrays())
def test_round_trip(arrays):
    found = unpack(bytearray(b"".join(pack(arrays))))
    assert found is not None
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("<")
        assert same(array, found[name])
        assert found[name].flags.writeable


@given(arrays=some_arrays(), place=st.integers(0, 10**9), value=st.integers(1, 255))
def test_a_changed_byte_is_noticed(arrays, place, value):
    stored = bytearray(b"".join(pack(arrays)))
    stored[place % len(stored)] ^= value
    assert unpack(stored) is None


@given(arrays=some_arrays(), place=st.integers(0, 10**9))
def test_a_missing_end_is_noticed(arrays, place):
    stored = bytearray(b"".join(pack(arrays)))
    assert unpack(stored[: place % len(stored)]) is None


def test_every_single_byte_of_one_entry_counts():
    stored = bytearray(b"".join(pack({"a": np.float16([1, 2]), "b": np.array(True)})))
    for place in range(len(stored)):
        for flip in (1, 0xFF):
            stored[place] ^= flip
            assert unpack(stored) is None
            stored[place] ^= flip
    assert unpack(stored) is not None


def test_arrays_lie_aligned_and_in_any_layout(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)
    cache.put(key(1), {"odd": np.uint8([1, 2, 3]), "turned": grid.T, "strided": grid[::2, ::3]})
    found = cache.get(key(1))
    np.testing.assert_array_equal(found["turned"], grid.T)
    np.testing.assert_array_equal(found["strided"], grid[::2, ::3])
    assert found["turned"].flags.aligned


def test_get_put_counts(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    assert cache.get(key(1)) is None
    cache.put(key(1), entry())
    np.testing.assert_array_equal(cache.get(key(1))["features"], entry()["features"])
    assert (cache.counts.hits, cache.counts.misses, cache.counts.stored) == (1, 1, 1)
    cache.clear()
    assert cache.get(key(1)) is None


def test_damaged_entries_are_dropped_and_made_again(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    damages = {
        "byte": lambda b: b[:50] + bytes([b[50] ^ 1]) + b[51:],
        "short": lambda b: b[:-1],
        "empty": lambda b: b"",
        "version": lambda b: MAGIC[:-1] + b"\x02" + b[8:],
        "foreign": lambda b: (body := MAGIC + (2).to_bytes(8, "little") + b"{}") + hashlib.sha256(body).digest(),
    }
    for number, damage in enumerate(damages.values()):
        cache.put(key(1), entry())
        (path,) = entries(cache)
        path.write_bytes(damage(path.read_bytes()))
        assert cache.get(key(1)) is None
        assert not path.exists()
        assert cache.counts.dropped == number + 1


@pytest.mark.parametrize("bad", ["", "ab", "../../../etc/passwd0000", "A" * 64, "g" * 64])
def test_keys_are_hexadecimal(tmp_path, bad):
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(UsageError, match="hexadecimal"):
        cache.get(bad)
    with pytest.raises(UsageError, match="hexadecimal"):
        cache.put(bad, entry())


def test_objects_are_refused(tmp_path):
    with pytest.raises(UsageError, match="numbers, bools or text"):
        EmbeddingCache(tmp_path).put(key(1), {"a": np.array([{}], dtype=object)})


def test_key_depends_on_all_that_the_encoder_depends_on():
    rgb, valid = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), bool)
    other, masked = rgb.copy(), valid.copy()
    other[3, 5, 2] = 1
    masked[0, 0] = False
    keys = {
        EmbeddingCache.key_for(rgb, valid, "a", "exact"),
        EmbeddingCache.key_for(other, valid, "a", "exact"),
        EmbeddingCache.key_for(rgb, masked, "a", "exact"),
        EmbeddingCache.key_for(rgb, valid, "b", "exact"),
        EmbeddingCache.key_for(rgb, valid, "a", "bf16"),
        EmbeddingCache.key_for(rgb, valid, "a", "exact", "PyramidModel"),
        EmbeddingCache.key_for(rgb.reshape(6, 4, 3), valid.reshape(6, 4), "a", "exact"),
    }
    assert len(keys) == 7
    wide = np.zeros((4, 12, 3), np.uint8)
    assert EmbeddingCache.key_for(wide[:, ::2], valid, "a", "exact") in keys
    with pytest.raises(UsageError, match="uint8"):
        EmbeddingCache.key_for(rgb.astype(float), valid, "a", "exact")


def test_the_longest_unused_goes_first(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", max_bytes=12_000)
    for number in range(8):
        cache.put(key(number), entry())
        path = cache.folder / key(number)[:2] / f"{key(number)}.emb"
        os.utime(path, (number, number))
    assert cache.get(key(0)) is not None
    for number in range(8, 12):
        cache.put(key(number), entry())
    assert cache.counts.evicted > 0
    assert sum(path.stat().st_size for path in entries(cache)) <= 12_000
    assert cache.get(key(0)) is not None
    assert cache.get(key(1)) is None
    assert cache.get(key(11)) is not None


def test_limit_holds_over_what_others_stored(tmp_path):
    first, second = (EmbeddingCache(tmp_path / "cache", max_bytes=20_000) for _ in range(2))
    for number in range(40):
        (first, second)[number % 2].put(key(number), entry())
    assert sum(path.stat().st_size for path in entries(first)) <= 20_000 + 2 * 1300


def test_an_entry_above_the_limit_is_not_stored(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", max_bytes=500)
    cache.put(key(1), entry())
    assert entries(cache) == []


def test_leftovers_of_killed_writers_go(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    folder = cache.folder / "ab"
    folder.mkdir(parents=True)
    cache.folder.chmod(0o700)
    old, new = folder / ".a.partial", folder / ".b.partial"
    for path, age in ((old, 7200), (new, 60)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    cache.put(key(1), entry())
    assert not old.exists()
    assert new.exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
class TestPermissions:
    def test_private(self, tmp_path):
        cache = EmbeddingCache(tmp_path / "a" / "cache")
        cache.put(key(1), entry())
        assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
        assert (cache.folder / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")

    def test_a_folder_that_was_ours_becomes_private_again(self, tmp_path):
        EmbeddingCache(tmp_path / "cache").put(key(1), entry())
        (tmp_path / "cache").chmod(0o777)
        assert EmbeddingCache(tmp_path / "cache").get(key(1)) is not None
        assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700

    def test_a_folder_that_others_can_write_is_not_used(self, tmp_path):
        (tmp_path / "theirs").write_text("x")
        tmp_path.chmod(0o777)
        cache = EmbeddingCache(tmp_path)
        with pytest.warns(SamgeoWarning, match="written by others"):
            cache.put(key(1), entry())
        assert cache.get(key(1)) is None
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o777

    def test_a_folder_of_another_user_is_not_used(self, tmp_path, monkeypatch):
        EmbeddingCache(tmp_path / "cache").put(key(1), entry())
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.warns(SamgeoWarning, match="another user"):
            assert EmbeddingCache(tmp_path / "cache").get(key(1)) is None


def test_works_without_a_folder_to_write_to_and_warns_once(tmp_path):
    (tmp_path / "file").write_text("x")
    cache = EmbeddingCache(tmp_path / "file" / "cache")
    with pytest.warns(SamgeoWarning, match="going on without it"):
        cache.put(key(1), entry())
    cache.put(key(2), entry())
    assert cache.get(key(1)) is None


def test_full_disk(tmp_path, monkeypatch):
    cache = EmbeddingCache(tmp_path / "cache")
    cache.put(key(1), entry())

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("samgeo.embeddings.write_file", full)
    with pytest.warns(SamgeoWarning, match="No space left"):
        cache.put(key(2), entry())
    cache.put(key(3), entry())
    assert cache.get(key(1)) is not None


def test_folder_removed_in_between(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    cache.put(key(1), entry())
    shutil.rmtree(cache.folder)
    assert cache.get(key(1)) is None
    cache.put(key(1), entry())
    assert cache.get(key(1)) is not None


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "embeddings"
    assert EmbeddingCache().folder == tmp_path / "embeddings"
    monkeypatch.delenv("SAMGEO_CACHE")
    assert default_folder().name == "embeddings"
