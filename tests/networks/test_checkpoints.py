"""Networks on disk: ours, the published forms, ImageNet's, and what is refused."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck, ResNet

from iapc_lib.config.presets import load_config
from iapc_lib.method.deeplab import PIXEL_MEAN, DeepLabV2
from iapc_lib.method.settings import Model
from iapc_lib.networks.checkpoints import load_network, save_network
from iapc_lib.networks.imagenet import imagenet_file, load_imagenet_body
from iapc_lib.networks.weights import CheckpointError
from tests.conftest import PRESETS, PROJECT

SMALL = Model(layers=(1, 1, 1, 1), base_width=8)


@pytest.fixture
def network() -> DeepLabV2:
    return DeepLabV2(19, SMALL).initialize(5)


def same_weights(a: DeepLabV2, b: DeepLabV2) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_round_trip(tmp_path, tiny_run):
    config = tiny_run.config
    saved = DeepLabV2(config.classes, config.model).initialize(5)
    save_network(tmp_path / "net.safetensors", saved, config, what="test", scores={"miou": 33.3})
    loaded, classes = load_network(tmp_path / "net.safetensors", config)
    assert classes == config.class_set and not loaded.training
    assert same_weights(saved, loaded)
    description = json.loads((tmp_path / "net.json").read_text())
    assert description["classes"][0] == "road" and description["scores"] == {"miou": 33.3}
    assert description["config_fingerprint"] == config.fingerprint


def test_refusals_name_the_file_and_what_does_not_fit(tmp_path, tiny_run):
    config = tiny_run.config
    path = tmp_path / "net.safetensors"
    with pytest.raises(CheckpointError, match="net.safetensors: no such checkpoint"):
        load_network(path)
    save_network(path, DeepLabV2(config.classes, config.model), config)
    other = config.model_copy(update={"model": SMALL})
    with pytest.raises(CheckpointError, match="model.classifier_dilations is .*wants"):
        load_network(path, other)
    with pytest.raises(CheckpointError, match="19 classes, the configuration wants 16"):
        load_network(path, config.model_copy(update={"classes": 16}))
    save_network(path, DeepLabV2(16, config.model), config)
    with pytest.raises(CheckpointError, match=r"layer6.conv2d_list.0.weight has shape \[16"):
        load_network(path)
    description = json.loads(path.with_suffix(".json").read_text())
    description["model"] = config.model.model_dump(mode="json")
    for change, reason in (
        ({"sha256": "0" * 64}, "net.safetensors: is not the file that net.json describes"),
        ({"classes": description["classes"][::-1]}, r"net.json: .*its 19 classes are not road, "),
    ):
        path.with_suffix(".json").write_text(json.dumps({**description, **change}))
        with pytest.raises(CheckpointError, match=reason):
            load_network(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(CheckpointError, match="net.json: is damaged .*Invalid JSON"):
        load_network(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="description net.json is missing"):
        load_network(path)
    path.write_bytes(b"\x80\x04no safetensors")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_network(path)


def test_published_source_checkpoint(tmp_path, network):
    path = tmp_path / "gta5_source.pth"
    entries = OrderedDict((f"module.{n}", v) for n, v in network.state_dict().items())
    entries["module.layer5.conv2d_list.0.weight"] = torch.zeros(19, 128, 3, 3)
    without_counters = {n: v for n, v in entries.items() if "num_batches" not in n}
    # Beside the weights, such files hold whatever the training script kept: numpy scores, too.
    numbers = {"best_MIou": np.float64(0.366), "iter": np.int64(3), "best": np.bool_(True)}
    rest = {"epoch": 3, **numbers, "optimizer": {"state": {}}}
    for content in ({"state_dict": entries, **rest}, {"state_dict": without_counters}):
        torch.save(content, path)
        loaded, classes = load_network(path)
        assert len(classes) == 19 and same_weights(loaded, network)


def test_published_adapted_checkpoint_of_16_classes(tmp_path):
    network = DeepLabV2(16, SMALL).initialize(1)
    torch.save(network.state_dict(), tmp_path / "final.pth")
    loaded, classes = load_network(tmp_path / "final.pth")
    assert "train" not in classes.names and same_weights(loaded, network)


class Dangerous:
    def __reduce__(self):
        return exec, ("raise SystemExit('code in a checkpoint was executed')",)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_file_that_would_execute_code_is_refused(tmp_path, network, old_format):
    path = tmp_path / "evil.pth"
    content = {"state_dict": network.state_dict(), "notes": Dangerous()}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(CheckpointError, match=r"evil.pth: .*exec.*refused"):
        load_network(path)
    with pytest.raises(CheckpointError, match="refused"):
        load_imagenet_body(network, path)
    path.write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(CheckpointError, match=r"evil.pth: "):
        load_network(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("layer3.0.conv2.weight"), "layer3.0.conv2.weight is missing"),
        (lambda s: s.update(extra=torch.ones(1)), "extra is unknown"),
        (lambda s: s.pop("conv1.weight"), "is no DeepLab-v2"),
        (lambda s: s.pop("layer6.conv2d_list.3.weight"), "has 3 classifier convolutions"),
        (lambda s: s.update({"conv1.weight": "text"}), "is no DeepLab-v2"),
        (lambda s: s.clear() or s.update(text="no weights"), "holds neither a state dict"),
        (lambda s: s.update({"conv1.weight": torch.ones(())}), "is no DeepLab-v2"),
        (
            lambda s: s.update({"bn1.bias": torch.full((8,), torch.nan)}),
            "bn1.bias has values that are NaN",
        ),
        (
            lambda s: s.update({"layer6.conv2d_list.0.weight": torch.zeros(21, 256, 3, 3)}),
            "has 21 classes; known are 19 and 16",
        ),
    ],
)
def test_published_files_that_do_not_fit_say_why(tmp_path, network, change, reason):
    state = dict(network.state_dict())
    change(state)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=f"net.pth: .*{reason}"):
        load_network(tmp_path / "net.pth")


class Crash:
    """A numpy scalar whose crafted type makes numpy itself crash when it is built."""

    def __reduce__(self):
        return np._core.multiarray.scalar, (np.dtype([("a", "O")]), True)


def test_crafted_numpy_numbers_are_never_built(tmp_path, network):
    path = tmp_path / "crash.pth"
    torch.save({"state_dict": network.state_dict(), "score": Crash()}, path)
    code = f"from pathlib import Path; from iapc_lib.networks.checkpoints import load_network as l; l(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 or "CheckpointError" in done.stderr, done.stderr


def test_truncated_file_is_no_checkpoint(tmp_path, network):
    path = tmp_path / "net.pth"
    torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="net.pth: is not whole"):
        load_network(path)


def test_imagenet_body_answers_as_torchvisions_does(tmp_path, network):
    theirs = ResNet(Bottleneck, (1, 1, 1, 1), width_per_group=64)
    model = Model(layers=(1, 1, 1, 1))
    ours = DeepLabV2(19, model).initialize(0)
    head = ours.layer6.conv2d_list[0].weight.clone()
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    load_imagenet_body(ours, tmp_path / "resnet.pth")
    assert torch.equal(ours.layer6.conv2d_list[0].weight, head)
    assert torch.equal(ours.layer3[0].conv2.weight, theirs.layer3[0].conv2.weight)
    image = 255 * torch.rand(1, 3, 32, 32)  # R, G, B minus a mean, both ways
    centred = image - torch.tensor(PIXEL_MEAN).view(3, 1, 1)
    deviation = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    answers = ours.conv1(centred.flip(1)), theirs.conv1(centred / 255 / deviation)
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


def test_imagenet_weights_of_another_network_say_what_does_not_fit(tmp_path):
    torch.save(resnet50().state_dict(), tmp_path / "resnet50.pth")
    with torch.device("meta"):
        ours = DeepLabV2()
    with pytest.raises(CheckpointError, match=r"layer3.6.conv1.weight is missing.* more"):
        load_imagenet_body(ours, tmp_path / "resnet50.pth")


def test_imagenet_weights_that_cannot_be_had_name_the_url_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = load_config(PRESETS / "gta5.yaml")

    def offline(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(CheckpointError, match=r"get https://.*resnet101.*imagenet_weights to") as e:
        imagenet_file(config)
    assert "cannot be written" not in str(e.value)
    absent = {"source_training.imagenet_weights": str(tmp_path / "none.pth")}
    with pytest.raises(CheckpointError, match="none.pth: no such file"):
        imagenet_file(load_config(PRESETS / "gta5.yaml", overrides=absent))
    random = {"source_training.imagenet_weights": None}
    assert imagenet_file(load_config(PRESETS / "gta5.yaml", overrides=random)) is None
