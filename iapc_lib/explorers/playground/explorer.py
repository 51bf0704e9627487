"""The loss playground: pixels set by hand, and what every loss and its gradient says of them."""

import math
from dataclasses import replace
from functools import partial

import ipywidgets as widgets
import torch
from torch import Tensor

from iapc_lib.explorers.line_chart import Curve, line_chart
from iapc_lib.explorers.parts import COLORS, block
from iapc_lib.explorers.pixel_image import PixelImage
from iapc_lib.explorers.playground import words
from iapc_lib.explorers.playground.facts import (
    PIXELS,
    START,
    START_LOSSES,
    ToyPixels,
    descend,
    losses_of,
)
from iapc_lib.explorers.playground.plane import LIMITS, SIDE, draw_plane, to_feature, to_place
from iapc_lib.explorers.shell import WRAP, Explorer, choose, dropdown, react, slider
from iapc_lib.explorers.terms import IMPORTANCE_NAMES
from iapc_lib.method.settings import Importance, Losses

LOGIT_LIMITS = (-8.0, 8.0)
# Powers of two, as the sliders' ranges are: a browser's arithmetic on them is exact. Otherwise it
# sends back each number that it is shown with a rounding error, and so undoes the next step.
LOGIT_STEP, FEATURE_STEP = 1 / 8, 1 / 64
WIDTH = "330px"  # of a control

_number = partial(slider, readout=".3f", width=WIDTH)
_weight = partial(slider, limits=(0, 2), step=0.01, width=WIDTH)


def _by_hand(change) -> bool:
    """Whether somebody changed a control, rather than a browser's rounding."""
    if not isinstance(change.new, float):
        return True
    return not math.isclose(change.old, change.new, abs_tol=1e-6)


class LossPlayground(Explorer):
    """A few pixels whose logits, features and pseudo-labels one sets, and their losses.

    Controls are attributes; set their `value`. By pixel (0..3), then class (0..2) or axis (0, 1):
    `logits`, `source_logits`, `features`; by pixel: `labels`; by class and axis: `prototypes`.
    `weights` holds the losses' weights by field of `Losses`, `ceiling` that of the class weights,
    `importance` its definition, `chosen` the pixel that is looked at, `rate` the step size; `step`
    and `reset` are buttons. A click or arrow key in the `plane` moves the chosen pixel's feature.

    What is computed lies in `toy`, `losses` and `report`. After a step the sliders show the
    pixels' numbers to the nearest of their own steps; the next step reckons with all digits.

    Args:
        pixels: at the start.
        losses: weights of the terms and of the classes at the start.
        importance: its definition at the start, see `importance_map`.
        pixel: that is looked at: its name or its number.

    Raises:
        ValueError: there is no such importance or pixel, or a weight lies beyond its slider.
    """

    def __init__(
        self,
        pixels: ToyPixels = START,
        losses: Losses = START_LOSSES,
        *,
        importance: Importance = "logits",
        pixel: int | str = 0,
    ):
        super().__init__()
        self._start = pixels, losses, importance
        self._make_controls()
        choose(self.chosen, pixel)
        self.plane = PixelImage(width=SIDE)
        self.pixels, self.loss_table, self.gradients, self.course = (
            widgets.HTML() for _ in range(4)
        )
        self.children = self._layout()
        self._restart()
        for field, sliders in self._sliders.items():
            for place, one in sliders.items():
                one.observe(partial(self._set_number, field, place), "value")
        for number, label in enumerate(self.labels):
            label.observe(partial(self._set_number, "labels", number), "value")
        for control in (*self.weights.values(), self.ceiling, self.importance):
            control.observe(lambda change: _by_hand(change) and self._begin(), "value")
        react(self._show, self.chosen)
        react(self._move, self.plane, to="picked")
        self.step.on_click(lambda _: self._descend())
        self.reset.on_click(lambda _: self._restart())

    def _make_controls(self) -> None:
        names = words.CLASS_NAMES
        self.chosen = widgets.ToggleButtons(
            options=[(name, number) for number, name in enumerate(PIXELS)],
            description="pixel",
            style={"button_width": "3em", "description_width": "4em"},
        )
        options = [(name, channel) for channel, name in enumerate(names)]
        self.labels = [dropdown("pseudo-label", options, width=WIDTH) for _ in PIXELS]
        self.logits, self.source_logits = (
            [
                [_number(f"{letter} {name}", LOGIT_LIMITS, LOGIT_STEP) for name in names]
                for _ in PIXELS
            ]
            for letter in "zs"
        )
        self.features = [
            [_number(f"f {axis}", LIMITS, FEATURE_STEP) for axis in "xy"] for _ in PIXELS
        ]
        self.prototypes = [
            [_number(f"{name} {axis}", LIMITS, FEATURE_STEP) for axis in "xy"] for name in names
        ]
        self._sliders = {
            field: {
                (row, column): one
                for row, sliders in enumerate(getattr(self, field))
                for column, one in enumerate(sliders)
            }
            for field in ("logits", "features", "source_logits", "prototypes")
        }
        self.weights = {
            "importance_aware": _weight("L_IA"),
            "prototype_symmetric": _weight("L_PS"),
            "prototype_enhanced": _weight("L_PE"),
            "information_maximization": _weight("L_IM"),
        }
        self.ceiling = slider("rare class", (1, 7), 0.5, ".1f", WIDTH)
        kinds = [(name, kind) for kind, name in IMPORTANCE_NAMES.items()]
        self.importance = dropdown("importance", kinds, width=WIDTH)
        self.rate = widgets.FloatLogSlider(
            1.0, min=-1, max=2, step=0.1, description="step size", readout_format=".2g"
        )
        self.step = widgets.Button(description="take a step", button_style="primary")
        self.reset = widgets.Button(description="reset")

    def _layout(self) -> list[widgets.Widget]:
        cards = [
            widgets.VBox([label, *logits, *features, *source])
            for label, logits, features, source in zip(
                self.labels, self.logits, self.features, self.source_logits, strict=True
            )
        ]
        stack = widgets.Stack(cards, selected_index=0)
        widgets.dlink((self.chosen, "index"), (stack, "selected_index"))
        published = ", ".join(f"{getattr(Losses(), name):g}" for name in self.weights)
        explained = (
            "<i>z</i>: the student's logits, <i>f</i>: its feature; <i>s</i>: the source network's "
            "logits, for the importance",
            "The mean features of the classes. At (0, 0) the class is absent.",
            f"Published weights: {published}. <i>rare class</i>: weight of a class with fewer than "
            f"{self._start[1].rare_class_pixels} pixels (published: 7).",
        )
        says = [widgets.HTML(block(one, WIDTH)) for one in explained]
        prototypes = [slider for pair in self.prototypes for slider in pair]
        tabs = widgets.Tab(
            [
                widgets.VBox([self.chosen, stack, says[0]]),
                widgets.VBox([*prototypes, says[1]]),
                widgets.VBox([*self.weights.values(), self.ceiling, self.importance, says[2]]),
            ],
            titles=("pixels", "prototypes", "losses"),
            layout={"width": "380px"},
        )
        plane = widgets.VBox(
            [self.plane, self.rate, widgets.HBox([self.step, self.reset]), self.status],
            layout={"width": f"{SIDE + 8}px"},
        )
        numbers = widgets.VBox([self.loss_table, self.course])
        return [
            widgets.HBox([tabs, plane, numbers], layout=WRAP),
            self.pixels,
            self.gradients,
        ]

    def _restart(self) -> None:
        """Back to the start."""
        self._listening = False
        toy, losses, importance = self._start
        for label, channel in zip(self.labels, toy.labels.tolist(), strict=True):
            label.value = channel
        for name, weight in self.weights.items():
            choose(weight, getattr(losses, name))
        choose(self.ceiling, losses.class_weight_ceiling)
        choose(self.importance, importance)
        self.rate.value = 1.0
        self._put(toy)
        self._begin()

    def _put(self, toy: ToyPixels) -> None:
        """Makes these the pixels, and shows their numbers on the sliders."""
        self.toy, self._listening = toy, False
        for field, sliders in self._sliders.items():
            values = getattr(toy, field).tolist()
            for (row, column), one in sliders.items():
                one.value = round(values[row][column] / one.step) * one.step
        self._listening = True

    def _set_number(self, field: str, place: int | tuple[int, int], change) -> None:
        """One number of the pixels is set by hand."""
        if self._listening and _by_hand(change):
            values = getattr(self.toy, field).clone()
            values[place] = change.new
            self.toy = replace(self.toy, **{field: values})
            self._begin()

    def _compute(self) -> None:
        weights = {name: weight.value for name, weight in self.weights.items()}
        self.losses = self._start[1].model_copy(
            update={**weights, "class_weight_ceiling": self.ceiling.value}
        )
        self.report = losses_of(self.toy, self.losses, self.importance.value)

    def _begin(self) -> None:
        """A new start of the descent, from what was set by hand."""
        if not self._listening:
            return
        self._compute()
        self.trail: list[Tensor] = []
        """Features before each step since something was set by hand."""
        self.totals = [self.report.total.value]
        """The objective before the first of these steps and after each."""
        self._show()

    def _descend(self) -> None:
        if not self.report.finite:
            return
        self.trail.append(self.toy.features)
        stepped = descend(self.toy, self.report, self.rate.value)
        # Where a slider ends, the number stops.
        logits, features = stepped.logits.clamp(*LOGIT_LIMITS), stepped.features.clamp(*LIMITS)
        self._put(replace(stepped, logits=logits, features=features))
        self._compute()
        self.totals.append(self.report.total.value)
        self._show()

    def _move(self) -> None:
        """A click in the plane, or an arrow key, moves the chosen pixel's feature there."""
        place = list(self.plane.picked)
        if place and place != self._place_of_chosen():
            features = self.toy.features.clone()
            features[self.chosen.value] = torch.tensor(to_feature(place), dtype=features.dtype)
            self._put(replace(self.toy, features=features))
            self._begin()

    def _place_of_chosen(self) -> list[int]:
        return to_place(self.toy.features[self.chosen.value].tolist())

    def _show(self) -> None:
        toy, report, chosen = self.toy, self.report, self.chosen.value
        self.step.disabled = not report.finite
        self.status.value = "" if report.finite else words.NOT_FINITE
        self.plane.show(draw_plane(toy, report, chosen, self.trail), words.plane_text(toy, report))
        self.plane.picked = self._place_of_chosen()
        self.pixels.value = words.pixels_table(report, chosen)
        self.loss_table.value = words.losses_table(report, self.losses)
        self.gradients.value = words.gradients_table(report, self.losses, chosen)
        steps = len(self.totals) - 1
        curve = Curve("objective", list(enumerate(self.totals)), COLORS[0], dots=steps < 40)
        drawn = line_chart("objective since set by hand", [curve], steps)
        self.course.value = drawn if steps else "no step taken yet"
