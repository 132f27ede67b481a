"""Maps of likeness, on an image of two kinds of pixels."""

from __future__ import annotations

import heapq

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samgeo.model import likeness
from samgeo.model.likeness import MAPS, STRIDE_PX, compare, reach, standing_out

POSITIVE, NEGATIVE, INSIDE, AROUND, EARLIER = range(len(MAPS))


@pytest.fixture
def units() -> Tensor:
    """(2, 2, 8, 8): a square of cells (2..5, 3..6) with one vector, the rest with another; the second image turned."""
    one = torch.zeros(2, 8, 8)
    one[0], one[0, 2:6, 3:7], one[1, 2:6, 3:7] = 1, 0, 1
    return torch.stack([one, one.transpose(1, 2)])


def clicks(*points: tuple[float, float], labels: list[int], objects: int = 1) -> tuple[Tensor, Tensor]:
    return torch.tensor([points] * objects), torch.tensor([labels] * objects)


def test_a_click_finds_what_looks_like_it(units: Tensor) -> None:
    points, labels = clicks((17.5, 13.5), (1.5, 1.5), labels=[1, 0], objects=2)
    maps, looks = compare(units, points, labels, None)  # one object in each image
    square = units[:, 1]
    torch.testing.assert_close(maps[:, POSITIVE], square)
    torch.testing.assert_close(maps[:, NEGATIVE], 1 - square)
    assert not maps[:, INSIDE:].any()
    torch.testing.assert_close(looks, torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]).expand(2, -1, -1))


def test_of_several_clicks_the_nearest_look_counts(units: Tensor) -> None:
    maps, _ = compare(units[:1], *clicks((17, 13), (1, 1), labels=[1, 1]), None)
    torch.testing.assert_close(maps[0, POSITIVE], torch.ones(8, 8))
    assert not maps[0, NEGATIVE].any()


def test_a_padding_point_says_nothing(units: Tensor) -> None:
    maps, looks = compare(units[:1], *clicks((17, 13), (0, 0), labels=[-1, -1]), None)
    assert not maps.any()
    assert not looks.any()


def test_a_box_stands_for_its_inside(units: Tensor) -> None:
    maps, looks = compare(units[:1], *clicks((11.5, 7.5), (27.5, 23.5), labels=[2, 3]), None)
    square = units[0, 1]
    assert maps[0, INSIDE][square == 1].min() > maps[0, INSIDE][square == 0].max()
    assert maps[0, AROUND][square == 0].min() > maps[0, AROUND][square == 1].max()
    assert looks[0, 0, 1] > looks[0, 0, 0]
    torch.testing.assert_close(looks[0, 0], looks[0, 1])


def test_an_earlier_mask_stands_for_its_inside(units: Tensor) -> None:
    mask = (units[:1, 1:] * 2 - 1) * 20
    maps, _ = compare(units[:1], *clicks((0, 0), labels=[-1]), mask)
    torch.testing.assert_close(maps[0, EARLIER], units[0, 1], atol=1e-4, rtol=0)


def reached_exactly(limit: Tensor, start: tuple[int, int]) -> Tensor:
    """The least of the best way from one cell to each, by Dijkstra's algorithm."""
    h, w = limit.shape
    best = torch.full((h, w), -torch.inf)
    queue = [(-float(limit[start]), start)]
    while queue:
        least, (row, col) = heapq.heappop(queue)
        if best[row, col] >= -least:
            continue
        best[row, col] = -least
        for r, c in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            if 0 <= r < h and 0 <= c < w:
                heapq.heappush(queue, (max(least, -float(limit[r, c])), (r, c)))
    return best


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_reached_is_as_alike_as_the_best_way_from_the_click(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    units = F.normalize(F.avg_pool2d(torch.randn(1, 3, 18, 17, generator=generator), 7, stride=1), dim=1)
    row, col = (int(torch.randint(n, (), generator=generator)) for n in units.shape[2:])
    points, labels = clicks((STRIDE_PX * col + 1.5, STRIDE_PX * row + 1.5), (0, 0), labels=[1, -1])
    maps, _ = compare(units, points, labels, None)
    exact = reached_exactly(maps[0, POSITIVE], (row, col))
    reached = reach(units, maps, points, labels)[0]
    assert (reached[0] <= exact + 1e-6).all(), "fewer ways, never better ones"
    assert not reached[1].any()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "SWEEPS", 40)
        torch.testing.assert_close(reach(units, maps, points, labels)[0, 0], exact)


def test_what_looks_alike_elsewhere_is_not_reached(units: Tensor) -> None:
    both = torch.cat([units[:1], units[:1]], dim=3)  # two squares of one look, side by side
    points, labels = clicks((17.5, 13.5), (1.5, 1.5), labels=[1, 0])
    maps, _ = compare(both, points, labels, None)
    assert maps[0, POSITIVE].sum() == 2 * units[0, 1].sum()
    positive, negative = reach(both, maps, points, labels)[0]
    torch.testing.assert_close(positive, F.pad(units[0, 1], (0, 8)))
    torch.testing.assert_close(negative, both[0, 0], msg="the ground around both hangs together")


def test_the_middle_of_a_box_stands_for_a_click_where_there_is_none(units: Tensor) -> None:
    box, kinds = clicks((11.5, 7.5), (27.5, 23.5), labels=[2, 3])
    maps, _ = compare(units[:1], box, kinds, None)
    torch.testing.assert_close(reach(units[:1], maps, box, kinds)[0, 0], units[0, 1])
    points, labels = clicks((11.5, 7.5), (27.5, 23.5), (1.5, 1.5), labels=[2, 3, 1])
    maps, _ = compare(units[:1], points, labels, None)
    torch.testing.assert_close(reach(units[:1], maps, points, labels)[0, 0], units[0, 0])


def test_graphs_reach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = F.normalize(F.avg_pool2d(torch.randn(2, 3, 26, 19, generator=torch.Generator().manual_seed(5)), 5, 1), dim=1)
    points, labels = clicks((17, 13), (50, 70), (1, 1), labels=[1, 0, 1], objects=4)
    maps, _ = compare(seen, points, labels, None)
    reached = reach(seen, maps, points, labels)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(reach(seen, maps, points, labels), reached)


def test_objects_belong_to_images_in_order(units: Tensor) -> None:
    points, labels = clicks((17, 13), labels=[1], objects=4)
    together, _ = compare(units, points, labels, None)
    for image in range(2):
        alone, _ = compare(units[image : image + 1], points[:2], labels[:2], None)
        torch.testing.assert_close(together[2 * image : 2 * image + 2], alone)


def test_small_things_stand_out_and_plain_ground_and_nodata_do_not() -> None:
    units = torch.zeros(1, 2, 24, 24)
    units[0, 0] = 1
    units[0, :, 18:] = torch.tensor([0.0, 1.0])[:, None, None]  # another ground, of which nothing is valid
    units[0, :, 4:6, 4:6] = torch.tensor([0.0, 1.0])[:, None, None]
    units[0, :, 12, 15] = torch.tensor([0.0, 1.0])
    valid = torch.ones(24, 24)
    valid[18:] = 0
    found = standing_out(units, valid, 9)
    cells = (found + 0.5) / 4 - 0.5
    far = torch.stack([(cells - torch.tensor(middle)).abs().amax(dim=1) for middle in ((4.5, 4.5), (15.0, 12.0))])
    assert far[0, 0] <= 0.5, "the larger one first"
    assert far[1].min() <= 1
    assert far.amin(dim=0).max() <= 4
    assert standing_out(units, valid, 1).tolist() == found[:1].tolist()
    assert not len(standing_out(units[..., :4, 6:], valid[:4, 6:], 9))
