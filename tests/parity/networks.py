"""Checks with the published network: forward, three full updates, pseudo-labels, evaluation.

Every check takes (expected, inputs, dtype, report), as in `tensors`. Sums over a tensor are held
to the tolerance times sqrt(n) times its L2 norm, which is what elements off by the tolerance can
add up to.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from iapc_lib.classes import ALL_19, IGNORE
from iapc_lib.config.presets import load_config
from iapc_lib.config.sections import PseudoLabels
from iapc_lib.evaluation.scores import count_pairs, iou_by_class
from iapc_lib.machine.device import Machine
from iapc_lib.method.deeplab import DeepLabV2, upsample
from iapc_lib.method.optimizer import make_optimizer, parameter_visits, set_learning_rate
from iapc_lib.method.step import Networks, adaptation_step
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.paths import project_root
from iapc_lib.training.pseudo_labels import scaled_images, summed_probabilities

from .report import EXACT, CannotCheck, Report, Tolerance, Vectors
from .tensors import TERM_OF
from .weights import network_with_weights

MACHINE = Machine(torch.device("cpu"), autocast=False)


def ready(network: DeepLabV2) -> ReadyNetwork:
    return ReadyNetwork(network, ALL_19, MACHINE)


def rgb(array: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 BGR -> (..., 3, H, W) uint8 RGB."""
    return torch.from_numpy(np.moveaxis(array[..., ::-1], -1, -3).copy())


def stats(tensors: Iterable[Tensor]) -> np.ndarray:
    """(sum, L2 norm) of every tensor, both accumulated in float64."""
    return np.array([[t.double().sum().item(), t.double().norm().item()] for t in tensors])


def close_stats(
    report: Report,
    name: str,
    ours: np.ndarray,
    expected: np.ndarray,
    sizes: Iterable[int],
    norm: Tolerance,
    sums: float | None,
) -> None:
    """Compares (..., 2) sums and norms; `sums` is None where rounding makes them meaningless."""
    report.close(f"{name} L2", ours[..., 1], expected[..., 1], norm)
    if sums is not None:
        scale = np.sqrt(np.array(list(sizes))) * np.maximum(ours[..., 1], 1e-30)
        report.close(
            f"{name} sum / (L2 sqrt n)",
            ours[..., 0] / scale,
            expected[..., 0] / scale,
            Tolerance(sums),
        )


def check_model(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    single = dtype == torch.float32
    seed = expected.text("weight_seed")[0]
    network = network_with_weights(seed, dtype)
    if "state_keys" in expected:
        _check_entries(expected, network, report)
    images = rgb(inputs["a_image_bgr_u8"])
    for mode, logits_error in (("eval", 3e-5), ("train", 3e-4)):
        network.train(mode == "train")
        with torch.no_grad():
            logits, features = MACHINE.forward(network, images)
        logits_tolerance = Tolerance(logits_error if single else 1e-9)
        report.close(f"a_{mode}_logits", logits, expected[f"a_{mode}_logits"], logits_tolerance)
        features_tolerance = Tolerance(2e-4 if single else 1e-9)
        for name in expected.starting_with(f"a_{mode}_layer3_every"):
            every = int(name.rpartition("every")[2])
            report.close(name, features[:, ::every], expected[name], features_tolerance)
        channels = features.double()
        close = Tolerance(of_largest=1e-5 if single else 1e-11, relative=1e-5 if single else 1e-9)
        for name, ours in (
            ("sum", channels.sum(dim=(2, 3))),
            ("l2", channels.flatten(2).norm(dim=2)),
        ):
            array = f"a_{mode}_layer3_chan_{name}"
            report.close(array, ours, expected[array], close)
    state = network.state_dict()
    names = inputs.text("a_train_bn_names")
    if "a_train_bn_names" in expected:
        running = [n for n in state if n.rpartition(".")[2] in RUNNING]
        report.same("a_train_bn_names", running, names)
    error = 1e-5 if single else 1e-9
    close_stats(
        report,
        "a_train_bn_stats",
        stats(state[name] for name in names),
        expected["a_train_bn_stats"],
        [state[name].numel() for name in names],
        Tolerance(relative=error),
        error,
    )
    for array, name in FULL_RUNNING.items():
        report.close(array, state[name], expected[array], Tolerance(of_largest=error))


RUNNING = ("running_mean", "running_var", "num_batches_tracked")
FULL_RUNNING = {
    "a_train_bn1_running_mean": "bn1.running_mean",
    "a_train_bn1_running_var": "bn1.running_var",
    "a_train_l4_2_bn3_running_mean": "layer4.2.bn3.running_mean",
    "a_train_l4_2_bn3_running_var": "layer4.2.bn3.running_var",
}


def _check_entries(expected: Vectors, network: DeepLabV2, report: Report) -> None:
    """Names, shapes and values of the weights, and which of them the optimiser visits how often."""
    state = network.state_dict()
    report.same("state_keys", state, expected["state_keys"])
    shapes = ["x".join(map(str, value.shape)) for value in state.values()]
    report.same("state_shapes", shapes, expected["state_shapes"])
    close_stats(
        report,
        "weight_stats",
        stats(state.values()),
        expected["weight_stats"],
        [value.numel() for value in state.values()],
        Tolerance(relative=1e-12),
        1e-12,
    )
    first3 = np.zeros((len(state), 3))
    for row, value in zip(first3, state.values(), strict=True):
        row[: min(3, value.numel())] = value.flatten()[:3]
    report.close("weight_first3", first3, expected["weight_first3"], Tolerance(relative=1e-7))
    parameters = dict(network.named_parameters())
    report.same("param_names", parameters, expected["param_names"])
    trainable = [p.requires_grad for p in parameters.values()]
    report.labels("param_requires_grad", trainable, expected["param_requires_grad"])
    for group, head in (("group1x", False), ("group10x", True)):
        names = [
            n for n, p in parameters.items() if p.requires_grad and n.startswith("layer6.") == head
        ]
        report.same(f"{group}_names", names, expected[f"{group}_names"])
        visits = [parameter_visits(name) for name in names]
        report.labels(f"{group}_multiplicity", visits, expected[f"{group}_multiplicity"])


HYPER_PARAMETERS = {
    "learning_rate": ("adaptation.optimizer.learning_rate", float),
    "momentum": ("adaptation.optimizer.momentum", float),
    "weight_decay": ("adaptation.optimizer.weight_decay", float),
    "warm_up": ("adaptation.optimizer.warmup_steps", int),
    "num_steps": ("adaptation.optimizer.decay_steps", int),
    "power": ("adaptation.optimizer.power", float),
    "max_value": ("losses.class_weight_ceiling", float),
    "lambda_loss_pseudo_label": ("losses.importance_aware", float),
    "lambda_loss_clustering_label": ("losses.prototype_enhanced", float),
    "lambda_loss_clustering_sym_label": ("losses.prototype_symmetric", float),
    "lambda_loss_prediction_self": ("losses.information_maximization", float),
}
"""The published names of the hyper-parameters, and our fields."""

LOSS_ERROR = (1e-5, 3e-5, 2e-4)  # relative, at steps 1, 2, 3 and later
STUDENT_ERROR = (3e-4, 3e-3, 2e-2)
CLUSTER_GAP = (1e-5, 1e-4, 1e-3)
GRADIENT = Tolerance(relative=1e-2, median=5e-4)
CHANGE = Tolerance(relative=2e-2, median=1e-3)
ROUNDING = 2.0**-22
"""Of a float32 weight, after three updates of up to four visits each."""
DOUBLE = 1e-8
"""Relative error of everything in float64."""


@dataclass
class Moments:
    """What is kept of a state dict (or of momentum buffers), by name; float64."""

    stats: np.ndarray
    size: np.ndarray
    values: dict[str, Tensor]
    """All of an entry if it is small, else its first 64 values."""

    @classmethod
    def of(cls, entries: Mapping[str, Tensor]) -> Moments:
        kept = {
            name: (value if value.numel() <= 10_000 else value.flatten()[:64]).double().clone()
            for name, value in entries.items()
        }
        sizes = np.array([value.numel() for value in entries.values()])
        return cls(stats(entries.values()), sizes, kept)


@dataclass
class Updates:
    """What some updates gave: a dict per update, and where they ended."""

    steps: list[dict[str, Any]]
    trainable: list[str]
    initial: Moments
    state: dict[str, Moments]
    """Of the student (`G`) and the memory (`M`)."""
    change: dict[str, Moments]
    momentum: Moments


@functools.lru_cache(maxsize=4)
def updates(inputs: Vectors, dtype: torch.dtype, revision: str, visits: str) -> Updates:
    """Runs the library's `adaptation_step` on the inputs of a steps file."""
    settings = {}
    for name, value in zip(inputs.text("hyper_names"), inputs["hyper_values"], strict=True):
        if name not in HYPER_PARAMETERS:
            raise CannotCheck(f"unknown hyper-parameter {name}")
        field, kind = HYPER_PARAMETERS[name]
        settings[field] = kind(value)
    settings |= {"fidelity.revision": revision, "fidelity.parameter_visits": visits}
    config = load_config(project_root() / "papermill_runs/gta5.yaml", overrides=settings)
    networks = Networks(network_with_weights(inputs.text("weight_seed")[0], dtype))
    student, memory = networks.student, networks.memory
    initial = {name: value.double() for name, value in student.state_dict().items()}
    initial = {name: value.clone() for name, value in initial.items()}
    optimizer = make_optimizer(student, config.adaptation.optimizer, visits == "published")
    trainable = {name: p for name, p in student.named_parameters() if p.requires_grad}
    absence = torch.ones(config.classes, dtype=dtype)
    student_logits = []
    student.register_forward_hook(lambda *call: student_logits.append(call[2].logits.detach()))
    views = {name: rgb(inputs[array]) for name, array in VIEW_ARRAYS.items()}
    views["label"] = inputs.tensor("label_aug2", torch.int64)
    clean_labels = inputs.tensor("labels_t", torch.int64)
    steps = []
    for index, iteration in enumerate(inputs["iterations"]):
        rates = set_learning_rate(optimizer, config.adaptation.optimizer, int(iteration))
        batch = {name: view[index] for name, view in views.items()}
        result = adaptation_step(
            networks, optimizer, batch, absence, config.step_settings, MACHINE.forward
        )
        terms, absence = result.terms, result.terms.absence
        clean = upsample(student_logits[-1], clean_labels.shape[2:])
        gradients = stats(p.grad for p in trainable.values())
        steps.append(
            {
                "lr": rates,
                "terms": terms.weighted,
                "loss_total": terms.total.item(),
                "val_loss": F.cross_entropy(clean, clean_labels[index], ignore_index=IGNORE).item(),
                "class_weight": terms.class_weight,
                "importance_mean": terms.importance.double().mean().item(),
                "masked_fraction": 1 - terms.agreement.double().mean().item(),
                "cluster_label": terms.prototype_label,
                "similarity": terms.similarity,
                "grad_stats": gradients,
                "grad_l2_all": np.sqrt((gradients[:, 1] ** 2).sum()),
                "student_logits": result.student.logits.detach(),
                "memory_logits": result.memory.logits,
                "source_logits": result.source_logits,
            }
        )
    state = {"G": student.state_dict(), "M": memory.state_dict()}
    change = {
        letter: {name: value.double() - initial[name] for name, value in entries.items()}
        for letter, entries in state.items()
    }
    return Updates(
        steps,
        list(trainable),
        Moments.of(initial),
        {letter: Moments.of(entries) for letter, entries in state.items()},
        {letter: Moments.of(entries) for letter, entries in change.items()},
        Moments.of({n: optimizer.state[p]["momentum_buffer"] for n, p in trainable.items()}),
    )


VIEW_ARRAYS = {
    "plain": "images_u8",
    "rescaled": "image_aug1_u8",
    "augmented": "image_aug2_u8",
    "clean": "images_t_u8",
}


def check_steps(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    with torch.device("meta"):
        report.same("state_keys", DeepLabV2().state_dict(), inputs["state_keys"])
    revision = expected.text("revision")[0]
    for visits, prefix in (("published", "seq17/"), ("once", "dedup/")):
        if not expected.starting_with(prefix):
            raise CannotCheck(f"{expected.path.name} has no arrays {prefix}*")
        ours = updates(inputs, dtype, revision, visits)
        # How far float32 carries is measured, by the same updates in float64.
        double = updates(inputs, torch.float64, revision, visits)
        report.same(f"{prefix}trainable_names", ours.trainable, expected["trainable_names"])
        _check_each_step(expected, prefix, ours, dtype, report)
        for letter in "GM":
            _check_state(expected, prefix, letter, ours, double, dtype, report)
        _check_momentum(expected, prefix, ours, double, dtype, report)
    # The optimiser of newer torch versions on repeated parameters: nobody's method.
    left_out = expected.starting_with("native/")
    expected.asked.update(left_out)
    if left_out:
        print(f"{report.prefix:24} {'native/*':46} left out, {len(left_out)} arrays")


def _check_each_step(
    expected: Vectors, prefix: str, ours: Updates, dtype: torch.dtype, report: Report
) -> None:
    single = dtype == torch.float32
    for index, step in enumerate(ours.steps):
        number = f"step{index + 1}"
        late = min(index, 2)
        weighted = [step["terms"][TERM_OF[name]] for name in expected.text("loss_names")]
        loss = Tolerance(relative=LOSS_ERROR[late] if single else DOUBLE)
        for array, values, tolerance in (
            ("lr", step["lr"], Tolerance(relative=1e-14)),
            ("losses_weighted", torch.stack(weighted), loss),
            ("loss_total", step["loss_total"], loss),
            ("val_loss", step["val_loss"], loss),
            ("class_weight", step["class_weight"], Tolerance(1e-5 if single else DOUBLE)),
            ("grad_l2_all", step["grad_l2_all"], Tolerance(relative=5e-3 if single else DOUBLE)),
        ):
            theirs = expected[f"{prefix}{array}"][index]
            report.close(f"{prefix}{array} {number}", values, theirs, tolerance)
        close_stats(
            report,
            f"{prefix}grad_stats {number}",
            step["grad_stats"],
            expected[f"{prefix}grad_stats"][index],
            [ours.initial.size[list(ours.initial.values).index(n)] for n in ours.trainable],
            GRADIENT if single else Tolerance(relative=DOUBLE),
            None if single else DOUBLE,
        )
        for who, error in (("student", STUDENT_ERROR[late]), ("memory", 3e-4), ("source", 3e-5)):
            array = f"{prefix}{who}_logits_{number}"
            if who != "source" or array in expected:
                tolerance = Tolerance(error) if single else Tolerance(of_largest=DOUBLE)
                report.close(array, step[f"{who}_logits"], expected[array], tolerance)
        array = f"{prefix}importance_mean_{number}"
        report.close(array, step["importance_mean"], expected[array], loss)
        array = f"{prefix}cluster_label_{number}"
        theirs, gap = expected[array], CLUSTER_GAP[late] if single else 0.0
        report.labels(array, step["cluster_label"], theirs, step["similarity"], gap)
        # A tie that fell the other way changes the pixels that its feature stands for.
        ties = 2 * float((step["cluster_label"].numpy() != theirs).mean())
        array = f"{prefix}masked_fraction_{number}"
        report.close(array, step["masked_fraction"], expected[array], Tolerance(1e-9 + ties))


def _check_state(
    expected: Vectors,
    prefix: str,
    letter: str,
    ours: Updates,
    double: Updates,
    dtype: torch.dtype,
    report: Report,
) -> None:
    single = dtype == torch.float32
    state, change, exact_change = ours.state[letter], ours.change[letter], double.change[letter]
    error = 1e-5 if single else DOUBLE
    states, changes = (f"{prefix}{letter}_{what}_stats" for what in ("state", "delta"))
    close_stats(
        report,
        states,
        state.stats,
        expected[states],
        state.size,
        Tolerance(relative=error),
        error,
    )
    # In float32 a change cannot be known better than the weights that it is the difference of.
    rounding = replace(CHANGE, absolute=ROUNDING * state.stats[:, 1])
    close_stats(
        report,
        changes,
        change.stats,
        expected[changes],
        state.size,
        rounding if single else Tolerance(relative=DOUBLE),
        None if single else DOUBLE,
    )
    summed = expected[states][:, 0] - ours.initial.stats[:, 0]
    close_sum = Tolerance(1e-14 * np.sqrt(state.size) * state.stats[:, 1] + 1e-13)
    report.close(f"{changes} sum, from state_stats", summed, expected[changes][:, 0], close_sum)

    for what in ("full", "first64", "first64delta"):
        start = f"{prefix}{letter}_{what}_"
        for array in expected.starting_with(start):
            name = array.removeprefix(start)
            values, moved, exactly_moved, initial = (
                _part(moments, name, what)
                for moments in (state, change, exact_change, ours.initial)
            )
            if not single:
                tolerance = Tolerance(of_largest=DOUBLE)
            elif ".running_" in name:
                tolerance = Tolerance(of_largest=1e-4, absolute=_noise(moved, exactly_moved))
            else:
                tolerance = Tolerance(
                    5e-3 * moved.abs().max().item()
                    + ROUNDING * values.abs().max().item()
                    + _noise(moved, exactly_moved)
                )
            mine = moved if what == "first64delta" else values
            report.close(array, mine, expected[array], tolerance)
            if what == "first64delta":
                theirs = expected[array.replace("first64delta", "first64")] - initial.numpy()
                report.close(f"{array} from first64", theirs, expected[array], Tolerance(1e-15))
    name = f"{prefix}{letter}_num_batches_tracked"
    if name in expected:
        counters = [v for n, v in state.values.items() if n.endswith("num_batches_tracked")]
        report.labels(name, torch.stack(counters).unique(), expected[name])


def _check_momentum(
    expected: Vectors,
    prefix: str,
    ours: Updates,
    double: Updates,
    dtype: torch.dtype,
    report: Report,
) -> None:
    single = dtype == torch.float32
    close_stats(
        report,
        f"{prefix}momentum_stats",
        ours.momentum.stats,
        expected[f"{prefix}momentum_stats"],
        ours.momentum.size,
        CHANGE if single else Tolerance(relative=DOUBLE),
        None if single else DOUBLE,
    )
    start = f"{prefix}momentum_first64_"
    for array in expected.starting_with(start):
        values, exact = (
            _part(m, array.removeprefix(start), "first64") for m in (ours.momentum, double.momentum)
        )
        float32 = Tolerance(5e-3 * values.abs().max().item() + _noise(values, exact))
        tolerance = float32 if single else Tolerance(of_largest=DOUBLE)
        report.close(array, values, expected[array], tolerance)


def _part(moments: Moments, name: str, what: str) -> Tensor:
    """An entry in full, or its first 64 values."""
    if name not in moments.values:
        raise CannotCheck(f"unknown entry {name}")
    return moments.values[name] if what == "full" else moments.values[name].flatten()[:64]


def _noise(single: Tensor, double: Tensor) -> float:
    """Four times the largest difference that float32 makes."""
    return 4 * (single - double).abs().max().item()


def check_pseudo_labels(
    expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report
) -> None:
    network = network_with_weights(expected.text("weight_seed")[0], dtype).eval()
    names = expected.starting_with("input_bgr_u8_x")
    base = inputs["input_bgr_u8_x100"].shape[1:3]
    scales = [int(name.rpartition("x")[2]) / 100 for name in names]
    config = PseudoLabels(image_size=base, scales=scales)
    scaled = [scaled_images(Image.fromarray(image), config)[0] for image in inputs["image_rgb_u8"]]
    batches = [torch.stack(images) for images in zip(*scaled, strict=True)]
    for name, batch in zip(names, batches, strict=True):
        report.close(name, batch, rgb(expected[name]))
    labels = expected["label"]
    total = summed_probabilities(ready(network), batches, labels.shape[1:], config.flip)
    report.labels("label", total.max(dim=1).indices, labels, total, 1e-4)
    for name in expected.starting_with("prob_sum_every"):
        every = int(name.removeprefix("prob_sum_every"))
        report.close(name, total[:, :, ::every, ::every], expected[name], Tolerance(2e-5))
    class_mean = total.double().mean(dim=(2, 3))
    report.close("prob_class_mean", class_mean, expected["prob_class_mean"], Tolerance(1e-5))
    first, second = total.topk(2, dim=1).values.unbind(dim=1)
    margin = Tolerance(4e-5, relative=2**-10)  # float16 keeps eleven bits
    report.close("margin_top1_top2_f16", first - second, expected["margin_top1_top2_f16"], margin)
    smallest = (first - second).min()
    report.close("min_margin", smallest, expected["min_margin"], Tolerance(4e-5))
    # Ours differs by rounding, which may be larger than the number itself. The file's own arrays
    # tell more: it is the smallest of the margins, and a difference of two float32 sums.
    least = expected["margin_top1_top2_f16"].min()
    report.close("min_margin, as float16", np.float16(expected["min_margin"]), least)
    steps = expected["min_margin"] / np.spacing(np.float32(first.min() / 2))
    report.close("min_margin, whole float32 steps", np.rint(steps), steps)


def check_evaluate(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    network = network_with_weights(expected.text("weight_seed")[0], dtype).eval()
    images = rgb(inputs["image_bgr_u8"])
    labels, predicted = inputs.tensor("label", torch.int64), expected.tensor("pred", torch.int64)
    ours = ready(network).predict(images, labels.shape[1:])
    with torch.no_grad():
        logits = upsample(MACHINE.forward(network, images).logits, labels.shape[1:])
    report.labels("pred", ours, predicted, logits, 1e-4)
    counts = count_pairs(labels, predicted, logits.shape[1]).double()
    report.close("hist", counts, expected["hist"])
    iou = iou_by_class(counts)
    report.close("iou", iou, expected["iou"], Tolerance(1e-15))
    rounded = round(100 * iou.nanmean().item(), 2)
    report.close("miou_rounded_percent", rounded, expected["miou_rounded_percent"], EXACT)
