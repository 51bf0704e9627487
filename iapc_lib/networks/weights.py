"""A state dict into a network, or the error that says what does not fit."""

import hashlib
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from iapc_lib.files import Refusal
from iapc_lib.method.deeplab import DeepLabV2


class CheckpointError(Refusal, ValueError):
    """A checkpoint that cannot be used; the message names the file and what does not fit."""


def weights_hash(network: DeepLabV2) -> str:
    """SHA-256 of a network's parameters and buffers, in hex."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return hashlib.sha256(serialize(weights)).hexdigest()


def load_weights(network: DeepLabV2, weights: dict[str, Tensor], path: Path) -> None:
    """Fills every parameter and buffer of a network.

    Raises:
        CheckpointError: an entry is missing, unknown, of another shape, or holds no weights; names
            the first ones.
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
    problems += [
        f"{name} {why}"
        for name in expected
        if name in weights and (why := _unusable(name, weights[name], expected[name]))
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{path}: does not fit the network: {'; '.join(problems[:3])}{more}")
    network.load_state_dict(weights)


def _unusable(name: str, value: Tensor, expected: Tensor) -> str | None:
    """Why a tensor cannot be a network's parameter or buffer."""
    if value.is_meta:  # of a network that was built to compare shapes only
        return None
    if value.is_quantized or value.layout != torch.strided or value.is_complex():
        return f"is no plain tensor of real numbers ({value.dtype})"
    if expected.is_floating_point() and not value.is_floating_point():
        return f"holds whole numbers ({value.dtype}), not weights"
    if not value.isfinite().all():
        return "has values that are NaN or infinite"
    if name.endswith("running_var") and (value < 0).any():
        return "is a variance, and negative in places"
    return None


def what_it_is(path: Path) -> str | None:
    """What a file is that is certainly no network, by its first bytes; None: it may be one."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file that it stands for: run git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page (HTML), such as a download page in the place of the download"
    if path.suffix != ".safetensors" and start[8:10] == b'{"':
        return "is a safetensors file by another name: its name must end in .safetensors"
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        return "is not whole: a part of it is missing at its end; get it again"
    return None
