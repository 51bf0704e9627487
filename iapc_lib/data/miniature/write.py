"""Writes a miniature world in the layout and encoding of the data set it stands in for."""

from __future__ import annotations

import csv
import json
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, fields
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from iapc_lib.classes import CITYSCAPES_TO_TRAIN, CLASSES, PALETTE

from .looks import Conditions
from .scene import draw_scene, scene_conditions

World = Literal["gta5", "synthia", "cityscapes"]

SPLITS = {"gta5": ("train", "val"), "synthia": ("train", "val"),
          "cityscapes": ("train", "dev", "val")}  # fmt: skip

CITIES = {"train": ("auwald", "buchfeld"), "dev": ("dornbach", "elmstadt"),
          "val": ("finkenau", "grauberg")}  # fmt: skip
"""Made-up cities of the Cityscapes stand-in; a split's images alternate between its two."""

SYNTHIA_IDS = np.zeros(256, np.uint16)
"""Cityscapes label id -> SYNTHIA class id; void is 0."""
for _row in CLASSES:
    SYNTHIA_IDS[_row.cityscapes_id] = _row.synthia_id or 0

ORACLE = "oracle"
"""Folder of the Cityscapes stand-in, instead of `gtFine`, with the labels of its training split."""

COMPRESSION = 1


def encode_png16(pixels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG of (H, W, 3) uint16; Pillow can neither write nor faithfully read these."""
    height, width, _ = pixels.shape
    data = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    unfiltered = np.zeros((height, 1), np.uint8)
    raw = np.hstack([unfiltered, data]).tobytes()

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw, COMPRESSION))
        + chunk(b"IEND", b"")
    )


def image_name(world: str, split: str, index: int, number: int) -> str:
    """Name of an image as records have it.

    `index` counts in the split, `number` through all of the world's splits, both from 0; the
    files of GTA5 count from 1, as the original's do.
    """
    if world == "gta5":
        return f"{number + 1:05d}.png"
    if world == "synthia":
        return f"{number:07d}.png"
    cities = CITIES[split]
    city = cities[index % len(cities)]
    return f"{city}/{city}_{index // len(cities):06d}_000019_leftImg8bit.png"


def write_gta5(root: Path, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    """Label ids in a palette PNG that shows the colours of the original."""
    save(root / "images" / name, Image.fromarray(image))
    indexed = Image.fromarray(labels)
    indexed.putpalette(PALETTE[CITYSCAPES_TO_TRAIN].tobytes())
    save(root / "labels" / name, indexed)


def write_synthia(root: Path, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    """Class ids in the red channel, instance ids (here: none, 0) in the green one."""
    save(root / "RGB" / name, Image.fromarray(image))
    pixels = np.zeros((*labels.shape, 3), np.uint16)
    pixels[..., 0] = SYNTHIA_IDS[labels]
    path = root / "GT" / "LABELS" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png16(pixels))


def write_cityscapes(
    root: Path, split: str, name: str, image: np.ndarray, labels: np.ndarray
) -> None:
    """The training split's labels lie apart: they are for the oracle, never for what adapts."""
    save(root / "leftImg8bit" / split / name, Image.fromarray(image))
    label = name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
    folder = ORACLE if split == "train" else "gtFine"
    save(root / folder / split / label, Image.fromarray(labels))


def save(path: Path, image: Image.Image) -> None:
    """Write a PNG, making the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=COMPRESSION)


def write_scene(
    world: str, root: Path, split: str, index: int, number: int, size: tuple[int, int], seed: int
) -> None:  # fmt: skip
    """Draw and write one image; `number` counts through all of the world's splits."""
    image, labels = draw_scene(world, split, index, size=size, seed=seed)
    name = image_name(world, split, index, number)
    if world == "gta5":
        write_gta5(root, name, image, labels)
    elif world == "synthia":
        write_synthia(root, name, image, labels)
    else:
        write_cityscapes(root, split, name, image, labels)


def write_world(
    name: World, root: Path, *, counts: dict[str, int], size: tuple[int, int] = (128, 256),
    seed: int = 0, processes: int = 1, progress: bool = True,
) -> None:  # fmt: skip
    """Write the miniature world `name` into the new folder `root`.

    `counts`: images per split; train and val for gta5 and synthia, which number first the
    training and then the validation images, train, dev and val for cityscapes. `size` =
    (height, width) in pixels. The bytes written depend on all arguments but `processes`.
    `root` appears only when everything is written. Raises FileExistsError if it exists already,
    ValueError for an unknown world or split.
    """
    root = Path(root)
    if name not in SPLITS:
        raise ValueError(f"unknown miniature world {name!r}; known: {', '.join(SPLITS)}")
    if unknown := set(counts) - set(SPLITS[name]):
        raise ValueError(f"{name} has the splits {SPLITS[name]}, not {sorted(unknown)}")
    if root.exists():
        raise FileExistsError(f"{root} already exists; remove it to draw this world anew")
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        unfinished.chmod(0o755)
        jobs = [(split, index) for split in SPLITS[name] for index in range(counts.get(split, 0))]
        tasks = [
            (name, unfinished, split, index, number, size, seed)
            for number, (split, index) in enumerate(jobs)
        ]
        done = write_all(tasks, processes)
        for _ in tqdm(done, total=len(tasks), unit="image", desc=name, disable=not progress):
            pass
        description = {
            "world": name,
            "seed": seed,
            "size": list(size),
            "counts": {split: counts.get(split, 0) for split in SPLITS[name]},
            "iapc_lib": version("iapc-lib"),
        }
        with (unfinished / "conditions.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["split", "image", *(each.name for each in fields(Conditions))])
            for number, (split, index) in enumerate(jobs):
                found = astuple(scene_conditions(name, split, index, seed=seed))
                table.writerow([split, image_name(name, split, index, number), *found])
        (unfinished / "world.json").write_text(json.dumps(description, indent=2) + "\n")
        unfinished.rename(root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_all(tasks: list[tuple], processes: int) -> Iterator[None]:
    """Write the scenes, yielding after each."""
    if processes <= 1:
        for task in tasks:
            yield write_scene(*task)
        return
    # Spawned, not forked: the caller may hold threads and a GPU.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(write_scene, *zip(*tasks, strict=True), chunksize=8)
