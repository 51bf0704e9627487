"""What is looked at while a student adapts: its score on `dev`, predictions, and snapshots."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from iapc_lib.classes import colorize
from iapc_lib.data.images import (
    ImageDataset,
    read_original,
    read_train_ids,
    resize_image,
    resize_label,
    write_train_ids,
)
from iapc_lib.data.layouts import Record
from iapc_lib.evaluation.scores import score_records
from iapc_lib.files import atomic_path
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.step import Networks
from iapc_lib.networks.checkpoints import save_network
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.rows import Row
from iapc_lib.runs.folder import Run

MONITORED_IMAGES = 3
"""Whose predictions are kept."""
PICTURE_WIDTH = 512
"""Pixels of a monitored image in TensorBoard, at most."""
LOOKS_PER_RUN = 6
"""Looks during an adaptation, evenly spread, besides the one at its end."""


class Monitor:
    """Looks at the networks of an adaptation at some of its steps.

    Writes `predictions/<row>/<image>_<step>.png` of the student, the same of the memory network
    below `predictions/<row>/memory/`, and, with `adaptation.snapshots`, both networks as
    `snapshots/<row>/<student or memory>_<step>.safetensors`.

    Args:
        run: open run folder.
        row: of the results.
        records: the `dev` split with labels, or images to look at where there is none.
    """

    def __init__(self, run: Run, row: Row, records: Sequence[Record]):
        self.run, self.row, self.records = run, row, records

    def look(
        self, step: int, networks: Networks
    ) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """What is found (`dev_miou`, where there is a `dev`), and `pictures` of it."""
        config, student = self.run.config, networks.student
        student.eval()
        self._predict(step, student, "predictions", self.row.name)
        self._keep(step, "student", student)
        if self.row.memory:
            # A copy in train mode: as it is used, and its own statistics stay as they are.
            self._predict(
                step, copy.deepcopy(networks.memory), "predictions", self.row.name, "memory"
            )
            self._keep(step, "memory", networks.memory)
        found = {}
        if config.target.dev is not None:
            scores = score_records(self._ready(student), self.records, config.evaluation)
            found = {"dev_miou": scores["miou"]}
        student.train()
        return found, self.pictures(step)

    def pictures(self, step: int) -> dict[str, np.ndarray]:
        """What was looked at at a step, by place, (H, W, 3) uint8 RGB.

        Side by side: the image, the student's prediction and, where it counts, the memory's.
        """
        height, width = self.run.config.evaluation.image_size
        width, height = min(width, PICTURE_WIDTH), height * min(width, PICTURE_WIDTH) // width
        pictures = {}
        for place in range(min(MONITORED_IMAGES, len(self.records))):
            image = resize_image(read_original(self.records[place]), (height, width))
            beside = [np.asarray(image)]
            for folder in ((), ("memory",)):
                path = self.run.path("predictions", self.row.name, *folder, _picture(place, step))
                if path.exists():
                    beside.append(colorize(resize_label(read_train_ids(path), (height, width))))
            pictures[str(place)] = np.concatenate(beside, axis=1)
        return pictures

    def _ready(self, network: DeepLabV2) -> ReadyNetwork:
        return ReadyNetwork(network, self.run.config.class_set, self.run.machine)

    def _predict(self, step: int, network: DeepLabV2, *folder: str) -> None:
        config, ready = self.run.config, self._ready(network)
        images = ImageDataset(self.records, config.evaluation.image_size, config.class_set)
        for place in range(min(MONITORED_IMAGES, len(images))):
            item = images[place]
            labels = ready.predict_train_ids(item["image"][None], item["size"])[0]
            with atomic_path(self.run.path(*folder, _picture(place, step))) as temporary:
                write_train_ids(temporary, labels)

    def _keep(self, step: int, name: str, network: DeepLabV2) -> None:
        if self.run.config.adaptation.snapshots:
            path = self.run.path("snapshots", self.row.name, f"{name}_{step:06d}.safetensors")
            what = f"{name} of {self.row.name} after {step} updates"
            save_network(path, network, self.run.config, what=what)


def dev_curve(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """What a history has of mIoU on `dev`, in per cent: (step, score); empty without a `dev`."""
    looks = [entry for entry in history if "dev_miou" in entry.get("watched", {})]
    return [(look["step"], look["watched"]["dev_miou"]) for look in looks]


def _picture(place: int, step: int) -> str:
    return f"{place}_{step:06d}.png"
