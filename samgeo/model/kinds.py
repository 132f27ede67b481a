"""What a file is, by its first bytes: servers and people often have something else under the name of weights."""

from __future__ import annotations

HEAD_BYTES = 64
"""Enough to tell."""

FOREIGN = {
    "a web page, as servers send that want a login or have moved the file": (
        *(b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--"),
    ),
    "a Git LFS pointer, which only names the file (git lfs pull fetches it)": (b"version https://git-lfs",),
    "text": (b"{", b"["),
    "a packed file; unpack it first": (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!"),
    "a bare pickle, as torch before 1.6 wrote (if you trust it, load it with a newer torch and save it again)": (
        *(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
    ),
}
"""What is often found in place of weights, by its first bytes."""


def what_it_is(head: bytes) -> str:
    """What the first bytes of a file say it is instead of weights; empty if they may be weights."""
    if not head:
        return "an empty file"
    if head[4:9] == b"\0\0\0\0{":  # a safetensors header of less than 4 GB; its length may look like anything
        return ""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for what, beginnings in FOREIGN.items():
        if text.startswith(beginnings) or head.startswith(beginnings):
            return what
    return "" if head.startswith(b"PK") else f"a file that begins with {head[:8]!r}"
