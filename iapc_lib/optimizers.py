"""Optimisers, learning rates and the published SGD that visits body convolutions repeatedly."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from iapc_lib.config import Optimizer as OptimizerConfig
from iapc_lib.deeplab import DeepLabV2


class RepeatedSGD(torch.optim.SGD):
    """Nesterov SGD in which a parameter may be visited several times per step.

    The published code hands its optimiser the same convolution 1, 3 or 4 times (once per module
    that contains it). Every visit is a full update with the same gradient and the shared momentum
    buffer, as torch 1.7 did it (method.md, 6). A group's `visits` holds one count a parameter.
    """

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter, visits in zip(group["params"], group["visits"], strict=True):
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                for _ in range(visits):
                    step = parameter.grad.add(parameter, alpha=group["weight_decay"])
                    if "momentum_buffer" in state:
                        state["momentum_buffer"].mul_(momentum).add_(step)
                    else:
                        state["momentum_buffer"] = step.clone()
                    parameter.sub_(step.add_(state["momentum_buffer"], alpha=momentum), alpha=rate)


def parameter_visits(name: str) -> int:
    """How often the published code visits a body parameter in one step (method.md, 6)."""
    if "downsample" in name:
        return 4
    return 3 if name.startswith("layer") else 1


def make_optimizer(
    network: DeepLabV2, config: OptimizerConfig, repeated_visits: bool = False
) -> torch.optim.Optimizer:
    """Two groups, body and head; frozen parameters are left out.

    Args:
        network: whose trainable parameters are optimised.
        config: kind, decay and momentum; rates are set by `set_learning_rate`.
        repeated_visits: whether SGD visits body parameters as the published code does.
    """
    trainable = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    body = [(n, p) for n, p in trainable if not n.startswith("layer6.")]
    head = [p for n, p in trainable if n.startswith("layer6.")]
    groups = [{"params": [p for _, p in body]}, {"params": head}]
    if config.name == "adamw":
        return torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
        )
    settings = {
        "lr": config.learning_rate,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
        "nesterov": config.momentum > 0,
    }
    if not repeated_visits:
        return torch.optim.SGD(groups, **settings)
    groups[0]["visits"] = [parameter_visits(n) for n, _ in body]
    groups[1]["visits"] = [1] * len(head)
    return RepeatedSGD(groups, **settings)


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
    rates = rate, rate * config.head_factor
    for group, value in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = value
    return rates


@torch.no_grad()
def update_memory(memory: DeepLabV2, student: DeepLabV2, decay: float) -> None:
    """Moves the memory network's parameters towards the student's and copies its buffers.

    phi <- decay * phi + (1 - decay) * theta; BatchNorm statistics are copied, not averaged
    (method.md, 4).
    """
    average = get_ema_multi_avg_fn(decay)
    average(list(memory.parameters()), list(student.parameters()), None)
    for ours, theirs in zip(memory.buffers(), student.buffers(), strict=True):
        ours.copy_(theirs)
