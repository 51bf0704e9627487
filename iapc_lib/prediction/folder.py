"""Label maps, colours and overlays of a whole folder of photographs (`iapc predict`)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from iapc_lib.classes import CITYSCAPES_ID_OF_TRAIN, colorize
from iapc_lib.data.images import read_image, write_train_ids
from iapc_lib.data.layouts import DataError, image_paths, label_name
from iapc_lib.files import FileError, atomic_path, read_json, write_json, writing
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.prediction.image import (
    LabelMap,
    PredictionSettings,
    class_maps,
    decide,
    network_images,
)


def predict_folder(
    ready: ReadyNetwork,
    images: Path,
    out: Path,
    *,
    checkpoint: str,
    settings: PredictionSettings = PredictionSettings(),  # noqa: B008
    ids: Literal["train", "cityscapes"] = "train",
    confidence: bool = False,
    batch_size: int = 4,
) -> tuple[int, Iterator[str]]:
    """Predicts all images below a folder (or one file) that are not predicted yet.

    Writes `labels/NAME.png` (ids), `colors/NAME.png`, `overlays/NAME.png` and, if asked for,
    `confidence/NAME.png` (0..255 stands for 0..1) below `out`; NAME is the image's path below
    `images`. Images that are newer than their label map are predicted again.

    Args:
        ready: in evaluation mode.
        images: a folder, searched with its subfolders, or one image file.
        out: where results go; neither inside `images` nor around it.
        checkpoint: hash of the network, kept with the results.
        settings: how images are predicted.
        ids: of the label maps.
        confidence: whether confidence maps are written.
        batch_size: images of the same size that share a forward.

    Returns:
        The number of images found, broken ones included, and an iterator that does the work and
        yields the reason of every one that is skipped.

    Raises:
        DataError: there are no images.
        FileError: `out` overlaps `images`, holds results of other settings, or cannot be
            written.
    """
    here, there = images.resolve(), out.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise FileError(f"{out}: overlaps the images in {images}; name a folder beside them")
    paths, problems = image_paths(images)
    if not paths:
        raise DataError("\n".join(problems) or f"{images}: holds no jpg, jpeg or png image")
    root = images if images.is_dir() else images.parent
    record = {
        "format": 1,
        "checkpoint_sha256": checkpoint,
        "settings": {**asdict(settings), "scales": list(settings.scales)},
        "ids": ids,
    }
    _claim(out, record)
    kinds = ("labels", "colors", "overlays", "confidence")[: 3 + confidence]
    names = _unique_names([path.relative_to(root).as_posix() for path in paths])

    def finished(path: Path, name: str) -> bool:
        made = [out / kind / name for kind in kinds]
        try:
            return all(file.stat().st_mtime >= path.stat().st_mtime for file in made)
        except OSError:
            return False

    missing = [pair for pair in zip(paths, names, strict=True) if not finished(*pair)]

    def work() -> Iterator[str]:
        yield from problems
        read = partial(_read, settings=settings)
        loader = ready.machine.load(missing, batch_size, collate=read)
        done = len(paths) - len(missing)
        # No bar in a log file, where it would run into the lines about skipped files.
        with tqdm(
            total=len(paths), initial=done, desc="Predicting", unit="image", disable=None
        ) as bar:
            for batch in loader:
                for _, group in itertools.groupby(batch, key=_shapes):
                    words, tensors, pictures = zip(*group, strict=True)
                    if tensors[0] is None:
                        yield from words
                    else:
                        inputs = [torch.stack(scale) for scale in zip(*tensors, strict=True)]
                        maps = class_maps(ready, inputs, settings)
                        for name, pixels, single in zip(words, pictures, maps, strict=True):
                            made = decide(single, pixels.shape[:2], settings, ready.classes)
                            _write(out, name, pixels, made, kinds, ids)
                    bar.update(len(words))

    return len(paths) + len(problems), work()


def _read(pairs: Sequence[tuple[Path, str]], settings: PredictionSettings) -> list[tuple]:
    """Of every file and its name: (name, the tensors for the network, (H, W, 3) uint8 RGB).

    Of an unreadable file it is (the reason, None, None).
    """
    items = []
    for path, name in pairs:
        try:
            image = read_image(path)
            items.append((name, network_images(image, settings), np.asarray(image)))
        except DataError as error:
            items.append((str(error), None, None))
    return items


def _shapes(item: tuple) -> list[torch.Size] | None:
    """Items of equal value can share a forward; None: they were not read."""
    return item[1] and [tensor.shape for tensor in item[1]]


def _unique_names(names: list[str]) -> list[str]:
    """Names of the results: all different, even of `a.jpg` beside `a.jpg.png`."""
    taken, unique = set(names), []
    for name in names:
        result = label_name(name)
        while result != name and result in taken:
            result = f"{result}.png"
        taken.add(result)
        unique.append(result)
    return unique


def _claim(out: Path, record: dict[str, Any]) -> None:
    """Makes `out` the folder of these settings; refuses one that belongs to others."""
    description = out / "predict.json"
    if description.exists():
        if read_json(description) != record:
            raise FileError(
                f"{out}: holds predictions of another checkpoint or other settings (see "
                f"{description.name}); name another folder"
            )
        return
    with writing(out):
        if out.exists() and any(out.iterdir()):
            raise FileError(f"{out}: is not empty and holds no predictions; name another folder")
        write_json(description, record)


def _write(out: Path, name: str, pixels, made: LabelMap, kinds, ids: str) -> None:
    colors = colorize(made.labels)
    arrays = {
        "colors": colors,
        "overlays": ((pixels.astype(np.uint16) + colors) // 2).astype(np.uint8),
        "confidence": np.rint(made.confidence * 255).astype(np.uint8),
    }
    for kind in (*kinds[1:], kinds[0]):  # the label map last: it says that the image is done
        with atomic_path(out / kind / name) as temporary:
            if kind != "labels":
                Image.fromarray(arrays[kind]).save(temporary, compress_level=1)
            elif ids == "train":
                write_train_ids(temporary, made.labels)
            else:
                Image.fromarray(CITYSCAPES_ID_OF_TRAIN[made.labels]).save(temporary)
