"""What lies beside a variant's run: comparable scores, their course, and networks."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from iapc_lib.config.presets import load_config
from iapc_lib.studies.beside import beside, changed_settings, dev_scores, network_beside
from tests.conftest import PROJECT
from tests.studies.test_reading import results, write

PRESET = PROJECT / "papermill_runs" / "mini_gta5.yaml"


@pytest.fixture
def run(tmp_path):
    """A variant's run, the run of all methods beside it, and one of another seed."""
    everything = results(rows={"source_only": 30.0, "bn_recomputed": 35.0, "iapc": 40.0})
    everything["dev_scores"] = {name: {"miou": 33.0} for name in everything["scores"]}
    write(tmp_path, "mini_gta5-seed0", everything)
    history = [{"step": step, "watched": {"dev_miou": 30.0 + step}} for step in (0, 6)]
    (tmp_path / "mini_gta5-seed0" / "history_iapc.json").write_text(json.dumps(history))
    write(tmp_path, "mini_gta5-seed0-ia", results(variant="ia", miou=37.0))
    write(tmp_path, "mini_gta5-seed1", results(seed=1))
    config = SimpleNamespace(scenario="mini_gta5", seed=0)
    return SimpleNamespace(folder=tmp_path / "mini_gta5-seed0-ia", config=config)


def test_scores_of_the_same_seed_lie_beside_a_run(run):
    found = beside(run)
    assert set(found["key"]) == {"source_only", "bn_recomputed", "iapc", "ia"}
    assert network_beside(run, found, "iapc") is None  # scores without a network


def test_the_course_on_dev_is_that_of_trained_methods(run):
    lines, levels = dev_scores(run, beside(run), ["source only", "IAPC"])
    pd.testing.assert_series_equal(lines["IAPC"], pd.Series({0: 30.0, 6: 36.0}))
    assert levels == {"source only": 33.0}


def test_without_scores_nothing_lies_beside(run):
    (run.folder / "results.json").unlink()
    found = beside(run)
    assert found.empty
    assert dev_scores(run, found, ["IAPC"]) == ({}, {})


def test_settings_that_differ_are_named_with_both_values():
    runs = [
        SimpleNamespace(config=load_config(PRESET, variant=variant)) for variant in (None, "ia_pe")
    ]
    table = changed_settings(runs[1], runs[0], ("IAPC", "IA+PE"))
    assert table.loc["losses.information_maximization"].to_list() == [2.0, 0.0]
    assert len(table) == 2
    assert changed_settings(runs[0], runs[0], ("a", "b")).empty
