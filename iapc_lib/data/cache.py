"""Decoded and resized copies of images in memory-mapped files, made once (method.md, 14).

Decoding PNGs is what holds a GPU back. A copy holds exactly what decoding and resizing would give,
at the image's own size too, from which the published code makes its rescaled views: with and
without a cache a run has the same numbers.

    <folder>/<two digits>/<key>-<H>x<W>-<h>x<w>.npy  a copy of an (H, W) image: (h, w, 3) uint8

The key is a hash of what the system says of the image file, whose every change alters it: a changed
image is another copy. A copy is whole or not there, and has the modification time of its image; one
that was written to since is made again. Delete the folder whenever you like.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from tqdm.contrib.concurrent import thread_map

from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.images import PHOTOGRAPHS, opened, read_image, resize_image
from iapc_lib.data.layouts import CachedImage, DataError, Record
from iapc_lib.files import (
    FileError,
    atomic_path,
    file_state,
    fingerprint,
    free_megabytes,
    only_writer,
    writing,
)
from iapc_lib.paths import resolve

HEADER_BYTES = 128
"""Of a .npy file, before its numbers."""

Size = tuple[int, int]
"""(height, width)."""


def training_sizes(config: RunConfig, domain: str) -> tuple[list[Size], bool]:
    """Sizes of the copies that training on `source` or `target` reads, and whether the own one."""
    if domain == "source":
        fixed = config.source_training.scale_range == (1.0, 1.0)
        return ([config.source_training.image_size] if fixed else []), not fixed
    return [config.views.image_size, config.views.clean_size], True


def with_cache(config: RunConfig, domain: str, records: list[Record]) -> list[Record]:
    """Training records of `source` or `target`, with decoded copies where there is a cache."""
    folder = config.hardware.cache
    if folder is None:
        return records
    sizes, original = training_sizes(config, domain)
    return cached_records(records, resolve(folder), sizes, original)


def cached_records(
    records: Sequence[Record], folder: Path, sizes: Sequence[Size], original: bool = False
) -> list[Record]:
    """The records with decoded copies of their images; those that are missing are made.

    May be stopped at any time: what was made is kept, and the next call goes on. Several processes
    may share a folder; one makes copies, the others wait.

    Args:
        records: images; all must be readable.
        folder: of the cache.
        sizes: (height, width) of the copies, resized as `images.resize_image` does.
        original: whether the images' own size is kept, too.

    Raises:
        DataError: an image cannot be read; names the file.
        FileError: the disk cannot hold the copies, or the folder cannot be written.
    """
    if missing_bytes(records, folder, sizes, original):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with only_writer(folder / ".lock"):
                _make_missing(records, folder, sizes, original)
    copies = _all_copies(records, folder, sizes, original)
    return [replace(record, copies=its) for record, its in zip(records, copies, strict=True)]


def missing_bytes(
    records: Sequence[Record], folder: Path, sizes: Sequence[Size], original: bool = False
) -> int:
    """Bytes that the copies of these records would still take; reads no image but its header."""
    copies = _all_copies(records, folder, sizes, original)
    return sum(map(_missing_bytes, records, copies))


def _make_missing(
    records: Sequence[Record], folder: Path, sizes: Sequence[Size], original: bool
) -> None:
    copies = _all_copies(records, folder, sizes, original)
    missing = sum(map(_missing_bytes, records, copies))
    if (free := free_megabytes(folder)) < missing / 1e6:
        raise FileError(
            f"{folder}: the cache needs {missing / 1e9:.1f} GB more, the disk has "
            f"{free / 1e3:.1f} GB free: name another folder (hardware.cache), or null for no cache"
        )
    for torn in folder.glob("*/.*.npy"):
        torn.unlink()  # of a writer that was killed

    def make(record: Record) -> None:
        key, image = _key(record.image), read_image(record.image)
        original_size = (image.height, image.width)
        for size, path in _copies(folder, key, original_size, sizes, original).files.items():
            if _is_whole(path, size, record.image):
                continue
            pixels = image if size == original_size else resize_image(image, size)
            if _key(record.image) != key:
                raise DataError(f"{record.image}: changed while it was read")
            with atomic_path(path) as temporary:
                np.save(temporary, np.asarray(pixels))
                os.utime(temporary, ns=(_stamp(record.image),) * 2)

    wanted = [r for r, its in zip(records, copies, strict=True) if _missing_bytes(r, its)]
    # Threads are enough: decoders let go of Python's lock.
    thread_map(
        make,
        wanted,
        desc=f"Image cache, {missing / 1e9:.1f} GB to make",
        unit="image",
        leave=False,
        disable=None,
    )


def _all_copies(
    records: Sequence[Record], folder: Path, sizes: Sequence[Size], original: bool
) -> list[CachedImage]:
    """The copies of every record, those that are still to be made included."""
    name = re.compile(r"(\w+)-(\d+)x(\d+)-\d+x\d+\.npy")
    names = [match for path in folder.glob("*/*.npy") if (match := name.fullmatch(path.name))]
    known = {match[1]: (int(match[2]), int(match[3])) for match in names}
    found = []
    for record in records:
        key = _key(record.image)
        size = known.get(key) or _header_size(record.image)
        found.append(_copies(folder, key, size, sizes, original))
    return found


def _copies(
    folder: Path, key: str, original_size: Size, sizes: Sequence[Size], original: bool
) -> CachedImage:
    wanted = {*map(tuple, sizes), *([original_size] if original else [])}
    name = f"{key}-{original_size[0]}x{original_size[1]}"
    return CachedImage(
        original_size, {(h, w): folder / key[:2] / f"{name}-{h}x{w}.npy" for h, w in sorted(wanted)}
    )


def _key(path: Path) -> str:
    """Stands for an image file as it is now, and for the library that decodes it."""
    try:
        return fingerprint([file_state(path), PIL.__version__])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _missing_bytes(record: Record, copies: CachedImage) -> int:
    files = copies.files.items()
    return sum(_bytes(size) for size, path in files if not _is_whole(path, size, record.image))


def _bytes(size: Size) -> int:
    return HEADER_BYTES + 3 * math.prod(size)


def _stamp(image: Path) -> int:
    """Time of an image's copies, in nanoseconds: whole seconds, which no file system rounds."""
    return int(image.stat().st_mtime) * 10**9


def _is_whole(path: Path, size: Size, image: Path) -> bool:
    """Whether a copy is there, and nobody wrote to it since: it has its image's time."""
    try:
        seen = path.stat()
    except OSError:
        return False
    return seen.st_size == _bytes(size) and seen.st_mtime_ns == _stamp(image)


def _header_size(path: Path) -> Size:
    """(H, W) in the file's header: without its turn, which moves no byte more or less."""
    with opened(path, PHOTOGRAPHS) as image:
        return image.height, image.width
