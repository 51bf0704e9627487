"""The importance explorer: which pixels the source network is sure of, and whether it is right."""

from collections.abc import Sequence

import ipywidgets as widgets

from iapc_lib.classes import colorize
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.importance import words
from iapc_lib.explorers.importance.facts import (
    DEFINITIONS,
    LABELLINGS,
    WIDEST,
    class_shares,
    correctness_picture,
    importance_of,
    labels_of,
    pixel_importance,
    shown_range,
)
from iapc_lib.explorers.parts import dimmed, percent, shade
from iapc_lib.explorers.shell import (
    WRAP,
    GalleryExplorer,
    choose,
    dropdown,
    page_grid,
    react,
    slider,
)


class ImportanceExplorer(GalleryExplorer):
    """Slide a threshold over the importance: which pixels stay, and how many of them are right.

    Controls are attributes: `picture`, `definition`, `labelling`, `threshold` (set their `value`),
    and the pictures `image`, `prediction`, `importance` and, with labels, `correct` (set `picked`,
    which they share, or `hovered`).

    Args:
        gallery: pictures and the source network.
        picture, pixel: see `GalleryExplorer`.
        definition: of `DEFINITIONS`; None is the run's own.
        labelling: of `LABELLINGS`: the labels that are judged.
        threshold: pixels whose importance is not below it stay.

    Raises:
        ValueError: there is no such picture, pixel, definition, kind of labels or threshold.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        picture: int | str = 0,
        definition: str | None = None,
        labelling: str = LABELLINGS[0],
        threshold: float = 0.3,
        pixel: Sequence[int] | None = None,
    ):
        super().__init__(gallery, picture, pixel)
        kinds = [(name, kind) for kind, name in DEFINITIONS.items()]
        definition = definition or gallery.fidelity.importance
        self.definition = dropdown("importance", kinds, definition, "24em")
        self.labelling = dropdown("labels", LABELLINGS, labelling)
        self.threshold = slider("threshold", WIDEST, 0.01)
        choose(self.threshold, threshold)
        self.pixel, self.shares = widgets.HTML(), widgets.HTML()
        self.image, self.prediction, self.importance, self.correct = self.pictures
        self.hovered: list[int] = []
        self.children = self._layout()
        self._load()
        choose(self.threshold, threshold)  # the slider may have become shorter
        react(self._load, self.picture, self.definition, self.labelling)
        react(self._select, self.threshold)
        react(lambda: self._look_at([]), self.image, to="picked")
        react(self._hover, *self.pictures, to="hovered")

    def _layout(self) -> list[widgets.Widget]:
        self.pixel.layout.width = "23em"  # whatever it says, so that its neighbour keeps still
        numbers = widgets.HBox([self.pixel, self.shares], layout=WRAP)
        controls = [self.threshold, self.definition, self.labelling, self.picture]
        return [
            widgets.HBox([*controls, self.status], layout=WRAP),
            self.reading,
            page_grid(self.frames, [numbers]),
            self.note,
        ]

    def _load(self) -> None:
        """Everything anew, for another picture, definition or kind of labels."""
        picture = self.picture.value
        self.status.value = "computing what the source network sees ..."
        self.values = importance_of(self.gallery.source_logits(picture), self.definition.value)
        self.labels = labels_of(self.gallery, picture, self.labelling.value)
        self.status.value = ""
        self.shown = self.gallery.pictures[picture]
        low, high = shown_range(self.values)
        self.threshold.min, self.threshold.max = low, high
        self.show(
            2,
            shade(self.values, low, high),
            f"importance by {self.definition.label} of {self.shown.name}, from {low:.2f} "
            f"(dark blue) to {high:.2f} (yellow), mean {self.values.mean():.2f}",
            words.importance_text(self.values, low, high),
        )
        self._select()

    def _select(self) -> None:
        """Which pixels stay, and what of them is right."""
        self.kept = kept = self.values >= self.threshold.value
        name, labelling, label = self.shown.name, self.labelling.value, self.shown.label
        fallen = f"{1 - kept.mean():.1%} of its pixels fall out and are darkened"
        self.show(
            0,
            dimmed(self.shown.pixels, kept),
            f"{name}: {fallen}",
            f"{self.file_name}: hover, or click a pixel",
        )
        self.show(
            1,
            dimmed(colorize(self.labels), kept),
            f"{labelling} of {name}: {fallen}",
            f"{labelling}: {kept.mean():.1%} of it stays",
        )
        shares = class_shares(self.labels, kept, label)
        self.shares.value = words.shares_table(shares, label is not None)
        self.reading.value = words.reading(shares[0], label is not None)
        self.frames[3].layout.display = "none" if label is None else ""
        if label is not None:
            self.show(
                3,
                correctness_picture(self.shown, self.labels, kept),
                f"{labelling} of {name}, right (blue) and wrong (orange): "
                f"{percent(shares[0].right_kept)} of those that stay are right; {fallen}",
                words.correctness_text(shares[0]),
            )
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
        facts = pixel_importance(self.gallery, self.picture.value, pixel, self.values)
        kept, (row, column) = bool(self.kept[pixel]), pixel
        lines = [
            *words.formula(facts, self.definition.value, len(self.gallery.source.classes)),
            words.decision(facts.importance, self.threshold.value, kept),
        ]
        how = "under the mouse" if self.hovered else "picked"
        heading = f"<b>pixel: row {row}, column {column}</b>, {how}"
        self.pixel.value = words.pixel_text(heading, facts, lines, self.shown, pixel)
