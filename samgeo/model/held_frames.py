"""Frames of a sequence, of which only some are held: the features of those used last."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import PromptError
from samgeo.model.sam import Features

Image = NDArray[np.uint8]


class Encoded(NamedTuple):
    """A frame as the network reads it."""

    features: Features
    """Of a frame that may yet have a memory."""
    shape: tuple[int, int]
    """(H, W) of its image."""


class HeldFrames:
    """Frames by their numbers from 0, encoded when they are needed."""

    def __init__(self, encode: Callable[[Image], Features], *, held: int) -> None:
        """held: how many frames' features are kept."""
        self._encode, self._held = encode, held
        self._readers: list[Callable[[], Image] | None] = []
        self._features: dict[int, Encoded] = {}

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, image: Image | Callable[[], Image]) -> int:
        """Add a frame and return its number. image: as of `Tracker.add_frame`."""
        frame = len(self)
        if callable(image):
            self._readers.append(image)
        else:
            encoded = self._encoded(image)
            self._readers.append(None)
            self._hold(frame, encoded)
        return frame

    def __getitem__(self, frame: int) -> Encoded:
        """A frame, read and encoded anew if its features are not held. Raises PromptError where that cannot be."""
        self.check(frame)
        encoded, reader = self._features.pop(frame, None), self._readers[frame]
        if encoded is None and reader is None:
            raise PromptError(
                f"frame {frame}: its features are not held any more; expected one of the {self._held} used last. Fix: "
                "add frames as functions that read them, or raise held_frames="
            )
        if encoded is None and reader is not None:
            encoded = self._encoded(reader())
        assert encoded is not None
        self._hold(frame, encoded)
        return encoded

    def check(self, frame: int) -> None:
        """Raise PromptError for a frame that is not there."""
        if not 0 <= frame < len(self):
            raise PromptError(f"frame {frame}: expected one of the {len(self)} frames, counted from 0; see add_frame")

    def _encoded(self, image: Image) -> Encoded:
        return Encoded(self._encode(image), (image.shape[0], image.shape[1]))

    def _hold(self, frame: int, encoded: Encoded) -> None:
        """Hold features, and give up those used longest ago where there are too many."""
        self._features[frame] = encoded
        if len(self._features) > self._held:
            del self._features[next(iter(self._features))]
