"""`PixelImage` under a real mouse and keyboard: what is clicked is what Python is told."""

from __future__ import annotations

import io
import json

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.browser.views import Picture, eventually

NOTEBOOK = "notebooks/pixel_image.ipynb"

SIZES = {
    # what: ((height, width) of the picture, width on the screen)
    "magnified": ((5, 9), 300),
    "at an odd scale": ((37, 101), 420),
    "at its own size": ((60, 120), 120),
    "shrunk": ((300, 500), 200),
    "wider than the page": ((40, 80), 5000),
}

CODE = """
import json

import ipywidgets as widgets
import numpy as np

from iapc_lib.explorers.pixel_image import PixelImage


def noise(size, seed):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def shown(picture):
    told = widgets.HTML()
    names = ["picked", "hovered", "region", "split"]

    def tell(*_):
        told.value = json.dumps({name: getattr(picture, name) for name in names})

    picture.observe(tell, names)
    tell()
    return widgets.VBox([picture, told])


SIZES = json.loads('SIZES_AS_JSON')
plain = {what: PixelImage(width=width) for what, (size, width) in SIZES.items()}
for what, (size, _) in SIZES.items():
    plain[what].show(noise(size, 0), f"picture {what}")
two = PixelImage(width=400, boxes=True)
two.show(noise((30, 50), 1), "two pictures", right=noise((30, 50), 2))
change = widgets.ToggleButtons(options=["two", "one", "other size"], description="show")


def show(_):
    if change.value == "other size":
        two.show(noise((20, 60), 3), "of other size")
        two.picked, two.region = [3, 4], [1, 2, 10, 20]
    else:
        right = noise((30, 50), 2) if change.value == "two" else None
        two.show(noise((30, 50), 1), f"{change.value} pictures", right=right)


change.observe(show, "value")
width = widgets.IntSlider(description="width", min=100, max=800, value=400)
widgets.link((width, "value"), (two, "width"))
widgets.VBox([change, width, shown(two), *map(shown, plain.values())])
"""


def noise(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def notebook(project):
    """The notebook that is opened, beside the project's own; pages load it after this."""
    code = CODE.replace("SIZES_AS_JSON", json.dumps(SIZES))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code)], metadata={"kernelspec": kernel}
    )
    nbformat.write(made, project / NOTEBOOK)


def told(picture: Picture) -> dict:
    """What Python knows of the picture."""
    below = picture.stage.locator("xpath=../following-sibling::*[1]")
    return json.loads(below.inner_text())


def expect_told(picture: Picture, **expected) -> None:
    def look():
        found = told(picture)
        assert {name: found[name] for name in expected} == expected

    eventually(picture.page, look)


@pytest.fixture
def two(view) -> Picture:
    """The picture with a second one to swipe to, on which boxes can be drawn."""
    view.choose("show", "other size")
    view.choose("show", "two")
    view.slide("width", "400")
    picture = view.picture("two pictures")
    picture.stage.wait_for()
    return picture


@pytest.mark.parametrize("what", SIZES)
def test_shows_exactly_the_pixels_and_says_what_they_show(view, what):
    (height, width), on_screen = SIZES[what]
    picture = view.picture(f"picture {what}")
    assert picture.alt == f"picture {what}"
    assert picture.size == (height, width)
    picture.expect_pixels(noise((height, width), 0))
    assert picture.pixels(right=True) is None
    assert not picture.swipe().is_visible()
    frame = picture.stage.bounding_box()
    assert frame["width"] / frame["height"] == pytest.approx(width / height, rel=0.02)
    if what == "wider than the page":
        assert frame["x"] + frame["width"] <= view.page.viewport_size["width"]
    else:
        assert frame["width"] == pytest.approx(on_screen, abs=0.5)


@pytest.mark.parametrize("what", SIZES)
def test_a_click_picks_the_pixel_under_it(view, what):
    height, width = SIZES[what][0]
    picture = view.picture(f"picture {what}")
    frame = picture.stage.bounding_box()
    # Where pixels are smaller than the mouse's steps a click may be one step off.
    slack = 0 if frame["height"] >= 2 * height else int(np.ceil(height / frame["height"]))
    corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    for row, column in [*corners, (height // 2, width // 3), (height // 3, width // 2)]:
        picture.click(row, column)

        def look(row=row, column=column):
            found = told(picture)["picked"]
            assert len(found) == 2, found
            assert np.abs(np.subtract(found, (row, column))).max() <= slack, (row, column)
            assert picture.cross() == tuple(found)

        eventually(view.page, look)


def test_a_click_beside_the_edge_of_a_pixel_picks_that_pixel(view):
    picture = view.picture("picture magnified")
    for row, column in ((2, 4), (0, 8), (4, 0)):
        for down, across in ((0.06, 0.06), (0.06, 0.94), (0.94, 0.06), (0.94, 0.94)):
            picture.click(1, 1)
            expect_told(picture, picked=[1, 1])
            view.page.mouse.click(*picture.point(row + down, column + across))
            expect_told(picture, picked=[row, column])


def test_only_the_main_button_picks(view):
    picture = view.picture("picture magnified")
    picture.click(1, 1)
    picture.click(3, 3, button="middle")
    picture.click(2, 5, button="right")
    view.page.keyboard.press("Escape")
    picture.hover(4, 4)
    expect_told(picture, hovered=[4, 4], picked=[1, 1])


def test_the_mouse_is_followed_to_where_it_rests(view):
    picture = view.picture("picture magnified")
    for row, column in ((0, 0), (3, 7), (2, 2)):
        view.page.mouse.move(*picture.point(row + 0.5, column + 0.5), steps=8)
        expect_told(picture, hovered=[row, column])
    view.page.mouse.move(0, 0)
    expect_told(picture, hovered=[])


def test_keys_move_the_picked_pixel_and_stop_at_the_edge(view):
    picture = view.picture("picture at an odd scale")
    picture.click(20, 50)
    expect_told(picture, picked=[20, 50])
    # The click has given it the focus: the keys go where a user's would.
    for key, expected in (
        ("ArrowDown", [21, 50]),
        ("ArrowRight", [21, 51]),
        ("ArrowUp", [20, 51]),
        ("ArrowLeft", [20, 50]),
        ("Shift+ArrowDown", [30, 50]),
        ("Shift+ArrowDown", [36, 50]),
        ("ArrowDown", [36, 50]),
        ("Shift+ArrowRight", [36, 60]),
        ("Shift+ArrowUp", [26, 60]),
        ("Shift+ArrowLeft", [26, 50]),
    ):
        view.page.keyboard.press(key)
        expect_told(picture, picked=expected)
        assert picture.cross() == tuple(expected)
        assert picture.stage.evaluate("stage => stage === document.activeElement")


def test_the_first_key_starts_in_the_middle_and_the_tab_key_reaches_it(view):
    view.choose("show", "one")
    picture = view.picture("one pictures")
    picture.stage.wait_for()
    view.control("width").locator(".widget-readout").focus()
    view.page.keyboard.press("Tab")
    assert picture.stage.evaluate("stage => stage === document.activeElement")
    outline = picture.stage.evaluate("stage => getComputedStyle(stage).outlineStyle")
    assert outline == "solid"


def test_a_drag_boxes_a_region_and_a_click_lifts_it(two):
    two.drag((5, 10), (20, 30))
    expect_told(two, region=[5, 10, 21, 31])
    assert two.box() == (5, 10, 21, 31)
    two.drag((25, 45), (10, 40))
    expect_told(two, region=[10, 40, 26, 46])
    picked = told(two)["picked"]
    two.press("Escape")
    expect_told(two, region=[], picked=picked)
    assert two.box() is None
    two.drag((1, 1), (3, 3))
    expect_told(two, region=[1, 1, 4, 4])
    two.click(12, 13)
    expect_told(two, region=[], picked=[12, 13])


def test_a_drag_over_the_edge_ends_at_the_edge(two):
    two.hover(20, 30)
    two.page.mouse.down()
    two.page.mouse.move(*two.point(36, 70), steps=4)
    two.page.mouse.up()
    expect_told(two, region=[20, 30, 30, 50])


def test_without_boxes_a_drag_picks_where_it_ends(view):
    picture = view.picture("picture magnified")
    picture.drag((1, 1), (3, 6))
    expect_told(picture, region=[], picked=[3, 6])
    assert picture.box() is None


def test_the_second_picture_is_clipped_where_the_swipe_stands(two):
    two.expect_pixels(noise((30, 50), 1))
    two.expect_pixels(noise((30, 50), 2), right=True)
    swipe, right = two.swipe(), two.stage.locator("img.iapc-right")
    assert swipe.get_attribute("aria-label")
    for key, split in (("Home", 0.0), ("ArrowRight", 0.01), ("End", 1.0), ("ArrowLeft", 0.99)):
        swipe.press(key)
        expect_told(two, split=split)
        clip = right.evaluate("image => getComputedStyle(image).clipPath")
        share = 0 if clip == "inset(0px)" else float(clip.split()[-1].rstrip("%)")) / 100
        assert share == pytest.approx(split, abs=1e-4), clip
    swipe.fill("0.3")
    expect_told(two, split=0.3)
    two.click(4, 40)
    expect_told(two, picked=[4, 40], split=0.3)


def test_what_is_on_the_screen_is_left_and_right_of_the_swipe(two):
    """A photograph of the page itself: the colours left and right of the border."""
    two.swipe().fill("0.5")
    two.press("Escape")
    two.click(29, 49)
    expect_told(two, split=0.5, region=[])
    shot = np.asarray(Image.open(io.BytesIO(two.stage.screenshot())).convert("RGB"))
    rows = ((np.arange(20) + 0.5) / 30 * shot.shape[0]).astype(int)
    columns = ((np.arange(40) + 0.5) / 50 * shot.shape[1]).astype(int)
    seen = shot[np.ix_(rows, columns)]
    # Between the two lies the seam with its handle.
    np.testing.assert_array_equal(seen[:, :23], noise((30, 50), 1)[:20, :23])
    np.testing.assert_array_equal(seen[:, 27:], noise((30, 50), 2)[:20, 27:40])


def test_python_can_show_other_pictures_pick_and_box(view, two):
    view.choose("show", "one")
    one = view.picture("one pictures")
    one.expect_pixels(noise((30, 50), 1))
    assert one.pixels(right=True) is None
    assert not one.swipe().is_visible()

    view.choose("show", "other size")
    other = view.picture("of other size")
    other.expect_pixels(noise((20, 60), 3))
    assert other.size == (20, 60)
    expect_told(other, picked=[3, 4], region=[1, 2, 10, 20])
    assert other.cross() == (3, 4)
    assert other.box() == (1, 2, 10, 20)
    frame = other.stage.bounding_box()
    assert frame["width"] / frame["height"] == pytest.approx(3, rel=0.02)

    view.choose("show", "two")
    view.picture("two pictures").expect_pixels(noise((30, 50), 2), right=True)


@pytest.mark.parametrize("width", [160, 640])
def test_python_can_set_the_width_and_clicks_follow(view, two, width):
    view.slide("width", str(width))

    def look():
        assert two.stage.bounding_box()["width"] == pytest.approx(width, abs=0.5)

    eventually(view.page, look)
    two.click(22, 33)
    expect_told(two, picked=[22, 33])
