"""Another camera, hour and haze: how the colours of training crops vary."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


def vary_colours(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another camera, hour and haze: (H, W, 3) uint8 -> the same shape."""
    if rng.random() < 0.12:
        image = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    elif rng.random() < 0.08:
        image = image[..., rng.permutation(3)]
    image = _tone(image, rng)
    if rng.random() < 0.25:
        image = _mix_channels(image, rng)
    if rng.random() < 0.15:
        image = _shade(image, rng)
    picture = Image.fromarray(np.ascontiguousarray(image))
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.6))))
    elif rng.random() < 0.15:
        picture = picture.filter(ImageFilter.UnsharpMask(2, int(rng.integers(40, 160)), 2))
    if rng.random() < 0.2:
        noisy = np.asarray(picture) + rng.normal(0, rng.uniform(2, 12), image.shape)
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 85)))
        picture = Image.open(buffer)
    return np.asarray(picture)


def _tone(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One look-up table a channel: gamma, contrast and offset, partly shared between the channels."""
    steps = np.linspace(0, 1, 256)
    gamma, gain, offset = rng.normal(0, 0.25), rng.normal(0, 0.2), rng.normal(0, 0.1)
    tables = []
    for _ in range(3):
        curve = steps ** np.exp(gamma + rng.normal(0, 0.08))
        curve = (curve - 0.5) * np.exp(gain + rng.normal(0, 0.06)) + 0.5 + offset + rng.normal(0, 0.04)
        tables.append((curve.clip(0, 1) * 255).astype(np.uint8))
    return np.stack([tables[channel][image[..., channel]] for channel in range(3)], axis=2)


def _mix_channels(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each channel with a little of the others: filters that overlap otherwise."""
    mixed = image @ (np.eye(3) + rng.normal(0, 0.12, (3, 3))).astype(np.float32)
    return np.asarray(mixed.clip(0, 255).astype(np.uint8))


def _shade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light that falls off across the picture, softly or at an edge, as beside clouds."""
    height, width = image.shape[:2]
    angle, edge = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(1), np.log(30)))
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    way = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.7, 0.7)
    light = 1 - rng.uniform(0.15, 0.5) / (1 + np.exp(-edge * way))
    return np.asarray((image * light[..., None]).astype(np.uint8))


def take_tones(image: NDArray[np.uint8], other: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Mean and spread of each channel moved by `share` of the way to another image's (Reinhard et al. 2001).

    image, other: (H, W, 3). A flat image keeps its spread.
    """
    mean, spread = image.mean(axis=(0, 1)), image.std(axis=(0, 1))
    wanted = mean + share * (other.mean(axis=(0, 1)) - mean)
    gain = 1 + share * (other.std(axis=(0, 1)).clip(8) / spread.clip(8) - 1)
    return np.asarray(((image - mean) * gain + wanted).clip(0, 255).astype(np.uint8))
