"""The adaptation explorer: what a student learns from step to step, and how two runs differ."""

import html
from collections.abc import Sequence
from functools import lru_cache

import ipywidgets as widgets
import traitlets
from tqdm.auto import tqdm

from iapc_lib.classes import colorize
from iapc_lib.explorers.adaptation import words
from iapc_lib.explorers.adaptation.facts import (
    PictureAtStep,
    check_same_pictures,
    nearest_step,
    picture_at_step,
    update_at,
)
from iapc_lib.explorers.adaptation.views import available_views, draw_view
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.parts import dimmed, swatch
from iapc_lib.explorers.shell import WRAP, GalleryExplorer, dropdown, note_box, react, step_slider
from iapc_lib.networks.weights import CheckpointError

WIDTH = 300  # CSS pixels of each of the four pictures


class AdaptationExplorer(GalleryExplorer):
    """Slide through the steps of a run: predictions, scores, loss terms, and its history.

    Controls are attributes: `picture`, `step` and `view` (set their `value`), `play`, and the
    pictures `image`, `student`, `memory` and `viewed` (set `picked`; they share it). A picture is
    computed at every step when it is chosen, so that sliding is fast; `status` says how far it is.

    Args:
        gallery: the run.
        other: another run of the same pictures, to compare with: the student's picture then
            swipes between this run's (left) and the other's (right) prediction.
        picture, pixel: see `GalleryExplorer`.
        step: one of `gallery.steps`.
        view: of `available_views`, the fourth picture; None is the first of them.

    Raises:
        ValueError: the other gallery shows other pictures, or there is no such picture, pixel,
            step or view.
    """

    def __init__(
        self,
        gallery: Gallery,
        other: Gallery | None = None,
        *,
        picture: int | str = 0,
        step: int = 0,
        view: str | None = None,
        pixel: Sequence[int] | None = None,
    ):
        if other is not None:
            check_same_pictures(gallery, other)
        super().__init__(gallery, WIDTH, picture, pixel)
        self.other = other
        self._at_step = lru_cache(maxsize=256)(picture_at_step)  # goes when this explorer goes
        self._make_controls(step, view)
        self.scores, self.terms, self.pixel, self.charts, self.bars = (
            widgets.HTML() for _ in range(5)
        )
        self.image, self.student, self.memory, self.viewed = self.pictures
        self.children = self._layout()
        self._load(opening=True)
        react(self._load, self.picture)
        react(self._show_step, self.step)
        react(self._show_view, self.view)
        react(self._show_pixel, self.image, to="picked")

    def _make_controls(self, step: int, view: str | None) -> None:
        gallery = self.gallery
        self.step = step_slider(gallery, step)
        self.play = widgets.Play(
            max=len(gallery.steps) - 1, interval=800, disabled=self.step.disabled
        )
        traitlets.link((self.step, "index"), (self.play, "value"))
        views = available_views(gallery.pictures[0].label is not None, self.other is not None)
        self.view = dropdown("4th picture", views, view, "24em")

    def _layout(self) -> list[widgets.Widget]:
        grid = widgets.GridBox(
            self.frames, layout={"grid_template_columns": f"repeat(2, {WIDTH + 8}px)"}
        )
        legend = " &nbsp; ".join(map(swatch, self.gallery.source.classes.train_ids))
        notes = [note_box(self.gallery)]
        if self.other is not None:
            notes.append(note_box(self.other))
            notes[0].description, notes[1].description = "this run", "other run"
        return [
            *notes,
            widgets.HBox([self.picture, self.view], layout=WRAP),
            widgets.HBox([self.step, self.play, self.status], layout=WRAP),
            widgets.HBox([grid, widgets.VBox([self.scores, self.terms])], layout=WRAP),
            widgets.HTML(f'<div style="line-height:1.4">{legend}</div>'),
            self.charts,
            widgets.HBox([self.pixel, self.bars], layout=WRAP),
        ]

    def _load(self, opening: bool = False) -> None:
        """Computes the chosen picture at every step, then shows it."""
        self.shown = self.gallery.pictures[self.picture.value]
        self.by_step: dict[int, PictureAtStep] = {}
        """The shown picture."""
        self.other_by_step: dict[int, PictureAtStep] = {}
        self.failures: list[str] = []
        """What cannot be shown, and why."""
        wanted = [(self.gallery, self.by_step, step) for step in self.gallery.steps]
        if self.other is not None:
            wanted += [(self.other, self.other_by_step, step) for step in self.other.steps]
        # While it is opened its status is not on the page yet.
        bar = tqdm(wanted, "Looking at every step", disable=not opening)
        for number, (gallery, by_step, step) in enumerate(bar, start=1):
            self.status.value = f"computing step {step}, {number} of {len(wanted)} ..."
            try:
                by_step[step] = self._at_step(gallery, self.picture.value, step)
            except CheckpointError as error:
                self.failures.append(f"{gallery.title}, step {step}: {error}")
        self.status.value = "<br>".join(map(html.escape, self.failures))
        self._show_step()

    def _show_step(self) -> None:
        """Everything of the chosen step."""
        step = self.step.value
        self.now = self.by_step.get(step)
        self.other_now = None
        if self.other_by_step:
            self.other_now = self.other_by_step[nearest_step(list(self.other_by_step), step)]
        if self.now is None:
            # What can be seen must not pass for this step.
            said = f"step {step} cannot be shown"
            for place in range(len(self.pictures)):
                self.show(place, dimmed(self.shown.pixels), said, said)
            self.scores.value = self.terms.value = self.bars.value = ""
            return
        self._show_predictions()
        self._show_view()
        self._show_numbers()
        self._show_pixel()

    def _show_predictions(self) -> None:
        shown, now, other = self.shown, self.now, self.other_now
        self.show(0, shown.pixels, shown.name, f"{html.escape(shown.name)}: click a pixel")
        said, right = f"student's prediction, step {now.step}", None
        if other is not None:
            said = (
                f"students' predictions: left this run, step {now.step}; "
                f"right other run, step {other.step}"
            )
            right = colorize(other.student)
        self.show(1, colorize(now.student), f"{shown.name}: {said}", html.escape(said), right)
        said, labels = f"memory network's prediction, step {now.step}", now.memory
        if labels is None:
            said = f"pseudo-label ({self.gallery.row.title} has no memory network)"
            labels = shown.pseudo_label
        self.show(2, colorize(labels), f"{shown.name}: {said}", html.escape(said))

    def _show_view(self) -> None:
        if self.now is None:
            return
        first = self.by_step.get(0, self.now)
        self.show(3, *draw_view(self.view.value, self.shown, self.now, first, self.other_now))

    def _show_numbers(self) -> None:
        now, here = self.now, f"step {self.now.step}"
        columns = {here: now}
        if now.step and 0 in self.by_step:
            columns = {"step 0": self.by_step[0], here: now}
        if self.other_now is not None:
            columns[f"other run, step {self.other_now.step}"] = self.other_now
        self.scores.value = words.score_table(columns)
        self.terms.value = words.terms_table(now, update_at(self.gallery.history, now.step))
        self.bars.value = words.iou_bars(columns)
        runs = {"this run": (self.gallery, list(self.by_step.values()))}
        if self.other is not None:
            runs["other run"] = (self.other, list(self.other_by_step.values()))
        self.charts.value = words.run_charts(runs, now.step)

    def _show_pixel(self) -> None:
        if self.image.picked:
            pixel = tuple(self.image.picked)
            self.pixel.value = words.pixel_table(self.shown, pixel, self.by_step)
