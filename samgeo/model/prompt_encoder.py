"""The prompt encoder of Segment Anything (Kirillov et al. 2023, section 3 and appendix A).

Clicks and box corners become tokens: random Fourier features of their position (Tancik et al. 2020) plus a learned
vector for what they are. A mask prompt is convolved down to the resolution of the image embedding and added to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samgeo.model.layers import LayerNorm2d

BOX_CORNERS = (2, 3)
"""Labels of a box's first (top left) and second (bottom right) corner; 0, 1 and -1 are those of `PixelPrompts`."""


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

    With `drawn`, clicks and boxes are also drawn as small maps beside the mask prompt, which makes a small network
    learn to use them many times sooner; SAM's own encoder is the one without.
    """

    def __init__(
        self, *, embed_dim: int, image_size_px: int, stride_px: int = 16, mask_in_chans: int = 16, drawn: bool = False
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.stride_px = stride_px
        self.drawn = drawn
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2, image_size_px=image_size_px)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1 + len(DRAWN_MAPS) * drawn, mask_in_chans // 4, 2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, 2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, 1),
        )

    def sparse(self, points: Tensor, labels: Tensor, origin_px: Tensor | None = None) -> Tensor:
        """Tokens of clicks and corners.

        points: (N, T, 2) x,y, an integer is a pixel's centre. labels: (N, T), -1 padding, 0/1 clicks, 2/3 box corners.
        origin_px: (N, 2) added to the positions (training shows every part of the frame that way). -> (N, T, C)
        """
        xy = points.float() + 0.5  # centres lie half a pixel from the pixel's corner
        if origin_px is not None:
            xy = xy + origin_px[:, None]
        position = self.pe_layer.encode(xy)  # (N, T, C)
        embeddings = [self.not_a_point_embed, *self.point_embeddings]
        kinds = torch.cat([e.get_parameter("weight") for e in embeddings])  # (5, C)
        return position * (labels >= 0)[..., None] + kinds[labels + 1]  # (N, T, C)

    def dense(self, masks: Tensor | None, points: Tensor, labels: Tensor, *, size: tuple[int, int]) -> Tensor:
        """What is added to the image embedding of `size` (h, w): (N, C, h, w).

        masks: (N, 1, 4h, 4w) logits of an earlier round, or None.
        """
        if self.drawn:
            fine = (4 * size[0], 4 * size[1])
            maps = draw_prompts(points, labels, size=fine, stride_px=self.stride_px // 4)  # (N, D, 4h, 4w)
            first = maps.new_zeros(len(maps), 1, *fine) if masks is None else masks.to(maps.dtype)
            embedded: Tensor = self.mask_downscaling(torch.cat([first, maps], dim=1))  # (N, C, h, w)
            return embedded + self.no_mask_embed.weight[..., None, None] if masks is None else embedded
        if masks is None:
            return self.no_mask_embed.weight[..., None, None].expand(len(points), -1, *size)  # (N, C, h, w)
        return self.mask_downscaling(masks)  # type: ignore[no-any-return]

    def dense_position(self, size: tuple[int, int], origin_px: Tensor | None = None) -> Tensor:
        """Fourier features of the image embedding's cells: (1 or N, C, h, w)."""
        grid = self.pe_layer.grid(*size, stride_px=self.stride_px, origin_px=origin_px)
        return grid if origin_px is not None else grid[None]


DRAWN_MAPS = ("positive, narrow", "positive, wide", "negative, narrow", "negative, wide", "box")
_NARROW_PX, _WIDE_PX, _BOX_EDGE_PX = 6.0, 40.0, 4.0


def draw_prompts(points: Tensor, labels: Tensor, *, size: tuple[int, int], stride_px: int) -> Tensor:
    """Clicks as Gaussian spots and the box as a soft rectangle: (N, 5, h, w), see `DRAWN_MAPS`.

    points: (N, T, 2) x,y, an integer is a pixel's centre. labels: (N, T). A box is one pair of labels 2 and 3.
    """
    x = (torch.arange(size[1], device=points.device) + 0.5) * stride_px - 0.5  # (w,)
    y = (torch.arange(size[0], device=points.device) + 0.5) * stride_px - 0.5  # (h,)
    px, py = points[..., 0, None].float(), points[..., 1, None].float()  # (N, T, 1)
    spots = []
    for label in (1, 0):
        present = (labels == label)[..., None].float()  # (N, T, 1)
        for sigma in (_NARROW_PX, _WIDE_PX):
            along_x = torch.exp(-((x - px) ** 2) / (2 * sigma**2)) * present  # (N, T, w)
            along_y = torch.exp(-((y - py) ** 2) / (2 * sigma**2))  # (N, T, h)
            spots.append(torch.einsum("nth,ntw->nhw", along_y, along_x))  # separable: no (N, T, h, w)
    first, second = BOX_CORNERS
    has_box = (labels == first).any(dim=1)  # (N,)
    low = (points.float() * (labels == first)[..., None]).sum(dim=1)[..., None]  # (N, 2, 1)
    high = (points.float() * (labels == second)[..., None]).sum(dim=1)[..., None]
    in_x = torch.sigmoid(torch.minimum(x - low[:, 0], high[:, 0] - x) / _BOX_EDGE_PX)  # (N, w)
    in_y = torch.sigmoid(torch.minimum(y - low[:, 1], high[:, 1] - y) / _BOX_EDGE_PX)  # (N, h)
    box = in_y[:, :, None] * in_x[:, None, :] * has_box[:, None, None]  # (N, h, w)
    return torch.stack([*(spot.clamp(max=2) for spot in spots), box], dim=1)  # (N, 5, h, w)
