"""Networks on disk: safetensors for the weights, a JSON beside it for what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialize
from torch import Tensor

from iapc_lib.classes import CLASS_SETS, ClassSet
from iapc_lib.config import Model, RunConfig
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.runs import atomic_path, file_hash, read_json, write_json


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
        "config_fingerprint": config.fingerprint,
        "sha256": file_hash(path),
        **facts,
    }
    write_json(path.with_suffix(".json"), description)


def load_network(path: Path, config: RunConfig | None = None) -> tuple[DeepLabV2, ClassSet]:
    """Reads a network that `save_network` wrote, in evaluation mode on the CPU.

    Args:
        path: of the weights (.safetensors).
        config: if given, the architecture and classes that the network must have.

    Raises:
        CheckpointError: missing, damaged, or of another architecture; says which.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    if not path.with_suffix(".json").exists():
        raise CheckpointError(
            f"{path}: the description {path.with_suffix('.json').name} is missing"
        )
    description = read_json(path.with_suffix(".json"))
    try:
        model = Model(**description["model"])
        classes = CLASS_SETS[len(description["classes"])]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path.with_suffix('.json')}: describes no network ({error})"
        ) from None
    if config is not None:
        wanted = config.model.model_dump()
        found = model.model_dump()
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
    load_weights(network, read_weights(path), path)
    return network.eval(), classes


def weights_hash(network: DeepLabV2) -> str:
    """SHA-256 of a network's parameters and buffers, in hex."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return hashlib.sha256(serialize(weights)).hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        CheckpointError: damaged or of another format.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from None


def load_weights(network: DeepLabV2, weights: dict[str, Tensor], path: Path) -> None:
    """Fills every parameter and buffer of a network.

    Raises:
        CheckpointError: an entry is missing, unknown or of another shape; names the first ones.
    """
    own = network.state_dict()
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
