"""The prototypes explorer: which class prototype a pixel resembles, and which losses follow."""

import html
from collections.abc import Sequence
from functools import lru_cache, partial

import ipywidgets as widgets
import numpy as np

from iapc_lib.classes import IGNORE, NAMES, PALETTE, colorize
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.parts import shade
from iapc_lib.explorers.pixel_image import PixelImage
from iapc_lib.explorers.prototypes import words
from iapc_lib.explorers.prototypes.facts import (
    Contrast,
    agreement_picture,
    pixel_facts,
    prototype_contrast,
    selection_picture,
    variant_notes,
)
from iapc_lib.explorers.prototypes.plane import SIZE, Projection, draw, project
from iapc_lib.explorers.shell import (
    WRAP,
    GalleryExplorer,
    dropdown,
    page_grid,
    react,
    step_slider,
)
from iapc_lib.explorers.terms import terms_seen
from iapc_lib.networks.weights import CheckpointError

NOTHING = np.zeros(0, np.int64)  # no cells


def _place(contrast: Contrast) -> Projection:
    return project(contrast.features, contrast.prototypes[contrast.present])


class PrototypesExplorer(GalleryExplorer):
    """Click a pixel: its similarity to every class prototype, and which losses see it.

    Drag a box in a picture, or among the plane's dots, to mark the same cells in the other; they
    stay selected over the steps. Controls are attributes: `picture`, `step`, `shown_class`,
    `colored_by` (set their `value`), `clear`, and the pictures `image`, `assignment`, `similarity`,
    `agreement` and `plane` (set `picked` or `region`; the first four share them).

    Args:
        gallery: pictures and networks.
        picture, pixel: see `GalleryExplorer`.
        step: one of `gallery.steps`.
        shown_class: whose similarity map is shown, by name; None is the network's first.
        region: (top, left, bottom, right) of a box in the pictures; bottom and right lie outside.

    Raises:
        ValueError: the gallery's row has no memory network, or there is no such picture, pixel,
            step, class or box.
        CheckpointError: the networks of this step cannot be had.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        picture: int | str = 0,
        step: int = 0,
        pixel: Sequence[int] | None = None,
        shown_class: str | None = None,
        region: Sequence[int] = (),
    ):
        if not gallery.row.memory:
            raise ValueError(f"{gallery.row.title} has no memory network, hence no prototypes")
        super().__init__(gallery, picture, pixel, boxes=True, notes=variant_notes(gallery))
        self.selected = NOTHING
        """Numbers of the selected feature cells, rising."""
        # Of this explorer alone, so that they go when it goes.
        self._contrast_of = lru_cache(maxsize=16)(partial(prototype_contrast, gallery))
        self._placed = lru_cache(maxsize=64)(_place)
        self.step = step_slider(gallery, step)
        self.step.continuous_update = False
        classes = [(name, channel) for channel, name in enumerate(gallery.source.classes.names)]
        self.shown_class = dropdown("similarity", classes, shown_class)
        labelled = gallery.pictures[0].label is not None
        kinds = ["nearest prototype", "pseudo-label", *(["true class"] if labelled else [])]
        self.colored_by = dropdown("colours", kinds)
        self.clear = widgets.Button(description="clear the selection")
        self.pixel, self.bars, self.terms, self.selection, self.plane_caption = (
            widgets.HTML() for _ in range(5)
        )
        self.image, self.assignment, self.similarity, self.agreement = self.pictures
        self.plane = PixelImage(boxes=True, width=SIZE[1])
        self.children = self._layout()
        self.contrast = self._contrast_of(self.picture.value, step)
        self._load()
        self._react()
        if region:
            top, left, bottom, right = region
            rows, columns = gallery.size
            if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
                raise ValueError(f"region {region}: no box in {rows} rows and {columns} columns")
            self.image.region = list(region)

    def _layout(self) -> list[widgets.Widget]:
        plane = widgets.VBox(
            [
                self.colored_by,
                self.plane,
                self.selection,
                self.plane_caption,
                self.clear,
            ],
            layout={"width": f"{SIZE[1] + 4}px", "max_width": "100%"},
        )
        numbers = widgets.HBox([self.pixel, self.terms], layout=WRAP)
        return [
            widgets.HBox([self.step, self.shown_class, self.picture, self.status], layout=WRAP),
            self.reading,
            page_grid([*self.frames, plane, self.bars], [numbers]),
            self.note,
        ]

    def _react(self) -> None:
        react(self._change_picture, self.picture)
        react(self._load, self.step)
        react(self._show_similarity, self.shown_class)
        react(self._show_plane, self.colored_by)
        react(self._show_pixel, self.image, to="picked")
        react(self._pick_dot, self.plane, to="picked")
        react(partial(self._box, self.image, self.plane), self.image, to="region")
        react(partial(self._box, self.plane, self.image), self.plane, to="region")
        self.clear.on_click(lambda _: self._clear())

    def _change_picture(self) -> None:
        region = self.image.region
        self.selected = self.contrast.cells_in(region) if region else NOTHING
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
        self.reading.value = words.reading(contrast)
        said = "class of the nearest prototype"
        self.show(1, colorize(contrast.nearest), f"{said} in {name}", said)
        self.show(
            3,
            agreement_picture(contrast),
            "nearest prototype and pseudo-label agree in "
            f"{contrast.agree.mean():.1%} of the pixels of {name} (blue), not elsewhere (orange)",
            words.agreement_text(contrast),
        )

    def _show_similarity(self) -> None:
        channel, name = self.shown_class.value, self.shown_class.label
        values, low, high = self.contrast.similarity_map(channel)
        present = bool(self.contrast.present[channel])
        self.show(
            2,
            shade(values, low, high),
            f"cosine similarity to the prototype of {name} from {low:.2f} (dark blue) to "
            f"{high:.2f} (yellow){'' if present else ', which is absent from this picture'}",
            words.similarity_text(name, present, low, high),
        )

    def _show_pixel(self) -> None:
        if not self.image.picked:
            return
        pixel = tuple(self.image.picked)
        facts = pixel_facts(self.contrast, pixel)
        self.pixel.value = words.facts_table(self.contrast, pixel, facts)
        self.bars.value = words.similarity_bars(self.contrast, pixel)
        self.terms.value = words.terms_table(terms_seen(facts, self.gallery.losses))
        self.plane.picked = self._dot_of_picked()

    def _project(self) -> None:
        """Places cells and prototypes in the plane."""
        self.projected = self._placed(self.contrast)
        self.plane_caption.value = words.plane_text(self.projected.note)
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
        labels = contrast.on_cells(labels)
        stars = contrast.train_ids[contrast.present]
        names = [NAMES[train_id] for train_id in stars]
        cells = np.arange(len(labels))
        selected = np.isin(cells, self.selected) if self.selected.size else None
        colors = np.where((labels == IGNORE)[:, None], 170, PALETTE[labels])
        self.drawing = draw(self.projected, colors, PALETTE[stars], names, selected)
        self.plane.show(
            self.drawing.pixels,
            f"PCA of the student's features, coloured by {self.colored_by.value}, "
            f"with the prototypes of {', '.join(names)}",
        )
        self.plane.picked = self._dot_of_picked()

    def _dot_of_picked(self) -> list[int]:
        """[row, column] of the picked pixel's dot; empty where there is none."""
        if not self.image.picked:
            return []
        cell = self.contrast.cells[tuple(self.image.picked)]
        return self.drawing.dots[cell].tolist()

    def _pick_dot(self) -> None:
        """A click in the plane picks the nearest dot's cell: the pixel in its middle."""
        if self.plane.picked in ([], self._dot_of_picked()):
            return
        distance = np.square(self.drawing.dots - self.plane.picked).sum(axis=1)
        self.image.picked = self.contrast.middles[distance.argmin()].tolist()
        self.plane.picked = self._dot_of_picked()  # also where that pixel was picked already

    def _box(self, drawn_in: PixelImage, other: PixelImage) -> None:
        """The box that was drawn last counts: it lifts the other, whose lifting changes nothing."""
        if drawn_in.region:
            other.region = []
            in_plane = drawn_in is self.plane
            self._select(
                self._cells_in_plane() if in_plane else self.contrast.cells_in(drawn_in.region)
            )
        elif not other.region:
            self._select(NOTHING)

    def _cells_in_plane(self) -> np.ndarray:
        top, left, bottom, right = self.plane.region
        rows, columns = self.drawing.dots.T
        within = (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
        return np.flatnonzero(within)

    def _clear(self) -> None:
        self.image.region = self.plane.region = []
        self._select(NOTHING)  # also what a box in an earlier plane selected

    def _select(self, cells: np.ndarray) -> None:
        """Selects cells: their dots get a rim, the other cells' pixels are dimmed."""
        self.selected = cells
        marked = f", {cells.size} feature cells selected, the rest dimmed" if cells.size else ""
        self.show(
            0,
            selection_picture(self.contrast, cells),
            self.contrast.picture.name + marked,
            f"{self.file_name}: click a pixel, drag a box",
        )
        self.selection.value = words.selection_text(self.contrast, cells)
        self._show_plane()
