"""Which image is seen at which position of a training, and which part of it."""

import functools
import random
from collections.abc import Sequence


def draw_order(seed: int, purpose: str, position: int, length: int) -> int:
    """Which of `length` images is seen at a position of training: each once before any again."""
    epoch, place = divmod(position, length)
    return _epoch_order(seed, purpose, epoch, length)[place]


@functools.lru_cache(maxsize=8)
def _epoch_order(seed: int, purpose: str, epoch: int, length: int) -> list[int]:
    order = list(range(length))
    random.Random(f"{seed}/{purpose}/order/{epoch}").shuffle(order)
    return order


def random_crop(
    size: Sequence[int], crop_size: tuple[int, int], rng: random.Random
) -> tuple[slice, slice]:
    """Rows and columns of a random crop (height, width) of something of size (H, W, ...)."""
    top = rng.randint(0, size[0] - crop_size[0])
    left = rng.randint(0, size[1] - crop_size[1])
    return slice(top, top + crop_size[0]), slice(left, left + crop_size[1])
