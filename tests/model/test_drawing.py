"""Prompts as maps."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from samgeo.model.drawing import outside_box

SIDE = st.floats(12, 100)


@given(x=SIDE, y=SIDE, width=st.floats(8, 24), height=st.floats(8, 24))
def test_outside_of_a_box_is_the_share_of_each_cell(x: float, y: float, width: float, height: float) -> None:
    corners = torch.tensor([[[x, y], [x + width, y + height]]])
    outside = outside_box(corners, torch.tensor([[2, 3]]), size=(32, 32), stride_px=4)[0]
    centres = torch.arange(-0.375, 127.5, 0.25)  # an integer is a pixel's centre: the first begins at -0.5
    within = ((centres >= y) & (centres <= y + height))[:, None] & ((centres >= x) & (centres <= x + width))
    share = 1 - within.float().unflatten(0, (32, 16)).unflatten(2, (32, 16)).mean(dim=(1, 3))
    assert (outside - share).abs().max() < 0.25
    assert (outside.sum() - share.sum()).abs() < 0.1 * (1 - share).sum()


def test_what_has_no_box_has_no_outside() -> None:
    click = torch.tensor([[[20.0, 20.0], [0.0, 0.0]]])
    assert not outside_box(click, torch.tensor([[1, -1]]), size=(8, 8), stride_px=4).any()
