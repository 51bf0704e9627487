"""The prototypes explorer: which class prototype a pixel resembles, and which losses follow."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import lru_cache, partial

import ipywidgets as widgets
import numpy as np

from iapc_lib.classes import IGNORE, NAMES, PALETTE, colorize
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.parts import WRAP, framed, linked_pictures, note_box, picture_choice, shade
from iapc_lib.explorers.pixel_image import PixelImage
from iapc_lib.explorers.prototypes import words as text
from iapc_lib.explorers.prototypes.facts import (
    Contrast,
    agreement_picture,
    pixel_facts,
    prototype_contrast,
    selection_picture,
    variant_notes,
)
from iapc_lib.explorers.prototypes.plane import (
    SIZE,
    Projection,
    available_methods,
    draw,
    missing_methods,
    project,
)
from iapc_lib.explorers.terms import terms_seen
from iapc_lib.networks.weights import CheckpointError

WIDTH = 480  # CSS pixels of each of the four pictures, at most: four fill a page of 1920


NOTHING = np.zeros(0, np.int64)  # no cells


def _place(contrast: Contrast, method: str) -> Projection:
    return project(contrast.features, contrast.prototypes[contrast.present], method)


class PrototypesExplorer(widgets.VBox):
    """Click a pixel: its similarity to every class prototype, and which losses see it.

    Drag a box in a picture, or among the plane's dots, to mark the same cells in the other; they
    stay selected over the steps. Controls are attributes: `picture`, `step`, `shown_class`,
    `method`, `colored_by` (set their `value`), `clear`, and the pictures `image`, `assignment`,
    `similarity`, `agreement` and `plane` (set `picked` or `region`; the first four share them).

    Args:
        gallery: pictures and networks.
    """

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        self.selected = NOTHING
        """Numbers of the selected feature cells, rising."""
        # Of this explorer alone, so that they go when it goes.
        self._contrast_of = lru_cache(maxsize=16)(partial(prototype_contrast, gallery))
        self._placed = lru_cache(maxsize=64)(_place)
        self._make_controls()
        self.status, self.pixel, self.bars, self.terms, self.selection, self.plane_caption = (
            widgets.HTML() for _ in range(6)
        )
        self.pictures = linked_pictures(gallery, WIDTH, "region", boxes=True)
        self.image, self.assignment, self.similarity, self.agreement = self.pictures
        self.captions = [widgets.HTML() for _ in self.pictures]
        self.plane = PixelImage(boxes=True, width=SIZE[1])
        super().__init__(self._layout())
        self._load()
        self._react()

    def _make_controls(self) -> None:
        gallery, labelled = self.gallery, self.gallery.pictures[0].label is not None
        self.picture = picture_choice(gallery)
        self.step = widgets.SelectionSlider(
            options=gallery.steps,
            description="step",
            continuous_update=False,
            disabled=len(gallery.steps) == 1,
        )
        classes = [(name, channel) for channel, name in enumerate(gallery.classes.names)]
        self.shown_class, self.method, self.colored_by = (
            widgets.Dropdown(options=options, description=name, layout={"width": "18em"})
            for options, name in (
                (classes, "similarity"),
                (available_methods(), "plane"),
                (
                    ["nearest prototype", "pseudo-label", *(["true class"] if labelled else [])],
                    "colours",
                ),
            )
        )
        self.clear = widgets.Button(description="clear the selection")

    def _layout(self) -> list[widgets.Widget]:
        fit = "repeat(auto-fit, minmax(200px, 1fr))"  # as many beside one another as there is room
        grid = widgets.GridBox(
            framed(self.pictures, self.captions),
            layout={"grid_template_columns": fit, "grid_gap": "4px 8px"},
        )
        plane = widgets.VBox(
            [
                widgets.HBox([self.method, self.colored_by]),
                self.plane,
                self.selection,
                self.plane_caption,
                self.clear,
            ],
            layout={"width": f"{SIZE[1] + 4}px", "max_width": "100%"},
        )
        return [
            note_box(self.gallery),
            *(widgets.HTML(html.escape(note)) for note in variant_notes(self.gallery)),
            widgets.HBox([self.picture, self.step, self.shown_class, self.status], layout=WRAP),
            grid,
            widgets.HBox([plane, self.bars, widgets.VBox([self.pixel, self.terms])], layout=WRAP),
        ]

    def _react(self) -> None:
        """Every control acts when its value changes, by hand or in Python."""
        for control, react in (
            (self.picture, self._change_picture),
            (self.step, self._load),
            (self.shown_class, self._show_similarity),
            (self.method, self._project),
            (self.colored_by, self._show_plane),
        ):
            control.observe(lambda _, react=react: react(), "value")
        self.image.observe(lambda _: self._show_pixel(), "picked")
        self.plane.observe(lambda _: self._pick_dot(), "picked")
        in_picture = partial(self._box, other=self.plane, cells_in=self._cells_in_picture)
        in_plane = partial(self._box, other=self.image, cells_in=self._cells_in_plane)
        self.image.observe(lambda change: in_picture(change.new), "region")
        self.plane.observe(lambda change: in_plane(change.new), "region")
        self.clear.on_click(lambda _: self._clear())

    def _change_picture(self) -> None:
        self.selected = self._cells_in_picture(self.image.region) if self.image.region else NOTHING
        self._load()

    def _load(self) -> None:
        """Everything anew, for another picture or step."""
        step = self.step.value
        self.status.value = f"computing what the networks of step {step} see ..."
        try:
            self.contrast = self._contrast_of(self.picture.value, step)
        except CheckpointError as error:
            self.status.value = (
                f"<b>step {step} cannot be shown: {html.escape(str(error))}</b>; "
                "shown is what was there before"
            )
            return
        self.status.value = ""
        self._show_labels()
        self._show_similarity()
        self._project()
        self._show_pixel()

    def _show_labels(self) -> None:
        """Nearest prototypes, and where they agree with the pseudo-labels."""
        contrast, name = self.contrast, self.contrast.picture.name
        self.assignment.show(
            colorize(contrast.nearest), f"class of the nearest prototype in {name}"
        )
        self.captions[1].value = text.NEAREST
        self.agreement.show(
            agreement_picture(contrast),
            "nearest prototype and pseudo-label agree in "
            f"{contrast.agree.mean():.1%} of the pixels of {name} (blue), not elsewhere (orange)",
        )
        self.captions[3].value = text.agreement_text(contrast)

    def _show_similarity(self) -> None:
        channel, name = self.shown_class.value, self.shown_class.label
        values, low, high = self.contrast.similarity_map(channel)
        present = self.contrast.present[channel]
        self.similarity.show(
            shade(values, low, high),
            f"cosine similarity to the prototype of {name} from {low:.2f} (dark blue) to "
            f"{high:.2f} (yellow){'' if present else ', which is absent from this picture'}",
        )
        self.captions[2].value = text.similarity_text(name, present, low, high)

    def _show_pixel(self) -> None:
        if not self.image.picked:
            return
        facts = pixel_facts(self.contrast, tuple(self.image.picked))
        self.pixel.value = text.facts_table(facts)
        self.bars.value = text.similarity_bars(self.contrast, facts)
        self.terms.value = text.terms_table(terms_seen(facts, self.gallery.losses))
        self.plane.picked = self._dot_of_picked()

    def _project(self) -> None:
        """Places cells and prototypes in the plane."""
        method = self.method.value
        self.status.value = f"computing {method} ..."
        self.projected = self._placed(self.contrast, method)
        self.status.value = ""
        self.plane_caption.value = text.plane_text(method, self.projected.note, missing_methods())
        # A box says nothing in another plane; what it selected stays selected.
        selected, self.plane.region = self.selected, []
        self._select(selected)

    def _show_plane(self) -> None:
        """Draws the plane, and marks the picked pixel's dot."""
        contrast = self.contrast
        labels = {
            "nearest prototype": contrast.nearest,
            "pseudo-label": contrast.picture.pseudo_label,
            "true class": contrast.picture.label,
        }[self.colored_by.value]
        labels = contrast.on_cells(labels)[self.projected.cells]
        stars = contrast.train_ids[contrast.present]
        names = [NAMES[train_id] for train_id in stars]
        selected = np.isin(self.projected.cells, self.selected) if self.selected.size else None
        colors = np.where((labels == IGNORE)[:, None], 170, PALETTE[labels])
        self.drawing = draw(self.projected, colors, PALETTE[stars], names, selected)
        self.plane.show(
            self.drawing.pixels,
            f"{self.method.value} of the student's features, coloured by {self.colored_by.value}, "
            f"with the prototypes of {', '.join(names)}",
        )
        self.plane.picked = self._dot_of_picked()

    def _dot_of_picked(self) -> list[int]:
        """[row, column] of the picked pixel's dot; empty where there is none."""
        if not self.image.picked:
            return []
        cell = self.contrast.cells[tuple(self.image.picked)]
        return self.drawing.dots[self.projected.cells == cell].flatten().tolist()

    def _pick_dot(self) -> None:
        """A click in the plane picks the nearest dot's cell: the pixel in its middle."""
        if self.plane.picked in ([], self._dot_of_picked()):
            return
        distance = np.square(self.drawing.dots - self.plane.picked).sum(axis=1)
        cell = self.projected.cells[distance.argmin()]
        self.image.picked = self.contrast.middles[cell].tolist()
        self.plane.picked = self._dot_of_picked()  # also where that pixel was picked already

    def _cells_in_picture(self, region: list[int]) -> np.ndarray:
        return self.contrast.cells_in(region)

    def _cells_in_plane(self, region: list[int]) -> np.ndarray:
        top, left, bottom, right = region
        rows, columns = self.drawing.dots.T
        within = (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
        return self.projected.cells[within]

    def _box(
        self, region: list[int], other: PixelImage, cells_in: Callable[[list[int]], np.ndarray]
    ) -> None:
        """The box that was drawn last counts: it lifts the other, whose lifting changes nothing."""
        if region:
            other.region = []
            self._select(cells_in(region))
        elif not other.region:
            self._select(NOTHING)

    def _clear(self) -> None:
        self.image.region = self.plane.region = []
        self._select(NOTHING)  # also what a box in an earlier plane selected

    def _select(self, cells: np.ndarray) -> None:
        """Selects cells: their dots get a rim, the other cells' pixels are dimmed."""
        self.selected = cells
        marked = f", {cells.size} feature cells selected, the rest dimmed" if cells.size else ""
        self.image.show(
            selection_picture(self.contrast, cells), self.contrast.picture.name + marked
        )
        self.captions[0].value = text.PICTURE
        self.selection.value = text.selection_text(self.contrast, cells)
        self._show_plane()
