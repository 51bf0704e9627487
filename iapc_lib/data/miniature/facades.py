"""What lines the street: houses, walls, fences, hedges, parks, and what is seen far away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import FAR, Canvas, Color, Point, mix, scaled
from .furniture import tree
from .looks import Look, pick

GLASS = (46, 56, 68)


@dataclass
class Plane:
    """An upright wall from `start` = (x, z) along `along` = (dx, dz) per metre."""

    canvas: Canvas
    start: tuple[float, float]
    along: tuple[float, float]
    length: float
    light: float

    def at(self, u: float, v: float) -> Point:
        """(metres along the wall, metres up) -> world coordinates."""
        return self.start[0] + u * self.along[0], v, self.start[1] + u * self.along[1]

    def fill(
        self, u: tuple[float, float], v: tuple[float, float], color: Color, name: str | None = None,
        alpha: int = 255,
    ) -> None:  # fmt: skip
        """Paint a rectangle of the wall."""
        corners = [
            self.at(u[0], v[0]),
            self.at(u[1], v[0]),
            self.at(u[1], v[1]),
            self.at(u[0], v[1]),
        ]
        self.canvas.polygon(corners, self.canvas.lit(color, self.light), name, alpha)


def planes(canvas: Canvas, side: int, x: float, z0: float, z1: float, depth: float) -> list[Plane]:
    """The two faces of a house or wall that the camera can see, the one towards it last."""
    street = Plane(canvas, (x, z0), (0, 1), z1 - z0, -side)
    end = Plane(canvas, (x, z0), (side, 0), depth, 0.2)
    return [street, end]


def building(
    canvas: Canvas, rng: np.random.Generator, look: Look, side: int, x: float, z0: float, z1: float
) -> None:  # fmt: skip
    """A house from z0 to z1 whose front stands at x."""
    color = look.surface(rng, look.facades)
    floors = int(rng.integers(look.floors[0], look.floors[1] + 1))
    storey = rng.uniform(2.8, 3.4)
    height = floors * storey + 0.8
    pattern = pick(rng, look.patterns)
    trim = scaled(color, pick(rng, [0.65, 1.2]))
    glass = mix(GLASS, pick(rng, [(120, 150, 180), (40, 40, 44), (200, 190, 150)]), 0.35)
    window = rng.uniform(0.9, 1.6), rng.uniform(1.2, 1.8), rng.uniform(2.0, 3.2)
    shop = rng.random() < 0.4
    for plane in planes(canvas, side, x, z0, z1, 11.0):
        plane.fill((0, plane.length), (0, height), color, "building")
        cover(plane, rng, pattern, color, height)
        if shop:
            plane.fill((0, plane.length), (0, storey - 0.3), scaled(color, 0.6))
        plane.fill((0, plane.length), (height - 0.45, height), trim)
        plane.fill((0, plane.length), (0, 0.5), scaled(color, 0.7))
        windows(plane, floors, storey, window, glass, trim)
    if rng.random() < 0.45:
        roof = pick(rng, [(120, 62, 48), (78, 74, 76), (104, 84, 70)])
        eaves = [(x, height, z0), (x, height, z1)]
        ridge = [(x + side * 3, height + 2.2, z1), (x + side * 3, height + 2.2, z0)]
        canvas.polygon(eaves + ridge, canvas.lit(roof, -side, 0.3), "building")
        gable = [(x, height, z0), (x + side * 11, height, z0), (x + side * 8, height + 2.2, z0)]
        canvas.polygon([*gable, ridge[1]], canvas.lit(roof, 0.0), "building")
    if rng.random() < look.odd_shape * 0.5 and z0 > 5:
        u = rng.uniform(0.5, max(0.6, z1 - z0 - 2.5))
        poster = tuple(int(c) for c in rng.integers(40, 240, 3))
        front = planes(canvas, side, x, z0, z1, 11.0)[0]
        front.fill((u, u + 2), (1.0, 3.4), poster, "static")
        front.fill((u + 0.3, u + 1.7), (1.4, 2.2), scaled(poster, 0.5))


def windows(
    plane: Plane, floors: int, storey: float, window: tuple[float, float, float],
    glass: Color, trim: Color,
) -> None:  # fmt: skip
    """A grid of windows; those too small to be seen are left out."""
    wide, high, pitch = window
    count = int(plane.length / pitch)
    margin = (plane.length - count * pitch) / 2 + (pitch - wide) / 2
    for column in range(count):
        u = margin + column * pitch
        left, right = (
            plane.canvas.project(plane.at(u, 0)),
            plane.canvas.project(plane.at(u + wide, 0)),
        )
        outside = max(left[0], right[0]) < 0 or min(left[0], right[0]) > plane.canvas.width
        if outside or abs(right[0] - left[0]) < plane.canvas.height / 170:
            continue
        for floor in range(floors):
            v = floor * storey + 0.9
            if floor:
                plane.fill((u - 0.12, u + wide + 0.12), (v - 0.15, v + high + 0.1), trim)
            plane.fill((u, u + wide), (v, v + high), glass)


def cover(
    plane: Plane, rng: np.random.Generator, pattern: str, color: Color, height: float
) -> None:
    """What a facade is covered with."""
    if pattern == "brick":
        step = 0.5 if plane.start[1] < 20 else 1.0
        for row in range(1, int(height / step)):
            ends = [plane.at(0, row * step), plane.at(plane.length, row * step)]
            plane.canvas.line(ends, 0.07, plane.canvas.lit(scaled(color, 0.82), plane.light))
    elif pattern == "bands":
        for row in range(1, int(height / 3)):
            plane.fill((0, plane.length), (row * 3, row * 3 + 0.5), scaled(color, 0.8))
    elif pattern == "panels":
        for column in range(0, int(plane.length / 3), 2):
            plane.fill((column * 3, column * 3 + 3), (0, height), scaled(color, 1.12))
    elif pattern == "stains":
        for _ in range(6):
            u, v = rng.uniform(0, plane.length * 0.8), rng.uniform(0, height * 0.7)
            wide, high = plane.length * rng.uniform(0.05, 0.2), rng.uniform(1, 4)
            shade = scaled(color, rng.uniform(0.6, 1.25))
            plane.fill((u, u + wide), (v, min(height, v + high)), shade, alpha=120)


def wall(
    canvas: Canvas, rng: np.random.Generator, look: Look, side: int, x: float, z0: float, z1: float
) -> None:  # fmt: skip
    """A free-standing wall with courses of stone and a coping."""
    color, height = look.surface(rng, look.walls), rng.uniform(1.9, 2.9)
    for plane in planes(canvas, side, x, z0, z1, 0.5):
        plane.fill((0, plane.length), (0, height), color, "wall")
        for row in range(1, int(height / 0.5)):
            ends = [plane.at(0, row * 0.5), plane.at(plane.length, row * 0.5)]
            canvas.line(ends, 0.06, canvas.lit(scaled(color, 0.75), plane.light))
        for joint in range(int(plane.length / 2)):
            plane.fill((joint * 2, joint * 2 + 0.08), (0, height), scaled(color, 0.75))
        plane.fill((0, plane.length), (height - 0.22, height + 0.05), scaled(color, 1.2), "wall")


def fence(
    canvas: Canvas, rng: np.random.Generator, look: Look, side: int, x: float, z0: float, z1: float
) -> None:  # fmt: skip
    """Iron bars; the rarer shape is boarded. Labelled without holes, as annotators do."""
    color, height = look.color(rng, look.fences), rng.uniform(1.5, 2.1)
    boarded = rng.random() < look.odd_shape
    front = planes(canvas, side, x, z0, z1, 0.1)[0]
    front.fill((0, front.length), (0, height), color, "fence", alpha=254 if boarded else 70)
    bars = int(front.length / 0.4)
    for bar in range(bars + 1):
        u = bar * 0.4
        ends = [front.at(u, 0), front.at(u, height)]
        canvas.line(ends, 0.06, scaled(color, 0.7 if boarded else 1.0), "fence")
    for v in (0.25, height - 0.15):
        canvas.line([front.at(0, v), front.at(front.length, v)], 0.1, color, "fence")


def hedge(
    canvas: Canvas, rng: np.random.Generator, look: Look, side: int, x: float, z0: float, z1: float
) -> None:  # fmt: skip
    """A clipped hedge."""
    color, height = look.surface(rng, look.leaves), rng.uniform(1.2, 2.4)
    for plane in planes(canvas, side, x, z0, z1, 1.5):
        plane.fill((0, plane.length), (0, height), color, "vegetation")
        plane.fill((0, plane.length), (height * 0.8, height), scaled(color, 1.15))
    for _ in range(int(z1 - z0)):
        z, y = rng.uniform(z0, z1), rng.uniform(0.3, 1.0) * height
        center = (x, y, z)
        canvas.disc(center, (0.45, 0.35), scaled(color, rng.uniform(0.8, 1.2)), "vegetation")


def block(
    canvas: Canvas, rng: np.random.Generator, look: Look, side: int, x: float, z0: float, z1: float,
    kind: str,
) -> None:  # fmt: skip
    """One stretch of the street's edge and what is seen behind it."""
    if kind == "building":
        building(canvas, rng, look, side, x, z0, z1)
        return
    if kind != "park" and rng.random() < 0.6:
        building(canvas, rng, look, side, x + side * 9, z0, z1)
    if kind == "park" and "terrain" not in look.absent:
        lawn = look.surface(rng, look.grass)
        corners = [(x, 0, z0), (x + side * 40, 0, z0), (x + side * 40, 0, z1), (x, 0, z1)]
        canvas.polygon(corners, lawn, "terrain")
    for z in sorted(rng.uniform(z0, z1, int(rng.integers(1, 4))), reverse=True):
        tree(canvas, rng, look, x + side * rng.uniform(1.5, 6), float(z))
    draw = {"wall": wall, "fence": fence, "hedge": hedge}
    if kind in draw:
        draw[kind](canvas, rng, look, side, x, z0, z1)


def horizon_line(canvas: Canvas, rng: np.random.Generator, look: Look) -> None:
    """Distant houses and trees."""
    x = -90.0
    while x < 90:
        wide = rng.uniform(6, 16)
        color = look.surface(rng, look.facades)
        if rng.random() < 0.5:
            name, high = "building", rng.uniform(5, 16)
            canvas.rectangle((x, x + wide), (0, high), FAR - 1, color, name)
        elif rng.random() < 0.7:
            color = look.surface(rng, look.leaves)
            center = (x + wide / 2, 2.0, FAR - 1)
            canvas.disc(center, (wide * 0.6, rng.uniform(4, 8)), color, "vegetation")
        x += wide
