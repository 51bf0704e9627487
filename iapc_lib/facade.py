"""Three verbs for a notebook or a script: load a network, predict an image, adapt to a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from iapc_lib import stages
from iapc_lib.checkpoints import image_size_of, load_network
from iapc_lib.classes import ClassSet, colorize
from iapc_lib.data.dataset import read_image
from iapc_lib.data.layouts import folder_records
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.hardware import Machine, prepare_machine
from iapc_lib.prediction import LabelMap, PredictionSettings, predict_image
from iapc_lib.presets import project_root
from iapc_lib.runs import open_run
from iapc_lib.sections import Hardware


@dataclass(frozen=True)
class Segmenter:
    """A network with what is needed to use it; made by `load`."""

    checkpoint: Path
    network: DeepLabV2
    classes: ClassSet
    machine: Machine
    settings: PredictionSettings

    def predict(self, image: str | Path | Image.Image | np.ndarray | torch.Tensor) -> LabelMap:
        """The label map of an image, at its own size.

        Args:
            image: a path; a Pillow image; an array (H, W, 3) or (H, W) uint8; or a tensor
                (3, H, W), uint8, or float within 0..1.

        Raises:
            DataError: the file is missing or no image.
            ValueError: an array or tensor of another shape or type.
        """
        return predict_image(
            self.machine, self.network, _as_image(image), self.classes, self.settings
        )

    def colored(self, labels: np.ndarray) -> Image.Image:
        """Train ids (H, W) in Cityscapes' colours."""
        return Image.fromarray(colorize(labels))

    def adapt(
        self,
        folder: str | Path,
        out: str | Path,
        preset: str | Path = "papermill_runs/own_images.yaml",
        **overrides: Any,
    ) -> Segmenter:
        """Adapts to a folder of unlabelled images; the same call goes on after a stop.

        The images are resized so that their shorter side is that of `settings`, with the first
        image's proportions; views and crops follow from that as in the published method.

        Args:
            folder: searched with its subfolders for jpg, jpeg and png files.
            out: the run folder.
            preset: the configuration to start from.
            overrides: of its fields, with `__` for the dot: `adaptation__steps=500`.

        Returns:
            A segmenter with the adapted network.

        Raises:
            ConfigError, DataError, CheckpointError, RunFolderError: it cannot start; says why.
        """
        height = self.settings.short_side
        with Image.open(folder_records(Path(folder))[0].image) as first:
            width = round(height * first.width / first.height)
        scaled = {
            "evaluation.image_size": 1,
            "pseudo_labels.image_size": 1,
            "views.clean_size": 1,
            "views.image_size": 1.25,
            "views.crop_size": 0.5,
        }
        changes = {
            "source.checkpoint": str(self.checkpoint.resolve()),
            "target.root": str(Path(folder).resolve()),
            "classes": len(self.classes),
            "model": self.network.model.model_dump(mode="json"),
            **{key: [round(height * f), round(width * f)] for key, f in scaled.items()},
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        run = open_run(_preset(preset), out, None, changes)
        stages.adapted_network(run)
        return replace(load(stages.adapted_path(run, "iapc")), settings=self.settings)


def load(checkpoint: str | Path, device: str = "auto") -> Segmenter:
    """Loads a network of ours (`.safetensors`) or a published one (`.pth`).

    Args:
        checkpoint: path of the file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        CheckpointError: missing, damaged, dangerous, or of another architecture.
        ConfigError: CUDA is asked for and not there.
    """
    path = Path(checkpoint).expanduser()
    machine = prepare_machine(Hardware(device=device))
    network, classes = load_network(path)
    settings = PredictionSettings(short_side=min(image_size_of(path)))
    return Segmenter(path, network.to(machine.device), classes, machine, settings)


def _as_image(image: Any) -> Image.Image:
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"a tensor must be (3, H, W), this one is {tuple(image.shape)}")
        if image.is_floating_point():
            image = (image.clamp(0, 1) * 255).round()
        image = image.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    array = np.asarray(image)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] != 3)
    ):
        raise ValueError(
            f"an array must be (H, W, 3) or (H, W) uint8, this one is {array.shape} {array.dtype}"
        )
    return Image.fromarray(array).convert("RGB")


def _preset(path: str | Path) -> Path:
    return path if Path(path).exists() else project_root() / path
