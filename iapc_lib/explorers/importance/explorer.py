"""The importance explorer: which pixels the source network is sure of, and whether it is right."""

from __future__ import annotations

from functools import lru_cache

import ipywidgets as widgets
import numpy as np

from iapc_lib.classes import colorize
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.importance import facts as trust
from iapc_lib.explorers.importance import words as text
from iapc_lib.explorers.parts import WRAP, framed, linked_pictures, note_box, picture_choice, shade

WIDTH = 560  # CSS pixels of a picture at most; three fit beside one another on any page


class ImportanceExplorer(widgets.VBox):
    """Slide a threshold over the importance: which pixels stay, and how many of them are right.

    Controls are attributes: `picture`, `definition`, `labelling`, `threshold`, `exponent` (set
    their `value`), and the pictures `image`, `prediction`, `importance` and, with labels, `verdict`
    (set `picked`, which they share, or `hovered`).
    """

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        # Of this explorer alone, so that it goes when it goes.
        self._importance_of = lru_cache(maxsize=16)(self._compute)
        self._make_controls()
        self.status, self.pixel, self.shares = (widgets.HTML() for _ in range(3))
        self.pictures = linked_pictures(gallery, WIDTH)
        self.image, self.prediction, self.importance, self.verdict = self.pictures
        self.captions = [widgets.HTML() for _ in self.pictures]
        self.hovered: list[int] = []
        super().__init__(self._layout())
        self._load()
        self._react()

    def _make_controls(self) -> None:
        self.picture = picture_choice(self.gallery)
        kinds = [(name, kind) for kind, name in trust.DEFINITIONS.items()]
        wide = {"width": "24em"}
        self.definition = widgets.Dropdown(
            options=kinds,
            value=self.gallery.fidelity.importance,
            description="importance",
            layout=wide,
        )
        self.labelling = widgets.Dropdown(
            options=trust.LABELLINGS, description="labels", layout={"width": "18em"}
        )
        self.threshold = widgets.FloatSlider(
            value=0.3, min=0, max=1, step=0.01, description="threshold", layout=wide
        )
        self.exponent = widgets.FloatSlider(
            value=1, min=0, max=4, step=0.1, description="exponent", layout=wide
        )

    def _layout(self) -> list[widgets.Widget]:
        *others, self._verdict_box = framed(self.pictures, self.captions)
        self.pixel.layout.width = "23em"  # whatever it says, so that its neighbour keeps still
        numbers = widgets.HBox([self.pixel, self.shares], layout=WRAP)
        numbers.layout.grid_area = "auto / span 2"  # ipywidgets 8 undoes `grid_column` in the page
        columns = {"grid_template_columns": f"repeat(3, minmax(0, {WIDTH}px))", "grid_gap": "8px"}
        return [
            note_box(self.gallery),
            widgets.HBox([self.picture, self.definition, self.labelling], layout=WRAP),
            widgets.HBox([self.threshold, self.exponent, self.status], layout=WRAP),
            widgets.GridBox([*others, self._verdict_box, numbers], layout=columns),
        ]

    def _react(self) -> None:
        """Every control acts when its value changes, by hand or in Python."""
        for control, react in (
            (self.picture, self._load),
            (self.definition, self._load),
            (self.labelling, self._load),
            (self.exponent, self._weigh),
            (self.threshold, self._select),
        ):
            control.observe(lambda _, react=react: react(), "value")
        self.image.observe(lambda _: self._look_at([]), "picked")
        for picture in self.pictures:
            picture.observe(lambda _: self._hover(), "hovered")

    def _compute(self, picture: int, definition: str) -> np.ndarray:
        return trust.importance_of(self.gallery.source_logits(picture), definition)

    def _load(self) -> None:
        """Everything anew, for another picture, definition or kind of labels."""
        picture = self.picture.value
        self.status.value = "computing what the source network sees ..."
        self.values = self._importance_of(picture, self.definition.value)
        self.labels = trust.labels_of(self.gallery, picture, self.labelling.value)
        self.status.value = ""
        self.shown = self.gallery.pictures[picture]
        self._weigh()

    def _weigh(self) -> None:
        """The importance with its exponent, and the range in which it is shown."""
        self.weight = trust.weight_of(self.values, self.exponent.value)
        low, high = trust.weight_range(self.weight)
        self.threshold.min, self.threshold.max = low, high
        definition = trust.DEFINITIONS[self.definition.value]
        self.importance.show(
            shade(self.weight, low, high),
            f"importance by {definition} with exponent {self.exponent.value:g} of "
            f"{self.shown.name}, from {low:.2f} (dark blue) to {high:.2f} (yellow), mean "
            f"{self.weight.mean():.2f}",
        )
        self.captions[2].value = text.importance_text(self.weight, low, high)
        self._select()

    def _select(self) -> None:
        """Which pixels stay, and what of them is right."""
        self.kept = self.weight >= self.threshold.value
        name, labelling, kept = self.shown.name, self.labelling.value, self.kept
        fallen = f"{1 - kept.mean():.1%} of its pixels fall out and are darkened"
        self.image.show(trust.darkened(self.shown.pixels, kept), f"{name}: {fallen}")
        self.prediction.show(
            trust.darkened(colorize(self.labels), kept), f"{labelling} of {name}: {fallen}"
        )
        self.captions[0].value = text.INPUT
        self.captions[1].value = text.labels_text(labelling, kept)
        labelled = self.shown.label is not None
        shares = trust.class_shares(self.labels, kept, self.shown.label)
        self.shares.value = text.shares_table(shares, labelled)
        self._verdict_box.layout.display = "" if labelled else "none"
        if labelled:
            self.verdict.show(
                trust.verdict_picture(self.shown, self.labels, kept),
                f"{labelling} of {name}, right (blue) and wrong (orange): "
                f"{text.percent(shares[0].right_kept)} of those that stay are right; {fallen}",
            )
            self.captions[3].value = text.verdict_text(shares[0])
        self._show_pixel()

    def _hover(self) -> None:
        # Of all pictures: that the mouse left one may be told after it entered the next.
        self._look_at(next((p.hovered for p in self.pictures if p.hovered), []))

    def _look_at(self, hovered: list[int]) -> None:
        """Looks at the pixel under the mouse until it moves away, or until another is picked."""
        self.hovered = hovered
        self._show_pixel()

    def _show_pixel(self) -> None:
        """The pixel under the mouse; when there is none, the picked one."""
        pixel = tuple(self.hovered or self.image.picked)
        if not pixel:
            self.pixel.value = ""
            return
        facts = trust.pixel_trust(
            self.gallery, self.picture.value, pixel, self.values, self.weight, self.kept
        )
        self.pixel.value = text.pixel_text(
            facts,
            pixel,
            self.definition.value,
            self.exponent.value,
            self.threshold.value,
            len(self.gallery.classes),
            bool(self.hovered),
        )
