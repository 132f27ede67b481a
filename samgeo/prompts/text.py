"""Text of prompts: words to look for, and what no file can hold."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from samgeo.errors import PromptError

MAX_TEXT = 1000
"""Characters of all words together."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(value: Any) -> Any:
    """A text without the characters that no file holds, NUL and halves of surrogate pairs; other values as they are.

    Unicode's replacement character stands for each.
    """
    return _UNSTORABLE.sub(REPLACEMENT, value) if isinstance(value, str) else value


def split_words(text: str) -> tuple[str, ...]:
    """The words between commas, in Unicode's form NFC, each once. Raises `PromptError` if there are none."""
    words = [" ".join(unicodedata.normalize("NFC", word).split()) for word in text.split(",")]
    words = [word for word in dict.fromkeys(words) if word]
    length = sum(map(len, words))
    if not words or length > MAX_TEXT:
        raise PromptError(f"--text: {length} characters in words; expected 1 to {MAX_TEXT}, such as roof")
    strange = [c for word in words for c in word if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")]
    if strange:
        raise PromptError(f"--text holds the character {strange[0]!r}; expected words")
    return tuple(words)
