"""Sentences say what the numbers say."""

from __future__ import annotations

import numpy as np
import torch

from iapc_lib.evaluation import findings

NAMES = ("road", "bus", "train", "sky")


def test_the_class_that_swallows_another_is_named_with_its_share():
    counts = torch.tensor([[90, 0, 0, 10], [0, 10, 90, 0], [0, 0, 50, 0], [30, 0, 0, 70]])
    said = findings.swallowed(counts, NAMES)
    assert said.startswith("Bus is called train (90%) and sky is called road (30%).")
    assert "69% are called train and 23% road" in said
    diagonal = torch.eye(4, dtype=torch.int64)
    assert findings.swallowed(diagonal, NAMES).startswith("No class has 25%")


def test_the_largest_piece_counts_not_the_largest_sum():
    truth = np.zeros((10, 10), int)
    predicted = truth.copy()
    predicted[0, ::2] = 3  # five pieces of one pixel
    predicted[5:7, 5:7] = 1  # one of four
    truth[9] = 255
    predicted[9] = 2  # ignored
    said = findings.largest_wrong_region(truth, predicted, NAMES)
    assert "piece of road that is called bus, 4.0% of the image" in said
    assert findings.largest_wrong_region(truth, truth, NAMES) == "no pixel is wrong"


def test_lost_and_favoured_classes():
    said = findings.frequencies(np.array([50, 0.1, 30, 2]), np.array([60, 5, 10, 2]), NAMES)
    assert said.startswith("Nearly lost: bus (0.1 of 5.0 %), road (50.0 of 60.0 %)")
    assert "Called too often: train (30.0 for 10.0 %)" in said


def test_lists():
    assert [findings.listed(list("abc")[:n]) for n in range(4)] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]
