"""What every promptable model can do: the one contract that pipeline, session and caches rely on.

Nothing here imports torch. The networks of this package fulfil the contract in `predict.py`; the test doubles fulfil it
with NumPy alone; `tests/contract_suite.py` holds both to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import Mask, PixelPrompts

if TYPE_CHECKING:
    from samgeo.model.automatic import EverythingSettings


@runtime_checkable
class Embedding(Protocol):
    """What the image encoder made of one image: everything that `decode` needs."""

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the image that was encoded, in pixels."""
        ...

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """Named NumPy arrays: what a cache stores. Decoding sees the values as stored, whether cached or not."""
        ...


@runtime_checkable
class DecodedMasks(Protocol):
    """The masks that a decoder proposes for N prompted objects, M for each."""

    @property
    def logits(self) -> NDArray[np.float32]:
        """(N, M, h, w) at the decoder's resolution; above 0 is object. What a mask prompt takes back."""
        ...

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N, M) IoU with the true object that the model expects; that of some networks (SAM's) may pass 1 a little."""
        ...

    def __getitem__(self, keep: NDArray[np.bool_]) -> DecodedMasks:
        """The masks where `keep` (N, M) is True, as N' objects of one mask each, in row-major order."""
        ...

    def to_masks(self) -> list[list[Mask]]:
        """N lists of M full-size masks, in the pixels of the encoded image, with score and stability."""
        ...


@runtime_checkable
class PromptableModel(Protocol):
    """A Segment Anything model: encode an image once, decode prompts many times."""

    @property
    def name(self) -> str:
        """Name of a known model, or of the file that it was loaded from."""
        ...

    @property
    def sha256(self) -> str:
        """Hex digest of the weights; part of the key under which embeddings are cached."""
        ...

    @property
    def precision(self) -> str:
        """What "auto" chose, for example "bf16", or "exact": 32 bit throughout."""
        ...

    @property
    def tile_px(self) -> int:
        """Side of the read window that the model was made for."""
        ...

    @property
    def everything(self) -> EverythingSettings:
        """How to ask this model for everything in a window, where the user does not say otherwise."""
        ...

    @overload
    def encode(self, image: NDArray[np.uint8]) -> Embedding: ...
    @overload
    def encode(self, image: Sequence[NDArray[np.uint8]]) -> list[Embedding]: ...
    def encode(self, image: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Embedding | list[Embedding]:
        """Encode one (H, W, 3) uint8 RGB image, or a list of images to a list of embeddings."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]) -> Embedding:
        """The embedding whose `arrays()` these are; `shape` is the (H, W) of its image."""
        ...

    def decode(self, embedding: Embedding, prompts: PixelPrompts, *, multimask: bool = True) -> DecodedMasks:
        """Masks for each prompted object: M = 3 with `multimask` (ambiguity-aware), else M = 1."""
        ...


@runtime_checkable
class NamesMasks(Protocol):
    """A model that tells what its masks show."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All names that it gives; empty if these weights give none."""
        ...

    def name_masks(self, embedding: Embedding, masks: Sequence[Mask]) -> list[Mask]:
        """Masks in pixels of the encoded image, with `label` and `label_score`; None where no class is likely."""
        ...


@runtime_checkable
class FindsAll(Protocol):
    """A model that need not be asked on a grid of points to find everything."""

    def find_all(self, embedding: Embedding) -> DecodedMasks:
        """Every object that it sees, as objects of one mask each."""
        ...


@runtime_checkable
class Glances(Protocol):
    """A model whose `decode` looks at several sizes; where it is asked at a grid of points, fewer must do."""

    def glance(self, embedding: Embedding, prompts: PixelPrompts) -> DecodedMasks:
        """As `decode`, with fewer looks."""
        ...


@runtime_checkable
class SeesDetails(Protocol):
    """A model that says where something small stands out, which a grid of points may step over."""

    def details(self, embedding: Embedding, valid: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
        """(n, 2) x,y of the places that stand out most, at most `count`, those that stand out most first.

        valid: (H, W), False on nodata and padding, which nothing stands out against.
        """
        ...
