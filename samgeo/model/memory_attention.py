"""SAM 2's memory attention (Ravi et al. 2024, section 4): a frame's features look at what is remembered.

Each layer attends within the frame, then to the memories, then passes an MLP; each on normalised tokens beside a
shortcut. Places are rotations of queries and keys; what a memory says of its place and age is added to its key, not to
its value. Object pointers have no place and are not turned.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from samgeo.model.positions import axial_rotation, rotate, sine_map
from samgeo.model.transformer import Attention

INPUT_POSITION_GAIN = 0.1
"""How much of the sine encoding is added to the frame's features."""


class MemoryAttention(nn.Module):
    """Layers of attention from a frame to itself and to memories."""

    def __init__(self, *, dim: int, memory_dim: int, num_layers: int, mlp_dim: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(dim, memory_dim, mlp_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor, memory: Tensor, memory_pe: Tensor, memory_angle: Tensor) -> Tensor:
        """Features of a frame that know of the past, (B, C, h, w).

        image: (B, C, h, w) of stride 16. memory: (B, M, Cm) tokens, and memory_pe: (B or 1, M, Cm) what is added to
        their keys. memory_angle: (M, C / 2) by which their keys are turned.
        """
        c, h, w = image.shape[1:]
        image = image + INPUT_POSITION_GAIN * sine_map(h, w, c, device=image.device)
        x = image.flatten(2).transpose(1, 2)  # (B, hw, C)
        angle = axial_rotation(h, w, c, device=image.device)  # (hw, C / 2)
        for layer in self.layers:
            x = layer(x, angle, memory, memory + memory_pe, memory_angle)
        return self.norm(x).transpose(1, 2).unflatten(2, (h, w))  # type: ignore[no-any-return]


class MemoryAttentionLayer(nn.Module):
    """Attention to the frame itself, attention to memories, MLP."""

    def __init__(self, dim: int, memory_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(dim, 1)
        self.cross_attn_image = RotaryAttention(dim, 1, kv_dim=memory_dim)
        self.linear1 = nn.Linear(dim, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, angle: Tensor, memory: Tensor, memory_keys: Tensor, memory_angle: Tensor) -> Tensor:
        """x (B, hw, C) with angles (hw, C / 2); memory and keys (B, M, Cm) with angles (M, C / 2) -> (B, hw, C)."""
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, normed, angle, angle)
        x = x + self.cross_attn_image(self.norm2(x), memory_keys, memory, angle, memory_angle)
        return x + self.linear2(F.relu(self.linear1(self.norm3(x))))  # type: ignore[no-any-return]


class RotaryAttention(Attention):
    """Attention whose queries and keys are turned by their places."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, q_angle: Tensor, k_angle: Tensor) -> Tensor:  # type: ignore[override]
        """q (B, Tq, C), k and v (B, Tk, Ck); angles (Tq, D / 2), (Tk, D / 2) of heads D wide -> (B, Tq, C)."""
        q, k, v = self.project(q, k, v)  # (B, heads, T, D)
        return self.attend(rotate(q, q_angle), rotate(k, k_angle), v)
