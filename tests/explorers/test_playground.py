"""The loss playground shows what the library's own losses say, and steps go down them."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from iapc_lib.explorers.playground.explorer import LossPlayground
from iapc_lib.explorers.playground.facts import (
    CLASSES,
    START,
    START_LOSSES,
    ToyPixels,
    descend,
    losses_of,
)
from iapc_lib.explorers.playground.plane import (
    LIMITS,
    SIDE,
    draw_plane,
    nearest_map,
    to_feature,
    to_place,
)
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import (
    class_counts,
    class_weights,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
)
from iapc_lib.method.objective import TERMS
from iapc_lib.method.prototypes import prototype_labels, prototype_similarity
from iapc_lib.method.settings import Losses
from tests.explorers.reading import expect_page, rows, words

NUMBERS = [field.name for field in fields(ToyPixels)]


@pytest.fixture
def playground() -> LossPlayground:
    return LossPlayground()


@pytest.mark.parametrize("importance", ["logits", "probabilities", "first", "second"])
@pytest.mark.parametrize("ceiling", [1.0, 7.0])
def test_report_is_that_of_the_single_losses(importance, ceiling):
    """The four losses as `method.losses` has them, put together by hand and in float64."""
    losses = Losses(
        importance_aware=0.3,
        prototype_symmetric=0.7,
        prototype_enhanced=0.9,
        information_maximization=1.1,
        class_weight_ceiling=ceiling,
        rare_class_pixels=2,
    )
    report = losses_of(START, losses, importance)
    logits = START.logits.T[None, :, None].clone().requires_grad_()
    features = START.features.T[None, :, None].clone().requires_grad_()
    labels, log_p = START.labels[None, None], logits.log_softmax(dim=1)
    ones = torch.ones(3, dtype=torch.float64)
    weight = class_weights(class_counts(labels, 3), 1, ones, ceiling, 2).weight
    scores = importance_map(START.source_logits.T[None, :, None], importance)
    similarity = prototype_similarity(features, START.prototypes[None])
    nearest = prototype_labels(similarity)
    towards = prototype_symmetric_loss(log_p, similarity, nearest, logits.argmax(dim=1))
    expected = {
        "importance_aware": (0.3, importance_aware_loss(log_p, labels, scores, weight)),
        "prototype_symmetric_label": (0.7, towards[0]),
        "prototype_symmetric_similarity": (0.7, towards[1]),
        "prototype_enhanced": (0.9, prototype_enhanced_loss(log_p, labels, nearest, weight)),
        "information_maximization": (1.1, information_maximization_loss(log_p)),
    }
    assert list(report.terms) == list(expected) == list(TERMS)
    for name, (share, value) in expected.items():
        assert report.terms[name][:2] == (pytest.approx(value.item(), rel=1e-12), share)
    total = sum(share * value for share, value in expected.values())
    assert report.total[:2] == (pytest.approx(total.item(), rel=1e-12), 1)
    for field, gradient in zip(
        ("logit_gradient", "feature_gradient"),
        torch.autograd.grad(total, (logits, features)),
        strict=True,
    ):
        assert_close(getattr(report.total, field), gradient[0, :, 0].T)
        parts = [getattr(term, field) for term in report.terms.values()]
        assert_close(sum(part for part in parts if part is not None), gradient[0, :, 0].T)
    train_ids = np.array(CLASSES.train_ids)
    assert [one.importance for one in report.pixels] == scores[0, 0].tolist()
    assert [one.nearest for one in report.pixels] == train_ids[nearest[0, 0]].tolist()
    assert_close(report.probabilities, START.logits.softmax(dim=1))


def test_gradients_are_the_losses_slopes():
    report, tiny = losses_of(START), 1e-6
    for field, gradient in (("logits", "logit_gradient"), ("features", "feature_gradient")):
        for place in np.ndindex(*getattr(START, field).shape):
            totals = []
            for sign in (1, -1):
                values = getattr(START, field).clone()
                values[place] += sign * tiny
                totals.append(losses_of(replace(START, **{field: values})).total.value)
            slope = (totals[0] - totals[1]) / (2 * tiny)
            assert slope == pytest.approx(float(getattr(report.total, gradient)[place]), abs=1e-7)


def test_which_loss_has_a_gradient_on_what():
    terms, towards = losses_of(START).terms, "prototype_symmetric_similarity"
    assert [name for name, t in terms.items() if t.logit_gradient is None] == [towards]
    assert [name for name, t in terms.items() if t.feature_gradient is not None] == [towards]
    # b and d: nearest prototype and pseudo-label disagree.
    gradient = terms["prototype_enhanced"].logit_gradient
    assert [bool(row.any()) for row in gradient] == [True, False, True, False]


def test_the_start_is_as_described():
    facts = losses_of(START).pixels
    road, vegetation, car = CLASSES.train_ids
    assert [fact.pseudo_label for fact in facts] == [road, road, vegetation, car]
    assert [fact.nearest for fact in facts] == [road, car, vegetation, vegetation]
    assert [fact.predicted for fact in facts] == [road, road, vegetation, vegetation]


def test_places_and_features_are_each_others_inverse():
    for place in ([40, 60], [SIDE // 2, SIDE // 2], [260, 120]):
        assert to_place(to_feature(place)) == place
    for corner in ([0, 0], [SIDE - 1, SIDE - 1]):
        assert all(LIMITS[0] <= value <= LIMITS[1] for value in to_feature(corner))
    # Upwards is the second axis.
    assert to_place((0.5, 1.9))[0] < to_place((0.5, 0.1))[0]


def test_plane_is_coloured_by_the_nearest_prototype():
    ground = nearest_map(START.prototypes)
    for prototype, channel in zip(START.prototypes.tolist(), range(3), strict=True):
        row, column = to_place(prototype)
        assert ground[row // 2, column // 2] == channel
    absent = START.prototypes.clone()
    absent[2] = 0
    row, column = to_place((1.375, 1.125))
    assert nearest_map(absent)[row // 2, column // 2] == 0  # the next one by angle
    plain = draw_plane(START, losses_of(START))
    assert plain.shape == (SIDE, SIDE, 3)
    assert plain.dtype == np.uint8
    assert (plain != draw_plane(START, losses_of(START), chosen=2)).any()


def test_controls_make_the_pixels(playground):
    assert_close(playground.toy.logits, START.logits)
    playground.logits[1][2].value = -2.5
    playground.features[0][1].value = 1.25
    playground.source_logits[3][0].value = 4.0
    playground.prototypes[2][0].value = 0.5
    playground.labels[2].value = 0
    playground.weights["information_maximization"].value = 0.5
    playground.ceiling.value = 7.0
    playground.importance.value = "first"
    wanted = ToyPixels(*(getattr(START, field).clone() for field in NUMBERS))
    wanted.logits[1, 2], wanted.features[0, 1], wanted.source_logits[3, 0] = -2.5, 1.25, 4.0
    wanted.prototypes[2, 0], wanted.labels[2] = 0.5, 0
    for field in NUMBERS:
        assert_close(getattr(playground.toy, field), getattr(wanted, field))
    losses = START_LOSSES.model_copy(
        update={"information_maximization": 0.5, "class_weight_ceiling": 7.0}
    )
    total = losses_of(wanted, losses, "first").total.value
    assert playground.report.total.value == total
    assert f"{total:.4f}" in playground.loss_table.value


def test_step_descends_with_all_digits(playground):
    playground.rate.value = 3.0
    toy = START
    for _ in range(3):
        toy = descend(toy, losses_of(toy), 3.0)
        playground.step.click()
    assert_close(playground.toy.logits, toy.logits)
    assert_close(playground.toy.features, toy.features)
    assert playground.totals[-1] == losses_of(toy).total.value
    assert playground.totals == sorted(playground.totals, reverse=True)
    assert len(playground.totals) == 4
    assert len(playground.trail) == 3
    assert "<svg" in playground.course.value
    shown = playground.logits[0][0]
    assert shown.value == pytest.approx(float(toy.logits[0, 0]), abs=shown.step / 2)
    assert shown.value % shown.step == 0


def test_what_a_browser_rounds_is_not_set_by_hand(playground):
    playground.step.click()
    exact = playground.toy.logits
    playground.logits[0][0].value += 1e-15 * 8
    assert_close(playground.toy.logits, exact, rtol=0, atol=0)
    assert len(playground.totals) == 2
    playground.logits[0][0].value += playground.logits[0][0].step
    assert len(playground.totals) == 1  # a new start of the descent
    assert_close(playground.toy.logits[1:], exact[1:], rtol=0, atol=0)


def test_numbers_stop_where_their_sliders_end(playground):
    playground.weights["prototype_symmetric"].value = 2.0
    playground.rate.value = 100.0
    for _ in range(20):
        playground.step.click()
    assert float(playground.toy.features.min()) >= LIMITS[0]
    assert float(playground.toy.features.max()) <= LIMITS[1]
    assert math.isfinite(playground.totals[-1])


def test_reset_restores_everything(playground):
    playground.logits[1][2].value = -2.5
    playground.labels[0].value = 2
    playground.importance.value = "second"
    playground.weights["prototype_enhanced"].value = 0
    playground.step.click()
    playground.reset.click()
    for field in NUMBERS:
        assert_close(getattr(playground.toy, field), getattr(START, field))
    assert playground.losses == START_LOSSES
    assert playground.totals == [losses_of(START).total.value]
    assert playground.course.value == "no step taken yet"


def test_click_in_the_plane_moves_the_chosen_pixel(playground):
    playground.chosen.value = 2
    assert playground.plane.picked == to_place(START.features[2].tolist())
    playground.plane.picked = [100, 250]
    assert playground.toy.features[2].tolist() == pytest.approx(to_feature([100, 250]))
    assert_close(playground.toy.features[:2], START.features[:2])
    assert playground.plane.picked == [100, 250]
    assert "c at (" in playground.plane.alt


def test_infinite_importance_is_said_and_stops_the_steps(playground):
    for slider, value in zip(playground.source_logits[0], (0.0, -1.0, -2.0), strict=True):
        slider.value = value
    assert playground.step.disabled
    assert "not finite" in playground.status.value
    before = playground.toy
    playground.step.click()
    assert playground.toy is before
    playground.source_logits[0][0].value = 1.0
    assert not playground.step.disabled
    assert playground.status.value == ""


def test_gradients_table_is_that_of_the_chosen_pixel(playground):
    playground.chosen.value = 1
    said = playground.gradients.value
    for name, term in playground.report.terms.items():
        for gradient in (term.logit_gradient, term.feature_gradient):
            for value in [] if gradient is None else gradient[1].tolist():
                assert f"{value:+.4f}" in said, name
    assert "prototype (car) and pseudo-label (road) disagree" in said


def test_page_shows_what_the_playground_shows():
    losses = START_LOSSES.model_copy(update={"information_maximization": 0.0})
    toy = START
    for _ in range(3):
        toy = descend(toy, losses_of(toy, losses), 1.0)
    playground = LossPlayground(toy, losses, importance="second", pixel=1)
    assert_close(playground.toy.logits, toy.logits, rtol=0, atol=0)
    report = losses_of(toy, losses, "second")
    assert rows(playground.loss_table.value)[-1] == [
        "objective",
        "",
        "",
        f"{report.total.value:.4f}",
        "",
    ]
    said = expect_page(playground, [playground.plane])
    for part in (playground.pixels, playground.loss_table, playground.gradients):
        assert words(part.value) in said
    for control in ("pixel: b", "L_IM: 0", "rare class: 1", "importance: second probability only"):
        assert control in said
    assert said.count("z road:") == 1  # of the chosen pixel alone
    playground.reset.click()
    assert playground.losses == losses
    assert_close(playground.toy.features, toy.features, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pixel": 4}, "pixel 4: there are a, b, c, d"),
        ({"importance": "guess"}, "importance 'guess': there are logit ratio"),
        ({"losses": Losses(importance_aware=3)}, "L_IA 3.0: it goes from 0 to 2"),
        ({"losses": Losses(class_weight_ceiling=9)}, "rare class 9.0: it goes from 1 to 7"),
    ],
)
def test_what_there_is_not_is_refused(wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        LossPlayground(**wrong)
