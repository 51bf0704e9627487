"""What all explorers share: linked pictures, captions, notes, controls that act, and `page()`."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets
from IPython.display import HTML

from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.parts import block
from iapc_lib.explorers.pixel_image import PixelImage

WRAP = {"flex_flow": "row wrap", "grid_gap": "4px 16px"}
"""Layout of a row whose widgets go on beneath where the page is narrow."""
COLUMN = 400
"""CSS pixels of a column of the page at least: three fill a page of 1280, four one of 1920."""
WIDEST = 720
"""CSS pixels of a picture at most."""
STYLE = {"description_width": "7em"}
"""Of controls that stand beneath one another."""


class Explorer(widgets.VBox):
    """Controls, pictures, tables and charts that follow one another."""

    def __init__(self):
        super().__init__()
        self.add_class("iapc-explorer")  # see pixel_image.css
        self.status = widgets.HTML()
        """What is computed, or why something cannot be shown."""
        self.reading = widgets.HTML()
        """What the page shows, in a sentence."""

    def page(self, folded: str | None = None) -> HTML:
        """The static twin: pictures with their marks, captions, tables and charts as they are.

        A notebook shows it, and keeps it when it is saved; as a file of its own it needs nothing:
        `Path("page.html").write_text(explorer.page().data, encoding="utf-8")`.

        Args:
            folded: if given, only this line is shown until somebody clicks on it.
        """
        # A notebook knows its encoding, a file of its own has to say it.
        style = "font-family:sans-serif;font-size:14px;line-height:1.4"
        content = f'<div style="{style}"><meta charset="utf-8">{_plain(self)}</div>'
        if folded is not None:
            summary = f"<summary>{html.escape(folded)}</summary>"
            content = f'<details class="iapc-twin">{summary}{content}</details>'
        return HTML(content)


def page_grid(
    items: Sequence[widgets.Widget], wide: Sequence[widgets.Widget] = ()
) -> widgets.GridBox:
    """A page in columns of `COLUMN` pixels or more, as many as there is room for.

    Args:
        items: one column each.
        wide: after them, two columns each, where there are two.
    """
    for widget in wide:
        # ipywidgets 8 undoes `grid_column` in the page; a narrow one undoes this in its CSS.
        widget.layout.grid_area = "auto / span 2"
        widget.add_class("iapc-wide")
    fit = f"repeat(auto-fill, minmax(min(100%, {COLUMN}px), 1fr))"
    layout = {"grid_template_columns": fit, "grid_gap": "8px 12px", "width": "100%"}
    return widgets.GridBox([*items, *wide], layout=layout)


class GalleryExplorer(Explorer):
    """An explorer of a gallery's pictures: four of them, linked, each with a caption.

    Args:
        gallery: pictures and networks.
        picture: its position in the gallery, or the name of its file.
        pixel: (row, column) that is picked; None is the middle.
        boxes: whether a drag boxes a region.
        notes: what is to be said besides the gallery's own, in plain lines.

    Raises:
        TypeError: that is no gallery.
        ValueError: there is no such picture or pixel.
    """

    def __init__(
        self,
        gallery: Gallery,
        picture: int | str,
        pixel: Sequence[int] | None,
        boxes: bool = False,
        notes: Sequence[str] = (),
    ):
        super().__init__()
        if not isinstance(gallery, Gallery):
            raise TypeError(f"{gallery!r} is no gallery: open it with open_gallery(...)")
        self.gallery = gallery
        names = [one.name for one in gallery.pictures]
        options = [(f"picture {place}", place - 1) for place in range(1, len(names) + 1)]
        if picture in names:
            picture = names.index(picture)
        if picture not in range(len(names)):
            there = ", ".join(f"{place}: {name}" for place, name in enumerate(names))
            raise ValueError(f"picture {picture!r}: there are {there}")
        self.picture = dropdown("picture", options, picture)
        self.pictures = [PixelImage(width=WIDEST, boxes=boxes) for _ in range(4)]
        for other in self.pictures[1:]:
            for name in ("picked", "region"):
                traitlets.link((self.pictures[0], name), (other, name))
        self.captions = [widgets.HTML() for _ in self.pictures]
        self.frames = [
            widgets.VBox(pair) for pair in zip(self.pictures, self.captions, strict=True)
        ]
        """Every picture above its caption."""
        self.note = note_box(gallery, notes)
        rows, columns = gallery.size
        row, column = (rows // 2, columns // 2) if pixel is None else pixel
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(f"pixel {pixel}: the pictures have {rows} rows and {columns} columns")
        self.pictures[0].picked = [row, column]

    @property
    def file_name(self) -> str:
        """HTML: the name of the shown picture's file, without what all of its data set share."""
        name = self.gallery.pictures[self.picture.value].name
        return html.escape(Path(name).name.removesuffix("_leftImg8bit.png"))

    def show(
        self,
        place: int,
        pixels: np.ndarray,
        alt: str,
        caption: str,
        right: np.ndarray | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """Shows one of the four pictures.

        Args:
            place: which, 0..3.
            pixels: (H, W, 3) uint8, and `right` alike, to swipe to; `names` are those of both.
            alt: what it shows, plain text.
            caption: HTML.
        """
        self.pictures[place].show(pixels, alt, right, names)
        # A picture may have to shrink, and its caption with it, which a plain width would not.
        self.captions[place].value = block(caption, f"min({self.pictures[place].width}px,100%)")


def dropdown(
    description: str, options: Sequence, wanted: Any = None, width: str = "19em"
) -> widgets.Dropdown:
    """A choice of options, texts or pairs (text, value); None is the first, see `choose`."""
    made = widgets.Dropdown(
        options=options, description=description, style=STYLE, layout={"width": width}
    )
    if wanted is not None:
        choose(made, wanted)
    return made


def slider(
    description: str,
    limits: tuple[float, float],
    step: float,
    readout: str = ".2f",
    width: str = "24em",
) -> widgets.FloatSlider:
    """A slider between two limits; `readout` is the format of the number beside it."""
    low, high = limits
    return widgets.FloatSlider(
        low, min=low, max=high, step=step, description=description, readout_format=readout,
        style=STYLE, layout={"width": width},
    )  # fmt: skip


def step_slider(gallery: Gallery, wanted: int) -> widgets.SelectionSlider:
    """A slider over the gallery's steps, which may be one; see `choose`."""
    alone = len(gallery.steps) == 1
    made = widgets.SelectionSlider(options=gallery.steps, description="step", disabled=alone)
    choose(made, wanted)
    return made


def note_box(gallery: Gallery, more: Sequence[str] = ()) -> widgets.HTML:
    """Says what is shown and what is missing, with `more` plain lines."""
    lines = [f"<b>{html.escape(gallery.title)}</b>", *map(html.escape, (*gallery.notes, *more))]
    return widgets.HTML("<br>".join(lines))


def react(function: Callable[[], None], *controls: widgets.Widget, to: str = "value") -> None:
    """Calls a function when one of these is changed, by hand or in Python."""
    for control in controls:
        control.observe(lambda _: function(), to)


def choose(control: widgets.Widget, wanted: Any) -> None:
    """Sets a control: a slider to a number, a choice to a value or to what is read of it.

    Raises:
        ValueError: says what there is.
    """
    said = f"{control.description} {wanted!r}"
    if not hasattr(control, "options"):
        if not control.min <= wanted <= control.max:
            raise ValueError(f"{said}: it goes from {control.min:g} to {control.max:g}")
        control.value = wanted
        return
    options = [one if isinstance(one, tuple) else (str(one), one) for one in control.options]
    found = [v for _, v in options if v == wanted] or [v for name, v in options if name == wanted]
    if not found:
        raise ValueError(f"{said}: there are {', '.join(name for name, _ in options)}")
    control.value = found[0]


def _plain(widget: widgets.Widget) -> str:
    """A widget as HTML that needs no Python; of a control, what it is set to."""
    if "none" in (widget.layout.display or "") or widget.layout.visibility == "hidden":
        return ""
    if isinstance(widget, PixelImage):
        return widget.to_html()
    if isinstance(widget, widgets.HTML):
        name = f"<b>{widget.description}:</b> " if widget.description else ""
        return f"<div>{name}{widget.value}</div>" if widget.value else ""
    if isinstance(widget, widgets.Stack):
        return _plain(widget.children[widget.selected_index])
    if isinstance(widget, widgets.Box):
        content = "".join(map(_plain, widget.children))
        return f'<div style="{_style(widget)}">{content}</div>' if content else ""
    value = getattr(widget, "label", getattr(widget, "value", None))
    if value is None or not widget.description:
        return ""  # of a button or a bar
    value = format(value, widget.readout_format) if isinstance(value, float) else value
    said = html.escape(f"{widget.description}: {value}")
    return f'<span style="display:inline-block;margin-right:1em">{said}</span>'


def _style(box: widgets.Box) -> str:
    """The CSS of a box: what ipywidgets' own style sheet gives its kind, and its layout."""
    kinds = {widgets.GridBox: "display:grid", widgets.HBox: "display:flex"}
    rules = [css for kind, css in kinds.items() if isinstance(box, kind)]
    for name in box.layout.keys:
        value = getattr(box.layout, name)
        if value is not None and not name.startswith("_"):
            rules.append(f"{name.replace('_', '-')}:{value}")
    return ";".join(rules)
