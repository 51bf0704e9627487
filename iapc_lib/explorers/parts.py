"""Small pieces that several explorers share: colours, HTML, linked pictures, notes."""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets as widgets
import matplotlib
import numpy as np
import traitlets

from iapc_lib.classes import IGNORE, NAMES, PALETTE
from iapc_lib.explorers.gallery import Gallery
from iapc_lib.explorers.pixel_image import PixelImage
from iapc_lib.figures import charts

BLUE, ORANGE = (
    tuple(round(255 * channel) for channel in color) for color in (charts.RIGHT, charts.WRONG)
)
"""RGB of pixels that are right or agree, and of the others, as in `figures`."""
WRAP = {"flex_flow": "row wrap", "grid_gap": "4px 16px"}
"""Layout of a row whose widgets go on beneath where the page is narrow."""


def shade(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """(H, W) float -> (H, W, 3) uint8 in the colour-blind-safe map cividis; NaN is black."""
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    colors = matplotlib.colormaps["cividis"](share, bytes=True)[..., :3]
    return np.where(np.isnan(values)[..., None], 0, colors).astype(np.uint8)


def blend(pixels: np.ndarray, colors: np.ndarray, share: float = 0.6) -> np.ndarray:
    """`share` of the colours over a picture, both (H, W, 3) uint8."""
    return np.rint((1 - share) * pixels + share * colors).astype(np.uint8)


def block(content: str, width: str = "auto", line_height: float = 1.35) -> str:
    """HTML in closer lines than ipywidgets' own, which leave room for a control."""
    style = f"line-height:{line_height};width:{width};max-width:100%"
    return f'<div style="{style}">{content}</div>'


def square(color: tuple[int, int, int]) -> str:
    """HTML: a small square of an RGB colour, for a legend."""
    return f'<span style="color:rgb{color}">&#9632;</span> '


def class_name(train_id: int) -> str:
    """Name of a train id; `no class` for 255."""
    return "no class" if train_id == IGNORE else NAMES[train_id]


def swatch(train_id: int) -> str:
    """HTML: the class's colour and its name."""
    red, green, blue = PALETTE[train_id]
    return (
        f'<span style="display:inline-block;width:0.9em;height:0.9em;border:1px solid #555;'
        f'background:rgb({red},{green},{blue});margin-right:0.4em"></span>'
        f"{html.escape(class_name(train_id))}"
    )


def bar_cell(value: float, limits: tuple[float, float] = (0.0, 1.0), width: str = "10em") -> str:
    """HTML: a table's cell with a bar from 0 to a value, cut off at the limits."""
    low, high = limits
    zero = (0 - low) / (high - low)
    end = (min(max(value, low), high) - low) / (high - low)
    return (
        f'<td style="width:{width};position:relative;background:#eee">'
        f'<div style="position:absolute;top:15%;height:70%;left:{100 * min(zero, end):.1f}%;'
        f'width:{100 * abs(end - zero):.1f}%;background:#0072b2"></div></td>'
    )


def color_scale(low: float, high: float) -> str:
    """HTML: the colours of `shade` between the two numbers at their ends."""
    shades = shade(np.linspace(0, 1, 9)[None])[0].tolist()
    colors = ",".join(f"rgb{tuple(color)}" for color in shades)
    return (
        f'{low:.2f} <span style="display:inline-block;width:60px;height:0.8em;'
        f'background:linear-gradient(to right,{colors})"></span> {high:.2f}'
    )


def class_bars(
    train_ids: Sequence[int],
    values: Sequence[float],
    limits: tuple[float, float] = (0.0, 1.0),
    bold: Sequence[int] = (),
) -> str:
    """HTML: a bar with colour, name and number for each class; bars start at 0.

    Args:
        train_ids: of the classes, in the order of the bars.
        values: one a class.
        limits: values at the two ends of the scale; 0 lies within.
        bold: train ids whose names are set bold.
    """
    rows = []
    for train_id, value in zip(train_ids, values, strict=True):
        name = f"<b>{swatch(train_id)}</b>" if train_id in bold else swatch(train_id)
        rows.append(
            f'<tr><td style="padding-right:0.6em;white-space:nowrap">{name}</td>'
            f"{bar_cell(value, limits)}"
            f'<td style="text-align:right;padding-left:0.6em">{value:.3f}</td></tr>'
        )
    return f'<table style="line-height:1.25">{"".join(rows)}</table>'


def linked_pictures(gallery: Gallery, width: int, *shared: str, **traits) -> list[PixelImage]:
    """Four pictures that share the picked pixel, at first the middle one.

    Args:
        gallery: gives the size.
        width: in CSS pixels of each, at most.
        shared: further traits that they share.
        traits: of each, see `PixelImage`.
    """
    pictures = [PixelImage(width=width, **traits) for _ in range(4)]
    for other in pictures[1:]:
        for name in ("picked", *shared):
            traitlets.link((pictures[0], name), (other, name))
    pictures[0].picked = [side // 2 for side in gallery.size]
    return pictures


def framed(
    pictures: Sequence[widgets.Widget], captions: Sequence[widgets.Widget]
) -> list[widgets.VBox]:
    """Every picture above its caption."""
    return [widgets.VBox(pair) for pair in zip(pictures, captions, strict=True)]


def picture_choice(gallery: Gallery) -> widgets.Dropdown:
    """Choice of a picture; its value is the picture's position in the gallery."""
    options = [(picture.name, place) for place, picture in enumerate(gallery.pictures)]
    return widgets.Dropdown(options=options, description="picture", layout={"width": "32em"})


def note_box(gallery: Gallery) -> widgets.HTML:
    """Says what is shown and what is missing."""
    lines = [f"<b>{html.escape(gallery.title)}</b>", *map(html.escape, gallery.notes)]
    return widgets.HTML("<br>".join(lines))


COLORS = charts.COLORS.as_hex()
"""The run's own curves; another run has the colour at the same place of `OTHER_COLORS`."""
