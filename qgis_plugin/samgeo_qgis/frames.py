# SPDX-License-Identifier: GPL-2.0-or-later
"""How the plugin and the worker speak: two lengths, a JSON header, bytes. The worker's page describes it."""

import json
import struct

PROTOCOL = 1
_LENGTHS = struct.Struct("<II")


def encode(header, payload=b""):
    """One frame as bytes."""
    text = json.dumps(header).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


class Decoder:
    """Bytes as they come, in any pieces, to frames."""

    def __init__(self):
        self._bytes = bytearray()

    def feed(self, data):
        """The frames that are whole now: a list of (header, payload)."""
        self._bytes += data
        frames = []
        while len(self._bytes) >= _LENGTHS.size:
            header_bytes, payload_bytes = _LENGTHS.unpack_from(self._bytes)
            end = _LENGTHS.size + header_bytes + payload_bytes
            if len(self._bytes) < end:
                break
            header = json.loads(self._bytes[_LENGTHS.size : _LENGTHS.size + header_bytes].decode())
            frames.append((header, bytes(self._bytes[_LENGTHS.size + header_bytes : end])))
            del self._bytes[:end]
        return frames


def outlines(parts, payload):
    """The outlines that an answer carries: for each part its polygons, each a list of rings of (x, y)."""
    found, start = [], 0
    for part in parts:
        polygons = []
        for counts in part["rings"]:
            rings = []
            for count in counts:
                numbers = struct.unpack_from(f"<{2 * count}d", payload, 16 * start)
                rings.append(list(zip(numbers[::2], numbers[1::2])))  # noqa: B905 - Python 3.9
                start += count
            polygons.append(rings)
        found.append(polygons)
    return found
