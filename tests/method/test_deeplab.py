"""The network, its optimisers and schedule, and checkpoints."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iapc_lib.method.deeplab import DeepLabV2, network_input, upsample, upsample_by_products
from iapc_lib.method.optimizer import RepeatedSGD, learning_rate, make_optimizer, parameter_visits
from iapc_lib.method.settings import Model, Optimizer
from iapc_lib.method.step import update_memory

SMALL = Model(layers=(1, 1, 1, 1), base_width=8, classifier_dilations=(1, 2))


@pytest.fixture
def network() -> DeepLabV2:
    return DeepLabV2(19, SMALL).initialize(0)


def test_published_network_has_the_published_entries():
    with torch.device("meta"):
        published = DeepLabV2().freeze_batchnorm_affine()
    names = list(published.state_dict())
    assert len(names) == 632
    assert names[0] == "conv1.weight" and names[-1] == "layer6.conv2d_list.3.bias"
    assert len(list(published.parameters())) == 320
    trainable = [n for n, p in published.named_parameters() if p.requires_grad]
    assert len(trainable) == 112
    body = [n for n in trainable if not n.startswith("layer6.")]
    assert len(body) == 104 and sum(map(parameter_visits, body)) == 314


@pytest.mark.parametrize(("size", "expected"), [(64, 9), (97, 13), (256, 33)])
def test_feature_size_follows_the_ceil_mode_formula(network, size, expected):
    logits, features = network(torch.zeros(1, 3, size, size + 32))
    assert logits.shape[2] == features.shape[2] == expected
    assert logits.shape[1] == 19 and features.shape[1] == 8 * 4 * 4


def test_same_seed_same_weights_whatever_the_global_generator():
    first = DeepLabV2(19, SMALL).initialize(3).state_dict()
    torch.manual_seed(99)
    second = DeepLabV2(19, SMALL).initialize(3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = DeepLabV2(19, SMALL).initialize(4).state_dict()
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_network_input_is_bgr_minus_mean():
    pixel = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [30 - 104.00698793, 20 - 116.66876762, 10 - 122.67891434]
    assert network_input(pixel).flatten().tolist() == pytest.approx(expected, abs=1e-5)


side = st.integers(1, 40)


@given(st.tuples(side, side), st.tuples(side, side))
@settings(max_examples=40, deadline=None)
def test_upsampling_by_products_is_that_of_torch(small, large):
    maps = torch.randn(2, 3, *small, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        upsample_by_products(maps.detach(), large)  # what it keeps must serve training, too
    ours, theirs = upsample_by_products(maps, large), upsample(maps, large)
    torch.testing.assert_close(ours, theirs)
    pull = torch.randn_like(ours)
    torch.testing.assert_close(
        *(torch.autograd.grad(made, maps, pull)[0] for made in (ours, theirs))
    )


def test_repeated_sgd_with_single_visits_is_torchs_sgd(network):
    config, other = Optimizer(), copy.deepcopy(network)
    ours = make_optimizer(network, config, repeated_visits=True)
    assert isinstance(ours, RepeatedSGD)
    for group in ours.param_groups:
        group["visits"] = 1
    theirs = torch.optim.SGD(
        [
            {"params": g["params"], "lr": g["lr"]}
            for g in make_optimizer(other, config).param_groups
        ],
        momentum=0.9,
        weight_decay=5e-4,
        nesterov=True,
    )
    images = torch.randn(1, 3, 32, 32)
    for _ in range(3):
        for net, optimizer in ((network, ours), (other, theirs)):
            optimizer.zero_grad()
            net(images).logits.square().mean().backward()
            optimizer.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_repeated_visits_are_consecutive_updates_with_one_gradient():
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = RepeatedSGD(
        [{"params": [weight], "visits": 2}], lr=0.1, momentum=0.9, weight_decay=0.5, nesterov=True
    )
    weight.grad = torch.tensor([2.0], dtype=torch.float64)
    optimizer.step()
    buffer = 2.0 + 0.5 * 1.0
    value = 1.0 - 0.1 * (buffer + 0.9 * buffer)
    step = 2.0 + 0.5 * value
    buffer = 0.9 * buffer + step
    value -= 0.1 * (step + 0.9 * buffer)
    assert weight.item() == pytest.approx(value, rel=1e-14)


def test_learning_rate_warms_up_jumps_and_decays():
    config = Optimizer()
    assert learning_rate(config, 0) == pytest.approx(1e-5)
    assert learning_rate(config, 4999) == pytest.approx(9.9982e-5)
    assert learning_rate(config, 5000) == pytest.approx(9.549e-5, rel=1e-4)
    assert learning_rate(config, 8999) == pytest.approx(9.19e-5, rel=1e-3)
    assert learning_rate(Optimizer(warmup_steps=0, decay_steps=10), 10) == 0


def test_memory_averages_parameters_and_copies_buffers(network):
    memory = DeepLabV2(19, SMALL).initialize(1).requires_grad_(False)
    before = memory.conv1.weight.clone()
    network.train()(torch.randn(2, 3, 32, 32))
    update_memory(memory, network, 0.9)
    torch.testing.assert_close(memory.conv1.weight, 0.9 * before + 0.1 * network.conv1.weight)
    assert torch.equal(memory.bn1.running_mean, network.bn1.running_mean)
    assert memory.bn1.num_batches_tracked == 1
