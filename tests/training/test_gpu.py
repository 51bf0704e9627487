"""What a GPU must do as a CPU does; skipped on a machine without one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from iapc_lib.config.sections import Hardware
from iapc_lib.files import read_json
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method.deeplab import Prediction
from iapc_lib.pipeline import results, stages
from iapc_lib.runs.folder import open_run
from iapc_lib.training import loop, saved_state
from tests.conftest import PRESETS, tiny_overrides

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

PRECISIONS = ("float32", "bfloat16")


class Killed(Exception):
    """Stands for a kill: nothing of the product catches it."""


@pytest.fixture
def run_on(tmp_path, data_folder):
    """Opens a tiny run: device, precision and the folder's name."""

    def opened(device, precision, name):
        hardware = {"hardware.device": device, "hardware.precision": precision}
        return open_run(
            PRESETS / "mini_gta5.yaml", tmp_path / name, 0, tiny_overrides(data_folder) | hardware
        )

    return opened


def weights(run, row="iapc"):
    return stages.network(run, row).network.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_trainings_repeat_bit_for_bit(run_on, precision):
    first, second = (weights(run_on("cuda", precision, name)) for name in ("one", "two"))
    assert same(first, second)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stopped_training_ends_in_the_same_weights(run_on, precision, monkeypatch):
    monkeypatch.setattr(saved_state, "SAVE_EVERY_SECONDS", 0)
    monkeypatch.setattr(saved_state, "SAVE_PAUSE", 0)
    whole, stopped = run_on("cuda", precision, "whole"), run_on("cuda", precision, "stopped")
    real, steps, killed = loop.set_learning_rate, [], [False]

    def killed_once_at_4(optimizer, config, step):
        if config.name == "sgd":  # the adaptation, not the source training
            steps.append(step)
            if step == 4 and not killed[0]:
                killed[0] = True
                raise Killed
        return real(optimizer, config, step)

    monkeypatch.setattr(loop, "set_learning_rate", killed_once_at_4)
    with pytest.raises(Killed):
        stages.network_file(stopped, "iapc")
    continued = weights(stopped)
    assert steps == [0, 1, 2, 3, 4, 4, 5]
    assert same(weights(whole), continued)


def test_in_float32_losses_are_those_of_the_cpu(run_on):
    losses = []
    for device in ("cpu", "cuda"):
        run = run_on(device, "float32", device)
        stages.network_file(run, "iapc")
        history = read_json(run.path("history_iapc.json"))
        losses.append([entry["loss"] for entry in history if "loss" in entry])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_results_name_the_gpu(run_on):
    run = run_on("cuda", "auto", "run")
    found = results.run_results(run)
    assert found["provenance"]["device"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_gradients_of_dilated_depthwise_convolutions_are_right(precision, dilation):
    machine = prepare_machine(Hardware(device="cuda", precision=precision))
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 24, 3, padding=dilation, dilation=dilation, groups=24, bias=False)

    class Body(nn.Module):
        def __init__(self, dtype, device):
            super().__init__()
            self.conv = nn.Conv2d(
                24, 24, 3, padding=dilation, dilation=dilation, groups=24, bias=False
            )
            self.conv.load_state_dict(conv.state_dict())
            self.to(device, dtype)

        def forward(self, images):
            output = self.conv(images.repeat(1, 8, 1, 1))
            return Prediction(output, output)

    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    target = torch.randn(2, 24, 32, 64)
    exact = Body(torch.float64, "cpu")
    on_cpu = prepare_machine(Hardware(device="cpu", precision="float32"))
    (on_cpu.forward(exact, images).logits * target).sum().backward()
    ours = Body(torch.float32, "cuda")
    (machine.forward(ours, images).logits * target.cuda()).sum().backward()
    error = (ours.conv.weight.grad.cpu() - exact.conv.weight.grad).norm()
    assert error < 0.02 * exact.conv.weight.grad.norm()
