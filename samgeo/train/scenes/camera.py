"""From reflectance to the bytes that a camera and its processing deliver."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from samgeo.train.scenes.geometry import Floats
from samgeo.train.scenes.textures import octaves

GREY = np.array([0.32, 0.5, 0.18], dtype=np.float32)


def expose(rgb: Floats, rng: np.random.Generator, gsd_m: float, water: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Blur, haze, colour, noise and compression; changes `rgb` (H, W, 3), returns (H, W, 3) uint8.

    water: (H, W), where the near infrared is dark.
    """
    blur(rgb, rng)
    bands(rgb, rng, gsd_m, water)
    develop(rgb, rng)
    grain = rng.uniform(0.002, 0.02)
    for band in range(3):
        rgb[..., band] += np.float32(grain) * rng.standard_normal(rgb.shape[:2], dtype=np.float32)
    np.clip(rgb, 0, 1, out=rgb)
    rgb *= 255
    return compress((rgb + np.float32(0.5)).astype(np.uint8), rng)


def blur(rgb: Floats, rng: np.random.Generator) -> None:
    """The point spread of optics and resampling, at times followed by somebody's sharpening."""
    sigma = rng.uniform(0.35, 0.75) if rng.random() < 0.75 else rng.uniform(0.75, 1.3)
    amount = rng.uniform(0.3, 1.0) if rng.random() < 0.3 else 0.0
    for band in range(3):
        soft = ndimage.gaussian_filter(rgb[..., band], sigma, truncate=3)
        if amount:
            soft += np.float32(amount) * (soft - ndimage.gaussian_filter(soft, sigma + 0.6, truncate=3))
        rgb[..., band] = soft


def bands(rgb: Floats, rng: np.random.Generator, gsd_m: float, water: NDArray[np.bool_]) -> None:
    """At times panchromatic, at times false colour: near infrared, red, green."""
    chance = rng.random()
    if chance < 0.07:
        rgb[...] = (rgb @ GREY)[..., None]
    elif chance < (0.3 if gsd_m > 2 else 0.12):
        green = rgb[..., 1] - 0.5 * (rgb[..., 0] + rgb[..., 2])
        infrared = np.clip(np.float32(rng.uniform(0.7, 1.15)) * rgb[..., 0] + 4.5 * np.maximum(green, 0), 0, 1)
        infrared[water] *= np.float32(0.25)
        rgb[..., 2] = rgb[..., 1]
        rgb[..., 1] = rgb[..., 0]
        rgb[..., 0] = infrared


def develop(rgb: Floats, rng: np.random.Generator) -> None:
    """Uneven light, exposure, contrast, haze, saturation and a colour cast."""
    height, width = rgb.shape[:2]
    light = 1 + np.float32(rng.uniform(0, 0.06)) * octaves(
        rng, (height, width), coarse_px=max(height, width) / 2, fine_px=200
    )
    rgb *= light[..., None]
    low, high = np.quantile(rgb[:: max(1, height // 256), :: max(1, width // 256)], (0.01, 0.99))
    bottom, top = rng.uniform(0.0, 0.2), rng.uniform(0.72, 1.12)
    rgb -= np.float32(low)
    rgb *= np.float32((top - bottom) / max(high - low, 0.15))
    rgb += np.float32(bottom)
    np.clip(rgb, 0, None, out=rgb)
    middle = float(np.clip(np.median(rgb[::8, ::8]), 0.05, 0.8))
    gamma = np.log(rng.uniform(0.26, 0.56)) / np.log(middle)
    np.power(rgb, np.float32(np.clip(gamma, 0.55, 1.5)), out=rgb)
    mean = (rgb @ GREY)[..., None]
    rgb -= mean
    vivid = 0.08 / max(float(np.abs(rgb[::8, ::8]).mean()), 1e-3)
    rgb *= np.float32(min(rng.uniform(0.4, 1.05), vivid))
    rgb += mean
    rgb *= rng.normal(1, 0.035, 3).astype(np.float32)
    haze = np.float32(rng.uniform(0, 0.28) if rng.random() < 0.4 else 0.0)
    rgb *= 1 - haze
    rgb += haze * np.array([0.72, 0.76, 0.82], dtype=np.float32)


def compress(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a round trip through JPEG leaves, in six of ten images."""
    if rng.random() < 0.4:
        return image
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(55, 96)), subsampling=int(rng.choice([0, 2])))
    return np.array(Image.open(buffer), dtype=np.uint8)
