"""A picture whose pixels can be picked: the one widget that the explorers need of their own."""

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image, ImageDraw


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


class PixelImage(anywidget.AnyWidget):
    """A picture to click on. Use `show`; observe `picked`, `hovered` and `region`.

    A click picks a pixel, arrow keys move it (with Shift by ten), a drag boxes a region where
    `boxes` is set, Escape lifts it. With a second picture a seam between the two can be dragged.
    Once a page shows it, a message comes, for `on_msg`.
    """

    _esm = Path(__file__).with_name("pixel_image.js")
    _css = Path(__file__).with_name("pixel_image.css")

    png = traitlets.Bytes().tag(sync=True)
    right_png = traitlets.Bytes().tag(sync=True)
    size = traitlets.Tuple((1, 1)).tag(sync=True)
    """(height, width) in pixels of the picture."""
    width = traitlets.Int(420).tag(sync=True)
    """Width on the screen, in CSS pixels, at most that of the page."""
    alt = traitlets.Unicode().tag(sync=True)
    """What the picture shows, for those who cannot see it."""
    boxes = traitlets.Bool(False).tag(sync=True)
    """Whether a drag boxes a region."""
    picked = traitlets.List(traitlets.Int()).tag(sync=True)
    """[row, column], or empty."""
    hovered = traitlets.List(traitlets.Int()).tag(sync=True)
    """[row, column] under the mouse, or empty."""
    region = traitlets.List(traitlets.Int()).tag(sync=True)
    """[top, left, bottom, right), or empty."""
    split = traitlets.Float(0.5).tag(sync=True)
    """Where the second picture begins, as a share of the width."""
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """Of the two pictures, in their corners; or empty."""

    def show(
        self,
        pixels: np.ndarray,
        alt: str,
        right: np.ndarray | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """Shows a picture, and a second one to swipe to; both (H, W, 3) uint8 RGB."""
        with self.hold_trait_notifications():
            self.size, self.alt, self.names = pixels.shape[:2], alt, list(names)
            self.png = encode_png(pixels)
            self.right_png = b"" if right is None else encode_png(right)

    def marked(self) -> np.ndarray:
        """What a page shows of it, (s * H, s * W, 3) uint8: both pictures, cross and box drawn in.

        Enlarged by a whole number s where it would be less wide than on the screen.
        """
        (height, width), scale = self.size, math.ceil(self.width / self.size[1])
        canvas = _enlarged(self.png, scale)
        if self.right_png:
            border = round(self.split * width) * scale
            second = _enlarged(self.right_png, scale)
            canvas.paste(second.crop((border, 0, *second.size)), (border, 0))
            ImageDraw.Draw(canvas).line((border, 0, border, canvas.height), "white", scale)
        pen, pixel = ImageDraw.Draw(canvas), scale * width / self.width  # a CSS pixel here
        if self.region:
            top, left, bottom, right = (scale * side for side in self.region)
            pen.rectangle((left, top, right - 1, bottom - 1), None, "#d55e00", round(2 * pixel))
        if self.picked:
            row, column = (scale * (place + 0.5) for place in self.picked)
            gap, arm = 1.5 * scale, scale * max(4, round(min(height, width) / 16))
            for color, stroke in (("black", 5), ("white", 2)):
                for way in (-1, 1):
                    ends = (way * gap, way * arm)
                    across, down = (
                        [(column + x, row) for x in ends],
                        [(column, row + y) for y in ends],
                    )
                    pen.line(across, color, round(stroke * pixel))
                    pen.line(down, color, round(stroke * pixel))
        return np.asarray(canvas)

    def to_html(self) -> str:
        """An HTML `<img>` that holds what is shown, with its text; empty where nothing is."""
        if not self.png:
            return ""
        encoded = base64.b64encode(encode_png(self.marked())).decode()
        return (
            f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(self.alt)}" '
            f'style="width:{self.width}px;max-width:100%;image-rendering:pixelated">'
        )


def _enlarged(png: bytes, scale: int) -> Image.Image:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
