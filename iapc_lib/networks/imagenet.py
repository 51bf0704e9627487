"""A body that was trained on ImageNet, as torchvision has it."""

from http.client import HTTPException
from pathlib import Path

import torch

from iapc_lib.config.run_config import RunConfig
from iapc_lib.files import atomic_path
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.networks.published import read_published_weights
from iapc_lib.networks.weights import CheckpointError, load_weights, what_it_is
from iapc_lib.paths import resolve


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
        if (what := what_it_is(path)) is not None:
            raise CheckpointError(f"{path}: {what} (source_training.imagenet_weights)")
        return path
    kind = config.model.layers if config.model.body == "resnet" else config.model.body
    if kind not in TORCHVISION_WEIGHTS:
        raise CheckpointError(
            f"torchvision has no ResNet with layers {list(config.model.layers)}: set "
            "source_training.imagenet_weights to null or to a file"
        )
    import torchvision  # takes two seconds

    url = getattr(torchvision.models, TORCHVISION_WEIGHTS[kind]).IMAGENET1K_V1.url
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
    (3, 4, 6, 3): "ResNet50_Weights",
    (3, 4, 23, 3): "ResNet101_Weights",
    (3, 8, 36, 3): "ResNet152_Weights",
    "mobilenet_v2": "MobileNet_V2_Weights",
}
"""torchvision's names of weights by the number of blocks in the ResNet's four layers, or by body."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of torchvision's inputs, in R, G, B, for images within 0..1."""


def load_imagenet_body(network: DeepLabV2, path: Path) -> None:
    """Fills all but the head from a network of torchvision.

    torchvision's networks read R, G, B divided by a standard deviation, ours B, G, R in grey
    levels; the first convolution is converted, so that it answers the same to the same image, but
    for a grey level by which the two subtracted means differ. In a ResNet the stride of a block is
    on its 3x3 convolution there and on its first 1x1 here: the same shapes, a slightly different
    function (method.md, 13). Of MobileNetV2 files with torchvision's earlier names are read, too.

    Raises:
        CheckpointError: of another architecture; names the entries.
    """
    weights, expected = read_published_weights(path), network.state_dict()
    first = next(iter(expected))
    if network.model.body == "mobilenet_v2":
        # The same blocks in the same order, whatever they are called.
        names = [name for name in expected if name.startswith("features.")]
        blocks = [v for name, v in weights.items() if name.startswith("features.")]
        weights = dict(zip(names, blocks, strict=False))
    weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    if first in weights and weights[first].shape[1] == 3:
        grey_levels = 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        weights[first] = (weights[first] / grey_levels).flip(1)
    head = {n: v for n, v in expected.items() if n.startswith("layer6.")}
    load_weights(network, {**weights, **head}, path)
