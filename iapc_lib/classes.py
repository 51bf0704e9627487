"""The 19 evaluation classes of Cityscapes and everything that derives from that one table.

Labels are *train ids* (0..18, 255 = ignore) everywhere in the library. Data sets store other
ids (Cityscapes and GTA5: Cityscapes label ids; SYNTHIA: its own), and a network may know only
some of the classes (16 for SYNTHIA); both are look-up tables from here.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

IGNORE = 255
"""Train id of pixels without an evaluated class."""


@dataclass(frozen=True)
class SegmentationClass:
    """One row of the table: a class, its colour and its ids in the data sets' label files."""

    train_id: int
    name: str
    color: tuple[int, int, int]
    cityscapes_id: int
    synthia_id: int | None
    camvid_id: int | None


CLASSES = tuple(
    SegmentationClass(train_id, *row)
    for train_id, row in enumerate(
        [
            ("road", (128, 64, 128), 7, 3, 3),
            ("sidewalk", (244, 35, 232), 8, 4, 4),
            ("building", (70, 70, 70), 11, 2, 1),
            ("wall", (102, 102, 156), 12, 21, None),
            ("fence", (190, 153, 153), 13, 5, 7),
            ("pole", (153, 153, 153), 17, 7, 2),
            ("traffic light", (250, 170, 30), 19, 15, None),
            ("traffic sign", (220, 220, 0), 20, 9, 6),
            ("vegetation", (107, 142, 35), 21, 6, 5),
            ("terrain", (152, 251, 152), 22, None, None),
            ("sky", (70, 130, 180), 23, 1, 0),
            ("person", (220, 20, 60), 24, 10, 9),
            ("rider", (255, 0, 0), 25, 17, 10),
            ("car", (0, 0, 142), 26, 8, 8),
            ("truck", (0, 0, 70), 27, None, None),
            ("bus", (0, 60, 100), 28, 19, None),
            ("train", (0, 80, 100), 31, None, None),
            ("motorcycle", (0, 0, 230), 32, 12, None),
            ("bicycle", (119, 11, 32), 33, 11, None),
        ]
    )
)
NUM_CLASSES = len(CLASSES)
NAMES = tuple(c.name for c in CLASSES)

PALETTE = np.zeros((256, 3), np.uint8)
"""(256, 3) uint8: the Cityscapes colour of every train id; ignored pixels are black."""
PALETTE[:NUM_CLASSES] = [c.color for c in CLASSES]

UNKNOWN_ID = 254
"""Marks, in the id tables below, values that a data set's label file must not contain."""


def _id_table(train_id_of: dict[int, int], valid_ids: range) -> np.ndarray:
    table = np.full(256, UNKNOWN_ID, np.uint8)
    table[list(valid_ids)] = IGNORE
    table[IGNORE] = IGNORE
    for label_id, train_id in train_id_of.items():
        table[label_id] = train_id
    return table


# GTA5 adds one id to the 0..33 of Cityscapes: 34, the licence plate (-1 in Cityscapes).
CITYSCAPES_TO_TRAIN = _id_table({c.cityscapes_id: c.train_id for c in CLASSES}, range(34))
GTA5_TO_TRAIN = _id_table({c.cityscapes_id: c.train_id for c in CLASSES}, range(35))
SYNTHIA_TO_TRAIN = _id_table(
    {c.synthia_id: c.train_id for c in CLASSES if c.synthia_id is not None}, range(23)
)
# The 11-class form of the SegNet tutorial: pedestrian -> person, bicyclist -> rider.
CAMVID_TO_TRAIN = _id_table(
    {c.camvid_id: c.train_id for c in CLASSES if c.camvid_id is not None}, range(12)
)
# UrbanSyn's files hold train ids themselves; 19 is what no class has.
URBANSYN_TO_TRAIN = _id_table({c.train_id: c.train_id for c in CLASSES}, range(20))

CITYSCAPES_ID_OF_TRAIN = np.zeros(256, np.uint8)
"""(256,) uint8: train id -> Cityscapes label id; what is no evaluated class becomes 0."""
CITYSCAPES_ID_OF_TRAIN[:NUM_CLASSES] = [c.cityscapes_id for c in CLASSES]


@dataclass(frozen=True)
class ClassSet:
    """Some of the 19 classes, in order: what a network knows, or what a score is over."""

    train_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.train_ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, in the order of the network's channels."""
        return tuple(NAMES[i] for i in self.train_ids)

    @cached_property
    def channel_of_train_id(self) -> np.ndarray:
        """(256,) uint8: train id -> channel; classes outside the set become 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[list(self.train_ids)] = np.arange(len(self))
        return table

    @cached_property
    def train_id_of_channel(self) -> np.ndarray:
        """(256,) uint8: channel -> train id; 255 stays 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self)] = self.train_ids
        return table

    def train_ids_of(self, channels: np.ndarray) -> np.ndarray:
        """Channel numbers, or a CPU tensor of them, of any shape -> train ids, uint8."""
        return self.train_id_of_channel[np.asarray(channels)]

    def known_only(self, labels: np.ndarray) -> np.ndarray:
        """Train ids, uint8; classes outside the set become 255."""
        return self.train_id_of_channel[self.channel_of_train_id[labels]]


ALL_19 = ClassSet(tuple(range(NUM_CLASSES)))
SYNTHIA_16 = ClassSet(
    tuple(c.train_id for c in CLASSES if c.name not in ("terrain", "truck", "train"))
)
SYNTHIA_13 = ClassSet(
    tuple(i for i in SYNTHIA_16.train_ids if NAMES[i] not in ("wall", "fence", "pole"))
)
CAMVID_11 = ClassSet(tuple(c.train_id for c in CLASSES if c.camvid_id is not None))
CLASS_SETS = {19: ALL_19, 16: SYNTHIA_16, 13: SYNTHIA_13, 11: CAMVID_11}


def colorize(labels: np.ndarray) -> np.ndarray:
    """Train ids (H, W) uint8 -> Cityscapes colours (H, W, 3) uint8."""
    return PALETTE[labels]
