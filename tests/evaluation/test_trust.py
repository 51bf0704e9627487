"""Measures of trust: AUROC and its curve, by hand and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iapc_lib import findings
from iapc_lib.evaluation.trust import auroc, right_kept


def test_auroc_by_hand_of_any_range():
    value, right = torch.tensor([0.9, 0.8, 0.4, 0.3]), torch.tensor([True, True, False, True])
    assert auroc(value, right) == pytest.approx(2 / 3)
    assert auroc(1000 * value - 500, right) == pytest.approx(2 / 3)  # no sigmoid squashes them
    assert auroc(torch.ones(4), right) == pytest.approx(0.5)


def test_the_area_below_the_curve_is_the_auroc():
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(5000, generator=generator) < 0.7
    value = torch.rand(5000, generator=generator) + 0.5 * right
    grid = np.linspace(0, 1, 1001)
    area = np.trapezoid(right_kept(value, right, grid), grid)
    assert area == pytest.approx(auroc(value, right), abs=0.005)


@pytest.mark.parametrize("right", [[], [True, True], [False]])
def test_pixels_of_one_kind_have_no_auroc(right):
    right = torch.tensor(right, dtype=torch.bool)
    value = torch.rand(len(right))
    assert np.isnan(auroc(value, right))
    assert np.isnan(right_kept(value, right, np.linspace(0, 1, 3))).all()


def test_sentences_on_importance():
    assert findings.regimes_met([200, 0, 0]).endswith("harmless here.")
    assert "1 pixels count for more than 1, 2 are negative" in findings.regimes_met([7, 1, 2])
    value, right = np.array([0.1, 0.45, 0.6, 0.97]), np.array([False, False, True, True])
    assert "right pixels lie above 0.78" in findings.right_and_wrong({"From logits": value}, right)
    assert "0% by I" in findings.said_and_found({"I": value}, right)
    assert findings.best_first({"a": 0.6, "b": 0.8}).endswith("b 0.800 and a 0.600.")
    said = findings.order_reversed(
        {"road": 0.9, "car": 0.5, "fence": 0.3, "sky": 0.2}, {"road": 0.4, "car": 0.8, "fence": 0}
    )
    assert said.startswith(
        "No pixel is right that is called fence. The importance trusts road more"
    )
    called = np.array([0, 1, 2, 2])
    said = findings.trusted_and_wrong(value, right, called, ("road", "car", "sky"), 0.4)
    assert (
        said == "Of the wrong pixels 50% have an importance above 0.4; they are called car (100%)."
    )
    counts, weight = np.array([900, 10, 0]), np.array([1, 7, 11.2])
    assert findings.weights_by_class(weight, counts, ("road", "car", "sky")) == (
        "Car is rare and weighs 7.0; sky is absent and weighs 11.2; all others weigh 1."
    )


def test_sentences_on_prototypes():
    before, after = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    said = findings.relabelled(before, after, ("road", "car"))
    assert said.startswith(
        "50.0% of the pixels change their class, most often from road to car (100%)"
    )
    maps = np.array([[[0.0, 1]], [[0, 0.9]], [[1, 0]]])
    said = findings.alike(maps, ("road", "car", "sky"))
    assert "Most alike are the maps of road and car" in said and "0.00 and 1.00" in said
    right, other = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert "it is right, the prototype is wrong in 50%" in findings.second_opinion(right, other)
    assert "There 50% of the pseudo-labels are right" in findings.agreement(other, right)
    said = findings.agreement_of_classes(
        {"road": 90, "car": 40, "sky": np.nan},
        {"road": 50, "car": 60, "sky": 10},
        {"road": 70, "car": 20, "sky": 0},
    )
    assert "It is no evidence for car (40 against 60 %). Least is left of sky: 0 %" in said


def test_sentences_on_a_variant():
    ours, full = {"A": 1.0, "B": 0.0}, {"A": 1.0, "B": 3.0}
    assert findings.pulls(ours, full, "x", "IAPC") == (
        "In IAPC B pulls hardest, in x A. x lacks B."
    )
    said = findings.compared({"source only": 30, "x": 32.5, "IAPC": 34}, "x")
    assert said.endswith("in points, 2.5 more than source only and 1.5 less than IAPC.")
    said = findings.change_of_classes([10, 20, np.nan], [15, 10, np.nan], ("road", "car", "sky"))
    assert said == "IoU rises in 1 and falls in 1 classes. Most, in points: road (+5); car (-10)."
    truth, first, second = np.array([[0, 0, 255]]), np.array([[0, 1, 1]]), np.array([[1, 0, 0]])
    assert "differ in 2 pixels (67%), of which x mends 50% and spoils 50%" in findings.mended(
        first, second, truth, "x"
    )


def test_sentences_hold_where_there_is_nothing():
    none, nan = np.zeros(0, bool), np.full(3, np.nan)
    names, values = ("road", "car", "sky"), {"I": np.zeros(0)}
    said = [
        findings.right_and_wrong(values, none),
        findings.said_and_found(values, none),
        findings.best_first({"I": np.nan}),
        findings.order_reversed({"road": 0.5}, {"road": np.nan}),
        findings.trusted_and_wrong(np.zeros(0), none, np.zeros(0, int), names, 0.9),
        findings.weights_by_class(np.ones(3), np.full(3, 900), names),
        findings.change_of_classes(nan, nan, names),
        findings.change_of_classes(np.ones(3), np.ones(3), names),
        findings.relabelled(np.ones(2, int), np.ones(2, int), names),
        findings.alike(np.ones((1, 2, 2)), names),
        findings.second_opinion(none, none),
        findings.agreement(none, none),
        findings.agreement_of_classes({}, {}, {}),
        findings.pulls({"A": 1.0}, {"A": 1.0}, "IAPC", "IAPC"),
        findings.compared({}, "x"),
        findings.compared({"x": 1.0}, "x"),
        findings.mended(np.ones((1, 2)), np.zeros((1, 2)), np.full((1, 2), 255), "x"),
    ]
    assert all(text and "nan" not in text for text in said)
