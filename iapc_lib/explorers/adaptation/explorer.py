"""The adaptation explorer: what a student learns from step to step, and how two runs differ."""

from __future__ import annotations

import html
from functools import lru_cache

import ipywidgets as widgets
import traitlets
from tqdm.auto import tqdm

from iapc_lib.classes import colorize
from iapc_lib.explorers.adaptation import words as text
from iapc_lib.explorers.adaptation.facts import (
    Look,
    check_same_pictures,
    look_at,
    nearest_step,
    update_at,
)
from iapc_lib.explorers.adaptation.views import available_views, draw_view
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.parts import WRAP, framed, linked_pictures, note_box, picture_choice, swatch
from iapc_lib.networks.weights import CheckpointError

WIDTH = 300  # CSS pixels of each of the four pictures


class AdaptationExplorer(widgets.VBox):
    """Slide through the steps of a run: predictions, scores, loss terms, and its history.

    Controls are attributes: `picture`, `step` and `view` (set their `value`), `play`, and the
    pictures `image`, `student`, `memory` and `viewed` (set `picked`; they share it). A picture is
    looked at in every step when it is chosen, so that sliding is fast; a bar shows how far it is.

    Args:
        gallery: the run.
        other: another run of the same pictures, to compare with: the student's picture then
            swipes between this run's (left) and the other's (right) prediction.

    Raises:
        ValueError: the other gallery shows other pictures.
    """

    def __init__(self, gallery: Gallery, other: Gallery | None = None):
        if other is not None:
            check_same_pictures(gallery, other)
        self.gallery, self.other = gallery, other
        self._look_at = lru_cache(maxsize=256)(look_at)  # goes when this explorer goes
        self._make_controls()
        self.status, self.scores, self.terms, self.pixel, self.charts, self.bars = (
            widgets.HTML() for _ in range(6)
        )
        self.pictures = linked_pictures(gallery, WIDTH)
        self.image, self.student, self.memory, self.viewed = self.pictures
        self.captions = [widgets.HTML() for _ in self.pictures]
        super().__init__(self._layout())
        self._load(opening=True)
        self.picture.observe(lambda _: self._load(), "value")
        self.step.observe(lambda _: self._show(), "value")
        self.view.observe(lambda _: self._show_view(), "value")
        self.image.observe(lambda _: self._show_pixel(), "picked")

    def _make_controls(self) -> None:
        gallery, alone = self.gallery, len(self.gallery.steps) == 1
        self.picture = picture_choice(gallery)
        self.step = widgets.SelectionSlider(
            options=gallery.steps, description="step", disabled=alone
        )
        self.play = widgets.Play(max=len(gallery.steps) - 1, interval=800, disabled=alone)
        traitlets.link((self.play, "value"), (self.step, "index"))
        views = available_views(gallery.pictures[0].label is not None, self.other is not None)
        self.view = widgets.Dropdown(
            options=views, description="4th picture", layout={"width": "24em"}
        )
        self.progress = widgets.IntProgress(layout={"visibility": "hidden", "width": "10em"})

    def _layout(self) -> list[widgets.Widget]:
        columns = f"repeat(2, {WIDTH + 8}px)"
        grid = widgets.GridBox(
            framed(self.pictures, self.captions), layout={"grid_template_columns": columns}
        )
        legend = " &nbsp; ".join(
            f'<span style="white-space:nowrap">{swatch(train_id)}</span>'
            for train_id in self.gallery.classes.train_ids
        )
        notes = [note_box(self.gallery)]
        if self.other is not None:
            notes.append(note_box(self.other))
            notes[0].description, notes[1].description = "this run", "other run"
        return [
            *notes,
            widgets.HBox([self.picture, self.view], layout=WRAP),
            widgets.HBox([self.step, self.play, self.progress, self.status], layout=WRAP),
            widgets.HBox([grid, widgets.VBox([self.scores, self.terms])], layout=WRAP),
            widgets.HTML(f'<div style="line-height:1.4">{legend}</div>'),
            self.charts,
            widgets.HBox([self.pixel, self.bars], layout=WRAP),
        ]

    def _load(self, opening: bool = False) -> None:
        """Looks at the chosen picture in every step, then shows it."""
        self.shown = self.gallery.pictures[self.picture.value]
        self.looks: dict[int, Look] = {}
        """Of the shown picture, by step."""
        self.other_looks: dict[int, Look] = {}
        self.failures: list[str] = []
        """What cannot be shown, and why."""
        wanted = [(self.gallery, self.looks, step) for step in self.gallery.steps]
        if self.other is not None:
            wanted += [(self.other, self.other_looks, step) for step in self.other.steps]
        self.progress.max, self.progress.layout.visibility = len(wanted), "visible"
        # While it is opened its own bar is not on the page yet.
        bar = tqdm(wanted, "Looking at every step", disable=not opening)
        for number, (gallery, looks, step) in enumerate(bar, start=1):
            self.progress.value = number
            self.status.value = f"computing step {step}, {number} of {len(wanted)} ..."
            try:
                looks[step] = self._look_at(gallery, self.picture.value, step)
            except CheckpointError as error:
                self.failures.append(f"{gallery.title}, step {step}: {error}")
        self.progress.layout.visibility = "hidden"
        self.status.value = "<br>".join(map(html.escape, self.failures))
        self._show()

    def _show(self) -> None:
        """Everything of the chosen step."""
        step = self.step.value
        self.look = self.looks.get(step)
        self.other_look = None
        if self.other_looks:
            self.other_look = self.other_looks[nearest_step(list(self.other_looks), step)]
        if self.look is None:
            # What can be seen must not pass for this step.
            for place, picture in enumerate(self.pictures):
                picture.show(self.shown.pixels // 4, f"step {step} cannot be shown")
                self._caption(place, f"step {step} cannot be shown")
            self.scores.value = self.terms.value = self.bars.value = ""
            return
        self._show_predictions()
        self._show_view()
        self._show_numbers()
        self._show_pixel()

    def _caption(self, place: int, text: str) -> None:
        style = f"line-height:1.3;width:{WIDTH}px;overflow-wrap:anywhere"
        self.captions[place].value = f'<div style="{style}">{text}</div>'

    def _show_predictions(self) -> None:
        shown, look, other = self.shown, self.look, self.other_look
        self.image.show(shown.pixels, shown.name)
        self._caption(0, f"{html.escape(shown.name)}: click a pixel")
        said = f"student's prediction, step {look.step}"
        right = None
        if other is not None:
            said = (
                f"students' predictions: left this run, step {look.step}; "
                f"right other run, step {other.step}"
            )
            right = colorize(other.student)
        self.student.show(colorize(look.student), f"{shown.name}: {said}", right)
        self._caption(1, html.escape(said))
        said, labels = f"memory network's prediction, step {look.step}", look.memory
        if labels is None:
            said, labels = "pseudo-label (self-training has no memory network)", shown.pseudo_label
        self.memory.show(colorize(labels), f"{shown.name}: {said}")
        self._caption(2, said)

    def _show_view(self) -> None:
        if self.look is None:
            return
        first = self.looks.get(0, self.look)
        view = draw_view(self.view.value, self.shown, self.look, first, self.other_look)
        self.viewed.show(view.pixels, view.text)
        self._caption(3, view.legend)

    def _show_numbers(self) -> None:
        look, here = self.look, f"step {self.look.step}"
        looks = {here: look}
        if look.step and 0 in self.looks:
            looks = {"step 0": self.looks[0], here: look}
        if self.other_look is not None:
            looks[f"other run, step {self.other_look.step}"] = self.other_look
        self.scores.value = text.score_table(looks)
        self.terms.value = text.terms_table(look, update_at(self.gallery.history, look.step))
        self.bars.value = text.iou_bars(looks)
        runs = {"this run": (self.gallery, list(self.looks.values()))}
        if self.other is not None:
            runs["other run"] = (self.other, list(self.other_looks.values()))
        self.charts.value = text.run_charts(runs, look.step)

    def _show_pixel(self) -> None:
        if self.image.picked:
            pixel = tuple(self.image.picked)
            self.pixel.value = text.pixel_table(self.shown, pixel, list(self.looks.values()))
