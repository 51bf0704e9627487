"""People on foot, on bicycles and on motorcycles, and the parked two-wheelers."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Color, Frame, scaled
from .looks import Look, pick

SKIN = ((224, 176, 146), (196, 144, 112), (132, 90, 66), (236, 196, 170))
HAIR = ((44, 32, 26), (92, 64, 40), (24, 22, 22), (170, 140, 90))
TROUSERS = ((44, 50, 74), (54, 52, 54), (92, 84, 74), (34, 36, 44))
HELMETS = ((230, 200, 40), (210, 50, 44), (40, 44, 52), (228, 228, 228))
TYRE = (26, 26, 28)


def person(canvas: Canvas, rng: np.random.Generator, look: Look, x: float, z: float) -> None:
    """Somebody standing or walking; the rarer shapes wear a long coat or carry an umbrella."""
    size = rng.uniform(1.55, 1.9) / 1.75
    shirt, trousers = look.color(rng, look.clothes), look.color(rng, TROUSERS)
    skin, hair = pick(rng, SKIN), pick(rng, HAIR)
    stride = rng.uniform(0.02, 0.3)
    odd = rng.random() < look.odd_shape
    name = "person"

    def at(right: float, up: float):
        return x + right * size, up * size, z

    for foot, hip, shade in ((-stride, -0.08, 0.85), (stride, 0.08, 1.0)):
        canvas.line([at(hip, 0.88), at(foot, 0.06)], 0.17 * size, scaled(trousers, shade), name)
        canvas.line([at(foot - 0.06, 0.04), at(foot + 0.12, 0.04)], 0.09, (32, 28, 26), name)
    hem = 0.45 if odd else 0.82
    torso = [at(-0.2, hem), at(0.2, hem), at(0.24, 1.42), at(0.12, 1.5), at(-0.12, 1.5)]
    canvas.polygon([*torso, at(-0.24, 1.42)], shirt, name)
    for side in (-1, 1):
        hand = at(side * (0.3 + stride * 0.3), 0.82)
        canvas.line([at(side * 0.23, 1.42), hand], 0.11 * size, scaled(shirt, 0.8), name)
        canvas.disc(hand, (0.06, 0.06), skin, name)
    canvas.disc(at(0, 1.62), (0.115 * size, 0.145 * size), skin, name)
    canvas.disc(at(0, 1.69), (0.12 * size, 0.09 * size), hair, name)
    if rng.random() < 0.3:
        canvas.rectangle((x - 0.16, x + 0.16), (1.0, 1.42), z, look.color(rng, look.clothes))
    if odd and rng.random() < 0.4:
        umbrella = look.color(rng, look.clothes)
        canvas.line([at(0.28, 0.9), at(0.28, 1.95)], 0.03, (40, 40, 40), name)
        dome = [at(-0.35, 1.8), at(-0.1, 2.1), at(0.28, 2.2), at(0.66, 2.1), at(0.91, 1.8)]
        canvas.polygon(dome, umbrella, name)


def bicycle(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """Wheels are labelled as full discs, as the annotators of Cityscapes do."""
    paint = look.color(rng, look.cycles)
    canvas, name = frame.canvas, "bicycle"
    for forward in (-0.52, 0.52):
        rim = frame.wheel(0, forward, 0.36, (120, 120, 120), name, alpha=70)
        canvas.line(rim, 0.075, TYRE, name)
    tubes = [(-0.52, 0.36), (-0.12, 0.36), (0.34, 0.8), (-0.22, 0.8), (-0.52, 0.36)]
    canvas.line([frame.at(0, up, f) for f, up in tubes], 0.075, paint, name)
    canvas.line([frame.at(0, 0.36, -0.12), frame.at(0, 0.94, -0.26)], 0.075, paint, name)
    canvas.line([frame.at(0, 0.36, 0.52), frame.at(0, 1.02, 0.32)], 0.075, paint, name)
    canvas.line([frame.at(-0.28, 1.04, 0.3), frame.at(0.28, 1.04, 0.3)], 0.07, TYRE, name)
    canvas.line([frame.at(0, 0.96, -0.4), frame.at(0, 0.96, -0.14)], 0.09, TYRE, name)
    if rng.random() < look.odd_shape:
        basket = [frame.at(0, up, f) for f, up in ((0.45, 0.75), (0.85, 0.75), (0.9, 1.05))]
        canvas.polygon([*basket, frame.at(0, 1.05, 0.4)], (112, 84, 56), name)


def motorcycle(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """Thick wheels, engine, tank and a long seat; the rarer shape is a scooter."""
    paint = look.color(rng, look.cycles[1:])
    canvas, name = frame.canvas, "motorcycle"
    for forward in (-0.7, 0.72):
        frame.wheel(0, forward, 0.34, TYRE, name)
        frame.canvas.disc(frame.at(0, 0.34, forward), (0.12, 0.14), (130, 130, 130))

    def shape(points: list[tuple[float, float]], color: Color) -> None:
        left = [frame.at(-0.14, up, f) for f, up in points]
        right = [frame.at(0.14, up, f) for f, up in points]
        canvas.polygon(left, scaled(color, 0.7), name)
        canvas.polygon(right, color, name)

    if rng.random() < look.odd_shape:
        shape([(-0.95, 0.4), (-0.1, 0.3), (-0.1, 0.8), (-0.95, 0.85)], paint)
        shape([(-0.1, 0.25), (0.4, 0.25), (0.55, 1.05), (0.42, 1.05)], paint)
    else:
        shape([(-0.35, 0.25), (0.35, 0.25), (0.4, 0.62), (-0.4, 0.62)], (70, 70, 74))
        shape([(-0.2, 0.6), (0.45, 0.6), (0.5, 0.98), (0.05, 0.98)], paint)
        shape([(-1.0, 0.62), (-0.9, 0.85), (-0.3, 0.8), (-0.3, 0.62)], paint)
    shape([(-0.9, 0.85), (0.0, 0.8), (0.0, 0.93), (-0.85, 0.95)], (30, 28, 28))
    canvas.line([frame.at(0, 0.34, 0.72), frame.at(0, 1.12, 0.42)], 0.1, (120, 120, 124), name)
    canvas.line([frame.at(-0.36, 1.12, 0.4), frame.at(0.36, 1.12, 0.4)], 0.08, TYRE, name)
    lamp = 0.62 if frame.eye_forward > 0 else -1.0
    color = (250, 240, 200) if lamp > 0 else (196, 26, 22)
    canvas.disc(frame.at(0, 0.92 if lamp > 0 else 0.78, lamp), (0.1, 0.1), color, name)


def seated(frame: Frame, rng: np.random.Generator, look: Look, lean: float, helmet: float) -> None:
    """The rider alone, on a saddle 0.95 m high; `helmet` is how likely one is worn."""
    canvas, name = frame.canvas, "rider"
    shirt, trousers = look.color(rng, look.clothes), look.color(rng, TROUSERS)
    skin = pick(rng, SKIN)
    for side, knee, foot in ((-1, 0.3, (-0.1, 0.2)), (1, 0.22, (0.12, 0.36))):
        hip, knee = frame.at(side * 0.1, 0.95, -0.25), frame.at(side * 0.17, 0.72, knee)
        ankle = frame.at(side * 0.13, foot[1], foot[0])
        canvas.line([hip, knee, ankle], 0.17, scaled(trousers, 0.8 + 0.1 * side), name)
    shoulder = -0.2 + lean
    sides = [(-0.18, 0.9, -0.3), (0.18, 0.9, -0.3), (0.24, 1.45, shoulder), (-0.24, 1.45, shoulder)]
    canvas.polygon([frame.at(*corner) for corner in sides], shirt, name)
    canvas.line([frame.at(0, 0.95, -0.27), frame.at(0, 1.42, shoulder)], 0.36, shirt, name)
    for side in (-1, 1):
        arm = [frame.at(side * 0.22, 1.42, shoulder), frame.at(side * 0.25, 1.06, 0.32)]
        canvas.line(arm, 0.11, scaled(shirt, 0.8), name)
    canvas.disc(frame.at(0, 1.64, shoulder + 0.06), (0.12, 0.15), skin, name)
    top = pick(rng, HELMETS) if rng.random() < helmet else pick(rng, HAIR)
    canvas.disc(frame.at(0, 1.71, shoulder + 0.05), (0.15, 0.11), top, name)


def cyclist(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """A rider on a bicycle."""
    bicycle(frame, rng, look)
    seated(frame, rng, look, lean=0.18, helmet=0.6)


def motorcyclist(frame: Frame, rng: np.random.Generator, look: Look) -> None:
    """A rider on a motorcycle."""
    motorcycle(frame, rng, look)
    seated(frame, rng, look, lean=0.12, helmet=1.0)
