"""Vehicles on four and more wheels: cars, trucks, buses, trams."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from .canvas import Box, Frame, scaled
from .looks import Look, pick

GLASS = (44, 54, 64)
TYRE = (24, 24, 26)
RIM = (120, 122, 124)
RED_LAMP = (196, 26, 22)
WHITE_LAMP = (250, 244, 214)
PLATE = (226, 226, 216)


def wheels(frame: Frame, half: float, forwards: list[float], radius: float, name: str) -> None:
    """The wheels of the visible long side and the tyres under the visible end."""
    side = half if frame.eye_right > half else -half
    if abs(frame.eye_right) > half:
        for forward in forwards:
            frame.wheel(side, forward, radius, TYRE, name)
            turns = [2 * pi * i / 8 for i in range(8)]
            hub = [
                frame.at(side, radius * (1 + 0.5 * sin(t)), forward + radius * 0.5 * cos(t))
                for t in turns
            ]
            frame.canvas.polygon(hub, RIM)


def tyres(frame: Frame, half: float, end: float, height: float, name: str) -> None:
    """The two tyres that are seen under a vehicle's nearer end."""
    for inner, outer in ((-half, -half + 0.24), (half - 0.24, half)):
        corners = [(inner, 0.0), (outer, 0.0), (outer, height), (inner, height)]
        frame.canvas.polygon([frame.at(r, up, end) for r, up in corners], TYRE, name)


def near_end(frame: Frame, half_length: float) -> float:
    """The `forward` of the vehicle's end that is nearer to the camera."""
    return half_length if frame.eye_forward > 0 else -half_length


def lamps(body: Box, low: float, high: float, width: float = 0.18) -> None:
    """Head lamps at the front, tail lamps at the back."""
    for across in ((0.03, 0.03 + width), (0.97 - width, 0.97)):
        body.panel("front", across, (low, high), WHITE_LAMP)
        body.panel("back", across, (low, high), RED_LAMP)


def car(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """Hatchback, saloon or estate; the rarer shapes are a van and an off-roader."""
    paint = look.color(rng, look.cars)
    half, half_length, waist, roof, slant = pick(
        rng,
        [
            (0.86, 2.0, 0.88, 1.48, (0.55, 0.35, 0.16)),
            (0.88, 2.3, 0.86, 1.44, (0.6, 0.6, 0.17)),
            (0.88, 2.25, 0.88, 1.50, (0.6, 0.2, 0.15)),
        ],
    )
    hood = 0.95
    if rng.random() < look.odd_shape:
        half, half_length, waist, roof, slant, hood = pick(
            rng,
            [
                (0.95, 2.5, 1.1, 2.15, (0.5, 0.05, 0.08), 0.5),
                (0.95, 2.2, 1.05, 1.8, (0.35, 0.1, 0.1), 0.9),
            ],
        )
    name = "car"
    tyres(frame, half, near_end(frame, half_length - 0.1), 0.4, name)
    body = Box(frame, (-half, half), (0.26, waist), (-half_length, half_length), paint, name,
               (0.08, 0.05, 0.02))  # fmt: skip
    boot = 0.45 if slant[1] > 0.5 else 0.05
    cabin = Box(frame, (-half + 0.04, half - 0.04), (waist, roof),
                (-half_length + boot, half_length - hood), paint, name, slant)  # fmt: skip
    cabin.panel("front back", (0.08, 0.92), (0.1, 0.86), GLASS)
    cabin.panel("left right", (0.08, 0.46), (0.1, 0.82), GLASS)
    cabin.panel("left right", (0.53, 0.92), (0.1, 0.82), GLASS)
    body.panel("front back", (0, 1), (0.0, 0.16), scaled(paint, 0.45))
    body.panel("left right", (0, 1), (0.0, 0.1), scaled(paint, 0.5))
    body.panel("front", (0.28, 0.72), (0.45, 0.72), scaled(paint, 0.4))
    lamps(body, 0.55, 0.82)
    body.panel("front back", (0.36, 0.64), (0.2, 0.38), PLATE)
    wheels(frame, half, [-half_length + 0.75, half_length - 0.75], 0.34, name)


def truck(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """A lorry with a closed box; the rarer shapes carry a tank-like low load or a flat bed."""
    paint = look.color(rng, look.trucks)
    cab_paint = look.color(rng, look.cars)
    half, half_length, name = 1.2, rng.uniform(3.3, 4.3), "truck"
    load_top = rng.uniform(3.1, 3.6)
    if rng.random() < look.odd_shape:
        load_top = 1.9
    split = half_length - 1.9
    tyres(frame, half, near_end(frame, half_length - 0.3), 0.95, name)

    def load() -> None:
        box = Box(frame, (-half, half), (0.85, load_top), (-half_length, split - 0.15), paint, name)
        for seam in (0.25, 0.5, 0.75):
            box.panel("left right", (seam, seam + 0.015), (0.03, 0.97), scaled(paint, 0.65))
        box.panel("back", (0.49, 0.51), (0.04, 0.96), scaled(paint, 0.55))
        box.panel("back front left right", (0, 1), (0, 0.05), scaled(paint, 0.5))
        chassis = Box(frame, (-half + 0.1, half - 0.1), (0.5, 0.85), (-half_length, split),
                      (48, 48, 50), name)  # fmt: skip
        lamps(chassis, 0.3, 0.8, 0.14)

    def cab() -> None:
        box = Box(frame, (-half + 0.05, half - 0.05), (0.5, 2.7), (split, half_length), cab_paint,
                  name, (0.15, 0, 0.03))  # fmt: skip
        box.panel("front", (0.08, 0.92), (0.48, 0.86), GLASS)
        box.panel("left", (0.15, 0.6), (0.5, 0.84), GLASS)
        box.panel("right", (0.4, 0.85), (0.5, 0.84), GLASS)
        box.panel("front", (0.2, 0.8), (0.18, 0.4), scaled(cab_paint, 0.45))
        lamps(box, 0.06, 0.16)

    parts = [cab, load] if frame.eye_forward < split else [load, cab]
    for part in parts:
        part()
    wheels(frame, half, [-half_length + 0.9, -half_length + 2.0, half_length - 1.0], 0.5, name)


def bus(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """A city bus: one band of windows, a large windscreen, a lit destination sign."""
    paint = look.color(rng, look.buses)
    half, half_length, name = 1.25, rng.uniform(4.5, 5.8), "bus"
    roof = 3.0 if rng.random() > look.odd_shape / 2 else 4.1
    tyres(frame, half, near_end(frame, half_length - 0.3), 0.6, name)
    body = Box(frame, (-half, half), (0.35, roof), (-half_length, half_length), paint, name,
               (0.08, 0.05, 0.04))  # fmt: skip
    decks = [(0.38, 0.76)] if roof < 3.5 else [(0.28, 0.5), (0.64, 0.86)]
    for deck in decks:
        for window in range(7):
            start = 0.03 + window * 0.137
            body.panel("left right", (start, start + 0.115), deck, GLASS)
        body.panel("back", (0.12, 0.88), (deck[0] + 0.08, deck[1]), GLASS)
    body.panel("right", (0.84, 0.93), (0.04, 0.74), scaled(GLASS, 1.3))
    body.panel("front", (0.05, 0.95), (0.28, 0.8), GLASS)
    body.panel("front back", (0.22, 0.78), (0.86, 0.96), (240, 176, 40))
    body.panel("front back left right", (0, 1), (0, 0.05), scaled(paint, 0.45))
    lamps(body, 0.08, 0.18)
    wheels(frame, half, [-half_length + 2.2, half_length - 1.8], 0.48, name)


def train(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """A tram: two long cars down to the rails, a light stripe, a pantograph on the roof."""
    paint = look.color(rng, look.trains)
    stripe = pick(rng, [(232, 226, 206), (36, 40, 44), (214, 178, 60)])
    half, name, roof = 1.2, "train", 3.3
    cars = [(-9.2, -3.2), (-3.0, 3.0), (3.2, 9.2)]
    if frame.eye_forward < 0:
        cars.reverse()
    for start, end in cars:
        front, back = (1.0 if end > 9 else 0.0), (1.0 if start < -9 else 0.0)
        body = Box(frame, (-half, half), (0.12, roof), (start, end), paint, name,
                   (0.55 * front, 0.55 * back, 0.12))  # fmt: skip
        body.panel("left right", (0, 1), (0.0, 0.09), (44, 44, 48))
        body.panel("left right", (0, 1), (0.3, 0.38), stripe)
        for window in range(4):
            begin = 0.05 + window * 0.23
            body.panel("left right", (begin, begin + 0.2), (0.46, 0.8), GLASS)
        body.panel("front back", (0.12, 0.88), (0.42, 0.84), GLASS)
        body.panel("front back", (0, 1), (0.22, 0.34), stripe)
        body.panel("front back", (0.44, 0.56), (0.1, 0.2), WHITE_LAMP)
        body.panel("front back", (0.36, 0.64), (0.88, 0.96), (240, 176, 40))
        body.panel("front back", (0.0, 1.0), (0.0, 0.08), (44, 44, 48))
    middle = near_end(frame, 5.5)
    arms = [(-0.1, roof), (0.5, roof + 0.7), (-0.1, roof + 1.3)]
    if frame.eye_forward > 0:
        arms = [(-f, up) for f, up in arms]
    frame.canvas.line([frame.at(0, up, middle + f) for f, up in arms], 0.09, (40, 40, 42), name)
    bar = [frame.at(r, roof + 1.3, middle + arms[2][0]) for r in (-0.8, 0.8)]
    frame.canvas.line(bar, 0.1, (40, 40, 42), name)
