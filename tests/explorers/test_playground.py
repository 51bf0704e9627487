"""The loss playground shows what the library's own losses say, and steps go down them."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from iapc_lib.explorers.playground.explorer import LossPlayground
from iapc_lib.explorers.playground.facts import (
    CLASSES,
    PIXELS,
    START,
    START_LOSSES,
    Handful,
    descend,
    facts_of,
    judge,
)
from iapc_lib.explorers.playground.plane import (
    LIMITS,
    SIDE,
    draw_plane,
    nearest_map,
    to_feature,
    to_place,
)
from iapc_lib.figures.explore_playground import playground_view
from iapc_lib.method.deeplab import Prediction
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.settings import Fidelity, Losses

TERMS = {
    "importance_aware": "L_IA",
    "prototype_symmetric_label": "L_PS1",
    "prototype_symmetric_similarity": "L_PS2",
    "prototype_enhanced": "L_PE",
    "information_maximization": "L_IM",
}


@pytest.fixture
def playground() -> LossPlayground:
    return LossPlayground()


def objective(handful: Handful, losses: Losses, importance: str = "logits"):
    """What the library's objective says of the handful: terms, and gradients as (P, .)."""
    logits = handful.logits.T[None, :, None].clone().requires_grad_()
    features = handful.features.T[None, :, None].clone().requires_grad_()
    terms = iapc_losses(
        Prediction(logits, features),
        Prediction(logits.detach(), features.detach()),  # its prototypes are not used
        handful.source_logits.T[None, :, None],
        handful.labels[None, None],
        torch.ones(3, dtype=torch.float64),
        losses,
        Fidelity(importance=importance, prototypes="dataset"),
        handful.prototypes,
    )
    gradients = torch.autograd.grad(terms.total, (logits, features))
    return terms, *(gradient[0, :, 0].T for gradient in gradients)


@pytest.mark.parametrize("importance", ["logits", "probabilities", "first", "second"])
@pytest.mark.parametrize("ceiling", [1.0, 7.0])
def test_judgement_is_that_of_the_objective(importance, ceiling):
    losses = Losses(
        importance_aware=0.3,
        prototype_symmetric=0.7,
        prototype_enhanced=0.9,
        information_maximization=1.1,
        class_weight_ceiling=ceiling,
        rare_class_pixels=2,
    )
    verdict = judge(START, losses, importance)
    terms, on_logits, on_features = objective(START, losses, importance)
    assert verdict.total == pytest.approx(float(terms.total.detach()), rel=1e-12)
    assert verdict.terms.keys() == set(TERMS.values())
    for name, short in TERMS.items():
        term = verdict.terms[short]
        assert term.weight * term.value == pytest.approx(float(terms.weighted[name]), rel=1e-12)
    assert_close(verdict.logit_gradient, on_logits)
    assert_close(verdict.feature_gradient, on_features)
    assert_close(verdict.importance, terms.importance[0, 0])
    assert_close(verdict.class_weight, terms.class_weight)
    assert_close(verdict.nearest, terms.prototype_label[0, 0])
    for gradient, total in (("logit_gradient", on_logits), ("feature_gradient", on_features)):
        parts = [getattr(term, gradient) for term in verdict.terms.values()]
        assert_close(sum(part for part in parts if part is not None), total)


def test_gradients_are_the_losses_slopes():
    verdict, tiny = judge(START), 1e-6
    for field, gradient in (("logits", "logit_gradient"), ("features", "feature_gradient")):
        for place in np.ndindex(*getattr(START, field).shape):
            totals = []
            for sign in (1, -1):
                values = getattr(START, field).clone()
                values[place] += sign * tiny
                totals.append(judge(replace(START, **{field: values})).total)
            slope = (totals[0] - totals[1]) / (2 * tiny)
            assert slope == pytest.approx(float(getattr(verdict, gradient)[place]), abs=1e-7)


def test_which_loss_has_a_gradient_on_what():
    terms = judge(START).terms
    assert [name for name, t in terms.items() if t.logit_gradient is None] == ["L_PS2"]
    assert [name for name, t in terms.items() if t.feature_gradient is not None] == ["L_PS2"]
    # b and d: nearest prototype and pseudo-label disagree.
    assert [bool(row.any()) for row in terms["L_PE"].logit_gradient] == [True, False, True, False]


def test_the_start_is_as_described():
    facts = [facts_of(START, judge(START), pixel) for pixel in range(len(PIXELS))]
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
    plain = draw_plane(START, judge(START))
    assert plain.shape == (SIDE, SIDE, 3)
    assert plain.dtype == np.uint8
    assert (plain != draw_plane(START, judge(START), chosen=2)).any()


def test_controls_make_the_handful(playground):
    assert_close(playground.handful.logits, START.logits)
    playground.logits[1][2].value = -2.5
    playground.features[0][1].value = 1.25
    playground.source_logits[3][0].value = 4.0
    playground.prototypes[2][0].value = 0.5
    playground.labels[2].value = 0
    playground.weights["information_maximization"].value = 0.5
    playground.ceiling.value = 7.0
    playground.importance.value = "first"
    wanted = Handful(*(getattr(START, field).clone() for field in START.__dataclass_fields__))
    wanted.logits[1, 2], wanted.features[0, 1], wanted.source_logits[3, 0] = -2.5, 1.25, 4.0
    wanted.prototypes[2, 0], wanted.labels[2] = 0.5, 0
    for field in START.__dataclass_fields__:
        assert_close(getattr(playground.handful, field), getattr(wanted, field))
    losses = START_LOSSES.model_copy(
        update={"information_maximization": 0.5, "class_weight_ceiling": 7.0}
    )
    total = judge(wanted, losses, "first").total
    assert playground.verdict.total == total
    assert f"{total:.4f}" in playground.loss_table.value


def test_step_descends_with_all_digits(playground):
    playground.rate.value = 3.0
    handful = START
    for _ in range(3):
        handful = descend(handful, judge(handful), 3.0)
        playground.step.click()
    assert_close(playground.handful.logits, handful.logits)
    assert_close(playground.handful.features, handful.features)
    assert playground.totals[-1] == judge(handful).total
    assert playground.totals == sorted(playground.totals, reverse=True)
    assert len(playground.totals) == 4
    assert len(playground.trail) == 3
    assert "<svg" in playground.course.value
    shown = playground.logits[0][0]
    assert shown.value == pytest.approx(float(handful.logits[0, 0]), abs=shown.step / 2)
    assert shown.value % shown.step == 0


def test_what_a_browser_rounds_is_not_set_by_hand(playground):
    playground.step.click()
    exact = playground.handful.logits
    playground.logits[0][0].value += 1e-15 * 8
    assert_close(playground.handful.logits, exact, rtol=0, atol=0)
    assert len(playground.totals) == 2
    playground.logits[0][0].value += playground.logits[0][0].step
    assert len(playground.totals) == 1  # a new start of the descent
    assert_close(playground.handful.logits[1:], exact[1:], rtol=0, atol=0)


def test_numbers_stop_where_their_sliders_end(playground):
    playground.weights["prototype_symmetric"].value = 2.0
    playground.rate.value = 100.0
    for _ in range(20):
        playground.step.click()
    assert float(playground.handful.features.min()) >= LIMITS[0]
    assert float(playground.handful.features.max()) <= LIMITS[1]
    assert math.isfinite(playground.totals[-1])


def test_reset_restores_everything(playground):
    playground.logits[1][2].value = -2.5
    playground.labels[0].value = 2
    playground.importance.value = "second"
    playground.weights["prototype_enhanced"].value = 0
    playground.step.click()
    playground.reset.click()
    for field in START.__dataclass_fields__:
        assert_close(getattr(playground.handful, field), getattr(START, field))
    assert playground.losses == START_LOSSES
    assert playground.totals == [judge(START).total]
    assert playground.course.value == "no step taken yet"


def test_click_in_the_plane_moves_the_chosen_pixel(playground):
    playground.chosen.value = 2
    assert playground.plane.picked == to_place(START.features[2].tolist())
    playground.plane.picked = [100, 250]
    assert playground.handful.features[2].tolist() == pytest.approx(to_feature([100, 250]))
    assert_close(playground.handful.features[:2], START.features[:2])
    assert playground.plane.picked == [100, 250]
    assert "c at (" in playground.plane.alt


def test_infinite_importance_is_said_and_stops_the_steps(playground):
    for slider, value in zip(playground.source_logits[0], (0.0, -1.0, -2.0), strict=True):
        slider.value = value
    assert playground.step.disabled
    assert "not finite" in playground.status.value
    before = playground.handful
    playground.step.click()
    assert playground.handful is before
    playground.source_logits[0][0].value = 1.0
    assert not playground.step.disabled
    assert playground.status.value == ""


def test_gradients_table_is_that_of_the_chosen_pixel(playground):
    playground.chosen.value = 1
    said = playground.gradients.value
    for name, term in playground.verdict.terms.items():
        for gradient in (term.logit_gradient, term.feature_gradient):
            for value in [] if gradient is None else gradient[1].tolist():
                assert f"{value:+.4f}" in said, name
    assert "prototype (car) and pseudo-label (road) disagree" in said


def test_static_twin_has_the_same_numbers():
    figure = playground_view(pixel=1)
    plane, bars, logits, features = figure.axes
    verdict = judge(START)
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == pytest.approx([t.weight * t.value for t in verdict.terms.values()])
    said = [text.get_text() for text in logits.texts]
    assert said[-3:] == [f"{value:+.4f}" for value in verdict.logit_gradient[1]]
    said = [text.get_text() for text in features.texts]
    assert said[-2:] == [f"{value:+.4f}" for value in verdict.feature_gradient[1]]
    assert said[:2] == ["none", "none"]
    assert {"a", "b", "c", "d", "road"} <= {text.get_text() for text in plane.texts}
    plt.close(figure)
