"""Follow objects through frames that show the same place one after another (Ravi et al. 2024): a film, or its dates.

What a prompt or a memory says of an object in one frame is kept in the object's memory bank, and other frames attend to
that. Objects do not know of each other.

    tracker = Tracker(load_model("sam2.1-hiera-tiny"))
    for image in images:
        tracker.add_frame(image)                                  # (H, W, 3) uint8 RGB
    tracker.add_points("field", 0, [[120, 80]], [1])              # in any frame, at any time: clicks, a box, a mask
    for shown in tracker.propagate():                             # forwards; reverse=True: backwards
        shown.frame, shown.objects["field"].mask

Held in memory: of at most `held_frames` frames the features (16 MB each at 1024 px in 32 bit), and of each object what
was remembered in so many (0.8 MB each); prompted frames stay. The pixels are not held.

In sequences shorter than 16 frames the age of a pointer is relative to their number: add all frames first where results
are to be the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from samgeo.errors import ModelError, PromptError, UsageError
from samgeo.model.drawing import BOX_CORNERS
from samgeo.model.held_frames import Encoded, HeldFrames, Image
from samgeo.model.memory_bank import NUM_POINTERS, MemoryBank, Remembered, Seen
from samgeo.model.predict import Model, full_size
from samgeo.model.sam import Features
from samgeo.model.sam2 import Sam2
from samgeo.pixels import BACKGROUND, FOREGROUND, Mask

ObjectId = Hashable


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedObject:
    """One object in one frame."""

    logits: NDArray[np.float32]
    """(h, w) at a quarter of the network's frame, above 0 is object; -1024 everywhere where it is not in the frame."""
    presence: float
    """Above 0 where the object is in the frame, a logit."""
    mask: Mask
    """In the pixels of the frame; `score` is the IoU that the network expects."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedFrame:
    """All objects in one frame."""

    frame: int
    """As `add_frame` counted."""
    objects: Mapping[ObjectId, TrackedObject]
    """By the names that prompts gave them."""


class Tracker:
    """Frames, objects prompted in some of them, and what is remembered of each; for SAM 2, 2.1 and EdgeTAM."""

    def __init__(self, model: Model, *, held_frames: int = NUM_POINTERS, corrections_stay: bool = True) -> None:
        """held_frames: see above; tracking in one direction needs 16.

        corrections_stay: a frame that was tracked and then gets a prompt is shown as corrected from then on, and all
        others attend to it. False, as the reference does unless it is told to: it is an ordinary frame that
        `propagate` tracks anew, without the correction, where it passes.

        Raises ModelError for a network without memory, UsageError for fewer frames than a memory reaches back.
        """
        network = getattr(model, "sam", None)
        if not isinstance(network, Sam2):
            raise ModelError(f"{model.name}: has no memory; expected a model such as sam2.1-hiera-tiny or edge-tam")
        if held_frames < NUM_POINTERS:
            raise UsageError(f"held_frames={held_frames}: expected at least {NUM_POINTERS}, so far does a memory reach")
        self._model, self._sam = model, network
        self._held, self._corrections_stay = held_frames, corrections_stay
        self._frames = HeldFrames(self._encode, held=held_frames)
        self._followed: dict[ObjectId, _Followed] = {}

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    @property
    def objects(self) -> list[ObjectId]:
        """The objects that have a prompt, in the order of their first."""
        return list(self._followed)

    def add_frame(self, image: Image | Callable[[], Image]) -> int:
        """Add the next frame and return its number, from 0.

        image: (H, W, 3) uint8 RGB, encoded at once; or a function that gives it, called when the frame is needed, and
        again when its features have been given up since. Frames may differ in size, if they show the same extent.
        Raises ModelError for an array of another shape or type.
        """
        return self._frames.add(image)

    def add_points(self, object_id: ObjectId, frame: int, points: ArrayLike, labels: ArrayLike) -> TrackedObject:
        """Clicks on an object, or beside it; they join those that it has in this frame.

        points: (K, 2) x,y in pixels of the frame, an integer is a pixel's centre. labels: (K,), 1 on the object, 0
        beside it. Returns the object in this frame. Raises PromptError for other shapes, values, or frames.
        """
        xy, kinds = np.asarray(points, np.float32), np.asarray(labels, np.int64)
        if xy.ndim != 2 or xy.shape[1] != 2 or kinds.shape != xy.shape[:1] or not len(xy):
            raise PromptError(f"points {xy.shape} with labels {kinds.shape}: expected (K, 2) with (K,)")
        if not np.isin(kinds, (FOREGROUND, BACKGROUND)).all():
            raise PromptError(f"labels {sorted(set(kinds.tolist()))}: expected 1 on the object, 0 beside it")
        return self._click(object_id, frame, xy, kinds, joins=True)

    def add_box(self, object_id: ObjectId, frame: int, box: ArrayLike) -> TrackedObject:
        """A box around an object, instead of what prompts it has in this frame; clicks may follow.

        box: x_min, y_min, x_max, y_max in pixels of the frame. Returns and raises as `add_points`.
        """
        corners = np.asarray(box, np.float32)
        if corners.shape != (4,):
            raise PromptError(f"box of shape {corners.shape}: expected x_min, y_min, x_max, y_max")
        return self._click(object_id, frame, corners.reshape(2, 2), np.array(BOX_CORNERS), joins=False)

    def add_mask(self, object_id: ObjectId, frame: int, mask: NDArray[np.bool_]) -> TrackedObject:
        """The object's mask, instead of what prompts it has in this frame.

        mask: (H, W) bool, as large as the frame; all False says that the object is not there. Returns and raises as
        `add_points`.
        """
        encoded = self._frames[frame]
        array = np.asarray(mask)
        if array.shape != encoded.shape or array.dtype != np.bool_:
            raise PromptError(
                f"mask {array.shape}, {array.dtype}: expected {encoded.shape} bool, as large as the frame"
            )
        side = self._sam.frame.size_px
        tensor = self._model.tensor(array)[None, None].float()
        if array.shape != (side, side):
            tensor = (F.interpolate(tensor, (side, side), mode="bilinear", antialias=True) >= 0.5).float()
        with torch.inference_mode(), self._model.numerics():
            seen = self._sam.take(encoded.features, tensor)
        return self._keep(object_id, frame, NO_CLICKS, seen, encoded)

    def remove_object(self, object_id: ObjectId) -> None:
        """Forget an object. Raises PromptError if there is none of this name."""
        if self._followed.pop(object_id, None) is None:
            raise PromptError(f"object {object_id!r}: has no prompt; expected one of {self.objects}")

    def propagate(
        self, *, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Iterator[TrackedFrame]:
        """Track all objects from frame to frame, and give each frame as soon as it is done.

        start: first frame to give, the earliest with a prompt if None. stop: the last one, the end of the sequence if
        None. reverse: towards the first frame. A prompted frame is given as it was prompted. Raises PromptError where
        there is no prompt, for a frame that is not there, and for one whose features have been given up.
        """
        if not self._followed:
            raise PromptError("no object has a prompt: add_points, add_box or add_mask first")
        for followed in self._followed.values():
            self._settle(followed)
        first = min(t for f in self._followed.values() for t in f.bank.conditioning) if start is None else start
        last = (0 if reverse else len(self) - 1) if stop is None else stop
        for frame in (first, last):
            self._frames.check(frame)
        return self._track(range(first, last + (-1 if reverse else 1), -1 if reverse else 1), reverse=reverse)

    def _track(self, frames: range, *, reverse: bool) -> Iterator[TrackedFrame]:
        for frame in frames:
            encoded = self._frames[frame]
            objects = {}
            for object_id, followed in self._followed.items():
                remembered = followed.bank.conditioning.get(frame) or self._follow(followed, frame, encoded, reverse)
                followed.directions[frame] = reverse
                objects[object_id] = self._shown(remembered.seen, encoded)
            yield TrackedFrame(frame=frame, objects=objects)

    def _follow(self, followed: _Followed, frame: int, encoded: Encoded, reverse: bool) -> Remembered:
        """Find an object in a frame by what is remembered of it, and remember that."""
        recalled = followed.bank.recall(frame, reverse=reverse, frames=len(self))
        with torch.inference_mode(), self._model.numerics():
            seen = self._sam.see(self._sam.recall(encoded.features, recalled), *self._tensors(NO_CLICKS, encoded))
            remembered = Remembered(seen, self._sam.remember(encoded.features.stride16, seen, prompted=False))
        followed.bank.track(frame, remembered)
        return remembered

    def _click(
        self, object_id: ObjectId, frame: int, xy: NDArray[np.float32], kinds: NDArray[np.int64], *, joins: bool
    ) -> TrackedObject:
        """Points with labels or corners as prompts of a frame, with the mask that it showed last."""
        if not np.isfinite(xy).all():
            raise PromptError("points or boxes contain values that are not finite: expected pixel coordinates")
        encoded = self._frames[frame]
        followed = self._followed.get(object_id, self._new())
        before = followed.clicks.get(frame, NO_CLICKS) if joins else NO_CLICKS
        clicks = _Clicks(np.concatenate([before.xy, xy]), np.concatenate([before.kinds, kinds]))
        shown = followed.shown(frame)
        limit = self._sam.logit_limit
        with torch.inference_mode(), self._model.numerics():
            if frame in followed.directions:
                recalled = followed.bank.recall(frame, reverse=followed.directions[frame], frames=len(self))
                features = self._sam.recall(encoded.features, recalled)
            else:
                features = self._sam.alone(encoded.features)
            earlier = None if shown is None else shown.logits.clamp(-limit, limit)
            seen = self._sam.see(features, *self._tensors(clicks, encoded), earlier)
        return self._keep(object_id, frame, clicks, seen, encoded)

    def _new(self) -> _Followed:
        return _Followed(MemoryBank(held_frames=self._held))

    def _keep(self, object_id: ObjectId, frame: int, clicks: _Clicks, seen: Seen, encoded: Encoded) -> TrackedObject:
        """What a prompt showed waits for the next propagation, since more prompts may follow."""
        followed = self._followed.setdefault(object_id, self._new())
        followed.clicks[frame] = clicks
        followed.pending[frame] = _Pending(seen, encoded.features.stride16)
        return self._shown(seen, encoded)

    def _settle(self, followed: _Followed) -> None:
        """Remember what prompts showed."""
        for frame, (seen, stride16) in followed.pending.items():
            with torch.inference_mode(), self._model.numerics():
                remembered = Remembered(seen, self._sam.remember(stride16, seen, prompted=True))
            if self._corrections_stay or frame not in followed.directions:
                followed.bank.condition(frame, remembered)
            elif frame not in followed.bank.conditioning:
                followed.bank.track(frame, remembered)
        followed.pending.clear()

    def _encode(self, image: Image) -> Features:
        return self._model.look(image, self._sam.encode_frame)

    def _shown(self, seen: Seen, encoded: Encoded) -> TrackedObject:
        logits = seen.logits[0, 0].float().cpu().numpy()
        mask = full_size(self._sam.frame, logits, float(seen.iou), encoded.shape)
        return TrackedObject(logits=logits, presence=float(seen.presence), mask=mask)

    def _tensors(self, clicks: _Clicks, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Points (1, K, 2) in the network's frame, labels (1, K)."""
        xy = self._sam.frame.to_frame(clicks.xy, encoded.shape)
        points, labels = (self._model.tensor(a)[None] for a in (xy, clicks.kinds))
        return points, labels


class _Clicks(NamedTuple):
    """Points of one object in one frame."""

    xy: NDArray[np.float32]
    """(K, 2) in pixels of the frame."""
    kinds: NDArray[np.int64]
    """(K,) labels, or box corners first."""


NO_CLICKS = _Clicks(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))


class _Pending(NamedTuple):
    """What a prompt showed, not yet remembered."""

    seen: Seen
    stride16: Tensor


@dataclass
class _Followed:
    """One object: its prompts, and what is remembered of it."""

    bank: MemoryBank
    clicks: dict[int, _Clicks] = field(default_factory=dict)
    pending: dict[int, _Pending] = field(default_factory=dict)
    directions: dict[int, bool] = field(default_factory=dict)
    """Frames that were tracked: whether backwards."""

    def shown(self, frame: int) -> Seen | None:
        """What the frame showed last."""
        if frame in self.pending:
            return self.pending[frame].seen
        remembered = self.bank[frame]
        return None if remembered is None else remembered.seen
