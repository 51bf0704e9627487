"""The sections of a `RunConfig` outside the method: domains, views, training, evaluation, hardware.

Every field has a sentence. Sizes are `(height, width)` in pixels.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from iapc_lib.method.settings import (
    Batch,
    Count,
    Fraction,
    NonNegative,
    Optimizer,
    Positive,
    Scale,
    Section,
    Seed,
    Size,
)
from iapc_lib.paths import usable_path
from iapc_lib.rows import AdaptedRow, RowName

PathText = Annotated[str, AfterValidator(usable_path)]
"""A path, relative to the project where it is not absolute."""


class Miniature(Section):
    """The drawn worlds that stand in for the real data sets (`data/miniature`)."""

    folder: PathText = "data/miniature"
    """Where the worlds are drawn, relative to the project."""
    size: Size = (128, 256)
    """Size of the drawn images."""
    seed: Seed = 1
    """Seed of the drawings; the run's own seed does not change the data."""
    source_train: Count = 240
    """Labelled source images to train on."""
    source_val: Count = 40
    """Labelled source images for the score at home."""
    target_train: Count = 160
    """Target images without labels, the only ones that adaptation sees."""
    target_dev: Count = 40
    """Labelled target images on which choices may be made."""
    target_val: Count = 80
    """Labelled target images for the score; nothing is ever chosen on them."""


class SourceDomain(Section):
    """The labelled domain on which the source network is trained, or a network that was."""

    layout: Literal["gta5", "synthia", "urbansyn", "camvid"] | None = None
    """How the data set keeps its files; none where a checkpoint is all that is left of it."""
    root: PathText | None = None
    """Folder of the data set; left out for the miniature."""
    train: Count | None = None
    """Number of images, in the order of their names, to train on; left out for the miniature."""
    val: Count | None = None
    """Number of images after those, for the score at home; left out for the miniature."""
    sequences: tuple[str, ...] = ()
    """CamVid: only images whose names start with one of these; none: all."""
    leave_out: tuple[str, ...] = ()
    """File names of images that are not used, such as those whose label has another size."""
    checkpoint: PathText | None = None
    """A trained source network to start from instead of training one: ours or a published one.

    A preset may name several: seed s takes the (s modulo their number)-th, counted from 0.
    """


class TargetDomain(Section):
    """The streets to adapt to: images without labels, and labelled ones for the score."""

    layout: Literal["cityscapes", "camvid", "folder"] = "cityscapes"
    """How the data set keeps its files; `folder` is any folder of images, without labels."""
    root: PathText | None = None
    """Folder of the data set; left out for the miniature."""
    train: str = "train"
    """Split (of layout `folder`: subfolder, `.` for all) whose images are adapted to."""
    dev: str | None = None
    """Labelled split on which choices may be made, if there is one."""
    dev_every: Annotated[int, Field(strict=True, ge=2)] | None = None
    """With `dev` the same split as `train`: every so-many-th of its images is `dev`, not `train`."""
    val: str | None = "val"
    """Labelled split for the score; none where nothing is labelled."""
    sequences: tuple[str, ...] = ()
    """CamVid: only images whose names start with one of these; none: all."""


class SourceTraining(Section):
    """How the source network is trained on the rendered images (method.md, 13)."""

    imagenet_weights: PathText | None = None
    """ResNet weights to start from: `torchvision` (downloaded once) or a file; none: random."""
    steps: Count = 80_000
    """Updates."""
    batch_size: Batch = 1
    """Images per update."""
    image_size: Size = (720, 1280)
    """Images are resized to this."""
    crop_size: Size | None = None
    """Random crop of the resized image; none: the whole image."""
    scale_range: tuple[Scale, Scale] = (1.0, 1.0)
    """The resized image is scaled by a random factor in this range before the crop."""
    optimizer: Optimizer = Optimizer(learning_rate=2.5e-4, warmup_steps=0, decay_steps=200_000)
    """How weights move."""
    class_weight_power: NonNegative = 0.0
    """Classes weigh (median frequency / frequency) to this power; 0: all alike."""
    photometric_jitter: Fraction = 0.0
    """Strength of the colour jitter, 0 (none) to 1 (strong)."""
    blur_probability: Fraction = 0.5
    """Share of images that get a Gaussian blur."""


class PseudoLabels(Section):
    """Offline pseudo-labels from several scales and the mirrored image (method.md, 2)."""

    image_size: Size = (512, 1024)
    """Size of an image at scale 1."""
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (1.0, 1.25, 0.75)
    """Scales whose soft-max maps are summed."""
    flip: bool = True
    """Whether the mirrored image is added at every scale."""


class Views(Section):
    """The views of a target image that adaptation trains on (method.md, 3)."""

    image_size: Size = (640, 1280)
    """Images are resized to this before they are rescaled and cropped."""
    crop_size: Size = (256, 512)
    """Size of the crop."""
    clean_size: Size = (512, 1024)
    """Images of the clean (fourth) forward are resized to this before the crop."""
    scale_range: tuple[Scale, Scale] = (0.8, 1.2)
    """The rescaled views have a random scale in this range."""
    autoaugment: bool = True
    """Whether the student sees a photometric AutoAugment of the rescaled view."""
    min_classes: Annotated[int, Field(strict=True, ge=0, le=19)] = 10
    """A crop is accepted when its pseudo-label has more distinct values than this ..."""
    crop_tries: Count = 10
    """... or after so many tries."""


class Variant(Section):
    """A run that makes one row of a larger table (`papermill_runs/variants`)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Of its file; names the run folder."""
    title: str
    """What people read in tables."""
    row: RowName
    """Which row is made."""


class Adaptation(Section):
    """The adaptation loop (method.md, 4 and 6)."""

    steps: Count = 9000
    """Updates; there is no other stopping rule."""
    batch_size: Batch = 6
    """Images per update."""
    optimizer: Optimizer = Optimizer()
    """How weights move."""
    memory_decay: Fraction = 0.9999
    """Decay of the memory network's exponential moving average of the student."""
    target_share: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0
    """Share of the target's training images that is adapted to, evenly spread over them."""
    confidence_threshold: Fraction = 0.9
    """`self_training_confident` uses pixels of which the source network is at least so sure."""
    snapshots: bool = False
    """Keeps student and memory network at every look at the score (seven), for the explorers."""
    methods: tuple[AdaptedRow, ...] = ("self_training", "iapc")
    """Rows of the results table that are adapted; `self_training` and `iapc` belong there always."""

    @model_validator(mode="after")
    def _has_required_rows(self):
        if not {"self_training", "iapc"} <= set(self.methods):
            raise ValueError("methods must contain self_training and iapc")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods must not name a row twice")
        return self


class Evaluation(Section):
    """How predictions are scored (method.md, 7)."""

    image_size: Size = (512, 1024)
    """Images are resized to this; predictions are scored at the labels' own size."""
    batch_size: Batch = 2
    """Images per forward."""
    bn_batches: Count = 100
    """Batches of target images from which BatchNorm statistics are recomputed."""
    bn_batch_size: Batch = 6
    """Images in each of those."""


class Hardware(Section):
    """What runs it; never changes which run folder a run belongs to."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks' forward passes; losses are float32 always."""
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    """Of the CPU, for one operation; none: a thread a core, or what OMP_NUM_THREADS says."""
    workers: Annotated[int, Field(strict=True, ge=0, le=256)] = 0
    """Processes that load images."""
    cache: PathText | None = None
    """Folder for decoded copies of the training images; none: they are decoded at every use."""
    stall_seconds: Positive | None = 1800.0
    """A training stops when a step makes no progress for so long; none: it waits for ever."""
