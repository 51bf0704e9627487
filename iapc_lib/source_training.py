"""The source network: supervised training on the rendered images (method.md, 13)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from iapc_lib.checkpoints import imagenet_file, load_imagenet_body
from iapc_lib.classes import IGNORE, ClassSet
from iapc_lib.config import RunConfig
from iapc_lib.data.dataset import (
    read_label,
    read_resized,
    resize_label,
    to_channels,
    to_tensor,
)
from iapc_lib.data.layouts import Record
from iapc_lib.data.names import data_name
from iapc_lib.data.views import draw_order
from iapc_lib.deeplab import DeepLabV2, upsample
from iapc_lib.hardware import Machine
from iapc_lib.logs import TrainingLog
from iapc_lib.losses import weighted_cross_entropy
from iapc_lib.optimizers import make_optimizer, restore_optimizer, set_learning_rate
from iapc_lib.resume import Checkpointer
from iapc_lib.runs import Run, file_hash
from iapc_lib.sections import SourceTraining
from iapc_lib.stalls import StallWatch, progress


def photometric_jitter(image: np.ndarray, strength: float, rng: random.Random) -> np.ndarray:
    """Random colours, contrast, brightness, gamma and noise.

    It makes the source network less sensitive to the colours of the one world that it sees.

    Args:
        image: (H, W, 3) uint8 RGB.
        strength: 1 changes saturation by up to 0.6, channel gains by 0.15, contrast by 0.3,
            brightness by 30 grey levels, gamma by a factor 1.5, and adds noise of up to 8 levels.
        rng: source of the draws.

    Returns:
        (H, W, 3) uint8.
    """

    def draw(width: float) -> float:
        return rng.uniform(-width, width) * strength

    coloured = ImageEnhance.Color(Image.fromarray(image)).enhance(1 + draw(0.6))
    pixels = np.asarray(ImageEnhance.Contrast(coloured).enhance(1 + draw(0.3)), np.float32)
    gain = np.array([1 + draw(0.15) for _ in range(3)], np.float32)
    pixels = np.clip(pixels * gain + draw(30), 0, 255)
    pixels = 255 * (pixels / 255) ** np.float32(1.5 ** draw(1.0))
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(image.shape, np.float32)
    pixels += noise * np.float32(8 * strength * rng.random())
    return np.clip(pixels, 0, 255).astype(np.uint8)


class SourceDataset(Dataset):
    """Item `position` is what source training sees there: a function of (seed, position).

    An item is (image (3, h, w) uint8, label (h, w) int64 channel numbers, 255 = ignore).
    """

    def __init__(
        self, records: Sequence[Record], config: SourceTraining, classes: ClassSet, seed: int
    ):
        self.records, self.config, self.classes, self.seed = records, config, classes, seed

    def __len__(self) -> int:
        return self.config.steps * self.config.batch_size

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        rng = random.Random(f"{self.seed}/source/{position}")
        index = draw_order(self.seed, "source", position, len(self.records))
        record = self.records[index]
        scale = rng.uniform(*self.config.scale_range)
        size = tuple(round(side * scale) for side in self.config.image_size)
        pixels, own_size = read_resized(record, size)
        label = resize_label(read_label(record, own_size), size)
        if rng.random() < self.config.blur_probability:
            blur = ImageFilter.GaussianBlur(rng.random())
            pixels = np.asarray(Image.fromarray(pixels).filter(blur))
        if self.config.crop_size is not None:
            height, width = self.config.crop_size
            top = rng.randint(0, pixels.shape[0] - height)
            left = rng.randint(0, pixels.shape[1] - width)
            crop = np.s_[top : top + height, left : left + width]
            pixels, label = pixels[crop], label[crop]
        if rng.random() < 0.5:
            pixels, label = pixels[:, ::-1], label[:, ::-1]
        if self.config.photometric_jitter > 0:
            pixels = photometric_jitter(pixels, self.config.photometric_jitter, rng)
        return to_tensor(pixels), to_channels(label, self.classes)


def frequency_weights(records: Sequence[Record], classes: ClassSet, power: float) -> Tensor:
    """(median frequency / frequency) ** power of every class, (K,) float32; 0 for absent ones."""
    counts = np.zeros(256, np.int64)
    for record in tqdm(records, desc="Class frequencies"):
        progress()
        counts += np.bincount(read_label(record).ravel(), minlength=256)
    frequency = torch.from_numpy(counts[list(classes.train_ids)]).float()
    present = frequency > 0
    weights = (frequency[present].median() / frequency.clamp(min=1)) ** power
    return weights * present


class _Training:
    """What a stopped source training needs to go on."""

    def __init__(self, config: RunConfig, machine: Machine, imagenet: Path | None):
        self.network = DeepLabV2(config.classes, config.model).initialize(config.seed)
        if imagenet is not None:
            load_imagenet_body(self.network, imagenet)
        self.network.to(machine.device).train()
        self.optimizer = make_optimizer(self.network, config.source_training.optimizer)
        self.history: list[dict] = []

    def state_dict(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.history = state["history"]


def train_source(run: Run, records: Sequence[Record]) -> tuple[DeepLabV2, list[dict]]:
    """Trains the source network, or goes on where a stopped training was.

    Args:
        run: open run folder.
        records: labelled source images.

    Returns:
        The network in evaluation mode, and the history: a dict per step with `step`, `loss`,
        and the rates `learning_rate` and `learning_rate_head`.

    Raises:
        TrainingDiverged: it became NaN or infinite; names the step.
        StallError: a step took longer than `hardware.stall_seconds`.
    """
    stall = StallWatch("source training", run.config.hardware.stall_seconds)
    with stall, TrainingLog(run, "source") as log:
        return _train_source(run, records, stall=stall, log=log)


def _train_source(run, records, *, stall, log):
    config, machine = run.config.source_training, run.machine
    classes = run.config.class_set
    imagenet = imagenet_file(run.config)
    training = _Training(run.config, machine, imagenet)
    weight = None
    if config.class_weight_power > 0:
        weight = frequency_weights(records, classes, config.class_weight_power).to(machine.device)
    made_from = {
        "data": data_name(run.config, "source", records),
        "imagenet": imagenet and file_hash(imagenet),
    }
    checkpointer = Checkpointer(run, "source_training", training, made_from)
    start = checkpointer.restore(config.steps)
    log.begin(start, training.history)
    dataset = SourceDataset(records, config, classes, run.config.seed)
    positions = range(start * config.batch_size, config.steps * config.batch_size)
    loader = machine.load(dataset, config.batch_size, positions)
    stall.phase(start, "loading its batch")
    bar = tqdm(loader, desc="Source training", initial=start, total=config.steps)
    for step, (images, labels) in enumerate(bar, start=start):
        stall.phase(step, "computing")
        rates = set_learning_rate(training.optimizer, config.optimizer, step)
        labels = labels.to(machine.device)
        logits = machine.forward(training.network, images).logits
        log_probabilities = upsample(logits, labels.shape[1:]).log_softmax(dim=1)
        per_pixel = weighted_cross_entropy(log_probabilities, labels, weight)
        weight_sum = (
            (labels != IGNORE).sum() if weight is None else weight[labels[labels != IGNORE]].sum()
        )
        loss = per_pixel.sum() / weight_sum.clamp(min=1)
        reached = loss.item()
        if not math.isfinite(reached):
            raise checkpointer.diverged(step, f"loss = {reached}")
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        entry = {"learning_rate": rates[0], "learning_rate_head": rates[1]}
        training.history.append({"step": step, "loss": reached, **entry})
        log.write(training.history[-1])
        if step % 10 == 0:
            bar.set_postfix(loss=f"{reached:.3f}")
        stall.phase(step, "saving its state")
        checkpointer.save_if_due(step + 1)
        stall.phase(step + 1, "loading its batch")
    checkpointer.require_finite(config.steps)
    return training.network.eval(), training.history
