"""What made a run: recorded, shown, compared, and enough to make the run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from iapc_lib.cli import app
from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import default_values, dotted, load_config, load_with_origin
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.fingerprints import source_fingerprint, target_fingerprint
from iapc_lib.data.layouts import domain_root
from iapc_lib.files import file_hash, read_json, write_json
from iapc_lib.machine.memory import PeakMemory
from iapc_lib.pipeline import stages
from iapc_lib.pipeline.results import run_results
from iapc_lib.runs import provenance
from iapc_lib.runs.description import compare, describe
from iapc_lib.runs.description_text import format_difference, format_run
from iapc_lib.runs.folder import open_run
from iapc_lib.runs.provenance import stages_provenance
from iapc_lib.runs.records import RunFolderError
from iapc_lib.runs.sharing import reuse_stages
from iapc_lib.training import saved_state
from iapc_lib.training.saved_state import SavedState
from tests.conftest import PRESETS, tiny_overrides

PRESET = PRESETS / "mini_gta5.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_folder):
    """A finished run of one row, the variant `ia`."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run = open_run(PRESET, folder, 3, tiny_overrides(data_folder), "ia")
    run_results(run)
    return run


def iapc(*arguments) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_origin_of_every_given_field_is_recorded_and_the_rest_is_default(tmp_path):
    changes = {"adaptation.steps": 5, "views.crop_size": [32, 64]}
    run = open_run(PRESET, tmp_path / "run", 4, changes, "ia")
    origin = read_json(run.path("run.json"))["origin"]
    assert origin["adaptation.batch_size"] == "papermill_runs/mini_gta5.yaml"
    assert origin["adaptation.steps"] == origin["views.crop_size"] == "overrides (--set)"
    assert origin["seed"] == "seed (--seed)"
    assert origin["losses.prototype_enhanced"] == "variant papermill_runs/variants/ia.yaml"
    assert origin["variant.row"] == "variant papermill_runs/variants/ia.yaml"
    described = dotted(run.config.model_dump(mode="json", exclude={"hardware"}))
    assert set(origin) <= set(described)
    defaults = default_values()
    not_given = set(described) - set(origin)
    assert not_given and all(described[key] == defaults[key] for key in not_given)


def test_origin_follows_overrides_of_whole_sections_and_of_the_preset_itself(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "config: {scenario: mine, source: {layout: gta5}, target: {dev: dev}, miniature: {seed: 2}}\n"
        "seed: 5\noverrides: {adaptation.steps: 7}\n"
    )
    _, origin = load_with_origin(preset, None, {"miniature": {"source_val": 3}})
    assert origin["seed"] == origin["scenario"] == str(preset)
    assert origin["adaptation.steps"] == f"{preset}: overrides"
    assert origin["miniature.source_val"] == "overrides (--set)"
    assert origin["miniature.seed"] == str(preset)  # what the mapping does not name stays
    mapping = {"scenario": "mine", "source": {"layout": "gta5"}, "target": {}, "miniature": {}}
    _, origin = load_with_origin(mapping, 1)
    assert origin["scenario"] == "parameters of the notebook" and origin["seed"] == "seed (--seed)"
    run = open_run(RunConfig.model_validate(mapping), tmp_path / "run")
    assert read_json(run.path("run.json"))["origin"]["source.layout"] == "a RunConfig"


def test_opening_a_run_again_keeps_its_first_record(tmp_path):
    run = open_run(PRESET, tmp_path / "run", 0, {"adaptation.steps": 5})
    before = run.path("run.json").read_bytes()
    open_run(run.config.model_dump(mode="json"), tmp_path / "run", 0, {"hardware.device": "cpu"})
    assert run.path("run.json").read_bytes() == before


def test_default_values_are_those_of_a_configuration_that_says_nothing():
    config = load_config({"scenario": "x", "source": {"checkpoint": "n"}, "target": {"root": "t"}})
    silent = dotted(config.model_dump(mode="json"))
    for key, value in default_values().items():
        if key not in ("source.checkpoint", "target.root"):
            assert silent[key] == value, key


def test_modified_is_about_the_librarys_python_files_alone(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    package = tmp_path / "library"
    (package / "data").mkdir(parents=True)
    module, notebook = package / "data" / "module.py", tmp_path / "notebook.ipynb"
    for path in (package / "__init__.py", module, notebook):
        path.write_text("1")
    version = partial(provenance.code_version.__wrapped__, package)
    assert version()["git"] is None and version()["modified"] is None
    git("init", "--quiet")
    assert version()["git"] is None  # a folder of somebody's checkout, which does not hold it
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    clean = version()
    assert len(clean["git"]) == 12 and clean["modified"] is False
    notebook.write_text("executed")
    (package / "notes.txt").write_text("mine")
    assert version() == clean
    module.write_text("2")
    assert version()["modified"] is True and version()["git"] == clean["git"]
    assert version()["sources_sha256"] != clean["sources_sha256"]
    module.write_text("1")
    assert version() == clean
    (package / "new.py").write_text("3")
    assert version()["modified"] is True


def test_peak_memory_is_that_of_the_stage_and_not_of_the_process(tiny_run):
    if PeakMemory(torch.device("cpu")).of_process:
        pytest.skip("the system cannot start counting anew")
    megabytes = {}
    for name, size in (("large", 400), ("small", 1)):
        tiny_run.stage(name, {}, lambda size=size: {"sum": float(np.ones(size * 125_000).sum())})
        record = read_json(tiny_run.path("stages", f"{name}.json"))
        megabytes[name] = record["peak_memory_mb"]
        assert "peak_memory_since" not in record and "peak_gpu_memory_mb" not in record
    assert megabytes["large"] > megabytes["small"] + 300


def test_a_system_that_cannot_count_anew_says_since_when_it_counts(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    measured = PeakMemory(torch.device("cpu")).measured()
    assert measured["peak_memory_since"] == "start of the process"
    assert 50 < measured["peak_memory_mb"] < 1e6


def test_peak_memory_of_a_gpu_is_that_of_the_stage(monkeypatch):
    held = {"peak": 7e9}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: held.update(peak=1e9))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: held["peak"])
    memory = PeakMemory(torch.device("cuda"))
    held["peak"] += 5e8
    assert memory.measured()["peak_gpu_memory_mb"] == 1500


def test_seconds_of_a_resumed_training_count_what_it_took_before_it_was_stopped(
    tiny_run, monkeypatch
):
    monkeypatch.setattr(saved_state, "SAVE_EVERY_SECONDS", 0)
    network = torch.nn.Linear(1, 1)
    stopped = SavedState(tiny_run, "x", "adaptation", network, {})
    stopped.began -= 1000
    stopped.save_if_due(1)

    def make():
        assert SavedState(tiny_run, "x", "adaptation", network, {}).restore() == 1

    tiny_run.stage("x", {}, make)
    assert 1000 <= read_json(tiny_run.path("stages", "x.json"))["seconds"] < 2000
    tiny_run.stage("y", {}, dict)
    assert read_json(tiny_run.path("stages", "y.json"))["seconds"] < 1000


@pytest.fixture
def real_layout(tmp_path, tiny_run):
    """A run whose data sets are read as real ones; drawn for this test, so it may spoil them."""
    stages.data(tiny_run)
    changes = {"miniature": None, "source.train": 6, "source.val": 2}
    for domain in ("source", "target"):
        root = tmp_path / "real" / domain
        shutil.copytree(domain_root(tiny_run.config, domain), root)
        changes[f"{domain}.root"] = str(root)
    fields = tiny_run.config.model_dump(mode="json")
    return open_run(fields, tmp_path / "real_run", 0, changes)


def test_data_are_named_by_what_a_stage_reads_of_them(real_layout):
    config = real_layout.config

    def names():
        splits = [source_fingerprint(config, "train"), source_fingerprint(config, "val")]
        return splits + [target_fingerprint(config, split) for split in ("train", "dev", "val")]

    before = names()
    assert names() == before and len(set(before)) == 5

    def changed_by(domain, pattern) -> list[int]:
        path = sorted(domain_root(config, domain).glob(pattern))[-1]
        kept, seen = path.read_bytes(), path.stat()
        path.write_bytes(kept + b"0")
        different = [place for place, name in enumerate(names()) if name != before[place]]
        path.write_bytes(kept)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 10**9))
        newer = [place for place, name in enumerate(names()) if name != before[place]]
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        assert newer == different  # the same bytes, written later
        return different

    assert changed_by("source", "labels/00006.png") == [0]
    assert changed_by("source", "images/*.png") == [1]
    assert changed_by("target", "leftImg8bit/train/*/*.png") == [2]
    assert changed_by("target", "gtFine/val/*/*_labelIds.png") == [4]
    image = next(domain_root(config, "target").glob("leftImg8bit/train/*/*.png"))
    label = image.name.replace("leftImg8bit", "gtFine_labelIds")
    unread = domain_root(config, "target") / "gtFine" / "train" / image.parent.name / label
    unread.parent.mkdir(parents=True)
    unread.write_text("a label that no stage may read")
    assert names() == before


def test_changed_source_trains_again_and_a_deleted_one_does_not(real_layout):
    run = real_layout
    stages.network_file(run, "source_only")
    record = run.path("stages", "source_network.json")
    first = record.read_bytes()
    stages.network_file(run, "source_only")
    assert record.read_bytes() == first
    root = domain_root(run.config, "source")
    root.rename(root.with_name("away"))
    stages.network_file(run, "source_only")  # source-free: the network is all that is needed
    assert record.read_bytes() == first
    root.with_name("away").rename(root)
    image = root / "images" / "00001.png"
    Image.open(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(image, compress_level=0)
    stages.network_file(run, "source_only")
    assert json.loads(record.read_bytes())["facts"] != json.loads(first)["facts"]


def test_results_hold_origin_inputs_seconds_and_memory_of_every_stage(finished):
    made = read_json(finished.path("results.json"))["provenance"]
    assert made["origin"]["losses.prototype_enhanced"] == "variant papermill_runs/variants/ia.yaml"
    assert made["threads"] == torch.get_num_threads() and made["processor"] and made["system"]
    assert set(made["code"]) == {"iapc_lib", "git", "modified", "sources_sha256"}
    assert made["packages"]["safetensors"] and made["packages"]["pydantic"]
    source = made["stages"]["source_network"]
    assert source["inputs"]["data"] == domain_root(finished.config, "source").name
    for stage in made["stages"].values():
        assert stage["peak_memory_mb"] > 50 and stage["seconds"] >= 0 and stage["time"]
    assert made["stages"]["scores_iapc_val"]["inputs"]["network"] == file_hash(
        finished.path("adapted.safetensors")
    )


def test_show_prints_all_that_made_a_run(finished):
    status, text, _ = iapc("show", finished.folder)
    assert status == 0
    code = provenance.code_version()
    for part in (
        str(finished.folder),
        "mini_gta5, seed 3, variant ia",
        "row iapc",
        "finished",
        f"sources {code['sources_sha256']}",
        f"threads {torch.get_num_threads()}",
        f"torch {torch.__version__.partition('+')[0]}",
        file_hash(finished.path("source.safetensors"))[:12],
        "peak MB",
        "IAPC",
    ):
        assert part in text, part
    lines = [line.split() for line in text.splitlines()]
    assert ["adaptation.steps", "6", "overrides", "(--set)"] in lines
    assert not any(line[:1] == ["views.crop_tries"] for line in lines)  # the library's default
    everything = iapc("show", finished.folder, "--all")[1]
    assert "views.crop_tries" in everything
    score = read_json(finished.path("results.json"))["scores"]["iapc"]["miou"]
    shown = json.loads(iapc("show", finished.folder, "--format", "json")[1])
    assert shown == describe(finished.folder)
    assert shown["scores"]["val"]["iapc"]["miou"] == score
    assert f"{score:.2f}" in text.split("mIoU in per cent")[1]
    assert describe(finished.path("run.json")) == shown


def test_show_of_an_unfinished_run_of_mixed_origin(finished, tmp_path, data_folder, monkeypatch):
    run = open_run(PRESET, tmp_path / "run", 3, tiny_overrides(data_folder), "ia")
    shown = format_run(describe(run.folder))
    assert "has no results yet" in shown and "overrides (--set)" in shown
    base_state = finished.path("states", "adaptation_iapc.pt")
    base_state.parent.mkdir(exist_ok=True)
    base_state.write_bytes(b"state")
    try:
        reuse_stages(run, finished, unfinished=True)
    finally:
        base_state.unlink()
    record = run.path("stages", "source_network.json")
    other = read_json(record)
    other["provenance"]["code"] |= {"sources_sha256": "0123456789abcdef", "modified": True}
    other["provenance"]["config"]["hardware"] |= {"precision": "bfloat16"}  # of that start
    write_json(record, other)
    error = {"output_type": "error", "ename": "ValueError", "evalue": "out of\nchalk"}
    write_json(run.path("notebooks", "07_variant.ipynb"), {"cells": [{"outputs": [error]}]})
    shown = format_run(describe(run.folder))
    assert f"taken from {os.path.relpath(finished.folder, run.folder)}" in shown
    assert "warning: 2 versions of the library made this run" in shown
    assert "sources 0123456789abcdef  source_network" in shown
    assert "library modified (sources 0123456789abcdef)" in shown
    assert "07_variant  ValueError: out of chalk" in shown
    assert "unfinished trainings: adaptation_iapc" in shown
    assert "begun by another run" in shown
    described = describe(run.folder)
    reduced = [g for g in described["machine"] if g["value"]["precision"] == "bfloat16"]
    assert [group["stages"] for group in reduced] == [["source_network"]]
    assert described["continued_from"] == {
        "adaptation_iapc": os.path.relpath(finished.folder, run.folder)
    }


def test_show_of_a_run_of_an_older_version_shows_what_there_is(tmp_path):
    folder = tmp_path / "old"
    config = {"scenario": "old", "seed": 2, "no_longer": {"known": 1}, "adaptation": {"steps": 5}}
    write_json(folder / "run.json", {"format": 1, "config": config})
    code = {"iapc_lib": "0.0.1", "git": "0123456789ab-dirty", "sources_sha256": "f" * 16}
    record = {"stage": "source_network", "inputs": {}, "facts": {}, "seconds": 3.0}
    write_json(folder / "stages" / "source_network.json", record | {"provenance": {"code": code}})
    write_json(folder / "stages" / "notebook_00_data.json", {"inputs": {}, "seconds": 4.0})
    write_json(folder / "results.json", {"format": 1, "scores": {"iapc": {"miou": 12.345}}})
    status, text, _ = iapc("show", folder)
    assert status == 0
    assert "commit 0123456789ab, and some file of the checkout modified" in text
    assert "no_longer.known" in text and "origin not recorded" in text and "12.3" in text
    assert "no difference in parameters" in iapc("diff", folder, folder)[1]
    with pytest.raises(ConfigError, match="unknown key 'no_longer'"):
        load_config(folder)


def test_folders_that_are_no_runs_are_refused_and_damaged_files_are_named(finished, tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        status, _, said = iapc("show", folder)
        assert status == 2 and f"{folder}: is no run folder" in said
    damaged = tmp_path / "damaged"
    shutil.copytree(finished.folder, damaged)
    (damaged / "stages" / "pseudo_labels.json").write_text('{"stage": "pseu')
    (damaged / "results.json").write_text("[]")
    status, text, said = iapc("show", damaged)
    assert status == 1 and "adaptation_iapc" in text
    assert len(said.splitlines()) == 2
    assert f"{damaged}/stages/pseudo_labels.json: is damaged" in said
    assert f"{damaged}/results.json: is damaged" in said
    status, text, said = iapc("diff", finished.folder, damaged)
    assert status == 1 and "pseudo_labels.json" in said
    assert "stages that only A has: pseudo_labels" in text
    write_json(damaged / "results.json", {"scores": {"iapc": 3}})
    assert "scores.iapc: Input should be" in iapc("show", damaged)[2]
    for text in ('{"config": ', '{"config": 3}', "[]"):
        (damaged / "run.json").write_text(text)
        status, _, said = iapc("diff", damaged, finished.folder)
        assert status == 2 and f"{damaged}/run.json: is damaged" in said
        assert "run the command that made the run" in said
        with pytest.raises(ConfigError, match="run.json: is damaged"):
            load_config(damaged)
    with pytest.raises(RunFolderError, match="is no run folder"):
        describe(PRESET)


def test_diff_says_what_differs_and_what_does_not(finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished.folder, other)
    status, text, _ = iapc("diff", finished.folder, other)
    assert status == 0
    assert text.splitlines()[-1] == (
        "no difference in parameters, hardware, code, packages, machine, inputs, stages, scores"
    )
    results = read_json(other / "results.json")
    before = results["scores"]["iapc"]["miou"]
    results["scores"]["iapc"]["miou"] = before + 1.25
    results["scores"]["tent"] = {"miou": 7.5}
    write_json(other / "results.json", results)
    about = read_json(other / "run.json")
    about["config"]["adaptation"]["steps"] = 8
    write_json(other / "run.json", about)
    for path in other.glob("stages/*.json"):
        record = read_json(path)
        record["provenance"]["packages"]["torch"] = "1.0"
        if record["stage"] == "adaptation_iapc":
            record["inputs"]["teacher"] = "a" * 64
        if record["stage"] != "source_network":
            record["provenance"]["code"]["sources_sha256"] = "b" * 16
        write_json(path, record)
    found = compare(finished.folder, other)
    assert found["parameters"] == {"adaptation.steps": [6, 8]}
    torch_version = describe(finished.folder)["packages"][0]["value"]["torch"]
    assert found["packages"] == {"torch": [torch_version, "1.0"]}
    ours = provenance.code_version()["sources_sha256"]
    assert found["code"] == {"sources_sha256": [ours, sorted([ours, "b" * 16])]}
    teacher = file_hash(finished.path("source.safetensors"))
    assert found["inputs"] == {"adaptation_iapc: teacher": [teacher, "a" * 64]}
    assert found["scores"]["val"]["iapc"]["difference"] == pytest.approx(1.25)
    assert found["scores"]["val"]["tent"] == {"miou": [None, 7.5], "difference": None}
    assert not found["same_scores"]
    text = format_difference(found)
    assert "+1.25" in text and "no difference in hardware, machine, stages" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["adaptation.steps", "6", "8"] in rows
    assert ["val", "TENT", "-", "7.50", "-"] in rows
    assert ["teacher", teacher[:12], "a" * 12, "adaptation_iapc"] in rows
    assert iapc("diff", finished.folder, other)[0] == 0
    assert json.loads(iapc("diff", finished.folder, other, "--format", "json")[1]) == found


def test_diff_without_labels_compares_what_is_known_without_them(tmp_path):
    for name, entropy in (("a", 1.0), ("b", 2.5)):
        write_json(tmp_path / name / "run.json", {"format": 1, "config": {"scenario": "x"}})
        measures = {"iapc": {"entropy": entropy, "moved": 3.0}}
        write_json(tmp_path / name / "results.json", {"scores": {}, "unlabelled": measures})
    assert "2.50" in format_run(describe(tmp_path / "b"))
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found["unlabelled"] == {"iapc.entropy": [1.0, 2.5]} and not found["same_scores"]
    assert "iapc.entropy  1.00  2.50" in format_difference(found)


def test_a_run_is_made_again_from_its_own_record_with_the_same_scores(finished, tmp_path):
    for given in (finished.folder, finished.path("run.json")):
        config, origin = load_with_origin(given)
        assert config == finished.config  # hardware, too
    assert origin["adaptation.steps"].startswith("overrides (--set), in ")
    assert origin["adaptation.steps"].endswith("run.json")
    assert origin["views.crop_tries"].startswith("papermill_runs/mini_gta5.yaml, in ")
    assert origin["fidelity.prototype_momentum"].startswith("papermill_runs/mini_gta5.yaml, in ")
    assert origin["adaptation.target_share"].startswith("default, in ")
    again = open_run(finished.folder, tmp_path / "again")
    run_results(again)
    found = compare(finished.folder, again.folder)
    assert found["same_scores"]
    different = {key for key, value in found.items() if value} - {"runs", "scores", "same_scores"}
    assert not different
    changed = load_config(finished.folder, 9, {"adaptation.steps": 2}, "tent")
    assert (changed.seed, changed.adaptation.steps, changed.variant.row) == (9, 2, "tent")


def test_iapc_run_of_a_run_folder_goes_on_in_that_folder_unless_another_is_named(
    finished, tmp_path, monkeypatch
):
    from iapc_lib.pipeline import runner

    ran = []
    monkeypatch.setattr(runner, "_run_all", lambda run, names, parameters: ran.append(run.folder))
    monkeypatch.setattr("iapc_lib.pipeline.results.summary", lambda run: "done")
    assert iapc("run", finished.folder)[0] == 0
    assert iapc("run", finished.folder, "--out", tmp_path / "new")[0] == 0
    assert ran == [finished.folder, tmp_path / "new"]
    status, _, said = iapc("run", finished.folder, "--seed", "9")
    assert status == 2 and "was made with other parameters (seed is 9, there 3)" in said
    assert read_json(tmp_path / "new" / "run.json")["config"]["seed"] == 3


def test_what_a_killed_writer_left_is_no_finished_stage(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / ".iapc.json.x1.json").touch()
    assert stages_provenance(tmp_path) == {}
