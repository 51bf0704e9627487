"""The loss playground on a page: every control and click, against the library's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from iapc_lib.classes import NAMES
from iapc_lib.explorers.playground.explorer import FEATURE_STEP
from iapc_lib.explorers.playground.facts import (
    PIXELS,
    START,
    START_LOSSES,
    ToyPixels,
    descend,
    losses_of,
)
from iapc_lib.explorers.playground.plane import draw_plane, to_feature
from iapc_lib.explorers.playground.words import CLASS_NAMES
from iapc_lib.explorers.terms import IMPORTANCE_NAMES, terms_seen
from iapc_lib.method.objective import TERMS
from iapc_lib.method.settings import Losses
from tests.browser.views import View, eventually, numbers

NOTEBOOK = "notebooks/explorers/playground.ipynb"


@pytest.fixture(autouse=True)
def start(view):
    """The playground as it opens, pixel a chosen."""
    open_tab(view, "pixels")
    view.choose("pixel", "a")
    view.root.get_by_role("button", name="reset").click()
    expect_everything(view, START)


def open_tab(view: View, name: str) -> None:
    view.root.locator(".widget-tab").get_by_role("tab", name=name, exact=True).click()


def changed(toy: ToyPixels, **rows: dict[tuple[int, ...], float]) -> ToyPixels:
    """The pixels with single numbers set anew, by field and place."""
    made = {}
    for name, numbers_by_place in rows.items():
        made[name] = getattr(toy, name).clone()
        for place, number in numbers_by_place.items():
            made[name][place] = number
    return replace(toy, **made)


def expect_everything(
    view: View,
    toy: ToyPixels,
    losses: Losses = START_LOSSES,
    importance: str = "logits",
    chosen: int = 0,
    trail: Sequence[torch.Tensor] = (),
) -> None:
    """Waits until the plane and every table say what the library says of these pixels."""
    report = losses_of(toy, losses, importance)
    view.picture("feature plane: ").expect_pixels(draw_plane(toy, report, chosen, trail))

    def look() -> None:
        _, *rows = view.table("nearest prototype (cosine)")
        for pixel, (name, label, importance_, predicted, shares, nearest, agrees) in enumerate(
            rows
        ):
            facts = report.pixels[pixel]
            channels = int(toy.labels[pixel]), int(toy.logits[pixel].argmax())
            assert [name, label, predicted] == [PIXELS[pixel], *(CLASS_NAMES[c] for c in channels)]
            assert nearest.startswith(f"{NAMES[facts.nearest]} (")
            assert agrees == ("yes" if facts.agree else "no")
            assert numbers(importance_) == pytest.approx([facts.importance], abs=6e-3)
            assert numbers(shares) == pytest.approx(report.probabilities[pixel].tolist(), abs=6e-3)

        _, *rows, (_, total) = view.table("mean over the pixels")
        assert numbers(total) == pytest.approx([report.total.value], abs=6e-5)
        seen = [terms_seen(facts, losses) for facts in report.pixels]
        for number, (term, row) in enumerate(zip(report.terms.values(), rows, strict=True)):
            _, value, weight, weighted, sees = row
            found = [float(value), float(weight), float(weighted)]
            expected = [term.value, term.weight, term.weight * term.value]
            assert found == pytest.approx(expected, abs=6e-5)
            names = [PIXELS[p] for p in range(len(PIXELS)) if seen[p][number].seen]
            assert sees == (" ".join(names) or "none")

        _, *rows, total = view.table("what the loss wants of this pixel")
        gradients = [one[chosen] for one in report.total[2:]]
        assert numbers(" ".join(total)) == pytest.approx(torch.cat(gradients).tolist(), abs=6e-5)
        for (name, term), row in zip(report.terms.items(), rows, strict=True):
            vectors = [term.logit_gradient, term.feature_gradient]
            expected = torch.cat([v[chosen] for v in vectors if v is not None]).tolist()
            assert row[0] == TERMS[name].replace("_", "")
            assert numbers(" ".join(row[1:-1])) == pytest.approx(expected, abs=6e-5)

    eventually(view.page, look)


def test_the_sliders_of_a_pixel(view):
    view.choose("pixel", "b")
    expect_everything(view, START, chosen=1)
    view.slide("z car", "4.5")
    toy = changed(START, logits={(1, 2): 4.5})
    expect_everything(view, toy, chosen=1)
    view.slide("s road", "-1.5")
    toy = changed(toy, source_logits={(1, 0): -1.5})
    expect_everything(view, toy, chosen=1)
    view.slide("f x", "0.25")
    toy = changed(toy, features={(1, 0): 0.25})
    expect_everything(view, toy, chosen=1)
    view.choose("pseudo-label", "car")
    toy = changed(toy, labels={(1,): 2})
    expect_everything(view, toy, chosen=1)
    view.choose("pixel", "d")
    expect_everything(view, toy, chosen=3)
    moved = float(START.features[3, 1]) - 2 * FEATURE_STEP
    view.press_until("f y", "ArrowLeft", f"{moved:.3f}")
    expect_everything(view, changed(toy, features={(3, 1): moved}), chosen=3)


def test_the_prototypes(view):
    open_tab(view, "prototypes")
    view.slide("car x", "0.5")
    toy = changed(START, prototypes={(2, 0): 0.5})
    expect_everything(view, toy)
    view.slide("road x", "0")
    view.slide("road y", "0")
    expect_everything(view, changed(toy, prototypes={(0, 0): 0.0, (0, 1): 0.0}))


def test_weights_class_weights_and_importance(view):
    open_tab(view, "losses")
    losses = START_LOSSES
    for description, field, value in (
        ("L_IA", "importance_aware", 1.25),
        ("L_PS", "prototype_symmetric", 1.5),
        ("L_PE", "prototype_enhanced", 1.75),
        ("L_IM", "information_maximization", 0.1),
        ("rare class", "class_weight_ceiling", 3.5),
    ):
        view.slide(description, f"{value}")
        losses = losses.model_copy(update={field: value})
        expect_everything(view, START, losses)
    for definition, said in IMPORTANCE_NAMES.items():
        view.choose("importance", said)
        expect_everything(view, START, losses, definition)


def test_a_click_in_the_plane_moves_the_chosen_pixel(view):
    view.choose("pixel", "c")
    plane = view.picture("feature plane: ")
    plane.click(60, 250)
    x, y = to_feature((60, 250))
    expect_everything(view, changed(START, features={(2, 0): x, (2, 1): y}), chosen=2)
    assert plane.cross() == (60, 250)
    plane.press("ArrowUp")
    x, y = to_feature((59, 250))
    expect_everything(view, changed(START, features={(2, 0): x, (2, 1): y}), chosen=2)


def test_steps_descend_and_reset_goes_back(view):
    view.press_until("step size", "ArrowRight", "4.0")  # a press is a tenth of a power of ten
    toy, trail = START, []
    for _ in range(2):
        view.root.get_by_role("button", name="take a step").click()
        trail.append(toy.features)
        toy = descend(toy, losses_of(toy), 10**0.6)
        expect_everything(view, toy, trail=trail)
    course = view.root.locator('svg[aria-label*="at step 2: "]').get_attribute("aria-label")
    assert numbers(course)[-1] == pytest.approx(losses_of(toy).total.value, rel=1e-3)
    view.root.get_by_role("button", name="reset").click()
    expect_everything(view, START)


def test_a_loss_that_is_no_number_is_said_and_stops_the_descent(view):
    for name in CLASS_NAMES:
        view.slide(f"s {name}", "0")

    def look() -> None:
        assert view.widget("objective is not finite").count() == 1
        assert view.root.get_by_role("button", name="take a step").is_disabled()

    eventually(view.page, look)
