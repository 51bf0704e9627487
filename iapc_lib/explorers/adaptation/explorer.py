"""The adaptation explorer: what a student learns from step to step, and how two runs differ."""

import asyncio
import html
from collections.abc import Sequence
from functools import lru_cache

import ipywidgets as widgets
import traitlets
from IPython.display import HTML

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
from iapc_lib.explorers.shell import (
    WRAP,
    GalleryExplorer,
    dropdown,
    note_box,
    page_grid,
    react,
    step_slider,
)
from iapc_lib.networks.weights import CheckpointError


class AdaptationExplorer(GalleryExplorer):
    """Slide through the steps of a run: predictions, scores, loss terms, and its history.

    Controls are attributes: `picture`, `step` and `view` (set their `value`), `play`, and the
    pictures `image`, `student`, `memory` and `viewed` (set `picked`; they share it). A picture is
    looked at at every step, one after the other, while a page shows it; `status` says how far that is.

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

    _later: asyncio.Task | None = None
    """What looks at the other steps."""

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
        super().__init__(gallery, picture, pixel)
        self.other = other
        self.names = _names(gallery, other)
        """Of the runs, as short as they can be told apart."""
        self._at_step = lru_cache(maxsize=256)(picture_at_step)  # goes when this explorer goes
        self._make_controls(step, view)
        self.scores, self.terms, self.pixel, self.charts, self.bars = (
            widgets.HTML() for _ in range(5)
        )
        self.image, self.student, self.memory, self.viewed = self.pictures
        self.children = self._layout()
        self._load()
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # not in a notebook
            self.finish()
        else:  # once a page is there to hear of it
            self.image.on_msg(lambda *_: self._look_on())
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
        numbers = widgets.HBox([widgets.VBox([self.scores, self.terms]), self.pixel], layout=WRAP)
        legend = " &nbsp; ".join(map(swatch, self.gallery.source.classes.train_ids))
        notes = [self.note] if self.other is None else [self.note, note_box(self.other)]
        return [
            widgets.HBox([self.step, self.play, self.picture, self.view], layout=WRAP),
            self.status,
            self.reading,
            page_grid(self.frames, [numbers]),
            widgets.HTML(f'<div style="line-height:1.4">{legend}</div>'),
            self.charts,
            self.bars,
            *notes,
        ]

    def _load(self) -> None:
        """Shows the chosen picture at the chosen step, then looks at it at all the others."""
        self.shown = self.gallery.pictures[self.picture.value]
        self.by_step: dict[int, PictureAtStep] = {}
        """The shown picture, at the steps that were looked at."""
        self.other_by_step: dict[int, PictureAtStep] = {}
        self.failures: dict[tuple[Gallery, int], str] = {}
        """What cannot be shown, and why."""
        self._show_step()
        if self._later is not None:
            self._look_on()

    def _look_on(self) -> None:
        """Begins to look at the other steps, while what is known is shown."""
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().create_task(self._look_at_all())
        self._later.add_done_callback(self._say_end)

    def _say_end(self, task: asyncio.Task) -> None:
        """Whatever went wrong while nobody waited for it is said, too."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.status.value = html.escape(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Ends the widget, and what it computes."""
        if self._later is not None:
            self._later.cancel()
        super().close()

    async def _look_at_all(self) -> None:
        """Looks at step after step; what is done at the controls comes in between."""
        wanted = self._wanted()
        for number, (gallery, step) in enumerate(wanted, start=1):
            self.status.value = f"looked at {number} of {len(wanted)} steps of the runs ..."
            self._look(gallery, step)
            self._show_course()
            await asyncio.sleep(0.01)
        self._say_failures()

    def finish(self) -> None:
        """Looks at the picture at all steps now, rather than a step at a time while it is shown."""
        for gallery, step in self._wanted():
            self._look(gallery, step)
        self._show_course()
        self._say_failures()

    def page(self, folded: str | None = None) -> HTML:
        """See `Explorer.page`."""
        self.finish()
        return super().page(folded)

    def _wanted(self) -> list[tuple[Gallery, int]]:
        runs = [self.gallery] if self.other is None else [self.gallery, self.other]
        return [(gallery, step) for gallery in runs for step in gallery.steps]

    def _look(self, gallery: Gallery, step: int) -> None:
        """Puts the shown picture at a step of a run where it belongs, or why that cannot be."""
        by_step = self.by_step if gallery is self.gallery else self.other_by_step
        if step in by_step or (gallery, step) in self.failures:
            return
        try:
            found = self._at_step(gallery, self.picture.value, step)
        except CheckpointError as error:
            self.failures[gallery, step] = f"{gallery.title}, step {step}: {error}"
            return
        by_step[step] = found

    def _say_failures(self) -> None:
        self.status.value = "<br>".join(map(html.escape, self.failures.values()))

    def _show_step(self) -> None:
        """Everything of the chosen step."""
        step = self.step.value
        for one in (0, step):
            self._look(self.gallery, one)
        self.now = self.by_step.get(step)
        self.other_now = None
        if self.other is not None:
            nearest = nearest_step(self.other.steps, step)
            self._look(self.other, nearest)
            self.other_now = self.other_by_step.get(nearest)
        if self.now is None:
            # What can be seen must not pass for this step.
            said = f"step {step} cannot be shown"
            for place in range(len(self.pictures)):
                self.show(place, dimmed(self.shown.pixels), said, said)
            self.scores.value = self.terms.value = self.bars.value = self.reading.value = ""
            return
        self._show_predictions()
        self._show_view()
        self._show_numbers()

    def _show_predictions(self) -> None:
        shown, now, other = self.shown, self.now, self.other_now
        self.show(0, shown.pixels, shown.name, f"{self.file_name}: click a pixel")
        said, right = f"student's prediction, step {now.step}", None
        if other is not None:
            mine, theirs = self.names
            said = (
                f"students' predictions: left {mine}, step {now.step}; "
                f"right {theirs}, step {other.step}"
            )
            right = colorize(other.student)
        alt, names = f"{shown.name}: {said}", self.names if other is not None else ()
        self.show(1, colorize(now.student), alt, html.escape(said), right, names)
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
            columns[f"{self.names[1]}, step {self.other_now.step}"] = self.other_now
        self.reading.value = words.reading(columns)
        self.scores.value = words.score_table(columns)
        self.terms.value = words.terms_table(now, update_at(self.gallery.history, now.step))
        self.bars.value = words.iou_bars(columns)
        self._show_course()

    def _show_course(self) -> None:
        """What goes over all steps, as far as they were looked at."""
        seen = [[one[step] for step in sorted(one)] for one in (self.by_step, self.other_by_step)]
        runs = {self.names[0]: (self.gallery, seen[0])}
        if self.other is not None:
            runs[self.names[1]] = (self.other, seen[1])
        self.charts.value = words.run_charts(runs, self.step.value)
        self._show_pixel()

    def _show_pixel(self) -> None:
        if self.image.picked:
            pixel = tuple(self.image.picked)
            by_step = dict(sorted(self.by_step.items()))
            self.pixel.value = words.pixel_table(self.shown, pixel, by_step)


def _names(gallery: Gallery, other: Gallery | None) -> tuple[str, ...]:
    if other is None or gallery.row != other.row:
        return tuple(one.row.title for one in (gallery, other) if one is not None)
    if gallery.title != other.title:
        return gallery.title, other.title
    return "first run", "second run"
