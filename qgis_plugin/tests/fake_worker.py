"""A worker that knows no model: squares around each click, as late and as wrong as a test wants.

python fake_worker.py '{"transform": [...], "width": 256, "height": 256, "delays": {"point": 5}, "encode": 1}'

encode: seconds that the first look takes that may encode.
"""

import json
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from samgeo_qgis.frames import PROTOCOL, Decoder, encode

WANTED = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
UNIT = WANTED.get("unit", 1.0)
STATE = {"clicks": [], "undone": [], "chosen": 0, "kept": 5_000_000, "encoded": False}


def square(x, y, half):
    half *= UNIT
    corners = [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    return [*corners, corners[0]]


def outline(x, y, half):
    """A square with a hole, and a small square beside it."""
    return [[square(x, y, half), square(x, y, half / 8)], [square(x + 2 * half, y, half / 8)]]


def told(x, y, halves):
    parts, corners = [], b""
    for half in halves:
        polygons = outline(x, y, half)
        parts.append(
            {"score": 0.9 - half / 100, "stability": 0.9, "label": "building", "label_score": 0.8, "area_px": 9}
            | {"rings": [[len(ring) for ring in rings] for rings in polygons]}
        )
        corners += b"".join(struct.pack("<2d", *corner) for rings in polygons for ring in rings for corner in ring)
    return parts, corners


def candidates():
    if not STATE["clicks"]:
        return {"candidates": [], "chosen": None}, b""
    x, y = STATE["clicks"][-1]
    parts, corners = told(x, y, (8, 4, 2))
    return {"candidates": parts, "chosen": STATE["chosen"]}, corners


def looked(header):
    if WANTED.get("encode") and not STATE["encoded"]:
        if not header.get("encode", True):
            return {"candidates": [], "ready": False}, b""
        time.sleep(WANTED["encode"])
        STATE["encoded"] = True
    parts, corners = told(header["x"], header["y"], (8,))
    return {"candidates": parts, "ready": True}, corners


def click(x, y):
    STATE["clicks"].append((x, y))
    STATE["chosen"] = 0


def answer(header, payload):
    op = header["op"]
    time.sleep(WANTED.get("delays", {}).get(op, 0))
    if op == WANTED.get("refuse"):
        return {"error": {"kind": "InputError", "message": f"{op}: no", "exit_code": 3}}, b""
    if op == "open":
        STATE["clicks"] = []
        place = header if "transform" in header else WANTED
        return {"session": "s1", **{name: place[name] for name in ("transform", "width", "height")}}, b""
    if op in CHANGES:
        CHANGES[op](header)
        return candidates()
    if op == "preview":
        return looked(header)
    if op == "accept":
        (part,), corners = told(*STATE["clicks"][-1], ((8, 4, 2)[STATE["chosen"]],))
        STATE["clicks"] = []
        attributes = {"score": 0.9, "area_m2": -1.0, "perimeter_m": -1.0, "model": "fake"}
        attributes["label"] = header.get("label") or "building"
        return {"attributes": attributes, "rings": part["rings"]}, corners
    STATE["kept"] = 0 if header.get("clear") else STATE["kept"]
    fixed = {"hello": {"protocol": PROTOCOL}, "cache": {"bytes": STATE["kept"], "most_bytes": 2_000_000_000}}
    return fixed.get(op, {}), b""


CHANGES = {
    "point": lambda header: click(header["x"], header["y"]),
    "box": lambda header: click((header["x_min"] + header["x_max"]) / 2, (header["y_min"] + header["y_max"]) / 2),
    "undo": lambda header: STATE["undone"].append(STATE["clicks"].pop()),
    "redo": lambda header: STATE["clicks"].append(STATE["undone"].pop()),
    "choose": lambda header: STATE.update(chosen=header["index"]),
    "clear": lambda header: STATE["clicks"].clear(),
}


def main():
    decoder, reading, writing = Decoder(), sys.stdin.buffer, sys.stdout.buffer
    while data := reading.read1():
        for header, payload in decoder.feed(data):
            told_now, corners = answer(header, payload)
            writing.write(encode({"id": header["id"], **told_now}, corners))
            writing.flush()


main()
