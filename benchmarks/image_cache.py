"""How much faster images come from the cache than from PNGs, at Cityscapes' size.

    .venv/bin/python benchmarks/image_cache.py

Draws streets at 2048x1024 in Cityscapes' layout, makes their cache, and times, on one core and
with a warm page cache, the images of a batch of 6: the shortest of several, in milliseconds.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.benchmark import Timer

from iapc_lib.config.presets import load_config
from iapc_lib.data.autoaugment import AUTOAUGMENT_POLICY
from iapc_lib.data.cache import cached_records, training_sizes
from iapc_lib.data.images import read_original, read_resized, resize_image
from iapc_lib.data.layouts import Record
from iapc_lib.data.miniature import write_world
from iapc_lib.data.target_views import target_views
from iapc_lib.paths import project_root


def milliseconds(work, repeats: int) -> float:
    timer = Timer("work()", globals={"work": work})
    work()
    return 1000 * min(timer.timeit(1).mean for _ in range(repeats))


def resizing(record: Record, size: tuple[int, int], repeats: int) -> str:
    """What resizing only what is cropped would save, whether it is the same, and how often it may.

    Args:
        record: with an original.
        size: (height, width) of the whole resized image.
        repeats: of each timing.
    """
    image, (height, width) = read_original(record), (round(1.1 * side) for side in size)
    crop = np.s_[100 : 100 + 256, 300 : 300 + 512]  # at some place
    ratio = image.width / width, image.height / height
    box = 300 * ratio[0], 100 * ratio[1], 812 * ratio[0], 356 * ratio[1]

    def whole():
        return resize_image(image, (height, width))

    def part():
        return image.resize((512, 256), Image.Resampling.BICUBIC, box)

    different = np.mean(np.asarray(whole())[crop] != np.asarray(part()))
    of_the_whole = {"equalize", "autocontrast", "contrast"}
    without = [
        math.prod(1 - p for operation, _, p in policy if operation in of_the_whole)
        for policy in AUTOAUGMENT_POLICY
    ]
    return (
        f"bicubic resize of a whole image {milliseconds(whole, repeats):.1f} ms, of a crop alone "
        f"{milliseconds(part, repeats):.1f} ms, of whose values {different:.1e} differ;\n"
        f"AutoAugment needs the whole image for {1 - np.mean(without):.0%} of the views\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    config = load_config(project_root() / "papermill_runs" / "gta5.yaml")
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_world("cityscapes", world, counts={"train": 6}, size=(1024, 2048))
        plain = [
            Record(path.name, path, None, "cityscapes")
            for path in sorted(world.glob("leftImg8bit/train/*/*.png"))
        ]
        sizes, original = training_sizes(config, "target")
        cached = cached_records(plain, Path(folder) / "cache", sizes, original)
        label = np.zeros((1024, 2048), np.uint8)

        def originals(records):
            return [read_original(record) for record in records]

        def resized(records):
            for record in records:
                for size in sizes:
                    pixels, _ = read_resized(record, size)
                    np.ascontiguousarray(pixels[:256, :512])  # the crop that a view needs

        def views(records):
            for number, record in enumerate(records):
                rng = random.Random(number)
                ready = read_resized(record, config.views.image_size)[0] if record.copies else None
                target_views(read_original(record), label, config.views, rng, ready)

        print(resizing(cached[0], config.views.image_size, arguments.repeats))
        print(f"{'a batch of 6, milliseconds':<46}{'PNG':>8}{'cache':>8}{'ratio':>8}")
        for name, work in (
            ("the images at their own size", originals),
            ("crops of the images at both training sizes", resized),
            ("all views, with rescaling and AutoAugment", views),
        ):
            times = [milliseconds(partial(work, r), arguments.repeats) for r in (plain, cached)]
            print(f"{name:<46}{times[0]:>8.1f}{times[1]:>8.1f}{times[0] / times[1]:>8.1f}")


if __name__ == "__main__":
    main()
