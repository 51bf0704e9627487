"""What is read and seen of an explorer's widgets, and of its page."""

from __future__ import annotations

import base64
import html
import io
import re

import numpy as np
from PIL import Image

from iapc_lib.explorers.pixel_image import PixelImage
from iapc_lib.explorers.shell import Explorer


def shown(picture: PixelImage, right: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 that a picture shows, `right` of the swipe or left."""
    png = picture.right_png if right else picture.png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def words(markup: str) -> str:
    """What is read of HTML."""
    markup = re.sub("<style.*?</style>", " ", markup, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", markup))).strip()


def rows(markup: str) -> list[list[str]]:
    """The cells of a table, row by row, the heads first."""
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", markup, re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.DOTALL) for line in lines]
    return [[words(cell) for cell in line] for line in cells]


def expect_page(explorer: Explorer, pictures: list[PixelImage]) -> str:
    """Checks that the page has these pictures with their texts and marks; returns what is read."""
    page = explorer.page().data
    assert "<script" not in page and 'charset="utf-8"' in page
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"', page)
    assert page.count("<img") == len(images) == len(pictures)
    for (encoded, alt), picture in zip(images, pictures, strict=True):
        assert html.unescape(alt) == picture.alt != ""
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
        np.testing.assert_array_equal(found, picture.marked())
    return words(page)
