"""Which image is seen at which position of a training."""

from __future__ import annotations

import functools
import random


def draw_order(seed: int, purpose: str, position: int, length: int) -> int:
    """Which of `length` images is seen at a position of training: each once before any again."""
    epoch, place = divmod(position, length)
    return _epoch_order(seed, purpose, epoch, length)[place]


@functools.lru_cache(maxsize=8)
def _epoch_order(seed: int, purpose: str, epoch: int, length: int) -> list[int]:
    order = list(range(length))
    random.Random(f"{seed}/{purpose}/order/{epoch}").shuffle(order)
    return order
