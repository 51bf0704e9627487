"""Optimisers, learning rates and the published SGD that visits body convolutions repeatedly."""

from collections import defaultdict

import torch

from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Optimizer as OptimizerConfig


class RepeatedSGD(torch.optim.SGD):
    """SGD in which the parameters of a group are visited several times per step.

    The published code hands its optimiser the same convolution 1, 3 or 4 times (once per module
    that contains it). Every visit is a full update with the same gradient and the shared momentum
    buffer, as torch 1.7 did it (method.md, 6). `visits` of a parameter group counts them.
    """

    def step(self) -> None:
        groups = self.param_groups
        try:
            for visit in range(max(group["visits"] for group in groups)):
                self.param_groups = [group for group in groups if group["visits"] > visit]
                super().step()
        finally:
            self.param_groups = groups


def parameter_visits(name: str) -> int:
    """How often the published code visits a parameter in one step (method.md, 6)."""
    if name.startswith("layer6.") or not name.startswith("layer"):
        return 1
    return 4 if "downsample" in name else 3


def make_optimizer(
    network: DeepLabV2, config: OptimizerConfig, repeated_visits: bool = False
) -> torch.optim.Optimizer:
    """An optimiser of a network's trainable parameters; the head has its own learning rate.

    Args:
        network: whose trainable parameters are optimised.
        config: kind, decay and momentum; rates are set by `set_learning_rate`.
        repeated_visits: whether SGD visits body parameters as the published code does.
    """
    grouped = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            visits = parameter_visits(name) if repeated_visits else 1
            factor = config.head_factor if name.startswith("layer6.") else 1.0
            grouped[visits, factor].append(parameter)
    groups = [
        {"params": parameters, "visits": visits, "rate_factor": factor}
        for (visits, factor), parameters in grouped.items()
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
        )
    return RepeatedSGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
        fused=True,
    )


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Rate of the body at a step: linear warm-up from a tenth, then polynomial decay.

    The decay counts from step 0, so the rate jumps down where the warm-up ends (method.md, 6).
    """
    if step < config.warmup_steps:
        return config.learning_rate * (0.1 + 0.9 * step / config.warmup_steps)
    return config.learning_rate * max(0.0, 1 - step / config.decay_steps) ** config.power


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, step: int
) -> tuple[float, float]:
    """Sets and returns the rates of body and head."""
    rate = learning_rate(config, step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    return rate, rate * config.head_factor
