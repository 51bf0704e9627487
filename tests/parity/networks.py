"""Checks with the published network: forward, three full updates, pseudo-labels, evaluation.

Every check takes (expected, inputs, dtype, report), as in `tensors`. Sums over a tensor are held
to the tolerance times sqrt(n) times its L2 norm, which is what elements off by the tolerance can
add up to.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from iapc_lib.adaptation import Networks, adaptation_step
from iapc_lib.classes import IGNORE
from iapc_lib.config import PseudoLabels
from iapc_lib.deeplab import DeepLabV2, upsample
from iapc_lib.evaluation import count_pairs, iou_by_class, predict_labels
from iapc_lib.hardware import Machine
from iapc_lib.optimizers import make_optimizer, parameter_visits, set_learning_rate
from iapc_lib.presets import load_config, project_root
from iapc_lib.pseudo_labels import scaled_images, summed_probabilities

from .report import EXACT, CannotCheck, Report, Tolerance, Vectors
from .tensors import TERM_OF
from .weights import network_with_weights

MACHINE = Machine(torch.device("cpu"), autocast=False)


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


def check_steps(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    for name in ("hyper_values", "label_aug2"):
        report.close(name, inputs[name], expected[name])
    report.same("loss_names", TERM_OF, expected["loss_names"])
    with torch.device("meta"):
        report.same("state_keys", DeepLabV2().state_dict(), inputs["state_keys"])
    for visits, prefix in (("published", "seq17/"), ("once", "dedup/")):
        _check_updates(expected, inputs, dtype, report, visits, prefix)
    # The optimiser of newer torch versions on repeated parameters: nobody's method.
    left_out = expected.starting_with("native/")
    expected.asked.update(left_out)
    if left_out:
        print(f"{report.prefix:24} {'native/*':46} left out, {len(left_out)} arrays")


HYPER_PARAMETERS = {
    "learning_rate": "adaptation.optimizer.learning_rate",
    "momentum": "adaptation.optimizer.momentum",
    "weight_decay": "adaptation.optimizer.weight_decay",
    "warm_up": "adaptation.optimizer.warmup_steps",
    "num_steps": "adaptation.optimizer.decay_steps",
    "power": "adaptation.optimizer.power",
    "max_value": "losses.class_weight_ceiling",
    "lambda_loss_pseudo_label": "losses.importance_aware",
    "lambda_loss_clustering_label": "losses.prototype_enhanced",
    "lambda_loss_clustering_sym_label": "losses.prototype_symmetric",
    "lambda_loss_prediction_self": "losses.information_maximization",
}


def _check_updates(
    expected: Vectors,
    inputs: Vectors,
    dtype: torch.dtype,
    report: Report,
    visits: str,
    prefix: str,
) -> None:
    single = dtype == torch.float32
    exact = 1e-8  # relative, of everything in float64
    settings = {}
    for name, value in zip(inputs.text("hyper_names"), inputs["hyper_values"], strict=True):
        if name not in HYPER_PARAMETERS:
            raise CannotCheck(f"unknown hyper-parameter {name}")
        settings[HYPER_PARAMETERS[name]] = int(value) if name in INTEGERS else float(value)
    config = load_config(
        project_root() / "papermill_runs/gta5.yaml",
        overrides={
            **settings,
            "fidelity.revision": expected.text("revision")[0],
            "fidelity.parameter_visits": visits,
        },
    )
    networks = Networks(network_with_weights(expected.text("weight_seed")[0], dtype), MACHINE)
    student, memory = networks.student, networks.memory
    initial = {n: v.double() for n, v in copy.deepcopy(student.state_dict()).items()}
    optimizer = make_optimizer(student, config.adaptation.optimizer, visits == "published")
    trainable = {n: p for n, p in student.named_parameters() if p.requires_grad}
    names = expected.text("trainable_names")
    report.same("trainable_names", trainable, names)
    often = torch.ones(inputs[f"{prefix}class_weight"].shape[1], dtype=dtype)
    forwards = []
    student.register_forward_hook(lambda _, __, output: forwards.append(output.logits.detach()))
    views = {
        view: rgb(inputs[array])
        for view, array in (
            ("plain", "images_u8"),
            ("rescaled", "image_aug1_u8"),
            ("augmented", "image_aug2_u8"),
            ("clean", "images_t_u8"),
        )
    }
    views["label"] = inputs.tensor("label_aug2", torch.int64)
    clean_labels = inputs.tensor("labels_t", torch.int64)

    def close(array, ours, theirs, float32: Tolerance, double: Tolerance = Tolerance(0, exact)):  # noqa: B008
        report.close(f"{prefix}{array}", ours, theirs, float32 if single else double)

    for index, iteration in enumerate(inputs["iterations"]):
        step = f"step{index + 1}"
        rates = set_learning_rate(optimizer, config.adaptation.optimizer, int(iteration))
        close(f"lr {step}", rates, expected[f"{prefix}lr"][index], Tolerance(relative=1e-14))
        batch = {name: view[index] for name, view in views.items()}
        result = adaptation_step(networks, optimizer, batch, often, config, MACHINE)
        terms, often = result.terms, result.terms.often

        loss = Tolerance(relative=LOSS_ERROR[min(index, 2)])
        weighted = [terms.weighted[ours] for ours in TERM_OF.values()]
        clean = F.cross_entropy(
            upsample(forwards[-1], clean_labels.shape[2:]), clean_labels[index], ignore_index=IGNORE
        )
        importance = terms.importance.double().mean()
        for array, ours in (
            ("losses_weighted", torch.stack(weighted)),
            ("loss_total", terms.total),
            ("val_loss", clean),
        ):
            close(f"{array} {step}", ours, expected[f"{prefix}{array}"][index], loss)
        close(
            f"importance_mean_{step}", importance, expected[f"{prefix}importance_mean_{step}"], loss
        )
        class_weight = expected[f"{prefix}class_weight"][index]
        close(f"class_weight {step}", terms.class_weight, class_weight, Tolerance(1e-5))

        gradients = [trainable[name].grad for name in names]
        norms = stats(gradients)
        close_stats(
            report,
            f"{prefix}grad_stats {step}",
            norms,
            expected[f"{prefix}grad_stats"][index],
            [g.numel() for g in gradients],
            Tolerance(relative=6e-3, median=5e-4) if single else Tolerance(relative=exact),
            None if single else exact,
        )
        l2_all = np.sqrt((norms[:, 1] ** 2).sum())
        close(f"grad_l2_all {step}", l2_all, expected[f"{prefix}grad_l2_all"][index], GRADIENT)

        for who, logits, error in (
            ("student", result.student.logits, STUDENT_ERROR[min(index, 2)]),
            ("memory", result.memory.logits, 3e-4),
            ("source", result.source_logits, 3e-5),
        ):
            array = f"{prefix}{who}_logits_{step}"
            if array in expected:
                tolerance = Tolerance(error) if single else Tolerance(of_largest=exact)
                report.close(array, logits, expected[array], tolerance)
        array = f"{prefix}cluster_label_{step}"
        theirs = expected[array]
        gap = CLUSTER_GAP[min(index, 2)] if single else 0.0
        report.labels(array, terms.prototype_label, theirs, terms.similarity, gap)
        masked = 1 - terms.agreement.double().mean().item()
        # A tie that fell the other way changes the pixels that its feature stands for.
        ties = 2 * float((terms.prototype_label.numpy() != theirs).mean())
        array = f"{prefix}masked_fraction_{step}"
        report.close(array, masked, expected[array], Tolerance(1e-9 + ties))

    for letter, network in (("G", student), ("M", memory)):
        _check_state(expected, network.state_dict(), initial, prefix, letter, single, report)
    momentum = {n: optimizer.state[p]["momentum_buffer"] for n, p in trainable.items()}
    close_stats(
        report,
        f"{prefix}momentum_stats",
        stats(momentum[name] for name in names),
        expected[f"{prefix}momentum_stats"],
        [momentum[name].numel() for name in names],
        CHANGE if single else Tolerance(relative=exact),
        None if single else exact,
    )
    for array in expected.starting_with(f"{prefix}momentum_first64_"):
        ours = momentum[array.partition("first64_")[2]].flatten()[:64]
        tolerance = Tolerance(of_largest=2e-2 if single else exact)
        report.close(array, ours, expected[array], tolerance)


INTEGERS = ("warm_up", "num_steps")
LOSS_ERROR = (1e-5, 3e-5, 2e-4)
STUDENT_ERROR = (3e-4, 3e-3, 2e-2)
CLUSTER_GAP = (1e-5, 1e-4, 1e-3)
ROUNDING = 2.0**-22
"""Of float32 numbers, after three updates of up to four visits each."""
GRADIENT = Tolerance(relative=1e-3)
CHANGE = Tolerance(relative=6e-3, median=1e-3)


def _check_state(
    expected: Vectors,
    state: dict[str, Tensor],
    initial: dict[str, Tensor],
    prefix: str,
    letter: str,
    single: bool,
    report: Report,
) -> None:
    exact = 1e-8
    sizes = [value.numel() for value in state.values()]
    change = {name: value.double() - initial[name] for name, value in state.items()}
    name = f"{prefix}{letter}_state_stats"
    state_stats = stats(state.values())
    error = 1e-5 if single else exact
    close_stats(report, name, state_stats, expected[name], sizes, Tolerance(relative=error), error)
    moved = f"{prefix}{letter}_delta_stats"
    # In float32 a change cannot be known better than the weights that it is the difference of.
    rounding = ROUNDING * state_stats[:, 1] if single else 0.0
    tolerance = replace(CHANGE, absolute=rounding) if single else Tolerance(relative=exact)
    close_stats(
        report,
        moved,
        stats(change.values()),
        expected[moved],
        sizes,
        tolerance,
        None if single else exact,
    )
    summed = expected[name][:, 0] - stats(initial.values())[:, 0]
    close_sum = Tolerance(1e-14 * np.sqrt(sizes) * state_stats[:, 1] + 1e-13)
    report.close(f"{moved} sum, from state_stats", summed, expected[moved][:, 0], close_sum)
    arrays = [
        array
        for what in ("full_", "first64_", "first64delta_")
        for array in expected.starting_with(f"{prefix}{letter}_{what}")
    ]
    for array in arrays:
        what, _, name = array.rpartition("/")[2].removeprefix(f"{letter}_").partition("_")
        end = None if what == "full" else 64
        values, moves, start = (v[name].flatten()[:end] for v in (state, change, initial))
        ours = moves if what == "first64delta" else values
        if not single:
            tolerance = Tolerance(of_largest=exact)
        elif ".running_" in name:
            tolerance = Tolerance(of_largest=1e-4)
        else:
            largest, moved_most = values.abs().max().item(), moves.abs().max().item()
            tolerance = Tolerance(5e-3 * moved_most + ROUNDING * largest)
        report.close(array, ours, expected[array], tolerance)
        if what == "first64delta":
            theirs = expected[array.replace("first64delta", "first64")] - start.numpy()
            report.close(f"{array} from first64", theirs, expected[array], Tolerance(1e-15))
    if not single:
        return
    name = f"{prefix}{letter}_num_batches_tracked"
    counters = {int(v) for n, v in state.items() if n.endswith("num_batches_tracked")}
    report.labels(name, sorted(counters), expected[name])


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
    total = summed_probabilities(MACHINE, network, batches, labels.shape[1:], config.flip)
    report.labels("label", total.max(dim=1).indices, labels, total, 1e-4)
    every4 = total[:, :, ::4, ::4]
    report.close("prob_sum_every4", every4, expected["prob_sum_every4"], Tolerance(2e-5))
    class_mean = total.double().mean(dim=(2, 3))
    report.close("prob_class_mean", class_mean, expected["prob_class_mean"], Tolerance(1e-5))
    first, second = total.topk(2, dim=1).values.unbind(dim=1)
    margin = Tolerance(4e-5, relative=2**-10)  # float16 keeps eleven bits
    report.close("margin_top1_top2_f16", first - second, expected["margin_top1_top2_f16"], margin)
    smallest = (first - second).min()
    report.close("min_margin", smallest, expected["min_margin"], Tolerance(4e-5))


def check_evaluate(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    network = network_with_weights(expected.text("weight_seed")[0], dtype).eval()
    images = rgb(inputs["image_bgr_u8"])
    labels, predicted = inputs.tensor("label", torch.int64), expected.tensor("pred", torch.int64)
    ours = predict_labels(MACHINE, network, images, labels.shape[1:])
    with torch.no_grad():
        logits = upsample(MACHINE.forward(network, images).logits, labels.shape[1:])
    report.labels("pred", ours, predicted, logits, 1e-4)
    counts = count_pairs(labels, predicted, logits.shape[1]).double()
    report.close("hist", counts, expected["hist"])
    iou = iou_by_class(counts)
    report.close("iou", iou, expected["iou"], Tolerance(1e-15))
    rounded = round(100 * iou.nanmean().item(), 2)
    report.close("miou_rounded_percent", rounded, expected["miou_rounded_percent"], EXACT)
