"""Source networks that are handed on without their data."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from iapc_lib.config.presets import load_config
from iapc_lib.networks.checkpoints import load_network
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.pipeline import results, stages
from iapc_lib.pipeline.export import export_source
from iapc_lib.runs.folder import open_run
from tests.conftest import PRESETS, tiny_overrides


def test_a_handed_on_network_is_the_trained_one_in_half_precision(tiny_run, tmp_path, data_folder):
    trained = load_network(stages.network_file(tiny_run, "source_only"))[0].state_dict()
    path = tmp_path / "networks" / "source.safetensors"
    with pytest.raises(CheckpointError, match="not been scored at home yet"):
        export_source(tiny_run.folder, path)
    results.source_val_scores(tiny_run)
    export_source(tiny_run.folder, path)
    for there in (path, tiny_run.path("source.safetensors")):
        with pytest.raises(CheckpointError, match="is there already"):
            export_source(tiny_run.folder, there)
    assert all(v.dtype in (torch.float16, torch.int64) for v in load_file(path).values())
    read = load_network(path, tiny_run.config)[0].state_dict()
    for name, value in trained.items():
        assert torch.equal(read[name], value.half().to(value.dtype)), name

    about = json.loads(path.with_suffix(".json").read_text())
    assert 0 < about["scores_at_home"]["miou"] < 100 and about["curve"]["step"] == [2.5]
    assert about["provenance"]["seed"] == 0 and about["provenance"]["code"]

    changes = {**tiny_overrides(data_folder), "source.checkpoint": str(path)}
    other = open_run(PRESETS / "mini_gta5.yaml", tmp_path / "other", 0, changes)
    assert stages.network_file(other, "source_only").exists()
    with pytest.raises(CheckpointError, match="no source network that was trained there"):
        export_source(other.folder, tmp_path / "other.safetensors")


def test_of_several_source_networks_a_run_takes_one_by_its_seed():
    changes = {"source.checkpoint": ["a.pth", "b.pth"]}
    taken = [
        load_config(PRESETS / "mini_gta5.yaml", seed, changes).source.checkpoint
        for seed in range(3)
    ]
    assert taken == ["a.pth", "b.pth", "a.pth"]
