"""A canvas in metres: what is drawn lands in the picture and in the label map at once.

World coordinates are metres: x to the right of the road's middle, y up from the ground, z away
from the camera. `Canvas` projects them as a pinhole camera does, so that size, position and
haze of everything follow from where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from iapc_lib.classes import CLASSES

Color = tuple[int, int, int]
Point = tuple[float, float, float]

LABEL_IDS = {c.name: c.cityscapes_id for c in CLASSES} | {"ego vehicle": 1, "static": 4}
"""What can be drawn -> Cityscapes label id. "static" (clutter) and the ego vehicle are void."""

SUPERSAMPLING = 2
NEAREST_M = 0.5
FAR = 120.0
"""Where the street is closed, in metres."""


def mix(first: Color, second: Color, share: float) -> Color:
    """Blend two colours; `share` is that of the second, 0..1."""
    return tuple(int(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def scaled(color: Color, factor: float) -> Color:
    """Brighten (factor > 1) or darken a colour."""
    return tuple(min(255, int(channel * factor)) for channel in color)


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from. `focal` and `horizon` are in image heights."""

    height: float
    x: float
    focal: float
    horizon: float
    bend: float
    """The street's curvature: it has moved bend * z**2 metres to the right at distance z <= FAR."""


@dataclass(frozen=True)
class Light:
    """Sun and air. `sun` is the sideways tilt of its rays, -1 (from the left) to 1."""

    sun: float
    strength: float
    haze: Color
    visibility: float


class Canvas:
    """Picture and label map of one scene of `size` = (height, width) pixels, both empty."""

    def __init__(self, size: tuple[int, int], camera: Camera, light: Light):
        self.height, self.width = (SUPERSAMPLING * side for side in size)
        self.camera = camera
        self.light = light
        self.focal = camera.focal * self.height
        self.horizon = camera.horizon * self.height
        self.image = Image.new("RGB", (self.width, self.height))
        self.labels = Image.new("L", (self.width, self.height))
        self._paint = ImageDraw.Draw(self.image)
        self._glaze = ImageDraw.Draw(self.image, "RGBA")
        self._mark = ImageDraw.Draw(self.labels)

    def project(self, point: Point) -> tuple[float, float]:
        """Metres -> (column, row) in supersampled pixels."""
        x, y, z = point
        z = max(z, NEAREST_M)
        scale = self.focal / z
        # Beyond the street's end the bend would carry the ground out of sight.
        bent = self.camera.bend * min(z, FAR) ** 2
        column = self.width / 2 + (x - self.camera.x + bent) * scale
        return column, self.horizon + (self.camera.height - y) * scale

    def pixels(self, meters: float, z: float) -> float:
        """How many supersampled pixels a length has at distance z."""
        return meters * self.focal / max(z, NEAREST_M)

    def hazed(self, color: Color, z: float) -> Color:
        """The colour as it is seen through z metres of air."""
        return mix(color, self.light.haze, 1 - exp(-z / self.light.visibility))

    def lit(self, color: Color, sideways: float, upwards: float = 0.0) -> Color:
        """The colour of a face whose normal points `sideways` (-1..1) and `upwards` (0..1)."""
        facing = max(0.0, self.light.sun * sideways) + 0.8 * upwards
        return scaled(color, 1 - self.light.strength * (0.45 - 0.6 * facing))

    def polygon(
        self, points: list[Point], color: Color, name: str | None = None, alpha: int = 255
    ) -> None:
        """Fill a polygon; without a class `name` the label map keeps what is there."""
        corners = [self.project(point) for point in points]
        color = self.hazed(color, sum(point[2] for point in points) / len(points))
        if alpha < 255:
            self._glaze.polygon(corners, fill=(*color, alpha))
        else:
            self._paint.polygon(corners, fill=color)
        if name:
            self._mark.polygon(corners, fill=LABEL_IDS[name])

    def rectangle(
        self, x: tuple[float, float], y: tuple[float, float], z: float, color: Color,
        name: str | None = None, alpha: int = 255,
    ) -> None:  # fmt: skip
        """Fill an upright rectangle that faces the camera at distance z."""
        corners = [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]
        self.polygon(corners, color, name, alpha)

    def disc(
        self, center: Point, radius: tuple[float, float], color: Color, name: str | None = None
    ) -> None:
        """Fill an ellipse that faces the camera; `radius` = (horizontal, vertical) in metres."""
        column, row = self.project(center)
        wide, high = (max(0.5, self.pixels(r, center[2])) for r in radius)
        box = (column - wide, row - high, column + wide, row + high)
        self._paint.ellipse(box, fill=self.hazed(color, center[2]))
        if name:
            self._mark.ellipse(box, fill=LABEL_IDS[name])

    def line(
        self, points: list[Point], thickness: float, color: Color, name: str | None = None
    ) -> None:
        """Draw a line of `thickness` metres, at least one supersampled pixel."""
        z = sum(point[2] for point in points) / len(points)
        width = max(1, round(self.pixels(thickness, z)))
        corners = [self.project(point) for point in points]
        joint = "curve" if width > 3 and len(points) > 2 else None
        self._paint.line(corners, fill=self.hazed(color, z), width=width, joint=joint)
        if name:
            self._mark.line(corners, fill=LABEL_IDS[name], width=width, joint=joint)

    def _sky_box(self, x: tuple[float, float], y: tuple[float, float]) -> list[float]:
        # One row more, so that rounding leaves no gap between neighbours or to the horizon.
        left, right = (self.width * share for share in x)
        return [left, self.horizon * y[0], right, self.horizon * y[1] + 1]

    def sky_rectangle(self, x: tuple[float, float], y: tuple[float, float], color: Color) -> None:
        """A part of the sky, in shares of the width and of the horizon's height from the top."""
        box = self._sky_box(x, y)
        self._paint.rectangle(box, fill=color)
        self._mark.rectangle(box, fill=LABEL_IDS["sky"])

    def cloud(self, x: tuple[float, float], y: tuple[float, float], color: Color) -> None:
        """A translucent ellipse in the sky, placed like a `sky_rectangle`."""
        self._glaze.ellipse(self._sky_box(x, y), fill=(*color, 110))

    def bonnet(self, rise: float, color: Color) -> None:
        """The camera's own car, up to `rise` picture heights above the lower edge."""
        top, wide = self.height * (1 - rise), self.width * 0.1
        box = (-wide, top, self.width + wide, top + 4 * rise * self.height)
        self._paint.ellipse(box, fill=color)
        self._glaze.arc(box, 180, 360, fill=(255, 255, 255, 60), width=max(1, self.height // 64))
        self._mark.ellipse(box, fill=LABEL_IDS["ego vehicle"])

    def reduced(self) -> tuple[np.ndarray, np.ndarray]:
        """The scene at its true size: (H, W, 3) uint8 RGB and (H, W) uint8 label ids."""
        labels = np.asarray(self.labels)[::SUPERSAMPLING, ::SUPERSAMPLING].copy()
        return np.asarray(self.image.reduce(SUPERSAMPLING)), labels


class Frame:
    """The coordinates of an object on the ground: `right`, `up`, `forward`, in metres.

    Heading 0 drives away from the camera (its back is seen), pi comes towards it, pi / 2
    crosses to the right.
    """

    def __init__(self, canvas: Canvas, x: float, z: float, heading: float):
        self.canvas = canvas
        self.x, self.z = x, z
        self.cos, self.sin = cos(heading), sin(heading)
        away = canvas.camera.x - canvas.camera.bend * z * z - x
        self.eye_right = away * self.cos + z * self.sin
        self.eye_forward = away * self.sin - z * self.cos

    def at(self, right: float, up: float, forward: float) -> Point:
        """Object coordinates -> world coordinates."""
        x = self.x + right * self.cos + forward * self.sin
        return x, up, self.z - right * self.sin + forward * self.cos

    def wheel(
        self, right: float, forward: float, radius: float, color: Color, name: str,
        alpha: int = 255,
    ) -> list[Point]:  # fmt: skip
        """Fill a disc that stands in the object's length; return its rim."""
        turns = [2 * pi * i / 12 for i in range(13)]
        rim = [self.at(right, radius + radius * sin(t), forward + radius * cos(t)) for t in turns]
        self.canvas.polygon(rim, color, name, alpha)
        return rim


class Box:
    """Draws a box with slanted ends: `right`, `up` and `forward` are (from, to) in the frame.

    `slant` = (front, back, sides): how far the top edge lies inside the bottom edge. Only the
    faces that the camera sees are drawn, and only they take panels (windows, lamps, ...).
    """

    def __init__(
        self, frame: Frame, right: tuple[float, float], up: tuple[float, float],
        forward: tuple[float, float], color: Color, name: str,
        slant: tuple[float, float, float] = (0, 0, 0),
    ):  # fmt: skip
        (r0, r1), (low, high), (f0, f1) = right, up, forward
        front, back, sides = slant
        bottom = [(r0, f0), (r1, f0), (r1, f1), (r0, f1)]
        top = [(r0 + sides, f0 + back), (r1 - sides, f0 + back)]
        top += [(r1 - sides, f1 - front), (r0 + sides, f1 - front)]
        b = [frame.at(r, low, f) for r, f in bottom]
        t = [frame.at(r, high, f) for r, f in top]
        canvas = self.canvas = frame.canvas
        faces = {
            "top": (canvas.camera.height > high, t, 0.0),
            "back": (frame.eye_forward < f0, [b[0], b[1], t[1], t[0]], -frame.sin),
            "front": (frame.eye_forward > f1, [b[2], b[3], t[3], t[2]], frame.sin),
            "right": (frame.eye_right > r1, [b[1], b[2], t[2], t[1]], frame.cos),
            "left": (frame.eye_right < r0, [b[3], b[0], t[0], t[3]], -frame.cos),
        }
        self.faces = {}
        for face, (visible, corners, sideways) in faces.items():
            if visible:
                self.faces[face] = corners
                lit = canvas.lit(color, sideways, upwards=face == "top")
                canvas.polygon(corners, lit, name)

    def panel(
        self, faces: str, across: tuple[float, float], up: tuple[float, float], color: Color
    ) -> None:
        """Paint part of each named face; `across` and `up` are shares (0..1) of the face."""
        for face in faces.split():
            if face not in self.faces:
                continue
            b0, b1, t1, t0 = self.faces[face]
            quad = []
            for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)):
                s, h = across[u], up[v]
                quad.append(
                    tuple(
                        (1 - h) * ((1 - s) * b0[k] + s * b1[k]) + h * ((1 - s) * t0[k] + s * t1[k])
                        for k in range(3)
                    )
                )
            self.canvas.polygon(quad, color)
