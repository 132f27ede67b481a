"""A network that runs: what every model has, whatever its network gives: name, device, precision, a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samgeo.errors import ModelError, PromptError
from samgeo.model.limits import plain_refusals
from samgeo.model.precision import aligned
from samgeo.model.sam import Sam
from samgeo.model.spec import ModelSpec
from samgeo.model.yolo import FastSamNetwork
from samgeo.pixels import PixelPrompts

Net = TypeVar("Net", Sam, FastSamNetwork)
Seen = TypeVar("Seen")


class Running(Generic[Net]):
    """A network with its name, device and precision."""

    def __init__(
        self, sam: Net, *, name: str, sha256: str, device: torch.device, precision: str, spec: ModelSpec
    ) -> None:
        """precision: "exact", or the 16-bit type of autocast: "bf16", "fp16"; "fp32" where the device has neither."""
        assert precision in ("exact", "bf16", "fp16", "fp32"), precision
        self.sam: Net = sam.to(device).eval().requires_grad_(requires_grad=False)
        if device.type != "mps":  # where nobody has measured it
            self.sam.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = name
        self.sha256 = sha256
        self.device = device
        self.precision = precision
        self.spec = spec
        self.tile_px = spec.tile_px
        self.everything = spec.everything

    def __repr__(self) -> str:
        return f"Model({self.name!r}, device={str(self.device)!r}, precision={self.precision!r})"

    def look(self, image: NDArray[np.uint8], encode: Callable[[Tensor], Seen]) -> Seen:
        """One (H, W, 3) uint8 RGB image through one of the network's ways to encode, as computed.

        Raises ModelError for an array of another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ModelError(f"image of shape {image.shape}, {image.dtype}: expected (height, width, 3) uint8 RGB")
        tensor = self.sam.frame.prepare(image).to(self.device)  # (1, 3, H', W')
        with torch.inference_mode(), self.numerics():
            return encode(tensor)

    def in_frame(
        self, prompts: PixelPrompts, shape: tuple[int, int], logits_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """points (N, K, 2), labels (N, K), boxes (N, 4) or None, masks (N, 1, h, w) or None; x,y in the frame.

        shape: (H, W) of the image. logits_size: (h, w). Raises PromptError for values that are not finite, or masks of
        another size.
        """
        for name in ("points", "boxes", "masks"):
            array = getattr(prompts, name)
            if array is not None and not np.isfinite(array).all():
                raise PromptError(f"{name} contain values that are not finite: expected pixel coordinates or logits")
        n = len(prompts)
        points = np.zeros((n, 0, 2), np.float32) if prompts.points is None else prompts.points
        labels = np.zeros((n, 0), np.int64) if prompts.labels is None else prompts.labels
        masks = None
        if prompts.masks is not None:
            masks = self.tensor(prompts.masks)[:, None]
            if masks.shape[-2:] != logits_size:
                raise PromptError(f"mask prompts of {tuple(masks.shape[-2:])}: expected logits of {logits_size}")
        frame = self.sam.frame
        boxes = prompts.boxes
        return (
            self.tensor(frame.to_frame(points.astype(np.float32), shape)),
            self.tensor(labels.astype(np.int64)),
            None if boxes is None else self.tensor(frame.to_frame(boxes.reshape(-1, 2, 2), shape)).reshape(-1, 4),
            masks,
        )

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """An array on the device of the network."""
        return aligned(torch.from_numpy(np.ascontiguousarray(array))).to(self.device)

    @property
    def _stored(self) -> torch.dtype:
        return torch.float32 if self.precision == "exact" else torch.float16

    @property
    def _computed(self) -> torch.dtype:
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision, torch.float32)

    @contextmanager
    def numerics(self) -> Iterator[None]:
        """What products are computed in, and plain words for what the device cannot do."""
        with plain_refusals(self.device), self._products():
            yield

    def _products(self) -> AbstractContextManager[object]:
        if self._computed != torch.float32:
            return torch.autocast(self.device.type, self._computed)
        if self.precision == "exact" and self.device.type == "cuda":  # else convolutions keep 10 bits of each number
            return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return nullcontext()
