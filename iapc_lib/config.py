"""`RunConfig`: the validated, frozen description of one run.

Every field has a sentence, here or in `sections`. Unknown keys and impossible values are refused
by name when a preset is read (`presets`). Sizes are `(height, width)` in pixels.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from iapc_lib.classes import CLASS_SETS, ClassSet
from iapc_lib.sections import (
    Adaptation,
    Count,
    Evaluation,
    Fidelity,
    Hardware,
    Losses,
    Model,
    PseudoLabels,
    Section,
    Seed,
    Size,
    SourceTraining,
    Variant,
    Views,
)


class Miniature(Section):
    """The drawn worlds that stand in for the real data sets (`data/miniature`)."""

    folder: str = "data/miniature"
    """Where the worlds are drawn, relative to the project."""
    size: Size = (128, 256)
    """Size of the drawn images."""
    seed: Seed = 1
    """Seed of the drawings; the run's own seed does not change the data."""
    source_train: Count = 240
    """Labelled source images to train on."""
    source_val: Count = 40
    """Labelled source images for the score at home."""
    target_train: Count = 160
    """Target images without labels, the only ones that adaptation sees."""
    target_dev: Count = 40
    """Labelled target images on which choices may be made."""
    target_val: Count = 80
    """Labelled target images for the score; nothing is ever chosen on them."""


class SourceDomain(Section):
    """The labelled domain on which the source network is trained, or a network that was."""

    layout: Literal["gta5", "synthia", "camvid"] | None = None
    """How the data set keeps its files; none where a checkpoint is all that is left of it."""
    root: str | None = None
    """Folder of the data set; left out for the miniature."""
    train: Count | None = None
    """Number of images, in the order of their names, to train on; left out for the miniature."""
    val: Count | None = None
    """Number of images after those, for the score at home; left out for the miniature."""
    sequences: tuple[str, ...] = ()
    """CamVid: only images whose names start with one of these; none: all."""
    leave_out: tuple[str, ...] = ()
    """File names of images that are not used, such as those whose label has another size."""
    checkpoint: str | None = None
    """A trained source network to start from instead of training one: ours or a published one."""


class TargetDomain(Section):
    """The streets to adapt to: images without labels, and labelled ones for the score."""

    layout: Literal["cityscapes", "camvid", "folder"] = "cityscapes"
    """How the data set keeps its files; `folder` is any folder of images, without labels."""
    root: str | None = None
    """Folder of the data set; left out for the miniature."""
    train: str = "train"
    """Split (of layout `folder`: subfolder, `.` for all) whose images are adapted to."""
    dev: str | None = None
    """Labelled split on which choices may be made, if there is one."""
    dev_every: Annotated[int, Field(ge=2)] | None = None
    """With `dev` the same split as `train`: every so-many-th of its images is `dev`, not `train`."""
    val: str | None = "val"
    """Labelled split for the score; none where nothing is labelled."""
    sequences: tuple[str, ...] = ()
    """CamVid: only images whose names start with one of these; none: all."""


class RunConfig(Section):
    """Everything that decides a run's numbers, and the hardware to run it on."""

    scenario: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Name of the experiment; names the run folder."""
    seed: Seed = 0
    """Seed of the run."""
    classes: Literal[19, 16, 11] = 19
    """Classes that the network knows: 19, the 16 of SYNTHIA, or the 11 of CamVid."""
    miniature: Miniature | None = None
    """Draw the data sets instead of reading real ones."""
    variant: Variant | None = None
    """Make one row of a larger table only; none: all rows."""
    source: SourceDomain
    target: TargetDomain
    model: Model = Model()
    source_training: SourceTraining = SourceTraining()
    pseudo_labels: PseudoLabels = PseudoLabels()
    views: Views = Views()
    losses: Losses = Losses()
    adaptation: Adaptation = Adaptation()
    fidelity: Fidelity = Fidelity()
    evaluation: Evaluation = Evaluation()
    hardware: Hardware = Hardware()

    @property
    def class_set(self) -> ClassSet:
        """The classes that the network knows."""
        return CLASS_SETS[self.classes]

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the numbers: every field but `hardware`."""
        return fingerprint(self.model_dump(mode="json", exclude={"hardware"}))

    @model_validator(mode="after")
    def _is_consistent(self):
        problems = []
        problems += self._domain_problems()
        for name in ("views", "source_training"):
            low, high = getattr(self, name).scale_range
            if low > high:
                problems.append(f"{name}.scale_range must rise, got {[low, high]}")
        smallest = [
            [round(side * min(section.scale_range[0], 1.0)) for side in section.image_size]
            for section in (self.views, self.source_training)
        ]
        for name, crop, image in (
            ("views.crop_size", self.views.crop_size, smallest[0]),
            ("views.crop_size", self.views.crop_size, self.views.clean_size),
            (
                "source_training.crop_size",
                self.source_training.crop_size or (0, 0),
                smallest[1],
            ),
        ):
            if crop[0] > image[0] or crop[1] > image[1]:
                problems.append(f"{name} {list(crop)} does not fit into an image of {list(image)}")
        if self.adaptation.optimizer.name != "sgd" and self.fidelity.parameter_visits != "once":
            problems.append(
                "fidelity.parameter_visits 'published' is a property of the published SGD: "
                "with adaptation.optimizer.name 'adamw' it must be 'once'"
            )
        if self.source.layout == "synthia" and self.classes != 16 and not self.source.checkpoint:
            problems.append("classes must be 16 for SYNTHIA: it has no terrain, truck and train")
        if self.source.layout == "camvid" and self.classes != 11 and not self.source.checkpoint:
            problems.append("classes must be 11 for CamVid: it labels no others")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _domain_problems(self) -> list[str]:
        source, target, problems = self.source, self.target, []
        if source.layout is None:
            if source.checkpoint is None:
                problems.append("source.checkpoint is missing: without source.layout it is needed")
            for name in ("root", "train", "val"):
                if getattr(source, name) is not None:
                    problems.append(f"source.{name} needs a source.layout")
        domains = (
            {"target": target} if source.layout is None else {"source": source, "target": target}
        )
        for name, section in domains.items():
            if self.miniature is None and section.root is None:
                problems.append(f"{name}.root is missing: name the folder of the data set")
            if self.miniature is not None and section.root is not None:
                problems.append(f"{name}.root and miniature exclude one another: leave one out")
            if self.miniature is not None and section.layout in ("camvid", "folder"):
                problems.append(f"{name}.layout {section.layout} is not drawn as a miniature")
            if section.sequences and section.layout != "camvid":
                problems.append(f"{name}.sequences are for layout camvid")
        if self.miniature is None and source.layout and None in (source.train, source.val):
            problems.append("source.train and source.val are missing: the numbers of images")
        if target.layout == "folder" and (target.dev or target.val):
            problems.append("target.dev and target.val must be null for layout folder: no labels")
        held_out = target.dev_every is not None and target.dev == target.train
        if target.dev_every is not None and not held_out:
            problems.append(
                "target.dev_every needs target.dev to be the same split as target.train"
            )
        splits = [target.train, target.val] + ([] if held_out else [target.dev])
        splits = [split for split in splits if split is not None]
        if len(set(splits)) < len(splits):
            problems.append(f"target.train, dev and val must be different splits, got {splits}")
        return problems


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that stand for a JSON-able value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SHARED_FIELDS = (
    "seed",
    "classes",
    "miniature",
    "source",
    "target",
    "model",
    "source_training",
    "pseudo_labels",
    "evaluation",
)
"""On which source network, pseudo-labels and scores depend: what variants of a run share."""
