"""MobileNetV2 in the place of the ResNet: the same head, features and files."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import mobilenet_v2

from iapc_lib.config.presets import load_config
from iapc_lib.method.deeplab import network_input
from iapc_lib.method.settings import Model
from iapc_lib.networks.build import build_network
from iapc_lib.networks.checkpoints import load_network, save_network
from iapc_lib.networks.imagenet import IMAGENET_STD, load_imagenet_body
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.pipeline import stages
from iapc_lib.pipeline.results import row_scores
from iapc_lib.runs.folder import open_run
from tests.conftest import PRESETS, tiny_overrides

MOBILE = Model(body="mobilenet_v2", classifier_dilations=(1, 2, 3, 4))


@pytest.fixture
def network():
    return build_network(19, MOBILE).initialize(0).eval()


@pytest.mark.parametrize("body", ["resnet", "mobilenet_v2"])
def test_every_body_says_how_large_its_features_are(body):
    network = build_network(5, Model(body=body, layers=(1, 1, 1, 1), base_width=8)).eval()
    for height, width in ((64, 97), (96, 130), (65, 257)):
        with torch.no_grad():
            made = network(torch.zeros(1, 3, height, width))
        size = (network.feature_size(height), network.feature_size(width))
        assert made.logits.shape == (1, 5, *size)
        assert made.features.shape == (1, network.feature_channels, *size)


def test_strides_that_are_undone_leave_the_same_values_between_new_ones(network):
    """Every other place of the dilated body is what the body with its strides gives there."""
    strided = mobilenet_v2().features[:14].eval()
    strided.load_state_dict(network.features[:14].state_dict())
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        ours, theirs = network.features[:14](images), strided(images)
    torch.testing.assert_close(ours[..., ::2, ::2], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", ["torchvision", "others"])
def test_imagenet_weights_answer_to_the_same_image_alike(tmp_path, network, names):
    torch.manual_seed(0)
    whole = mobilenet_v2().eval()
    weights = whole.state_dict()
    if names == "others":  # such as torchvision's own before 0.5: the same blocks in their order
        weights = {f"features.entry{number}": v for number, v in enumerate(weights.values())}
    torch.save(weights, tmp_path / "imagenet.pth")
    load_imagenet_body(network, tmp_path / "imagenet.pth")
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    mean = torch.tensor([122.67891434, 116.66876762, 104.00698793]).view(3, 1, 1)
    deviation = 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    with torch.no_grad():
        theirs = whole.features[:7]((images.float() - mean) / deviation)
        ours = network.features[:7](network_input(images))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_file_of_another_body_is_refused_by_name(tmp_path, network):
    config = load_config(PRESETS / "mini_gta5.yaml", overrides={"model": MOBILE.model_dump()})
    save_network(tmp_path / "net.safetensors", network, config)
    again, classes = load_network(tmp_path / "net.safetensors", config)
    assert len(classes) == 19 and again.model == config.model
    for ours, theirs in zip(again.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    resnet = load_config(PRESETS / "mini_gta5.yaml", overrides={"model.body": "resnet"})
    with pytest.raises(
        CheckpointError, match="model.body is mobilenet_v2, the configuration wants"
    ):
        load_network(tmp_path / "net.safetensors", resnet)
    torch.save(build_network(19, resnet.model).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="does not fit the network: features"):
        load_imagenet_body(network, tmp_path / "resnet.pth")


def test_a_whole_run_with_it(tmp_path, data_folder):
    overrides = tiny_overrides(data_folder) | {
        "model.body": "mobilenet_v2",
        "source_training.steps": 2,
        "adaptation.steps": 2,
        "fidelity.prototypes": "momentum",
    }
    run = open_run(PRESETS / "mini_gta5.yaml", tmp_path / "run", 0, overrides)
    assert 0 <= row_scores(run, "iapc", "dev")["miou"] <= 100
    assert stages.network(run, "iapc").network.feature_channels == 96
