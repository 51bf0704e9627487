"""Whether a run can start: what its configuration points to, and what it needs of the machine."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from tqdm.contrib.concurrent import thread_map

from iapc_lib.classes import NAMES, NUM_CLASSES
from iapc_lib.config.errors import ConfigError
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.cache import missing_bytes, training_sizes
from iapc_lib.data.images import LabelSizeError, every_nth, read_image, read_label_ids, to_train_ids
from iapc_lib.data.layouts import (
    RENDERED,
    DataError,
    Record,
    domain_root,
    image_paths,
    rendered_records,
    source_records,
    target_records,
)
from iapc_lib.files import Refusal, existing_parent, free_megabytes
from iapc_lib.machine.device import Machine, prepare_machine
from iapc_lib.machine.memory import total_memory
from iapc_lib.networks.build import build_network
from iapc_lib.networks.checkpoints import load_network
from iapc_lib.networks.imagenet import imagenet_file
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.paths import resolve
from iapc_lib.pipeline.results import rows_of
from iapc_lib.rows import ROWS
from iapc_lib.runs.folder import Run
from iapc_lib.training.monitor import LOOKS_PER_RUN

PUBLISHED_COUNTS = {
    ("gta5", None): 24966,
    ("synthia", None): 9400,
    ("urbansyn", None): 7539,
    ("cityscapes", "train"): 2975,
    ("cityscapes", "val"): 500,
    ("camvid", "train"): 367,
    ("camvid", "val"): 101,
    ("camvid", "test"): 233,
}
"""(layout, split) -> images in the data set as it is published."""

PREFLIGHT_IMAGES = 600
"""Images of each split that are read before a run starts, evenly spread over it."""

QUICK_IMAGES = 100
"""The same for `iapc check --quick`."""

LABEL_BYTES_PER_PIXEL = 0.05
"""Of pseudo-labels as PNG; a generous estimate."""


class CannotStart(Refusal, ValueError):
    """A run that cannot start; the message has a line for each reason."""


@dataclass
class SplitCheck:
    """What was found in one split."""

    name: str
    found: int
    """Images that the run would use."""
    read: int
    """Images that were read: all, or an even sample."""
    sizes: Counter = field(default_factory=Counter)
    """(width, height) of images -> how many."""
    pixels: np.ndarray | None = None
    """(256,) int64 pixels of every train id, where there are labels."""
    problems: list[str] = field(default_factory=list)
    """A line for every file that cannot be used."""
    other_size: list[str] = field(default_factory=list)
    """Names of images whose label has another size."""


@dataclass
class Check:
    """Everything that `iapc check` reports."""

    splits: list[SplitCheck] = field(default_factory=list)
    machine: list[tuple[str, str]] = field(default_factory=list)
    """What the run will use, and how much of it there is."""
    notes: list[str] = field(default_factory=list)
    """What does not hinder the run but should be known."""
    problems: list[str] = field(default_factory=list)
    """Why the run cannot start."""


def check(config: RunConfig, folder: Path, limit: int | None = None) -> Check:
    """Looks at all that could stop a run later: images, labels, weights, disk, memory, device.

    Args:
        config: of the run.
        folder: where the run would write; it need not exist.
        limit: images to read of each split, evenly spread; None reads all.
    """
    found = Check()
    _check_data(config, limit, found)
    _check_machine(config, folder, found)
    trained = (folder / "source.safetensors").exists()
    try:
        if config.source.checkpoint:
            load_network(resolve(config.source.checkpoint), config)
        elif not found.problems and not trained:
            imagenet_file(config)
    except CheckpointError as error:
        found.problems.append(str(error))
    return found


def format_check(found: Check) -> str:
    """The check as tables: files of every split, share of the classes, the machine, notes."""
    files = [
        {
            "split": split.name,
            "images": split.found,
            "read": split.read,
            "labelled": "no" if split.pixels is None else "yes",
            "unusable": len(split.problems),
            "sizes": _sizes(split.sizes),
        }
        for split in found.splits
    ]
    labelled = {s.name: s.pixels for s in found.splits if s.pixels is not None}
    shares = [
        (name, *(100 * pixels[number] / pixels.sum() or None for pixels in labelled.values()))
        for number, name in enumerate(NAMES)
    ]
    parts = [
        tabulate(files, headers="keys", tablefmt="plain"),
        "share of pixels in per cent, - for none\n"
        + tabulate(shares, ["", *labelled], "plain", floatfmt=".2f", missingval="-")
        if labelled
        else "",
        tabulate(found.machine, tablefmt="plain"),
        "\n".join(f"note: {note}" for note in found.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _sizes(sizes: Counter) -> str:
    shown = [f"{w}x{h} ({number})" for (w, h), number in sizes.most_common(3)]
    return ", ".join(shown) + (f" and {len(sizes) - 3} others" if len(sizes) > 3 else "")


def preflight(run: Run) -> None:
    """A quick check before a run starts.

    Raises:
        ConfigError: a GPU is asked for and not there.
        CannotStart: something is missing or cannot be used; a line for each reason.
    """
    run.machine  # noqa: B018  refuses a GPU that is not there
    if problems := check(run.config, run.folder, PREFLIGHT_IMAGES).problems:
        raise CannotStart("\n".join(problems))


def _check_data(config: RunConfig, limit: int | None, found: Check) -> None:
    splits: list[tuple[str, str, list[Record]]] = []
    for domain in ("source", "target"):
        section = getattr(config, domain)
        if section.layout is None:
            continue
        if config.miniature is not None and not domain_root(config, domain).exists():
            found.notes.append(f"{domain}: the miniature will be drawn")
            _check_writable(resolve(config.miniature.folder), "miniature.folder", found)
            continue
        try:
            if domain == "source":
                for split, records in zip(("train", "val"), source_records(config), strict=True):
                    splits.append((domain, split, records))
                continue
            oracle = any(ROWS[row].labels == "true" for row in rows_of(config))
            for split, labels in (("train", oracle), ("dev", True), ("val", True)):
                if getattr(section, split) is not None:
                    splits.append((domain, split, target_records(config, split, labels)))
        except DataError as error:
            found.problems.append(str(error))
        if section.layout == "folder":
            root = domain_root(config, domain) / section.train
            found.notes += [f"{problem}; skipped" for problem in image_paths(root)[1]]
    for domain, split, records in splits:
        result = _check_split(f"{domain} {split}", records, limit)
        found.splits.append(result)
        found.problems += result.problems
        if (domain, split) == ("target", "train") and result.sizes:
            found.notes += _distortion(config, *result.sizes.most_common(1)[0][0])
        if result.other_size and domain == "source":
            names = sorted({*config.source.leave_out, *result.other_size})
            found.notes.append(
                "to leave out the pairs of different size: "
                f"--set 'source.leave_out=[{', '.join(names)}]'"
            )
        if result.problems and getattr(config, domain).layout == "folder":
            found.notes.append("mend the files that cannot be used, or move them elsewhere")
    _compare_counts(config, found)


def _distortion(config: RunConfig, width: int, height: int) -> list[str]:
    """A note if images would be stretched by more than a tenth."""
    to_height, to_width = config.views.clean_size
    if abs(math.log(width / height * to_height / to_width)) < math.log(1.1):
        return []
    return [
        f"most target images are {width}x{height}, and views.clean_size is {to_width}x{to_height}: "
        "they would be stretched; for their proportions set it to "
        f"[{to_height},{round(to_height * width / height)}], and all other sizes alike"
    ]


def _check_split(name: str, records: Sequence[Record], limit: int | None) -> SplitCheck:
    sample = every_nth(records, limit) if limit else records
    result = SplitCheck(name, len(records), len(sample))
    # Threads are enough: decoders let go of Python's lock.
    read = thread_map(
        _check_record,
        sample,
        desc=f"Checking {name}",
        unit="file",
        leave=False,
        disable=None,
    )
    for record, (size, pixels, problem) in zip(sample, read, strict=True):
        if size is not None:
            result.sizes[size] += 1
        if pixels is not None:
            result.pixels = pixels if result.pixels is None else result.pixels + pixels
        if problem is not None:
            result.problems.append(str(problem))
        if isinstance(problem, LabelSizeError):
            result.other_size.append(record.image.name)
    if result.pixels is not None and not result.pixels[:NUM_CLASSES].any():
        result.problems.append(
            f"{result.name}: none of its {result.read} labels has a pixel of an evaluated class, "
            f"such as {records[0].label}: are these the files with label ids?"
        )
    return result


def _check_record(
    record: Record,
) -> tuple[tuple[int, int] | None, np.ndarray | None, DataError | None]:
    """Size of the image, pixels of every train id, and why the pair cannot be used."""
    size = None
    try:
        image = read_image(record.image)
        size = image.size
        if record.label is None:
            return size, None, None
        ids = read_label_ids(record, (image.height, image.width))
        return size, np.bincount(to_train_ids(record, ids).reshape(-1), minlength=256), None
    except DataError as error:
        return size, None, error


def _compare_counts(config: RunConfig, found: Check) -> None:
    """Notes where a data set is not as large as it was published; a part of it may be meant."""
    if config.miniature is not None:
        return
    counts = [
        (split.name, split.found, (config.target.layout, getattr(config.target, split.name[7:])))
        for split in found.splits
        if split.name.startswith("target") and not config.target.sequences
        if not (config.target.dev_every and split.name != "target val")
    ]
    layout = config.source.layout
    if layout in RENDERED and any(s.name == "source train" for s in found.splits):
        images = rendered_records(domain_root(config, "source"), layout)
        counts.append(("source", len(images), (layout, None)))
    for name, number, key in counts:
        published = PUBLISHED_COUNTS.get(key, number)
        if number != published:
            found.notes.append(
                f"{name}: {number} images found, the published data set has {published}"
            )


def _check_machine(config: RunConfig, folder: Path, found: Check) -> None:
    try:
        machine = prepare_machine(config.hardware)
    except ConfigError as error:
        found.problems.append(str(error))
        return
    precision = "bfloat16 (losses float32)" if machine.autocast else "float32"
    found.machine.append(("device", f"{machine.description}, {precision}"))
    if machine.busy:
        found.notes.append(machine.busy)

    _check_shared_memory(config, found)
    weights, graph = step_bytes(config, machine)
    memory, total = (graph + 5 * weights) / 1e9, total_memory(machine) / 1e9
    found.machine.append(("memory", f"at least {memory:.1f} GB, of {total:.1f} GB"))
    if memory > total:
        found.problems.append(
            f"{machine.description}: has {total:.1f} GB of memory, a step of this run needs at "
            f"least {memory:.1f} GB: a smaller adaptation.batch_size or views.crop_size needs less"
        )

    rows = len(config.adaptation.methods)
    networks = 2 * rows + 8  # results, and the state of one training
    if config.adaptation.snapshots:
        networks += 2 * (LOOKS_PER_RUN + 1) * rows
    images = sum(split.found for split in found.splits if split.name == "target train")
    labels = images * config.pseudo_labels.image_size[0] * config.pseudo_labels.image_size[1]
    disk = networks * weights / 1e6 + labels * LABEL_BYTES_PER_PIXEL / 1e6 + 50
    disk += _cache_megabytes(config, folder, found)
    _check_writable(folder, "out", found)
    free = free_megabytes(folder)
    found.machine.append(("disk", f"about {disk:.0f} MB, of {free:.0f} MB free at {folder}"))
    if free < disk:
        found.problems.append(
            f"{folder}: the disk has {free:.0f} MB free, this run needs about {disk:.0f} MB"
        )


SHARED_MEMORY = Path("/dev/shm")
"""Through which processes hand on what they loaded."""
BATCHES_AHEAD = 2
"""That each of those processes keeps ready; torch's choice."""
VIEW_BYTES = 20
"""Of a pixel in a batch: four views in colour and a label of 8 bytes."""


def _check_shared_memory(config: RunConfig, found: Check) -> None:
    if not config.hardware.workers or not SHARED_MEMORY.is_dir():
        return
    pixels = max(count * height * width for count, (height, width) in _steps(config))
    needed = config.hardware.workers * BATCHES_AHEAD * pixels * VIEW_BYTES / 1e6
    free = free_megabytes(SHARED_MEMORY)
    if free < needed:
        found.problems.append(
            f"{SHARED_MEMORY}: has {free:.0f} MB of shared memory, {config.hardware.workers} processes "
            f"that load images need up to {needed:.0f} MB: set hardware.workers to fewer, or 0, or "
            "give the container more (docker run --shm-size)"
        )


def _check_writable(folder: Path, key: str, found: Check) -> None:
    if not os.access(existing_parent(folder), os.W_OK | os.X_OK):
        found.problems.append(f"{folder}: cannot be written; name another folder ({key})")


def _cache_megabytes(config: RunConfig, folder: Path, found: Check) -> float:
    """What the image cache would still write, in MB; counted with the run if on the same disk."""
    if config.hardware.cache is None or found.problems or config.miniature is not None:
        return 0.0
    cache = resolve(config.hardware.cache)
    training = {"target": target_records(config, "train", labels=False)}
    if config.source.layout and not config.source.checkpoint:
        training["source"] = source_records(config)[0]
    missing = sum(
        missing_bytes(records, cache, *training_sizes(config, domain))
        for domain, records in training.items()
    )
    if missing:
        _check_writable(cache, "hardware.cache", found)
    free = free_megabytes(cache)
    found.machine.append(
        ("cache", f"{missing / 1e6:.0f} MB to make, of {free:.0f} MB free at {cache}")
    )
    if free < missing / 1e6:
        found.problems.append(
            f"{cache}: the disk has {free:.0f} MB free, the image cache needs {missing / 1e6:.0f} "
            "MB more: name another folder (hardware.cache), or null for none"
        )
    same_disk = existing_parent(cache).stat().st_dev == existing_parent(folder).stat().st_dev
    return missing / 1e6 if same_disk else 0.0


def _steps(config: RunConfig) -> list[tuple[int, tuple[int, int]]]:
    """Images of a training step and their (height, width): of adaptation, and source training."""
    adaptation, training = config.adaptation, config.source_training
    steps = [(adaptation.batch_size, config.views.crop_size)]
    if config.source.layout and not config.source.checkpoint:
        steps.append((training.batch_size, training.crop_size or training.image_size))
    return steps


def step_bytes(config: RunConfig, machine: Machine) -> tuple[int, int]:
    """Bytes of the weights, and of what one training step holds for its backward pass.

    A lower bound of what a run needs: the largest of source training and adaptation, without the
    loss terms and the working space of convolutions.
    """
    with torch.device("meta"):  # shapes without memory
        network = build_network(config.classes, config.model).train()
    held = []
    for batch_size, size in _steps(config):
        storages = {}

        def keep(tensor: torch.Tensor, storages: dict = storages) -> torch.Tensor:
            storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(torch.empty(batch_size, 3, *size, device="meta"))
        held.append(sum(storage.nbytes() for storage in storages.values()))
    weights = sum(value.nbytes for value in network.state_dict().values())
    return weights, max(held) // (2 if machine.autocast else 1)
