"""What source training sees: crops of rendered images (method.md, 13)."""

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset

from iapc_lib.classes import ClassSet
from iapc_lib.config.sections import SourceTraining
from iapc_lib.data.images import read_label, read_resized, resize_label, to_channels, to_tensor
from iapc_lib.data.layouts import Record
from iapc_lib.data.order import draw_order, random_crop


def photometric_jitter(image: np.ndarray, strength: float, rng: random.Random) -> np.ndarray:
    """Random colours, contrast, brightness, gamma and noise.

    It makes the source network less sensitive to the colours of the one world that it sees.

    Args:
        image: (H, W, 3) uint8 RGB.
        strength: 1 changes saturation by up to 0.6, channel gains by 0.15, contrast by 0.3,
            brightness by 30 grey levels, gamma by a factor 1.5, and adds noise of up to 8 levels.
        rng: source of the draws.

    Returns:
        (H, W, 3) uint8.
    """

    def draw(width: float) -> float:
        return rng.uniform(-width, width) * strength

    coloured = ImageEnhance.Color(Image.fromarray(image)).enhance(1 + draw(0.6))
    pixels = np.asarray(ImageEnhance.Contrast(coloured).enhance(1 + draw(0.3)), np.float32)
    gain = np.array([1 + draw(0.15) for _ in range(3)], np.float32)
    pixels = np.clip(pixels * gain + draw(30), 0, 255)
    pixels = 255 * (pixels / 255) ** np.float32(1.5 ** draw(1.0))
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(image.shape, np.float32)
    pixels += noise * np.float32(8 * strength * rng.random())
    return np.clip(pixels, 0, 255).astype(np.uint8)


class SourceDataset(Dataset):
    """Item `position` is what source training sees there: a function of (seed, position).

    An item has `image` (3, h, w) uint8 and `label` (h, w) int64 channel numbers, 255 = ignore.
    """

    def __init__(
        self, records: Sequence[Record], config: SourceTraining, classes: ClassSet, seed: int
    ):
        self.records, self.config, self.classes, self.seed = records, config, classes, seed

    def __len__(self) -> int:
        return self.config.steps * self.config.batch_size

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        rng = random.Random(f"{self.seed}/source/{position}")
        index = draw_order(self.seed, "source", position, len(self.records))
        record = self.records[index]
        scale = rng.uniform(*self.config.scale_range)
        size = tuple(round(side * scale) for side in self.config.image_size)
        pixels, original_size = read_resized(record, size)
        label = resize_label(read_label(record, original_size), size)
        if rng.random() < self.config.blur_probability:
            blur = ImageFilter.GaussianBlur(rng.random())
            pixels = np.asarray(Image.fromarray(pixels).filter(blur))
        if self.config.crop_size is not None:
            crop = random_crop(size, self.config.crop_size, rng)
            pixels, label = pixels[crop], label[crop]
        if rng.random() < 0.5:
            pixels, label = pixels[:, ::-1], label[:, ::-1]
        if self.config.photometric_jitter > 0:
            pixels = photometric_jitter(pixels, self.config.photometric_jitter, rng)
        return {"image": to_tensor(pixels), "label": to_channels(label, self.classes)}
