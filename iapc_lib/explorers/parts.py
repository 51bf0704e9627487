"""Small pieces that several explorers share: colours, tables and captions, marks on pictures."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import ImageColor, ImageDraw

from iapc_lib.classes import IGNORE, NAMES, PALETTE
from iapc_lib.figures import charts

BLUE, ORANGE = (ImageColor.getrgb(color) for color in (charts.RIGHT, charts.WRONG))
"""RGB of pixels that are right or agree, and of the others, as in `figures`."""
COLORS = charts.COLORS
"""Of curves, as in `figures`."""
FINE = 3
"""Planes are drawn this many times larger, then reduced: smooth dots and lines."""


def shade(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """(H, W) float -> (H, W, 3) uint8 in the colour-blind-safe map cividis; NaN is black."""
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    colors = matplotlib.colormaps["cividis"](share, bytes=True)[..., :3]
    return np.where(np.isnan(values)[..., None], 0, colors).astype(np.uint8)


def dimmed(pixels: np.ndarray, kept: np.ndarray | bool = False) -> np.ndarray:
    """A picture (H, W, 3) uint8, dark where its pixels are not kept, (H, W) bool."""
    return np.where(np.asarray(kept)[..., None], pixels, pixels // 4)


def marked(pixels: np.ndarray, blue: np.ndarray, orange: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 with two kinds of its pixels, (H, W) bool, marked by colour."""
    for where, color in ((blue, BLUE), (orange, ORANGE)):
        colored = np.rint(0.3 * pixels + 0.7 * np.array(color)).astype(np.uint8)
        pixels = np.where(where[..., None], colored, pixels)
    return pixels


def diamond(pen: ImageDraw.ImageDraw, place: Sequence[float], color: tuple[int, int, int]) -> None:
    """Draws a prototype; the place (x, y) and its size are those of a plane `FINE` times larger."""
    x, y = place
    # A black rim in a white one is seen on grounds of every colour.
    for radius, fill in ((9.5, "white"), (8.2, "black"), (7, color)):
        r = radius * FINE
        pen.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill)


def block(content: str, width: str = "auto") -> str:
    """HTML in closer lines than ipywidgets' own, which leave room for a control."""
    style = f"line-height:1.35;width:{width};max-width:100%;overflow-wrap:anywhere"
    return f'<div style="{style}">{content}</div>'


def percent(share: float) -> str:
    """A share as text; NaN, the share of nothing, is `none`."""
    return "none" if math.isnan(share) else f"{share:.1%}"


def _entry(color: Sequence[int], words: str) -> str:
    """HTML: a small square of an RGB colour and plain words, on one line."""
    square = (
        "display:inline-block;width:0.8em;height:0.8em;border:1px solid #555;margin-right:0.4em;"
        f"background:rgb{tuple(color)}"
    )
    words = html.escape(words)
    return f'<span style="white-space:nowrap"><span style="{square}"></span>{words}</span>'


def legend(blue: str, orange: str) -> str:
    """HTML: what the two colours of `marked` mean, in plain words."""
    return f"{_entry(BLUE, blue)} &nbsp; {_entry(ORANGE, orange)}"


def class_name(train_id: int) -> str:
    """Name of a train id; `no class` for 255."""
    return "no class" if train_id == IGNORE else NAMES[train_id]


def swatch(train_id: int) -> str:
    """HTML: the class's colour and its name, on one line."""
    return _entry(PALETTE[train_id].tolist(), class_name(train_id))


def color_scale(low: float, high: float) -> str:
    """HTML: the colours of `shade` between the two numbers at their ends."""
    shades = shade(np.linspace(0, 1, 9)[None])[0].tolist()
    colors = ",".join(f"rgb{tuple(color)}" for color in shades)
    return (
        f'{low:.2f} <span style="display:inline-block;width:60px;height:0.8em;'
        f'background:linear-gradient(to right,{colors})"></span> {high:.2f}'
    )


def table(
    columns: Mapping[str, Sequence[Any]],
    formats: Mapping[str, Callable[[float], str]] | None = None,
    bars: Mapping[str, tuple[Any, Any]] | None = None,
    styles: Mapping[int, str] | None = None,
    missing: str = "none",
) -> str:
    """HTML: a table. A table of pandas' Styler took 6 ms, this one 0.2 ms.

    Args:
        columns: by their heads; heads and cells that are texts are HTML.
        formats: of columns of numbers, which stand on the right.
        bars: of columns of numbers whose cells show a bar from 0 to the number: low and high end
            of its scale, each one number or one for every row.
        styles: CSS of single rows, by their place.
        missing: stands in the place of NaN and None.
    """
    formats, bars, styles = formats or {}, bars or {}, styles or {}
    made = []
    for head, values in columns.items():
        side = "right" if head in formats else "left"
        # In each cell: a notebook's style sheet, and a page's without one, have a look of theirs.
        look = f"padding:0 0.8em 0 0;vertical-align:top;text-align:{side}"
        cells = [f'<th scope="col" style="{look};white-space:nowrap">{head}</th>']
        ends = [np.broadcast_to(end, len(values)) for end in bars.get(head, ())]
        for place, value in enumerate(values):
            known = head not in formats or not (value is None or math.isnan(value))
            text = formats.get(head, str)(value) if known else missing
            bar = _bar(value, *(end[place] for end in ends)) if ends and known else ""
            cells.append(f'<td style="{look}{bar}">{text}</td>')
        made.append(cells)
    rows = (
        f'<tr style="{styles.get(place, "")}">{"".join(cells)}</tr>'
        for place, cells in enumerate(zip(*made, strict=True), start=-1)
    )
    look = "margin:0 0 0.6em;font-size:inherit;line-height:1.3;border-collapse:collapse"
    return f'<table style="{look};overflow-wrap:normal">{"".join(rows)}</table>'


def _bar(value: float, low: float, high: float) -> str:
    """CSS: a bar from 0 to the value, in the left part of its cell."""
    first, last = (f"{40 * (end - low) / (high - low):.1f}%" for end in sorted((0.0, value)))
    stops = f"transparent {first},{COLORS[0]} {first} {last},transparent {last}"
    drawn = f"linear-gradient(to right,{stops}) no-repeat center/100% 70%"
    return f";min-width:8.5em;background:{drawn}"
