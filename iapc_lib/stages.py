"""The stages of a run, each made once and then read from the run folder.

A notebook asks for what it needs; what an earlier notebook would have made is made on the way.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from iapc_lib.adaptation import adapt
from iapc_lib.checkpoints import add_to_description, imagenet_file, load_network, save_network
from iapc_lib.classes import CLASS_SETS
from iapc_lib.config import RunConfig
from iapc_lib.data.cache import with_copies
from iapc_lib.data.layouts import (
    DataError,
    Record,
    domain_root,
    rendered_records,
    source_records,
    target_records,
)
from iapc_lib.data.miniature import write_world
from iapc_lib.data.names import source_name, target_name
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.evaluation import recompute_batchnorm, score_records
from iapc_lib.presets import resolve
from iapc_lib.pseudo_labels import pseudo_label_path, write_pseudo_labels
from iapc_lib.resume import Checkpointer
from iapc_lib.runs import Run, RunFolderError, atomic_path, file_hash, read_json, write_json
from iapc_lib.source_training import train_source
from iapc_lib.tables import RESULTS_FORMAT
from iapc_lib.unlabelled import unlabelled_measures as measure
from iapc_lib.watching import WATCHES_PER_RUN, Watch


def data(run: Run) -> dict[str, Path]:
    """The roots of the `source` and `target` data sets; the miniature's are drawn if missing.

    There is no `source` where a checkpoint is all that is left of it.

    Raises:
        RunFolderError: the folder of the drawings cannot be written.
    """
    config = run.config
    domains = ("source", "target") if config.source.layout else ("target",)
    roots = {domain: domain_root(config, domain) for domain in domains}
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


def labelled_source(run: Run) -> tuple[list[Record], list[Record]]:
    """The source's training and validation records, for looking at images with labels.

    Where a checkpoint is all that is left of the source, a few drawn streets stand in. They are
    for formulas and pictures; a score on them would mean nothing.
    """
    data(run)
    if run.config.source.layout:
        return source_records(run.config)
    layout = "synthia" if run.config.classes == 16 else "gta5"
    root = run.path("drawn", layout)
    with run.lock(".drawn.lock"):
        if not root.exists():
            write_world(layout, root, counts={"train": 10}, size=(128, 256), progress=False)
    records = rendered_records(root, layout)
    return records[:8], records[8:]


def source_network(run: Run) -> DeepLabV2:
    """The source network in evaluation mode: trained on the rendered images, or the given one."""
    data(run)
    path = run.path("source.safetensors")
    given = run.config.source.checkpoint
    inputs = {
        "checkpoint": file_hash(resolve(given)) if given else None,
        "data": _source(run, "source_network", "train"),
    }

    def make() -> dict[str, Any]:
        imagenet = imagenet_file(run.config)
        if given:
            network, _ = load_network(resolve(given), run.config)
            history = []
        else:
            training = "source_training"
            network, history = train(run, training, *training_inputs(run, training))
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

    inputs = {"source": file_hash(run.path("source.safetensors")), "data": target_name(run.config)}
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
    records = with_copies(run, "target", target_records(run.config, "train", labels=False))
    files = [pseudo_label_path(folder, record) for record in records]
    teacher_hash = file_hash(adapted_path(run, "bn_recomputed" if bn_teacher else "source_only"))

    def make() -> dict[str, Any]:
        made_by, made_from = folder / "made_from.txt", f"{teacher_hash} {target_name(run.config)}"
        if folder.exists() and not (made_by.exists() and made_by.read_text() == made_from):
            shutil.rmtree(folder)
        with atomic_path(made_by) as temporary:
            temporary.write_text(made_from)
        write_pseudo_labels(
            run.machine, teacher, records, run.config.pseudo_labels, run.config.class_set, folder
        )
        return {"images": len(records)}

    run.stage(folder.name, {"teacher": teacher_hash, "data": target_name(run.config)}, make, files)
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
    teacher, records, labels = training_inputs(run, method)

    def make() -> dict[str, Any]:
        network, history = train(run, method, teacher, records, labels)
        if bn_teacher:
            network = recompute_batchnorm(run.machine, network, records, run.config.evaluation)
        save_network(path, network, run.config, what=method, provenance=run.provenance())
        write_json(run.path(f"history_{method}.json"), history)
        return {"sha256": file_hash(path), "target_images": len(records)}

    teacher_hash = file_hash(adapted_path(run, "bn_recomputed" if bn_teacher else "source_only"))
    inputs = {"teacher": teacher_hash, "data": target_name(run.config)}
    run.stage(f"adaptation_{method}", inputs, make, [path])
    Checkpointer.path_of(run, f"adaptation_{method}").unlink(missing_ok=True)
    return load_network(path, run.config)[0].to(run.machine.device)


def training_inputs(run: Run, training: str) -> tuple:
    """Source records of `source_training`; of an adapted row teacher, records, pseudo-labels."""
    if training == "source_training":
        return (with_copies(run, "source", source_records(run.config)[0]),)
    bn_teacher = training == "iapc_bn_teacher"
    teacher = bn_recomputed_network(run) if bn_teacher else source_network(run)
    records, labels = pseudo_labels(run, bn_teacher)
    used = range(len(records))
    if (share := run.config.adaptation.target_share) < 1:
        used = np.linspace(0, len(records) - 1, max(1, round(share * len(records)))).astype(int)
    return teacher, [records[i] for i in used], [labels[i] for i in used]


def train(run: Run, training: str, *inputs: Any) -> tuple[DeepLabV2, list[dict[str, Any]]]:
    """Trains on `training_inputs`."""
    if training == "source_training":
        return train_source(run, *inputs)
    watch_every = max(1, -(-run.config.adaptation.steps // WATCHES_PER_RUN))
    watch = Watch(run, training, watched_records(run))
    return adapt(run, training, *inputs, watch, watch_every)


def watched_records(run: Run) -> list[Record]:
    """The records of `dev` (with labels), or of `train` (without) where there is no `dev`."""
    if run.config.target.dev is None:
        return target_records(run.config, "train", labels=False)
    return target_records(run.config, "dev", labels=True)


def rows(config: RunConfig) -> list[str]:
    """The rows of the results table, in order."""
    if config.variant is not None:
        return [config.variant.row]
    return ["source_only", "bn_recomputed", *config.adaptation.methods]


def row_scores(run: Run, method: str, split: str) -> dict[str, Any]:
    """Scores of a row on the target's `dev` or `val`, evaluated once; see `evaluation.scores`."""
    network = adapted_network(run, method)

    def make() -> dict[str, Any]:
        records = target_records(run.config, split, labels=True)
        found = _scores(run, network, records, f"Scoring {method} on {split}")
        add_to_description(adapted_path(run, method), **{f"scores_{split}": found})
        return found

    inputs = {
        "network": file_hash(adapted_path(run, method)),
        "data": target_name(run.config, split),
    }
    return run.stage(f"scores_{method}_{split}", inputs, make)


def unlabelled_measures(run: Run, method: str) -> dict[str, float]:
    """What can be known of a row without labels, on the target's training images.

    See `unlabelled.MEASURES`.
    """
    network, source = adapted_network(run, method), source_network(run)
    records, files = pseudo_labels(run)

    def make() -> dict[str, float]:
        return measure(
            run.machine,
            network,
            source,
            records,
            files,
            run.config.evaluation,
            run.config.class_set,
        )

    inputs = {"network": file_hash(adapted_path(run, method)), "data": target_name(run.config)}
    return run.stage(f"unlabelled_{method}", inputs, make)


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
        "data": _source(run, "scores_source_home", "val"),
    }
    return run.stage("scores_source_home", inputs, make)


def _scores(
    run: Run, network: DeepLabV2, records: list[Record], description: str
) -> dict[str, Any]:
    config = run.config
    return score_records(
        run.machine, network, records, config.evaluation, config.class_set, description
    )


def _source(run: Run, stage: str, split: str) -> str | None:
    """Names the source data that a stage reads, if there are any."""
    try:
        return source_name(run.config, split)
    except DataError:
        record = run.path("stages", f"{stage}.json")
        if domain_root(run.config, "source").exists() or not record.exists():
            raise
        # Source data that are gone are not changed data: that is what source-free means.
        return read_json(record)["inputs"]["data"]


def results(run: Run) -> dict[str, Any]:
    """All rows' scores on `val` (and `dev`), written to `results.json`.

    Without a labelled split there are no scores; `unlabelled` has what can be known instead.
    """
    config, methods = run.config, rows(run.config)
    table = {
        "format": RESULTS_FORMAT,
        "scenario": config.scenario,
        "variant": config.variant and config.variant.model_dump(),
        "seed": config.seed,
        "classes": list(config.class_set.names),
        "miou_over": {f"miou_{number}": list(s.names) for number, s in CLASS_SETS.items()},
        "scores": {m: row_scores(run, m, "val") for m in methods if config.target.val},
        "dev_scores": {m: row_scores(run, m, "dev") for m in methods if config.target.dev},
        "unlabelled": {m: unlabelled_measures(run, m) for m in methods if not config.target.val},
        "provenance": {
            **run.provenance(),
            "origin": read_json(run.path("run.json")).get("origin"),
            "stages": run.stage_provenance(),
        },
    }
    write_json(run.path("results.json"), table)
    return table
