"""Noise and stripes: what makes soil, grass, water and roofs look like surfaces."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from samgeo.train.scenes.geometry import Cover, Floats


def octaves(
    rng: np.random.Generator, shape: tuple[int, int], *, coarse_px: float, fine_px: float = 2.0, falloff: float = 0.6
) -> Floats:
    """Smooth random noise of several octaves, zero mean and unit deviation.

    shape: (H, W). coarse_px, fine_px: grain of the first and the last octave. falloff: amplitude of each octave
    against the one before (1 is rough, 0.4 is smooth).
    """
    height, width = shape
    count = max(0, round(math.log2(max(coarse_px, fine_px) / fine_px)))
    amplitude = 1.0
    total = np.zeros((0, 0), dtype=np.float32)
    # From the coarsest lattice to the finest, each twice as dense as the one before and laid on top of it.
    for level in range(count, -1, -1):
        grain = fine_px * 2**level
        rows, cols = math.ceil(height / grain) + 2, math.ceil(width / grain) + 2
        nodes = np.float32(amplitude) * rng.standard_normal((rows, cols), dtype=np.float32)
        if level < count:
            double = (2 * total.shape[1], 2 * total.shape[0])
            nodes += np.asarray(Image.fromarray(total).resize(double, Image.Resampling.BICUBIC))[:rows, :cols]
        total = nodes
        amplitude *= falloff
    box = (0.5, 0.5, 0.5 + width / fine_px, 0.5 + height / fine_px)
    total = np.array(Image.fromarray(total).resize((width, height), Image.Resampling.BICUBIC, box=box))
    total -= total.mean()
    total /= max(float(total.std()), 1e-6)
    return total


class NoiseBank:
    """Ready-made noise that objects cut their texture from, since making it anew for each would be slow."""

    SIDE = 512

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._tiles = {name: self._tile(power) for name, power in (("fine", 0.35), ("medium", 1.0), ("coarse", 1.7))}

    def _tile(self, power: float) -> Floats:
        """A periodic (SIDE, SIDE) tile whose spectrum falls as frequency to the -`power`; zero mean, unit deviation."""
        frequency = np.hypot(np.fft.fftfreq(self.SIDE)[:, None], np.fft.rfftfreq(self.SIDE)[None, :])
        frequency[0, 0] = np.inf
        white = np.fft.rfft2(self._rng.standard_normal((self.SIDE, self.SIDE)))
        tile = np.fft.irfft2(white * frequency**-power, s=(self.SIDE, self.SIDE)).astype(np.float32)
        return np.asarray(tile / tile.std(), dtype=np.float32)

    def cut(self, shape: tuple[int, int], name: str = "medium", at: tuple[int, int] | None = None) -> Floats:
        """(H, W) noise: "fine" (grainy), "medium" or "coarse" (cloudy), from a random place of a tile or from `at`."""
        row, col = self._rng.integers(0, self.SIDE, 2) if at is None else at
        rows = (np.arange(shape[0]) + row) % self.SIDE
        cols = (np.arange(shape[1]) + col) % self.SIDE
        cut: Floats = self._tiles[name][rows[:, None], cols[None, :]]
        return cut


def coordinates(cover: Cover, x: float, y: float, angle: float) -> tuple[Floats, Floats]:
    """(h, w) coordinates of the pixels of a window, in px from (x, y): along `angle` and across it."""
    px, py = cover.grid()
    dx, dy = px - np.float32(x), py - np.float32(y)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return dx * cos + dy * sin, dy * cos - dx * sin


def stripes(along: Floats, period_px: float) -> Floats:
    """Sinusoidal stripes, -1 to 1, that fade away where they are finer than the pixels can show."""
    visible = float(np.clip((period_px - 2.0) / 1.5, 0, 1))
    if visible == 0:
        return np.zeros_like(along)
    wave: Floats = np.float32(visible) * np.sin(along * np.float32(2 * math.pi / period_px))
    return wave


def patchwork(rng: np.random.Generator, along: Floats, across: Floats, size: tuple[float, float]) -> Floats:
    """One random value, normal with unit deviation, for each cell of a grid of size[0] x size[1] px."""
    table = rng.standard_normal((31, 29)).astype(np.float32)
    rows, cols = np.floor(along / size[0]).astype(np.int64), np.floor(across / size[1]).astype(np.int64)
    values: Floats = table[rows % 31, cols % 29]
    return values


def tint(color: Floats, value: Floats) -> Floats:
    """A colour (3,) made lighter and darker by a field (h, w) about 1: (h, w, 3)."""
    tinted: Floats = color * value[..., None]
    return tinted
