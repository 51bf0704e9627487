"""What is looked at while a student adapts: its score on `dev`, and its predictions as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iapc_lib.data.dataset import ImageDataset, write_train_ids
from iapc_lib.data.layouts import Record
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.evaluation import predict_labels, score_records
from iapc_lib.runs import Run, atomic_path

WATCHED_IMAGES = 3


class Watch:
    """Called with the step and the student; returns what goes into the history there.

    Args:
        run: open run folder; pictures go to `predictions/<method>/<image>_<step>.png`.
        method: row of the results.
        records: the `dev` split with labels, or images to look at where there is none.
    """

    def __init__(self, run: Run, method: str, records: Sequence[Record]):
        self.run, self.method, self.records = run, method, records

    def __call__(self, step: int, student: DeepLabV2) -> dict[str, Any]:
        config, machine = self.run.config, self.run.machine
        was_training = student.training
        student.eval()
        images = ImageDataset(self.records, config.evaluation.image_size, config.class_set)
        for place in range(min(WATCHED_IMAGES, len(self.records))):
            item = images[place]
            label = predict_labels(machine, student, item["image"][None], item["size"])[0]
            with atomic_path(
                self.run.path("predictions", self.method, f"{place}_{step:06d}.png")
            ) as temporary:
                write_train_ids(
                    temporary, config.class_set.train_id_of_channel[label.cpu().numpy()]
                )
        student.train(was_training)
        if config.target.dev is None:
            return {}
        found = score_records(machine, student, self.records, config.evaluation, config.class_set)
        return {"dev_miou": found["miou"]}
