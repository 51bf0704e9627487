"""The rows between which an adaptation must lie: with the target's true labels, and with wrong ones."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import load_config
from iapc_lib.data.images import read_label, read_train_ids
from iapc_lib.data.layouts import DataError, domain_root, target_records
from iapc_lib.pipeline import stages
from iapc_lib.pipeline.checking import check
from iapc_lib.rows import ROWS
from iapc_lib.runs.folder import open_run
from tests.conftest import PRESETS, tiny_overrides


@pytest.fixture
def own_run(tmp_path):
    """A run whose data no other test shares."""
    return open_run(PRESETS / "mini_gta5.yaml", tmp_path / "run", 0, tiny_overrides(tmp_path))


def test_only_the_oracle_reads_the_labels_of_the_training_images(own_run):
    stages.data(own_run)
    labels = domain_root(own_run.config, "target") / "oracle"
    hidden = labels.rename(labels.with_name("hidden"))
    for row in ROWS.values():
        if row.labels != "true":
            stages.network_file(own_run, row.name)
    with pytest.raises(DataError, match=r"oracle/train/.*labelIds.png: no such file"):
        stages.network_file(own_run, "oracle")
    hidden.rename(labels)
    stages.network_file(own_run, "oracle")


def test_the_oracle_is_trained_with_the_true_labels(tiny_run):
    records, files = stages.pseudo_labels(tiny_run, "oracle")
    assert all(record.label is None for record in records)
    labelled = target_records(tiny_run.config, "train", labels=True)
    for record, path in zip(labelled, files, strict=True):
        assert np.array_equal(read_train_ids(path), read_label(record))


def test_shuffled_labels_are_the_pseudo_labels_of_other_images(tiny_run, monkeypatch):
    records, files = stages.pseudo_labels(tiny_run, "iapc")
    given = {}

    def adapt(run, row, teacher, records, labels, *_):
        given["records"], given["labels"] = records, labels
        return teacher, []

    monkeypatch.setattr(stages, "adapt", adapt)
    stages.network_file(tiny_run, "shuffled")
    assert [r.name for r in given["records"]] == [r.name for r in records]
    assert sorted(given["labels"]) == sorted(files)
    assert all(a != b for a, b in zip(given["labels"], files, strict=True))


def test_an_oracle_without_labels_is_refused(tmp_path):
    changes = {
        "source.checkpoint": "net.pth",
        "target.root": str(tmp_path),
        "adaptation.methods": ["self_training", "iapc", "oracle"],
    }
    with pytest.raises(ConfigError, match="oracle needs labels of target.train"):
        load_config(PRESETS / "own_images.yaml", overrides=changes)


def test_check_reads_the_labels_of_an_oracle_only(own_run):
    stages.data(own_run)
    shutil.rmtree(domain_root(own_run.config, "target") / "oracle")
    changes = tiny_overrides(own_run.folder.parent)

    def problems_of(*methods):
        overrides = changes | {"adaptation.methods": methods}
        config = load_config(PRESETS / "mini_gta5.yaml", overrides=overrides)
        return check(config, own_run.folder).problems

    assert not problems_of("self_training", "iapc")
    problems = problems_of("self_training", "iapc", "oracle")
    assert problems and all("oracle/train" in problem for problem in problems)
