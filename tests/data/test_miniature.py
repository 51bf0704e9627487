"""The miniature worlds: deterministic, complete, and written as the real data sets are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, read_image

from iapc_lib.classes import CITYSCAPES_TO_TRAIN, CLASSES, IGNORE, NAMES, SYNTHIA_TO_TRAIN
from iapc_lib.data.miniature import LOOKS, draw_scene, write, write_world

SMALL = (48, 96)
COUNTS = {
    "gta5": {"train": 2, "val": 1},
    "synthia": {"train": 2, "val": 1},
    "cityscapes": {"train": 2, "dev": 1, "val": 1},
}


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def written(root: Path, world: str, **options) -> dict[str, bytes]:
    options = {"counts": COUNTS[world], "size": SMALL, "progress": False} | options
    write_world(world, root, **options)
    return contents(root)


@pytest.mark.parametrize("world", LOOKS)
def test_scene_is_a_pure_function_of_its_arguments(world):
    image, labels = draw_scene(world, "train", 3, size=SMALL)
    assert image.shape == (*SMALL, 3) and image.dtype == np.uint8
    assert labels.shape == SMALL and labels.dtype == np.uint8
    again, same_labels = draw_scene(world, "train", 3, size=SMALL)
    assert np.array_equal(image, again) and np.array_equal(labels, same_labels)
    for split, index, seed in (("val", 3, 0), ("train", 4, 0), ("train", 3, 1)):
        other, _ = draw_scene(world, split, index, size=SMALL, seed=seed)
        assert not np.array_equal(image, other)


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path):
    one = written(tmp_path / "one", "cityscapes")
    assert written(tmp_path / "two", "cityscapes", processes=2) == one
    assert written(tmp_path / "other", "cityscapes", seed=1) != one


@pytest.mark.parametrize("world", LOOKS)
def test_every_class_of_the_world_and_no_other_occurs(world):
    seen = np.zeros(256, int)
    for index in range(60):
        _, labels = draw_scene(world, "train", index, size=(64, 128))
        seen[np.unique(CITYSCAPES_TO_TRAIN[labels])] += 1
    known = {name for name in NAMES if name not in LOOKS[world].absent}
    assert {NAMES[i] for i in np.flatnonzero(seen[:19])} == known
    assert all(seen[NAMES.index(name)] >= 6 for name in known)
    assert seen[19:IGNORE].sum() == 0


def test_synthia_misses_three_classes():
    assert LOOKS["synthia"].absent == {c.name for c in CLASSES if c.synthia_id is None}


def test_gta5_layout_and_encoding(tmp_path):
    files = written(tmp_path / "gta5", "gta5")
    numbers = ("00001", "00002", "00003")
    expected = {f"{folder}/{n}.png" for folder in ("images", "labels") for n in numbers}
    assert set(files) == expected | {"conditions.csv", "world.json"}
    image, labels = draw_scene("gta5", "val", 0, size=SMALL)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "gta5/images/00003.png")), image)
    with Image.open(tmp_path / "gta5/labels/00003.png") as file:
        assert file.mode == "P"
        assert np.array_equal(np.asarray(file), labels)
        colors = np.asarray(file.convert("RGB"))
    road = labels == 7
    assert road.any() and (colors[road] == (128, 64, 128)).all()


def test_synthia_layout_and_encoding(tmp_path):
    files = written(tmp_path / "synthia", "synthia")
    numbers = ("0000000", "0000001", "0000002")
    expected = {f"{folder}/{n}.png" for folder in ("RGB", "GT/LABELS") for n in numbers}
    assert set(files) == expected | {"conditions.csv", "world.json"}
    header = files["GT/LABELS/0000001.png"][16:29]
    assert header[8:10] == bytes((16, 2)), "16 bits per channel, RGB"
    _, labels = draw_scene("synthia", "train", 1, size=SMALL)
    path = tmp_path / "synthia/GT/LABELS/0000001.png"
    pixels = read_image(str(path), ImageReadMode.UNCHANGED)
    assert pixels.dtype == torch.uint16 and tuple(pixels.shape) == (3, *SMALL)
    ids = pixels.numpy()
    assert np.array_equal(SYNTHIA_TO_TRAIN[ids[0]], CITYSCAPES_TO_TRAIN[labels])
    assert ids.max() < 23 and not ids[1:].any()


def test_png16_keeps_all_sixteen_bits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    (tmp_path / "x.png").write_bytes(write.encode_png16(pixels))
    read = read_image(str(tmp_path / "x.png"), ImageReadMode.UNCHANGED).numpy()
    assert np.array_equal(read.transpose(1, 2, 0), pixels)


def test_cityscapes_layout_and_encoding(tmp_path):
    root = tmp_path / "cityscapes"
    files = written(root, "cityscapes", counts={"train": 3, "dev": 2, "val": 2})
    images = sorted(root.glob("leftImg8bit/*/*/*_leftImg8bit.png"))
    labels = sorted(root.glob("gtFine/*/*/*_gtFine_labelIds.png"))
    assert len(images) == 7 and len(labels) == 4 and len(files) == 16
    assert not (root / "gtFine/train").exists(), "nothing that adapts may have its labels"
    oracle = sorted((root / "oracle/train").glob("*/*_gtFine_labelIds.png"))
    assert [path.name.replace("gtFine_labelIds", "leftImg8bit") for path in oracle] == [
        path.name for path in images if path.is_relative_to(root / "leftImg8bit/train")
    ]
    for path in labels:
        split, city, name = path.relative_to(root / "gtFine").parts
        image = name.replace("_gtFine_labelIds", "_leftImg8bit")
        assert (root / "leftImg8bit" / split / city / image).exists()
        assert name.startswith(f"{city}_")
        with Image.open(path) as file:
            assert file.mode == "L"
            ids = np.asarray(file)
        assert set(np.unique(ids)) <= {c.cityscapes_id for c in CLASSES} | {1, 4}
        assert (ids[-1] == 1).mean() > 0.5, "the camera's own bonnet"


def test_world_json_describes_the_world(tmp_path):
    written(tmp_path / "w", "gta5", seed=5)
    description = json.loads((tmp_path / "w/world.json").read_text())
    assert description.pop("iapc_lib")
    assert description == {
        "world": "gta5",
        "seed": 5,
        "size": list(SMALL),
        "counts": COUNTS["gta5"],
    }


def test_existing_root_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(FileExistsError, match=tmp_path.name):
        write_world("gta5", tmp_path, counts={"train": 1}, progress=False)
    with pytest.raises(ValueError, match="mars"):
        write_world("mars", tmp_path / "m", counts={"train": 1}, progress=False)
    with pytest.raises(ValueError, match="dev"):
        write_world("gta5", tmp_path / "m", counts={"dev": 1}, progress=False)


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    drawn = write.draw_scene

    def interrupted(world, split, index, **options):
        if index == 1:
            raise KeyboardInterrupt
        return drawn(world, split, index, **options)

    monkeypatch.setattr(write, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "half", "gta5")
    assert list(tmp_path.iterdir()) == []
