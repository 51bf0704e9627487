"""Records to arrays and tensors: reading, checking, resizing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_image

from iapc_lib.classes import PALETTE, UNKNOWN_ID, ClassSet
from iapc_lib.data.layouts import DataError, Record


def read_image(path: Path) -> Image.Image:
    """An RGB image.

    Raises:
        DataError: missing, truncated or no image; names the file.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: {_reason(error)}") from None


def read_label(record: Record, size: tuple[int, int] | None = None) -> np.ndarray:
    """The label map of a record as train ids, (H, W) uint8, 255 = ignore.

    Args:
        size: (height, width) of the image that the label belongs to, if it is to be checked.

    Raises:
        DataError: missing, unreadable, of another size or kind, or with ids that the data set
            does not have; names the file.
    """
    path = record.label
    try:
        if record.layout == "synthia":
            # Pillow would squeeze the 16-bit PNG into 8 bits and destroy the ids.
            ids = decode_image(str(path), ImageReadMode.UNCHANGED)
            if ids.dtype != torch.uint16 or ids.shape[0] != 3:
                raise DataError(
                    f"{path}: SYNTHIA labels are 16-bit PNGs with three channels, this one is "
                    f"{ids.dtype} with {ids.shape[0]}: use the original files of GT/LABELS"
                )
            ids = ids[0].numpy()
        else:
            with Image.open(path) as label:
                if label.mode not in ("L", "P"):
                    raise DataError(
                        f"{path}: labels are 8-bit PNGs with one id a pixel, this one has mode "
                        f"{label.mode}: a colour picture? use the file with label ids"
                    )
                ids = np.array(label)
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: {_reason(error)}") from None
    if size is not None and ids.shape != size:
        raise DataError(
            f"{path}: the label is {ids.shape[1]}x{ids.shape[0]}, its image "
            f"{record.image.name} {size[1]}x{size[0]} (width x height): "
            "replace the file or take the pair out"
        )
    train_ids = record.id_table[np.minimum(ids, UNKNOWN_ID if ids.dtype != np.uint8 else 255)]
    unknown = train_ids == UNKNOWN_ID
    if unknown.any():
        raise DataError(
            f"{path}: unknown label ids {np.unique(ids[unknown])[:5].tolist()}; "
            f"{record.layout} has {np.flatnonzero(record.id_table != UNKNOWN_ID)[:-1].max()} as "
            "its largest id, and 255 for none"
        )
    return train_ids


def write_train_ids(path: Path, labels: np.ndarray) -> None:
    """Writes train ids (H, W) uint8 as a palette PNG: ids as values, Cityscapes' colours to see."""
    image = Image.fromarray(labels, mode="P")
    image.putpalette(PALETTE.tobytes())
    image.save(path, compress_level=1)


def read_train_ids(path: Path) -> np.ndarray:
    """Reads what `write_train_ids` wrote.

    Raises:
        DataError: missing, unreadable or of another kind; names the file.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise DataError(f"{path}: train ids are 8-bit PNGs, this one has mode {image.mode}")
            return np.array(image)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path}: {_reason(error)}") from None


def read_pair(record: Record) -> tuple[Image.Image, np.ndarray]:
    """Image and label of a record, checked against one another; see `read_label`."""
    image = read_image(record.image)
    return image, read_label(record, (image.height, image.width))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) or "No such file" in str(error):
        return "no such file"
    return f"cannot be read as an image ({' '.join(str(error).split())})"


def resize_image(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bicubic resize to (height, width) with Pillow's filter, as published."""
    return image.resize(size[::-1], Image.Resampling.BICUBIC)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest resize of (H, W) uint8 labels to (height, width) with Pillow."""
    return np.asarray(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    """RGB image (H, W, 3) uint8 -> (3, H, W) uint8 tensor."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_channels(labels: np.ndarray, classes: ClassSet) -> Tensor:
    """Train ids (H, W) uint8 -> the network's channel numbers, (H, W) int64 tensor."""
    return torch.from_numpy(classes.channel_of_train_id[labels].astype(np.int64))


class ImageDataset(Dataset):
    """Images resized for the network, with labels at their own size where records have them.

    An item is a dict: `image` (3, h, w) uint8; `index`; `size` (H, W) of the file; `label`
    (H, W) int64 channel numbers, 255 = ignore, only if the record has a label.
    """

    def __init__(self, records: Sequence[Record], image_size: tuple[int, int], classes: ClassSet):
        self.records, self.image_size, self.classes = records, image_size, classes

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        record = self.records[index]
        if record.label is None:
            image, label = read_image(record.image), None
        else:
            image, label = read_pair(record)
        item = {
            "image": to_tensor(resize_image(image, self.image_size)),
            "index": index,
            "size": (image.height, image.width),
        }
        if label is not None:
            item["label"] = to_channels(label, self.classes)
        return item


def check_records(records: Iterable[Record]) -> list[str]:
    """Reads every image and label; the reasons why some cannot be used, a line each."""
    problems = []
    for record in records:
        try:
            if record.label is None:
                read_image(record.image)
            else:
                read_pair(record)
        except DataError as error:
            problems.append(str(error))
    return problems
