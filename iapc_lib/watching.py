"""What is looked at while a student adapts: its score on `dev`, predictions, and snapshots."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from iapc_lib.adaptation import Networks
from iapc_lib.checkpoints import save_network
from iapc_lib.classes import colorize
from iapc_lib.data.dataset import (
    ImageDataset,
    read_original,
    read_train_ids,
    resize_image,
    resize_label,
    write_train_ids,
)
from iapc_lib.data.layouts import Record
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.evaluation import predict_labels, score_records
from iapc_lib.runs import Run, atomic_path
from iapc_lib.sections import IAPC_ROWS

WATCHED_IMAGES = 3
"""Whose predictions are kept."""
PICTURE_WIDTH = 512
"""Pixels of a watched image in TensorBoard, at most."""
WATCHES_PER_RUN = 6
"""Looks during an adaptation, evenly spread, besides the one at its end."""


class Watch:
    """Called with the step and the networks; returns what goes into the history there.

    Writes `predictions/<method>/<image>_<step>.png` of the student, the same of the memory network
    below `predictions/<method>/memory/`, and, with `adaptation.snapshots`, both networks as
    `snapshots/<method>/<student or memory>_<step>.safetensors`.

    Args:
        run: open run folder.
        method: row of the results.
        records: the `dev` split with labels, or images to look at where there is none.
    """

    def __init__(self, run: Run, method: str, records: Sequence[Record]):
        self.run, self.method, self.records = run, method, records

    def __call__(self, step: int, networks: Networks) -> dict[str, Any]:
        config, student = self.run.config, networks.student
        student.eval()
        self._predict(step, student, "predictions", self.method)
        self._keep(step, "student", student)
        if self.method in IAPC_ROWS:
            # A copy in train mode: as it is used, and its own statistics stay as they are.
            memory = copy.deepcopy(networks.memory)
            self._predict(step, memory, "predictions", self.method, "memory")
            self._keep(step, "memory", networks.memory)
        found = {}
        if config.target.dev is not None:
            scores = score_records(
                self.run.machine, student, self.records, config.evaluation, config.class_set
            )
            found = {"dev_miou": scores["miou"]}
        student.train()
        return found

    def pictures(self, step: int) -> dict[str, np.ndarray]:
        """What was looked at at a step, by place, (H, W, 3) uint8 RGB.

        Side by side: the image, the student's prediction and, where it counts, the memory's.
        """
        height, width = self.run.config.evaluation.image_size
        width, height = min(width, PICTURE_WIDTH), height * min(width, PICTURE_WIDTH) // width
        pictures = {}
        for place in range(min(WATCHED_IMAGES, len(self.records))):
            image = resize_image(read_original(self.records[place]), (height, width))
            beside = [np.asarray(image)]
            for folder in ((), ("memory",)):
                path = self.run.path("predictions", self.method, *folder, _picture(place, step))
                if path.exists():
                    beside.append(colorize(resize_label(read_train_ids(path), (height, width))))
            pictures[str(place)] = np.concatenate(beside, axis=1)
        return pictures

    def _predict(self, step: int, network: DeepLabV2, *folder: str) -> None:
        classes = self.run.config.class_set
        images = ImageDataset(self.records, self.run.config.evaluation.image_size, classes)
        for place in range(min(WATCHED_IMAGES, len(images))):
            item = images[place]
            label = predict_labels(self.run.machine, network, item["image"][None], item["size"])[0]
            path = self.run.path(*folder, _picture(place, step))
            with atomic_path(path) as temporary:
                write_train_ids(temporary, classes.train_id_of_channel[label.cpu().numpy()])

    def _keep(self, step: int, name: str, network: DeepLabV2) -> None:
        if self.run.config.adaptation.snapshots:
            path = self.run.path("snapshots", self.method, f"{name}_{step:06d}.safetensors")
            what = f"{name} of {self.method} after {step} updates"
            save_network(path, network, self.run.config, what=what)


def _picture(place: int, step: int) -> str:
    return f"{place}_{step:06d}.png"
