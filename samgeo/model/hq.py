"""HQ-SAM (Ke et al. 2023): a mask of fine outlines, added to each of SAM's masks.

The decoder gets one token more. Its mask is a product with features that know more of outlines: SAM's own, convolved,
and in HQ-SAM for SAM also the image embedding and an early feature of the image encoder, enlarged and added once for
each image. A mask's logits are SAM's plus those of the fine mask; scores are SAM's.

The reference gives one mask only: of three, the one with the highest score. Here all three come, each with the fine
mask added; the best of them is the reference's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samgeo.model.layers import MLP, LayerNorm2d
from samgeo.model.mask_decoder import NUM_MASKS, HighRes, MaskDecoder
from samgeo.model.patches import from_patches, to_patches
from samgeo.model.sam import Features, Sam
from samgeo.model.transformer import TwoWayTransformer


class HQMaskDecoder(MaskDecoder):
    """SAM's or SAM 2's mask decoder with the HQ token; everything that it draws is the sum of two products."""

    refines = True

    def __init__(
        self,
        *,
        transformer: TwoWayTransformer,
        transformer_dim: int,
        upscaling_dims: tuple[int, int],
        high_res_channels: int = 0,
        iou_sigmoid: bool = False,
        object_score: bool = False,
        early_dim: int = 0,
    ) -> None:
        """early_dim: channels of the image encoder's early feature, if it gives one. The rest as of `MaskDecoder`."""
        super().__init__(
            transformer=transformer,
            transformer_dim=transformer_dim,
            upscaling_dims=upscaling_dims,
            high_res_channels=high_res_channels,
            iou_sigmoid=iou_sigmoid,
            object_score=object_score,
        )
        middle, fine = upscaling_dims
        self.early_dim = early_dim
        self.hf_token = nn.Embedding(1, transformer_dim)
        self.hf_mlp = MLP(transformer_dim, transformer_dim, fine, 3)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(fine, middle, 3, padding=1), LayerNorm2d(middle), nn.GELU(), nn.Conv2d(middle, fine, 3, padding=1)
        )
        if early_dim:
            self.compress_vit_feat = enlarger(early_dim, transformer_dim, fine)
            self.embedding_encoder = enlarger(transformer_dim, middle, fine)

    def fuse(self, embedding: Tensor, early: Tensor) -> Tensor:
        """(B, C, h, w) and the early feature (B, C', h, w) to the HQ features, (B, C4, 4h, 4w)."""
        return self.embedding_encoder(embedding) + self.compress_vit_feat(early)  # type: ignore[no-any-return]

    def _own_tokens(self) -> list[nn.Embedding]:
        return [*super()._own_tokens(), self.hf_token]

    def in_patches(self, high_res: HighRes | None) -> HighRes | None:
        """high_res: the HQ features (N or 1, C4, 4h, 4w) alone, or as of `MaskDecoder`."""
        if high_res is None or not self.early_dim:
            return super().in_patches(high_res)
        return (to_patches(high_res[-1], 2),)

    def upscale(self, src: Tensor, finer: HighRes | None) -> Tensor:
        """SAM's features and behind them the finer ones: (N, 16 h w, 2 C4)."""
        plain = super().upscale(src, None if self.early_dim else finer)
        rows_and_columns = from_patches(plain.transpose(1, 2), src.shape[1:3], 2)
        fine = to_patches(self.embedding_maskfeature(rows_and_columns), 2)
        return torch.cat([plain, fine + finer[-1] if self.early_dim and finer else fine], dim=2)

    def weights(self, tokens: Tensor, *, refined: bool = True) -> Tensor:
        """(N, 5, C), the last the HQ token -> (N, 4, 2 C4): weights of SAM's features and of the finer ones."""
        fine = self.hf_mlp(tokens[:, NUM_MASKS])[:, None].expand(-1, NUM_MASKS, -1)  # (N, 4, C4)
        return torch.cat([super().weights(tokens), fine if refined else torch.zeros_like(fine)], dim=2)


def enlarger(channels: int, middle: int, channels_out: int) -> nn.Sequential:
    """From stride 16 to stride 4: (B, C, h, w) -> (B, C', 4h, 4w)."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, middle, 2, stride=2),
        LayerNorm2d(middle),
        nn.GELU(),
        nn.ConvTranspose2d(middle, channels_out, 2, stride=2),
    )


class HQSam(Sam):
    """SAM with an image encoder that returns an early feature too."""

    mask_decoder: HQMaskDecoder

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> the image embedding, and the HQ features at stride 4."""
        embedding, early = self.image_encoder(image)
        return Features(embedding, stride4=self.mask_decoder.fuse(embedding, early))
