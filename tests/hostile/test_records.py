"""Run folders, caches and studies that were harmed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iapc_lib.config.errors import ConfigError
from iapc_lib.data.cache import cached_records
from iapc_lib.data.layouts import Record
from iapc_lib.files import FileError
from iapc_lib.pipeline import results, stages
from iapc_lib.runs.folder import open_run, read_run
from iapc_lib.studies.plan import read_study
from iapc_lib.studies.reading import read_runs
from tests.conftest import PRESETS, noise, tiny_overrides
from tests.hostile.surfaces import iapc, put, refused


@pytest.fixture(scope="module")
def overrides(tmp_path_factory) -> dict[str, Any]:
    return tiny_overrides(tmp_path_factory.mktemp("data")) | {"adaptation.steps": 1}


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory) -> Path:
    """A finished run of one row."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = open_run(PRESETS / "mini_gta5.yaml", folder, 0, overrides, "self_training")
    results.run_results(run)
    notebook = {"cells": [{"cell_type": "code", "outputs": []}], "metadata": {}, "nbformat": 4}
    put(folder / "notebooks" / "07_variant.ipynb", json.dumps(notebook))
    return folder


@pytest.fixture
def harmed(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def again(folder: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """The same call once more."""
    run = open_run(PRESETS / "mini_gta5.yaml", folder, 0, overrides, "self_training")
    return results.run_results(run)["scores"]


NO_RECORDS = {
    "nothing": "",
    "half": '{"inputs": {',
    "null": "null",
    "a number": "5",
    "a text": '"x"',
    "a list": "[1]",
    "no fields": "{}",
    "depth": "[" * 100_000,
    "a long number": "9" * 6000,
    "bytes": b"\xff\xfe\x00",
    "inputs are a list": '{"inputs": [1]}',
    "facts are a number": '{"inputs": {}, "facts": 5}',
    "code is a number": '{"inputs": {}, "provenance": {"code": 5}}',
}


@pytest.mark.parametrize("kind", NO_RECORDS)
def test_a_stage_whose_record_is_none(kind: str, harmed, overrides):
    put(harmed / "stages" / "adaptation_self_training.json", NO_RECORDS[kind])
    status, said = iapc("show", harmed)
    assert status == 1 and "adaptation_self_training.json" in said
    with pytest.raises(FileError, match=r"adaptation_self_training\.json"):
        again(harmed, overrides)


@pytest.mark.parametrize("kind", NO_RECORDS)
def test_a_run_whose_own_record_is_none_goes_on_without_it(kind: str, harmed, overrides):
    put(harmed / "run.json", NO_RECORDS[kind])
    refused("run.json", "show", harmed)
    with pytest.raises(FileError, match=r"run\.json.*delete it"):
        again(harmed, overrides)
    network = (harmed / "adapted_self_training.safetensors").stat()
    (harmed / "run.json").unlink()
    again(harmed, overrides)
    assert (harmed / "adapted_self_training.safetensors").stat().st_mtime_ns == network.st_mtime_ns


RESULTS = {
    "nothing": "",
    "half": '{"scores": {',
    "null": "null",
    "a list": "[]",
    "scores are a list": '{"scores": [1]}',
    "a score is a number": '{"scores": {"iapc": 5}}',
    "an mIoU of text": '{"scores": {"iapc": {"miou": "high"}}}',
    "IoU is a list": '{"scores": {"iapc": {"miou": 5.0, "iou": [1]}}}',
    "a variant of text": '{"scores": {}, "variant": "iapc"}',
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("kind", RESULTS)
def test_results_of_another_shape(kind: str, harmed):
    put(harmed / "results.json", RESULTS[kind])
    for command in (("show", harmed), ("diff", harmed, harmed)):
        status, said = iapc(*command)
        assert status == 1 and "results.json" in said
    runs = read_runs(harmed.parent)
    assert runs.rows.empty and runs.set_aside["path"].tolist() == ["run/results.json"]


@pytest.mark.parametrize("kind", ["nothing", "half", "null", "a list", "no fields", "depth"])
def test_an_executed_notebook_of_another_shape(kind: str, harmed):
    put(harmed / "notebooks" / "07_variant.ipynb", NO_RECORDS[kind])
    status, said = iapc("show", harmed)
    assert status == 1 and "07_variant.ipynb" in said


@pytest.mark.parametrize("place", ["run.json", "results.json", "stages/pseudo_labels.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_never_waited_for(place: str, kind: str, harmed):
    path = harmed / place
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    status, said = iapc("show", harmed)
    assert status in (1, 2) and path.name in said


HARM = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "emptied": lambda path: path.write_bytes(b""),
    "edited": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
    "gone": lambda path: path.unlink(),
}
OUTPUTS = [
    "source.safetensors",
    "adapted_self_training.safetensors",
    "pseudo_labels/auwald/auwald_000000_000019_leftImg8bit.png",
]


@pytest.mark.parametrize("kind", HARM)
@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_not_what_its_record_says_is_made_again(
    name: str, kind: str, finished, harmed, overrides
):
    before = json.loads((finished / "results.json").read_text())["scores"]
    HARM[kind](harmed / name)
    assert again(harmed, overrides) == before
    stages.pseudo_labels(read_run(harmed), "self_training")  # which a finished row needs no more
    assert (harmed / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("name", ["/etc/hostname", "../../outside"])
def test_a_record_never_reaches_outside_its_folder(name: str, harmed, overrides, tmp_path):
    outside = put(tmp_path.parent / "outside", "mine")
    path = harmed / "stages" / "pseudo_labels.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"outputs": {name: "0"}}))
    with pytest.raises(FileError, match="elsewhere"):
        again(harmed, overrides)
    assert outside.exists() and Path("/etc/hostname").exists()


@pytest.mark.parametrize("content", [b"", b"zeros", b"cut"])
def test_a_copy_in_the_cache_that_was_written_to_is_made_again(content, tmp_path):
    image = tmp_path / "a.png"
    noise(24, 40).save(image)
    record = Record("a.png", image, None, "cityscapes")
    (first,) = cached_records([record], tmp_path / "cache", [(12, 20)])
    (copy,) = first.copies.files.values()
    whole = copy.read_bytes()
    bad = {b"zeros": bytes(len(whole)), b"cut": whole[:200]}.get(content, content)
    copy.write_bytes(bad)
    cached_records([record], tmp_path / "cache", [(12, 20)])
    assert copy.read_bytes() == whole and np.load(copy).any()


STUDIES = {
    "nothing": "",
    "a list": "- a",
    "no fields": "{}",
    "no folder": "scenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [0]\nvariants: [iapc]\n",
    "braces": "folder: 'a{b}'\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [0]\nvariants: [ia]\n",
    "no such preset": "folder: a\nscenarios: [nothing.yaml]\nseeds: [0]\nvariants: [ia]\n",
    "no such variant": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [0]\nvariants: [x]\n",
    "a negative seed": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [-1]\nvariants: [ia]\n",
    "a seed twice": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1, 1]\nvariants: [ia]\n",
    "seeds are a number": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: 1\nvariants: [ia]\n",
    "an unknown key": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1]\nvariants: [ia]\nx: 1\n",
    "overrides of no field": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1]\nvariants: [ia]\noverrides: {x: 1}\n",
    "what a variant changes": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1]\nvariants: [ia]\noverrides: {losses: {prototype_enhanced: 1}}\n",
    "three GPUs a job": "folder: a\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1]\nvariants: [ia]\ngpu: 3\n",
    "a key twice": "folder: a\nfolder: b\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1]\nvariants: [ia]\n",
    "a folder of 300 bytes": f"folder: {'x' * 300}\nscenarios: [papermill_runs/mini_gta5.yaml]\nseeds: [1]\nvariants: [ia]\n",
}


@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_that_is_none(kind: str, tmp_path):
    with pytest.raises(ConfigError):
        read_study(put(tmp_path / "study.yaml", STUDIES[kind]))


@pytest.mark.parametrize("kind", ["no folder", "a file", "a folder of nothing", "other files"])
@pytest.mark.parametrize("command", ["show", "export"])
def test_a_folder_that_is_no_run(command: str, kind: str, tmp_path):
    folder = tmp_path / "none"
    if kind == "a file":
        put(folder, "x")
    elif kind != "no folder":
        folder.mkdir()
    if kind == "other files":
        put(folder / "a.txt", "x")
    more = [tmp_path / "net.safetensors"] if command == "export" else []
    refused("none", command, folder, *more)


def test_a_stage_is_not_remade_for_a_copy_of_the_folder(finished, overrides, tmp_path):
    there = Path(shutil.copytree(finished, tmp_path / "elsewhere", copy_function=shutil.copyfile))
    run = open_run(PRESETS / "mini_gta5.yaml", there, 0, overrides, "self_training")
    before = (there / "adapted_self_training.safetensors").stat().st_mtime_ns
    stages.network_file(run, "self_training")
    assert (there / "adapted_self_training.safetensors").stat().st_mtime_ns == before
