"""`iapc check`, and the real layouts from end to end: what is wrong is named before a run starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from iapc_lib.classes import CAMVID_TO_TRAIN, CITYSCAPES_TO_TRAIN, IGNORE
from iapc_lib.cli import app
from iapc_lib.config.presets import load_config
from iapc_lib.config.sections import Hardware
from iapc_lib.data.images import read_pair
from iapc_lib.data.layouts import domain_root, source_records, target_records
from iapc_lib.machine import device, memory
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.networks.checkpoints import save_network
from iapc_lib.pipeline import checking, stages
from iapc_lib.pipeline.checking import step_bytes
from iapc_lib.runs.folder import open_run
from tests.conftest import PRESETS, noise, tiny_overrides


def iapc(command: str, preset: str, changes: dict, *arguments):
    sets = [
        part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]
    return CliRunner().invoke(
        app, [command, str(PRESETS / preset), *map(str, arguments), *sets], catch_exceptions=False
    )


def reasons(result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("iapc: ")]


@pytest.fixture
def worlds(tmp_path):
    """Changes for `gta5.yaml`: small data sets of its layouts."""
    overrides = tiny_overrides(tmp_path / "drawn")
    run = open_run(PRESETS / "mini_gta5.yaml", tmp_path / "scratch", 0, overrides)
    stages.data(run)
    changes = {key: value for key, value in overrides.items() if not key.startswith("miniature")}
    for domain in ("source", "target"):
        changes[f"{domain}.root"] = str(domain_root(run.config, domain))
    return changes | {"source.train": 6, "source.val": 2, "source_training.imagenet_weights": None}


def test_a_sound_configuration_is_reported_and_exit_0(worlds, tmp_path):
    result = iapc("check", "gta5.yaml", worlds, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["source", "train", "6", "6", "yes", "0", "128x64", "(6)"] in lines
    assert ["target", "train", "5", "5", "no", "0", "128x64", "(5)"] in lines
    assert "target val: 2 images found, the published data set has 500" in result.stdout
    assert "source: 8 images found, the published data set has 24966" in result.stdout
    assert "float32" in result.stdout and "at least" in result.stdout
    labels = [read_pair(record)[1] for record in source_records(load(worlds))[0]]
    road = 100 * np.mean([label == 0 for label in labels])
    line = next(line for line in result.stdout.splitlines() if line.startswith("road"))
    assert abs(float(line.split()[1]) - road) < 0.006
    assert not (tmp_path / "run").exists()
    assert "stretched" not in result.stdout
    square = iapc("check", "gta5.yaml", worlds | {"views.clean_size": [96, 96]}, "--variant", "ia")
    assert (
        "most target images are 128x64 (width x height), and views.clean_size is 96x96"
        in square.stdout
    )
    assert "set it to [96,192]" in square.stdout


def load(changes: dict):
    return load_config(PRESETS / "gta5.yaml", overrides=changes)


def test_every_kind_of_wrong_label_is_named_with_its_mending(worlds):
    source, target = Path(worlds["source.root"]), Path(worlds["target.root"])
    labels = sorted((source / "labels").glob("*.png"))
    Image.open(labels[0]).resize((64, 32), 0).save(labels[0])
    Image.open(labels[1]).convert("RGB").save(labels[1])
    ids = CITYSCAPES_TO_TRAIN[np.asarray(Image.open(labels[2]))]
    ids[0, 0] = IGNORE  # as every real one has somewhere
    Image.fromarray(ids).save(labels[2])  # train ids
    labels[3].unlink()
    for path in target.glob("gtFine/val/*/*_labelIds.png"):
        Image.fromarray(np.full((64, 128), 3, np.uint8)).save(path)
    result = iapc("check", "gta5.yaml", worlds)
    assert result.exit_code == 2
    lines = reasons(result)
    assert len(lines) == 5
    for line, path, reason in zip(
        lines,
        labels,
        ("the label is 64x32", "a colour picture?", "looks like train ids", "no such file"),
        strict=False,
    ):
        assert f"{path}: " in line and reason in line
    assert "none of its 2 labels has a pixel of an evaluated class" in lines[4]
    leave_out = f"source.leave_out=[{labels[0].name}]"
    assert f"--set '{leave_out}'" in result.stdout
    # The advice helps.
    worlds |= {"source.leave_out": [labels[0].name], "source.train": 5}
    assert not any(
        "the label is 64x32" in line for line in reasons(iapc("check", "gta5.yaml", worlds))
    )


def test_damaged_photographs_are_each_named(photographs, tmp_path, tiny_run):
    folder, wanted = photographs
    net = tmp_path / "net.safetensors"
    save_network(net, DeepLabV2(19, tiny_run.config.model).initialize(0), tiny_run.config)
    changes = {
        "target.root": str(folder),
        "source.checkpoint": str(net),
        "model.base_width": 8,
        "model.layers": list(tiny_run.config.model.layers),
        "model.classifier_dilations": list(tiny_run.config.model.classifier_dilations),
    }
    result = iapc("check", "own_images.yaml", changes)
    assert result.exit_code == 2
    folders = {name for name, reason in wanted.items() if "is a folder" in reason}
    lines = reasons(result)
    assert len(lines) == len(wanted) - len(folders)
    for name, reason in wanted.items():
        said = result.stdout.splitlines() if name in folders else lines
        assert sum(f"{folder}/{name}: " in line and reason in line for line in said) == 1
    for name in wanted:
        path = folder / name.replace(r"\n", "\n")
        path.rmdir() if path.is_dir() else path.unlink()
    assert iapc("check", "own_images.yaml", changes).exit_code == 0
    assert iapc("check", "own_images.yaml", changes, "--quick").exit_code == 0


def test_a_step_that_cannot_fit_and_a_full_disk_are_refused(worlds, monkeypatch):
    monkeypatch.setattr(checking, "total_memory", lambda _: 1e6)
    monkeypatch.setattr(checking, "free_megabytes", lambda _: 7.0)
    memory, disk = reasons(iapc("check", "gta5.yaml", worlds, "--quick"))
    assert "smaller adaptation.batch_size" in memory and "has 7 MB free" in disk


def test_what_a_container_has_too_little_of_is_refused(worlds, monkeypatch, tmp_path):
    workers, worlds = worlds | {"hardware.workers": 4}, worlds | {"hardware.workers": 0}
    assert iapc("check", "gta5.yaml", workers, "--quick").exit_code == 0
    monkeypatch.setattr(memory, "_group_limits", lambda: iter([10**6]))
    (said,) = reasons(iapc("check", "gta5.yaml", worlds, "--quick"))
    assert "has 0.0 GB of memory" in said
    monkeypatch.setattr(memory, "_group_limits", lambda: iter([]))
    small = {checking.SHARED_MEMORY: 0.01}
    monkeypatch.setattr(checking, "free_megabytes", lambda folder: small.get(folder, 1e6))
    (said,) = reasons(iapc("check", "gta5.yaml", workers, "--quick"))
    assert str(checking.SHARED_MEMORY) in said and "hardware.workers" in said
    assert iapc("check", "gta5.yaml", worlds, "--quick").exit_code == 0
    monkeypatch.setattr(checking.os, "access", lambda folder, mode: folder != tmp_path)
    (said,) = reasons(iapc("check", "gta5.yaml", worlds, "--quick", "--out", tmp_path / "run"))
    assert f"{tmp_path / 'run'}: cannot be written" in said


def test_threads_that_others_would_hold_up_are_said_and_never_changed(worlds, monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(device.os, "cpu_count", lambda: 2)
        for load, said in ((0.2, False), (1.9, True)):
            monkeypatch.setattr(device.os, "getloadavg", lambda load=load: (load, 0, 0))
            result = iapc("check", "gta5.yaml", worlds | {"hardware.threads": 2}, "--quick")
            assert result.exit_code == 0 and torch.get_num_threads() == 2
            assert ("hardware.threads=1" in result.stdout) == said
        result = iapc("check", "gta5.yaml", worlds | {"hardware.threads": 1}, "--quick")
        assert "hardware.threads=1" not in result.stdout and torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_memory_of_a_step_is_counted_for_the_published_network():
    config = load({"source.checkpoint": "net.pth"})
    weights, graph = step_bytes(config, prepare_machine(Hardware(device="cpu")))
    assert 43e6 * 4 < weights < 45e6 * 4
    # Each of ResNet-101's convolutions keeps its input: gigabytes at batch 6 and 256x512.
    assert 4e9 < graph < 8e9


@pytest.fixture
def camvid(tmp_path) -> Path:
    """A folder in CamVid's layout: drawn streets, three by day and six at dusk a split."""
    overrides = tiny_overrides(tmp_path / "drawn") | {"miniature.target_val": 21}
    run = open_run(PRESETS / "mini_gta5.yaml", tmp_path / "scratch", 0, overrides)
    stages.data(run)
    drawn = target_records(run.config, "val", labels=True)
    ids = np.full(256, 11, np.uint8)
    ids[CAMVID_TO_TRAIN[:11]] = np.arange(11)
    root = tmp_path / "camvid"
    for split, records in (("train", drawn[:9]), ("val", drawn[9:12]), ("test", drawn[12:])):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for number, record in enumerate(records):
            sequence = ("0006R0", "0001TP", "0001TP")[number % 3]
            image, label = read_pair(record)
            image.save(root / split / f"{sequence}_{number:06d}.png")
            Image.fromarray(ids[label]).save(
                root / f"{split}annot" / f"{sequence}_{number:06d}.png"
            )
    return root


def tiny(changes: dict) -> dict:
    overrides = tiny_overrides(Path("unused"))
    return {k: v for k, v in overrides.items() if not k.startswith("miniature")} | changes


def test_the_notebooks_run_on_camvid(camvid, tmp_path):
    changes = tiny(
        {
            "source.root": str(camvid),
            "target.root": str(camvid),
            "source.train": 3,
            "source.val": 1,
            "target.dev_every": 3,
        }
    )
    result = iapc("run", "camvid_dusk.yaml", changes, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(results["classes"]) == 11 and "rider" in results["classes"]
    assert results["scores"]["iapc"]["images"] == 6 and results["dev_scores"]["iapc"]["images"] == 2
    assert results["scores"]["iapc"]["miou_11"] is not None
    assert "mIoU over 11" in result.stdout and "mIoU over 19" not in result.stdout
    made = json.loads((tmp_path / "run" / "stages" / "pseudo_labels.json").read_text())
    assert made["facts"]["images"] == 4  # dusk, without the two of dev


def test_the_notebooks_run_on_photographs_without_labels(tmp_path, tiny_run):
    net, folder = tmp_path / "net.safetensors", tmp_path / "my photographs" / "Österreich"
    model = tiny_run.config.model
    save_network(net, DeepLabV2(19, model).initialize(0), tiny_run.config)
    folder.mkdir(parents=True)
    for number in range(4):
        noise(60 + number, 120).save(folder / f"{number}.JPG", format="JPEG")
    changes = tiny(
        {
            "target.root": str(folder.parent),
            "source.checkpoint": str(net),
            "hardware.workers": 0,
        }
    )
    changes = {key: value for key, value in changes.items() if not key.startswith("model.")}
    result = iapc("run", "own_images.yaml", changes, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["scores"] == results["dev_scores"] == {}
    assert set(results["unlabelled"]) == {"source_only", "bn_recomputed", "self_training", "iapc"}
    assert "no labels, so no scores" in result.stdout
