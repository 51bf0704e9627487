"""Where the time of one update goes, phase by phase, and its part of the published update.

The published update was timed in forwards of its student; such a forward, in torch's usual layout, is
timed here beside ours.

    .venv/bin/python benchmarks/adaptation_step.py                      # as the published code was timed
    .venv/bin/python benchmarks/adaptation_step.py --device cuda --batch 6 --size 256 512

The network is the published ResNet-101 with random weights, the images are noise: neither changes
the time. Every phase is the library's own; a time is the shortest of several, in milliseconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.benchmark import Timer

from iapc_lib.config.presets import load_config
from iapc_lib.config.sections import Hardware
from iapc_lib.machine.device import Machine, prepare_machine
from iapc_lib.method.deeplab import DeepLabV2, network_input
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.optimizer import make_optimizer, set_learning_rate
from iapc_lib.method.prototypes import memory_prototypes
from iapc_lib.method.step import Networks, adaptation_step, update_memory
from iapc_lib.paths import project_root

PUBLISHED_UNITS = 2336 / 368
"""Student forwards that an update of the published code takes (docs/method.md, 14)."""
PLAIN = "student forward, usual layout"


def fold_batchnorm(network: DeepLabV2) -> DeepLabV2:
    """Merges every BatchNorm of a network in evaluation mode into the convolution before it."""
    for module in list(network.modules()):
        children = dict(module.named_children())
        for name, child in children.items():
            after = name.replace("conv", "bn") if name.startswith("conv") else "1"
            bn = children.get(after)
            if isinstance(child, torch.nn.Conv2d) and isinstance(bn, torch.nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(child, bn))
                setattr(module, after, torch.nn.Identity())
    return network


def shortest(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of the fastest of `repeats` calls of each, in turns, each after a warm-up.

    In turns, because a machine may slow down meanwhile.
    """
    timers = {name: Timer("f()", globals={"f": f}) for name, f in functions.items()}
    taken = [{n: timer.timeit(1).median for n, timer in timers.items()} for _ in range(repeats)]
    return {name: 1000 * min(times[name] for times in taken) for name in timers}


def in_usual_layout(network: DeepLabV2, images: torch.Tensor, machine: Machine) -> object:
    """A forward as the published code makes it: channels before rows."""
    with torch.autocast(machine.device.type, torch.bfloat16, enabled=machine.autocast):
        return network(network_input(images))


def phase_times(networks, optimizer, batch, absence, config, machine, repeats) -> dict[str, float]:
    """Milliseconds of every phase of an update."""
    student, source, memory = networks.student, networks.source, networks.memory
    trainable = [p for p in student.parameters() if p.requires_grad]
    no_grad = torch.no_grad()
    source_logits = no_grad(machine.forward)(source, batch["rescaled"]).logits
    memory_output = no_grad(machine.forward)(memory, batch["plain"])
    student_output = machine.forward(student, batch["augmented"])
    label = batch["label"]
    prototypes = memory_prototypes(memory_output, label.shape[1:])

    def losses():
        return iapc_losses(
            student_output,
            prototypes,
            source_logits,
            label,
            absence,
            config.losses,
            config.fidelity,
        )

    total = losses().total
    total.backward(retain_graph=True)  # the optimiser's phase needs gradients
    phases = {
        "prototypes": lambda: memory_prototypes(memory_output, label.shape[1:]),
        "losses": losses,
        "backward": lambda: torch.autograd.grad(total, trainable, retain_graph=True),
        "student forward": lambda: machine.forward(student, batch["augmented"]),
        "source forward": lambda: no_grad(machine.forward)(source, batch["rescaled"]),
        "memory forward": lambda: no_grad(machine.forward)(memory, batch["plain"]),
        "clean forward": lambda: no_grad(machine.forward)(student, batch["clean"]),
        "memory update": lambda: update_memory(memory, student, config.adaptation.memory_decay),
        "optimiser, published visits": optimizer.step,
    }
    return shortest(phases, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()

    config = load_config(project_root() / "papermill_runs/gta5.yaml")
    machine = prepare_machine(Hardware(device=arguments.device, precision=arguments.precision))
    torch.manual_seed(0)
    networks = Networks(DeepLabV2().initialize(0).to(machine.device))
    optimizer = make_optimizer(networks.student, config.adaptation.optimizer, repeated_visits=True)
    set_learning_rate(optimizer, config.adaptation.optimizer, 0)
    shape = arguments.batch, 3, *arguments.size
    batch = {
        view: torch.randint(0, 256, shape, dtype=torch.uint8)
        for view in ("plain", "rescaled", "augmented", "clean")
    }
    batch["label"] = torch.randint(0, 19, (arguments.batch, *arguments.size))
    batch = machine.to_device(batch)
    absence = torch.ones(19, device=machine.device)
    times = phase_times(networks, optimizer, batch, absence, config, machine, arguments.repeats)
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    settings = config.step_settings

    def step(statistics_read: bool) -> None:
        made = (networks, optimizer, batch, absence, settings, machine.forward)
        adaptation_step(*made, statistics_read=statistics_read)

    steps = {
        "whole step": lambda: step(True),
        "... no clean forward": lambda: step(False),
        PLAIN: lambda: in_usual_layout(networks.student, batch["augmented"], machine),
    }
    times |= shortest(steps, arguments.repeats)
    whole, brief, unit = (times[name] for name in steps)
    with torch.no_grad():
        plain = machine.forward(networks.source, batch["rescaled"]).logits
        folded = fold_batchnorm(networks.source)
        difference = (machine.forward(folded, batch["rescaled"]).logits - plain).abs().max()
        folded_forward = {"folded": lambda: machine.forward(folded, batch["rescaled"])}
        (folded_time,) = shortest(folded_forward, arguments.repeats).values()

    print(f"{machine.description}, torch {torch.__version__}, batch {shape}")
    print(f"{'phase':32} {'ms':>9} {'share':>7} {'units':>6}")
    for name, value in times.items():
        print(f"{name:32} {value:9.2f} {value / whole:7.1%} {value / unit:6.2f}")
    print(
        f"{'(source, BatchNorm folded)':32} {folded_time:9.2f} {folded_time / whole:7.1%}", end=""
    )
    print(f" {folded_time / unit:6.2f}   logits differ by up to {difference:.0e}")
    for name, value in (("a step", whole), ("without the clean forward", brief)):
        print(f"{name}: {value / unit / PUBLISHED_UNITS:.2f} of the published update")
    if machine.device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
