"""The golden vectors' deterministic network weights, from a seed and an entry's name."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import torch

from iapc_lib.method.deeplab import DeepLabV2


def make_tensor(seed: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One entry of the state dict, float32 (the counters int64); the recipe of the vectors' README."""
    *path, leaf = name.split(".")
    if leaf == "num_batches_tracked":
        return np.zeros((), np.int64)
    draw = np.random.default_rng(zlib.crc32(f"{seed}:{name}".encode()))
    if path[0] == "layer6":
        values = draw.standard_normal(shape)
        if leaf == "bias":
            return np.float32(0.10 * values)
        return np.float32(0.04 * (values - values.mean(axis=1, keepdims=True)))
    if path[-1].startswith("bn") or path[-2:] == ["downsample", "1"]:
        stem = path == ["bn1"]
        if leaf == "weight":
            scale = 0.15 if path[-1] == "bn3" else 1.0
            return np.float32(scale * (1 + 0.1 * draw.standard_normal(shape)))
        if leaf == "bias":
            return np.float32(0.05 * draw.standard_normal(shape))
        if leaf == "running_mean":
            return np.float32((4.0 if stem else 0.05) * draw.standard_normal(shape))
        return np.float32((8000.0 if stem else 1.0) * (1 + 0.1 * draw.random(shape)))
    deviation = np.sqrt(2 / np.prod(shape[1:]))
    if path[-2:] == ["downsample", "0"]:
        deviation *= np.sqrt(0.5)
    return np.float32(deviation * draw.standard_normal(shape))


@functools.lru_cache(maxsize=1)
def _weights(seed: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in DeepLabV2().state_dict().items()}
    return {
        name: torch.from_numpy(np.asarray(make_tensor(seed, name, tuple(shape))))
        for name, shape in shapes.items()
    }


def network_with_weights(seed: str, dtype: torch.dtype) -> DeepLabV2:
    """The published network with the weights of `seed`, trainable as in adaptation."""
    network = DeepLabV2()
    network.load_state_dict(_weights(seed))
    return network.to(dtype).freeze_batchnorm_affine()
