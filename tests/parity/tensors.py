"""Checks without a network: losses, prototypes, class weights, rates, images, views, scores.

Every check takes (expected, inputs, dtype, report): the vector file, the file that holds its
inputs (the same, or the float32 file beside a float64 one), and the precision to compute in.
Tolerances are those of the vectors' README.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from iapc_lib.classes import ALL_19, CLASS_SETS, IGNORE
from iapc_lib.config.sections import Views
from iapc_lib.data.autoaugment import AUTOAUGMENT_POLICY, MAGNITUDES, apply_operation
from iapc_lib.data.images import ImageDataset, read_label, resize_label, to_channels
from iapc_lib.data.layouts import Record
from iapc_lib.data.target_views import target_views
from iapc_lib.evaluation.scores import count_pairs, iou_by_class, scores
from iapc_lib.method.deeplab import DeepLabV2, Prediction, network_input, upsample
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import (
    class_counts,
    class_weights,
    entropy_map,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
    weighted_cross_entropy,
)
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.optimizer import make_optimizer, set_learning_rate
from iapc_lib.method.prototypes import (
    class_prototypes,
    memory_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
)
from iapc_lib.method.settings import Fidelity, Losses, Model, Optimizer

from .report import CannotCheck, Report, Tolerance, Vectors


def check_losses(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    single = dtype == torch.float32
    scalar = Tolerance(relative=2e-5 if single else 1e-12)
    gradient = Tolerance(of_largest=1e-4) if single else Tolerance(absolute=1e-13)
    gap = 3e-6 if single else 0.0
    student = Prediction(
        inputs.tensor("student_logits", dtype).requires_grad_(),
        inputs.tensor("student_features", dtype).requires_grad_(),
    )
    memory = Prediction(
        inputs.tensor("memory_logits", dtype), inputs.tensor("memory_features", dtype)
    )
    source_logits = inputs.tensor("source_logits", dtype)
    labels = inputs.tensor("label", torch.int64)
    absence = inputs.tensor("prior_often_weight", dtype)
    lambdas = inputs["lambdas_pl_cl_sym_self"]
    names = (
        "importance_aware",
        "prototype_enhanced",
        "prototype_symmetric",
        "information_maximization",
    )
    ceiling = float(inputs["max_value"])
    revision = expected.text("revision")[0]
    for name in ("label", "lambdas_pl_cl_sym_self", "max_value"):
        report.close(name, inputs[name], expected[name])

    prototypes = memory_prototypes(memory, labels.shape[1:])

    def objective(weights, revision=revision):
        settings = dict(zip(names, map(float, weights), strict=True))
        return iapc_losses(
            student,
            prototypes,
            source_logits,
            labels,
            absence,
            Losses(**settings, class_weight_ceiling=ceiling),
            Fidelity(revision=revision, importance="logits"),
        )

    terms = objective(lambdas)
    report.close("loss_total", terms.total, expected["loss_total"], scalar)
    for theirs, ours in TERM_OF.items():
        report.close(f"dict_{theirs}", terms.weighted[ours], expected[f"dict_{theirs}"], scalar)
    weight_tolerance = Tolerance(1e-5) if single else Tolerance(1e-12)
    report.close("class_weight", terms.class_weight, expected["class_weight"], weight_tolerance)
    report.close("often_weight", terms.absence, expected["often_weight"], weight_tolerance)
    importance = Tolerance(3e-5) if single else Tolerance(1e-12, 1e-12)
    report.close("importance", terms.importance, expected["importance"], importance)

    size = labels.shape[1:]
    logits, memory_logits = upsample(student.logits, size), upsample(memory.logits, size)
    log_probabilities = logits.log_softmax(dim=1)
    predicted = logits.max(dim=1).indices
    cluster = terms.prototype_label
    report.labels("cluster_label", cluster, expected["cluster_label"], terms.similarity, gap)
    laid_out = scrambled_2023(terms.similarity) if revision == "2023" else terms.similarity
    report.close(
        "cluster_similarity_raw",
        laid_out,
        expected["cluster_similarity_raw"],
        Tolerance(3e-6 if single else 1e-12),
    )
    if "memory_label_up" in expected:  # not in float64 files
        memory_label = memory_logits.max(dim=1).indices
        for name, ours, values in (
            ("memory_label_up", memory_label, memory_logits),
            ("student_label_up", predicted, logits),
        ):
            report.labels(name, ours, expected[name], values, 1e-5)
        cluster_up = resample_labels(expected.tensor("cluster_label", torch.int64), size)
        report.labels("cluster_label_up", cluster_up, expected["cluster_label_up"])
        masked = labels.where(labels == cluster_up, IGNORE)
        report.labels("cluster_label_up_masked", masked, expected["cluster_label_up_masked"])
        counts = count_pairs(labels, labels, len(absence)).diagonal()
        report.labels("label_counts", counts, expected["label_counts"])
    cluster_up = resample_labels(cluster, size)
    agreed = labels.where(terms.agreement, IGNORE)
    weight = terms.class_weight
    rounding = 2e-6 if single else 1e-13  # of a logarithm near 0
    pixel = Tolerance(rounding * weight.max().item(), relative=2e-5 if single else 1e-12)
    for name, ours in (
        ("ce_weighted_per_pixel", weighted_cross_entropy(log_probabilities, labels, weight)),
        ("ce_masked_weighted_per_pixel", weighted_cross_entropy(log_probabilities, agreed, weight)),
        ("entropy_per_pixel", entropy_map(log_probabilities)),
    ):
        report.close(name, ours, expected[name], pixel)
    symmetric = prototype_symmetric_loss(
        log_probabilities, upsample(laid_out, size), cluster_up, predicted
    )
    for name, ours in (
        (
            "pseudo",
            importance_aware_loss(
                log_probabilities,
                labels,
                importance_map(upsample(source_logits, size), "logits"),
                weight,
            ),
        ),
        ("sym_label", symmetric[0]),
        ("sym_probability", symmetric[1]),
        ("enhanced", prototype_enhanced_loss(log_probabilities, labels, cluster_up, weight)),
        ("entropy", information_maximization_loss(log_probabilities)),
    ):
        report.close(f"loss_{name}_unweighted", ours, expected[f"loss_{name}_unweighted"], scalar)

    for name, weights in (
        ("total", lambdas),
        ("pseudo", (1, 0, 0, 0)),
        ("enhanced", (0, 1, 0, 0)),
        ("sym", (0, 0, 1, 0)),
        ("entropy", (0, 0, 0, 1)),
    ):
        gradients = torch.autograd.grad(objective(weights).total, student)
        for which, ours in zip(("logits", "features"), gradients, strict=True):
            array = f"grad_{name}_student_{which}"
            if array in expected:
                report.close(array, ours, expected[array], gradient)
            else:
                report.close(f"{array} (zero)", ours, torch.zeros_like(ours))

    largest = upsample(source_logits, size).max(dim=1).values.abs().min()
    close = Tolerance(3e-6, 1e-5) if single else Tolerance(1e-12, 1e-12)
    report.close("source_top1_abs_min", largest, expected["source_top1_abs_min"], close)
    agreement = terms.agreement.double().mean()
    report.close(
        "frac_label_eq_cluster", agreement, expected["frac_label_eq_cluster"], Tolerance(1e-12)
    )
    name = "own_loss_sym_probability_if_transposed"
    if name in expected:
        mended = objective((0, 0, 1, 0), "2024").weighted["prototype_symmetric_similarity"]
        report.close(name, mended, expected[name], scalar)


TERM_OF = {
    "loss_pseudo_label": "importance_aware",
    "loss_clustering_sym_label_label": "prototype_symmetric_label",
    "loss_clustering_sym_label_probability": "prototype_symmetric_similarity",
    "loss_clustering_label": "prototype_enhanced",
    "loss_prediction_self": "information_maximization",
}
"""The published names of the loss terms, and ours."""


def check_prototypes(
    expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report
) -> None:
    revision = expected.text("revision")[0]
    cases = [name.removesuffix("_feature_memory") for name in expected.starting_with("")]
    for case in (c for c in cases if f"{c}_feature_memory" in expected):
        memory, features = (
            inputs.tensor(f"{case}_{which}", dtype) for which in ("feature_memory", "feature")
        )
        raw = expected[f"{case}_out_similarity_raw"]
        labels = inputs.tensor(f"{case}_label_memory", torch.int64)
        labels = resample_labels(labels, memory.shape[2:])
        similarity = prototype_similarity(features, class_prototypes(memory, labels, raw.shape[1]))
        tolerance = Tolerance(3e-6 if dtype == torch.float32 else 1e-12)
        report.labels(
            f"{case}_out_label", prototype_labels(similarity), expected[f"{case}_out_label"]
        )
        pixel_major = similarity.flatten(2).transpose(1, 2)
        name = f"{case}_similarity_pixel_major"
        report.close(name, pixel_major, expected[name], tolerance)
        laid_out = scrambled_2023(similarity) if revision == "2023" else similarity
        report.close(f"{case}_out_similarity_raw", laid_out, raw, tolerance)


def check_class_weights(
    expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report
) -> None:
    num_classes = expected["class_weight"].shape[1]
    absence = torch.ones(num_classes, dtype=dtype)
    batches = inputs.tensor("labels", torch.int64)
    weights, states, counts = [], [], []
    for labels in batches:
        found = class_counts(labels, num_classes)
        weight, absence = class_weights(found, len(labels), absence, float(inputs["max_value"]))
        weights.append(weight)
        states.append(absence)
        counts.append(found)
    tolerance = Tolerance(1e-5 if dtype == torch.float32 else 1e-12)
    report.close("class_weight", torch.stack(weights), expected["class_weight"], tolerance)
    report.close("often_weight", torch.stack(states), expected["often_weight"], tolerance)
    report.labels("counts", torch.stack(counts), expected["counts"])


def check_schedule(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    config = Optimizer(
        learning_rate=float(inputs["learning_rate"]),
        warmup_steps=int(inputs["warm_up"]),
        decay_steps=int(inputs["num_steps"]),
        power=float(inputs["power"]),
    )
    smallest = Model(layers=(1, 1, 1, 1), base_width=1)
    optimizer = make_optimizer(DeepLabV2(19, smallest), config)
    rates = []
    for step in inputs["iterations"]:
        set_learning_rate(optimizer, config, int(step))
        body, head = (group["lr"] for group in optimizer.param_groups)
        rates.append([body, head])
    report.close("lr", rates, expected["lr"], Tolerance(relative=1e-14))


def check_preprocess(
    expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Record("image", Path(folder, "image.png"), Path(folder, "label.png"), "cityscapes")
        Image.fromarray(inputs["image_rgb_u8"]).save(record.image)
        Image.fromarray(inputs["label_ids_u8"]).save(record.label)
        native = read_label(record)
        sizes = [re.fullmatch(r"image_(\d+)x(\d+)", name) for name in expected.arrays]
        if not any(sizes):
            raise CannotCheck(f"{expected.path.name} has no array image_WxH")
        for size in filter(None, sizes):
            name, (width, height) = size[0], map(int, size.groups())
            item = ImageDataset([record], (height, width), ALL_19)[0]
            report.close(name, network_input(item["image"]), expected[name])
            label_name = name.replace("image", "label")
            label = resize_label(native, (height, width))
            report.labels(label_name, label, expected[label_name])
        report.labels("evalset_label_native", item["label"], expected["evalset_label_native"])
        channels, height, width = (int(side) for side in expected["evalset_size"])
        shape = network_input(ImageDataset([record], (height, width), ALL_19)[0]["image"]).shape
        report.labels("evalset_size", list(shape), [channels, height, width])


class ReplayedDraws:
    """Stands in for `random.Random`: gives the recorded draws, in order, and checks the calls."""

    def __init__(self, draws: list[str]):
        self.draws, self.asked = list(draws), []

    def _next(self, call: str) -> str:
        if len(self.asked) >= len(self.draws):
            raise IndexError(f"more draws than the {len(self.draws)} recorded ones")
        _, value = self.draws[len(self.asked)].split("=")
        self.asked.append(f"{call}={value}")
        return value

    def random(self) -> float:
        return float(self._next("random"))

    def randint(self, low: int, high: int) -> int:
        return int(self._next(f"randint({low},{high})"))

    def choice(self, values) -> int:
        return int(self._next("choice"))


def check_augment(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    width, height = map(int, inputs["resize_wh"])
    config = Views(image_size=(height, width), crop_size=tuple(map(int, inputs["crop_hw"])))
    images, labels = inputs["image_rgb_u8"], inputs["pseudo_label_u8"]
    for index in range(len(images)):
        draws = ReplayedDraws(inputs.text(f"s{index}_draws"))
        try:
            views = target_views(Image.fromarray(images[index]), labels[index], config, draws)
        except IndexError:  # ours draws more often
            report.same(f"s{index}_draws", [*draws.asked, "one more"], draws.draws)
            continue
        report.same(f"s{index}_draws", draws.asked, draws.draws)
        for name, view in (
            ("image", views.plain),
            ("aug1", views.rescaled),
            ("aug2", views.augmented),
        ):
            array = f"s{index}_{name}_bgr_u8"
            report.close(array, view[:, :, ::-1], expected[array])
        report.labels(f"s{index}_label", views.plain_label, expected[f"s{index}_label"])
        report.labels(f"s{index}_label_aug", views.label, expected[f"s{index}_label_aug"])
        report.labels(f"s{index}_size", [height, width, 3], expected[f"s{index}_size"])

    image = Image.fromarray(inputs["policy_input_rgb_u8"])
    report.labels("policy_count", len(AUTOAUGMENT_POLICY), expected["policy_count"])
    for name, sign in (("policy_out_plus", "1"), ("policy_out_minus", "-1")):
        outputs = []
        for sub_policy in AUTOAUGMENT_POLICY:
            changed = image
            for operation, magnitude, _ in sub_policy:
                draws = ReplayedDraws([f"choice={sign}"])
                changed = apply_operation(changed, operation, magnitude, draws)
            outputs.append(np.asarray(changed))
        report.close(name, np.stack(outputs), expected[name])
    policy = np.array([[op[2] for op in sub_policy] for sub_policy in AUTOAUGMENT_POLICY])
    report.close("policy_p1p2", policy, expected["policy_p1p2"])
    sizes = [
        [MAGNITUDES[op][index] if op in MAGNITUDES else 0 for op, index, _ in sub_policy]
        for sub_policy in AUTOAUGMENT_POLICY
    ]
    report.close("policy_m1m2", sizes, expected["policy_m1m2"], Tolerance(relative=1e-12))


def check_miou(expected: Vectors, inputs: Vectors, dtype: torch.dtype, report: Report) -> None:
    exact = Tolerance(1e-15)

    def counts(labels, predictions) -> torch.Tensor:
        channels = [to_channels(np.asarray(a), ALL_19) for a in (labels, predictions)]
        return count_pairs(*channels, len(ALL_19))

    each = [counts(*pair) for pair in zip(inputs["gt"], inputs["pred"], strict=True)]
    report.labels("hist_each", torch.stack(each), expected["hist_each"])
    iou_each = torch.stack([iou_by_class(c.double()) for c in each])
    report.close("iou_each", iou_each, expected["iou_each"], exact)
    for number in (16, 13):
        report.labels(f"idx{number}", CLASS_SETS[number].train_ids, expected[f"idx{number}"])
    for suffix, joint, hist in (
        ("", "", sum(each)),
        ("2", "_", counts(inputs["gt2"], inputs["pred2"])),
    ):
        report.labels(f"hist{suffix}", hist, expected[f"hist{suffix}"])
        iou = iou_by_class(hist.double())
        report.close(f"iou{suffix}", iou, expected[f"iou{suffix}"], exact)
        found = scores(hist, ALL_19)
        for number in (19, 16, 13):
            name = f"miou{number}{joint}{suffix}"
            report.close(name, found[f"miou_{number}"] / 100, expected[name], Tolerance(1e-15))
        if not suffix:
            name = "miou19_rounded_percent"
            report.close(name, round(found["miou_19"], 2), expected[name], exact)
