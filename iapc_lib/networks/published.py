"""The authors' checkpoints: pickles, read without executing anything in them.

torch's restricted reader builds tensors and plain containers and refuses all else.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from iapc_lib.classes import CLASS_SETS, ClassSet
from iapc_lib.method.settings import Model
from iapc_lib.networks.weights import CheckpointError


class _Ignored:
    """Stands in for what training scripts keep beside the weights: scores, settings.

    Their own constructors are not called: crafted arguments can crash them.
    """

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_NUMPY = ("scalar", "_reconstruct")
_LEFT_OUT = [
    (_Ignored, name)
    for name in (
        *("numpy.dtype", "numpy.ndarray", "argparse.Namespace", "types.SimpleNamespace"),
        *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath"),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in _NUMPY),
    )
]
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state dict."""


def read_published_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled state dict, by our names; never executes code in the file.

    Raises:
        CheckpointError: damaged, of another format, or would execute something.
    """
    try:
        with torch.serialization.safe_globals(_LEFT_OUT), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's protocol
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
    left_out = []
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            left_out += [str(name) for name in content if name != key]
            content = content[key]
    tensors = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            tensors[str(name).removeprefix("module.")] = value
        else:
            left_out.append(str(name))
    if not tensors:
        raise CheckpointError(
            f"{path}: holds neither a state dict nor one under a key {', '.join(_WRAPPERS)}"
        )
    for name, value in tensors.items():
        if value.layout != torch.strided or value.device.type != "cpu" or _is_expanded(value):
            raise CheckpointError(f"{path}: {name} is no plain tensor")
    second = [name for name in tensors if name.startswith("layer5.")]
    if any(name.startswith("layer6.") for name in tensors):  # the published second head, unused
        tensors = {name: value for name, value in tensors.items() if name not in second}
    elif second:
        tensors = {name.replace("layer5.", "layer6."): v for name, v in tensors.items()}
        left_out.append("the name layer5 of its head, which is layer6 here")
    if left_out:
        tqdm.write(f"{path}: left out what is no weight: {', '.join(left_out[:5])}")
    return tensors


def _is_expanded(value: Tensor) -> bool:
    """Whether a tensor claims more numbers than its file holds."""
    return value.numel() * value.element_size() > value.untyped_storage().nbytes()


def architecture_of(
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
