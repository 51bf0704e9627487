"""Many runs: what is read, set aside and named as missing; means, differences and their export."""

from __future__ import annotations

import builtins
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iapc_lib import figures
from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import load_config
from iapc_lib.config.run_config import SHARED_FIELDS
from iapc_lib.files import FileError
from iapc_lib.notebook import Folded
from iapc_lib.runs.records import RESULTS_FORMAT
from iapc_lib.studies.reading import CLASS_PREFIX, MIOU, read_runs
from iapc_lib.studies.tables import (
    class_changes,
    class_table,
    export,
    mean_table,
    overview,
    paired_differences,
    severity_means,
    study_tables,
)
from tests.conftest import PROJECT

NOTEBOOK = PROJECT / "notebooks" / "08_many_runs.ipynb"
STUDY = {
    "folder": "anywhere",
    "scenarios": ["papermill_runs/mini_gta5.yaml", "papermill_runs/mini_synthia.yaml"],
    "seeds": [0, 1],
    "variants": ["iapc", "source_only"],
}
CODE = {"iapc_lib": "0.1.0", "git": "abc", "sources_sha256": "5"}


def results(scenario="mini_gta5", seed=0, variant="iapc", miou=50.0, rows=None, code=CODE) -> dict:
    """What a run would have written; `rows` (row -> mIoU) makes it a run without variant."""
    row = {"source_only": "source_only"}.get(variant, "iapc")
    about = {"name": variant, "title": f"the {variant}", "row": row}
    return {
        "format": RESULTS_FORMAT,
        "scenario": scenario,
        "variant": None if rows else about,
        "seed": seed,
        "scores": {
            name: {
                **dict.fromkeys(MIOU, value),
                "miou_11": None,
                "iou": {"road": value + 10, "car": value - 10, "train": None},
            }
            for name, value in (rows or {row: miou}).items()
        },
        "provenance": {
            "code": code,
            "config": dict.fromkeys(SHARED_FIELDS, 1) | {"seed": seed, "adaptation": {"steps": 6}},
            "time": "2026-01-01T00:00:00+00:00",
            "stages": {"source_network": {"code": code}},
        },
    }


def write(folder: Path, name: str, content: dict | str) -> Path:
    path = folder / name / "results.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def begin(folder: Path, name: str, stages=(), errors=None) -> None:
    """A run folder without scores: its finished stages, and its notebooks with or without error."""
    for part in ("stages", "notebooks"):
        folder.joinpath(name, part).mkdir(parents=True)
    folder.joinpath(name, "run.json").write_text("{}")
    for stage in stages:
        folder.joinpath(name, "stages", f"{stage}.json").write_text("{}")
    for notebook, output in (errors or {}).items():
        cell = {"cell_type": "code", "outputs": [output] if output else []}
        text = json.dumps({"cells": [{"cell_type": "markdown"}, cell]})
        folder.joinpath(name, "notebooks", f"{notebook}.ipynb").write_text(text)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two scenarios, three seeds, three variants; mini_synthia lacks a seed of `iapc`."""
    for scenario, start in (("mini_gta5", 30.0), ("mini_synthia", 20.0)):
        for seed, luck in enumerate((0.0, 1.0, 5.0)):
            for variant, gain in (("source_only", 0.0), ("iapc", (4.0, 6.0, 5.0)[seed])):
                if (scenario, seed, variant) != ("mini_synthia", 2, "iapc"):
                    made = results(scenario, seed, variant, start + luck + gain)
                    write(tmp_path / "runs", f"{scenario}-seed{seed}-{variant}", made)
    write(tmp_path / "runs", "deep/er/mini_gta5-seed0-ia", results(variant="ia", miou=33.0))
    return tmp_path / "runs"


def test_means_by_hand(folder):
    means = mean_table(read_runs(folder).rows)
    assert means.index[:3].tolist() == [
        ("mini_gta5", "source_only"),
        ("mini_gta5", "ia"),
        ("mini_gta5", "iapc"),
    ]
    source = means.loc[("mini_gta5", "source_only")]  # 30, 31, 35
    assert source["mean"] == pytest.approx(32) and source["seeds"] == 3
    assert source["std"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    one = means.loc[("mini_gta5", "ia")]
    assert one["mean"] == 33 and math.isnan(one["std"]) and one["seeds"] == 1
    wide = overview(means)
    assert wide.loc["source only", "mini_gta5"] == "32.0 ± 2.6 (3)"
    assert wide.loc["the ia"].tolist() == ["33.0 (1)", "--"]


@pytest.mark.filterwarnings("error")
def test_paired_differences_by_hand_and_by_scipy(folder):
    differences = paired_differences(read_runs(folder).rows, "source_only")
    full = differences.loc[("mini_gta5", "iapc")]  # 4, 6, 5
    assert full["difference"] == pytest.approx(5) and full["pairs"] == 3
    assert full["high"] - 5 == pytest.approx(4.302653 * 1 / math.sqrt(3), abs=1e-5)
    interval = stats.ttest_rel([34, 37, 40], [30, 31, 35]).confidence_interval(0.95)
    assert (full["low"], full["high"]) == pytest.approx((interval.low, interval.high))
    two = differences.loc[("mini_synthia", "iapc")]  # the third seed has no pair
    assert two["pairs"] == 2 and two["difference"] == pytest.approx(5)
    one = differences.loc[("mini_gta5", "ia")]
    assert one["difference"] == 3 and one["pairs"] == 1
    assert math.isnan(one["low"]) and math.isnan(one["high"])
    assert "source_only" not in differences.index.get_level_values("key")
    none = paired_differences(read_runs(folder).rows, "no_such_row")
    assert (none["pairs"] == 0).all() and none["difference"].isna().all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 100)] * 3), min_size=2, max_size=5),
    st.integers(0, 4),
    st.floats(-50, 50),
)
def test_a_seeds_luck_does_not_change_paired_differences(scores, seed, luck):
    rows = pd.DataFrame(
        [
            {"scenario": "s", "seed": number, "key": key, "title": key, "miou": score}
            for number, of_seed in enumerate(scores)
            for key, score in zip("abc", of_seed, strict=True)
        ]
    )
    lucky = rows.assign(miou=rows["miou"] + luck * (rows["seed"] == seed))
    pd.testing.assert_frame_equal(
        paired_differences(rows, "a"), paired_differences(lucky, "a"), atol=1e-9
    )


def test_classes_that_never_occur_stay_empty(folder):
    rows = read_runs(folder).rows
    table = class_table(rows)
    assert table.columns.tolist() == ["title", "road", "car", "train"]
    assert table.loc[("mini_gta5", "source_only"), "road"] == pytest.approx(42)
    assert table["train"].isna().all() and rows["miou_11"].isna().all()
    changes = class_changes(rows, "source_only")
    assert changes.loc[("mini_synthia", "iapc"), "car"] == pytest.approx(5)


def test_what_cannot_be_used_is_set_aside_by_name(folder):
    write(folder, "a_half", json.dumps(results())[:200])
    write(folder, "b_older", results() | {"format": RESULTS_FORMAT - 1})
    write(folder, "c_list", "[]")
    write(folder, "d_unlabelled", results() | {"scores": {}})
    write(folder, "e_lacks", {k: v for k, v in results().items() if k != "seed"})
    text = results(variant="ps")
    text["scores"]["iapc"]["miou"] = "high"
    write(folder, "f_text", text)
    write(folder, "z_again", results(miou=34.0))
    write(folder, "z_other", results(miou=77.0))
    runs = read_runs(folder)
    reasons = runs.set_aside.set_index("path")["reason"]
    expected = {
        "a_half": "is damaged (",
        "b_older": f"is of format {RESULTS_FORMAT - 1}, not {RESULTS_FORMAT}",
        "c_list": "is damaged (Input should be an object)",
        "d_unlabelled": "has no scores",
        "e_lacks": "'seed'",
        "f_text": "could not convert",
        "z_again": "mini_gta5-seed0-iapc already, with the same mIoU",
        "z_other": "with another mIoU (34.00 there, 77.00 here)",
    }
    assert sorted(reasons.index) == [f"{name}/results.json" for name in expected]
    for name, part in expected.items():
        assert part in reasons[f"{name}/results.json"]
    kept = runs.rows[(runs.rows["key"] == "iapc") & (runs.rows["seed"] == 0)]
    assert kept["miou"].tolist() == [34.0, 24.0]


def test_a_depth_reads_the_runs_beside_one_another_alone(folder):
    begin(folder, "unfinished")
    begin(folder, "deep/er/unfinished")
    beside = read_runs(folder, depth=1)
    assert set(beside.rows["key"]) == {"source_only", "iapc"}
    assert beside.unfinished["run"].tolist() == ["unfinished"]
    assert read_runs(folder, depth=3).rows["key"].tolist() == ["ia"]
    assert set(read_runs(folder).rows["key"]) == {"source_only", "ia", "iapc"}


def test_runs_of_all_rows_mix_with_variants(folder):
    write(folder, "mini_gta5-seed3", results(seed=3, rows={"source_only": 31.0, "iapc": 36.0}))
    rows = read_runs(folder).rows
    means = mean_table(rows)
    assert means.loc[("mini_gta5", "iapc"), "seeds"] == 4
    assert rows[rows["seed"] == 3]["folder"].tolist() == ["mini_gta5-seed3"] * 2


def test_failed_unfinished_and_missing_runs_are_named(tmp_path):
    error = {"output_type": "error", "ename": "ValueError", "evalue": "loss is NaN\nmore"}
    begin(tmp_path, "mini_gta5-seed0", ["pseudo_labels"], {"02_pseudo_labels": None})
    write(tmp_path, "mini_gta5-seed0-iapc", results())
    begin(tmp_path, "mini_gta5-seed0-source_only", ["bn_recomputed"], {"07_variant": error})
    begin(tmp_path, "mini_gta5-seed1", ["notebook_00_data"], {"00_data": None})
    begin(tmp_path, "mini_gta5-seed1-iapc", ["source_network"], {"07_variant": None})
    write(tmp_path, "mini_gta5-seed1-source_only", "{")
    begin(tmp_path, "mini_synthia-seed0", ["pseudo_labels"], {"02_pseudo_labels": error})
    begin(tmp_path, "alone-seed0", ["pseudo_labels"])
    tmp_path.joinpath("mini_gta5-seed1-iapc", "notebooks", "half.ipynb").write_text('{"cel')
    found = read_runs(tmp_path, STUDY).unfinished.set_index("run")
    missing = [f"mini_synthia-seed{s}-{v}" for s in (0, 1) for v in ("iapc", "source_only")]
    assert found["state"].to_dict() == {
        "alone-seed0": "unfinished",
        "mini_gta5-seed0-source_only": "failed",
        "mini_gta5-seed1": "unfinished",
        "mini_gta5-seed1-iapc": "unfinished",
        "mini_synthia-seed0": "failed",
    } | dict.fromkeys(missing, "missing")
    reasons = found["reason"]
    assert reasons["mini_gta5-seed0-source_only"] == "07_variant: ValueError: loss is NaN"
    assert reasons["mini_gta5-seed1"] == "no stage is finished"
    assert reasons["mini_gta5-seed1-iapc"] == "last finished stage: source_network"
    assert "IAPC" in reasons["mini_synthia-seed1-iapc"]
    assert read_runs(tmp_path).unfinished["state"].tolist().count("missing") == 0


def test_a_study_orders_the_rows_as_mapping_and_as_file(folder, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(STUDY | {"scenarios": STUDY["scenarios"][::-1]}))
    order = mean_table(read_runs(folder, path).rows).index.tolist()
    assert order[:2] == [("mini_synthia", "iapc"), ("mini_synthia", "source_only")]
    assert order[2:] == [("mini_gta5", key) for key in ("iapc", "source_only", "ia")]
    assert mean_table(read_runs(folder, STUDY).rows).index[0] == ("mini_gta5", "iapc")


def test_bad_folders_and_studies_are_refused_by_name(folder, tmp_path):
    with pytest.raises(FileError, match="nowhere: is no folder"):
        read_runs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        read_runs(folder, tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="variant 'oops' does not exist"):
        read_runs(folder, STUDY | {"variants": ["oops"]})
    path = tmp_path / "text.yaml"
    path.write_text("text")
    with pytest.raises(ConfigError, match=r"text\.yaml: describes no study"):
        read_runs(folder, path)


def test_a_modified_library_is_remarked_upon(folder):
    write(folder, "seed3", results(seed=3, code={**CODE, "modified": True}))
    (modified,) = read_runs(folder).remarks
    assert modified.startswith("1 of 13 runs")


def test_remarks_name_other_code_and_other_settings(folder):
    assert read_runs(folder).remarks == []
    write(
        folder, "seed3", results(seed=3, code={**CODE, "git": "def-dirty", "sources_sha256": "6"})
    )
    longer = results(seed=4)
    longer["provenance"]["config"]["adaptation"]["steps"] = 7
    write(folder, "seed4", longer)
    assert mean_table(read_runs(folder).rows).loc[("mini_gta5", "iapc [2]"), "seeds"] == 1
    harder = results("mini_synthia", variant="ia")
    harder["provenance"]["config"]["evaluation"] = 2
    write(folder, "seed5", harder)
    shared, by_row, code, modified = read_runs(folder).remarks
    assert shared.startswith("mini_synthia: ") and "| seed5; their scores cannot" in shared
    assert by_row.startswith("mini_gta5, iapc [2]: seed4 ran with other settings")
    assert "abc (14 runs), def-dirty (1 runs)" in code
    assert modified.startswith("1 of 15 runs")


def test_a_field_that_is_newer_than_a_run_is_no_other_setting(tmp_path):
    for seed in (0, 1, 2):
        made = results(seed=seed)
        config = load_config(PROJECT / "papermill_runs/mini_gta5.yaml", seed)
        made["provenance"]["config"] = config.model_dump(mode="json")
        if seed == 1:
            del made["provenance"]["config"]["adaptation"]["target_share"]
        if seed == 2:
            made["provenance"]["config"]["adaptation"]["target_share"] = 0.5
        write(tmp_path, f"seed{seed}", made)
    (remark,) = read_runs(tmp_path).remarks
    assert remark.startswith("mini_gta5, iapc [2]: seed2 ran with other settings")


def test_runs_on_differently_drawn_worlds_are_never_averaged(tmp_path):
    for seed in (0, 1, 2):
        made = results(seed=seed)
        changes = {"miniature.seed": 9} if seed == 1 else {}
        config = load_config(PROJECT / "papermill_runs/mini_gta5.yaml", seed, changes)
        made["provenance"]["config"] = config.model_dump(mode="json")
        write(tmp_path, f"seed{seed}", made)
    runs = read_runs(tmp_path)
    assert mean_table(runs.rows)["seeds"].tolist() == [2, 1]
    assert runs.remarks[0].startswith("mini_gta5: data, source training or evaluation were set")


def test_exported_tables_hold_the_numbers_and_lead_back_to_the_runs(folder, tmp_path):
    runs = read_runs(folder, STUDY)
    tables = study_tables(runs.rows, ["source_only"])
    written = export(runs, tables, tmp_path / "out")
    assert written[-1].name == "runs.csv" and all(path.exists() for path in written)
    again = pd.read_csv(tmp_path / "out" / "means.csv").set_index(["scenario", "key"])
    pd.testing.assert_frame_equal(again, tables["means"], check_exact=True, check_dtype=False)
    assert "| mini_gta5 " in (tmp_path / "out" / "means.md").read_text()
    latex = (tmp_path / "out" / "differences_to_source_only.tex").read_text()
    assert r"\toprule" in latex and r"mini\_gta5 & IAPC & 5.0 & 2.5 & 7.5 & 3 \\" in latex
    line = pd.read_csv(tmp_path / "out" / "runs.csv").set_index(["scenario", "key", "seed"])
    line = line.loc[("mini_gta5", "iapc", 1)]
    source = json.loads(folder.joinpath(line["folder"], "results.json").read_text())
    assert source["scores"]["iapc"]["miou"] == line["miou"] == line[f"{CLASS_PREFIX}road"] - 10
    assert source["provenance"]["code"]["git"] == line["commit"]
    published = pd.read_csv(tmp_path / "out" / "published.csv")
    assert published["IAPC"].tolist() == [49.4, 45.3, 52.6]
    assert not any("49.4" in p.read_text() for p in written if p.stem != "published")


def test_quarters_of_severity_are_averaged_over_seeds(tmp_path):
    for seed, hard in enumerate((10.0, 20.0)):
        made = results(seed=seed, miou=30.0)
        made["scores"]["iapc"]["miou_by_severity"] = [40.0, 30.0, 20.0, hard]
        write(tmp_path, f"seed{seed}", made)
    write(tmp_path, "photographs", results(scenario="real", miou=30.0))
    means = severity_means(tmp_path, read_runs(tmp_path).rows)
    assert means.loc[("mini_gta5", "IAPC")].tolist() == [40, 30, 20, 15] and len(means) == 1
    assert severity_means(tmp_path, read_runs(tmp_path).rows[:0]).empty


def test_a_folded_table_is_whole_and_says_what_it_is():
    table = Folded(pd.DataFrame({"score": range(200)}), "All <scores>")
    assert repr(table) == "All <scores> (200 lines)"
    html = table._repr_html_()
    assert html.startswith("<details><summary>All &lt;scores&gt;</summary>")
    assert html.count("<tr>") == 200 and html.endswith("</details>")


def test_charts_show_every_row_of_every_scenario(folder):
    rows = read_runs(folder).rows
    chart = figures.ablation_chart(rows)
    assert [axes.get_title() for axes in chart.axes] == ["mini_gta5", "mini_synthia"]
    labels = [label.get_text() for label in chart.axes[0].get_yticklabels()]
    assert labels == ["source only", "the ia", "IAPC"]
    dots = np.concatenate([seed.get_offsets() for seed in chart.axes[0].collections[:3]])
    assert sorted(dots[:, 0].tolist()) == [30, 31, 33, 34, 35, 37, 40]
    figures.difference_chart(paired_differences(rows, "source_only"), "points")
    heat = figures.class_change_map(class_changes(rows, "source_only"))
    assert [t.get_text() for t in heat.axes[0].get_xticklabels()] == ["road", "car"]
    plt.close("all")


def run_notebook(parameters: dict, monkeypatch) -> None:
    """Runs the cells here, as a kernel would: `make test` starts one, with nbval."""
    monkeypatch.setattr(builtins, "display", print, raising=False)
    names = {"__name__": "notebook"}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []):
            assert list(parameters) == [k for k in ("folder", "study", "out") if k in names]
            names |= parameters
    plt.close("all")


def test_the_notebook_as_the_batch_runs_it(folder, tmp_path, monkeypatch, capsys):
    begin(folder, "mini_gta5-seed4-iapc")
    out = tmp_path / "tables"
    run_notebook({"folder": str(folder), "study": STUDY, "out": str(out)}, monkeypatch)
    said = capsys.readouterr().out
    assert "12 runs with 12 scores; seeds [0, 1, 2]" in said
    assert "mini_gta5-seed4-iapc" in said and "no stage is finished" in said
    assert {"runs.csv", "means.tex", "ablation.png", "classes.png"} <= {
        p.name for p in out.iterdir()
    }


@pytest.mark.parametrize("present", [0, 1])
def test_the_notebook_says_plainly_that_there_is_nothing_or_one_seed(
    tmp_path, capsys, monkeypatch, present
):
    if present:
        write(tmp_path, "one", results(rows={"bn_recomputed": 30.0, "iapc": 31.0}))
    run_notebook({"folder": tmp_path, "study": None, "out": None}, monkeypatch)
    said = capsys.readouterr().out
    assert ("No finished run" in said) == (not present)
    assert ("Only one seed" in said and "No run has the method 'source_only'" in said) == bool(
        present
    )
