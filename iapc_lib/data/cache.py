"""Decoded and resized copies of images in memory-mapped files, made once (method.md, 14).

Decoding PNGs is what holds a GPU back. A copy holds exactly what decoding and resizing would give,
at the image's own size too, from which the published code makes its rescaled views: with and
without a cache a run has the same numbers.

    <folder>/index.jsonl                     what was seen of every image file, a line each
    <folder>/<two digits>/<key>-<H>x<W>.npy  a copy: (H, W, 3) uint8

The key is a hash of the image file's content: a changed image is another copy, two data sets may
share one, and a copy is whole or not there. Delete the folder whenever you like.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.images import read_image, resize_image
from iapc_lib.data.layouts import CachedImage, DataError, Record
from iapc_lib.files import FileError, atomic_path, file_hash, free_megabytes
from iapc_lib.paths import resolve

HEADER_BYTES = 128
"""Of a .npy file, before its numbers."""

Size = tuple[int, int]
"""(height, width)."""


class _Seen(NamedTuple):
    """What the index knows of an image file."""

    stat: tuple[int, ...]
    """Inode, bytes, and the times of the last change: any write to the file alters one."""
    key: str
    size: Size
    """(H, W) of the image."""


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
    try:
        if missing_bytes(records, folder, sizes, original) == 0:
            seen = _read_index(folder)
            made = [
                _copies(folder, seen[str(record.image.absolute())], sizes, original)
                for record in records
            ]
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with _writing(folder):
                made = _make_all(records, folder, sizes, original)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror})") from error
    return [replace(record, copies=copies) for record, copies in zip(records, made, strict=True)]


def missing_bytes(
    records: Sequence[Record], folder: Path, sizes: Sequence[Size], original: bool = False
) -> int:
    """Bytes that the copies of these records would still take; reads no image but its header."""
    seen, total = _read_index(folder), 0
    for record in records:
        known = seen.get(str(record.image.absolute()))
        if known is not None and known.stat == _stat(record.image):
            files = _copies(folder, known, sizes, original).files
            total += sum(_bytes(size) for size, path in files.items() if not _is_whole(path, size))
        else:
            own = [_header_size(record.image)] if original else []
            total += sum(_bytes(size) for size in {*sizes, *own})
    return total


def _make_all(
    records: Sequence[Record], folder: Path, sizes: Sequence[Size], original: bool
) -> list[CachedImage]:
    seen, missing = _read_index(folder), missing_bytes(records, folder, sizes, original)
    if (free := free_megabytes(folder)) < missing / 1e6:
        raise FileError(
            f"{folder}: the cache needs {missing / 1e9:.1f} GB more, the disk has "
            f"{free / 1e3:.1f} GB free: name another folder (hardware.cache), or null for no cache"
        )
    for torn in folder.glob("*/.*.npy"):
        torn.unlink()  # of a writer that was killed
    # Decoders let go of Python's lock: threads use all cores.
    with (
        (folder / "index.jsonl").open("a") as index,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=len(records),
            desc=f"Image cache, {missing / 1e9:.1f} GB to make",
            unit="image",
            leave=False,
            disable=None,
        ) as bar,
    ):

        def make(record: Record) -> tuple[Record, _Seen]:
            return record, _make(record, folder, sizes, original, seen)

        made = []
        try:
            for record, known in pool.map(make, records):
                name = str(record.image.absolute())
                if seen.get(name) != known:
                    seen[name] = known
                    index.write(json.dumps([name, *known]) + "\n")
                    index.flush()
                made.append(_copies(folder, known, sizes, original))
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return made


def _make(
    record: Record,
    folder: Path,
    sizes: Sequence[Size],
    original: bool,
    seen: dict[str, _Seen],
) -> _Seen:
    """Makes the copies of a record that are missing."""
    known, stat, image = seen.get(str(record.image.absolute())), _stat(record.image), None
    if known is None or known.stat != stat:
        image = read_image(record.image)
        known = _Seen(stat, _key(record.image), (image.height, image.width))
    for size, path in _copies(folder, known, sizes, original).files.items():
        if _is_whole(path, size):
            continue
        image = image or read_image(record.image)
        pixels = image if size == known.size else resize_image(image, size)
        if _stat(record.image) != stat:
            raise DataError(f"{record.image}: changed while it was read")
        with atomic_path(path) as temporary:
            np.save(temporary, np.asarray(pixels))
    return known


def _key(path: Path) -> str:
    """Stands for the content of an image file and the library that decodes it."""
    return hashlib.sha256(f"{file_hash(path)} {PIL.__version__}".encode()).hexdigest()[:32]


def _copies(folder: Path, known: _Seen, sizes: Sequence[Size], original: bool) -> CachedImage:
    wanted = {*map(tuple, sizes), *([known.size] if original else [])}
    shard = folder / known.key[:2]
    return CachedImage(
        known.size, {(h, w): shard / f"{known.key}-{h}x{w}.npy" for h, w in sorted(wanted)}
    )


def _bytes(size: Size) -> int:
    return HEADER_BYTES + 3 * math.prod(size)


def _is_whole(path: Path, size: Size) -> bool:
    return path.exists() and path.stat().st_size == _bytes(size)


def _header_size(path: Path) -> Size:
    try:
        with PIL.Image.open(path) as image:
            return image.height, image.width
    except Exception:
        image = read_image(path)  # says what is wrong
        return image.height, image.width


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_index(folder: Path) -> dict[str, _Seen]:
    """Absolute path of an image file -> what was seen of it last."""
    seen, index = {}, folder / "index.jsonl"
    for line in index.read_text().splitlines() if index.exists() else []:
        try:
            name, stat, key, size = json.loads(line)
        except ValueError:
            continue  # torn by a kill: that image is looked at again
        seen[name] = _Seen(tuple(stat), key, tuple(size))
    return seen


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"{folder}: another run is making copies; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
