"""Files that stand where a network belongs, and networks that compute nothing."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from iapc_lib.files import file_hash
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Model
from tests.conftest import noise
from tests.hostile.surfaces import iapc, put, refused


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    noise(24, 40).save(folder / "sound.png")
    return folder


@pytest.fixture
def network(checkpoint, tmp_path) -> Path:
    """A copy that may be harmed."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(checkpoint.with_suffix(suffix), tmp_path / f"odd{suffix}")
    return tmp_path / "odd.safetensors"


def described(network: Path) -> dict[str, Any]:
    return json.loads(network.with_suffix(".json").read_text())


def rewrite(network: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights, and a description that vouches for them."""
    save_file(weights, network)
    about = described(network) | {"sha256": file_hash(network)}
    network.with_suffix(".json").write_text(json.dumps(about))


NO_NETWORKS = {
    "empty": b"",
    "a page": b"<!DOCTYPE html><html>404</html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "text": b"weights\n" * 100,
    "zeroed": bytes(4000),
    "a photograph": b"\x89PNG\r\n\x1a\n" + bytes(400),
    "a long header": (2**63 - 1).to_bytes(8, "little") + b"{}",
    "a header of no JSON": (5).to_bytes(8, "little") + b"hello",
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", NO_NETWORKS)
def test_a_file_that_is_no_network(kind: str, suffix: str, network, photographs, tmp_path):
    put(network.with_suffix(suffix), NO_NETWORKS[kind])
    options = (network.with_suffix(suffix), photographs, "--out", tmp_path / "out")
    refused(f"odd{suffix}", "predict", *options)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_half_a_network(share: float, suffix: str, network, photographs, tmp_path):
    odd = network.with_suffix(suffix)
    if suffix == ".pth":
        torch.save(load_file(network), odd)
    content = odd.read_bytes()
    odd.write_bytes(content[: int(share * len(content))])
    refused(f"odd{suffix}", "predict", odd, photographs, "--out", tmp_path / "out")


WEIGHTS = {
    "NaN": lambda w: w.fill_(float("nan")),
    "one NaN": lambda w: w.view(-1)[:1].fill_(float("nan")) and w,
    "infinite": lambda w: w.fill_(float("inf")),
    "integers": lambda w: torch.ones_like(w, dtype=torch.int32),
    "complex": lambda w: w.to(torch.complex64),
    "switches": lambda w: w > 0,
    "of another shape": lambda w: torch.ones(3, 3),
    "empty": lambda w: torch.ones(0),
}


@pytest.mark.parametrize("tensor", ["conv1.weight", "layer6.conv2d_list.0.bias"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_compute_nothing(kind: str, tensor: str, network, photographs, tmp_path):
    weights = load_file(network)
    changed = WEIGHTS[kind](weights[tensor].clone())
    weights[tensor] = changed if isinstance(changed, torch.Tensor) else weights[tensor] * torch.nan
    rewrite(network, weights)
    refused("odd", "predict", network, photographs, "--out", tmp_path / "out")


def test_a_negative_variance(network, photographs, tmp_path):
    weights = load_file(network)
    weights["bn1.running_var"] = -weights["bn1.running_var"].abs() - 1
    rewrite(network, weights)
    refused("bn1.running_var", "predict", network, photographs, "--out", tmp_path / "out")


def test_weights_that_are_missing_or_too_many(network, photographs, tmp_path):
    weights = load_file(network)
    rewrite(network, {k: v for k, v in weights.items() if k != "bn1.weight"})
    refused("bn1.weight", "predict", network, photographs, "--out", tmp_path / "out")
    rewrite(network, weights | {"layer9.weight": torch.ones(2)})
    refused("layer9.weight", "predict", network, photographs, "--out", tmp_path / "out")


DESCRIPTIONS = {
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a text": '"net"',
    "half": '{"classes": [',
    "depth": "[" * 100_000,
    "no fields": "{}",
    "classes are null": {"classes": None},
    "classes are a number": {"classes": 19},
    "classes are numbers": {"classes": list(range(19))},
    "no classes": {"classes": []},
    "other classes": {"classes": ["a"] * 19},
    "a million classes": {"classes": ["road"] * 10**6},
    "no model": {"model": None},
    "an empty model of layers": {"model": {"layers": []}},
    "a million blocks": {"model": {"layers": [1, 1, 1, 10**6]}},
    "negative blocks": {"model": {"layers": [1, 1, 1, -1]}},
    "a wide model": {"model": {"base_width": 10**9}},
    "a model of text": {"model": "resnet"},
    "an unknown body": {"model": {"body": "vgg"}},
    "a hash of null": {"sha256": None},
    "another hash": {"sha256": "0" * 64},
    "a hash of a number": {"sha256": 5},
    "a size of text": {"image_size": "large"},
    "a size of quoted numbers": {"image_size": ["64", "128"]},
    "a giant size": {"image_size": [10**9, 10**9]},
    "a size of zero": {"image_size": [0, 0]},
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_a_description_that_fits_no_network(kind: str, network, photographs, tmp_path):
    content = DESCRIPTIONS[kind]
    if isinstance(content, dict):
        content = json.dumps(described(network) | content)
    put(network.with_suffix(".json"), content)
    refused("odd", "predict", network, photographs, "--out", tmp_path / "out")


@pytest.mark.parametrize("place", ["missing", "pipe", "folder"])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_what_is_no_file_is_never_waited_for(place, suffix, network, photographs, tmp_path):
    path = network.with_suffix(suffix)
    path.unlink()
    if place == "pipe":
        os.mkfifo(path)
    if place == "folder":
        path.mkdir()
    refused("odd", "predict", network, photographs, "--out", tmp_path / "out")


class Dangerous:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_no_file_runs_code(network, photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (
        Dangerous(),
        {"state_dict": Dangerous()},
        {"a": torch.ones(1), "b": Dangerous()},
    ):
        for writer in (torch.save, lambda c, p: p.write_bytes(pickle.dumps(c))):
            writer(content, tmp_path / "code.pth")
            refused("code.pth", "predict", tmp_path / "code.pth", photographs, "--out", "out")
    assert not (tmp_path / "executed").exists()


STATES = {
    "nothing": {},
    "a number": 5,
    "a list": [1, 2],
    "no tensors": {"state_dict": {"conv1.weight": 5}},
    "another network": {"fc.weight": torch.ones(3, 3)},
    "an expanded tensor": {"conv1.weight": torch.ones(1).expand(10**7, 10**3)},
    "a sparse tensor": {"conv1.weight": torch.ones(3, 3).to_sparse()},
    "heads of two sizes": {
        "layer6.conv2d_list.0.weight": torch.ones(19, 8, 3, 3),
        "layer6.conv2d_list.0.bias": torch.ones(16),
    },
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_is_of_no_network_of_ours(kind: str, photographs, tmp_path):
    torch.save(STATES[kind], tmp_path / "state.pth")
    refused("state.pth", "predict", tmp_path / "state.pth", photographs, "--out", tmp_path / "out")


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", None])
def test_what_others_write_beside_the_weights_is_left_out(key, photographs, tmp_path):
    weights = DeepLabV2(19, Model(layers=(1, 1, 1, 1), base_width=4)).initialize(0).state_dict()
    beside = {"args": argparse.Namespace(lr=1), "scores": np.arange(3), "epoch": 3}
    torch.save(weights if key is None else {key: weights, **beside}, tmp_path / "theirs.pth")
    status, said = iapc(
        *("predict", tmp_path / "theirs.pth", photographs, "--out", tmp_path / "out"),
        *("--short-side", 16),
    )
    assert status == 0, said
    assert key is None or "theirs.pth" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--scales", "0"),
        ("--scales", "1,,2"),
        ("--scales", "nan"),
        ("--scales", "1e300"),
        ("--short-side", "-1"),
        ("--short-side", "20000"),
        ("--short-side", "many"),
        ("--batch-size", "0"),
        ("--batch-size", "100000000000000000000"),
        ("--ids", "gta"),
        ("--device", "tpu"),
        ("--out", ""),
    ],
)
def test_an_option_that_cannot_be(option: str, value: str, checkpoint, photographs, tmp_path):
    refused(option, "predict", checkpoint, photographs, "--out", tmp_path / "out", option, value)
