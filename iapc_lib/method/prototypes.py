"""Class prototypes: what a class looks like in feature space, and which class a pixel is closest to.

All functions work image by image within a batch: an image's pixels are compared with the
prototypes of that same image (paper, section III-C; method.md, 4 and tests/vectors/README.md).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from iapc_lib.method.deeplab import Prediction, upsample
from iapc_lib.method.settings import Fidelity


def resample_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest re-sampling of labels (N, H, W) int64 to `size` = (h, w)."""
    # interpolate refuses integers; float32 holds every label exactly and picks the published pixels.
    return F.interpolate(labels[:, None].float(), size, mode="nearest")[:, 0].long()


def class_prototypes(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean feature of every class in every image.

    Args:
        features: (N, D, h, w) float, features of the memory network.
        labels: (N, h, w) int64 at feature resolution; values >= `num_classes` are left out.
        num_classes: K.

    Returns:
        (N, K, D) float; the zero vector where a class is absent from the image.
    """
    members = labels.flatten(1)[:, None] == torch.arange(num_classes, device=labels.device)[:, None]
    members = members.to(features.dtype)  # (N, K, h * w)
    sums = members @ features.flatten(2).transpose(1, 2)
    return sums / members.sum(dim=2, keepdim=True).clamp(min=1)


def memory_prototypes(memory: Prediction, size: tuple[int, int]) -> Tensor:
    """Class prototypes (N, K, D) of the memory network's features under its own labels.

    Args:
        memory: its logits (N, K, h, w) and features (N, D, h, w).
        size: (H, W) at which the labels are decided before they go to feature resolution.
    """
    label = upsample(memory.logits, size).max(dim=1).indices
    label = resample_labels(label, memory.features.shape[2:])
    return class_prototypes(memory.features, label, memory.logits.shape[1])


def moving_prototypes(previous: Tensor, prototypes: Tensor, momentum: float = 0.99) -> Tensor:
    """Prototypes that move from image to image, a variant of the paper's Table IV (method.md, 11).

    p <- momentum * p + (1 - momentum) * class mean of this image; started by a class's first
    occurrence, kept where the class is absent.

    Args:
        previous: (K, D) float, where the last image left them; zero vectors at the start.
        prototypes: (N, K, D) float, class means of a batch's images, zero where absent.
        momentum: share of the old prototype that stays.

    Returns:
        (N, K, D) float: the moving prototypes after each image; the last are the next `previous`.
    """
    present = prototypes.any(dim=2).to(prototypes.dtype)  # (N, K)
    seen = present.cumsum(dim=0)
    starts = (seen == 1) & (present == 1) & ~previous.any(dim=1)
    share = present * torch.where(starts, 1.0, 1 - momentum)
    # weights[i, j] is what image j's mean counts for after image i.
    weights = share * momentum ** (seen[:, None] - seen).clamp(min=0)
    weights = weights * torch.ones_like(weights[..., 0]).tril()[..., None]
    kept = momentum ** seen[:, :, None] * previous
    return kept + torch.einsum("ijk,jkd->ikd", weights, prototypes)


def used_prototypes(
    means: Tensor, kept: Tensor | None, fidelity: Fidelity
) -> tuple[Tensor, Tensor | None]:
    """The prototypes that an update compares with, by `fidelity.prototypes`.

    Args:
        means: (N, K, D) float, of every image, see `memory_prototypes`.
        kept: (K, D) float, state of the prototypes; None if every `image` has its own (published).
        fidelity: says which.

    Returns:
        (N, K, D) prototypes of every image, and the state for the next update.

    Raises:
        ValueError: the state is needed and not given.
    """
    if fidelity.prototypes == "image":
        return means, kept
    if kept is None:
        raise ValueError(f"fidelity.prototypes is {fidelity.prototypes!r}: give their state")
    if fidelity.prototypes == "dataset":
        return kept.expand_as(means), kept
    moved = moving_prototypes(kept, means, fidelity.prototype_momentum)
    return moved, moved[-1]


def prototype_similarity(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine similarity of every pixel's feature with every prototype of its image.

    Args:
        features: (N, D, h, w) float, features of the student.
        prototypes: (N, K, D) float.

    Returns:
        (N, K, h, w) float within -1..1; 0 for absent classes (zero prototypes).
    """
    directions = F.normalize(features.flatten(2), dim=1, eps=1e-12)
    similarity = F.normalize(prototypes, dim=2, eps=1e-12) @ directions
    return similarity.unflatten(2, features.shape[2:])


def prototype_labels(similarity: Tensor) -> Tensor:
    """Class of the nearest prototype: (N, K, h, w) float -> (N, h, w) int64, first maximum."""
    return similarity.max(dim=1).indices


def scrambled_2023(similarity: Tensor) -> Tensor:
    """The similarity map as the released code of 2023 laid it out before the symmetric loss.

    A (pixel, class) matrix was *viewed* as (class, h, w), not transposed, so a channel no longer
    stands for a class (method.md, 4). Kept to reproduce the published numbers.

    Args:
        similarity: (N, K, h, w) float in the right layout.

    Returns:
        (N, K, h, w) float, the same values elsewhere.
    """
    pixel_major = similarity.flatten(2).transpose(1, 2).contiguous()
    return pixel_major.view(similarity.shape)
