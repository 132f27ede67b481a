"""EmbeddingCache under fire: many processes, kills, damage and full disks; and what a run makes of it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from samgeo.embeddings import MAGIC, EmbeddingCache, unpack
from samgeo.errors import SamgeoWarning
from samgeo.pipeline.tilejob import open_cache
from tests.runs import SCENE, digest, every_piece, exit_code, fork, run, write_scene

posix = pytest.mark.skipif(os.name == "nt", reason="fork and signals")


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def entry(size: int = 1000) -> dict[str, np.ndarray]:
    return {"features": (np.arange(size) % 251).astype(np.uint8)}


def entries(cache: EmbeddingCache) -> list[Path]:
    return sorted(cache.folder.rglob("*.emb"))


def _use(folder: Path, seed: int) -> int:
    """Get or make 150 of 40 entries; how many came back wrong."""
    warnings.simplefilter("error")
    cache, rng, wrong = EmbeddingCache(folder, max_bytes=60_000), np.random.default_rng(seed), 0
    for number in rng.integers(0, 40, 150):
        arrays = cache.get(key(number))
        if arrays is None:
            cache.put(key(number), {"a": np.full(700, number, np.int32)})
        else:
            wrong += not (arrays["a"] == number).all()
    return wrong + cache.counts.dropped


def test_many_processes(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.starmap(_use, [(tmp_path / "cache", seed) for seed in range(4)]) == [0] * 4
    cache = EmbeddingCache(tmp_path / "cache")
    assert all(cache.get(path.stem) is not None for path in entries(cache))


def _fill(folder: Path, seed: int) -> int:
    """Get or make entries for ever, until killed or something is wrong."""
    while True:
        seed += 1
        if wrong := _use(folder, seed):
            return wrong


@posix
def test_eight_processes_that_are_killed_at_random_never_spoil_an_entry(tmp_path):
    """Whatever they leave: each entry that is found is right, and the next eight go on."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cache"
    for round_ in range(4):
        writers = [fork(partial(_fill, folder, 100 * round_ + number)) for number in range(8)]
        for writer in rng.permutation(writers).tolist():
            time.sleep(rng.uniform(0, 0.05))
            os.kill(writer, signal.SIGKILL)
        assert [exit_code(writer) for writer in writers] == [-signal.SIGKILL] * 8
        assert _use(folder, round_) == 0
    assert sum(path.stat().st_size for path in folder.rglob("*.emb")) <= 60_000 + 8 * 3500


@posix
def test_a_disk_that_fills_up_leaves_no_entry_that_is_not_whole(tmp_path):
    import resource

    def store(limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        warnings.simplefilter("ignore")
        cache = EmbeddingCache(tmp_path / str(limit))
        for number in range(3):
            cache.put(key(number), entry(size=500 * (number + 1)))
            found = cache.get(key(number))
            assert found is None or len(found["features"]) == 500 * (number + 1)

    for limit in (0, 50, 110, 300, 900, 1300, 5000):
        assert exit_code(fork(partial(store, limit))) == 0
        folder = tmp_path / str(limit)
        assert all(unpack(bytearray(path.read_bytes())) is not None for path in folder.rglob("*.emb"))
        assert not list(folder.rglob("*.partial"))
    assert len(list((tmp_path / "5000").rglob("*.emb"))) == 3


def test_an_entry_that_is_read_may_be_evicted(tmp_path):
    """On POSIX the reader keeps the file; elsewhere it cannot be removed as long as it is open. Neither is an error."""
    cache = EmbeddingCache(tmp_path / "cache", max_bytes=3000)
    cache.put(key(0), entry())
    (path,) = entries(cache)
    with path.open("rb") as reader:
        for number in range(1, 10):
            cache.put(key(number), entry())
        assert unpack(bytearray(reader.read())) is not None


class CacheMachine(RuleBasedStateMachine):
    """A cache beside a dict that never forgets: the cache may have lost an entry, and never has another one."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "cache"
        self.caches = [EmbeddingCache(self.folder, max_bytes=5000) for _ in range(2)]
        self.model: dict[int, int] = {}

    @rule(number=st.integers(0, 9), who=st.integers(0, 1), value=st.integers(0, 255), size=st.integers(0, 2000))
    def put(self, number, who, value, size):
        self.model[number] = value
        self.caches[who].put(key(number), {"value": np.full(size, value, np.uint8), "tag": np.array(value)})

    @rule(number=st.integers(0, 9), who=st.integers(0, 1))
    def get(self, number, who):
        found = self.caches[who].get(key(number))
        if found is not None:
            assert int(found["tag"]) == self.model[number]
            assert (found["value"] == self.model[number]).all()

    @rule(number=st.integers(0, 9), place=st.integers(0, 10**6), kind=st.sampled_from(["flip", "cut", "swap"]))
    def damage(self, number, place, kind):
        path = self.folder / key(number)[:2] / f"{key(number)}.emb"
        if not path.exists():
            return
        content = bytearray(path.read_bytes())
        if kind == "flip":
            content[place % len(content)] ^= 1 + place % 255
        path.write_bytes(content[: place % len(content)] if kind == "cut" else content)

    @rule(who=st.integers(0, 1))
    def restart(self, who):
        self.caches[who] = EmbeddingCache(self.folder, max_bytes=5000)

    @rule()
    def clear(self):
        self.caches[0].clear()

    @rule()
    def remove_the_folder(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    @invariant()
    def stays_within_its_limit(self):
        assert sum(path.stat().st_size for path in self.folder.rglob("*.emb")) <= 5000 + 5000 // 32 + 2600

    def teardown(self):
        self.place.cleanup()


TestAnySequence = CacheMachine.TestCase
TestAnySequence.settings = settings(max_examples=settings.default.max_examples // 4, stateful_step_count=30)


class TestInARun:
    """The cache under `segment`: what it holds never changes what a run finds."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
        open_cache.cache_clear()
        self.folder = tmp_path
        self.cache = tmp_path / "cache" / "embeddings"
        yield
        open_cache.cache_clear()

    def found(self, raster: Path, name: str, **settings) -> str:
        output = self.folder / name / "out.fgb"
        output.parent.mkdir()
        run(raster, output, **({"use_cache": True} | settings))
        return digest(output)

    def test_a_raster_that_was_replaced_under_the_same_name_size_and_time_is_encoded_again(self):
        raster = write_scene(self.folder / "scene.tif")
        before, status = self.found(raster, "before"), raster.stat()
        write_scene(raster, np.roll(SCENE.image, 7, axis=1))
        os.utime(raster, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert raster.stat().st_size == status.st_size
        after = self.found(raster, "after")
        assert after == self.found(raster, "plain", use_cache=False) != before

    def test_damaged_and_stale_entries_are_made_again(self):
        raster = write_scene(self.folder / "scene.tif")
        whole = self.found(raster, "whole")
        stored = sorted(self.cache.rglob("*.emb"))
        assert stored
        for number, path in enumerate(stored):
            content = path.read_bytes()
            place = number * 997 % len(content)
            damaged = (
                content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :],
                content[:place],
                MAGIC[:-1] + b"\x63" + content[8:],
            )
            path.write_bytes(damaged[number % 3])
        assert self.found(raster, "again") == whole
        assert all(unpack(bytearray(path.read_bytes())) is not None for path in stored)

    def test_a_cache_that_cannot_be_written_is_one_warning_and_no_more(self):
        (self.folder / "cache").write_text("a file where the folder should be")
        raster = write_scene(self.folder / "scene.tif")
        with pytest.warns(SamgeoWarning) as warned:
            found = self.found(raster, "found")
        assert len([w for w in warned if "embedding cache" in str(w.message)]) == 1
        assert found == self.found(raster, "plain", use_cache=False)
