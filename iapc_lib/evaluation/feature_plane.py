"""Features of many pictures in a plane: what a class looks like to a network."""

from collections.abc import Sequence

import numpy as np
import torch

from iapc_lib.classes import IGNORE
from iapc_lib.data.images import read_label, read_resized, to_tensor
from iapc_lib.data.layouts import Record
from iapc_lib.method.prototypes import resample_labels
from iapc_lib.networks.ready import ReadyNetwork


def labelled_features(
    ready: ReadyNetwork,
    records: Sequence[Record],
    size: tuple[int, int],
    number: int = 40,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Features of places whose true class is known, as many of every class.

    The places depend on the labels and the seed alone: two networks of the same kind are asked
    for the same ones.

    Args:
        ready: in evaluation mode.
        records: with labels.
        size: (height, width) to which images are resized.
        number: of places of a class, at most.
        seed: of the draw.

    Returns:
        (P, D) float32 features, and (P,) uint8 train ids.
    """
    cells = tuple(ready.network.feature_size(side) for side in size)
    labels = [np.zeros(0, np.uint8)]
    for record in records:
        truth = torch.from_numpy(ready.classes.known_only(read_label(record)))[None]
        labels.append(resample_labels(truth, cells).flatten().numpy().astype(np.uint8))
    labels = np.concatenate(labels)
    generator, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for train_id in np.unique(labels[labels != IGNORE]):
        chosen[generator.permutation(np.flatnonzero(labels == train_id))[:number]] = True
    found = []
    for record, here in zip(records, chosen.reshape(-1, cells[0] * cells[1]), strict=True):
        if here.any():
            pixels, _ = read_resized(record, size)
            with torch.no_grad():
                features = ready.forward(to_tensor(pixels)[None]).features
            found.append(features[0].flatten(1).T[torch.from_numpy(here)].cpu().numpy())
    features = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
    return features, labels[chosen]


def tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """(P, D) float -> (P, 2): neighbours stay neighbours, by their cosine; distances mean little.

    t-distributed stochastic neighbour embedding (van der Maaten and Hinton, 2008), begun from a
    random start; the same seed gives the same plane.
    """
    from sklearn.manifold import TSNE  # takes a second

    if len(features) < 4:  # no neighbourhoods
        return np.zeros((len(features), 2), np.float32)
    plane = TSNE(
        perplexity=min(30, (len(features) - 1) / 3), metric="cosine", init="random",
        random_state=seed,
    )  # fmt: skip
    return plane.fit_transform(features)


def same_class_neighbours(features: np.ndarray, labels: np.ndarray) -> float:
    """Share of places, within 0..1, whose most similar other place by the cosine has their class.

    Args:
        features: (P, D) float.
        labels: (P,) train ids.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(labels) < 2:
        return 0.0
    nearest = NearestNeighbors(n_neighbors=1, metric="cosine").fit(features)
    found = nearest.kneighbors(return_distance=False)[:, 0]  # of the other places
    return float((labels[found] == labels).mean())
