"""What the explorers look at: pictures, and the networks at several snapshots of a run.

Opened on a run folder, whose missing stages are made with progress bars, or on a checkpoint and
any images. Everything has the size of the network's evaluation images.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from iapc_lib.classes import ALL_19, ClassSet
from iapc_lib.config.sections import Hardware, PseudoLabels
from iapc_lib.data.images import (
    read_image,
    read_pair,
    resize_image,
    resize_label,
    size_like,
    to_tensor,
)
from iapc_lib.data.layouts import DataError, Record, folder_records
from iapc_lib.evaluation.scores import judged_by
from iapc_lib.files import read_json
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method.deeplab import DeepLabV2, Prediction, upsample
from iapc_lib.method.settings import Fidelity, Losses
from iapc_lib.networks.checkpoints import image_size_of, load_ready
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.pipeline import stages
from iapc_lib.rows import ROWS, AdaptedRow, Row
from iapc_lib.runs.folder import Run, open_run, read_run
from iapc_lib.training.pseudo_labels import make_pseudo_label

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


class Snapshot(NamedTuple):
    """The networks at one step of an adaptation."""

    student: DeepLabV2
    memory: DeepLabV2 | None
    """None where the row has none."""


@dataclass(eq=False)
class Gallery:
    """Pictures and networks; made by `open_gallery`."""

    title: str
    pictures: list[Picture]
    source: ReadyNetwork
    """In evaluation mode."""
    losses: Losses = Losses()
    fidelity: Fidelity = Fidelity()
    steps: tuple[int, ...] = (0,)
    """At which `networks_at` knows the networks; 0 is the source network."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Of the adaptation, an entry a step; empty without a run."""
    notes: list[str] = field(default_factory=list)
    """What is missing, and how to get it; shown to the user."""
    load_snapshot: Callable[[int], Snapshot] | None = None
    row: Row = ROWS["iapc"]
    """Of the results: what was adapted."""
    folder: Path | None = None
    """Of the run; None without one."""
    judged: ClassSet = ALL_19
    """The classes that labels of these pictures can name."""

    def __post_init__(self) -> None:
        # Of this gallery alone, so that they go when it goes.
        self.source_logits = lru_cache(maxsize=64)(self._source_logits)
        self.networks_at = lru_cache(maxsize=4)(self._networks_at)
        self.outputs = lru_cache(maxsize=16)(self._outputs)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.pictures[0].pixels.shape[:2]

    def _source_logits(self, picture: int) -> Tensor:
        """Up-sampled logits (K, H, W) of the source network in evaluation mode."""
        logits = self.source.forward(self._images(picture)).logits
        return upsample(logits, self.size)[0].cpu()

    def _networks_at(self, step: int) -> Snapshot:
        """Student and memory network at a step; both are the source network at step 0."""
        if step == 0 or self.load_snapshot is None:
            memory = self.source.network if self.row.memory else None
            return Snapshot(self.source.network, memory)
        return self.load_snapshot(step)

    def _outputs(self, picture: int, step: int) -> tuple[Prediction, Prediction]:
        """What student and memory network say in an update whose whole batch is the picture.

        Returns:
            For each logits (1, K, h, w) and features (1, D, h, w), of train mode, on the CPU.

        Raises:
            CheckpointError: the run kept no such networks.
        """
        student, memory = self.networks_at(step)
        if memory is None:
            raise CheckpointError(f"{self.row.title} has no memory network, hence no prototypes")
        found = []
        for network in (student, memory):
            # A copy: a forward in train mode changes BatchNorm's running statistics.
            made = self._ready(copy.deepcopy(network).train()).forward(self._images(picture))
            found.append(Prediction(*(value.cpu() for value in made)))
        return tuple(found)

    def student_labels(self, picture: int, step: int) -> np.ndarray:
        """Train ids (H, W) that the student predicts in evaluation mode, as it is scored."""
        student = self._ready(copy.deepcopy(self.networks_at(step).student).eval())
        return student.predict_train_ids(self._images(picture), self.size)[0]

    def memory_labels(self, picture: int, step: int) -> np.ndarray:
        """Train ids (H, W) that the memory network gives its prototypes' pixels."""
        _, memory = self.outputs(picture, step)
        return self.source.train_ids(upsample(memory.logits, self.size)[0].argmax(dim=0))

    def _ready(self, network: DeepLabV2) -> ReadyNetwork:
        return replace(self.source, network=network)

    def _images(self, picture: int) -> Tensor:
        return to_tensor(self.pictures[picture].pixels)[None]


def open_gallery(
    place: str | Path | Run | None = None,
    images: str | Path | Sequence[str | Path] | None = None,
    *,
    method: str = "iapc",
    number: int = PICTURES,
    beside: Gallery | None = None,
) -> Gallery:
    """Opens a run, or a checkpoint with images.

    Args:
        place: a run, its folder, or a checkpoint; None is the miniature's run with seed 0. What a
            run has not made yet is made, with progress bars.
        images: with a checkpoint: a folder, or image files.
        method: row of the run's results whose adaptation is shown.
        number: of pictures at most.
        beside: another method of the same run, whose pictures it shares, all of them, rather than
            making them again.

    Raises:
        RunFolderError, CheckpointError, DataError: it cannot be opened; says why.
        ValueError: the row is none, nothing was adapted in it, or `beside` is of another run.
    """
    if method not in get_args(AdaptedRow):
        raise ValueError(
            f"row {method!r}: nothing is adapted there to look at; there are "
            f"{', '.join(get_args(AdaptedRow))}"
        )
    if place is None:
        place = open_run(MINIATURE)
    if not isinstance(place, Run):
        path = Path(place).expanduser()
        if images is not None:
            return _of_checkpoint(path, images, number)
        if path.is_file():
            raise DataError(f"{path}: a checkpoint needs images: open_gallery(checkpoint, images)")
        place = read_run(path)
    return _of_run(place, ROWS[method], number, beside)


def _of_run(run: Run, row: Row, number: int, beside: Gallery | None) -> Gallery:
    config = run.config
    if beside is not None and beside.folder != run.folder:
        raise ValueError(f"beside: {beside.title} is of another run than {run.folder}")
    records = stages.monitored_records(run)[:number]
    if beside is not None and beside.row.teacher == row.teacher:
        source, pictures = beside.source, beside.pictures
    else:
        source = stages.network(run, row.teacher)
        pictures = _pictures(source, records, config.pseudo_labels, config.evaluation.image_size)
    notes = []
    if pictures[0].label is None:
        notes.append("These images have no labels: nothing here can say what is right.")
    if not row.memory:
        notes.append(
            f"{row.title} learns from {row.learns_from}. It has no memory network, hence no "
            "prototypes and none of the five terms."
        )
    stages.network_file(run, row.name)
    folder = run.path("snapshots", row.name)
    steps = [int(path.stem.rpartition("_")[2]) for path in folder.glob("student_*.safetensors")]
    if not steps:
        notes.append(
            "This run kept no networks on the way, so only its start can be explored: "
            "adaptation.snapshots=true keeps them."
        )

    def load_snapshot(step: int) -> Snapshot:
        def load(name: str) -> DeepLabV2:
            path = folder / f"{name}_{step:06d}.safetensors"
            return load_ready(path, run.machine, config).network

        return Snapshot(load("student"), load("memory") if row.memory else None)

    return Gallery(
        f"{config.scenario}, seed {config.seed}, {row.title}",
        pictures,
        source,
        config.losses,
        config.fidelity,
        tuple(sorted({0, *steps})),
        read_json(run.path(f"history_{row.name}.json"), list[dict[str, Any]]),
        notes,
        load_snapshot,
        row,
        run.folder,
        judged_by(records),
    )


def _of_checkpoint(checkpoint: Path, images, number: int) -> Gallery:
    source = load_ready(checkpoint, prepare_machine(Hardware()))
    if isinstance(images, (str, Path)):
        records = folder_records(Path(images).expanduser())
    else:
        records = [Record(Path(p).name, Path(p), None, "folder") for p in images]
    readable, notes = _readable(records, number)
    size = size_like(read_image(readable[0].image), min(image_size_of(checkpoint)))
    pictures = _pictures(source, readable, PseudoLabels(image_size=size), size)
    notes = [
        "There is no run behind this network, so it stands for student and memory, too, "
        "as at the start of an adaptation.",
        "These images have no labels: nothing here can say what is right.",
        *notes,
    ]
    return Gallery(checkpoint.name, pictures, source, notes=notes)


def _readable(records: Sequence[Record], number: int) -> tuple[list[Record], list[str]]:
    """The first images that can be read, so many at most, and what is to be said of the others."""
    readable, notes = [], []
    for record in records:
        try:
            read_image(record.image)
        except DataError as error:
            notes.append(f"Left out: {error}.")
        else:
            readable.append(record)
        if len(readable) == number:
            break
    if not readable:
        raise DataError("\n".join(["images: name at least one that can be read", *notes]))
    return readable, notes


def _pictures(
    source: ReadyNetwork,
    records: Sequence[Record],
    settings: PseudoLabels,
    size: tuple[int, int],
) -> list[Picture]:
    pictures = []
    # Bar left in place: Voila shows a closed one as an error.
    for record in tqdm(records, desc="Pictures to explore", unit="image"):
        image, label = (
            (read_image(record.image), None) if record.label is None else read_pair(record)
        )
        pseudo = make_pseudo_label(source, image, settings).label
        if label is not None:
            # A network of fewer classes is judged on those alone.
            label = resize_label(source.classes.known_only(label), size)
        pixels = np.asarray(resize_image(image, size))
        pictures.append(Picture(record.name, pixels, resize_label(pseudo, size), label))
    return pictures
