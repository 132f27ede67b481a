"""A worker that knows no model: squares around each click, as late and as wrong as a test wants.

python fake_worker.py '{"transform": [...], "width": 256, "height": 256, "delays": {"point": 5}, "reverse": true}'
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
STATE = {"clicks": [], "undone": [], "chosen": 0, "held": None}


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


def click(x, y):
    STATE["clicks"].append((x, y))
    STATE["chosen"] = 0


def answer(header, payload):
    op = header["op"]
    time.sleep(WANTED.get("delays", {}).get(op, 0))
    if op == "hello":
        return {"protocol": PROTOCOL}, b""
    if op == "open":
        STATE["clicks"] = []
        place = header if "transform" in header else WANTED
        return {"session": "s1", **{name: place[name] for name in ("transform", "width", "height")}}, b""
    if op == "point":
        click(header["x"], header["y"])
    elif op == "box":
        click((header["x_min"] + header["x_max"]) / 2, (header["y_min"] + header["y_max"]) / 2)
    elif op == "undo":
        STATE["undone"].append(STATE["clicks"].pop())
    elif op == "redo":
        STATE["clicks"].append(STATE["undone"].pop())
    elif op == "choose":
        STATE["chosen"] = header["index"]
    elif op == "clear":
        STATE["clicks"] = []
    elif op == "preview":
        parts, corners = told(header["x"], header["y"], (8,))
        return {"candidates": parts}, corners
    elif op == "accept":
        header, corners = candidates()
        (part,), corners = told(*STATE["clicks"][-1], ((8, 4, 2)[STATE["chosen"]],))
        STATE["clicks"] = []
        attributes = {"label": "building", "score": 0.9, "area_m2": -1.0, "perimeter_m": -1.0, "model": "fake"}
        return {"attributes": attributes, "rings": part["rings"]}, corners
    else:
        return {}, b""
    return candidates()


def main():
    decoder, reading, writing = Decoder(), sys.stdin.buffer, sys.stdout.buffer
    while data := reading.read1():
        for header, payload in decoder.feed(data):
            told_now, corners = answer(header, payload)
            frame = encode({"id": header["id"], **told_now}, corners)
            if WANTED.get("reverse") and header["op"] == "preview" and STATE["held"] is None:
                STATE["held"] = frame
                continue
            late, STATE["held"] = STATE["held"] or b"", None
            writing.write(frame + late if header["op"] == "preview" else late + frame)
            writing.flush()


main()
