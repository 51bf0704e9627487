"""A picture whose pixels can be picked: the one widget that the explorers need of their own."""

from __future__ import annotations

import io
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


class PixelImage(anywidget.AnyWidget):
    """A picture to click on. Use `show`; observe `picked`, `hovered` and `region`.

    A click picks a pixel, arrow keys move it (with Shift by ten), a drag boxes a region where
    `boxes` is set, Escape lifts it. With a second picture a slider swipes between the two.
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

    def show(self, pixels: np.ndarray, alt: str, right: np.ndarray | None = None) -> None:
        """Shows a picture, and a second one to swipe to; both (H, W, 3) uint8 RGB."""
        with self.hold_trait_notifications():
            self.size, self.alt = pixels.shape[:2], alt
            self.png = encode_png(pixels)
            self.right_png = b"" if right is None else encode_png(right)
