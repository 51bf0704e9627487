"""Composes one scene: the street, then everything on it from far to near, then the photograph."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi

import numpy as np

from . import furniture, people, traffic
from .canvas import Camera, Canvas, Frame, Light
from .finish import finish
from .looks import LOOKS, Conditions, Look, pick
from .street import CROSSING_WIDTH, Layout, ground, shadow, sky, surroundings


@dataclass
class Thing:
    """Something placed on the ground: its footprint (half sizes), its height, how to draw it."""

    x: float
    z: float
    half_width: float
    half_length: float
    height: float
    draw: Callable[[], None]


class Composer:
    """Places things on one street so that no two stand on the same ground."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, look: Look, layout: Layout):
        self.canvas, self.rng, self.look, self.layout = canvas, rng, look, layout
        self.camera_x = canvas.camera.x
        self.things: list[Thing] = []

    def free(self, x: float, z: float, half_width: float, half_length: float) -> bool:
        """Whether nothing stands there yet."""
        return all(
            abs(x - other.x) > half_width + other.half_width
            or abs(z - other.z) > half_length + other.half_length
            for other in self.things
        )

    def place(
        self, spot: Callable[[], tuple[float, float, float]], half: tuple[float, float],
        height: float, draw: Callable,
    ) -> None:  # fmt: skip
        """Put one thing on a free `spot()` = (x, z, heading), or give up after a few tries.

        `half` is the half width and half length of the thing; `draw(frame)` draws it.
        """
        for _ in range(8):
            x, z, heading = spot()
            turned = abs(np.sin(heading)) > 0.7
            half_width, half_length = half[::-1] if turned else half
            if self.free(x, z, half_width, half_length):
                frame = Frame(self.canvas, x, z, heading)
                self.things.append(
                    Thing(x, z, half_width, half_length, height, partial(draw, frame))
                )
                return

    def driving(self, nearest: float, farthest: float, lane_share: float = 0.5, cross: float = 0.1):
        """A spot in a lane, right-hand traffic; sometimes crossing at the crossroads."""
        rng, layout = self.rng, self.layout

        def spot() -> tuple[float, float, float]:
            if layout.crossing is not None and rng.random() < cross + 0.15:
                z = layout.crossing + CROSSING_WIDTH * pick(rng, [0.3, 0.7])
                return rng.uniform(-9, 9), z, pick(rng, [pi / 2, -pi / 2])
            # Near things fill the picture, so distances crowd towards the near end.
            z = nearest + (farthest - nearest) * rng.random() ** 1.5
            side = pick(rng, [-1, 1, 1])
            heading = (0.0 if side > 0 else pi) + rng.normal(0, 0.05)
            x = side * layout.half_road * lane_share + rng.normal(0, 0.2)
            # Nothing stands right before the camera, which drives in the right lane itself.
            return (x, z + 3, heading) if side > 0 else (x, z, heading)

        return spot

    def parked(self, nearest: float, farthest: float, gap: float):
        """A spot at the kerb, `gap` metres from it."""
        rng, layout = self.rng, self.layout

        def spot() -> tuple[float, float, float]:
            side = pick(rng, [-1, 1])
            z = rng.uniform(nearest, farthest)
            return side * (layout.half_road - gap), z, pick(rng, [0.0, pi]) + rng.normal(0, 0.04)

        return spot

    def walking(self, nearest: float, farthest: float, on_road: float):
        """A spot on the sidewalk, with probability `on_road` on the road."""
        rng, layout = self.rng, self.layout

        def spot() -> tuple[float, float, float]:
            z = nearest + (farthest - nearest) * rng.random() ** 1.4
            if rng.random() < on_road:
                return rng.uniform(-0.8, 0.8) * layout.half_road, z + 3, rng.uniform(0, 2 * pi)
            across = layout.walkway + rng.uniform(0.5, max(0.8, layout.sidewalk - 0.3))
            return pick(rng, [-1, 1]) * across, z, rng.uniform(0, 2 * pi)

        return spot

    def kerb(self, nearest: float, farthest: float, offset: float):
        """A spot on the sidewalk, `offset` metres from the kerb."""
        rng, layout = self.rng, self.layout

        def spot() -> tuple[float, float, float]:
            side = pick(rng, [-1, 1])
            return side * (layout.half_road + offset), rng.uniform(nearest, farthest), 0.0

        return spot

    def fill(self) -> None:
        """Place everything; large vehicles first, they need most room."""
        rng, look, layout, canvas = self.rng, self.look, self.layout, self.canvas
        count = {kind: int(rng.poisson(mean)) for kind, mean in look.mean_counts.items()}

        def vehicle(draw: Callable) -> Callable[[Frame], None]:
            return lambda frame: draw(frame, rng, look)

        def upright(draw: Callable) -> Callable[[Frame], None]:
            return lambda frame: draw(canvas, rng, look, frame.x, frame.z)

        def walker(frame: Frame) -> None:
            people.person(canvas, rng, look, frame.x, frame.z)

        def rail_spot() -> tuple[float, float, float]:
            return layout.rails, rng.uniform(16, 31), pick(rng, [0.0, pi])

        if layout.rails is not None:
            self.place(rail_spot, (1.4, 9.5), 3.3, vehicle(traffic.train))
        kinds = [
            ("bus", self.driving(9, 28), (1.4, 6.0), 3.0, vehicle(traffic.bus)),
            ("truck", self.driving(9, 26), (1.4, 4.5), 3.2, vehicle(traffic.truck)),
            ("motorcyclist", self.driving(3, 11, 0.62, 0.3), (0.5, 1.1), 1.8,
             vehicle(people.motorcyclist)),
            ("cyclist", self.driving(3, 11, 0.75, 0.3), (0.4, 1.0), 1.8, vehicle(people.cyclist)),
            ("car", self.driving(6, 36), (1.0, 2.6), 1.4, vehicle(traffic.car)),
            ("parked car", self.parked(6, 30, 1.1), (1.0, 2.7), 1.4, vehicle(traffic.car)),
            ("motorcycle", self.standing(4, 11), (0.5, 1.0), 1.0, vehicle(people.motorcycle)),
            ("bicycle", self.standing(4, 11), (0.4, 0.9), 1.0, vehicle(people.bicycle)),
            ("traffic light", self.kerb(6, 22, 0.5), (0.3, 0.3), 3.3,
             upright(furniture.traffic_light)),
            ("traffic sign", self.kerb(5, 20, 0.6), (0.5, 0.3), 2.6,
             upright(furniture.traffic_sign)),
            ("lamp", self.kerb(6, 45, 0.35), (0.2, 0.2), 6.5, upright(furniture.lamp)),
            ("tree", self.kerb(7, 45, max(1.0, layout.walkway - layout.half_road + layout.sidewalk - 0.5)), (0.6, 1.5), 5.0,
             upright(furniture.tree)),
            ("clutter", self.walking(6, 24, 0.0), (0.6, 0.4), 1.2, upright(furniture.clutter)),
            ("person", self.walking(3.8, 17, 0.15), (0.4, 0.3), 1.7, walker),
        ]  # fmt: skip
        for kind, spot, half, height, draw in kinds:
            for _ in range(count.get(kind, 0)):
                self.place(spot, half, height, draw)

    def standing(self, nearest: float, farthest: float):
        """A spot for a parked two-wheeler: at the kerb, mostly seen from the side."""
        rng, layout = self.rng, self.layout

        def spot() -> tuple[float, float, float]:
            side = pick(rng, [-1, 1])
            x = side * (layout.half_road + rng.uniform(0.6, 1.4))
            return x, rng.uniform(nearest, farthest), pick(rng, [-1, 1]) * rng.uniform(0.9, 2.2)

        return spot

    def draw(self) -> None:
        """All shadows, then all things from far to near."""
        for thing in self.things:
            shadow(self.canvas, self.look, thing.x, thing.z, thing.half_width, thing.height,
                   thing.half_length if thing.half_length > 0.5 else 0.15)  # fmt: skip
        waiting = sorted(self.things, key=lambda thing: -thing.z)
        while waiting:
            farthest = next(
                (thing for thing in waiting if not self.hides_any(thing, waiting)), waiting[0]
            )
            waiting.remove(farthest)
            farthest.draw()

    def hides_any(self, thing: Thing, others: list[Thing]) -> bool:
        """Whether one of the others may lie behind the thing and so must be drawn before it.

        Comparing the middles would not do: a car beside a tram's rear can lie behind its front.
        """
        for other in others:
            if other.z - other.half_length >= thing.z + thing.half_length:
                return True
            beside = other.z + other.half_length > thing.z - thing.half_length
            away, own = abs(other.x - self.camera_x), abs(thing.x - self.camera_x)
            if other is not thing and beside and away > own:
                return True
        return False


def draw_scene(
    world: str, split: str, index: int, *, size: tuple[int, int] = (128, 256), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw image `index` of a split of a world; the same arguments always give the same arrays.

    Returns the image, (H, W, 3) uint8 RGB, and its labels, (H, W) uint8 *Cityscapes label ids*
    (`iapc_lib.classes.CITYSCAPES_TO_TRAIN` turns them into train ids): the world's classes, 1
    for the camera's own bonnet and 4 for clutter, both of which are void. `size` = (height,
    width) in pixels. Raises KeyError for an unknown world.
    """
    look, found = LOOKS[world], scene_conditions(world, split, index, seed=seed)
    rng = _generator(world, split, index, seed)
    half_road, sidewalk = rng.uniform(*look.half_road), rng.uniform(*look.sidewalk)
    trams = rng.random() < look.mean_counts.get("train", 0)
    layout = Layout(
        half_road=half_road,
        sidewalk=sidewalk,
        grass=rng.uniform(2.5, 6) if rng.random() < look.grass_strip else 0.0,
        verge=rng.random() < 0.5,
        crossing=rng.uniform(13, 30) if rng.random() < 0.35 else None,
        rails=half_road * pick(rng, [-0.45, -0.3, 0.15]) if trams else None,
        road=look.surface(rng, look.roads),
        pavement=look.surface(rng, look.pavements),
        lawn=look.surface(rng, look.grass),
    )
    camera = Camera(
        height=rng.uniform(*look.camera_height),
        x=half_road * rng.uniform(0.2, 0.5),
        focal=rng.uniform(*look.focal),
        horizon=rng.uniform(*look.horizon),
        bend=rng.uniform(-look.bend, look.bend),
    )
    haze = pick(rng, look.skies)[1]
    light = Light(rng.uniform(0.5, 1) * pick(rng, [-1, 1]), rng.uniform(*look.sun_strength), haze,
                  found.visibility)  # fmt: skip
    canvas = Canvas(size, camera, light)
    sky(canvas, rng, look)
    ground(canvas, rng, look, layout)
    surroundings(canvas, rng, look, layout)
    composer = Composer(canvas, rng, look, layout)
    composer.fill()
    composer.draw()
    if look.bonnet:
        canvas.bonnet(
            rng.uniform(0.05, 0.09), pick(rng, [(30, 34, 38), (52, 56, 60), (70, 72, 74)])
        )
    image, labels = canvas.reduced()
    return finish(image, labels, camera, look, found, rng), labels


def scene_conditions(world: str, split: str, index: int, *, seed: int = 0) -> Conditions:
    """Air, light and camera of the image that `draw_scene` draws."""
    return LOOKS[world].conditions(_generator(f"conditions of {world}", split, index, seed))


def _generator(world: str, split: str, index: int, seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(f"{world}/{split}".encode()), index))
