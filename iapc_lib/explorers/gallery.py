"""What the explorers look at: pictures, and the networks at several moments of a run.

Opened on a run folder, whose missing stages are made with progress bars, or on a checkpoint and
any images. Everything has the size of the network's evaluation images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib import stages
from iapc_lib.checkpoints import CheckpointError, image_size_of, load_network
from iapc_lib.classes import ClassSet
from iapc_lib.data.dataset import read_image, read_pair, resize_image, resize_label, to_tensor
from iapc_lib.data.layouts import DataError, Record, folder_records
from iapc_lib.deeplab import DeepLabV2, Prediction, upsample
from iapc_lib.hardware import Machine, prepare_machine
from iapc_lib.pseudo_labels import make_pseudo_label
from iapc_lib.runs import Run, open_run, read_json, read_run
from iapc_lib.sections import Fidelity, Hardware, Losses, PseudoLabels

MINIATURE = "papermill_runs/mini_gta5.yaml"
PICTURES = 6
"""Pictures of a gallery, if not said otherwise."""


@dataclass(frozen=True)
class Picture:
    """One image with what is known of its pixels; labels are train ids, 255 = ignore."""

    name: str
    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    pseudo_label: np.ndarray
    """(H, W) uint8, as `pseudo_labels` makes them."""
    label: np.ndarray | None
    """(H, W) uint8, None where nobody labelled the image."""


class Moment(NamedTuple):
    """The networks at one step of an adaptation."""

    step: int
    student: DeepLabV2
    memory: DeepLabV2 | None
    """None where the method has none."""


class Outputs(NamedTuple):
    """What student and memory network say of a picture, in train mode as in an update."""

    student: Prediction
    """Logits (1, K, h, w) and features (1, D, h, w), on the CPU."""
    memory: Prediction


@dataclass(eq=False)
class Gallery:
    """Pictures and networks; made by `open_gallery`."""

    title: str
    pictures: list[Picture]
    classes: ClassSet
    machine: Machine
    source: DeepLabV2
    """In evaluation mode."""
    losses: Losses = Losses()
    fidelity: Fidelity = Fidelity()
    steps: tuple[int, ...] = (0,)
    """At which `networks_at` knows the networks; 0 is the source network."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Of the adaptation, an entry a step; empty without a run."""
    notes: list[str] = field(default_factory=list)
    """What is missing, and how to get it; shown to the user."""
    load_moment: Callable[[int], Moment] | None = None
    has_memory: bool = True
    """Whether the adaptation has a memory network; self-training has none."""

    def __post_init__(self) -> None:
        # Of this gallery alone, so that they go when it goes.
        self.source_logits = lru_cache(maxsize=64)(self._source_logits)
        self.networks_at = lru_cache(maxsize=4)(self._networks_at)
        self.outputs = lru_cache(maxsize=16)(self._outputs)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.pictures[0].pixels.shape[:2]

    def train_ids(self, channels: Tensor | np.ndarray) -> np.ndarray:
        """Channel numbers (H, W) -> train ids (H, W) uint8."""
        return self.classes.train_id_of_channel[np.asarray(channels)]

    @torch.no_grad()
    def _source_logits(self, picture: int) -> Tensor:
        """Up-sampled logits (K, H, W) of the source network in evaluation mode."""
        logits = self.machine.forward(self.source, self._images(picture)).logits
        return upsample(logits, self.size)[0].cpu()

    def _networks_at(self, step: int) -> Moment:
        """Student and memory network at a step; both are the source network at step 0."""
        if step == 0 or self.load_moment is None:
            return Moment(step, self.source, self.source)
        return self.load_moment(step)

    @torch.no_grad()
    def _outputs(self, picture: int, step: int) -> Outputs:
        """What an update at that step would see, were this picture its whole batch.

        Raises:
            CheckpointError: the run kept no such networks.
        """
        moment, images = self.networks_at(step), self._images(picture)
        if moment.memory is None:
            raise CheckpointError("self-training has no memory network, hence no prototypes")
        found = []
        for network in (moment.student, moment.memory):
            # A copy: a forward in train mode changes BatchNorm's running statistics.
            made = self.machine.forward(copy.deepcopy(network).train(), images)
            found.append(Prediction(*(value.cpu() for value in made)))
        return Outputs(*found)

    @torch.no_grad()
    def student_labels(self, picture: int, step: int) -> np.ndarray:
        """Train ids (H, W) that the student predicts in evaluation mode, as it is scored."""
        student = copy.deepcopy(self.networks_at(step).student).eval()
        logits = self.machine.forward(student, self._images(picture)).logits
        return self.train_ids(upsample(logits, self.size)[0].argmax(dim=0).cpu())

    def memory_labels(self, picture: int, step: int) -> np.ndarray:
        """Train ids (H, W) that the memory network gives its prototypes' pixels."""
        logits = self.outputs(picture, step).memory.logits
        return self.train_ids(upsample(logits, self.size)[0].argmax(dim=0))

    def _images(self, picture: int) -> Tensor:
        return to_tensor(self.pictures[picture].pixels)[None]


def open_gallery(
    place: str | Path | Run | None = None,
    images: str | Path | Sequence[str | Path] | None = None,
    *,
    method: str = "iapc",
    number: int = PICTURES,
) -> Gallery:
    """Opens a run, or a checkpoint with images.

    Args:
        place: a run, its folder, or a checkpoint; None is the miniature's run with seed 0. What a
            run has not made yet is made, with progress bars.
        images: with a checkpoint: a folder, or image files.
        method: row of the run's results whose adaptation is shown.
        number: of pictures at most.

    Raises:
        RunFolderError, CheckpointError, DataError: it cannot be opened; says why.
    """
    if place is None:
        place = open_run(MINIATURE)
    if not isinstance(place, Run):
        path = Path(place).expanduser()
        if images is not None:
            return _of_checkpoint(path, images, number)
        if path.is_file():
            raise DataError(f"{path}: a checkpoint needs images: open_gallery(checkpoint, images)")
        place = read_run(path)
    return _of_run(place, method, number)


def _of_run(run: Run, method: str, number: int) -> Gallery:
    config = run.config
    # Our extension starts from, and is taught by, the source network with other statistics.
    bn_teacher = method == "iapc_bn_teacher"
    source = stages.bn_recomputed_network(run) if bn_teacher else stages.source_network(run)
    records = stages.watched_records(run)[:number]
    pictures = _pictures(records, run.machine, source, config.pseudo_labels, config.class_set,
                         config.evaluation.image_size)  # fmt: skip
    notes = [] if pictures[0].label is not None else [
        "These images have no labels: nothing here can say what is right."
    ]  # fmt: skip
    stages.adapted_network(run, method)
    folder, has_memory = run.path("snapshots", method), method != "self_training"
    steps = [int(path.stem.rpartition("_")[2]) for path in folder.glob("student_*.safetensors")]
    if not steps:
        notes.append(
            "This run kept no networks on the way, so only its start can be explored: "
            "adaptation.snapshots=true keeps them."
        )

    def load_moment(step: int) -> Moment:
        def load(name: str) -> DeepLabV2:
            path = folder / f"{name}_{step:06d}.safetensors"
            return load_network(path, config)[0].to(run.machine.device)

        return Moment(step, load("student"), load("memory") if has_memory else None)

    return Gallery(
        f"{config.scenario}, seed {config.seed}, {method}",
        pictures,
        config.class_set,
        run.machine,
        source,
        config.losses,
        config.fidelity,
        tuple(sorted({0, *steps})),
        read_json(run.path(f"history_{method}.json")),
        notes,
        load_moment,
        has_memory,
    )


def _of_checkpoint(checkpoint: Path, images, number: int) -> Gallery:
    machine = prepare_machine(Hardware())
    network, classes = load_network(checkpoint)
    network = network.to(machine.device)
    if isinstance(images, (str, Path)):
        records = folder_records(Path(images).expanduser())
    else:
        records = [Record(Path(p).name, Path(p), None, "folder") for p in images]
    if not records:
        raise DataError("images: name at least one image")
    # Shorter side as the network was scored; proportions of the first image, for all alike.
    first, short = read_image(records[0].image), min(image_size_of(checkpoint))
    factor = short / min(first.size)
    size = (round(first.height * factor), round(first.width * factor))
    settings = PseudoLabels(image_size=size)
    pictures = _pictures(records[:number], machine, network, settings, classes, size)
    notes = [
        "There is no run behind this network, so it stands for student and memory, too, "
        "as at the start of an adaptation.",
        "These images have no labels: nothing here can say what is right.",
    ]
    return Gallery(checkpoint.name, pictures, classes, machine, network, notes=notes)


def _pictures(
    records: Sequence[Record],
    machine: Machine,
    network: DeepLabV2,
    settings: PseudoLabels,
    classes: ClassSet,
    size: tuple[int, int],
) -> list[Picture]:
    pictures = []
    # Bar left in place: Voila shows a closed one as an error.
    for record in tqdm(records, desc="Pictures to explore", unit="image"):
        image, label = (
            (read_image(record.image), None) if record.label is None else read_pair(record)
        )
        pseudo = make_pseudo_label(machine, network, image, settings, classes).label
        if label is not None:
            # A network of fewer classes is judged on those alone.
            known = classes.train_id_of_channel[classes.channel_of_train_id[label]]
            label = resize_label(known, size)
        pictures.append(
            Picture(
                record.name,
                np.asarray(resize_image(image, size)),
                resize_label(pseudo, size),
                label,
            )
        )
    return pictures
