"""From flat paint to a photograph: uneven surfaces first, then the camera's own faults."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .canvas import LABEL_IDS, Camera
from .looks import Conditions, Look

UNEVENNESS = {"road": 0.10, "sidewalk": 0.10, "terrain": 0.22, "vegetation": 0.34,
              "building": 0.09, "wall": 0.14, "fence": 0.06, "sky": 0.02}  # fmt: skip


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """(H, W) float32, about -1..1, with `cells` bumps over the picture's height."""
    grid = rng.uniform(-1, 1, (cells, 2 * cells)).astype(np.float32)
    bumps = Image.fromarray(grid).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(bumps)


def ground_pattern(
    rng: np.random.Generator, labels: np.ndarray, camera: Camera, look: Look
) -> np.ndarray:
    """(H, W) float32 factor: asphalt or cobbles on the road, slabs on the sidewalk."""
    height, width = labels.shape
    factor = np.ones(labels.shape, np.float32)
    first = int(camera.horizon * height) + 2
    rows = (np.arange(first, height, dtype=np.float32) + 0.5) / height - camera.horizon
    z = (camera.focal * camera.height / rows)[:, None]
    columns = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height
    x = columns[None] * z / camera.focal + camera.x - camera.bend * z * z + 500
    table = rng.uniform(-1, 1, (64, 64)).astype(np.float32)

    def cells(wide: float, long: float) -> np.ndarray:
        across, along = (x / wide).astype(np.int32), (z / long).astype(np.int32)
        return table[across & 63, np.broadcast_to(along & 63, x.shape)]

    fade = np.clip(1.6 - z / 12, 0, 1)
    asphalt = 0.05 * cells(0.9, 5.0) + 0.05 * cells(0.12, 0.3) * fade
    if rng.random() < look.cobbles:
        asphalt = 0.2 * cells(0.22, 0.26) * fade + 0.06 * cells(0.7, 1.0)
    slabs = 0.09 * cells(0.8, 0.8) * np.clip(2.5 - z / 12, 0, 1)
    below = labels[first:]
    part = factor[first:]
    part += np.where(below == LABEL_IDS["road"], asphalt * look.texture, 0)
    part += np.where(below == LABEL_IDS["sidewalk"], slabs * max(0.5, look.texture), 0)
    return factor


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    """(H, W, 3) float32 as out of focus; the radius is in pixels of a 128-row image."""
    if radius == 0:
        return pixels
    sharp = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    soft = sharp.filter(ImageFilter.GaussianBlur(radius * pixels.shape[0] / 128))
    return np.asarray(soft, np.float32)


def finish(
    image: np.ndarray, labels: np.ndarray, camera: Camera, look: Look, found: Conditions,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """The photograph of a painted scene.

    `image`: (H, W, 3) uint8, `labels`: (H, W) uint8 label ids; returns (H, W, 3) uint8.
    """
    size = labels.shape
    pixels = image.astype(np.float32)
    amplitude = np.full(256, 0.04, np.float32)
    for name, value in UNEVENNESS.items():
        amplitude[LABEL_IDS[name]] = value
    noise = 0.5 * smooth_noise(rng, size, 10) + 0.8 * smooth_noise(rng, size, 48)
    factor = 1 + look.texture * amplitude[labels] * noise
    factor *= ground_pattern(rng, labels, camera, look)

    if look.vignette:
        down = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
        across = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
        factor *= 1 - look.vignette * (down * down + across * across) / 2
    factor *= 2 ** (found.shade * smooth_noise(rng, size, 2))
    pixels *= (found.gain * factor)[..., None]
    gray = pixels.mean(axis=2, keepdims=True)
    pixels = gray + np.float32(found.saturation) * (pixels - gray)
    pixels *= np.array(found.cast, np.float32)

    smudges = smooth_noise(rng, size, 4) + 2 * found.smudge - 1.2
    if smudges.max() > 0:
        share = np.clip(2.5 * smudges, 0, 1)[..., None]
        veil = 0.75 * blurred(pixels, 3) + 0.25 * 1.3 * pixels.mean()
        pixels += share * (veil - pixels)
    pixels = blurred(pixels, found.blur)
    grain = np.float32(found.grain)
    if grain > 0:
        pixels = pixels + grain * rng.standard_normal((*size, 1), np.float32)
        pixels += 0.4 * grain * rng.standard_normal((*size, 3), np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)
