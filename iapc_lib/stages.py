"""The stages of a run, each made once and then read from the run folder.

A notebook asks for what it needs; what an earlier notebook would have made is made on the way.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from iapc_lib.adaptation import adapt
from iapc_lib.checkpoints import add_to_description, imagenet_file, load_network, save_network
from iapc_lib.classes import CLASS_SETS
from iapc_lib.config import RunConfig
from iapc_lib.data.dataset import ImageDataset, write_train_ids
from iapc_lib.data.layouts import Record, domain_root, source_records, target_records
from iapc_lib.data.miniature import write_world
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.evaluation import confusion_matrix, predict_labels, recompute_batchnorm, scores
from iapc_lib.presets import resolve
from iapc_lib.pseudo_labels import pseudo_label_path, write_pseudo_labels
from iapc_lib.resume import Checkpointer
from iapc_lib.runs import Run, RunFolderError, atomic_path, file_hash, write_json
from iapc_lib.source_training import train_source

WATCHED_IMAGES = 3
WATCHES_PER_RUN = 6


def data(run: Run) -> dict[str, Path]:
    """The roots of the `source` and `target` data sets; the miniature's are drawn if missing.

    Raises:
        RunFolderError: the folder of the drawings cannot be written.
    """
    config = run.config
    roots = {domain: domain_root(config, domain) for domain in ("source", "target")}
    mini = config.miniature
    if mini is not None:
        counts = {
            "source": {"train": mini.source_train, "val": mini.source_val},
            "target": {"train": mini.target_train, "dev": mini.target_dev, "val": mini.target_val},
        }
        for domain, root in roots.items():
            layout = getattr(config, domain).layout
            try:
                root.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(root.with_name(f".{root.name}.lock")):
                    if not root.exists():
                        write_world(
                            layout, root, counts=counts[domain], size=mini.size, seed=mini.seed
                        )
            except OSError as error:
                raise RunFolderError(f"{root}: cannot be written ({error.strerror})") from error
    return roots


def source_network(run: Run) -> DeepLabV2:
    """The source network in evaluation mode: trained on the rendered images, or the given one."""
    data(run)
    path = run.path("source.safetensors")
    given = run.config.source.checkpoint
    inputs = {
        "checkpoint": file_hash(resolve(given)) if given else None,
        "data": domain_root(run.config, "source").name,
    }

    def make() -> dict[str, Any]:
        imagenet = imagenet_file(run.config)
        if given:
            network, _ = load_network(resolve(given), run.config)
            history = []
        else:
            train, _ = source_records(run.config)
            network, history = train_source(run, train)
        save_network(path, network, run.config, what="source network", provenance=run.provenance())
        write_json(run.path("history_source.json"), history)
        return {"sha256": file_hash(path), "imagenet_sha256": imagenet and file_hash(imagenet)}

    run.stage("source_network", inputs, make, [path])
    Checkpointer.path_of(run, "source_training").unlink(missing_ok=True)
    return load_network(path, run.config)[0].to(run.machine.device)


def bn_recomputed_network(run: Run) -> DeepLabV2:
    """The source network with BatchNorm statistics recomputed on the unlabelled target images."""
    path = run.path("adapted_bn_recomputed.safetensors")
    source = source_network(run)

    def make() -> dict[str, Any]:
        records = target_records(run.config, "train", labels=False)
        network = recompute_batchnorm(run.machine, source, records, run.config.evaluation)
        save_network(
            path,
            network,
            run.config,
            what="source network, BatchNorm statistics recomputed on the target",
            provenance=run.provenance(),
        )
        return {"sha256": file_hash(path)}

    inputs = {"source": file_hash(run.path("source.safetensors")), "data": _target(run)}
    run.stage("bn_recomputed", inputs, make, [path])
    return load_network(path, run.config)[0].to(run.machine.device)


def pseudo_labels(run: Run, bn_teacher: bool = False) -> tuple[list[Record], list[Path]]:
    """The target's training records and the files of their pseudo-labels.

    Args:
        run: open run folder.
        bn_teacher: pseudo-labels of the source network with recomputed BatchNorm statistics
            (our extension) instead of the source network itself.
    """
    teacher = bn_recomputed_network(run) if bn_teacher else source_network(run)
    folder = run.path("pseudo_labels_bn_teacher" if bn_teacher else "pseudo_labels")
    records = target_records(run.config, "train", labels=False)
    files = [pseudo_label_path(folder, record) for record in records]
    teacher_hash = file_hash(adapted_path(run, "bn_recomputed" if bn_teacher else "source_only"))

    def make() -> dict[str, Any]:
        made_by, made_from = folder / "made_from.txt", f"{teacher_hash} {_target(run)}"
        if folder.exists() and not (made_by.exists() and made_by.read_text() == made_from):
            shutil.rmtree(folder)
        with atomic_path(made_by) as temporary:
            temporary.write_text(made_from)
        write_pseudo_labels(
            run.machine, teacher, records, run.config.pseudo_labels, run.config.class_set, folder
        )
        return {"images": len(records)}

    run.stage(folder.name, {"teacher": teacher_hash, "data": _target(run)}, make, files)
    return records, files


def adapted_path(run: Run, method: str) -> Path:
    """Where the network of a row of the results lies."""
    if method == "source_only":
        return run.path("source.safetensors")
    return run.path("adapted.safetensors" if method == "iapc" else f"adapted_{method}.safetensors")


def adapted_network(run: Run, method: str = "iapc") -> DeepLabV2:
    """The network of a row of the results (`iapc`, `self_training`, ...) in evaluation mode.

    `iapc_bn_teacher` is our extension: the source network gets BatchNorm statistics of the
    unlabelled target before it teaches and before the student starts from it, and so does the
    student at the end, instead of the noisier running means of its crops.
    """
    if method == "source_only":
        return source_network(run)
    if method == "bn_recomputed":
        return bn_recomputed_network(run)
    path = adapted_path(run, method)
    bn_teacher = method == "iapc_bn_teacher"
    teacher = bn_recomputed_network(run) if bn_teacher else source_network(run)
    records, labels = pseudo_labels(run, bn_teacher)

    def make() -> dict[str, Any]:
        network, history = adapt(
            run,
            method,
            "self_training" if method == "self_training" else "iapc",
            teacher,
            records,
            labels,
            watch=_Watch(run, method),
            watch_every=max(1, -(-run.config.adaptation.steps // WATCHES_PER_RUN)),
        )
        if bn_teacher:
            network = recompute_batchnorm(run.machine, network, records, run.config.evaluation)
        save_network(path, network, run.config, what=method, provenance=run.provenance())
        write_json(run.path(f"history_{method}.json"), history)
        return {"sha256": file_hash(path)}

    teacher_hash = file_hash(adapted_path(run, "bn_recomputed" if bn_teacher else "source_only"))
    inputs = {"teacher": teacher_hash, "data": _target(run)}
    run.stage(f"adaptation_{method}", inputs, make, [path])
    Checkpointer.path_of(run, f"adaptation_{method}").unlink(missing_ok=True)
    return load_network(path, run.config)[0].to(run.machine.device)


class _Watch:
    """During adaptation: the score on the labelled `dev` split, and predictions to look at."""

    def __init__(self, run: Run, method: str):
        self.run, self.method = run, method
        self.dev = watched_records(run)

    def __call__(self, step: int, student: DeepLabV2) -> dict[str, Any]:
        config, machine = self.run.config, self.run.machine
        was_training = student.training
        student.eval()
        images = ImageDataset(self.dev, config.evaluation.image_size, config.class_set)
        for place in range(min(WATCHED_IMAGES, len(self.dev))):
            item = images[place]
            label = predict_labels(machine, student, item["image"][None], item["size"])[0]
            with atomic_path(
                self.run.path("predictions", self.method, f"{place}_{step:06d}.png")
            ) as temporary:
                write_train_ids(
                    temporary, config.class_set.train_id_of_channel[label.cpu().numpy()]
                )
        student.train(was_training)
        if config.target.dev is None:
            return {}
        return {"dev_miou": _scores(self.run, student, self.dev)["miou"]}


def watched_records(run: Run) -> list[Record]:
    """The records of `dev` (with labels), or of `train` (without) where there is no `dev`."""
    if run.config.target.dev is None:
        return target_records(run.config, "train", labels=False)
    return target_records(run.config, "dev", labels=True)


def rows(config: RunConfig) -> list[str]:
    """The rows of the results table, in order."""
    return ["source_only", "bn_recomputed", *config.adaptation.methods]


def row_scores(run: Run, method: str, split: str) -> dict[str, Any]:
    """Scores of a row on the target's `dev` or `val`, evaluated once; see `evaluation.scores`."""
    network = adapted_network(run, method)

    def make() -> dict[str, Any]:
        records = target_records(run.config, split, labels=True)
        found = _scores(run, network, records, f"Scoring {method} on {split}")
        add_to_description(adapted_path(run, method), **{f"scores_{split}": found})
        return found

    inputs = {"network": file_hash(adapted_path(run, method)), "data": _target(run)}
    return run.stage(f"scores_{method}_{split}", inputs, make)


def home_scores(run: Run) -> dict[str, Any]:
    """Scores of the source network at home, on the source domain's validation images."""
    network = source_network(run)

    def make() -> dict[str, Any]:
        _, records = source_records(run.config)
        found = _scores(run, network, records, "Scoring at home")
        add_to_description(run.path("source.safetensors"), scores_home=found)
        return found

    inputs = {
        "network": file_hash(run.path("source.safetensors")),
        "data": domain_root(run.config, "source").name,
    }
    return run.stage("scores_source_home", inputs, make)


def _scores(
    run: Run, network: DeepLabV2, records: list[Record], description: str | None = None
) -> dict[str, Any]:
    config = run.config
    classes = config.class_set
    counts = confusion_matrix(
        run.machine, network, records, config.evaluation, classes, description
    )
    return scores(counts, classes)


def _target(run: Run) -> str:
    """Names the target data: a changed drawing is another name."""
    return domain_root(run.config, "target").name


def results(run: Run) -> dict[str, Any]:
    """All rows' scores on `val` (and `dev`), written to `results.json`."""
    table = {
        "format": 1,
        "scenario": run.config.scenario,
        "seed": run.config.seed,
        "classes": list(run.config.class_set.names),
        "miou_over": {f"miou_{number}": list(s.names) for number, s in CLASS_SETS.items()},
        "scores": {method: row_scores(run, method, "val") for method in rows(run.config)},
        "dev_scores": {},
        "provenance": {**run.provenance(), "stages": run.stage_provenance()},
    }
    if run.config.target.dev is not None:
        table["dev_scores"] = {m: row_scores(run, m, "dev") for m in rows(run.config)}
    write_json(run.path("results.json"), table)
    return table
