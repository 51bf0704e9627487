"""The stages of a run, each made once and then read from the run folder.

A notebook asks for what it needs; what an earlier notebook would have made is made on the way. A
stage asks for the files of its direct inputs only, and loads a network when it works with it.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.cache import with_cache
from iapc_lib.data.fingerprints import source_fingerprint, target_fingerprint
from iapc_lib.data.images import read_pair, write_train_ids
from iapc_lib.data.layouts import (
    DataError,
    Record,
    domain_root,
    rendered_records,
    source_records,
    target_records,
)
from iapc_lib.data.miniature import write_world
from iapc_lib.data.target_views import ViewsDataset
from iapc_lib.files import atomic_path, file_hash, only_writer, write_json, writing
from iapc_lib.networks.checkpoints import load_network, load_ready, save_network
from iapc_lib.networks.imagenet import imagenet_file
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.paths import resolve
from iapc_lib.rows import ROWS, Row
from iapc_lib.runs.folder import Run
from iapc_lib.runs.records import read_stage
from iapc_lib.training.adapt import adapt
from iapc_lib.training.batchnorm import recompute_batchnorm
from iapc_lib.training.monitor import LOOKS_PER_RUN, Monitor
from iapc_lib.training.pseudo_labels import pseudo_label_path, write_pseudo_labels
from iapc_lib.training.saved_state import SavedState
from iapc_lib.training.source import train_source


def data(run: Run) -> dict[str, Path]:
    """The roots of the run's `source` and `target`; see `data_roots`."""
    return data_roots(run.config)


def data_roots(config: RunConfig, domains: Sequence[str] = ("source", "target")) -> dict[str, Path]:
    """The roots of data sets; the miniature's are drawn if missing.

    There is no `source` where a checkpoint is all that is left of it.

    Raises:
        FileError: the folder of the drawings cannot be written.
    """
    there = [domain for domain in domains if getattr(config, domain).layout]
    roots = {domain: domain_root(config, domain) for domain in there}
    mini = config.miniature
    if mini is not None:
        counts = {
            "source": {"train": mini.source_train, "val": mini.source_val},
            "target": {"train": mini.target_train, "dev": mini.target_dev, "val": mini.target_val},
        }
        for domain, root in roots.items():
            layout = getattr(config, domain).layout
            with writing(root):
                root.parent.mkdir(parents=True, exist_ok=True)
                with only_writer(root.with_name(f".{root.name}.lock")):
                    if not root.exists():
                        write_world(
                            layout, root, counts=counts[domain], size=mini.size, seed=mini.seed
                        )
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


def dev_records(run: Run) -> list[Record]:
    """The labelled records of `dev`; none where the target has no such split."""
    data(run)
    return target_records(run.config, "dev", labels=True) if run.config.target.dev else []


def monitored_records(run: Run) -> list[Record]:
    """The records of `dev` (with labels), or of `train` (without) where there is no `dev`."""
    return dev_records(run) or target_records(run.config, "train", labels=False)


def reported_records(run: Run) -> list[Record]:
    """The records of `val` (with labels), or of `train` (without) where there is no `val`."""
    data(run)
    labelled = run.config.target.val is not None
    return target_records(run.config, "val" if labelled else "train", labels=labelled)


def first_batch(run: Run, images: int | None = None) -> dict[str, Tensor]:
    """What the first update of IAPC sees, on the machine's device; see `ViewsDataset`.

    Args:
        run: open run folder.
        images: of the batch, from its start; None: all.
    """
    return first_batches(run, 1, images)[0]


def first_batches(run: Run, updates: int, images: int | None = None) -> list[dict[str, Tensor]]:
    """What the first updates of IAPC see; see `first_batch`."""
    config = run.config
    records, labels = training_data(run, ROWS["iapc"])
    whole = config.adaptation.batch_size
    images = min(images or whole, whole)
    length = updates * whole
    views = ViewsDataset(records, labels, config.views, config.class_set, config.seed, length)
    places = [update * whole + image for update in range(updates) for image in range(images)]
    return [run.machine.to_device(batch) for batch in run.machine.load(views, images, places)]


def network(run: Run, row: str) -> ReadyNetwork:
    """The network of a row of the results (`source_only`, `iapc`, ...) in evaluation mode."""
    return load_ready(network_file(run, row), run.machine, run.config)


def network_file(run: Run, row: str) -> Path:
    """The file of a row's network, made if it is missing; a finished one is not loaded."""
    row = ROWS[row]
    path = run.path(f"{row.file}.safetensors")
    if row.teacher is None:
        _source_stage(run, row, path)
        return path
    teacher = network_file(run, row.teacher)
    inputs = {
        "teacher" if row.update else "source": file_hash(teacher),
        "data": target_fingerprint(run.config, labels=row.labels == "true"),
    }

    def make(records: list[Record], labels: list[Path]) -> dict[str, Any]:
        made, facts = network(run, row.teacher).network, {}
        if row.update:
            made, facts = _adapted(run, row, made, records, labels)
        if row.batchnorm:
            made = recompute_batchnorm(made, records, run.config.evaluation, run.machine)
        run.forget(row.stage)
        save_network(path, made, run.config, what=row.title, provenance=run.provenance())
        return {"sha256": file_hash(path), **facts}

    run.stage(row.stage, inputs, make, _files(path), prepare=lambda: training_data(run, row))
    SavedState.path_of(run, row.stage).unlink(missing_ok=True)
    return path


def _files(network: Path) -> list[Path]:
    """A network's weights and description."""
    return [network, network.with_suffix(".json")]


def _source_stage(run: Run, row: Row, path: Path) -> None:
    """The source network: trained on the rendered images, or the given one."""
    given = run.config.source.checkpoint
    inputs = {
        "checkpoint": file_hash(resolve(given)) if given else None,
        "data": source_data(run, row.stage, "train"),
    }

    def make() -> dict[str, Any]:
        data(run)
        imagenet = imagenet_file(run.config)
        if given:
            made, history = load_network(resolve(given), run.config)[0], []
        else:
            records = with_cache(run.config, "source", source_records(run.config)[0])
            made, history = train_source(run, records)
        run.forget(row.stage)
        save_network(path, made, run.config, what="source network", provenance=run.provenance())
        write_json(run.path("history_source.json"), history)
        return {"sha256": file_hash(path), "imagenet_sha256": imagenet and file_hash(imagenet)}

    run.stage(row.stage, inputs, make, [*_files(path), run.path("history_source.json")])
    SavedState.path_of(run, "source_training").unlink(missing_ok=True)


def training_data(run: Run, row: Row) -> tuple[list[Record], list[Path]]:
    """Target images that a row is made with and, if it is trained, their pseudo-labels."""
    if row.update is None:
        data(run)
        return target_records(run.config, "train", labels=False), []
    records, labels = pseudo_labels(run, row.name)
    if row.labels == "shuffled":  # half the set away: neighbours may show one street
        labels = [*labels[len(labels) // 2 :], *labels[: len(labels) // 2]]
    if (share := run.config.adaptation.target_share) < 1:
        used = np.linspace(0, len(records) - 1, max(1, round(share * len(records)))).astype(int)
        return [records[i] for i in used], [labels[i] for i in used]
    return records, labels


def _adapted(run, row, teacher, records, labels):
    """The adapted network, and facts about it."""
    look_every = max(1, -(-run.config.adaptation.steps // LOOKS_PER_RUN))
    monitor = Monitor(run, row, monitored_records(run))
    student, history = adapt(run, row, teacher, records, labels, monitor, look_every)
    write_json(run.path(f"history_{row.name}.json"), history)
    return student, {"target_images": len(records)}


def pseudo_labels(run: Run, row: str = "iapc") -> tuple[list[Record], list[Path]]:
    """The target's training records and the files of the pseudo-labels that a row trains with.

    They are the teacher's: of `iapc_bn_teacher` (our extension) the source network's with
    recomputed BatchNorm statistics, else those of the source network itself. Only the oracle's
    are the target's own labels.
    """
    row = ROWS[row]
    if row.labels == "true":
        return true_labels(run)
    teacher = network_file(run, row.teacher)
    data(run)
    folder = run.path(row.pseudo_labels)
    records = with_cache(run.config, "target", target_records(run.config, "train", labels=False))
    files = [pseudo_label_path(folder, record) for record in records]
    inputs = {"teacher": file_hash(teacher), "data": target_fingerprint(run.config)}

    def make() -> dict[str, Any]:
        made_by, made_from = folder / "made_from.txt", f"{inputs['teacher']} {inputs['data']}"
        if folder.exists() and not (made_by.exists() and made_by.read_text() == made_from):
            run.forget(folder.name)
            shutil.rmtree(folder)
        with atomic_path(made_by) as temporary:
            temporary.write_text(made_from)
        write_pseudo_labels(network(run, row.teacher), records, run.config.pseudo_labels, folder)
        return {"images": len(records)}

    run.stage(folder.name, inputs, make, files)
    return records, files


def true_labels(run: Run) -> tuple[list[Record], list[Path]]:
    """The target's training records and files with their true labels, as train ids.

    For the oracle, and for looking at pseudo-labels beside the truth: nothing else may have them.

    Raises:
        DataError: a label is missing or cannot be used; names the file.
    """
    data(run)
    labelled = target_records(run.config, "train", labels=True)
    folder = run.path("true_labels")
    files = [pseudo_label_path(folder, record) for record in labelled]

    def make() -> dict[str, Any]:
        for record, path in zip(labelled, files, strict=True):
            with atomic_path(path) as temporary:
                write_train_ids(temporary, run.config.class_set.known_only(read_pair(record)[1]))
        return {"images": len(labelled)}

    run.stage(folder.name, {"data": target_fingerprint(run.config, labels=True)}, make, files)
    records = target_records(run.config, "train", labels=False)
    return with_cache(run.config, "target", records), files


def source_data(run: Run, stage: str, split: str) -> str | None:
    """Fingerprint of the source data that a stage reads, if there are any."""
    try:
        return source_fingerprint(run.config, split)
    except DataError:
        record = run.path("stages", f"{stage}.json")
        if domain_root(run.config, "source").exists() or not record.exists():
            raise
        # Source data that are gone are not changed data: that is what source-free means.
        return read_stage(record)["inputs"].get("data")
