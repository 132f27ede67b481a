"""Attention among many tokens on a processor, in pieces.

torch's fused kernel computes in fp32 whatever it is given unless the processor has matrix units, and its keys must be
widened for what is added to the products (see `vit`). Pieces that stay in the cache are plain products of the numbers
that there are: two to three times as fast for the 4096 tokens of an image, in bf16 and with something to add.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUERIES = 256
"""Of a piece."""
PAIRS = 2**21
"""Of queries and keys, of all heads of a piece."""
MANY = 1024
"""Tokens from which on pieces are faster."""


def pays_in_pieces(q: Tensor) -> bool:
    """Whether q (B, heads, T, D) is better attended in pieces: many tokens on a processor, no training or export."""
    return q.device.type == "cpu" and q.shape[2] >= MANY and torch.is_inference_mode_enabled()


def attend_in_pieces(
    q: Tensor, k: Tensor, v: Tensor, *, rows: Tensor | None = None, cols: Tensor | None = None
) -> Tensor:
    """Softmax of q . k, times v: q, scaled already, (B, heads, T, D), k and v (B, heads, T', D) -> as q.

    rows and cols (B, heads, T, s): added to the products of each query with keys that lie in s rows and s columns.
    """
    step = max(1, PAIRS // (QUERIES * k.shape[2]))  # heads
    queries, keys, values = (t.flatten(0, 1).contiguous() for t in (q, k, v))  # (B heads, T, D)
    answers: Tensor = torch.empty_like(queries)
    for head in range(0, len(queries), step):
        heads = slice(head, head + step)
        for first in range(0, queries.shape[1], QUERIES):
            piece = slice(first, first + QUERIES)
            logits = queries[heads, piece] @ keys[heads].transpose(1, 2)  # (heads, queries, T')
            if rows is not None and cols is not None:
                row, col = (t.flatten(0, 1)[heads, piece] for t in (rows, cols))  # (heads, queries, s)
                logits += (row[..., None] + col[:, :, None]).flatten(2)  # rounded once less in 16 bit
            answers[heads, piece] = logits.softmax(dim=2) @ values[heads]
    return answers.reshape(q.shape)
