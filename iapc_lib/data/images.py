"""Records to arrays and tensors: reading, checking, resizing."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.utils.data import Dataset

from iapc_lib.classes import IGNORE, NUM_CLASSES, PALETTE, UNKNOWN_ID, ClassSet
from iapc_lib.data.layouts import DataError, Record

T = TypeVar("T")


# Of large images, palettes with transparency, odd EXIF: what is wrong with a file we say ourselves.
# For the whole process, because files are opened in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

PHOTOGRAPHS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
"""Pillow's names of the formats that are opened; others may start another program."""


def read_image(path: Path) -> Image.Image:
    """An 8-bit RGB image, upright as its EXIF orientation says where that can be read.

    Grey, palette and CMYK images are converted, transparency is left out, 16-bit grey is reduced
    to 8 bits.

    Raises:
        DataError: missing, truncated, no image, or of more than 178 megapixels; names the file.
    """
    with opened(path, PHOTOGRAPHS) as image:
        return as_rgb(image, path)


def as_rgb(image: Image.Image, name: object) -> Image.Image:
    """What `read_image` makes of an image that is open; `name` is for its error."""
    image.load()  # a second attempt at broken data would find black pixels
    with contextlib.suppress(Exception):  # a damaged EXIF is no reason to lose a photograph
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise DataError(f"{name}: holds floating-point values; an 8-bit image is needed")
    if image.mode.startswith("I"):
        # Pillow would cut 16-bit values off at 255.
        grey = np.clip(np.asarray(image), 0, 65535) / 257
        image = Image.fromarray(np.uint8(np.rint(grey)))
    return image.convert("RGB")


@contextlib.contextmanager
def opened(path: Path, formats: Sequence[str]) -> Iterator[Image.Image]:
    """An image file, opened by one of Pillow's formats: the one place where that is done.

    Raises:
        DataError: whatever goes wrong while it is open; names the file.
    """
    try:
        with Image.open(_regular_file(path), formats=formats) as image:
            yield image
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise DataError(f"{path}: {_reason(error)}") from None


def _regular_file(path: Path) -> Path:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: is a link to a file that is not there ({os.readlink(path)})")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no file")
    if path.exists() and path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    return path


LABEL_IDS = ("gta5", "cityscapes")
"""Layouts with Cityscapes' label ids: those above 18 are vegetation, sky, people, vehicles."""
LARGEST_TRAIN_ID = NUM_CLASSES - 1


class LabelSizeError(DataError):
    """A label of another size than its image."""


def _other_size(record: Record, label: tuple[int, int], image: tuple[int, int]) -> LabelSizeError:
    leave_out = ", or leave the pair out (source.leave_out)" if record.layout == "gta5" else ""
    return LabelSizeError(
        f"{record.label}: the label is {label[1]}x{label[0]}, its image {record.image.name} "
        f"{image[1]}x{image[0]} (width x height): replace the file{leave_out}"
    )


def read_label(record: Record, size: tuple[int, int] | None = None) -> np.ndarray:
    """The label map of a record as train ids, (H, W) uint8, 255 = ignore.

    Args:
        record: with a label.
        size: (height, width) of the image that the label belongs to, if it is to be checked.

    Raises:
        DataError: missing, unreadable, of another size or kind, or with ids that the data set
            does not have; names the file.
    """
    return to_train_ids(record, read_label_ids(record, size))


def read_label_ids(record: Record, size: tuple[int, int] | None = None) -> np.ndarray:
    """The label map as its data set encodes it, (H, W) uint8 or uint16; else as `read_label`."""
    path = record.label
    if record.layout == "synthia":
        ids = _synthia_ids(path)
    else:
        ids = _one_channel(path, "labels are 8-bit PNGs with one id a pixel")
    if size is not None and ids.shape != size:
        raise _other_size(record, ids.shape, size)
    above = ids[ids > LARGEST_TRAIN_ID] if record.layout in LABEL_IDS else ids[:0]
    if above.size and (above == 255).all():
        raise DataError(
            f"{path}: looks like train ids (255, and none above 18), where label ids belong: use "
            "the original file, as the data set's authors offer it"
        )
    return ids


def refuse_train_ids(records: Sequence[Record]) -> None:
    """Refuses labels that hold train ids where label ids belong, by a sample of them.

    One label may well show nothing but a road between houses. That several do is not believed,
    unless nothing at all is labelled in them.

    Raises:
        DataError: not one of them has an id that streets are never without; names one.
    """
    sample = [record for record in every_nth(records, 20) if record.layout in LABEL_IDS]
    ids = [read_label_ids(record) for record in sample]
    several, something = len(ids) > 1, any((one > 0).any() for one in ids)
    if several and something and all((one <= LARGEST_TRAIN_ID).all() for one in ids):
        raise DataError(
            f"{sample[0].label}: looks like train ids, and so do {len(sample) - 1} others (no id is "
            f"above {LARGEST_TRAIN_ID}), where label ids belong: use the original files, as the data "
            "set's authors offer them"
        )


def _one_channel(path: Path, wanted: str) -> np.ndarray:
    """The values of an 8-bit grey or palette PNG, (H, W) uint8."""
    with opened(path, ("PNG",)) as image:
        if image.mode not in ("L", "P"):
            raise DataError(
                f"{path}: {wanted}, this one has mode {image.mode}: a colour picture? "
                "use the file with ids"
            )
        return np.array(image)


def _synthia_ids(path: Path) -> np.ndarray:
    """The first channel of a 16-bit PNG with three, (H, W) uint16."""
    # Pillow squeezes 16 bits into 8. Read as what they are, the high ones stay; read as if the
    # bytes were swapped, the low ones.
    high, low = (_first_of_three(path, order) for order in ("RGB;16B", "RGB;16L"))
    return high.astype(np.uint16) << 8 | low


def _first_of_three(path: Path, order: str) -> np.ndarray:
    """(H, W) uint8: one half of the first channel, by Pillow's name of an order of bytes."""
    with opened(path, ("PNG",)) as image:
        ((codec, extents, offset, found),) = image.tile
        if found != "RGB;16B":
            raise DataError(
                f"{path}: SYNTHIA labels are 16-bit PNGs with three channels, this one is "
                f"{found}: use the original files of GT/LABELS"
            )
        image.tile = [(codec, extents, offset, order)]
        return np.array(image)[..., 0]


def to_train_ids(record: Record, ids: np.ndarray) -> np.ndarray:
    """Ids of the record's data set, (H, W) -> train ids, (H, W) uint8, 255 = ignore.

    Raises:
        DataError: ids that the data set does not have; names the file.
    """
    train_ids = record.id_table[np.minimum(ids, UNKNOWN_ID if ids.dtype != np.uint8 else 255)]
    unknown = train_ids == UNKNOWN_ID
    if unknown.any():
        raise DataError(
            f"{record.label}: unknown label ids {np.unique(ids[unknown])[:5].tolist()}; "
            f"{record.layout} has {np.flatnonzero(record.id_table != UNKNOWN_ID)[:-1].max()} as "
            "its largest id, and 255 for none"
        )
    return train_ids


def write_train_ids(path: Path, labels: np.ndarray, pnginfo: PngInfo | None = None) -> None:
    """Writes train ids (H, W) uint8 as a palette PNG: ids as values, Cityscapes' colours to see."""
    image = Image.fromarray(labels, mode="P")
    image.putpalette(PALETTE.tobytes())
    image.save(path, compress_level=1, pnginfo=pnginfo)


def read_train_ids(path: Path) -> np.ndarray:
    """Reads what `write_train_ids` wrote.

    Raises:
        DataError: missing, unreadable or of another kind; names the file.
    """
    return _one_channel(path, "train ids are 8-bit PNGs")


def read_pair(record: Record) -> tuple[Image.Image, np.ndarray]:
    """Image and label of a record, checked against one another; see `read_label`."""
    image = read_image(record.image)
    return image, read_label(record, (image.height, image.width))


def read_example(record: Record, classes: ClassSet) -> tuple[Image.Image, np.ndarray]:
    """An image to look at and its truth as train ids (H, W) uint8, as far as it is known.

    Pixels of other classes than `classes` are 255; all pixels of a record without a label are.
    """
    if record.label is not None:
        image, label = read_pair(record)
        return image, classes.known_only(label)
    image = read_image(record.image)
    return image, np.full((image.height, image.width), IGNORE, np.uint8)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) or "No such file" in str(error):
        return "no such file"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if isinstance(error, UnidentifiedImageError):
        return "cannot be read as an image (its content is of no known kind)"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} megapixels: too large to read"
    return f"cannot be read as an image ({' '.join(str(error).split())})"


def size_like(image: Image.Image, shorter_side: float) -> tuple[int, int]:
    """(height, width) with an image's proportions and a shorter side of so many pixels."""
    factor = shorter_side / min(image.size)
    return max(round(image.height * factor), 1), max(round(image.width * factor), 1)


def resize_image(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bicubic resize to (height, width) with Pillow's filter, as published."""
    return image.resize(size[::-1], Image.Resampling.BICUBIC)


def read_original(record: Record) -> Image.Image:
    """The image of a record at its own size, from its decoded copy if there is one."""
    if record.copies is not None and record.copies.size in record.copies.files:
        return Image.fromarray(_read_copy(record, record.copies.size))
    return read_image(record.image)


def read_resized(record: Record, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """The image of a record resized to (height, width), from its copy if there is one.

    Returns:
        (height, width, 3) uint8, and the image's own (H, W).
    """
    if record.copies is not None and size in record.copies.files:
        return _read_copy(record, size), record.copies.size
    image = read_original(record)
    return np.asarray(resize_image(image, size)), (image.height, image.width)


def _read_copy(record: Record, size: tuple[int, int]) -> np.ndarray:
    path = record.copies.files[size]
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); the next run makes it again") from None


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest resize of (H, W) uint8 labels to (height, width) with Pillow."""
    return np.asarray(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    """RGB image (H, W, 3) uint8 -> (3, H, W) uint8 tensor."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_channels(labels: np.ndarray, classes: ClassSet) -> Tensor:
    """Train ids (H, W) uint8 -> the network's channel numbers, (H, W) int64 tensor."""
    return torch.from_numpy(classes.channel_of_train_id[labels].astype(np.int64))


def every_nth(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` items, evenly spread over them."""
    return list(items[:: -(-len(items) // limit)]) if items else []


class ImageDataset(Dataset):
    """Images resized for the network, with labels at their own size where records have them.

    An item is a dict: `image` (3, h, w) uint8; `size` (H, W) of the file; `label`
    (H, W) int64 channel numbers, 255 = ignore, only if the record has a label.
    """

    def __init__(self, records: Sequence[Record], image_size: tuple[int, int], classes: ClassSet):
        self.records, self.image_size, self.classes = records, image_size, classes

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        record = self.records[index]
        pixels, size = read_resized(record, self.image_size)
        item = {"image": to_tensor(pixels), "size": size}
        if record.label is not None:
            item["label"] = to_channels(read_label(record, size), self.classes)
        return item


def truth_of(item: Mapping[str, Any]) -> Tensor:
    """The label of an `ImageDataset` item, (H, W) int64; all ignored if the record has none."""
    return item["label"] if "label" in item else torch.full(item["size"], IGNORE)
