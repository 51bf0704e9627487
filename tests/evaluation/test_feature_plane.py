"""Features of places in a plane."""

from __future__ import annotations

import numpy as np

from iapc_lib.evaluation.feature_plane import labelled_features, same_class_neighbours, tsne
from iapc_lib.pipeline import stages


def two_classes() -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(40, 6)).astype(np.float32)
    labels = np.repeat([0, 1], 20)
    noise[labels == 0, 0] += 1
    noise[labels == 1, 1] += 5  # another direction, whatever its length
    return noise, labels


def test_places_of_two_directions_come_apart_and_the_same_seed_gives_the_same_plane():
    features, labels = two_classes()
    plane = tsne(features, seed=3)
    assert plane.shape == (40, 2) and (plane == tsne(features, seed=3)).all()
    between = np.linalg.norm(plane[labels == 0].mean(axis=0) - plane[labels == 1].mean(axis=0))
    assert between > 2 * plane[labels == 0].std()
    assert same_class_neighbours(features, labels) == 1
    assert same_class_neighbours(features, np.arange(40)) == 0
    assert (
        tsne(features[:2]).shape == (2, 2) and same_class_neighbours(features[:1], labels[:1]) == 0
    )


def test_two_networks_are_asked_for_the_same_places(tiny_run):
    records, size = stages.dev_records(tiny_run), tiny_run.config.evaluation.image_size
    found = [
        labelled_features(stages.network(tiny_run, row), records, size, number=5)
        for row in ("source_only", "bn_recomputed")
    ]
    (source, labels), (other, same) = found
    assert (labels == same).all() and source.shape == other.shape and len(source) == len(labels)
    assert np.bincount(labels).max() == 5 and (source != other).any()
