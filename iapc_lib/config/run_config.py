"""`RunConfig`: the validated, frozen description of one run.

Every field has a sentence, here or in `sections`. Unknown keys and impossible values are refused
by name when a preset is read (`presets`). Sizes are `(height, width)` in pixels.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from iapc_lib.classes import CLASS_SETS, ClassSet
from iapc_lib.config.sections import (
    Adaptation,
    Evaluation,
    Hardware,
    Miniature,
    PseudoLabels,
    SourceDomain,
    SourceTraining,
    TargetDomain,
    Variant,
    Views,
)
from iapc_lib.files import fingerprint
from iapc_lib.method.settings import Fidelity, Losses, Model, Section, Seed, StepSettings
from iapc_lib.rows import ROWS


class RunConfig(Section):
    """Everything that decides a run's numbers, and the hardware to run it on."""

    scenario: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=200)]
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
    def step_settings(self) -> StepSettings:
        """What one update is told."""
        decay = self.adaptation.memory_decay
        return StepSettings(memory_decay=decay, losses=self.losses, fidelity=self.fidelity)

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
            if self.miniature is not None and section.layout in ("camvid", "folder", "urbansyn"):
                problems.append(f"{name}.layout {section.layout} is not drawn as a miniature")
            if self.miniature is not None and name == "target":
                splits = {target.train, target.dev, target.val} - {None, "train", "dev", "val"}
                if splits:
                    problems.append(
                        f"target has no split {', '.join(sorted(splits))}: the miniature's are "
                        "train, dev and val"
                    )
            if section.sequences and section.layout != "camvid":
                problems.append(f"{name}.sequences are for layout camvid")
        if self.miniature is None and source.layout and None in (source.train, source.val):
            problems.append("source.train and source.val are missing: the numbers of images")
        if target.layout == "folder" and (target.dev or target.val):
            problems.append("target.dev and target.val must be null for layout folder: no labels")
        made = [self.variant.row] if self.variant else self.adaptation.methods
        if target.layout == "folder" and any(ROWS[row].labels == "true" for row in made):
            problems.append("row oracle needs labels of target.train, and layout folder has none")
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
