"""The image cache: the same numbers as without, whole or not there, and never out of date."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iapc_lib.data import cache
from iapc_lib.data.cache import cached_records, missing_bytes, with_cache
from iapc_lib.data.images import read_image, read_original, read_resized, resize_image
from iapc_lib.data.layouts import DataError, Record, folder_records
from iapc_lib.data.source_views import SourceDataset
from iapc_lib.data.target_views import ViewsDataset
from iapc_lib.files import FileError
from iapc_lib.pipeline import stages
from tests.conftest import noise

SIZES = [(24, 48), (16, 32)]


@pytest.fixture
def records(tmp_path) -> list[Record]:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        noise(40 + number, 60).save(folder / f"{number}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(40, 60).save(folder / "turned.jpg", exif=turned)
    return folder_records(folder)


def reads_right(record: Record) -> bool:
    """Whether a record with copies reads as the file itself does."""
    image = read_image(record.image)
    assert record.copies.size == (image.height, image.width)
    resized = [read_resized(record, size) for size in SIZES]
    return np.array_equal(read_original(record), image) and all(
        np.array_equal(pixels, resize_image(image, size))
        and original_size == (image.height, image.width)
        for (pixels, original_size), size in zip(resized, SIZES, strict=True)
    )


def test_copies_are_what_decoding_and_resizing_give(records, tmp_path):
    folder = tmp_path / "cache"
    needed = missing_bytes(records, folder, SIZES, original=True)
    made = cached_records(records, folder, SIZES, original=True)
    assert all(map(reads_right, made))
    files = list(folder.glob("*/*.npy"))
    assert needed == sum(path.stat().st_size for path in files)
    assert missing_bytes(records, folder, SIZES, original=True) == 0
    assert isinstance(read_resized(made[0], SIZES[0])[0], np.memmap)


def test_copies_are_made_once_and_new_sizes_beside_them(records, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    before = [record.copies.files for record in cached_records(records, folder, SIZES[:1])]
    times = {path: path.stat().st_mtime_ns for files in before for path in files.values()}
    assert missing_bytes(records, folder, SIZES) == len(records) * (128 + 3 * 16 * 32)
    assert all(map(reads_right, cached_records(records, folder, SIZES)))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    monkeypatch.setattr(cache, "read_image", None)
    assert len(cached_records(records, folder, SIZES)) == len(records)


def test_changed_images_and_damaged_copies_are_noticed(records, tmp_path):
    folder = tmp_path / "cache"
    made = cached_records(records, folder, SIZES, original=True)
    about = records[0].image.stat()
    pixels = np.asarray(Image.open(records[0].image))
    Image.fromarray(255 - pixels).save(records[0].image)
    os.utime(records[0].image, ns=(about.st_atime_ns, about.st_mtime_ns))
    made[1].copies.files[SIZES[0]].write_bytes(b"short")
    made[2].copies.files[SIZES[1]].unlink()
    again = cached_records(records, folder, SIZES, original=True)
    assert all(map(reads_right, again))
    assert again[0].copies != made[0].copies and again[1].copies == made[1].copies
    records[3].image.write_bytes(b"no image any more")
    with pytest.raises(DataError, match=f"{records[3].name}: cannot be read as an image"):
        cached_records(records, folder, SIZES, original=True)
    made[1].copies.files[SIZES[0]].unlink()
    with pytest.raises(DataError, match="the next run makes it again"):
        read_resized(made[1], SIZES[0])


def test_a_full_disk_is_refused_before_anything_is_made(records, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "free_megabytes", lambda _: 0.01)
    with pytest.raises(FileError, match="the cache needs 0.0 GB more.*hardware.cache"):
        cached_records(records, tmp_path / "cache", SIZES)
    assert not list((tmp_path / "cache").glob("*/*.npy"))


MAKE = """
import sys
from pathlib import Path
from iapc_lib.data.cache import cached_records
from iapc_lib.data.layouts import folder_records
print("ready", flush=True)
cached_records(folder_records(Path(sys.argv[1])), Path(sys.argv[2]), [(24, 48), (16, 32)], True)
"""


def test_killed_ten_times_while_it_is_made_it_never_reads_wrongly(tmp_path):
    images, folder = tmp_path / "images", tmp_path / "cache"
    images.mkdir()
    for number in range(60):
        noise(300 + number, 400).save(images / f"{number}.png")
    records, rng, unfinished = folder_records(images), random.Random(1), 0
    for _ in range(10):
        # A forked child has imported everything: the kill falls into the making.
        child = multiprocessing.get_context("fork").Process(
            target=cached_records, args=(records, folder, SIZES, True)
        )
        child.start()
        time.sleep(rng.uniform(0.01, 0.15))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        unfinished += missing_bytes(records, folder, SIZES, original=True) > 0
        for path in folder.glob("*/[!.]*.npy"):
            np.load(path)  # whole
    assert unfinished >= 3
    subprocess.run([sys.executable, "-c", MAKE, images, folder], check=True, capture_output=True)
    assert missing_bytes(records, folder, SIZES, original=True) == 0
    made = cached_records(records, folder, SIZES, original=True)
    assert all(map(reads_right, made))
    assert not list(folder.glob("*/.*"))


def test_two_processes_share_a_folder(records, tmp_path):
    command = [sys.executable, "-c", MAKE, records[0].image.parent, tmp_path / "cache"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert missing_bytes(records, tmp_path / "cache", SIZES, original=True) == 0
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == 3 * len(records)


def test_training_sees_the_same_with_and_without(tiny_run, tmp_path):
    config = tiny_run.config.model_copy(
        update={
            "views": tiny_run.config.views.model_copy(update={"clean_size": (56, 112)}),
            "hardware": tiny_run.config.hardware.model_copy(
                update={"cache": str(tmp_path / "cache")}
            ),
        }
    )
    source, _ = stages.labelled_source(tiny_run)
    records, files = stages.pseudo_labels(tiny_run)
    assert (
        tiny_run.config.fingerprint
        == tiny_run.config.model_copy(update={"hardware": config.hardware}).fingerprint
    )

    tiny_run.config = config
    for domain, plain, dataset in (
        ("source", source, lambda r: SourceDataset(r, config.source_training, config.class_set, 0)),
        ("target", records, lambda r: ViewsDataset(r, files, config.views, config.class_set, 0, 9)),
    ):
        copied = with_cache(config, domain, plain)
        assert all(record.copies for record in copied)
        for position in range(len(dataset(plain))):
            one, other = dataset(plain)[position], dataset(copied)[position]
            for key in one:
                assert torch.equal(one[key], other[key])
    assert list(Path(config.hardware.cache).glob("*/*.npy"))
