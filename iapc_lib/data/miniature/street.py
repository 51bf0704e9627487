"""The street itself: sky, road, sidewalks, markings, shadows, and the row of blocks beside it."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from .canvas import FAR, Canvas, Color, mix, scaled
from .facades import block, horizon_line
from .looks import Look, pick

PAINT = (224, 222, 212)
DEPTHS = (0.6, 1, 2, 3, 4.5, 7, 10, 15, 22, 32, 46, 64, 88, FAR, 3000)
"""Where strips along the street are divided, so that they follow its bend."""


@dataclass(frozen=True)
class Layout:
    """The ground plan of a street, in metres from the middle of its road."""

    half_road: float
    sidewalk: float
    grass: float
    verge: bool
    """Whether the grass lies between kerb and sidewalk instead of before the houses."""
    crossing: float | None
    """Distance of the crossroads' near edge, if there are any."""
    rails: float | None
    """x of the tram track, if there is one."""
    road: Color
    pavement: Color
    lawn: Color

    @property
    def walkway(self) -> float:
        """Where the sidewalk begins."""
        return self.half_road + self.grass * self.verge

    @property
    def front(self) -> float:
        """Where the houses begin."""
        return self.half_road + self.sidewalk + self.grass


CROSSING_WIDTH = 9.0


def strip(
    canvas: Canvas, left: float, right: float, color: Color, name: str | None,
    z: tuple[float, float] = (DEPTHS[0], DEPTHS[-1]),
) -> None:  # fmt: skip
    """A band of ground along the street."""
    depths = [z[0], *(d for d in DEPTHS if z[0] < d < z[1]), z[1]]
    for near, far in zip(depths, depths[1:], strict=False):
        corners = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
        canvas.polygon(corners, color, name)


def sky(canvas: Canvas, rng: np.random.Generator, look: Look) -> None:
    """A vertical gradient with a few clouds, down to the horizon and what closes the view."""
    top, bottom = pick(rng, look.skies)
    rows = 24
    for row in range(rows):
        color = mix(top, bottom, (row + 0.5) / rows)
        canvas.sky_rectangle((0, 1), (row / rows, (row + 1) / rows), color)
    for _ in range(int(rng.integers(0, 5))):
        x, y, wide = rng.uniform(0, 1), rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.14)
        for puff in (-0.6, 0.0, 0.6):
            left, high = x + puff * wide, y + abs(puff) * 0.05
            color = mix(bottom, (250, 250, 250), 0.6)
            canvas.cloud((left - wide / 2, left + wide / 2), (high - 0.06, high + 0.06), color)


def ground(canvas: Canvas, rng: np.random.Generator, look: Look, layout: Layout) -> None:
    """Lawn or pavement everywhere, sidewalks, the road and what is painted on it."""
    half, walkway = layout.half_road, layout.walkway
    if layout.grass:
        strip(canvas, -200, 200, layout.lawn, "terrain")
    else:
        strip(canvas, -200, 200, layout.pavement, "sidewalk")
    kerb = scaled(layout.pavement, 1.15)
    for side in (-1, 1):
        strip(
            canvas, side * walkway, side * (walkway + layout.sidewalk), layout.pavement, "sidewalk"
        )
        strip(canvas, side * half, side * (half + 0.22), kerb, "sidewalk")
        strip(canvas, side * (half - 0.12), side * half, scaled(layout.road, 0.7), None)
    strip(canvas, -half, half, layout.road, "road")
    if layout.crossing is not None:
        z = layout.crossing
        strip(canvas, -200, 200, layout.road, "road", (z, z + CROSSING_WIDTH))
    for _ in range(rng.poisson(look.road_stains)):
        blemish(canvas, rng, layout)
    markings(canvas, rng, layout)


def blemish(canvas: Canvas, rng: np.random.Generator, layout: Layout) -> None:
    """A repaired patch, an oil stain or a stray shadow on the road."""
    x, z = rng.uniform(-0.9, 0.9) * layout.half_road, rng.uniform(3.5, 22)
    color = scaled(layout.road, pick(rng, [0.6, 0.75, 1.25]))
    wide, long = rng.uniform(0.4, 1.8), rng.uniform(0.5, 3)
    if rng.random() < 0.5:
        corners = [
            (x - wide, 0, z),
            (x + wide, 0, z),
            (x + wide, 0, z + long),
            (x - wide, 0, z + long),
        ]
    else:
        turns = [2 * pi * i / 9 for i in range(9)]
        reach = rng.uniform(0.6, 1.0, 9)
        corners = [
            (x + wide * r * cos(t), 0, z + long * (1 + r * sin(t)) / 2)
            for t, r in zip(turns, reach, strict=True)
        ]
    canvas.polygon(corners, color, alpha=150)


def markings(canvas: Canvas, rng: np.random.Generator, layout: Layout) -> None:
    """Lane lines, zebra crossing and tram rails; they are road, as the data sets have it."""
    half = layout.half_road
    paint = mix(PAINT, layout.road, rng.uniform(0.05, 0.4))
    gap = layout.crossing or FAR

    def dash(x: float, z: float, long: float, wide: float = 0.16) -> None:
        if not gap - 4 < z + long / 2 < gap + CROSSING_WIDTH + 4:
            strip(canvas, x - wide / 2, x + wide / 2, paint, None, (z, z + long))

    lanes = [0.0] if half < 6.3 else [-half / 2, 0.0, half / 2]
    start = rng.uniform(1, 5)
    for x in lanes:
        for i in range(12):
            dash(x, start + 5 * i, 2.4)
    if rng.random() < 0.5:
        for side in (-1, 1):
            for i in range(10):
                dash(side * (half - 0.45), 1 + 5 * i, 5, 0.13)
    zebras = [rng.uniform(7, 18)] if rng.random() < 0.35 else []
    if layout.crossing is not None:
        zebras = [layout.crossing - 3.6, layout.crossing + CROSSING_WIDTH + 0.6]
    for z in zebras:
        x = -half + 0.4
        while x < half - 0.6:
            strip(canvas, x, x + 0.5, paint, None, (z, z + 2.8))
            x += 1.1
    if layout.rails is not None:
        for side in (-0.75, 0.75):
            x = layout.rails + side
            strip(canvas, x - 0.09, x + 0.09, scaled(layout.road, 0.5), None)
            strip(canvas, x + 0.02, x + 0.08, (150, 152, 156), None)


def surroundings(canvas: Canvas, rng: np.random.Generator, look: Look, layout: Layout) -> None:
    """Both edges of the street, far to near, and what closes it."""
    horizon_line(canvas, rng, look)
    kinds = list(look.blocks)
    share = np.array([look.blocks[kind] for kind in kinds])
    blocks = []
    for side in (-1, 1):
        z = rng.uniform(1, 4)
        while z < 85:
            long = rng.uniform(6, 15)
            end = z + long
            if layout.crossing is not None and z < layout.crossing + CROSSING_WIDTH < end + 8:
                end = min(end, layout.crossing - 1.5)
            if end - z > 2:
                blocks.append((z, end, side))
            z = end + (0.0 if rng.random() < 0.8 else rng.uniform(1, 4))
            if layout.crossing is not None and z >= layout.crossing - 4.5:
                z = max(z, layout.crossing + CROSSING_WIDTH + 2)
    for z0, z1, side in sorted(blocks, reverse=True):
        kind = kinds[int(rng.choice(len(kinds), p=share / share.sum()))]
        block(canvas, rng, look, side, side * layout.front, z0, z1, kind)


def shadow(
    canvas: Canvas, look: Look, x: float, z: float, half: float, height: float, long: float = 0.3
) -> None:  # fmt: skip
    """The shadow on the ground of something `height` metres high: under and beside it."""
    reach = -canvas.light.sun * min(height, 5.0) * 1.2
    left, right = min(x - half, x - half + reach), max(x + half, x + half + reach)
    if height > 2.5:
        left, right = sorted((x, x + reach))
    corners = [(left, 0, z - long), (right, 0, z - long), (right, 0, z + long), (left, 0, z + long)]
    canvas.polygon(corners, (14, 16, 24), alpha=int(255 * look.shadow))
