"""Clicks in map coordinates reach the pixel that they mean, through `segment` and `Session`, wherever a raster lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp

from samgeo.pipeline.segment import segment
from samgeo.prompts.prompts import Prompts
from samgeo.session import Session
from tests.address import KINDS, PIXELS, TILED, AddressModel, covered, places, write_kind


@pytest.fixture(params=KINDS)
def placed(request, tmp_path: Path):
    kind = KINDS[request.param]
    return write_kind(tmp_path / "address.tif", kind), kind


def found(path: Path, points, crs) -> list[list[tuple[int, int]]]:
    """The pixels of each feature that `segment` gives for clicks."""
    with segment(path, Prompts(points=points, crs=crs), model=AddressModel(), settings=TILED) as result:
        assert result.report["prompts"]["refused"] == []
        return [covered(path, feature.geometry) for feature in result]


def test_segment_answers_with_the_pixel_under_the_click_in_any_crs(placed):
    path, kind = placed
    expected = [[pixel] for pixel in PIXELS]
    assert found(path, places(path, at=(0.03, 0.97)), kind.crs) == expected
    assert found(path, places(path, at=(0.97, 0.03)), "raster") == expected
    for crs, at in zip(kind.others, [(0.03, 0.03), (0.97, 0.97)], strict=True):
        assert found(path, places(path, at=at, crs=crs), crs) == expected, crs


def test_session_answers_with_the_pixel_under_the_click(placed):
    path, kind = placed
    with Session(path, model=AddressModel(), settings=TILED) as session:
        other = places(path, at=(0.97, 0.03), crs=kind.others[0])
        back = rasterio.warp.transform(kind.others[0], session.crs.to_wkt(), *other.T)
        for pixel, clicks in zip(
            PIXELS, zip(places(path, at=(0.03, 0.97)), np.transpose(back), strict=True), strict=True
        ):
            for x, y in clicks:
                session.clear()
                session.add_point(x, y)
                assert covered(path, session.chosen.geometry) == [pixel]
