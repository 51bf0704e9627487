"""The one table of rows, and the names that run folders of every version hold."""

from __future__ import annotations

from iapc_lib.rows import ORDER, ROWS, Row
from iapc_lib.training.baselines import BASELINES
from tests.conftest import PRESETS

KEPT = {
    # row: file of its network, stage, pseudo-labels
    "source_only": ("source", "source_network", None),
    "bn_recomputed": ("adapted_bn_recomputed", "bn_recomputed", None),
    "tent": ("adapted_tent", "adaptation_tent", "pseudo_labels"),
    "self_training": ("adapted_self_training", "adaptation_self_training", "pseudo_labels"),
    "self_training_confident": (
        "adapted_self_training_confident",
        "adaptation_self_training_confident",
        "pseudo_labels",
    ),
    "iapc": ("adapted", "adaptation_iapc", "pseudo_labels"),
    "iapc_bn_teacher": (
        "adapted_iapc_bn_teacher",
        "adaptation_iapc_bn_teacher",
        "pseudo_labels_bn_teacher",
    ),
    "shuffled": ("adapted_shuffled", "adaptation_shuffled", "pseudo_labels"),
    "oracle": ("adapted_oracle", "adaptation_oracle", "true_labels"),
}


def test_names_in_run_folders_stay_what_they_were():
    found = {n: (r.file, r.stage, r.update and r.pseudo_labels) for n, r in ROWS.items()}
    assert found == KEPT


def test_every_row_can_be_made():
    for name, row in ROWS.items():
        assert row.name == name
        assert (row.teacher is None) == (name == "source_only")
        # A teacher is made before its student: there is no circle.
        assert row.teacher is None or list(ROWS).index(row.teacher) < list(ROWS).index(name)
        assert row.update in {None, "iapc", *BASELINES}
        assert row.memory == (row.update == "iapc")
        assert isinstance(row, Row) and row.title and row.learns_from


def test_order_of_tables_names_every_row_and_every_variant_of_the_losses_once():
    assert len(set(ORDER)) == len(ORDER)
    assert set(ROWS) <= set(ORDER)
    known = {path.stem for path in (PRESETS / "variants").glob("*.yaml")}
    assert set(ORDER) <= known
