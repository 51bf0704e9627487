"""Networks on disk: ours (safetensors and a JSON beside it), the published ones, and ImageNet's.

The published checkpoints are pickles; they are read by torch's restricted reader, which builds
tensors and plain containers and refuses anything that would execute code.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialize
from torch import Tensor
from torchvision.models import ResNet50_Weights, ResNet101_Weights, ResNet152_Weights

from iapc_lib.classes import CLASS_SETS, ClassSet
from iapc_lib.config import RunConfig
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.presets import resolve
from iapc_lib.runs import RunFolderError, atomic_path, file_hash, read_json, write_json
from iapc_lib.sections import Evaluation, Model


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and what does not fit."""


def save_network(path: Path, network: DeepLabV2, config: RunConfig, **facts: Any) -> None:
    """Writes `path` (.safetensors) and, beside it, a JSON that describes the network.

    Args:
        path: of the weights.
        network: on any device.
        config: of the run that made it; gives classes and architecture.
        facts: JSON-able values to keep with it (what it is, scores, provenance).
    """
    weights = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(weights, temporary)
    description = {
        "format": 1,
        "classes": list(config.class_set.names),
        "model": config.model.model_dump(mode="json"),
        "image_size": list(config.evaluation.image_size),
        "config_fingerprint": config.fingerprint,
        "sha256": file_hash(path),
        **facts,
    }
    write_json(path.with_suffix(".json"), description)


def load_network(path: Path, config: RunConfig | None = None) -> tuple[DeepLabV2, ClassSet]:
    """Reads a network, in evaluation mode on the CPU.

    Args:
        path: `.safetensors` as `save_network` wrote it, with its JSON beside it; any other name
            is taken for one of the two published forms: a source checkpoint
            (`{"state_dict": {"module.conv1.weight": ...}}`) or an adapted one (a plain state
            dict). Their unused second head (`layer5`) is left out (method.md, 1).
        config: if given, the architecture and classes that the network must have.

    Raises:
        CheckpointError: missing, damaged, dangerous, or of another architecture; says which.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        weights = _read_safetensors(path)
        model, classes = _read_description(path.with_suffix(".json"))
    else:
        weights = read_published_weights(path)
        # Dilations leave no trace in the weights.
        dilations = (config.model if config else Model()).classifier_dilations
        model, classes = _architecture(weights, dilations, path)
    if config is not None:
        wanted, found = config.model.model_dump(), model.model_dump()
        problems = [
            f"model.{key} is {found[key]}, the configuration wants {wanted[key]}"
            for key in wanted
            if found[key] != wanted[key]
        ]
        if classes != config.class_set:
            problems.append(
                f"it has {len(classes)} classes, the configuration wants {config.classes}"
            )
        if problems:
            raise CheckpointError(f"{path}: is of another architecture: {'; '.join(problems)}")
    network = DeepLabV2(len(classes), model)
    load_weights(network, weights, path)
    return network.eval(), classes


def _read_description(path: Path) -> tuple[Model, ClassSet]:
    if not path.exists():
        raise CheckpointError(
            f"{path.with_suffix('.safetensors')}: the description {path.name} is missing"
        )
    try:
        description = read_json(path)
        classes = CLASS_SETS[len(description["classes"])]
        if tuple(description["classes"]) != classes.names:
            raise ValueError(f"its {len(classes)} classes are not {', '.join(classes.names)}")
        if description["sha256"] != file_hash(path.with_suffix(".safetensors")):
            raise ValueError("its weights are others than those in the .safetensors file")
        return Model(**description["model"]), classes
    except (RunFolderError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: describes no network ({error})") from None


def image_size_of(path: Path) -> tuple[int, int]:
    """(height, width) of the images that a checkpoint's network was scored on.

    The published 512 x 1024 where that is not known.
    """
    description = path.with_suffix(".json")
    known = read_json(description) if path.suffix == ".safetensors" else {}
    return tuple(known.get("image_size", Evaluation().image_size))


def add_to_description(path: Path, **facts: Any) -> None:
    """Adds JSON-able facts (scores) to the JSON beside a network that `save_network` wrote."""
    description = read_json(path.with_suffix(".json"))
    write_json(path.with_suffix(".json"), {**description, **facts})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from None


class _Ignored:
    """Stands in for the numpy numbers (scores) that training scripts keep beside the weights.

    numpy's own constructors are not called: crafted arguments can crash them.
    """

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_NUMPY_NUMBERS = [
    (_Ignored, name)
    for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]


def read_published_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled state dict, by our names; never executes code in the file.

    Raises:
        CheckpointError: damaged, of another format, or would execute something.
    """
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        refused = re.search(r"(?:GLOBAL|class) '?([\w.]+)", reason)
        what = f"would build {refused[1]}" if refused else "is no pickle of tensors"
        raise CheckpointError(
            f"{path}: {what}; refused, because only tensors and plain containers are read, and "
            "nothing that could execute code. Where it was made, save its state dict alone"
        ) from None
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({error})") from None
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    tensors = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not tensors or not content:
        raise CheckpointError(
            f"{path}: holds neither a state dict nor one under the key 'state_dict'"
        )
    for name, value in content.items():
        usable = value.layout == torch.strided and value.device.type == "cpu"
        if not usable or value.is_complex() or not value.isfinite().all():
            raise CheckpointError(f"{path}: {name} is no tensor of finite real numbers")
    weights = {name.removeprefix("module."): value for name, value in content.items()}
    return {name: value for name, value in weights.items() if not name.startswith("layer5.")}


def _architecture(
    weights: Mapping[str, Tensor], dilations: tuple[int, ...], path: Path
) -> tuple[Model, ClassSet]:
    """What the shapes of a state dict say about the network; raises CheckpointError."""
    blocks = tuple(
        len({name.split(".")[1] for name in weights if name.startswith(f"layer{layer}.")})
        for layer in (1, 2, 3, 4)
    )
    heads = sum(bool(re.fullmatch(r"layer6\.conv2d_list\.\d+\.weight", n)) for n in weights)
    shaped = [v for n, v in weights.items() if n == "conv1.weight" or "conv2d_list" in n]
    convolutions = all(v.ndim in (1, 4) and v.numel() > 0 for v in shaped)
    if "conv1.weight" not in weights or not all(blocks) or not heads or not convolutions:
        some = ", ".join(list(weights)[:3])
        raise CheckpointError(
            f"{path}: is no DeepLab-v2: conv1, layer1 to layer4 and layer6.conv2d_list are "
            f"expected, it has {some}, ..."
        )
    num_classes = len(next(v for n, v in weights.items() if n.startswith("layer6.conv2d_list.")))
    if num_classes not in (19, 16):
        raise CheckpointError(f"{path}: has {num_classes} classes; known are 19 and 16 (SYNTHIA)")
    if heads != len(dilations):
        raise CheckpointError(
            f"{path}: has {heads} classifier convolutions, expected are {len(dilations)}"
        )
    width = len(weights["conv1.weight"])
    model = Model(layers=blocks, base_width=width, classifier_dilations=dilations)
    return model, CLASS_SETS[num_classes]


def imagenet_file(config: RunConfig) -> Path | None:
    """The file of `source_training.imagenet_weights`, downloaded if it must be; None if unset.

    Raises:
        CheckpointError: missing, or it cannot be downloaded.
    """
    given = config.source_training.imagenet_weights
    if given is None or config.source.checkpoint is not None:
        return None
    if given != "torchvision":
        path = resolve(given)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file (source_training.imagenet_weights)")
        return path
    if config.model.layers not in TORCHVISION_WEIGHTS:
        raise CheckpointError(
            f"torchvision has no ResNet with layers {list(config.model.layers)}: set "
            "source_training.imagenet_weights to null or to a file"
        )
    url = TORCHVISION_WEIGHTS[config.model.layers].url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        digest = path.stem.rpartition("-")[2]
        with atomic_path(path) as temporary:
            try:
                torch.hub.download_url_to_file(url, str(temporary), hash_prefix=digest)
            except (OSError, RuntimeError, HTTPException) as error:
                raise CheckpointError(
                    f"torchvision's ImageNet weights cannot be downloaded ({error}): get {url} on "
                    "another machine and set source_training.imagenet_weights to the file, or to "
                    "null for random weights"
                ) from None
    return path


TORCHVISION_WEIGHTS = {
    (3, 4, 6, 3): ResNet50_Weights.IMAGENET1K_V1,
    (3, 4, 23, 3): ResNet101_Weights.IMAGENET1K_V1,
    (3, 8, 36, 3): ResNet152_Weights.IMAGENET1K_V1,
}
"""torchvision's weights by the number of blocks in the four layers."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of torchvision's inputs, in R, G, B, for images within 0..1."""


def load_imagenet_body(network: DeepLabV2, path: Path) -> None:
    """Fills all but the head from a ResNet of torchvision.

    torchvision's network reads R, G, B divided by a standard deviation, ours B, G, R in grey
    levels; the first convolution is converted, so that it answers the same to the same image, but
    for a grey level by which the two subtracted means differ. The
    stride of a block is on its 3x3 convolution there and on its first 1x1 here: the same shapes,
    a slightly different function (method.md, 13).

    Raises:
        CheckpointError: of another architecture; names the entries.
    """
    weights = read_published_weights(path)
    weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    head = {n: v for n, v in network.state_dict().items() if n.startswith("layer6.")}
    if (first := weights.get("conv1.weight")) is not None and first.shape[1] == 3:
        grey_levels = 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        weights["conv1.weight"] = (first / grey_levels).flip(1)
    load_weights(network, {**weights, **head}, path)


def weights_hash(network: DeepLabV2) -> str:
    """SHA-256 of a network's parameters and buffers, in hex."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return hashlib.sha256(serialize(weights)).hexdigest()


def load_weights(network: DeepLabV2, weights: dict[str, Tensor], path: Path) -> None:
    """Fills every parameter and buffer of a network.

    Raises:
        CheckpointError: an entry is missing, unknown or of another shape; names the first ones.
    """
    own = network.state_dict()
    # Files from before torch 0.4.1 have no BatchNorm counters, which no forward reads.
    counters = {n: v for n, v in own.items() if n.endswith(".num_batches_tracked")}
    weights = {**counters, **weights}
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in own]
    problems += [
        f"{name} has shape {list(weights[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{path}: does not fit the network: {'; '.join(problems[:3])}{more}")
    network.load_state_dict(weights)
