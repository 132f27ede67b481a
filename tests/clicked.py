"""What the tests of sessions and maps click on: three masks in one another, one far from them, on a turned grid."""

from __future__ import annotations

import numpy as np
from affine import Affine

from samgeo.grid import Grid, parse_crs
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.settings import Settings
from tests.oracle import OracleModel, OracleScene

NO_CACHE = Settings(use_cache=False)
GRID = Grid(
    width=160, height=120, transform=Affine(0.3, 0.1, 500_000, 0.1, -0.3, 5_538_000), crs=parse_crs("EPSG:32633")
)


def rectangle(top, left, bottom, right):
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


NEST = [rectangle(10, 10, 40, 44), rectangle(15, 15, 35, 40), rectangle(20, 20, 30, 30)]
FAR = rectangle(90, 120, 110, 150)
SCENE = OracleScene.from_masks([*NEST, FAR], GRID.shape)


class Counting(OracleModel):
    def __init__(self):
        super().__init__(SCENE, tile_px=64)
        self.encoded, self.asked = 0, []

    def encode(self, image):
        self.encoded += 1
        return super().encode(image)

    def decode(self, embedding, prompts, *, multimask=True):
        self.asked.append((prompts, multimask))
        return super().decode(embedding, prompts, multimask=multimask)


def outline(mask):
    """A mask of the scene in map coordinates."""
    return mask_to_polygon(Mask.from_array(mask), GRID)
