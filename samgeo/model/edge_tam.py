"""EdgeTAM (Zhou et al. 2025): SAM 2 with a smaller image encoder, and with memories of 512 tokens instead of 4096."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samgeo.model.frame import SquareFrame
from samgeo.model.mask_decoder import MaskDecoder
from samgeo.model.memory_attention import MemoryAttention
from samgeo.model.perceiver import PerceiverResampler
from samgeo.model.positions import axial_rotation, sine_map
from samgeo.model.prompt_encoder import PromptEncoder
from samgeo.model.sam2 import Sam2


class EdgeTam(Sam2):
    """SAM 2 that remembers less of each frame."""

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        *,
        frame: SquareFrame,
        memory_attention: MemoryAttention,
        memory_dim: int,
        perceiver: PerceiverResampler,
    ) -> None:
        """Arguments as of `Sam2`. perceiver: what a memory passes before it is kept."""
        super().__init__(
            image_encoder,
            prompt_encoder,
            mask_decoder,
            frame=frame,
            memory_attention=memory_attention,
            memory_dim=memory_dim,
        )
        self.spatial_perceiver = perceiver

    def memory_tokens(self, memory: Tensor) -> Tensor:
        """(1, Cm, h, w) -> (1, T, Cm)."""
        return self.spatial_perceiver(memory)  # type: ignore[no-any-return]

    def memory_places(self, height: int, width: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Tokens of the whole have no place, those of windows the window's."""
        side, everywhere = self.spatial_perceiver.side, len(self.spatial_perceiver.latents)
        device, dim = self.no_mem_embed.device, self.prompt_encoder.embed_dim
        places = sine_map(side, side, self.memory_dim, device=device).flatten(1).T  # (T2, Cm)
        angle = axial_rotation(side, side, dim, device=device)  # (T2, C / 2)
        return tuple(torch.cat([x.new_zeros(everywhere, x.shape[1]), x]) for x in (places, angle))  # type: ignore[return-value]
