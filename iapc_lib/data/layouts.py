"""Where GTA5, SYNTHIA and Cityscapes keep their files: the only place that knows a path pattern.

Layouts and encodings after method.md, 12. A record is one image and, where there is one, its label.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iapc_lib.classes import CITYSCAPES_TO_TRAIN, GTA5_TO_TRAIN, SYNTHIA_TO_TRAIN
from iapc_lib.config import RunConfig, fingerprint
from iapc_lib.data import miniature
from iapc_lib.presets import resolve

ID_TABLES = {
    "gta5": GTA5_TO_TRAIN,
    "synthia": SYNTHIA_TO_TRAIN,
    "cityscapes": CITYSCAPES_TO_TRAIN,
}


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
    "cityscapes": (
        "Cityscapes (2,975 training, 500 validation images) is offered, after registration, by "
        "https://www.cityscapes-dataset.com; unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip so that ROOT/leftImg8bit/train/aachen/"
        "aachen_000000_000019_leftImg8bit.png and ROOT/gtFine/train/aachen/"
        "aachen_000000_000019_gtFine_labelIds.png exist"
    ),
}
"""Where the data sets come from and how their folders look; none may be redistributed."""


class DataError(ValueError):
    """A data set, image or label that cannot be used; the message names the file."""


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
    own = {key: value for key, value in sizes.items() if not key.startswith(other)}
    # Worlds that an older drawing code made are other data: they get another folder.
    return (
        resolve(config.miniature.folder)
        / f"{section.layout}-{fingerprint([own, _drawing_code()])[:8]}"
    )


@functools.cache
def _drawing_code() -> str:
    return fingerprint(
        [path.read_text() for path in sorted(Path(miniature.__file__).parent.glob("*.py"))]
    )


def source_records(config: RunConfig) -> tuple[list[Record], list[Record]]:
    """Training and validation records of the source domain, in the order of their names.

    Raises:
        DataError: the folder is missing or holds too few images.
    """
    root, layout = domain_root(config, "source"), config.source.layout
    images, labels = {
        "gta5": ("images", "labels"),
        "synthia": ("RGB", "GT/LABELS"),
    }[layout]
    train, val = config.source.train, config.source.val
    if config.miniature is not None:
        train, val = config.miniature.source_train, config.miniature.source_val
    records = [
        Record(path.name, path, root / labels / path.name, layout)
        for path in _images(root, images, "*.png", layout)
    ]
    if len(records) < train + val:
        raise DataError(
            f"{root / images}: holds {len(records)} images, but source.train + source.val "
            f"are {train} + {val}"
        )
    return records[:train], records[train : train + val]


def target_records(config: RunConfig, split: str, labels: bool) -> list[Record]:
    """Records of the target domain's `train`, `dev` or `val` (keys of `config.target`).

    Args:
        labels: False gives records without labels, whatever the data set holds.

    Raises:
        DataError: the folder is missing or empty.
    """
    root, folder = domain_root(config, "target"), getattr(config.target, split)
    records = []
    for path in _images(root, f"leftImg8bit/{folder}", "*/*_leftImg8bit.png", "cityscapes"):
        city = path.parent.name
        label_name = path.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        label = root / "gtFine" / folder / city / label_name if labels else None
        records.append(Record(f"{city}/{path.name}", path, label, "cityscapes"))
    return records


def _images(root: Path, folder: str, pattern: str, layout: str) -> list[Path]:
    paths = sorted((root / folder).glob(pattern))
    if not paths:
        what = f"no image matches {pattern}" if (root / folder).is_dir() else "no such folder"
        help = HOW_TO_GET[layout].replace("ROOT", str(root))
        domain = "target" if layout == "cityscapes" else "source"
        raise DataError(
            f"{root / folder}: {what}. {help}, or name another folder: --set {domain}.root=DIR"
        )
    return paths
