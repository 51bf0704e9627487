"""Settings of the method: network, optimiser, losses, and where code and paper differ.

Every field has a sentence. Sizes are `(height, width)` in pixels.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Importance = Literal["logits", "probabilities", "first", "second", "none"]
Side = Annotated[int, Field(strict=True, ge=8, le=16384)]
Size = tuple[Side, Side]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]
Scale = Annotated[float, Field(strict=True, ge=0.1, le=10)]
NonNegative = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Batch = Annotated[int, Field(strict=True, ge=1, le=4096)]
Blocks = Annotated[int, Field(strict=True, ge=1, le=200)]
Dilation = Annotated[int, Field(strict=True, ge=1, le=1000)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


class Section(BaseModel):
    """A part of a configuration: frozen, every value checked, unknown names refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _digits_may_be_a_name(cls, value: Any, info: ValidationInfo) -> Any:
        allowed = set(_kinds(cls.model_fields[info.field_name].annotation))
        return str(value) if str in allowed and type(value) is int else value


class Model(Section):
    """DeepLab-v2; the defaults are the published ResNet-101 (method.md, 1)."""

    body: Literal["resnet", "mobilenet_v2"] = "resnet"
    """What makes the features; MobileNetV2 is small, and its layers and widths are fixed."""
    layers: tuple[Blocks, Blocks, Blocks, Blocks] = (3, 4, 23, 3)
    """Bottleneck blocks in each of the four layers."""
    base_width: Annotated[int, Field(strict=True, ge=1, le=1024)] = 64
    """Channels of the first convolution; the layers have 1, 2, 4, 8 times as many planes."""
    classifier_dilations: Annotated[tuple[Dilation, ...], Field(min_length=1, max_length=16)] = (
        6,
        12,
        18,
        24,
    )
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
    warmup_steps: Annotated[int, Field(strict=True, ge=0, le=10**9)] = 5000
    """Steps over which the rate rises linearly from a tenth."""
    decay_steps: Count = 100_000
    """Step at which the polynomial decay would reach zero."""
    power: Positive = 0.9
    """Exponent of the polynomial decay."""


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
    class_weight_ceiling: Annotated[float, Field(strict=True, ge=1, le=1000)] = 7.0
    """Rare and absent classes weigh up to this (squared for the long absent ones)."""
    rare_class_pixels: Annotated[int, Field(strict=True, ge=0, le=10**9)] = 64 * 64
    """A class with fewer pixels than this per image in the batch is rare."""


class Fidelity(Section):
    """Where code, its revision and the paper's text differ, and the variants of its Table IV."""

    revision: Annotated[Literal["2024", "2023"], BeforeValidator(str)] = "2024"
    """Layout of the prototype similarities in L_PS: mended in 2024, scrambled in 2023."""
    importance: Importance = "logits"
    """1 - s2 / s1 of raw logits (code) or `probabilities` (text); `first`: s1; `second`: 1 - s2;
    `none`: 1."""
    prototypes: Literal["image", "dataset", "momentum"] = "image"
    """Of each `image` (published), fixed over the data set, or moving with `momentum`."""
    prototype_momentum: Fraction = 0.99
    """Share of the old prototype that stays, for `momentum`."""
    parameter_visits: Literal["published", "once"] = "published"
    """SGD visits a body convolution 1, 3 or 4 times a step (published code) or once."""
    clean_forward: bool = True
    """One more train-mode forward of the student on clean images, for its BatchNorm statistics."""


class StepSettings(Section):
    """What one update is told."""

    memory_decay: Fraction = 0.9999
    """Decay of the memory network's exponential moving average of the student."""
    losses: Losses = Losses()
    """Weights of the terms and of the classes."""
    fidelity: Fidelity = Fidelity()
    """Choices where code and paper differ."""
