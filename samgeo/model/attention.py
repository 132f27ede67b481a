"""Attention of the image encoders: in one of torch's fused kernels, or in pieces, and with positions.

torch's fused kernel for processors computes in fp32 whatever it is given unless there are matrix units, and its keys
must be widened for what is added to the products. Pieces that stay in the cache are plain products of the numbers that
there are: two to three times as fast for the 4096 tokens of an image, in bf16 and with something to add, and a little
faster for many windows of 196.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES = 256
"""Of a piece."""
PAIRS = 2**21
"""Of queries and keys, of all heads of a piece."""
MANY = 128
"""Tokens from which on pieces are faster."""


def attend(q: Tensor, k: Tensor, v: Tensor, *, rows: Tensor | None = None, cols: Tensor | None = None) -> Tensor:
    """Attention of q (B, heads, T, D) to k and v (B, heads, T', D), the faster way -> as q.

    rows and cols (B, heads, T, s), both or none: added to the products, once they are scaled, of each query with keys
    that lie in s rows and s columns.
    """
    added = () if rows is None or cols is None else (rows, cols)
    if not added and not pays_in_pieces(q):
        return F.scaled_dot_product_attention(q, k, v)
    way = _in_pieces if pays_in_pieces(q) else _fused
    return way(q * q.shape[-1] ** -0.5, k, v, *added)


def pays_in_pieces(q: Tensor) -> bool:
    """Whether q (B, heads, T, D) is better attended in pieces: many tokens on a processor, no training or export."""
    return q.device.type == "cpu" and q.shape[2] >= MANY and torch.is_inference_mode_enabled()


def _in_pieces(q: Tensor, k: Tensor, v: Tensor, *added: Tensor) -> Tensor:
    """As `attend`; q is scaled already. added: rows and cols, or nothing."""
    step = max(1, PAIRS // (QUERIES * k.shape[2]))  # heads
    queries, keys, values, *places = (t.flatten(0, 1).contiguous() for t in (q, k, v, *added))  # (B heads, T, D or s)
    answers: Tensor = torch.empty_like(queries)
    for head in range(0, len(queries), step):
        heads = slice(head, head + step)
        for first in range(0, queries.shape[1], QUERIES):
            piece = slice(first, first + QUERIES)
            asked, offered = queries[heads, piece], keys[heads].transpose(1, 2)
            if places:
                row, col = (t[heads, piece] for t in places)  # (heads, queries, s)
                logits = (row[..., None] + col[:, :, None]).flatten(2).baddbmm_(asked, offered)
            else:
                logits = asked @ offered  # (heads, queries, T')
            answers[heads, piece] = logits.softmax(dim=2) @ values[heads]
    return answers.reshape(q.shape)


def _fused(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """As `attend`; q is scaled already.

    What is added is the product of more components: the query gets its rows and columns, the key 1 at its own. So no
    (B, heads, s^4) tensor is ever made.
    """
    dim, side = v.shape[-1], rows.shape[-1]
    q = torch.cat([q, rows, cols], dim=-1)  # (B, heads, s s, D + 2s)
    k = torch.cat([k, _own_row_and_column(side, k).expand(*k.shape[:2], -1, -1)], dim=-1)
    v = F.pad(v, (0, 2 * side))  # kernels that save memory want one width for all three
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :dim]


def _own_row_and_column(side: int, like: Tensor) -> Tensor:
    """(s s, 2s): 1 at each token's row, and at its column behind the rows."""
    one = torch.eye(side, dtype=like.dtype, device=like.device)
    return torch.cat([one.repeat_interleave(side, dim=0), one.repeat(side, 1)], dim=1)
