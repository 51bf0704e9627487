"""What all explorers share: linked pictures, captions, notes, controls that act, and `page()`."""

import html
from collections.abc import Callable, Sequence
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
STYLE = {"description_width": "7em"}
"""Of controls that stand beneath one another."""


class Explorer(widgets.VBox):
    """Controls, pictures, tables and charts that follow one another."""

    def __init__(self):
        super().__init__()
        self.status = widgets.HTML()
        """What is computed, or why something cannot be shown."""

    def page(self) -> HTML:
        """The static twin: pictures with their marks, captions, tables and charts as they are.

        A notebook shows it, and keeps it when it is saved; as a file of its own it needs nothing:
        `Path("page.html").write_text(explorer.page().data, encoding="utf-8")`.
        """
        # A notebook knows its encoding, a file of its own has to say it.
        style = "font-family:sans-serif;font-size:13px;line-height:1.4"
        return HTML(f'<div style="{style}"><meta charset="utf-8">{_plain(self)}</div>')


class GalleryExplorer(Explorer):
    """An explorer of a gallery's pictures: four of them, linked, each with a caption.

    Args:
        gallery: pictures and networks.
        width: of each picture in CSS pixels, at most.
        picture: its position in the gallery, or its name.
        pixel: (row, column) that is picked; None is the middle.
        boxes: whether a drag boxes a region.

    Raises:
        TypeError: that is no gallery.
        ValueError: there is no such picture or pixel.
    """

    def __init__(
        self,
        gallery: Gallery,
        width: int,
        picture: int | str,
        pixel: Sequence[int] | None,
        boxes: bool = False,
    ):
        super().__init__()
        if not isinstance(gallery, Gallery):
            raise TypeError(f"{gallery!r} is no gallery: open it with open_gallery(...)")
        self.gallery = gallery
        options = [(one.name, place) for place, one in enumerate(gallery.pictures)]
        self.picture = dropdown("picture", options, picture, "32em")
        self.pictures = [PixelImage(width=width, boxes=boxes) for _ in range(4)]
        for other in self.pictures[1:]:
            for name in ("picked", "region"):
                traitlets.link((self.pictures[0], name), (other, name))
        self.captions = [widgets.HTML() for _ in self.pictures]
        self.frames = [
            widgets.VBox(pair) for pair in zip(self.pictures, self.captions, strict=True)
        ]
        """Every picture above its caption."""
        rows, columns = gallery.size
        row, column = (rows // 2, columns // 2) if pixel is None else pixel
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(f"pixel {pixel}: the pictures have {rows} rows and {columns} columns")
        self.pictures[0].picked = [row, column]

    def show(
        self,
        place: int,
        pixels: np.ndarray,
        alt: str,
        caption: str,
        right: np.ndarray | None = None,
    ) -> None:
        """Shows one of the four pictures.

        Args:
            place: which, 0..3.
            pixels: (H, W, 3) uint8, and `right` alike, to swipe to.
            alt: what it shows, plain text.
            caption: HTML.
        """
        self.pictures[place].show(pixels, alt, right)
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
