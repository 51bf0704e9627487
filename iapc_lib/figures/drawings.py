"""What opens each notebook: a drawing of its idea, without any data of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Polygon

from iapc_lib.classes import NAMES, PALETTE
from iapc_lib.figures.canvas import BOTH, MEMORY, SOURCE, STUDENT, Canvas
from iapc_lib.figures.charts import RIGHT, WRONG

WIDTH = 8.25
"""Inches, of every drawing: the page of a notebook."""


def source_free() -> Figure:
    """What is source-free: the network travels, the images that it learned from stay behind."""
    canvas = Canvas(WIDTH, 2.7)
    for x, title in ((1.95, "at home"), (6.3, "abroad")):
        canvas.words(x, 2.45, title, fontsize=11)
    canvas.box(1.0, 1.75, 1.6, 0.7, "rendered streets\nwith labels", SOURCE)
    canvas.box(3.0, 1.75, 1.3, 0.7, "source\nnetwork", SOURCE)
    canvas.arrow((1.8, 1.75), (2.35, 1.75))
    canvas.words(2.08, 1.98, "train", fontsize=9)
    canvas.box(1.0, 0.75, 1.6, 0.5, "put away", BOTH, style="dashed")
    canvas.arrow((1.0, 1.4), (1.0, 1.0), "dashed")
    canvas.words(1.0, 0.3, "licence, privacy, size", fontsize=9)
    canvas.line([4.05, 4.05], [0.15, 2.6], linestyle="dashed", color=BOTH)
    canvas.box(5.15, 1.75, 1.3, 0.7, "the same\nnetwork", SOURCE)
    canvas.arrow((3.65, 1.75), (4.5, 1.75))
    canvas.words(4.05, 2.3, "only this travels", fontsize=9, backgroundcolor="white")
    canvas.box(5.15, 0.75, 1.7, 0.7, "photographed streets\nwithout labels", MEMORY)
    canvas.box(7.3, 1.25, 1.4, 0.7, "adapted\nnetwork", STUDENT)
    canvas.arrow((5.8, 1.75), (6.6, 1.4))
    canvas.arrow((6.0, 0.75), (6.6, 1.1))
    canvas.words(6.25, 1.25, "adapt", fontsize=9)
    return canvas.figure


def network(shapes: Mapping[str, tuple[int, int, int]], image: tuple[int, int]) -> Figure:
    """A segmentation network: every part as high as its maps are, with their sizes.

    Args:
        shapes: (channels, height, width) of what every part gives, in order; the last is the head.
        image: (height, width) of the input.
    """
    canvas = Canvas(WIDTH, 3.0)
    names = ["image", *shapes]
    sizes = [(3, *image), *shapes.values()]
    step = WIDTH / len(names)
    smallest = min(height for _, height, _ in sizes)
    dilated = next(place for place, (_, height, _) in enumerate(sizes) if height == smallest)
    for place, (name, (channels, height, width)) in enumerate(zip(names, sizes, strict=True)):
        x = step * (place + 0.5)
        color = BOTH if place == 0 else STUDENT if place == len(names) - 1 else SOURCE
        canvas.box(x, 1.65, 0.42, 0.2 + 1.3 * height / image[0], "", color)
        canvas.words(x, 0.58, f"{name}\n{channels}\n{height} x {width}", fontsize=9)
        if place:
            canvas.arrow((x - step + 0.21, 1.65), (x - 0.21, 1.65))
    left = step * (dilated + 0.5) - 0.21
    right = step * (len(names) - 1) - 0.15
    canvas.line([left, right], [2.62, 2.62])
    canvas.words((left + right) / 2, 2.8, "same size from here on: strides became dilations")
    canvas.words(step / 2, 0.16, "channels,\nheight x width", fontsize=8, color=BOTH)
    return canvas.figure


def residual_block() -> Figure:
    """A block of a residual network: three convolutions, whose result is added to their input."""
    canvas = Canvas(WIDTH, 1.7)
    places = (2.0, 3.9, 5.8)
    for x, text in zip(
        places, ("1x1, fewer\nchannels", "3x3,\ndilated", "1x1, all\nchannels"), strict=True
    ):
        canvas.box(x, 0.6, 1.3, 0.6, text, SOURCE)
    canvas.words(0.35, 0.6, "input")
    for start, end in ((0.65, 1.35), (2.65, 3.25), (4.55, 5.15), (6.45, 6.85), (7.15, 7.55)):
        canvas.arrow((start, 0.6), (end, 0.6))
    canvas.words(7.0, 0.6, "+", fontsize=16)
    canvas.words(7.9, 0.6, "output")
    canvas.line([1.0, 1.0, 7.0], [0.6, 1.35, 1.35])
    canvas.arrow((7.0, 1.35), (7.0, 0.75))
    canvas.words(4.0, 1.52, "as it came")
    return canvas.figure


def receptive_field(field: int, image: tuple[int, int]) -> Figure:
    """An image's frame inside the square of pixels that one feature may depend on.

    Args:
        field: side of the square, in pixels.
        image: (height, width).
    """
    largest = max(field, *image)
    scale = 2.6 / largest
    canvas = Canvas(WIDTH, 3.0)
    canvas.box(2.2, 1.5, scale * field, scale * field, "", SOURCE, style="dashed")
    canvas.box(2.2, 1.5, scale * image[1], scale * image[0], "image", STUDENT)
    canvas.words(3.9, 2.0, f"receptive field of the middle, {field} x {field}", ha="left")
    canvas.words(3.9, 1.5, f"image, {image[0]} x {image[1]}", ha="left")
    return canvas.figure


def six_views() -> Figure:
    """Six views of an image, six maps of probabilities, their sum, and the class that wins."""
    canvas = Canvas(WIDTH, 2.9)
    for row, mirrored in enumerate((False, True)):
        y = 2.0 - 1.05 * row
        for column, scale in enumerate((0.75, 1.0, 1.25)):
            x, width, height = 0.75 + 1.2 * column, 0.72 * scale, 0.36 * scale
            canvas.box(x, y, width, height, "", BOTH)
            nose = -1 if mirrored else 1
            corners = np.array([(-0.3, -0.3), (0.35, -0.3), (0.05, 0.1), (-0.3, 0.3)])
            car = corners * (nose * width, height) + (x, y)
            canvas.axes.add_patch(Polygon(car, facecolor=SOURCE, edgecolor="none"))
            canvas.words(x, y - 0.4, f"{'mirrored, ' if mirrored else ''}{scale:g}", fontsize=9)
    canvas.box(4.55, 1.45, 0.95, 0.9, "source\nnetwork,\nsoft-max", SOURCE)
    canvas.arrow((3.75, 1.75), (4.07, 1.6))
    canvas.arrow((3.75, 1.15), (4.07, 1.3))
    for place in range(6):
        x, y = 5.4 + 0.05 * place, 1.3 + 0.06 * place
        canvas.box(x, y, 0.6, 0.32, "", SOURCE)
    canvas.arrow((5.03, 1.45), (5.15, 1.45))
    canvas.words(5.5, 0.85, "six maps, back at\nthe image's size", fontsize=9)
    canvas.words(6.15, 1.45, "$\\sum$", fontsize=18)
    canvas.arrow((6.33, 1.45), (6.93, 1.45))
    canvas.words(6.63, 1.65, "arg max", fontsize=9)
    canvas.box(7.55, 1.45, 1.2, 0.62, "pseudo-label\nof every pixel", SOURCE)
    return canvas.figure


def two_values() -> Figure:
    """The two largest logits of a pixel, and the importance that they give."""
    canvas = Canvas(WIDTH, 2.9)
    zero, unit = 3.4, 0.55
    cases = (
        (4.0, 0.4, "one class stands alone"),
        (3.0, 2.7, "two classes compete"),
        (3.0, -1.5, "the second is negative"),
        (-1.0, -2.0, "both are negative"),
    )
    canvas.line([zero, zero], [0.25, 2.55], color=BOTH, linestyle="dashed")
    canvas.words(zero, 2.72, "0")
    canvas.words(7.1, 2.72, "$I = 1 - s_2/s_1$")
    for place, (first, second, meaning) in enumerate(cases):
        y = 2.25 - 0.55 * place
        canvas.line([zero - 2.2 * unit, zero + 4.6 * unit], [y, y], color="0.8", zorder=0)
        for value, color, name in ((second, WRONG, "$s_2$"), (first, RIGHT, "$s_1$")):
            x = zero + unit * value
            canvas.axes.plot(x, y, marker="o", markersize=10, color=color)
            canvas.words(x, y - 0.23, name, fontsize=9)
        canvas.words(0.1, y, meaning, ha="left")
        canvas.words(7.1, y, f"{1 - second / first:+.1f}")
    return canvas.figure


def prototypes() -> Figure:
    """Features as arrows, their means, and a pixel's angles to these."""
    canvas = Canvas(WIDTH, 2.9)
    shown = {"road": 12.0, "car": 48.0, "vegetation": 80.0}
    draw = np.random.default_rng(0)
    length = 1.75
    corners = [(0.5, 0.5), (3.2, 0.5), (5.9, 0.5)]
    titles = (
        "the memory's features,\ncoloured by its labels",
        "their means:\nthe prototypes",
        "a pixel of the student:\nwhich is nearest?",
    )
    for (x, y), title in zip(corners, titles, strict=True):
        canvas.words(x + 0.9, y + 2.15, title)
        canvas.line([x, x, x + length], [y + length, y, y], color="0.8", linewidth=1)
    for name, middle in shown.items():
        color = PALETTE[NAMES.index(name)] / 255
        for angle in np.radians(middle + draw.normal(0, 6, 6)):
            size = length * draw.uniform(0.55, 0.95)
            end = corners[0][0] + size * np.cos(angle), corners[0][1] + size * np.sin(angle)
            canvas.arrow(corners[0], end, color=color)
        angle = np.radians(middle)
        for corner in corners[1:]:
            end = corner[0] + 0.8 * length * np.cos(angle), corner[1] + 0.8 * length * np.sin(angle)
            canvas.arrow(corner, end, color=color)
            above = name == "vegetation"
            place = (end[0], end[1] + 0.14) if above else (end[0] + 0.08, end[1] + 0.04)
            align = "center" if above else "left"
            canvas.words(*place, f"$\\rho_{{{name}}}$", ha=align, fontsize=9)
    pixel = np.radians(58)
    start = corners[2]
    end = start[0] + length * np.cos(pixel), start[1] + length * np.sin(pixel)
    canvas.arrow(start, end)
    canvas.words(end[0] + 0.1, end[1], "$f$", ha="left")
    for name, radius in (("car", 0.75), ("road", 0.45)):
        arc = np.radians(np.linspace(shown[name], 58, 30))
        canvas.line(
            list(start[0] + radius * np.cos(arc)), list(start[1] + radius * np.sin(arc)), color=BOTH
        )
    canvas.words(7.3, 1.75, "small angle,\nlarge cosine", fontsize=9, ha="left")
    return canvas.figure


def film_strip() -> Figure:
    """One update in seven frames: who runs, who learns, who is averaged."""
    canvas = Canvas(WIDTH, 2.75)
    frames: Sequence[tuple[str, str, str, str]] = (
        ("memory", "memory\nfollows", "moving average\nof the student", MEMORY),
        ("source", "source\nlooks", "rescaled view:\nimportance", SOURCE),
        ("memory", "memory\nlooks", "plain view:\nprototypes", MEMORY),
        ("student", "student\nlooks", "other colours:\nprediction", STUDENT),
        ("", "losses", "five terms,\none sum", BOTH),
        ("student", "student\nlearns", "gradient, a step\nof the optimiser", STUDENT),
        ("student", "student\nlooks", "clean view:\nstatistics only", STUDENT),
    )
    step = WIDTH / len(frames)
    canvas.box(WIDTH / 2, 1.55, WIDTH - 0.04, 1.95, lit=False)
    for place, (name, title, what, color) in enumerate(frames):
        x = step * (place + 0.5)
        canvas.box(x, 1.75, step - 0.14, 1.2, title, color)
        canvas.words(x, 2.2, str(place + 1), fontsize=10)
        canvas.words(x, 0.88, what, fontsize=8.5)
        mode = {"source": "eval mode", "": ""}.get(name, "train mode")
        canvas.words(x, 1.32, "" if place in (0, 5) else mode, fontsize=8.5, color="0.35")
        for x_hole in (x - 0.3, x, x + 0.3):
            canvas.axes.plot(x_hole, 2.44, marker="s", markersize=4, color="0.6")
    canvas.words(
        WIDTH / 2, 0.3, "only the student has a gradient; the source network never changes"
    )
    return canvas.figure


def intersection_over_union() -> Figure:
    """A class as two areas, and what each split of the target may be used for."""
    canvas = Canvas(WIDTH, 2.6)
    canvas.axes.add_patch(Ellipse((1.55, 1.35), 2.2, 1.5, facecolor=(RIGHT, 0.3), edgecolor=RIGHT))
    canvas.axes.add_patch(Ellipse((2.65, 1.35), 2.2, 1.5, facecolor=(WRONG, 0.3), edgecolor=WRONG))
    canvas.words(1.2, 2.35, "is a car")
    canvas.words(3.0, 2.35, "is called a car")
    for x, text in ((0.95, "missed\nFN"), (2.1, "right\nTP"), (3.25, "invented\nFP")):
        canvas.words(x, 1.35, text)
    canvas.words(2.1, 0.3, "IoU = TP / (FN + TP + FP)", fontsize=11)
    for y, split, use in (
        (2.0, "train", "adapt: images, no labels"),
        (1.3, "dev", "look and choose"),
        (0.6, "val", "the reported score, once"),
    ):
        canvas.box(5.2, y, 0.9, 0.5, split, MEMORY)
        canvas.words(5.85, y, use, ha="left")
    return canvas.figure


def fork() -> Figure:
    """A fair comparison: one source network and one set of pseudo-labels, several adaptations."""
    canvas = Canvas(WIDTH, 2.4)
    canvas.box(1.1, 1.2, 1.6, 0.7, "source network,\npseudo-labels", SOURCE)
    for y, name in ((2.0, "IAPC"), (1.2, "IAPC without one term"), (0.4, "self-training")):
        canvas.arrow((1.9, 1.2 + (y - 1.2) * 0.2), (3.0, y))
        canvas.box(4.1, y, 2.2, 0.55, name, STUDENT)
        canvas.arrow((5.2, y), (6.1, y))
        canvas.box(6.75, y, 1.3, 0.55, "score on val", BOTH)
    canvas.words(1.1, 0.45, "made once,\nthe same for all", fontsize=9)
    return canvas.figure


def paired_seeds() -> Figure:
    """Two methods and three seeds: where the lines run alike, the difference is real."""
    canvas = Canvas(WIDTH, 2.6)
    for x, title, pairs in (
        (0.9, "each seed gains alike", ((0.5, 1.25), (0.85, 1.55), (1.15, 1.9))),
        (5.0, "the lines cross: perhaps no gain", ((0.5, 1.6), (1.2, 0.8), (0.95, 1.35))),
    ):
        canvas.words(x + 1.0, 2.4, title)
        for seed, (low, high) in enumerate(pairs):
            canvas.line([x, x + 2.0], [low, high], color="0.6")
            for place, y in ((x, low), (x + 2.0, high)):
                canvas.axes.plot(place, y, marker="o", markersize=8, color=STUDENT)
            canvas.words(x - 0.15, low, f"seed {seed}", ha="right", fontsize=9)
        canvas.words(x, 0.15, "method A", fontsize=9)
        canvas.words(x + 2.0, 0.15, "method B", fontsize=9)
    return canvas.figure


def entropy_triangle() -> Figure:
    """Entropy over the triangle of three classes' probabilities: none in the corners."""
    canvas = Canvas(WIDTH, 2.9)
    corners = np.array([(2.7, 0.35), (5.5, 0.35), (4.1, 2.55)])
    share = np.linspace(0, 1, 61)
    points = np.array([(a, b, 1 - a - b) for a in share for b in share if a + b <= 1 + 1e-9])
    points = points.clip(1e-9, 1)
    places, entropy = points @ corners, -(points * np.log(points)).sum(axis=1)
    shown = canvas.axes.tricontourf(*places.T, entropy, levels=12, cmap="cividis")
    for (x, y), name in zip(corners, ("road", "bus", "train"), strict=True):
        canvas.words(x, y + (0.15 if name == "train" else -0.17), f"only {name}")
    for start in ((0.45, 0.3, 0.25), (0.2, 0.55, 0.25), (0.25, 0.2, 0.55)):
        begin = np.array(start) @ corners
        end = begin + 0.4 * (corners[int(np.argmax(start))] - begin)
        canvas.arrow(tuple(begin), tuple(end), color="white")
    bar = canvas.figure.colorbar(shown, cax=canvas.figure.add_axes((0.78, 0.2, 0.02, 0.6)))
    bar.set_label("entropy (natural logarithm)")
    bar.set_ticks([0, float(np.log(2)), float(np.log(3))], labels=["0", "ln 2", "ln 3"])
    return canvas.figure
