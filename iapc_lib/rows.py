"""The one table of rows: what each row of the results is, and how it is made.

A *variant* (`papermill_runs/variants`) is no entry here: it is a file that makes one of these rows
with some settings changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """A row of the results table."""

    name: str
    """In `results.json`, in names of files, and in a configuration."""
    title: str
    """As people read it."""
    learns_from: str
    """What it learns from, in a few words."""
    teacher: str | None = None
    """Row that it starts from, and whose network gives pseudo-labels and importance."""
    update: str | None = None
    """What trains it: `iapc`, or a key of `training.baselines.BASELINES`; none: nothing is trained."""
    trains: Literal["weights", "batchnorm"] = "weights"
    """What the optimiser moves: all weights, or BatchNorm's scale and shift alone."""
    batchnorm: bool = False
    """Whether BatchNorm statistics are recomputed on the target at the end."""
    labels: Literal["teacher", "shuffled", "true"] = "teacher"
    """The teacher's pseudo-labels; or controls: those of other images, or the target's labels."""

    @property
    def memory(self) -> bool:
        """Whether there is a memory network, hence prototypes and the terms of the objective."""
        return self.update == "iapc"

    @property
    def file(self) -> str:
        """Name of its network's file in a run folder, without the suffix."""
        special = {"source_only": "source", "iapc": "adapted"}
        return special.get(self.name, f"adapted_{self.name}")

    @property
    def stage(self) -> str:
        """Name of the stage that makes its network."""
        special = {"source_only": "source_network", "bn_recomputed": "bn_recomputed"}
        return special.get(self.name, f"adaptation_{self.name}")

    @property
    def pseudo_labels(self) -> str:
        """Name of the folder, and the stage, of the labels that it is trained with."""
        if self.labels == "true":
            return "true_labels"
        return "pseudo_labels_bn_teacher" if self.teacher == "bn_recomputed" else "pseudo_labels"


ROWS = {
    row.name: row
    for row in (
        Row("source_only", "source only", "the labelled source images"),
        Row(
            "bn_recomputed",
            "BatchNorm recomputed",
            "nothing; its BatchNorm statistics are the target's",
            teacher="source_only",
            batchnorm=True,
        ),
        Row(
            "tent",
            "TENT",
            "the entropy of its own predictions",
            teacher="source_only",
            update="entropy",
            trains="batchnorm",
        ),
        Row(
            "self_training",
            "self-training",
            "pseudo-labels by plain cross-entropy",
            teacher="source_only",
            update="self_training",
        ),
        Row(
            "self_training_confident",
            "self-training, confident pixels",
            "pseudo-labels by plain cross-entropy, where the source network is sure",
            teacher="source_only",
            update="confident_self_training",
        ),
        Row("iapc", "IAPC", "the five terms", teacher="source_only", update="iapc"),
        Row(
            "iapc_bn_teacher",
            "IAPC, BN teacher (ours)",
            "the five terms; its teacher has recomputed BatchNorm statistics",
            teacher="bn_recomputed",
            update="iapc",
            batchnorm=True,
        ),
        Row(
            "shuffled",
            "IAPC, shuffled labels",
            "the five terms, with pseudo-labels of other images: a lower bound",
            teacher="source_only",
            update="iapc",
            labels="shuffled",
        ),
        Row(
            "oracle",
            "oracle",
            "the target's true labels by plain cross-entropy: an upper bound",
            teacher="source_only",
            update="self_training",
            labels="true",
        ),
    )
}
"""All rows by name, in the order of tables."""

TITLES = {name: row.title for name, row in ROWS.items()}
"""Rows by name, as people read them."""

RowName = Literal[*ROWS]
"""Name of a row."""
AdaptedRow = Literal[*(name for name, row in ROWS.items() if row.update)]
"""Name of a row that is trained on the target."""
UNTRAINED = [name for name, row in ROWS.items() if not row.update]
"""Names of the other rows, which every run has."""

_LOSSES = ("ia", "ps", "pe", "im", "ia_ps", "ia_pe", "ia_im", "ps_pe", "ps_im", "pe_im")
_LOSSES += ("ia_ps_pe", "ia_ps_im", "ia_pe_im", "ps_pe_im")
_IAPC = [*ROWS].index("iapc")
ORDER = (*[*ROWS][:_IAPC], *_LOSSES, *[*ROWS][_IAPC:])
"""Names of rows and variants, in the order of tables where no study names another."""


def title_of(results: Mapping[str, Any], name: str) -> str:
    """A row of a `results.json` as people read it; a variant's has the variant's title.

    A variant that bears the name of a row changes nothing of it, and has the row's title.
    """
    variant = results["variant"]
    return TITLES.get(variant.get("name"), variant["title"]) if variant else TITLES[name]
