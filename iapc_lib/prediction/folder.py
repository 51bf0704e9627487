"""Label maps, colours and overlays of a whole folder of photographs (`iapc predict`)."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import Timeout
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm.auto import tqdm

from iapc_lib.classes import CITYSCAPES_ID_OF_TRAIN, colorize
from iapc_lib.data.images import opened, read_image, write_train_ids
from iapc_lib.data.layouts import DataError, image_paths, label_name
from iapc_lib.files import (
    FileError,
    atomic_path,
    only_writer,
    read_json,
    visible_files,
    write_json,
    writing,
)
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.prediction.image import (
    LabelMap,
    PredictionSettings,
    class_maps,
    decide,
    network_images,
)

DESCRIPTION = "predict.json"
"""What a folder of predictions says of itself."""
MADE_OF = "made of"
"""Text of a label map's PNG: the state of the image that it was made of."""


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
    `images`. A label map says of which file it was made; where another lies there now, it is made
    again.

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
        FileError: `out` overlaps `images`, holds results of other settings, is written by
            another process, or cannot be written; the iterator raises it, too, if the disk fills.
    """
    here, there = images.resolve(), out.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise FileError(f"{out}: overlaps the images in {images}; name a folder beside them")
    paths, problems = image_paths(images)
    if not paths:
        raise DataError("\n".join(problems) or f"{images}: holds no image")
    root = images if images.is_dir() else images.parent
    record = {
        "format": 1,
        "checkpoint_sha256": checkpoint,
        "settings": {**asdict(settings), "scales": list(settings.scales)},
        "ids": ids,
    }
    kinds = ("labels", "colors", "overlays", "confidence")[: 3 + confidence]
    names = _unique_names([path.relative_to(root).as_posix() for path in paths])

    def finished(path: Path, name: str) -> bool:
        if not all((out / kind / name).is_file() for kind in kinds):
            return False
        try:
            with opened(out / "labels" / name, ("PNG",)) as made:
                return made.info.get(MADE_OF) == _state(path)
        except (DataError, OSError):
            return False

    _refuse_other_results(out, record)
    with ExitStack() as stack:
        try:
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_writer(out / ".lock", 0))
        except Timeout:
            raise FileError(
                f"{out}: another process is predicting into this folder; name another one"
            ) from None
        except OSError as error:
            raise FileError(f"{out}: cannot be written ({error.strerror})") from None
        _refuse_other_results(out, record)  # of somebody who was there until just now
        if not (out / DESCRIPTION).exists():
            write_json(out / DESCRIPTION, record)
        alone = stack.pop_all()
    missing = [pair for pair in zip(paths, names, strict=True) if not finished(*pair)]

    def work() -> Iterator[str]:
        yield from problems
        read = partial(_read, settings=settings)
        loader = ready.machine.load(missing, batch_size, collate=read)
        done = len(paths) - len(missing)
        # No bar in a log file, where it would run into the lines about skipped files.
        bar = tqdm(total=len(paths), initial=done, desc="Predicting", unit="image", disable=None)
        with alone, bar:
            for batch in loader:
                for _, group in itertools.groupby(batch, key=_shapes):
                    words, states, tensors, pictures = zip(*group, strict=True)
                    if tensors[0] is None:
                        yield from words
                    else:
                        inputs = [torch.stack(scale) for scale in zip(*tensors, strict=True)]
                        maps = class_maps(ready, inputs, settings)
                        for name, state, pixels, single in zip(
                            words, states, pictures, maps, strict=True
                        ):
                            made = decide(single, pixels.shape[:2], settings, ready.classes)
                            _write(out, name, state, pixels, made, kinds, ids)
                    bar.update(len(words))

    return len(paths) + len(problems), work()


def _read(pairs: Sequence[tuple[Path, str]], settings: PredictionSettings) -> list[tuple]:
    """Of every file: (name, its state, the tensors for the network, (H, W, 3) uint8 RGB).

    Of an unreadable file it is (the reason, None, None, None).
    """
    items = []
    for path, name in pairs:
        try:
            state = _state(path) if path.exists() else None
            image = read_image(path)
            items.append((name, state, network_images(image, settings), np.asarray(image)))
        except DataError as error:
            items.append((str(error), None, None, None))
    return items


def _state(path: Path) -> str:
    """Bytes and time of an image: another file in its place has another state, older or newer."""
    seen = path.stat()
    return f"{seen.st_size} bytes of {seen.st_mtime_ns}"


def _shapes(item: tuple) -> list[torch.Size] | None:
    """Items of equal value can share a forward; None: they were not read."""
    return item[2] and [tensor.shape for tensor in item[2]]


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


def _refuse_other_results(out: Path, record: dict[str, Any]) -> None:
    """Refuses a folder that holds predictions of other settings, or something else."""
    if (out / DESCRIPTION).exists():
        if read_json(out / DESCRIPTION, dict[str, Any]) != record:
            raise FileError(
                f"{out}: holds predictions of another checkpoint or other settings (see "
                f"{DESCRIPTION}); name another folder"
            )
    elif visible_files(out, "*"):
        raise FileError(f"{out}: is not empty and holds no predictions; name another folder")


def _write(out: Path, name: str, state: str, pixels, made: LabelMap, kinds, ids: str) -> None:
    colors = colorize(made.labels)
    about = PngInfo()
    about.add_text(MADE_OF, state)
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
                write_train_ids(temporary, made.labels, about)
            else:
                ids_to_write = CITYSCAPES_ID_OF_TRAIN[made.labels]
                Image.fromarray(ids_to_write).save(temporary, pnginfo=about)
