"""What can be known of a network's predictions where nothing is labelled. None of it is a score.

A network that is sure of itself, or agrees with its own pseudo-labels, may still be wrong
everywhere. These numbers tell what adaptation did, not whether it was good.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from iapc_lib.config.sections import Evaluation
from iapc_lib.data.images import (
    every_nth,
    read_image,
    read_train_ids,
    resize_image,
    resize_label,
    to_channels,
    to_tensor,
)
from iapc_lib.data.layouts import Record
from iapc_lib.method.deeplab import upsample
from iapc_lib.method.importance import importance_map
from iapc_lib.method.prototypes import (
    class_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
)
from iapc_lib.networks.ready import ReadyNetwork

MEASURES = {
    "entropy": "entropy of the prediction, of the largest possible",
    "importance": "mean importance 1 - s2 / s1 of the probabilities",
    "pseudo_label_agreement": "pixels predicted as their pseudo-label says",
    "prototype_agreement": "feature cells whose nearest prototype is their pseudo-label's",
    "moved": "pixels that the source network predicts otherwise",
}
"""What is measured, in words; all in per cent."""

IMAGES = 100
"""At most so many images are measured, evenly spread."""


def unlabelled_measures(
    ready: ReadyNetwork,
    source: ReadyNetwork,
    records: Sequence[Record],
    pseudo_labels: Sequence[Path],
    config: Evaluation,
) -> dict[str, float]:
    """Means over the pixels of unlabelled images, in per cent; see `MEASURES`.

    Args:
        ready: in evaluation mode.
        source: the network that adaptation started from, in evaluation mode.
        records: images.
        pseudo_labels: their files.
        config: size of the images.
    """
    classes = ready.classes
    size, totals = config.image_size, dict.fromkeys(MEASURES, 0.0)
    pairs = every_nth(list(zip(records, pseudo_labels, strict=True)), IMAGES)
    for record, path in tqdm(pairs, desc="Measuring without labels"):
        image = to_tensor(resize_image(read_image(record.image), size))[None]
        pseudo = to_channels(resize_label(read_train_ids(path), size), classes)[None]
        pseudo = pseudo.to(ready.machine.device)
        made = ready.forward(image)
        logits = upsample(made.logits, size)
        probabilities, predicted = logits.softmax(dim=1), logits.argmax(dim=1)
        before = source.predict(image, size)
        cells = made.features.shape[-2:]
        prototypes = class_prototypes(
            made.features, made.logits.argmax(dim=1), num_classes=len(classes)
        )
        nearest = prototype_labels(prototype_similarity(made.features, prototypes))
        entropy = torch.special.entr(probabilities).sum(dim=1) / math.log(len(classes))
        for name, value in (
            ("entropy", entropy),
            ("importance", importance_map(logits, "probabilities")),
            ("pseudo_label_agreement", predicted == pseudo),
            ("prototype_agreement", nearest == resample_labels(pseudo, cells)),
            ("moved", predicted != before),
        ):
            totals[name] += 100 * value.double().mean().item()
    return {name: total / len(pairs) for name, total in totals.items()}
