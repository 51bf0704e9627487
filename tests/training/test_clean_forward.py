"""The forward for BatchNorm's statistics is made only where somebody will read them."""

from __future__ import annotations

import torch

from iapc_lib.method.deeplab import DeepLabV2, network_input
from iapc_lib.method.optimizer import make_optimizer, set_learning_rate
from iapc_lib.method.settings import Model, Optimizer
from iapc_lib.method.step import Networks, clean_forward, descend
from iapc_lib.training.adapt import STATISTICS_MEMORY, statistics_are_read

STEPS = STATISTICS_MEMORY + 20
SMALL = Model(layers=(1, 1, 1, 1), base_width=4, classifier_dilations=(1,))


def forward(network, images):
    return network(network_input(images))


def trained(counts) -> dict[str, torch.Tensor]:
    """A student after `STEPS` updates, the clean forward made at those that `counts` names."""
    student = Networks(DeepLabV2(19, SMALL).initialize(0)).student
    optimizer = make_optimizer(student, Optimizer(), repeated_visits=True)
    rng = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        augmented, clean = torch.randint(0, 256, (2, 2, 3, 17, 17), generator=rng).byte()
        set_learning_rate(optimizer, Optimizer(), step)
        descend(optimizer, -forward(student, augmented).logits.log_softmax(dim=1)[:, 0].mean())
        clean_forward(student, clean // 2, forward, counts(step))
    return student.state_dict()


def test_weights_are_the_same_and_statistics_as_if_it_had_always_been_made():
    always = trained(lambda step: True)
    planned = trained(lambda step: statistics_are_read(step, STEPS, look_every=STEPS))
    too_late = trained(lambda step: step >= STEPS - 5)
    for name, value in always.items():
        if "running" not in name:  # weights, and how many batches were counted
            assert torch.equal(planned[name], value), name
        else:
            torch.testing.assert_close(planned[name], value, rtol=1e-6, atol=1e-7)
    name = "bn1.running_var"
    assert not torch.allclose(too_late[name], always[name], rtol=1e-3)


def test_it_is_made_in_the_last_updates_before_a_look_and_before_the_end():
    made = [step for step in range(4000) if statistics_are_read(step, 4000, look_every=1500)]
    assert made == [*range(1400, 1500), *range(2900, 3000), *range(3900, 4000)]
    assert all(statistics_are_read(step, 120, look_every=20) for step in range(120))
