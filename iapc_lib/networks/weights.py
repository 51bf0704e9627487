"""A state dict into a network, or the error that says what does not fit."""

import hashlib
from pathlib import Path

from safetensors.torch import save as serialize
from torch import Tensor

from iapc_lib.method.deeplab import DeepLabV2


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and what does not fit."""


def weights_hash(network: DeepLabV2) -> str:
    """SHA-256 of a network's parameters and buffers, in hex."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return hashlib.sha256(serialize(weights)).hexdigest()


def load_weights(network: DeepLabV2, weights: dict[str, Tensor], path: Path) -> None:
    """Fills every parameter and buffer of a network.

    Raises:
        CheckpointError: an entry is missing, unknown or of another shape; names the first ones.
    """
    expected = network.state_dict()
    # Files from before torch 0.4.1 have no BatchNorm counters, which no forward reads.
    counters = {n: v for n, v in expected.items() if n.endswith(".num_batches_tracked")}
    weights = {**counters, **weights}
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {list(weights[name].shape)}, not {list(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{path}: does not fit the network: {'; '.join(problems[:3])}{more}")
    network.load_state_dict(weights)
