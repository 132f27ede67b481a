"""The prompt encoder of Segment Anything (Kirillov et al. 2023, section 3 and appendix A).

Clicks and box corners become tokens: random Fourier features of their position (Tancik et al. 2020) plus a learned
vector for what they are. A mask prompt is convolved down to the resolution of the image embedding and added to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samgeo.model import drawing, likeness
from samgeo.model.layers import LayerNorm2d

MAPS = len(drawing.MAPS) + len(likeness.MAPS) + len(likeness.REACHED)
"""Maps beside the mask prompt."""


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of positions in the image."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int, *, image_size_px: int) -> None:
        super().__init__()
        self.image_size_px = image_size_px
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_pos_feats))

    @torch.no_grad()
    def spread_wavelengths(self, shortest_px: float, longest_px: float) -> None:
        """Redraw the matrix with wavelengths log-uniform between two lengths and random directions.

        SAM draws it from a normal distribution, which at this frame size knows little of distances below 100 px.
        """
        matrix = self.positional_encoding_gaussian_matrix
        ratio = torch.rand(matrix.shape[1])
        wavelength = shortest_px * (longest_px / shortest_px) ** ratio  # (F,)
        angle = 2 * math.pi * torch.rand(matrix.shape[1])
        matrix.copy_(torch.stack([angle.cos(), angle.sin()]) * self.image_size_px / 2 / wavelength)

    def encode(self, xy_px: Tensor) -> Tensor:
        """(..., 2) x,y from the image's top left corner, in pixels -> (..., 2 * num_pos_feats)."""
        unit = 2 * (xy_px.float() / self.image_size_px) - 1  # (..., 2) in [-1, 1]
        angle = 2 * math.pi * (unit @ self.positional_encoding_gaussian_matrix.float())  # (..., F)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)  # (..., 2F)

    def grid(self, height: int, width: int, *, stride_px: int, origin_px: Tensor | None = None) -> Tensor:
        """Features of the cell centres of an embedding: (2F, height, width), or (N, 2F, h, w) with origins (N, 2)."""
        device = self.positional_encoding_gaussian_matrix.device
        x = (torch.arange(width, device=device) + 0.5) * stride_px
        y = (torch.arange(height, device=device) + 0.5) * stride_px
        xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        if origin_px is not None:
            xy = xy + origin_px[:, None, None, :]  # (N, h, w, 2)
        return self.encode(xy).movedim(-1, -3)  # (..., 2F, h, w)


class PromptEncoder(nn.Module):
    """Prompts to tokens (sparse) and to a map that is added to the image embedding (dense).

    With `likeness_dim`, the width of `likeness.compare`'s vectors, the mask prompt gets company: clicks and boxes drawn
    as small maps, and maps of what looks like them; and each token knows what its point looks like. A small network
    learns to use prompts many times sooner that way; SAM's own encoder is the one without.
    """

    def __init__(
        self, *, embed_dim: int, image_size_px: int, stride_px: int = 16, mask_in_chans: int = 16, likeness_dim: int = 0
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.stride_px = stride_px
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2, image_size_px=image_size_px)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1 + MAPS * (likeness_dim > 0), mask_in_chans // 4, 2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, 2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, 1),
        )
        if likeness_dim:
            self.look = nn.Linear(likeness_dim, embed_dim)

    def sparse(
        self, points: Tensor, labels: Tensor, looks: Tensor | None = None, *, origin_px: Tensor | None = None
    ) -> Tensor:
        """Tokens of clicks and corners.

        points: (N, T, 2) x,y, an integer is a pixel's centre. labels: (N, T), -1 padding, 0/1 clicks, 2/3 box corners.
        looks: (N, T, D), what the image looks like there, from `likeness.compare`.
        origin_px: (N, 2) added to the positions (training shows every part of the frame that way). -> (N, T, C)
        """
        position = self.position(points, origin_px)  # (N, T, C)
        if looks is not None:
            position = position + self.look(looks)
        embeddings = [self.not_a_point_embed, *self.point_embeddings]
        kinds = torch.cat([e.get_parameter("weight") for e in embeddings])  # (5, C)
        return position * (labels >= 0)[..., None] + kinds[labels + 1]  # (N, T, C)

    def position(self, points: Tensor, origin_px: Tensor | None) -> Tensor:
        """Fourier features of points (N, T, 2), with origins (N, 2) added: (N, T, C)."""
        xy = points.float() + 0.5  # centres lie half a pixel from the pixel's corner
        return self.pe_layer.encode(xy if origin_px is None else xy + origin_px[:, None])

    def dense(self, masks: Tensor | None, maps: Tensor | None) -> Tensor:
        """What is added to the image embedding: (N, C, h, w), or (1, C, 1, 1) where it is the same for all.

        masks: (N, 1, 4h, 4w) logits of an earlier round, or None. maps: (N, MAPS, 4h, 4w), drawn and of likeness; with
        maps, logits should be cut to plus and minus 8.
        """
        nothing = self.no_mask_embed.weight[..., None, None]  # (1, C, 1, 1)
        if maps is None:
            return nothing if masks is None else self.mask_downscaling(masks)
        first = torch.zeros_like(maps[:, :1]) if masks is None else masks.to(maps.dtype) / 4
        embedded: Tensor = self.mask_downscaling(torch.cat([first, maps], dim=1))  # (N, C, h, w)
        return embedded + nothing if masks is None else embedded

    def dense_position(self, size: tuple[int, int], origin_px: Tensor | None = None) -> Tensor:
        """Fourier features of the image embedding's cells: (1 or N, C, h, w)."""
        grid = self.pe_layer.grid(*size, stride_px=self.stride_px, origin_px=origin_px)
        return grid if origin_px is not None else grid[None]
