"""The worker as a program meets it: every operation, a client that behaves badly, and one that goes away."""

from __future__ import annotations

import io
import struct
import sys
import time
from pathlib import Path

import fiona
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from samgeo import __version__
from samgeo.errors import UsageError
from samgeo.session import Session
from samgeo.settings import Settings
from samgeo.train.scenes import make_scene
from samgeo.worker.frames import HEADER_BYTES, PAYLOAD_BYTES, BrokenChannelError, Frame, read_frame, write_frame
from samgeo.worker.operations import OPERATIONS
from samgeo.worker.serving import LOOKS, MOST_WAITING
from tests.worker_client import PATIENCE, Client

SIDE = 256
PLACE = Affine(0.3, 0, 500_000, 0, -0.3, 5_500_000)
SCENE = make_scene(1_000_003, height_px=SIDE, width_px=SIDE, gsd_m=0.3)
ROOF = max((m for m in SCENE.objects if m.label == "building"), key=lambda m: m.area_px)


@pytest.fixture(scope="module")
def raster(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "scene with spaces é.tif"
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=PLACE, **profile) as dataset:
        dataset.write(np.moveaxis(SCENE.image, -1, 0))
    return path


@pytest.fixture(scope="module")
def client():
    """A worker that all well-behaved requests of this module share."""
    with Client() as one:
        told, _ = one.ask("hello", protocol=1)
        assert (told["protocol"], told["samgeo"]) == (1, __version__)
        assert set(told["ops"]) == set(OPERATIONS)
        yield one
        assert one.end() == 0


def on_the_roof() -> tuple[float, float]:
    rows, cols = np.nonzero(ROOF.pixels)
    middle = len(rows) // 2
    x, y = PLACE @ (ROOF.window.col + cols[middle] + 0.5, ROOF.window.row + rows[middle] + 0.5)
    return float(x), float(y)


def outlines(parts: list[dict], payload: bytes) -> list[shapely.Geometry]:
    """The geometries that an answer carries."""
    corners = np.frombuffer(payload, "<f8").reshape(-1, 2)
    found, start = [], 0
    for part in parts:
        polygons = []
        for counts in part["rings"]:
            rings = []
            for count in counts:
                rings.append(corners[start : start + count])
                start += count
            polygons.append(shapely.Polygon(rings[0], rings[1:]))
        found.append(polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons))
    assert start == len(corners), "all corners are told of"
    return found


def opened(client: Client, raster: Path, **header) -> str:
    told, _ = client.ask("open", path=str(raster), settings={"use_cache": False}, **header)
    assert (told["width"], told["height"]) == (SIDE, SIDE)
    assert told["transform"] == list(PLACE)[:6]
    assert "32633" in told["crs"]
    return told["session"]


def test_clicks_boxes_and_what_is_accepted_are_those_of_a_session(client: Client, raster: Path, tmp_path: Path) -> None:
    x, y = on_the_roof()
    box = {"x_min": x - 6, "y_min": y - 5, "x_max": x + 6, "y_max": y + 5}
    name = opened(client, raster)
    told, payload = client.ask("point", session=name, x=x, y=y)
    with Session(raster, settings=Settings(use_cache=False)) as session:
        wanted = session.add_point(x, y)
        assert [c.geometry.wkb for c in wanted] == [g.wkb for g in outlines(told["candidates"], payload)]
        assert [c.score for c in wanted] == pytest.approx([c["score"] for c in told["candidates"]])
        assert [c.label for c in wanted] == [c["label"] for c in told["candidates"]]
        assert told["chosen"] == 0
        assert client.ask("choose", session=name, index=len(wanted) - 1)[0]["chosen"] == len(wanted) - 1
        session.choose(len(wanted) - 1)
        boxed, payload = client.ask("box", session=name, **box)
        assert [c.geometry.wkb for c in session.add_box(*box.values())] == [
            g.wkb for g in outlines(boxed["candidates"], payload)
        ]
        _, preview = client.ask("preview", session=name, x=x + 2, y=y, positive=False)
        again, _ = client.ask("undo", session=name)
        assert again["chosen"] == len(wanted) - 1
        _, now = client.ask("redo", session=name)
        assert now == payload
        after, clicked = client.ask("point", session=name, x=x + 2, y=y, positive=False)
        assert preview == clicked[: len(preview)], "what is previewed is what a click shows"
        session.add_point(x + 2, y, positive=False)
        shown = outlines(after["candidates"], clicked)[after["chosen"]]
        accepted, rings = client.ask("accept", session=name, label="roof")
        (saved,) = outlines([accepted], rings)
        assert saved.wkb == shown.wkb == session.chosen.geometry.wkb  # type: ignore[union-attr]
        assert accepted["attributes"]["label"] == "roof"
        assert accepted["attributes"]["area_m2"] > 0
    assert client.ask("clear", session=name)[0] == {"id": client.last, "candidates": [], "chosen": None}
    out = tmp_path / "roofs.gpkg"
    assert client.ask("save", session=name, path=str(out))[0]["features"] == 1
    with fiona.open(out) as layer:
        assert [row["properties"]["label"] for row in layer] == ["roof"]
    assert "already" in client.refused("save", session=name, path=str(out))
    client.ask("save", session=name, path=str(out), overwrite=True)
    client.ask("close", session=name)
    assert "expected one of" in client.refused("clear", session=name)


def test_a_look_that_must_not_encode_says_what_is_not_ready(client: Client, raster: Path) -> None:
    x, y = on_the_roof()
    name = opened(client, raster)
    told, payload = client.ask("preview", session=name, x=x, y=y, encode=False)
    assert (told["candidates"], told["ready"], payload) == ([], False, b"")
    encoded, outline = client.ask("preview", session=name, x=x, y=y)
    assert encoded["ready"]
    assert client.ask("preview", session=name, x=x, y=y, encode=False)[1] == outline != b""
    client.ask("close", session=name)


def test_a_crop_is_as_good_as_a_file(client: Client, raster: Path) -> None:
    x, y = on_the_roof()
    file = opened(client, raster)
    pixels = np.ascontiguousarray(SCENE.image).tobytes()
    place = {"width": SIDE, "height": SIDE, "transform": list(PLACE)[:6], "crs": "EPSG:32633"}
    told, _ = client.ask("open", pixels, settings={"use_cache": False}, **place)
    clicks = [client.ask("point", session=name, x=x, y=y)[1] for name in (file, told["session"])]
    assert clicks[0] == clicks[1]
    for name in (file, told["session"]):
        client.ask("close", session=name)
    assert "expected 3 a pixel" in client.refused("open", pixels[1:], **place)
    assert "expected the six numbers" in client.refused("open", pixels, **place | {"transform": [1, 2]})
    assert "transform has 401 digits" in client.refused(
        "open", pixels, **place | {"transform": [10**400, 0, 0, 0, 1, 0]}
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"op": "dance"}, "op 'dance': expected one of hello"),
        ({"op": None}, "op None"),
        ({"op": ["hello"]}, "expected one of hello"),
        ({"op": "hello"}, "protocol is missing: expected a whole number"),
        ({"op": "hello", "protocol": True}, "protocol is True"),
        ({"op": "hello", "protocol": 99}, "protocol 99: expected 1"),
        ({"op": "open", "path": 7}, "path is 7: expected text"),
        ({"op": "open", "path": "/nowhere/at/all.tif"}, "all.tif"),
        ({"op": "open", "path": "a\0b"}, ""),
        ({"op": "open", "path": "x.tif", "settings": []}, "settings is \\[\\]: expected an object"),
        ({"op": "open", "path": "x.tif", "settings": {"aoi": 1}}, "settings aoi: expected some of bands"),
        ({"op": "open", "path": "x.tif", "settings": {"tile_px": "big"}}, "tile_px is 'big': expected a whole number"),
        ({"op": "open", "path": "x.tif", "settings": {"use_cache": "no"}}, "use_cache is 'no': expected true or false"),
        ({"op": "open", "path": "x.tif", "settings": {"layer": 7}}, "layer is 7: expected text"),
        ({"op": "open", "path": "x.tif", "settings": {"bands": [True, 2, 3]}}, "expected a list of band numbers"),
        ({"op": "open", "path": "x.tif", "settings": {"bands": "321"}}, "bands is '321': expected a list"),
        ({"op": "load", "model": "sam-vit-h"}, "its weights are not here. Fix: samgeo models pull sam-vit-h"),
        ({"op": "load", "model": "sam-vit-x"}, "sam-vit-x"),
        ({"op": "load", "device": "toaster"}, "toaster"),
        ({"op": "point", "session": "s99", "x": 1, "y": 2}, "session 's99': expected"),
        ({"op": "clear"}, "session is missing: expected text"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_and_nothing_is_lost(client: Client, header, said: str) -> None:
    import re

    message = client.refused(header.pop("op"), **header)
    assert re.search(said, message), message
    client.ask("hello", protocol=1)


def test_bad_numbers_leave_the_session_as_it_was(client: Client, raster: Path) -> None:
    x, y = on_the_roof()
    name = opened(client, raster)
    before = client.ask("point", session=name, x=x, y=y)[1]
    for bad in ({"x": "1"}, {"x": True}, {"x": None}, {"x": 10**400}, {"x": 1e300}, {"x": float("nan")}, {"y": -1e9}):
        assert client.refused("point", session=name, **({"x": x, "y": y} | bad))
    assert client.refused("choose", session=name, index=99)
    assert client.refused("box", session=name, x_min=1, y_min=2, x_max=3)
    assert client.ask("choose", session=name, index=0)[1] == before
    client.ask("close", session=name)


def test_the_cache_is_shown_and_emptied(raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMGEO_CACHE", str(tmp_path))
    with Client() as client:
        opened, _ = client.ask("open", path=str(raster))
        x, y = on_the_roof()
        client.ask("point", session=opened["session"], x=x, y=y)
        told, _ = client.ask("cache")
        assert 0 < told["bytes"] <= told["most_bytes"]
        assert Path(told["folder"]).is_relative_to(tmp_path)
        assert client.ask("cache", clear=True)[0]["bytes"] == 0
        assert client.end() == 0


def test_sessions_are_limited(client: Client, raster: Path) -> None:
    names = [opened(client, raster) for _ in range(8)]
    assert "8 sessions are open. Fix: close one of" in client.refused("open", path=str(raster))
    for name in names:
        client.ask("close", session=name)


@pytest.mark.parametrize(
    "header", [b"", b"{", b"[1]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"id": "x"}', b'{"op": "hello"}']
)
def test_a_bad_header_is_refused_and_the_next_frame_is_read(client: Client, header: bytes) -> None:
    client.raw(struct.pack("<II", len(header), 3) + header + b"abc")
    told, _ = client.hear()
    assert told["id"] is None
    assert told["error"]["kind"] == "UsageError"
    client.ask("hello", protocol=1)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<II", HEADER_BYTES + 1, 0),
        struct.pack("<II", 2, PAYLOAD_BYTES + 1),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack("<II", 2, 10) + b"{}abc",
        b"\x01",
    ],
    ids=["long header", "long payload", "http", "cut off", "one byte"],
)
def test_a_broken_channel_is_told_and_ends_the_worker(data: bytes) -> None:
    with Client() as client:
        client.raw(data)
        assert client.process.stdin is not None
        client.process.stdin.close()
        told, _ = client.hear()
        assert told["error"]["kind"] == "BrokenChannelError"
        assert client.process.wait(timeout=PATIENCE) == 2


BUSY = """
import sys, time, os
from samgeo.worker.frames import Frame
from samgeo.worker.serving import Server, take_channel
reading, writing = take_channel()
print("a library says hello")
os.write(1, b"so does one in C\\n")
assert sys.stdin.read() == "", "nobody else reads the channel"

def work(frame):
    if frame.header["op"] == "die":
        os.abort()
    if frame.header["op"] == "fail":
        raise ZeroDivisionError("oh")
    time.sleep(frame.header.get("seconds", 0))
    return Frame({"done": frame.header["op"]}, frame.payload)

sys.exit(Server(reading, writing, work).serve())
"""


def busy() -> Client:
    """A worker that sleeps when it is asked to, and whose libraries print."""
    return Client([sys.executable, "-c", BUSY])


def test_prints_do_not_reach_the_channel_and_errors_do_not_end_it() -> None:
    with busy() as client:
        assert client.ask("echo", b"\0\1\2")[1] == b"\0\1\2"
        assert client.refused("fail") == "ZeroDivisionError: oh"
        assert client.ask("echo")[0]["done"] == "echo"
        assert client.end() == 0
        printed = client.printed()
    for text in ("a library says hello", "so does one in C", "ZeroDivisionError"):
        assert text in printed


def test_only_the_last_look_matters() -> None:
    with busy() as client:
        client.ask("echo")
        working = client.send("echo", seconds=2.0)
        client.until_busy(working)
        looks = [client.send("preview", session="s1") for _ in range(5)]
        other = client.send("preview", session="s2")
        click = client.send("point", session="s1")
        told = [client.hear()[0] for _ in range(8)]
    assert [t["id"] for t in told[:4]] == looks[:4], "needless ones are answered at once"
    assert all(t["dropped"] == "stale" for t in told[:4])
    assert [(t["id"], t.get("dropped")) for t in told[4:]] == [(n, None) for n in (working, looks[4], other, click)]


def test_a_look_that_is_worked_on_is_outdated_by_the_next() -> None:
    with busy() as client:
        client.ask("echo")
        first = client.send("preview", session="s1", seconds=2.0)
        client.until_busy(first)
        second = client.send("preview", session="s1")
        told = [client.hear()[0] for _ in range(2)]
    assert told[0] == {"id": first, "dropped": "stale"}
    assert told[1] == {"id": second, "done": "preview"}


def test_waiting_and_working_requests_can_be_cancelled() -> None:
    with busy() as client:
        client.ask("echo")
        working = client.send("echo", seconds=3.0)
        waiting = client.send("echo")
        client.until_busy(working)
        cancel = client.send("cancel", target=waiting)
        told = [client.hear()[0], client.hear()[0]]
        assert {"id": waiting, "dropped": "cancelled"} in told
        assert {"id": cancel, "found": True} in told
        client.ask("cancel", target=working)
        client.send("cancel", target=working + 1000)
        assert client.hear()[0]["found"] is False
        assert client.hear()[0] == {"id": working, "dropped": "cancelled"}
        assert client.ask("echo")[0]["done"] == "echo"


@pytest.mark.parametrize("how", ["leaves", "shuts down"])
def test_a_worker_never_outlives_its_client(how: str) -> None:
    with busy() as client:
        client.until_busy(client.send("echo", seconds=60))
        started = time.monotonic()
        if how == "shuts down":
            client.ask("shutdown")
        else:
            assert client.process.stdin is not None
            client.process.stdin.close()
        assert client.process.wait(timeout=20) == 0
        assert time.monotonic() - started < 10


def test_a_client_that_never_reads_is_held_back() -> None:
    with busy() as client:
        client.until_busy(client.send("echo", seconds=3.0))
        numbers = [client.send("echo") for _ in range(MOST_WAITING + 10)]
        told = [client.hear()[0] for _ in range(len(numbers) + 1)]
    refused = [t for t in told if "error" in t]
    assert len(refused) == 10
    assert all("wait already" in t["error"]["message"] for t in refused)


def test_a_worker_that_dies_is_seen_to() -> None:
    with busy() as client:
        client.send("die")
        assert client.process.wait(timeout=PATIENCE) != 0


def test_every_look_is_an_operation() -> None:
    assert OPERATIONS.keys() > LOOKS


def test_what_is_no_name_of_an_operation_does_not_deafen_the_worker() -> None:
    with busy() as client:
        client.until_busy(client.send("echo", seconds=1.0))
        odd = [client.send(["preview"]), client.send(["preview"]), client.send({"a": []})]
        told = [client.hear()[0] for _ in range(4)]
        assert [t["id"] for t in told[1:]] == odd
        assert client.ask("echo")[0]["done"] == "echo"


def test_arguments_are_refused() -> None:
    with Client([sys.executable, "-m", "samgeo.worker", "--help"]) as client:
        assert client.process.wait(timeout=PATIENCE) == 2
        assert "takes no arguments" in client.printed()


@given(
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()),
    st.binary(max_size=300),
)
def test_frames_come_back(header, payload: bytes) -> None:
    stream = io.BytesIO()
    write_frame(stream, Frame(header, payload))
    write_frame(stream, Frame({}, b""))
    stream.seek(0)
    assert read_frame(stream) == Frame(header, payload)
    assert read_frame(stream) == Frame({}, b"")
    assert read_frame(stream) is None


@given(st.binary(max_size=64))
def test_any_bytes_are_frames_or_errors(data: bytes) -> None:
    stream = io.BytesIO(data)
    for _ in range(len(data) + 1):
        try:
            if read_frame(stream) is None:
                return
        except BrokenChannelError:
            return
        except UsageError:
            continue
    raise AssertionError("each frame takes some bytes")


def test_a_server_ends_when_nobody_hears_it() -> None:
    """A channel that cannot be written is a client that is gone."""
    deaf = BUSY.replace("Server(reading, writing", "Server(reading, open(os.devnull, 'rb')")
    with Client([sys.executable, "-c", deaf]) as client:
        client.send("echo")
        assert client.process.wait(timeout=PATIENCE) == 0
