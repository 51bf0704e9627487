"""Networks on disk: safetensors and a JSON beside it; any other file is a published checkpoint."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from iapc_lib.classes import CLASS_SETS, ClassSet
from iapc_lib.config.run_config import RunConfig
from iapc_lib.config.sections import Evaluation
from iapc_lib.files import FileError, atomic_path, file_hash, read_json, visible_files, write_json
from iapc_lib.machine.device import Machine
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Model, Section, Size
from iapc_lib.networks.build import build_network
from iapc_lib.networks.published import architecture_of, read_published_weights
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.networks.weights import CheckpointError, load_weights, what_it_is


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
    if path.is_dir():
        there = ", ".join(found.name for found in visible_files(path, "*.safetensors"))
        raise CheckpointError(
            f"{path}: is a folder; name a network in it: {there or 'it has none'}"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if (what := what_it_is(path)) is not None:
        raise CheckpointError(f"{path}: {what}")
    if path.suffix == ".safetensors":
        try:
            weights = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from None
        model, classes = _described(path)
    elif path.suffix == ".json":
        raise CheckpointError(f"{path}: is no network; name the .safetensors that it describes")
    else:
        weights = read_published_weights(path)
        # Dilations leave no trace in the weights.
        dilations = (config.model if config else Model()).classifier_dilations
        model, classes = architecture_of(weights, dilations, path)
    if config is not None:
        # The ResNet's fields say nothing of another body.
        other = {"layers", "base_width"} if model.body == config.model.body != "resnet" else set()
        wanted, found = (m.model_dump(exclude=other) for m in (config.model, model))
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
    network = build_network(len(classes), model)
    load_weights(network, weights, path)
    return network.eval(), classes


def load_ready(path: Path, machine: Machine, config: RunConfig | None = None) -> ReadyNetwork:
    """`load_network` on the device of a machine that computes."""
    network, classes = load_network(path, config)
    return ReadyNetwork(network.to(machine.device), classes, machine)


class Description(Section):
    """What the JSON beside a network must say; what else is there stays unread."""

    model_config = ConfigDict(extra="ignore")

    classes: list[str]
    model: Model
    sha256: str
    image_size: Size = Evaluation().image_size
    """(height, width) of the images that the network was scored on; else the published one."""


def read_description(weights: Path) -> Description:
    """The description of a network of ours, beside its weights.

    Raises:
        CheckpointError: missing, or of another shape; names the field.
    """
    path = weights.with_suffix(".json")
    if not path.exists():
        raise CheckpointError(
            f"{weights}: the description {path.name} is missing; it lies beside the network where "
            "that was made: copy both"
        )
    try:
        return read_json(path, Description)
    except FileError as error:
        raise CheckpointError(str(error)) from None


def _described(weights: Path) -> tuple[Model, ClassSet]:
    """Architecture and classes of a network of ours, held against the file of its weights."""
    description = read_description(weights)
    number = len(description.classes)
    classes = CLASS_SETS.get(number)
    if classes is None or tuple(description.classes) != classes.names:
        names = f"not {', '.join(classes.names)}" if classes else f"not of {[*CLASS_SETS]}"
        raise CheckpointError(
            f"{weights.with_suffix('.json')}: describes no network (its {number} classes are {names})"
        )
    if description.sha256 != file_hash(weights):
        raise CheckpointError(
            f"{weights}: is not the file that {weights.with_suffix('.json').name} describes (another "
            "SHA-256): one of them was changed or replaced; get both again"
        )
    return description.model, classes


def image_size_of(path: Path) -> tuple[int, int]:
    """(height, width) of the images that a checkpoint's network was scored on.

    The published 512 x 1024 where that is not known.
    """
    known = read_description(path) if path.suffix == ".safetensors" else Evaluation()
    return known.image_size
