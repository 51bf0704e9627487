"""Three verbs for a notebook or a script: load a network, predict an image, adapt to a folder."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from iapc_lib.classes import IGNORE, NUM_CLASSES, ClassSet, colorize
from iapc_lib.config.errors import ConfigError, checked
from iapc_lib.config.presets import preset_path
from iapc_lib.config.run_config import RunConfig
from iapc_lib.config.sections import Hardware
from iapc_lib.data.images import as_rgb, read_image, refuse_train_ids, size_like
from iapc_lib.data.layouts import folder_records, target_records
from iapc_lib.evaluation.scores import score_records
from iapc_lib.machine.device import prepare_machine
from iapc_lib.networks.checkpoints import image_size_of, load_ready
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.pipeline import stages
from iapc_lib.prediction.image import LabelMap, PredictionSettings, predict_image
from iapc_lib.runs.folder import open_run


@dataclass(frozen=True)
class Segmenter:
    """A network for photographs; made by `load`."""

    checkpoint: Path
    ready: ReadyNetwork = field(repr=False)
    settings: PredictionSettings

    @property
    def classes(self) -> ClassSet:
        """The classes that the network knows."""
        return self.ready.classes

    def predict(self, image: str | Path | Image.Image | np.ndarray | torch.Tensor) -> LabelMap:
        """The label map of an image, at its own size.

        Args:
            image: a path; a Pillow image, which is read as its file would be; an array (H, W, 3)
                or (H, W), or a tensor (3, H, W), of whole numbers within 0..255 or floats
                within 0..1.

        Raises:
            DataError: the file is missing or no image.
            ValueError: an array or tensor of another shape, type or range.
        """
        return predict_image(self.ready, _as_image(image), self.settings)

    def colored(self, labels: np.ndarray | LabelMap) -> Image.Image:
        """Train ids (H, W), or what `predict` returns, in Cityscapes' colours.

        Raises:
            ValueError: other values than train ids and 255.
        """
        labels = np.asarray(labels.labels if isinstance(labels, LabelMap) else labels)
        if labels.ndim != 2 or labels.dtype.kind not in "ui":
            raise ValueError(
                f"train ids are (H, W) whole numbers, this is {labels.shape} of {labels.dtype}"
            )
        known = np.isin(labels, [*range(NUM_CLASSES), IGNORE])
        if not known.all():
            raise ValueError(
                f"train ids are 0..{NUM_CLASSES - 1}, and {IGNORE} for none; this holds "
                f"{np.unique(labels[~known])[:3].tolist()}, too"
            )
        return Image.fromarray(colorize(labels.astype(np.uint8)))

    def adapt(
        self,
        folder: str | Path,
        out: str | Path,
        preset: str | Path = "papermill_runs/own_images.yaml",
        **overrides: Any,
    ) -> Self:
        """Adapts to a folder of unlabelled images; the same call goes on after a stop.

        The images are resized so that their shorter side is that of `settings`, with the first
        image's proportions; views and crops follow from that as in the published method.

        Args:
            folder: searched with its subfolders for images; see `layouts.IMAGE_SUFFIXES`.
            out: the run folder; as `folder`, from here where it is not absolute.
            preset: the configuration to start from.
            overrides: of its fields, with `__` for the dot: `adaptation__steps=500`.

        Returns:
            A segmenter with the adapted network.

        Raises:
            ConfigError, DataError, CheckpointError, RunFolderError: it cannot start; says why.
        """
        folder = Path(folder).expanduser().absolute()
        first = read_image(folder_records(folder)[0].image)
        height, width = size_like(first, self.settings.short_side)
        scaled = {
            "evaluation.image_size": 1,
            "pseudo_labels.image_size": 1,
            "views.clean_size": 1,
            "views.image_size": 1.25,
            "views.crop_size": 0.5,
        }
        changes = {
            "source.checkpoint": str(self.checkpoint.resolve()),
            "target.root": str(folder.resolve()),
            "classes": len(self.classes),
            "model": self.ready.network.model.model_dump(mode="json"),
            **{key: [round(height * f), round(width * f)] for key, f in scaled.items()},
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        run = open_run(preset_path(preset), Path(out).expanduser().absolute(), None, changes)
        return replace(load(stages.network_file(run, "iapc")), settings=self.settings)


def load(checkpoint: str | Path, device: str = "auto") -> Segmenter:
    """Loads a network of ours (`.safetensors`) or a published one (`.pth`).

    Args:
        checkpoint: path of the file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        CheckpointError: missing, damaged, dangerous, or of another architecture.
        ConfigError: another device than those, or CUDA, which is not there.
    """
    path = Path(checkpoint).expanduser()
    hardware = checked(Hardware, {"device": device}, "load")
    ready = load_ready(path, prepare_machine(hardware))
    return Segmenter(path, ready, PredictionSettings(short_side=min(image_size_of(path))))


def _as_image(image: Any) -> Image.Image:
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return as_rgb(image, "the image")
    channels_first = isinstance(image, torch.Tensor)
    if channels_first and (image.ndim != 3 or image.shape[0] != 3):
        raise ValueError(f"a tensor must be (3, H, W), this one is {tuple(image.shape)}")
    if channels_first:
        image = image.detach().permute(1, 2, 0).cpu()
        image = image.float() if image.is_floating_point() else image
    array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise ValueError(f"an array must be (H, W, 3) or (H, W), this one is {array.shape}")
    if array.dtype.kind not in "uif":
        raise ValueError(f"an image holds numbers, this one {array.dtype}")
    largest = 1 if array.dtype.kind == "f" else 255
    if not (array.min() >= 0 and array.max() <= largest):  # NaN is neither
        raise ValueError(
            f"values of type {array.dtype} must be within 0..{largest}, these are within "
            f"{array.min():g}..{array.max():g}: give the image as it was read, not normalised"
        )
    return Image.fromarray(np.uint8(np.rint(array * (255 / largest)))).convert("RGB")


def evaluate_checkpoint(path: Path, config: RunConfig, split: str = "val") -> dict[str, Any]:
    """Scores of a network on the target's labelled images; see `scores`.

    Args:
        path: of the checkpoint; it may know other classes than `config.classes`.
        config: gives the target, the size of its images, and the hardware.
        split: `val` or `dev`.

    Raises:
        CheckpointError: the network cannot be read.
        ConfigError: the target has no such labelled split, or there is no such device.
        DataError: images or labels are missing or damaged.
    """
    labelled = [name for name in ("val", "dev") if getattr(config.target, name) is not None]
    if split not in labelled:
        raise ConfigError(
            f"split '{split}': the labelled splits of this target are: {', '.join(labelled) or 'none'}"
        )
    ready = load_ready(path, prepare_machine(config.hardware))
    stages.data_roots(config, ("target",))  # drawn, if it is the miniature's
    records = target_records(config, split, labels=True)
    refuse_train_ids(records)
    found = score_records(ready, records, config.evaluation, f"Scoring {path.name} on {split}")
    return {"checkpoint": str(path), "split": split} | found
