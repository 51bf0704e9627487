"""The sections of a `RunConfig`: models, training, losses, evaluation, hardware.

Every field has a sentence. Sizes are `(height, width)` in pixels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Importance = Literal["logits", "probabilities", "first", "second"]
Size = tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=0.1, le=10)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
AdaptedRow = Literal["tent", "self_training", "self_training_confident", "iapc", "iapc_bn_teacher"]
"""Rows of the results table that are trained on the target; see `adaptation.adapt`."""
IAPC_ROWS: tuple[AdaptedRow, ...] = ("iapc", "iapc_bn_teacher")
"""Those that the published method makes; the others are baselines, without a memory network."""
Row = Literal["source_only", "bn_recomputed", AdaptedRow]
"""All rows of the results table."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )


class Model(Section):
    """DeepLab-v2; the defaults are the published ResNet-101 (method.md, 1)."""

    layers: tuple[Count, Count, Count, Count] = (3, 4, 23, 3)
    """Bottleneck blocks in each of the four layers."""
    base_width: Count = 64
    """Channels of the first convolution; the layers have 1, 2, 4, 8 times as many planes."""
    classifier_dilations: Annotated[tuple[Count, ...], Field(min_length=1)] = (6, 12, 18, 24)
    """Dilations of the parallel 3x3 classifier convolutions whose outputs are summed."""


class Optimizer(Section):
    """How weights move."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD is Nesterov with momentum 0.9, as published; AdamW suits the short miniature runs."""
    learning_rate: Positive = 1e-4
    """Base learning rate of the body."""
    head_factor: Positive = 10.0
    """The classifier head learns this many times faster."""
    momentum: Fraction = 0.9
    """SGD's momentum."""
    weight_decay: NonNegative = 5e-4
    """Weight decay."""
    warmup_steps: Annotated[int, Field(ge=0)] = 5000
    """Steps over which the rate rises linearly from a tenth."""
    decay_steps: Count = 100_000
    """Step at which the polynomial decay would reach zero."""
    power: Positive = 0.9
    """Exponent of the polynomial decay."""


class SourceTraining(Section):
    """How the source network is trained on the rendered images (method.md, 13)."""

    imagenet_weights: str | None = None
    """ResNet weights to start from: `torchvision` (downloaded once) or a file; none: random."""
    steps: Count = 80_000
    """Updates."""
    batch_size: Count = 1
    """Images per update."""
    image_size: Size = (720, 1280)
    """Images are resized to this."""
    crop_size: Size | None = None
    """Random crop of the resized image; none: the whole image."""
    scale_range: tuple[Positive, Positive] = (1.0, 1.0)
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
    scale_range: tuple[Positive, Positive] = (0.8, 1.2)
    """The rescaled views have a random scale in this range."""
    autoaugment: bool = True
    """Whether the student sees a photometric AutoAugment of the rescaled view."""
    min_classes: Annotated[int, Field(ge=0, le=19)] = 10
    """A crop is accepted when its pseudo-label has more distinct values than this ..."""
    crop_tries: Count = 10
    """... or after so many tries."""


class Losses(Section):
    """Weights of the loss terms and of the classes (method.md, 4 and 5)."""

    importance_aware: NonNegative = 0.2
    """Weight of L_IA, the importance-aware cross-entropy with the pseudo-labels."""
    prototype_symmetric: NonNegative = 0.04
    """Weight of L_PS, the symmetric cross-entropy of predictions and prototype similarities."""
    prototype_enhanced: NonNegative = 0.5
    """Weight of L_PE, the cross-entropy where prototype and pseudo-label agree."""
    information_maximization: NonNegative = 2.0
    """Weight of L_IM, the entropy of the predictions."""
    class_weight_ceiling: Annotated[float, Field(ge=1, le=1000)] = 7.0
    """Rare and absent classes weigh up to this (squared for the long absent ones)."""
    rare_class_pixels: Annotated[int, Field(ge=0)] = 64 * 64
    """A class with fewer pixels than this per image in the batch is rare."""


class Variant(Section):
    """A run that makes one row of a larger table (`papermill_runs/variants`)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Of its file; names the run folder."""
    title: str
    """What people read in tables."""
    row: Row
    """Which row is made."""


class Adaptation(Section):
    """The adaptation loop (method.md, 4 and 6)."""

    steps: Count = 9000
    """Updates; there is no other stopping rule."""
    batch_size: Count = 6
    """Images per update."""
    optimizer: Optimizer = Optimizer()
    """How weights move."""
    memory_decay: Fraction = 0.9999
    """Decay of the memory network's exponential moving average of the student."""
    target_share: Annotated[float, Field(gt=0, le=1)] = 1.0
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


class Fidelity(Section):
    """Where code, its revision and the paper's text differ, and the variants of its Table IV."""

    revision: Annotated[Literal["2024", "2023"], BeforeValidator(str)] = "2024"
    """Layout of the prototype similarities in L_PS: mended in 2024, scrambled in 2023."""
    importance: Importance = "logits"
    """1 - s2 / s1 of raw logits (code) or `probabilities` (text); `first`: s1; `second`: 1 - s2."""
    prototypes: Literal["image", "dataset", "momentum"] = "image"
    """Of each `image` (published), fixed over the data set, or moving with `momentum`."""
    prototype_momentum: Fraction = 0.99
    """Share of the old prototype that stays, for `momentum`."""
    parameter_visits: Literal["published", "once"] = "published"
    """SGD visits a body convolution 1, 3 or 4 times a step (published code) or once."""
    clean_forward: bool = True
    """One more train-mode forward of the student on clean images, for its BatchNorm statistics."""


class Evaluation(Section):
    """How predictions are scored (method.md, 7)."""

    image_size: Size = (512, 1024)
    """Images are resized to this; predictions are scored at the labels' own size."""
    batch_size: Count = 2
    """Images per forward."""
    bn_batches: Count = 100
    """Batches of target images from which BatchNorm statistics are recomputed."""
    bn_batch_size: Count = 6
    """Images in each of those."""


class Hardware(Section):
    """What runs it; never changes which run folder a run belongs to."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks' forward passes; losses are float32 always."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load images."""
    cache: str | None = None
    """Folder for decoded copies of the training images; none: they are decoded at every use."""
    stall_seconds: Positive | None = 1800.0
    """A training stops when a step makes no progress for so long; none: it waits for ever."""
