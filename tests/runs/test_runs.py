"""Configuration and run folders: what is refused, what is kept, how a stopped run goes on."""

from __future__ import annotations

import copy
import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from jupyter_client.kernelspec import NoSuchKernel
from safetensors import SafetensorError
from safetensors.torch import load_file

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import load_config
from iapc_lib.data.images import read_image, to_tensor
from iapc_lib.files import FileError, atomic_path, read_json, write_json
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.prototypes import memory_prototypes
from iapc_lib.method.settings import Model
from iapc_lib.networks import checkpoints
from iapc_lib.pipeline import runner, stages
from iapc_lib.pipeline.results import row_scores, run_results
from iapc_lib.runs import folder
from iapc_lib.runs.folder import Run, open_run
from iapc_lib.runs.records import RunFolderError
from iapc_lib.training import loop, pseudo_labels, saved_state
from iapc_lib.training.first_prototypes import dataset_prototypes
from iapc_lib.training.saved_state import SavedState
from tests.conftest import PRESETS, tiny_overrides

PRESET = PRESETS / "mini_gta5.yaml"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"adaptation.stepz": 5}, "unknown key 'adaptation.stepz'; allowed: steps, "),
        ({"colour": 1}, "unknown key 'colour'; allowed: scenario, "),
        ({"adaptation.steps": 0}, "'adaptation.steps' = 0 is not allowed: .*greater"),
        ({"classes": 13}, "'classes' = 13 is not allowed: .*19, 16 or 11"),
        ({"losses.importance_aware": float("nan")}, "losses.importance_aware"),
        ({"views.crop_size": [500, 500]}, r"views.crop_size \[500, 500\] does not fit"),
        ({"scenario.x": 1}, "goes through 'scenario', which is no section"),
        ({"target.root": "x"}, "target.root and miniature exclude one another"),
        (
            {"fidelity.parameter_visits": "published", "adaptation.optimizer.name": "adamw"},
            "must be 'once'",
        ),
        ({"adaptation.methods": ["iapc"]}, "'adaptation': methods must contain self_training"),
        ({"target.dev": "val"}, "must be different splits"),
        ({"target.dev_every": 3}, "target.dev_every needs target.dev to be the same split"),
        ({"target.layout": "camvid"}, "target.layout camvid is not drawn as a miniature"),
        ({"target.sequences": ["0001TP"]}, "target.sequences are for layout camvid"),
        ({"source.layout": "camvid", "source.checkpoint": None}, "classes must be 11 for CamVid"),
        (
            {"miniature": None, "target.root": "x", "target.layout": "folder"},
            "target.dev and target.val must be null for layout folder",
        ),
        (
            {"source.layout": None, "source.root": "x", "source.checkpoint": None},
            "source.checkpoint is missing.*source.root needs a source.layout",
        ),
        ({"pseudo_labels.scales": []}, "'pseudo_labels.scales'"),
        ({"miniature": None}, "source.root is missing.*source.train and source.val are missing"),
    ],
)
def test_impossible_configurations_are_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(PRESET, overrides=overrides)


def test_preset_refusals_name_the_file(tmp_path):
    bad = tmp_path / "bad.yaml"
    with pytest.raises(ConfigError, match="bad.yaml: cannot be read"):
        load_config(bad)
    bad.write_text("config: [")
    with pytest.raises(ConfigError, match="bad.yaml: is not YAML"):
        load_config(bad)
    bad.write_text("seeds: 1\nconfig: {}")
    with pytest.raises(ConfigError, match="bad.yaml: unknown key 'seeds'; allowed: config, seed"):
        load_config(bad)


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_are_valid_as_file_and_as_papermill_mapping(path):
    preset = yaml.safe_load(path.read_text())
    needed = {"source.checkpoint": "net.pth"} if path.stem == "own_images" else {}
    config = load_config(preset["config"], preset["seed"], preset["overrides"] | needed)
    assert load_config(path, overrides=needed) == config


def test_run_folder_of_other_parameters_is_refused_and_hardware_is_not_a_parameter(tmp_path):
    first = open_run(PRESET, tmp_path / "run", 0, {"hardware.device": "cpu"})
    first.stage("something", {}, dict)
    open_run(PRESET, tmp_path / "run", 0, {"hardware.precision": "float32"})
    with pytest.raises(
        RunFolderError,
        match=r"run: was made with other parameters \(seed is 1, there 0; source.check",
    ):
        open_run(PRESET, tmp_path / "run", 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty and no run folder"):
        open_run(PRESET, tmp_path / "other")


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written"):
        open_run(PRESET, tmp_path / "file" / "run")


def test_full_disk_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    write_json(tmp_path / "kept.json", {"old": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="kept.json: cannot be written .No space left.* MB free"):
        write_json(tmp_path / "kept.json", {"new": 2})
    assert json.loads((tmp_path / "kept.json").read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]


def test_failing_writers_of_torch_and_safetensors_are_reported_the_same_way(tmp_path):
    for error in (RuntimeError("unexpected pos 704 vs 598"), SafetensorError("I/O error")):
        with (
            pytest.raises(FileError, match="net.bin: cannot be written"),
            atomic_path(tmp_path / "net.bin"),
        ):
            raise error
    assert not list(tmp_path.iterdir())


def test_stage_runs_once_and_again_when_its_inputs_change(tiny_run):
    made = []

    def make():
        made.append(1)
        return {"count": len(made)}

    assert tiny_run.stage("x", {"a": 1}, make) == {"count": 1}
    assert tiny_run.stage("x", {"a": 1}, make) == {"count": 1}
    assert tiny_run.stage("x", {"a": 2}, make) == {"count": 2}
    record = json.loads(tiny_run.path("stages", "x.json").read_text())
    assert record["provenance"]["seed"] == 0 and record["provenance"]["packages"]["torch"]


def test_second_writer_is_refused(tiny_run, monkeypatch):
    monkeypatch.setattr(folder, "LOCK_WAIT_SECONDS", 0.1)
    with (
        FileLock(tiny_run.path(".lock")),
        pytest.raises(RunFolderError, match="another process is writing"),
    ):
        tiny_run.stage("x", {}, dict)


KILLED_RUN = """
import os, signal, sys
from iapc_lib.pipeline import runner, stages
from iapc_lib.runs.folder import open_run
from iapc_lib.training import loop, pseudo_labels, saved_state

saved_state.SAVE_EVERY_SECONDS = saved_state.SAVE_PAUSE = 0
folder, preset, overrides, kind, kill_at = eval(sys.argv[1])
real = loop.set_learning_rate

def set_learning_rate(optimizer, config, step):
    with open(folder + "-steps.txt", "a") as log:
        log.write(f"{config.name} {step}\\n")
    if step == kill_at and config.name == kind:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(optimizer, config, step)

loop.set_learning_rate = set_learning_rate
stages.network_file(open_run(preset, folder, 0, overrides), "iapc")
"""


def test_killed_run_goes_on_to_the_same_weights_bit_for_bit(tmp_path, data_folder, monkeypatch):
    overrides = tiny_overrides(data_folder) | {"fidelity.prototypes": "momentum"}
    whole = open_run(PRESET, tmp_path / "whole", 0, overrides)
    stages.network_file(whole, "iapc")
    # AdamW trains the source network of the miniature, SGD adapts it.
    for kind, kill_at in (("adamw", 4), ("adamw", 5), ("sgd", 3)):
        arguments = (str(tmp_path / "killed"), str(PRESET), overrides, kind, kill_at)
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_RUN, repr(arguments)], capture_output=True
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    states = list((tmp_path / "killed" / "states").iterdir())
    assert [path.name for path in states] == ["adaptation_iapc.pt"]
    assert torch.load(states[0], weights_only=True)["step"] == 3
    began = (tmp_path / "killed-steps.txt").read_text().split("\n")
    source_steps = [line.split()[1] for line in began if line.startswith("adamw")]
    assert source_steps == ["0", "1", "2", "3", "4", "4", "5", "5"]  # went on, not started again
    resumed = open_run(PRESET, tmp_path / "killed", 0, overrides)
    steps = []
    real = loop.set_learning_rate
    monkeypatch.setattr(loop, "set_learning_rate", lambda *a: (steps.append(a[2]), real(*a))[1])
    stages.network_file(resumed, "iapc")
    assert steps == [3, 4, 5]
    for name in ("source", "adapted"):
        expected = load_file(whole.path(f"{name}.safetensors"))
        found = load_file(resumed.path(f"{name}.safetensors"))
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert read_json(whole.path("history_iapc.json")) == read_json(
        resumed.path("history_iapc.json")
    )
    assert not list(resumed.path("states").iterdir())
    assert run_results(resumed)["scores"] == run_results(whole)["scores"]


def test_finished_run_returns_its_results_without_loading_a_network(tiny_run, monkeypatch):
    results = run_results(tiny_run)
    loaded = []
    real = checkpoints.load_network
    counting = lambda *a: (loaded.append(a), real(*a))[1]  # noqa: E731
    monkeypatch.setattr(checkpoints, "load_network", counting)
    again = run_results(Run(tiny_run.folder, tiny_run.config))
    assert again["scores"] == results["scores"] and again["dev_scores"] == results["dev_scores"]
    assert not loaded
    stages.network(tiny_run, "iapc")
    assert len(loaded) == 1


def test_results_have_the_promised_form(tiny_run):
    results = run_results(tiny_run)
    assert json.loads(tiny_run.path("results.json").read_text()) == results
    assert list(results["scores"]) == [
        "source_only",
        "bn_recomputed",
        *tiny_run.config.adaptation.methods,
    ]
    row = results["scores"]["iapc"]
    assert set(row) == {"images", "miou", "miou_19", "miou_16", "miou_13", "miou_11", "iou"}
    assert row["miou"] == row["miou_19"] and list(row["iou"]) == results["classes"]
    present = [value for value in row["iou"].values() if value is not None]
    assert row["miou"] == pytest.approx(np.mean(present))
    assert results["provenance"]["config_fingerprint"] == tiny_run.config.fingerprint


def test_sixteen_class_network_has_no_19_class_score(tmp_path, data_folder):
    run = open_run(PRESETS / "mini_synthia.yaml", tmp_path / "run", 0, tiny_overrides(data_folder))
    row = row_scores(run, "source_only", "val")
    assert row["miou_19"] is None and row["miou"] == row["miou_16"] and row["miou_13"] is not None
    assert "terrain" not in row["iou"]


def test_state_of_another_teacher_is_left_aside(tiny_run, monkeypatch):
    state = DeepLabV2(19, Model(layers=(1, 1, 1, 1), base_width=8))
    monkeypatch.setattr(saved_state, "SAVE_EVERY_SECONDS", 0)
    SavedState(tiny_run, "x", "adaptation", state, {"teacher": "a"}).save_if_due(5)
    assert SavedState(tiny_run, "x", "adaptation", state, {"teacher": "a"}).restore() == 5
    assert SavedState(tiny_run, "x", "adaptation", state, {"teacher": "b"}).restore() == 0
    tiny_run.path("states", "x.pt").write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match="x.pt: the saved state cannot be read"):
        SavedState(tiny_run, "x", "adaptation", state, {"teacher": "a"}).restore()


def test_deleted_result_is_made_again(tiny_run):
    stages.pseudo_labels(tiny_run)
    records, files = stages.pseudo_labels(tiny_run)
    before = files[0].read_bytes()
    files[0].unlink()
    stages.pseudo_labels(tiny_run)
    assert files[0].read_bytes() == before


def test_given_source_checkpoint_replaces_source_training(tmp_path, data_folder):
    overrides = tiny_overrides(data_folder)
    first = open_run(PRESET, tmp_path / "first", 0, overrides)
    stages.network_file(first, "source_only")
    weights = stages.network(first, "source_only").network.state_dict()
    published = {"state_dict": {f"module.{name}": value for name, value in weights.items()}}
    torch.save(published, tmp_path / "published.pth")
    for path in (first.path("source.safetensors"), tmp_path / "published.pth"):
        given = {**overrides, "source.checkpoint": str(path)}
        second = open_run(PRESET, tmp_path / path.stem, 1, given)
        network = stages.network(second, "source_only").network
        assert torch.equal(network.conv1.weight.cpu(), weights["conv1.weight"].cpu())


def test_fixed_prototypes_are_means_over_the_images_that_have_the_class(tmp_path, data_folder):
    overrides = tiny_overrides(data_folder) | {
        "fidelity.prototypes": "dataset",
        "adaptation.batch_size": 2,
        "adaptation.steps": 2,
    }
    run = open_run(PRESET, tmp_path / "run", 0, overrides)
    stages.network_file(run, "iapc")
    memory = stages.network(run, "source_only").network.train()
    records, _ = stages.pseudo_labels(run)
    fixed = dataset_prototypes(memory, records, run.config, run.machine)
    before = memory.bn1.running_mean.clone()
    images = torch.stack([to_tensor(read_image(record.image)) for record in records])
    seeing = copy.deepcopy(memory)
    with torch.no_grad():
        batches = [run.machine.forward(seeing, part) for part in images.split(2)]
    each = torch.cat([memory_prototypes(output, images.shape[2:]) for output in batches])
    for k in range(run.config.classes):
        having = each[:, k][each[:, k].any(dim=1)]
        expected = having.mean(dim=0) if len(having) else torch.zeros(each.shape[2])
        torch.testing.assert_close(fixed[k], expected)
    assert torch.equal(memory.bn1.running_mean, before)


def test_a_kernel_that_does_not_start_is_tried_again_and_then_said(tiny_run, monkeypatch):
    started = []

    def no_start(source, *arguments, **options):
        started.append(source.stem)
        raise failure

    monkeypatch.setattr(runner.papermill, "execute_notebook", no_start)
    failure = RuntimeError("Kernel died before replying to kernel_info")
    with pytest.raises(runner.NotebookFailed, match="00_data: its kernel does not start"):
        runner._run_notebook(tiny_run, "00_data", {})
    assert len(started) == runner.KERNEL_ATTEMPTS
    failure = NoSuchKernel("python3")
    with pytest.raises(runner.NotebookFailed, match="no kernel 'python3'.*ipykernel install"):
        runner._run_notebook(tiny_run, "00_data", {})
    assert len(started) == runner.KERNEL_ATTEMPTS + 1


def test_labels_that_a_stopped_remake_had_finished_are_kept(tiny_run, monkeypatch):
    _, files = stages.pseudo_labels(tiny_run)
    record = tiny_run.path("stages", "pseudo_labels.json")
    made = read_json(record)
    write_json(record, made | {"inputs": made["inputs"] | {"teacher": "another network"}})
    tiny_run.path("pseudo_labels", "made_from.txt").write_text("another network")
    real, written = pseudo_labels.write_train_ids, []

    def stopping(path, labels):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        real(path, labels)

    with monkeypatch.context() as stop:
        stop.setattr(pseudo_labels, "write_train_ids", stopping)
        with pytest.raises(KeyboardInterrupt):
            stages.pseudo_labels(tiny_run)
    run = open_run(tiny_run.config, tiny_run.folder)
    kept = {path: path.stat().st_mtime_ns for path in files if path.exists()}
    assert len(kept) == 2
    stages.pseudo_labels(run)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert all(path.exists() for path in files)
