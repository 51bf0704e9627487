"""What the notebooks look at, whatever kind of run is open: drawn or real, labelled or not."""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import Tensor, nn

from iapc_lib.classes import CITYSCAPES_TO_TRAIN
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.images import ImageDataset, every_nth, read_example, read_image, resize_image
from iapc_lib.data.layouts import Record, target_records
from iapc_lib.data.miniature import LOOKS, draw_scene
from iapc_lib.data.order import draw_order
from iapc_lib.data.target_views import ViewsDataset
from iapc_lib.evaluation.scores import confusions, largest_confusion
from iapc_lib.files import read_json
from iapc_lib.machine.device import Machine
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Fidelity
from iapc_lib.paths import resolve
from iapc_lib.pipeline import stages
from iapc_lib.pipeline.results import row_scores, source_val_scores
from iapc_lib.rows import ROWS, TITLES, UNTRAINED
from iapc_lib.runs.folder import Run
from iapc_lib.training.adapt import adapt
from iapc_lib.training.batchnorm import recompute_batchnorm
from iapc_lib.training.monitor import dev_curve
from iapc_lib.training.source import train_source

WORLDS = {
    "gta5": "GTA5",
    "synthia": "SYNTHIA",
    "urbansyn": "UrbanSyn",
    "cityscapes": "Cityscapes",
    "camvid": "CamVid",
    "folder": "your images",
}
"""Names of data sets as people write them, by layout."""


def worlds(run: Run, number: int = 2) -> dict[str, list[tuple[Any, np.ndarray]]]:
    """A few images of the source, of the target and, if it is drawn, of the third drawn world.

    Args:
        run: open run folder.
        number: images of each.

    Returns:
        By name: images (Pillow's, or (H, W, 3) uint8) with their truth as train ids (H, W) uint8.
    """
    classes, miniature = run.config.class_set, run.config.miniature
    source, target = stages.labelled_source(run)[0], stages.monitored_records(run)
    layouts = [source[0].layout, target[0].layout]
    drawn = [miniature is not None or run.config.source.layout is None, miniature is not None]
    titles = [
        f"{WORLDS[layout]}-like" if is_drawn else WORLDS[layout]
        for layout, is_drawn in zip(layouts, drawn, strict=True)
    ]
    if titles[0] == titles[1]:
        titles = [f"{titles[0]}, {domain}" for domain in ("source", "target")]
    found = {
        title: [read_example(record, classes) for record in every_nth(records, number)]
        for title, records in zip(titles, (source, target), strict=True)
    }
    for layout in LOOKS if miniature is not None else ():
        if layout not in layouts:
            scenes = [
                draw_scene(layout, "train", place, size=miniature.size, seed=miniature.seed)
                for place in range(number)
            ]
            found[f"{WORLDS[layout]}-like"] = [
                (image, classes.known_only(CITYSCAPES_TO_TRAIN[ids])) for image, ids in scenes
            ]
    return found


def clearest(records: Sequence[Record]) -> Record:
    """The record whose image has the strongest edges: neither fog nor night hides its street."""

    def edges(record: Record) -> float:
        small = read_image(record.image).convert("L").resize((64, 32), Image.Resampling.BOX)
        grey = np.asarray(small, np.float32)
        return sum(float(np.abs(np.diff(grey, axis=axis)).mean()) for axis in (0, 1))

    return max(records, key=edges)


def convolutions(network: DeepLabV2) -> list[tuple[int, int, int]]:
    """(kernel, stride, dilation) of what slides over an image, in the order of its way.

    Shortcuts are left out: they see no further. Of the head only the widest branch counts.
    """
    found = []
    for name, part in network.named_modules():
        sliding = isinstance(part, nn.Conv2d | nn.MaxPool2d)
        if sliding and "downsample" not in name and not name.startswith("layer6"):
            pairs = (part.kernel_size, part.stride, part.dilation)
            found.append(tuple(pair if isinstance(pair, int) else pair[0] for pair in pairs))
    return [*found, (3, 1, max(network.model.classifier_dilations))]


class ShortTraining(NamedTuple):
    """A source training of a few updates."""

    config: RunConfig
    """What it was told."""
    network: DeepLabV2
    """In evaluation mode, on the CPU."""
    losses: list[float]
    """Of every update."""
    machine: Machine
    """The CPU, as the training used it."""


def short_source_training(run: Run, records: Sequence[Record], steps: int = 3) -> ShortTraining:
    """The library's source training, cut short: few updates of two small images, on the CPU.

    The body starts from random weights, all classes weigh alike; what else the configuration says
    holds. Nothing of it stays in the run folder.

    Args:
        run: open run folder.
        records: labelled images of the source.
        steps: updates.
    """
    config = run.config
    brief = {"steps": steps, "batch_size": 2, "imagenet_weights": None, "class_weight_power": 0.0}
    brief |= {"image_size": (96, 192), "crop_size": (64, 128), "scale_range": (0.75, 1.25)}
    on_cpu = {"device": "cpu", "precision": "auto", "workers": 0}
    own = {"checkpoint": None, "root": config.source.root or str(run.path("drawn"))}
    config = config.model_copy(
        update={
            "source": config.source.model_copy(update=own),
            "source_training": config.source_training.model_copy(update=brief),
            "hardware": config.hardware.model_copy(update=on_cpu),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        trial = Run(Path(folder), config)
        network, history = train_source(trial, records)
    return ShortTraining(config, network, [entry["loss"] for entry in history], trial.machine)


def source_losses(run: Run) -> pd.Series:
    """The loss of this run's source training by update, means of ten; empty where nobody knows it.

    Of a network that was handed on, the JSON beside it may tell it.
    """
    history = read_json(run.path("history_source.json"))
    given = run.config.source.checkpoint
    about = resolve(given).with_suffix(".json") if given else None
    if not history and about is not None and about.exists():
        curve = read_json(about).get("curve") or {"step": [], "loss": []}
        return pd.Series(curve["loss"], curve["step"], dtype=float)
    losses = pd.Series({entry["step"]: entry["loss"] for entry in history}, dtype=float)
    return losses.groupby(losses.index // 10 * 10).mean() if len(losses) else losses


def home_and_abroad(run: Run) -> dict[str, dict[str, Any]]:
    """Scores of the source network on the source's `val` and on the target's `dev`.

    Empty where there are no such images with labels.
    """
    return {
        "at home": source_val_scores(run) if run.config.source.layout else {},
        "abroad": row_scores(run, "source_only", "dev") if stages.dev_records(run) else {},
    }


def short_adaptation(run: Run, fidelity: Fidelity, steps: int = 2) -> DeepLabV2:
    """The library's adaptation loop, cut short; nothing of it stays in the run folder.

    Args:
        run: open run folder.
        fidelity: choices where code and paper differ, in place of the run's.
        steps: updates.

    Returns:
        The student, in evaluation mode.
    """
    config, iapc = run.config, ROWS["iapc"]
    brief = {
        "adaptation": config.adaptation.model_copy(update={"steps": steps}),
        "fidelity": fidelity,
    }
    source = stages.network(run, iapc.teacher).network
    records, labels = stages.training_data(run, iapc)
    with tempfile.TemporaryDirectory() as folder:
        brief_run = Run(Path(folder), config.model_copy(update=brief))
        return adapt(brief_run, iapc, source, records, labels)[0]


def framed_views(run: Run, number: int) -> Image.Image:
    """A whole street with frames where its views of the first update were cut.

    The views are cut once more from a picture whose colours are its coordinates; what a view shows
    of it says where the view lies.

    Args:
        run: open run folder; its pseudo-labels are made if need be.
        number: of the image in its batch.

    Returns:
        RGB image; `plain` is framed in yellow, `rescaled` in cyan.
    """
    records, labels = stages.training_data(run, ROWS["iapc"])
    config = run.config
    with tempfile.TemporaryDirectory() as folder:
        rows, columns = np.indices((256, 256), np.uint8)
        coordinates = Path(folder, "coordinates.png")
        Image.fromarray(np.stack([columns, rows, rows], axis=-1)).save(coordinates)
        drawn = [replace(record, image=coordinates, copies=None) for record in records]
        views = ViewsDataset(drawn, labels, config.views, config.class_set, config.seed, number + 1)
        item = views[number]
    index = draw_order(config.seed, "views", number, len(records))
    street = resize_image(read_image(records[index].image), config.views.image_size)
    pencil, thin = ImageDraw.Draw(street), max(1, street.height // 60)
    # The wider line first, so that both are seen where they coincide.
    for name, color, width in (("rescaled", "cyan", 2 * thin), ("plain", "yellow", thin)):
        columns = item[name][0].double().numpy() / 255 * (street.width - 1)
        rows = item[name][1].double().numpy() / 255 * (street.height - 1)
        frame = [columns.min(), rows.min(), columns.max(), rows.max()]
        pencil.rectangle(frame, outline=color, width=width)
    return street


def kept_weight(run: Run, row: str = "iapc") -> pd.DataFrame:
    """The weight that moved furthest, of student and memory network, over the kept updates.

    Args:
        run: open run folder.
        row: of the results.

    Returns:
        Columns `student` and `memory network`, by update; no line if the run keeps no networks.
    """
    columns = ["student", "memory network"]
    kept = sorted(run.path("snapshots", row).glob("student_*.safetensors"))
    kept = [path for path in kept if path.with_name(_of_memory(path)).exists()]
    if not kept:
        return pd.DataFrame(columns=columns, dtype=float)
    first, last = load_file(kept[0]), load_file(kept[-1])
    moved = {
        k: (last[k] - v).abs().flatten().max()
        for k, v in first.items()
        if "running" not in k and v.is_floating_point()
    }
    name = max(moved, key=moved.get)
    place = (last[name] - first[name]).abs().flatten().argmax()
    lines = {
        int(path.stem.rpartition("_")[2]): [
            load_file(file)[name].flatten()[place].item()
            for file in (path, path.with_name(_of_memory(path)))
        ]
        for path in kept
    }
    return pd.DataFrame.from_dict(lines, "index", columns=columns)


def _of_memory(student: Path) -> str:
    return student.name.replace("student", "memory", 1)


def sample_counts(
    run: Run, rows: Sequence[str], number: int = 24
) -> tuple[list[Record], dict[str, Tensor]]:
    """Some of the images that are reported on, and what networks take for what in each.

    Args:
        run: open run folder.
        rows: names of the networks' rows.
        number: of images, at most, evenly spread.

    Returns:
        The records; and by title (n, K, K) int64, pixels by (true, predicted) class, all zero where
        nothing is labelled.
    """
    records = every_nth(stages.reported_records(run), number)
    classes = run.config.classes
    if run.config.target.val is None:
        nothing = torch.zeros(len(records), classes, classes, dtype=torch.int64)
        return records, {TITLES[row]: nothing for row in rows}
    return records, {
        TITLES[row]: confusions(stages.network(run, row), records, run.config.evaluation)
        for row in rows
    }


def dev_curves(
    run: Run, histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[dict[str, pd.Series], dict[str, float]]:
    """mIoU on `dev`, in per cent, of methods that are trained and of those that are not.

    Args:
        run: open run folder.
        histories: of trainings, by name of the row.

    Returns:
        By title: scores by update, and one score. Both are empty where the target has no `dev`.
    """
    if run.config.target.dev is None:
        return {}, {}
    curves = {TITLES[row]: pd.Series(dict(dev_curve(h))) for row, h in histories.items()}
    return curves, {TITLES[row]: row_scores(run, row, "dev")["miou"] for row in UNTRAINED}


def dev_confusion(run: Run, limit: int = 12) -> Tensor:
    """What the source network takes for what on images of `dev`, evenly spread over it.

    Args:
        run: open run folder.
        limit: images at most.

    Returns:
        (K, K) int64, pixels by (true, predicted) class; zeros where there is no `dev`.
    """
    ready = stages.network(run, "source_only")
    records = every_nth(stages.dev_records(run), limit)
    if not records:
        return torch.zeros(len(ready.classes), len(ready.classes), dtype=torch.int64)
    return confusions(ready, records, run.config.evaluation).sum(dim=0)


def confused_pair(run: Run) -> tuple[str, str] | None:
    """The class of which the source network takes most for one other, and that one, on `dev`.

    None without a labelled `dev`. Notebook after notebook follows it.
    """
    pair = largest_confusion(dev_confusion(run))
    return None if pair is None else tuple(run.config.class_set.names[k] for k in pair)


def largest_loss(
    iou: pd.DataFrame, counts: Mapping[str, Tensor], before: str, after: str
) -> tuple[str, pd.DataFrame]:
    """The class that loses most from one method to another, and what its pixels are called.

    Args:
        iou: in per cent, by title (index) and class (columns).
        counts: of `sample_counts`.
        before: title of a method.
        after: title of the other one.

    Returns:
        Its name; and the share of its pixels in per cent by what they are called, columns `before`
        and `after`, its own name first, then the four largest. Classes that the sample does not
        show are passed over; without any there is no line.
    """
    names, there = list(iou), counts[after].sum(dim=(0, 2)) > 0
    change = (iou.loc[after] - iou.loc[before])[
        [name for name, t in zip(names, there, strict=True) if t]
    ]
    if not len(change.dropna()):
        return "", pd.DataFrame(columns=[before, after], dtype=float)
    name = change.idxmin()
    called = {t: counts[t].sum(dim=0)[names.index(name)].tolist() for t in (before, after)}
    called = pd.DataFrame(called, names)
    called = 100 * called / called.sum()
    others = called.drop(index=name).max(axis=1).nlargest(4).index
    return name, called.loc[[name, *others]]


def first_batchnorm(run: Run) -> tuple[nn.Module, list[Tensor], Tensor]:
    """What `recompute_batchnorm` makes of the first BatchNorm, and of what.

    Args:
        run: open run folder.

    Returns:
        The source network's first convolution, on the CPU; two batches (N, 3, H, W) uint8 of target
        images; and the recomputed means and variances, (2 C).
    """
    config, source = run.config, stages.network(run, "source_only").network
    records = target_records(config, "train", labels=False)
    half = min(max(len(records) // 2, 1), 4)
    size = config.evaluation.image_size
    images = ImageDataset(records[: 2 * half], size, config.class_set)
    stacked = torch.stack([item["image"] for item in images])
    told = config.evaluation.model_copy(update={"bn_batch_size": half, "bn_batches": 2})
    recomputed = recompute_batchnorm(source, records[: 2 * half], told, run.machine)
    convolution = next(m for m in source.modules() if isinstance(m, nn.Conv2d))
    first = next(m for m in recomputed.modules() if isinstance(m, nn.BatchNorm2d))
    statistics = torch.cat([first.running_mean, first.running_var]).cpu()
    return copy.deepcopy(convolution).cpu(), list(stacked.split(half)), statistics
