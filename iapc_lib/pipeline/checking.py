"""Whether a run can start: what its configuration points to, and what it needs of the machine."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from tqdm.contrib.concurrent import thread_map

from iapc_lib.classes import NAMES, NUM_CLASSES
from iapc_lib.config.errors import ConfigError
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.cache import missing_bytes, training_sizes
from iapc_lib.data.images import (
    LabelSizeError,
    every_nth,
    read_image,
    read_label_ids,
    refuse_train_ids,
    to_train_ids,
)
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
from iapc_lib.machine.device import Machine, prepare_machine, usable_cores
from iapc_lib.machine.memory import total_memory
from iapc_lib.networks.build import build_network
from iapc_lib.networks.checkpoints import load_network
from iapc_lib.networks.imagenet import imagenet_file, load_imagenet_body
from iapc_lib.paths import resolve
from iapc_lib.pipeline.results import rows_of
from iapc_lib.rows import ROWS
from iapc_lib.runs.folder import Run, refuse_other_folder
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
DRAWN_BYTES_PER_PIXEL = 3
"""Of the miniature's images with their labels."""


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
    flat: list[str] = field(default_factory=list)
    """Names of images with as few colours as a label map."""


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
    downloads = config.source_training.imagenet_weights == "torchvision"
    try:
        refuse_other_folder(folder, config)
    except Refusal as error:
        found.problems.append(str(error))
    try:
        if config.source.checkpoint:
            load_network(resolve(config.source.checkpoint), config)
        elif not (trained or (found.problems and downloads)) and (file := imagenet_file(config)):
            load_imagenet_body(build_network(config.classes, config.model), file)
    except Refusal as error:
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
        if result.flat:
            found.notes.append(
                f"{result.name}: {len(result.flat)} images have no more colours than a label map, "
                f"such as {result.flat[0]}: are these photographs?"
            )
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
        f"most target images are {width}x{height} (width x height), and views.clean_size is "
        f"{to_width}x{to_height}: they would be stretched; for their proportions set it to "
        f"[{to_height},{round(to_height * width / height)}] ([height,width]), and all other sizes "
        "alike"
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
    for record, (size, flat, pixels, problem) in zip(sample, read, strict=True):
        if size is not None:
            result.sizes[size] += 1
        if flat:
            result.flat.append(record.name)
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
    elif result.pixels is not None and not result.problems:
        try:
            refuse_train_ids(records)
        except DataError as error:
            result.problems.append(str(error))
    return result


def _check_record(
    record: Record,
) -> tuple[tuple[int, int] | None, bool, np.ndarray | None, DataError | None]:
    """Size of the image, whether it is flat, pixels of every train id, why it cannot be used."""
    size, flat = None, False
    try:
        image = read_image(record.image)
        size = image.size
        flat = image.getcolors(NUM_CLASSES + 1) is not None
        if record.label is None:
            return size, flat, None, None
        ids = read_label_ids(record, (image.height, image.width))
        pixels = np.bincount(to_train_ids(record, ids).reshape(-1), minlength=256)
        return size, flat, pixels, None
    except DataError as error:
        return size, flat, None, error


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
    cores = usable_cores()
    if config.hardware.workers > cores:
        found.notes.append(
            f"hardware.workers: {config.hardware.workers} processes load images on {cores} cores; "
            "more than cores make it no faster"
        )

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
    needs = [Need("disk", "out", folder, disk)]
    if config.miniature is not None:
        drawn = resolve(config.miniature.folder)
        needs.append(Need("drawings", "miniature.folder", drawn, _drawn_megabytes(config)))
    elif config.hardware.cache is not None and not found.problems:
        cache = resolve(config.hardware.cache)
        needs.append(Need("cache", "hardware.cache", cache, _cache_megabytes(config, cache)))
    _check_disks([need for need in needs if need.megabytes], found)


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


class Need(NamedTuple):
    """What will be written to a folder."""

    what: str
    key: str
    """Of the configuration, that names the folder."""
    folder: Path
    megabytes: float


def _check_disks(needs: Sequence[Need], found: Check) -> None:
    """Whether the folders can be written, and what goes to one disk fits there together."""
    disks = defaultdict(list)
    for need in needs:
        free, there = free_megabytes(need.folder), existing_parent(need.folder)
        text = f"about {need.megabytes:.0f} MB, of {free:.0f} MB free at {need.folder}"
        found.machine.append((need.what, text))
        disks[there.stat().st_dev].append(need)
        if not os.access(there, os.W_OK | os.X_OK):
            found.problems.append(
                f"{need.folder}: cannot be written; name another folder ({need.key})"
            )
    for together in disks.values():
        free, needed = free_megabytes(together[0].folder), sum(n.megabytes for n in together)
        if free < needed:
            parts = " and ".join(f"{n.megabytes:.0f} MB for {n.key}" for n in together)
            found.problems.append(
                f"{together[0].folder}: the disk has {free:.0f} MB free, this run needs about "
                f"{parts}: name folders on a larger one"
            )


def _cache_megabytes(config: RunConfig, cache: Path) -> float:
    """What the image cache would still write, in MB."""
    training = {"target": target_records(config, "train", labels=False)}
    if config.source.layout and not config.source.checkpoint:
        training["source"] = source_records(config)[0]
    return sum(
        missing_bytes(records, cache, *training_sizes(config, domain)) / 1e6
        for domain, records in training.items()
    )


def _drawn_megabytes(config: RunConfig) -> float:
    """What the miniature would still draw, in MB."""
    mini = config.miniature
    images = {
        "source": mini.source_train + mini.source_val,
        "target": mini.target_train + mini.target_dev + mini.target_val,
    }
    missing = sum(
        number
        for domain, number in images.items()
        if getattr(config, domain).layout and not domain_root(config, domain).exists()
    )
    return missing * mini.size[0] * mini.size[1] * DRAWN_BYTES_PER_PIXEL / 1e6


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
