"""SAM 2's memory bank (Ravi et al. 2024, section 4): what is kept of one object, and what of it a frame attends to.

A frame attends to all prompted frames, whenever they are, to the six frames before it, and to object pointers: those of
the prompted frames up to it and of the fifteen frames before it. Before means after where tracking goes backwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

NUM_MEMORIES = 7
"""Ages that a memory is told apart by: one to six frames, and that of prompted frames."""
NUM_POINTERS = 16
"""Object pointers of so many frames are attended to, the frame itself included."""


class Seen(NamedTuple):
    """What the mask decoder says of one object in one frame."""

    logits: Tensor
    """(1, 1, h, w) at stride 4, above 0 is object; NO_OBJECT everywhere where it is not seen."""
    iou: Tensor
    """(1,) as predicted."""
    pointer: Tensor
    """(1, C), what the object is like."""
    presence: Tensor
    """(1, 1), above 0 where the object is in the frame."""


class Remembered(NamedTuple):
    """One object in one frame, as it is remembered."""

    seen: Seen
    memory: Tensor
    """(1, T, Cm) tokens, in 16 bit."""


class Recalled(NamedTuple):
    """What a frame attends to."""

    memories: list[tuple[int, Tensor]]
    """Slot of the temporal encoding, and tokens (1, T, Cm)."""
    pointers: list[tuple[int, Tensor]]
    """Distance in frames, and pointer (1, C)."""
    span: int
    """The distance that counts as 1."""


@dataclass(kw_only=True)
class MemoryBank:
    """What is remembered of one object."""

    held_frames: int
    """Frames without a prompt that are kept, those tracked last."""
    conditioning: dict[int, Remembered] = field(default_factory=dict)
    """Prompted frames: always kept, always attended to."""
    tracked: dict[int, Remembered] = field(default_factory=dict)
    """Frames without a prompt."""

    def __getitem__(self, frame: int) -> Remembered | None:
        """What is remembered of a frame."""
        return self.conditioning.get(frame) or self.tracked.get(frame)

    def condition(self, frame: int, remembered: Remembered) -> None:
        """Remember a prompted frame."""
        self.tracked.pop(frame, None)
        self.conditioning[frame] = remembered

    def track(self, frame: int, remembered: Remembered) -> None:
        """Remember a frame without a prompt; forget the one that was tracked longest ago where there are too many."""
        self.tracked.pop(frame, None)
        self.tracked[frame] = remembered
        if len(self.tracked) > self.held_frames:
            del self.tracked[next(iter(self.tracked))]

    def recall(self, frame: int, *, reverse: bool, frames: int) -> Recalled:
        """What `frame` attends to when tracked forwards, or backwards with `reverse`, among so many frames."""
        back = 1 if reverse else -1
        memories = [(NUM_MEMORIES - 1, r.memory) for r in self.conditioning.values()]
        before = {
            distance: past for distance in range(1, NUM_POINTERS) if (past := self.tracked.get(frame + back * distance))
        }
        memories += [(age - 1, before[age].memory) for age in range(NUM_MEMORIES - 1, 0, -1) if age in before]
        distances = {t: back * (t - frame) for t in self.conditioning}
        pointers = [(d, self.conditioning[t].seen.pointer) for t, d in distances.items() if d >= 0]
        reach = min(frames, NUM_POINTERS)
        pointers += [(distance, past.seen.pointer) for distance, past in before.items() if distance < reach]
        return Recalled(memories, pointers, max(reach - 1, 1))
