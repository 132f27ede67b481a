"""SAM 2 (Ravi et al. 2024): what it does differently around SAM's prompt encoder and mask decoder, and its memory.

One image: `encode`, `decode`, as in SAM. A sequence of frames, see `tracker`:

features (C, h, w) of a frame ─ alone, or recall memories ─► see prompts, or take a mask ─► Seen ─► remember ─► memory
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from samgeo.model.frame import SquareFrame
from samgeo.model.layers import MLP
from samgeo.model.mask_decoder import Attended, MaskDecoder
from samgeo.model.memory_attention import MemoryAttention
from samgeo.model.memory_bank import NUM_MEMORIES, Recalled, Seen
from samgeo.model.memory_encoder import MemoryEncoder
from samgeo.model.positions import axial_rotation, sine_line, sine_map
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.sam import Features, Sam, corners_first

STABILITY_OFFSET, STABLE = 0.05, 0.98
"""The first mask is stable if its cuts at plus and minus this logit have at least this IoU."""
NO_OBJECT = -1024.0
"""Logit of every pixel where the object is not in the frame."""
MASK_LOGIT = 10.0
"""A mask enters the memory as plus and minus this."""


class Sam2(Sam):
    """SAM 2: the network of an image, and that of a sequence of frames."""

    stable_or_best = True
    logit_limit = 32.0
    frame: SquareFrame

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        *,
        frame: SquareFrame,
        memory_attention: MemoryAttention,
        memory_dim: int,
        newer: bool = False,
    ) -> None:
        """memory_dim: channels of a memory. newer: 2.1, which tells pointers' ages, and memories without the object."""
        super().__init__(image_encoder, prompt_encoder, mask_decoder, frame=frame)
        dim = prompt_encoder.embed_dim
        self.memory_attention = memory_attention
        self.memory_encoder = MemoryEncoder(dim=dim, memory_dim=memory_dim)
        self.memory_dim = memory_dim
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(NUM_MEMORIES, 1, 1, memory_dim))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))  # in every checkpoint, and never used
        self.mask_downsample = nn.Conv2d(1, 1, 4, stride=4)
        self.obj_ptr_proj = MLP(dim, dim, dim, 3)
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        self.newer = newer
        if newer:
            self.obj_ptr_tpos_proj = nn.Linear(dim, memory_dim)
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, memory_dim))

    def encode(self, image: Tensor) -> Features:
        """Features of B images (B, 3, H, W); the embedding says that there is no memory."""
        return self.alone(self.encode_frame(image))

    def encode_frame(self, image: Tensor) -> Features:
        """Features of B frames (B, 3, H, W) that may yet have a memory."""
        return super().encode(image)

    def alone(self, features: Features) -> Features:
        """Features of a frame with nothing to remember."""
        return features._replace(stride16=features.stride16 + self.no_mem_embed[0, 0, :, None, None])

    def recall(self, features: Features, recalled: Recalled) -> Features:
        """Features of a frame that know what is remembered of one object."""
        h, w = features.stride16.shape[-2:]
        places, angle = self.memory_places(h, w)  # (T, Cm), (T, C / 2)
        pointers, ages = self._pointer_tokens(recalled)  # (P, Cm)
        times = [places + self.maskmem_tpos_enc[slot, 0] for slot, _ in recalled.memories]
        memory = torch.cat([*(m[0].float() for _, m in recalled.memories), pointers])  # (M, Cm)
        turned = torch.cat([angle.repeat(len(times), 1), angle.new_zeros(len(pointers), angle.shape[1])])
        attended = self.memory_attention(features.stride16, memory[None], torch.cat([*times, ages])[None], turned)
        return features._replace(stride16=attended)

    def memory_places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Of a memory's tokens: what is added to their keys (T, Cm), and the angles that turn these (T, C / 2)."""
        device, dim = self.no_mem_embed.device, self.prompt_encoder.embed_dim
        places = sine_map(height, width, self.memory_dim, device=device)  # (Cm, h, w)
        return places.flatten(1).T, axial_rotation(height, width, dim, device=device)

    def _pointer_tokens(self, recalled: Recalled) -> tuple[Tensor, Tensor]:
        """Pointers, each cut into tokens as wide as a memory's (P, Cm), and their ages (P, Cm)."""
        if not recalled.pointers:
            nothing = self.no_obj_ptr.new_zeros(0, self.memory_dim)
            return nothing, nothing
        pointers = torch.cat([pointer for _, pointer in recalled.pointers]).float()  # (p, C)
        tokens = pointers.reshape(-1, self.memory_dim)
        if not self.newer:
            return tokens, torch.zeros_like(tokens)
        distance = torch.tensor([float(d) for d, _ in recalled.pointers], device=pointers.device)
        ages = self.obj_ptr_tpos_proj(sine_line(distance / recalled.span, pointers.shape[1]))  # (p, Cm)
        return tokens, ages.repeat_interleave(len(tokens) // len(pointers), dim=0)

    def see(self, features: Features, points: Tensor, labels: Tensor, masks: Tensor | None = None) -> Seen:
        """One object in a frame, by its prompts if there are any, by what is remembered of it if not.

        features: by `alone` or `recall`. points: (1, T, 2), labels: (1, T), box corners first. masks: (1, 1, h, w) or
        None, logits of an earlier round. One prompt is ambiguous: then the best of three masks counts.
        """
        attended, logits = self._attend(features, points, labels, masks)  # logits (1, 4, h, w)
        if labels.shape[1] <= 1:
            chosen = token = 1 + int(attended.iou[0, 1:].argmax())
        else:
            answers = stable_or_best(logits.cpu().numpy(), attended.iou.float().cpu().numpy())
            chosen, token = int(answers[0].argmax()), 0
        presence = _score(attended)
        return Seen(
            logits=torch.where(presence > 0, logits[:, [chosen]], NO_OBJECT),
            iou=attended.iou[:, chosen].float(),
            pointer=self._pointer(attended, token, presence > 0),
            presence=presence,
        )

    def take(self, features: Features, mask: Tensor) -> Seen:
        """One object in a frame as a mask shows it.

        features: by `encode_frame`, with nothing of a memory. mask: (1, 1, H, W) of 0 and 1, as large as the frame.
        """
        none = mask.new_zeros(1, 0, 2), mask.new_zeros(1, 0, dtype=torch.int64)
        attended, _ = self._attend(features, *none, self.mask_downsample(mask))
        pointer = self._pointer(attended, 0, _score(attended) > 0)
        there = mask.any()
        logits = (2 * mask - 1) * MASK_LOGIT
        size = features.logits_size
        return Seen(
            logits=F.interpolate(logits, size, mode="bilinear", antialias=True),
            iou=mask.new_ones(1),
            pointer=torch.where(there, pointer, self.no_obj_ptr),
            presence=torch.where(there, MASK_LOGIT, -MASK_LOGIT).reshape(1, 1),
        )

    def remember(self, stride16: Tensor, seen: Seen, *, prompted: bool) -> Tensor:
        """What is kept of an object in a frame: (1, T, Cm), in 16 bit.

        stride16: by `encode_frame`. prompted: then the mask counts as it was shown, cut at 0, else by its probability.
        """
        size = [16 * side for side in stride16.shape[-2:]]
        logits = F.interpolate(seen.logits, size, mode="bilinear")  # (1, 1, H, W)
        mask = (logits > 0).float() if prompted else logits.sigmoid()
        memory = self.memory_encoder(stride16, (2 * mask - 1) * MASK_LOGIT)  # (1, Cm, h, w)
        if self.newer:
            memory = torch.where(
                seen.presence[..., None, None] > 0, memory, memory + self.no_obj_embed_spatial[..., None, None]
            )
        return self.memory_tokens(memory).to(torch.bfloat16)

    def memory_tokens(self, memory: Tensor) -> Tensor:
        """(1, Cm, h, w) -> (1, T, Cm): here every cell."""
        return memory.flatten(2).transpose(1, 2)

    def _attend(
        self, features: Features, points: Tensor, labels: Tensor, masks: Tensor | None
    ) -> tuple[Attended, Tensor]:
        """What the mask decoder makes of one object's prompts, and its four masks (1, 4, h, w)."""
        if not labels.shape[1]:  # a frame without a click gets one that is none, before the padding
            points, labels = points.new_zeros(1, 1, 2), labels.new_full((1, 1), -1)
        embedded = self.embed_prompts(features, *super().list_prompts(points, labels, None), masks)
        decoder = self.mask_decoder
        attended = decoder.attend(features.stride16, self.locate(features.stride16), embedded.sparse, embedded.dense)
        upscaled = decoder.upscale(attended.src, decoder.in_patches(features.high_res))
        size = attended.src.shape[1:3]
        return attended, decoder.draw(decoder.weights(attended.tokens), upscaled, size, None, None).float()

    def _pointer(self, attended: Attended, token: int, there: Tensor) -> Tensor:
        """(1, C), from one of the mask tokens."""
        return torch.where(there, self.obj_ptr_proj(attended.tokens[:, token]).float(), self.no_obj_ptr)

    def list_prompts(self, points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The box's corners first, then clicks, then a padding point, unless there is only a mask."""
        return super().list_prompts(*corners_first(points, labels, boxes), None)


def _score(attended: Attended) -> Tensor:
    """(1, 1), above 0 where the object is in the frame."""
    assert attended.object_score is not None
    return attended.object_score.float()


def stable_or_best(logits: NDArray[np.float32], iou: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of four masks answers a prompt for one: the first if it is stable, else the best of the others.

    logits: (N, 4, h, w). iou: (N, 4) as predicted. -> (N, 4), True at one mask of each object.
    """
    first = logits[:, 0]
    inner, outer = ((first > cut).sum(axis=(1, 2)) for cut in (STABILITY_OFFSET, -STABILITY_OFFSET))
    stable = (outer == 0) | (inner >= STABLE * outer - 1e-6)
    chosen = np.where(stable, 0, 1 + iou[:, 1:].argmax(axis=1))
    return np.asarray(np.arange(logits.shape[1]) == chosen[:, None])
