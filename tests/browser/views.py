"""What somebody in front of the browser does and sees: notebooks, controls, pictures."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.servers import TOKEN, Server

OPEN_SECONDS = 120
"""Until a page is there and its kernel answers."""
RUN_SECONDS = 300
"""Until all cells of a notebook are done, on a finished run."""
ANSWER_SECONDS = 30
"""Until the page shows what Python answers to a click."""

BROKEN_WIDGET = re.compile(
    "Error displaying widget|Loading widget|Error creating widget|Click to show javascript error"
)

T = TypeVar("T")


def eventually(page: Page, look: Callable[[], T], seconds: float = ANSWER_SECONDS) -> T:
    """What `look` returns as soon as it fails no assertion; after that time its last failure."""
    end = time.monotonic() + seconds
    while True:
        try:
            return look()
        except AssertionError:
            if time.monotonic() > end:
                raise
            page.wait_for_timeout(50)


def numbers(text: str) -> list[float]:
    """The numbers that stand in a text, which may use the typographer's minus sign."""
    found = re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?", text.replace("\N{MINUS SIGN}", "-"))
    return [float(number) for number in found]


class Picture:
    """A `PixelImage` on the page."""

    def __init__(self, stage: Locator):
        self.stage = stage
        self.page = stage.page

    @property
    def alt(self) -> str:
        """What a screen reader says of it."""
        return self.stage.get_attribute("aria-label")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of the picture."""
        _, _, width, height = self.stage.locator("svg").get_attribute("viewBox").split()
        return int(height), int(width)

    def pixels(self, right: bool = False) -> np.ndarray | None:
        """(H, W, 3) uint8 that is shown, `right` of the swipe or left; None if nothing is."""
        image = self.stage.locator("img.iapc-right" if right else "img:not(.iapc-right)")
        encoded = image.evaluate(
            """async (image) => {
                if (image.hidden) return null;
                const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
                return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
            }"""
        )
        if encoded is None:
            return None
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))

    def expect_pixels(self, expected: np.ndarray, right: bool = False) -> None:
        """Waits until exactly these pixels, (H, W, 3) uint8, are shown."""

        def look() -> None:
            shown = self.pixels(right)
            assert shown is not None, f"{self.alt}: shows no picture"
            assert shown.shape == expected.shape, f"{self.alt}: shows {shown.shape}"
            others = (shown != expected).any(axis=2)
            rows, columns = np.nonzero(others)
            assert not others.any(), (
                f"{self.alt}: {others.sum()} of {others.size} pixels differ; at ({rows[0]}, "
                f"{columns[0]}) {shown[rows[0], columns[0]]} for {expected[rows[0], columns[0]]}"
            )

        eventually(self.page, look)

    def point(self, row: float, column: float) -> tuple[float, float]:
        """Where on the page row and column lie; whole numbers are the pixels' upper left edges."""
        self.stage.scroll_into_view_if_needed()
        frame, (height, width) = self.stage.bounding_box(), self.size
        return (
            frame["x"] + column / width * frame["width"],
            frame["y"] + row / height * frame["height"],
        )

    def click(self, row: int, column: int, **options) -> None:
        """Clicks the middle of a pixel."""
        self.page.mouse.click(*self.point(row + 0.5, column + 0.5), **options)

    def hover(self, row: int, column: int) -> None:
        """Moves the mouse to the middle of a pixel."""
        self.page.mouse.move(*self.point(row + 0.5, column + 0.5))

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Drags from the middle of one pixel to the middle of another; both (row, column)."""
        self.hover(*start)
        self.page.mouse.down()
        self.page.mouse.move(*self.point(end[0] + 0.5, end[1] + 0.5), steps=5)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        """Presses keys while the picture has the focus."""
        for key in keys:
            self.stage.press(key)

    def swipe(self) -> Locator:
        """The slider between its two pictures."""
        return self.stage.locator("xpath=following-sibling::input[@type='range']")

    def cross(self) -> tuple[int, int] | None:
        """(row, column) of the pixel that the cross marks, None without one."""
        path = self.stage.locator(".iapc-cross").get_attribute("d")
        numbers = re.findall(r"-?[\d.]+", path or "")
        if not numbers:
            return None
        _, row, _, _, _, _, column, *_ = map(float, numbers)
        return int(row), int(column)

    def box(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of the box that is drawn, None without one."""
        box = self.stage.locator(".iapc-box")
        if not box.is_visible():
            return None
        left, top, width, height = (
            int(box.get_attribute(name)) for name in ("x", "y", "width", "height")
        )
        return top, left, top + height, left + width


class View:
    """A notebook's page, in JupyterLab or Voila; `root` is where its cells are."""

    def __init__(self, page: Page, root: Locator):
        self.page, self.root = page, root

    def picture(self, alt: str) -> Picture:
        """The picture whose alternative text begins so."""
        return Picture(self.root.locator(f".iapc-stage[aria-label^={json.dumps(alt)}]"))

    def control(self, description: str) -> Locator:
        """A control in sight, by what is written before it."""
        exactly = re.compile(rf"^\s*{re.escape(description)}\s*$")
        label = self.page.locator("label", has_text=exactly)
        controls = self.root.locator(".widget-inline-hbox, .widget-toggle-buttons")
        return controls.filter(has=label, visible=True)

    def choose(self, description: str, option: str) -> None:
        """Takes an option of a drop-down list or of a row of toggle buttons."""
        control = self.control(description)
        if control.locator("select").count():
            control.locator("select").select_option(label=option)
        else:
            control.get_by_role("button", name=option, exact=True).click()

    def slide(self, description: str, value: str) -> None:
        """Types a number into the field beside a slider."""
        readout = self.control(description).locator(".widget-readout")

        def type_it() -> None:
            # Again, if Python's answer to an earlier control rewrote the field while it was typed.
            readout.click()
            readout.press("ControlOrMeta+a")
            self.page.keyboard.type(value)
            readout.press("Enter")
            self.page.wait_for_timeout(100)
            shown = readout.inner_text().replace("\N{MINUS SIGN}", "-")
            assert float(shown) == float(value), shown

        eventually(self.page, type_it)

    def press(self, description: str, *keys: str) -> None:
        """Presses keys while a slider's handle has the focus."""
        handle = self.control(description).locator(".noUi-handle")
        for key in keys:
            handle.press(key)

    def press_until(self, description: str, key: str, readout: str) -> None:
        """Presses a key while a slider's handle has the focus, until its number reads so."""

        def look() -> None:
            # A press can be lost while Python's answer to an earlier one arrives.
            self.page.wait_for_timeout(100)
            if self.readout(description) != readout:
                self.press(description, key)
            assert self.readout(description) == readout

        eventually(self.page, look)

    def readout(self, description: str) -> str:
        """The text beside a slider."""
        return self.control(description).locator(".widget-readout").inner_text()

    def table(self, heading: str) -> list[list[str]]:
        """Texts of a widget's table, row by row, by any text in it; empty cells are left out."""
        return self.rows(self.root.locator(".widget-html-content table", has_text=heading))

    def rows(self, table: Locator) -> list[list[str]]:
        """Texts of a table's cells, row by row; empty ones are left out."""
        return table.evaluate(
            """table => [...table.rows].map(
                row => [...row.cells].map(cell => cell.innerText.trim()).filter(text => text))"""
        )

    def widget(self, text: str) -> Locator:
        """The HTML widget that has this text in it."""
        return self.root.locator(".widget-html-content", has_text=text)

    def expect_no_error(self) -> None:
        """No cell failed, every widget is shown."""
        errors = self.root.locator('[data-mime-type="application/vnd.jupyter.error"]')
        assert not errors.count(), "\n".join(errors.all_inner_texts())

        def look() -> None:
            outputs = self.root.locator(".jp-OutputArea-output").all_inner_texts()
            broken = [text for text in outputs if BROKEN_WIDGET.search(text)]
            assert not broken, broken

        eventually(self.page, look)


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """A page of its own; closed at the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(ANSWER_SECONDS * 1000)
    try:
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def in_lab(browser: Browser, server: Server, notebook: str) -> Iterator[View]:
    """Opens a notebook in JupyterLab, nothing run yet; its kernel ends with the context."""
    # The kernel first: a notebook opened without one starts two.
    session = server.request(
        "POST",
        "/api/sessions",
        {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}},
    )
    try:
        with new_page(browser) as page:
            page.goto(
                f"{server.address}/lab/workspaces/auto-tests/tree/{notebook}?token={TOKEN}&reset"
            )
            panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
            indicator = panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
            expect(indicator).to_be_visible(timeout=OPEN_SECONDS * 1000)

            def connected() -> None:
                kernel = server.request("GET", f"/api/kernels/{session['kernel']['id']}")
                assert kernel["connections"] >= 1, kernel
                assert kernel["execution_state"] == "idle", kernel

            eventually(page, connected, OPEN_SECONDS)
            yield View(page, panel)
    finally:
        server.request("DELETE", f"/api/sessions/{session['id']}")


def run_all(view: View, seconds: float = RUN_SECONDS) -> None:
    """Run > Run All Cells, until every cell is done without an error."""
    view.page.get_by_role("menuitem", name="Run", exact=True).click()
    view.page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    prompts = view.root.locator(".jp-CodeCell .jp-InputPrompt")

    def look() -> bool:
        errors = view.root.locator('[data-mime-type="application/vnd.jupyter.error"]').count()
        texts = prompts.all_inner_texts()
        waiting = [text for text in texts if not re.match(r"^\[\d+\]:$", text.strip())]
        assert errors or (texts and not waiting), f"{len(waiting)} of {len(texts)} cells not done"
        return not errors

    eventually(view.page, look, seconds)
    view.expect_no_error()


@contextmanager
def in_voila(browser: Browser, server: Server, notebook: str) -> Iterator[View]:
    """Opens a notebook as a Voila page, which runs it; its kernel ends with the context."""
    with new_page(browser) as page:
        page.goto(
            f"{server.address}/voila/render/{notebook}?token={TOKEN}", timeout=RUN_SECONDS * 1000
        )
        view = View(page, page.locator("#rendered_cells"))
        expect(view.root).to_be_visible(timeout=OPEN_SECONDS * 1000)
        config = page.locator("#jupyter-config-data").first.text_content()
        kernel = re.search(r'"kernelId": "([^"]+)"', config)[1]
        try:
            view.expect_no_error()
            yield view
        finally:
            server.request("POST", f"/voila/api/shutdown/{kernel}")
