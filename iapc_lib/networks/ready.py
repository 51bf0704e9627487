"""A network that is ready to be used: with what its channels stand for, and what computes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from iapc_lib.classes import ClassSet
from iapc_lib.machine.device import Machine
from iapc_lib.method.deeplab import DeepLabV2, Prediction, upsample


def probabilities(
    logits_of: Callable[[Tensor], Tensor], images: Tensor, flip: bool = False
) -> Tensor:
    """Soft-max maps of images, added to those of their mirror images where `flip` is set.

    Args:
        logits_of: images (N, 3, H, W) -> logits (N, K, h, w).
        images: (N, 3, H, W) uint8 RGB.
        flip: whether the mirror images count, too, mirrored back.

    Returns:
        (N, K, h, w) float; sums to one over the classes, or to two.
    """
    maps = logits_of(images).softmax(dim=1)
    if flip:
        maps += logits_of(images.flip(-1)).softmax(dim=1).flip(-1)
    return maps


@dataclass(frozen=True)
class ReadyNetwork:
    """A network, its classes, and the machine that computes."""

    network: DeepLabV2
    """On the machine's device; used in the mode in which it is."""
    classes: ClassSet
    """What its channels stand for."""
    machine: Machine

    @torch.no_grad()
    def forward(self, images: Tensor) -> Prediction:
        """uint8 RGB images (N, 3, H, W) -> logits and features in full precision."""
        return self.machine.forward(self.network, images)

    def part_shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) of what every part gives for an image (H, W), by its name."""
        shapes = {}

        def note(name: str) -> Callable:
            return lambda part, given, output: shapes.update({name: tuple(output.shape[1:])})

        hooks = []
        for name, part in self.network.parts.items():
            last_layer = part[-1] if isinstance(part, nn.Sequential) else part
            hooks.append(last_layer.register_forward_hook(note(name)))
        self.forward(torch.zeros(1, 3, *size, dtype=torch.uint8))
        for hook in hooks:
            hook.remove()
        return shapes

    def predict(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """The class with the largest up-sampled logit at every pixel.

        Args:
            images: (N, 3, h, w) uint8 RGB.
            size: (H, W) of the result.

        Returns:
            (N, H, W) int64 channel numbers, on the network's device.
        """
        return upsample(self.forward(images).logits, size).max(dim=1).indices

    def predict_train_ids(self, images: Tensor, size: tuple[int, int]) -> np.ndarray:
        """`predict` as train ids, (N, H, W) uint8."""
        return self.train_ids(self.predict(images, size))

    def train_ids(self, channels: Tensor | np.ndarray) -> np.ndarray:
        """Channel numbers, any shape -> train ids, uint8; 255 stays 255."""
        on_cpu = channels.cpu() if isinstance(channels, Tensor) else channels
        return self.classes.train_ids_of(on_cpu)
