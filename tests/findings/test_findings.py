"""Sentences say what the numbers say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from iapc_lib import findings
from iapc_lib.evaluation.scores import largest_confusion
from iapc_lib.studies.tables import paired_differences, paired_spreads

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
    unknown = np.full((2, 2), 255)
    assert findings.largest_wrong_region(unknown, unknown, NAMES) == "nobody knows the truth"


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


def test_frequencies_of_two_domains_are_compared_by_their_ratio():
    here = {"road": 40.0, "bus": 1.0, "train": 2.0, "sky": 10.0, "rider": 0.0}
    there = {"road": 36.0, "bus": 2.0, "train": 1.0, "sky": 11.0, "rider": 1.0}
    assert "road covers 40 % of the pixels and bus 1.00 %: a factor of 40" in (
        findings.frequent_and_rare(here)
    )
    said = findings.more_often(here, there)
    assert "largest are bus 2.0 and sky 1.1, smallest train 0.5 and road 0.9" in said
    assert findings.frequent_and_rare({"road": 1.0}).startswith("Fewer")
    assert findings.more_often(here, dict.fromkeys(here, 0.0)).startswith("Too few")


def test_colours_that_a_correction_leaves_or_makes_worse_are_named():
    dark, bright = np.full((4, 3), 50.0), np.array([[100.0] * 3, [140.0] * 3])
    assert "darker (mean grey level 50 against 120), and their values are spread less" in (
        findings.light(bright, dark)
    )
    before = {"road": 40.0, "sky": 60.0, "bus": 10.0, "rider": np.nan}
    said = findings.colours_left(before, {"road": 5.0, "sky": 30.0, "bus": 20.0, "rider": np.nan})
    assert "from 37 to 18 grey levels" in said and "sky (30), bus (20) and road (5)" in said
    assert said.endswith("For one class, bus, the correction makes it larger.")
    assert findings.colours_left({"sky": np.nan}, {"sky": np.nan}).startswith("No class")


def test_influence_branches_and_loss():
    influence = np.zeros((20, 40))
    influence[10, 20], influence[10, 10], influence[10, 30] = 6, 2, 2
    said = findings.where_influence_lies(influence, 55)
    assert "larger than the image (20 x 40)" in said
    assert "within 0 pixels of its middle, nine tenths from within 10." in said
    assert findings.where_influence_lies(np.zeros((2, 2)), 3).startswith("No pixel")
    assert "dilation 2 names the same class as the sum at 90%" in (
        findings.nearest_to_the_sum({1: 0.5, 2: 0.9})
    )
    assert findings.nearest_to_the_sum({1: 1.0}) == "The head has one branch only."
    said = findings.course_of_loss({0: 3.0, 10: 1.1, 20: 1.0})
    assert said.startswith("The loss falls from 3.00 to 1.00; after 10 of 20 updates")
    assert findings.course_of_loss({0: 1.0, 10: 2.0}).startswith("The loss does not fall")
    assert findings.course_of_loss({}).startswith("Nobody")


def test_one_confusion_is_followed_through_averages_and_confidence():
    once = torch.tensor([[90, 0, 0, 10], [0, 10, 90, 0], [0, 0, 50, 0], [30, 0, 0, 70]])
    pair = largest_confusion(once)
    assert pair == (1, 2)
    assert largest_confusion(torch.eye(3, dtype=torch.int64)) is None
    pair = ("bus", "train")
    assert "calls 90% of bus train, the sum of 6 maps 90%: the error is systematic" in (
        findings.averaged(pair, once, once, NAMES, 6)
    )
    mended = once.clone()
    mended[1] = torch.tensor([0, 60, 40, 0])
    assert "40%: the average mends a part" in findings.averaged(pair, once, mended, NAMES, 6)
    assert findings.averaged(None, once, once, NAMES, 6).startswith("No class")
    confidence = np.array([0.95, 0.8, 0.6])
    truth, called = np.array(["bus"] * 3), np.array(["train", "train", "bus"])
    said = findings.sure_of_the_error(confidence, truth, called, ("bus", "train"))
    assert "median confidence is 0.88, and 50% of the pixels lie above 0.9" in said
    assert said.endswith("where bus is found, it is 0.60.")
    assert findings.sure_of_the_error(confidence, truth, called, ("sky", "bus")).startswith(
        "No sky"
    )


def test_thresholds_and_promises():
    said = findings.sure_and_right(np.array([0.95, 0.95, 0.5]), np.array([True, False, False]))
    assert said == (
        "Of the wrong pixels 50% have a confidence above 0.9, of the right ones 100%. Of the pixels "
        "above 0.9, 50% are right."
    )
    assert findings.sure_and_right(np.zeros(0), np.zeros(0, bool)).startswith("No pixel")
    said = findings.kept_above(0.9, 0.3, 0.95, {"road": 0.5, "bus": 0.05})
    assert said == (
        "At 0.9, 30% of the pixels are kept, and 95% of these are right. 1 of 2 classes keep less "
        "than a tenth of their pixels: bus."
    )
    kept = {0.0: 1.0, 0.5: 0.8, 0.9: 0.5}
    assert findings.falls_faster(kept, {0.0: 1.0, 0.5: 0.7, 0.9: 0.1}).startswith("From 0.50 on")
    assert findings.falls_faster(kept, kept).startswith("The classes lose no more")
    assert findings.promises({"one": (0.74, 0.66, 0.076)}) == (
        "one: confidence 0.74 on average, right 0.66, overconfident, ECE 0.076."
    )
    assert findings.effort(1.0, -0.5, 6).endswith("Frequent classes gain, rare ones pay.")


def test_one_update_in_words():
    dark, light = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 3, 2, 2), 9)
    assert "by 9 of 255" in findings.colours_moved(dark, light)
    assert findings.colours_moved(dark, dark).startswith("AutoAugment is off")
    weight = pd.DataFrame({"student": [1.0, 0.0], "memory network": [1.0, 0.6]}, [0, 20])
    assert "After 20 updates" in findings.followed(weight)
    assert "-1.0000, the memory network's by -0.4000, 40% of that" in findings.followed(weight)
    assert findings.followed(weight[:0]) == "This run kept no networks on the way."
    assert "2.65. A guess among 19 classes costs 2.94" in findings.undecided(2.65, 19)
    assert findings.undecided(2.65, 19).endswith(
        "still costs 2.03, and of -1 with all others 1.23."
    )
    shares = pd.DataFrame({"road": [0.5, 0.9], "car": [0.3, 0.1], "bus": [0.2, 0.0]})
    said = findings.collapse(shares)
    assert said.startswith("In 2 updates road grows from 50% to 90%")
    assert "hundredth of them: 3 before, 2 after" in said


def test_the_size_of_a_term_is_held_against_its_pull():
    said = findings.size_and_pull({"L_PS2": 25.0, "L_IM": 75.0}, {"L_PS2": 1.0, "L_IM": 99.0})
    assert said.startswith("$L_{PS2}$ makes 25 % of the loss and 1.0 % of the pull; $L_{IM}$")
    assert findings.size_and_pull({"L_IM": 0.0}, {"L_IM": 0.0}).startswith("No term")


def test_the_course_of_a_training_in_words():
    history = [
        {
            "step": 0,
            "loss": 1.0,
            "importance_aware": 0.2,
            "prototype_enhanced": 0.0,
            "agreement": 0.4,
        },
        {"step": 0, "watched": {}},
        {
            "step": 1,
            "loss": 1.0,
            "importance_aware": 0.1,
            "prototype_enhanced": 0.0,
            "agreement": 0.6,
        },
    ]
    said = findings.terms_moved(history, window=1)
    assert (
        "$L_{IA}$ (-50%)." in said
        and "L_{PE}" not in said
        and said.endswith("40% of the pixels, then in 60%.")
    )
    curve = pd.Series({0: 30.0, 20: 36.0})
    assert findings.course("self-training", curve, 35.0) == (
        "Self-training goes from 30.0 to 36.0, +1.0 against BatchNorm recomputed."
    )


def test_mended_and_spoiled_pieces_are_named_and_ignored_pixels_are_not():
    truth, before = np.zeros((10, 10), int), np.zeros((10, 10), int)
    before[:2] = 1  # wrong, and mended
    after = truth.copy()
    after[5, :3] = 3  # right, and spoiled
    truth[9], after[9] = 255, 2
    said = findings.pieces_changed(before, after, truth, NAMES)
    assert said == "mended road, before called bus (20.0%), and spoiled road, now called sky (3.0%)"
    assert findings.pieces_changed(before, before, truth, NAMES) == "nothing changed"
    unknown = np.full((10, 10), 255)
    assert findings.pieces_changed(before, after, unknown, NAMES) == (
        "the largest change is from bus to road (20.0%)"
    )


def test_results_in_words():
    gain = {"IAPC": 10.0, "BatchNorm recomputed": 5.0}
    assert "gains 5.0, 50% of that" in findings.gain_explained(gain, [10.1, 12.8])
    assert findings.gain_explained(gain, [10.1, 12.8]).endswith(
        "10.1 to 12.8 points, on other data."
    )
    table = pd.DataFrame({"road": [1.0, 2.0], "bus": [4.0, 3.0], "sky": [np.nan] * 2}, ["A", "B"])
    assert findings.wins(table[["road"]]) == "The best method is B in 1 class."
    assert findings.wins(table[["sky"]]) == "No class has a score."
    quarters = pd.DataFrame({"source only": [40.0, 10], "IAPC": [42.0, 30], "oracle": [50.0, 36]})
    said = findings.by_difficulty(quarters)
    assert "from 40.0 on the easiest quarter to 10.0" in said and "by +20.0 on the hardest" in said
    assert said.endswith("another 6.0 points above it.")
    assert findings.by_difficulty(quarters[[]]) == "These images come without a severity."
    called = pd.DataFrame({"A": [50.0, 30.0], "B": [20.0, 70.0]}, ["bus", "train"])
    assert findings.called_otherwise(called, "bus") == (
        "A finds 50 % of the pixels of bus, B 20 %. What grows most is train: B calls 70 % of them so, "
        "A 30 %."
    )
    assert findings.called_otherwise(called[:0], "") == "Nothing is labelled."
    splits = pd.DataFrame({"dev": [30.0, 40.0], "val": [29.0, 39.0]})
    assert findings.same_order(splits).startswith("The two splits agree on the order. All scores")
    assert findings.same_order(splits[["dev"]]) == "There is one split only."
    said = findings.over_classes({19: 40.0, 16: np.nan, 13: 44.0}, "IAPC")
    assert said.endswith("an mIoU of 40.0 over 19 classes and 44.0 over 13 classes.")
    tiny = {"IAPC": 0.3, "BatchNorm recomputed": 5.0}
    assert "%" not in findings.gain_explained(tiny, [10.1, 12.8])


def test_many_runs_in_words():
    lines = [
        ("s", seed, key, title, score)
        for key, title, scores in (
            ("source_only", "source only", (30.0, 30.0, 32.0)),
            ("iapc", "IAPC", (36.0, 37.0, 38.0)),
            ("oracle", "oracle", (42.0, 43.0, 45.0)),
            ("tent", "TENT", (29.0, 31.0, 32.5)),
        )
        for seed, score in enumerate(scores)
    ]
    scores = pd.DataFrame(lines, columns=["scenario", "seed", "key", "title", "miou"])
    differences = paired_differences(scores, "source_only")
    assert findings.difference(differences, "iapc", "source only").startswith(
        "**IAPC** is above source only: +6.3 ("
    )
    assert "cannot be told" in findings.difference(differences, "tent", "source only")
    assert findings.difference(differences, "pe", "source only") == ""
    assert findings.way_to_the_oracle(differences) == "IAPC goes 50% in s of the oracle's way."
    assert findings.clear_of_zero(differences).startswith("Of 3 intervals 2 lie above zero and 0")
    wide = scores.pivot_table("miou", "title", ["scenario", "seed"], sort=False)
    gains = wide.drop(index="source only") - wide.loc["source only"]
    assert findings.every_seed(gains) == (
        "Gain with every seed: IAPC and oracle. Now one, now the other: TENT."
    )
    assert "seeds 0 and 1" in findings.shared_starts(scores)
    assert findings.shared_starts(scores[scores["seed"] > 0]).startswith("Every seed")
    assert findings.same_seed_first(scores) == (
        "Most often seed 0 is the lowest in 4 of 4 methods of s."
    )
    assert findings.same_seed_first(scores[scores["seed"] > 1]) == "There is only one seed."
    spreads = paired_spreads(scores, [("iapc", "source_only"), ("pe", "iapc")])
    row = spreads.loc[("s", "IAPC minus source only")]
    assert row["paired"] == pytest.approx(np.std([6, 7, 6], ddof=1))
    assert row["as if independent"] == pytest.approx(np.sqrt(4 / 3 + 1))
    assert findings.pairing(spreads).startswith("Pairing narrows the spread in 1 of 1 comparisons")
    assert findings.pairing(paired_spreads(scores[:0], [("iapc", "tent")])).endswith("two seeds.")
    names = ["s-seed0-none", "s-seed1-none", "s-seed0-first"]
    assert findings.missing_runs(names) == (
        "3 runs that the study describes are missing (1 to 2 each): none and first."
    )
    assert findings.missing_runs([]) == "No run is missing."
    assert findings.left_over(pd.Series({"bus": 3.0, "sky": 9.0, "car": np.nan}), "s") == (
        "in s sky (9) and bus (3)"
    )


def test_classes_that_fare_alike_in_every_method():
    index = pd.MultiIndex.from_tuples([("s", "a"), ("s", "b")], names=["scenario", "key"])
    changes = pd.DataFrame(
        {"title": ["A", "B"], "road": [1, 2], "bus": [-3, -9], "sky": [1, -1]}, index
    )
    assert findings.all_alike(changes) == (
        "In s every method helps road and every method harms bus; B changes bus most (-9)."
    )
    assert findings.all_alike(changes[:0]) == "There is nothing to compare."


def test_measured_means_name_methods_worlds_and_seeds():
    rows = pd.DataFrame(
        {
            "scenario": ["a", "a", "a", "b"],
            "seed": [0, 1, 0, 0],
            "title": ["IAPC", "IAPC", "other", "IAPC"],
            "miou": [30.0, 32.0, 20.0, 40.0],
        }
    )
    said = findings.measured_means(rows, ["IAPC", "nobody"])
    assert said == "Mean mIoU in a IAPC 31.0 (2 seeds) and in b IAPC 40.0 (1 seed)."
    assert "Nobody" in findings.measured_means(rows, ["nobody"])


def test_a_gain_is_divided_where_there_is_one():
    scores = {"start": 30.0, "part": 32.0, "whole": 40.0}
    said = findings.share_of_gain(scores, "start", "part", "whole")
    assert said == "part alone brings +2.0 of whole's +10.0 points, 20%."
    assert "nothing" in findings.share_of_gain(scores | {"whole": 30.0}, "start", "part", "whole")


def test_the_gain_over_recomputed_statistics_is_said_with_its_side():
    table = pd.DataFrame(
        {"source only": [30.0, 31.0], "BatchNorm recomputed": [40.0, 35.0], "IAPC": [35.0, 36.0]}
    )
    assert findings.against_recomputed(table) == (
        "Seed by seed IAPC is above source only by 5.0 to 5.0 points and now above, now below "
        "BatchNorm recomputed by 1.0 to 5.0 points."
    )
    assert "Nobody" in findings.against_recomputed(table[["IAPC"]])


def test_a_pair_is_followed_to_prototypes_and_methods():
    truth = np.array(["bus"] * 4 + ["train"])
    called = np.array(["train"] * 3 + ["bus", "train"])
    nearest = np.array(["train", "bus", "sky", "bus", "train"])
    said = findings.nearest_at_the_error(nearest, truth, called, ("bus", "train"))
    assert "says train, too, in 33% of the pixels, and bus in 33%" in said
    assert findings.nearest_at_the_error(nearest, truth, called, ("sky", "bus")) == (
        "No sky is called bus."
    )
    counts = {
        "source only": torch.tensor([[1, 3, 0], [0, 5, 0], [0, 0, 0]]),
        "IAPC": torch.tensor([[3, 1, 0], [0, 5, 0], [0, 0, 0]]),
    }
    names = ("bus", "train", "sky")
    assert findings.still_confused(names[:2], counts, names) == (
        "Of the pixels of bus, as train: source only 75% and IAPC 25%."
    )
    assert findings.still_confused(("sky", "bus"), counts, names) == (
        "None of these images is known to show sky."
    )
    for said in (
        findings.nearest_at_the_error(nearest, truth, called, None),
        findings.still_confused(None, counts, names),
        findings.sure_of_the_error(np.ones(5), truth, called, None),
    ):
        assert said == "No class is called another one."


def test_differences_have_no_negative_zero():
    index = pd.MultiIndex.from_tuples([("mini", "ia")], names=["scenario", "key"])
    table = pd.DataFrame(
        {"title": ["IA"], "difference": [-0.02], "low": [-1.0], "high": [1.0]}, index
    )
    assert "+0.0 (-1.0 to +1.0)" in findings.difference(table, "ia", "IAPC")


def test_a_verdict_stands_beside_each_scenario_where_they_part():
    index = pd.MultiIndex.from_tuples([("a", "ia"), ("b", "ia")], names=["scenario", "key"])
    table = pd.DataFrame(
        {"title": ["IA"] * 2, "difference": [0.3, -1.1], "low": [-1, -1.7], "high": [2, -0.5]},
        index,
    )
    assert findings.difference(table, "ia", "IAPC") == (
        "**IA** cannot be told from IAPC: +0.3 (-1.0 to +2.0) in a and is below IAPC: -1.1 (-1.7 to "
        "-0.5) in b."
    )
