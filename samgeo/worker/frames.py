"""Frames: how client and worker speak. A JSON object says what is meant, and bytes carry pixels or coordinates.

uint32  length of the header in bytes, little-endian
uint32  length of the payload in bytes, little-endian
header  UTF-8 JSON object
payload
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO, NamedTuple

from samgeo.errors import UsageError

PROTOCOL = 1
"""Raised when a client of an older version would be misunderstood."""
HEADER_BYTES, PAYLOAD_BYTES = 1 << 20, 1 << 28
"""Longer ones are refused."""
_LENGTHS = struct.Struct("<II")


class Frame(NamedTuple):
    """What is said at once."""

    header: dict[str, Any]
    """What is meant."""
    payload: bytes = b""
    """Pixels or coordinates."""


class BrokenChannelError(UsageError):
    """After this nobody knows where the next frame begins."""


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame, or None where the stream ends between frames.

    Raises BrokenChannelError for a frame that is cut off or too long, and UsageError for a header that is no JSON
    object; after that the next frame can be read.
    """
    start = _read(stream, _LENGTHS.size)
    if not start:
        return None
    if len(start) < _LENGTHS.size:
        raise BrokenChannelError(f"a frame of {len(start)} bytes: expected two lengths of 4 bytes each")
    header_bytes, payload_bytes = _LENGTHS.unpack(start)
    if header_bytes > HEADER_BYTES or payload_bytes > PAYLOAD_BYTES:
        raise BrokenChannelError(
            f"a frame with a header of {header_bytes} and a payload of {payload_bytes} bytes: expected at most "
            f"{HEADER_BYTES} and {PAYLOAD_BYTES}"
        )
    body = _read(stream, header_bytes + payload_bytes)
    if len(body) < header_bytes + payload_bytes:
        raise BrokenChannelError(f"the stream ends after {len(body)} of {header_bytes + payload_bytes} bytes")
    try:
        header = json.loads(body[:header_bytes])
    except (ValueError, RecursionError) as error:
        raise UsageError(f"a header that is no JSON ({error}): expected a JSON object") from error
    if not isinstance(header, dict):
        raise UsageError(f"a header that is a {type(header).__name__}: expected a JSON object")
    return Frame(header, body[header_bytes:])


def write_frame(stream: BinaryIO, frame: Frame) -> None:
    """Write one frame and flush it."""
    header = json.dumps(frame.header).encode()
    stream.write(_LENGTHS.pack(len(header), len(frame.payload)) + header + frame.payload)
    stream.flush()


def _read(stream: BinaryIO, count: int) -> bytes:
    """So many bytes, or fewer where the stream ends."""
    parts = []
    while count:
        part = stream.read(min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
