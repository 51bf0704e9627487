"""What stands along the street: lamps, traffic lights, signs, trees and clutter."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from .canvas import Canvas, Frame, scaled
from .looks import Look, pick

RED, BLUE, WHITE, YELLOW = (200, 30, 34), (30, 70, 170), (236, 236, 230), (244, 204, 30)
BARK = (86, 66, 48)


def post(
    canvas: Canvas, look: Look, rng: np.random.Generator, x: float, z: float, top: float
) -> None:
    """A bare pole."""
    canvas.line([(x, 0, z), (x, top, z)], 0.17, look.color(rng, look.poles), "pole")


def lamp(canvas: Canvas, rng: np.random.Generator, look: Look, x: float, z: float) -> None:
    """A street lamp whose arm reaches over the road; the rarer shape is a globe on a post."""
    color = look.color(rng, look.poles)
    if rng.random() < look.odd_shape:
        canvas.line([(x, 0, z), (x, 3.8, z)], 0.19, color, "pole")
        canvas.disc((x, 4.0, z), (0.25, 0.28), (236, 230, 206), "pole")
        return
    top, reach = rng.uniform(5.5, 7.5), -1.6 if x > 0 else 1.6
    canvas.line([(x, 0, z), (x, top, z), (x + reach, top + 0.3, z)], 0.19, color, "pole")
    canvas.line([(x, 0, z), (x, 1.0, z)], 0.26, color, "pole")
    canvas.line(
        [(x + reach * 0.75, top + 0.2, z), (x + reach * 1.2, top + 0.3, z)], 0.24, color, "pole"
    )


def traffic_light(canvas: Canvas, rng: np.random.Generator, look: Look, x: float, z: float) -> None:
    """A housing with three lamps on a post; the rarer shape hangs over the road as well."""
    color = look.color(rng, look.poles)
    height = rng.uniform(2.9, 3.5)
    canvas.line([(x, 0, z), (x, height, z)], 0.17, color, "pole")
    heads = [x]
    if rng.random() < max(0.25, look.odd_shape):
        reach = x - np.sign(x) * 2.4
        canvas.line([(x, height, z), (x, 5.2, z), (reach, 5.4, z)], 0.17, color, "pole")
        heads.append(reach)
    lit = int(rng.integers(3))
    for i, head in enumerate(heads):
        low = height - 0.55 if i == 0 else 4.5
        canvas.rectangle(
            (head - 0.22, head + 0.22), (low, low + 1.15), z, (28, 30, 28), "traffic light"
        )
        for lamp_at, color in enumerate([(40, 220, 90), (250, 180, 30), (240, 40, 30)]):
            glow = color if lamp_at == lit else scaled(color, 0.28)
            canvas.disc((head, low + 0.22 + 0.36 * lamp_at, z), (0.13, 0.15), glow)


def traffic_sign(canvas: Canvas, rng: np.random.Generator, look: Look, x: float, z: float) -> None:
    """Triangle, disc or square; the rarer shapes are direction boards, octagons and diamonds."""
    name, y, r = "traffic sign", rng.uniform(2.3, 2.9), rng.uniform(0.42, 0.55)
    post(canvas, look, rng, x, z, y)

    def plate(sides: int, turn: float, radius: float, color) -> None:
        turns = [turn + 2 * pi * i / sides for i in range(sides)]
        canvas.polygon([(x + radius * sin(t), y + radius * cos(t), z) for t in turns], color, name)

    kind = pick(rng, ["triangle", "disc", "square"])
    if rng.random() < look.odd_shape:
        kind = pick(rng, ["board", "octagon", "diamond"])
    if kind == "triangle":
        plate(3, 0, r * 1.2, RED)
        plate(3, 0, r * 0.8, WHITE)
    elif kind == "disc":
        rim, inside = pick(rng, [(RED, WHITE), (BLUE, BLUE), (RED, RED)])
        plate(16, 0, r, rim)
        plate(16, 0, r * 0.72, inside)
        canvas.rectangle((x - r * 0.45, x + r * 0.45), (y - 0.07, y + 0.07), z,
                         WHITE if inside != WHITE else (40, 40, 40))  # fmt: skip
    elif kind == "square":
        ground, mark = pick(rng, [(BLUE, WHITE), (YELLOW, (30, 30, 30))])
        plate(4, pi / 4, r * 1.25, ground)
        canvas.rectangle((x - 0.12, x + 0.12), (y - 0.25, y + 0.25), z, mark)
    elif kind == "board":
        ground = look.color(rng, (YELLOW, BLUE, WHITE))
        canvas.rectangle((x - 0.9, x + 0.9), (y - 0.35, y + 0.45), z, ground, name)
        for row in (-0.1, 0.18):
            canvas.line([(x - 0.6, y + row, z), (x + 0.5, y + row, z)], 0.09, (40, 40, 44))
    elif kind == "octagon":
        plate(8, pi / 8, r, RED)
        canvas.rectangle((x - r * 0.6, x + r * 0.6), (y - 0.08, y + 0.08), z, WHITE)
    else:
        plate(4, 0, r, WHITE)
        plate(4, 0, r * 0.7, YELLOW)


def tree(canvas: Canvas, rng: np.random.Generator, look: Look, x: float, z: float) -> None:
    """A trunk and a round crown; the rarer shapes are a fir, a poplar and a bare tree."""
    green = look.surface(rng, look.leaves)
    size, name = rng.uniform(0.9, 1.6), "vegetation"
    shape = "round" if rng.random() > look.odd_shape else pick(rng, ["fir", "poplar", "sparse"])
    trunk = 1.0 if shape == "fir" else 2.4 * size
    canvas.line([(x, 0, z), (x, trunk + 0.8, z)], 0.28 * size, BARK, name)
    if shape == "fir":
        for step in range(4):
            low, wide = trunk + step * 1.1 * size, (1.7 - 0.36 * step) * size
            tip = low + 2.0 * size
            canvas.polygon([(x - wide, low, z), (x + wide, low, z), (x, tip, z)],
                           scaled(green, 0.7 + 0.1 * step), name)  # fmt: skip
        return
    wide, high, blobs = {
        "round": (1.5, 1.4, 13),
        "poplar": (0.55, 2.4, 12),
        "sparse": (1.7, 1.5, 8),
    }[shape]
    middle = trunk + high * 0.85 * size
    if shape == "sparse":
        for side in (-1.2, -0.5, 0.5, 1.2):
            canvas.line([(x, trunk, z), (x + side * size, middle + 0.8, z)], 0.12, BARK, name)
    else:
        canvas.disc((x, middle, z), (wide * size, high * size), scaled(green, 0.7), name)
    radius = {"round": 0.75, "poplar": 0.5, "sparse": 0.4}[shape] * size
    for _ in range(blobs):
        turn, far = rng.uniform(0, 2 * pi), rng.uniform(0.2, 0.85)
        right, up = wide * size * far * cos(turn), high * size * far * sin(turn)
        shade = 0.85 + 0.25 * up / (high * size) + rng.uniform(-0.1, 0.12)
        blob = (radius * rng.uniform(0.7, 1.1), radius * rng.uniform(0.6, 1.0))
        canvas.disc((x + right, middle + up, z), blob, scaled(green, shade), name)


def clutter(canvas: Canvas, rng: np.random.Generator, look: Look, x: float, z: float) -> None:
    """A bin, a stack of boxes, a cabinet or an advertising pillar: void in Cityscapes."""
    kind = pick(rng, ["bin", "boxes", "cabinet", "pillar"])
    color = tuple(int(c) for c in rng.integers(40, 210, 3))
    name = "static"
    if kind == "bin":
        canvas.rectangle((x - 0.28, x + 0.28), (0, 0.95), z, color, name)
        canvas.rectangle((x - 0.33, x + 0.33), (0.9, 1.05), z, scaled(color, 0.6), name)
    elif kind == "pillar":
        canvas.rectangle((x - 0.6, x + 0.6), (0, 2.9), z, color, name)
        for low in (0.5, 1.4, 2.1):
            poster = tuple(int(c) for c in rng.integers(40, 240, 3))
            left = x + rng.uniform(-0.55, 0.0)
            canvas.rectangle((left, left + 0.5), (low, low + 0.6), z, poster)
        canvas.disc((x, 2.95, z), (0.7, 0.2), scaled(color, 0.6), name)
    else:
        height = 1.3 if kind == "cabinet" else 0.6
        for side, low in ((0.0, 0.0), (0.35, 0.0), (0.15, height)):
            frame = Frame(canvas, x + side, z, 0.0)
            canvas.rectangle((frame.x - 0.3, frame.x + 0.3), (low, low + height), z,
                             scaled(color, rng.uniform(0.7, 1.1)), name)  # fmt: skip
            if kind == "cabinet":
                break
