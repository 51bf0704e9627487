"""What the three miniature worlds look like and what is found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .canvas import Color, mix, scaled

Range = tuple[float, float]


def pick(rng: np.random.Generator, options: Sequence):
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Conditions:
    """Air, light and camera of one image."""

    severity: float
    """From 0, the easiest images of a world, to 1, the hardest."""
    visibility: float
    """In metres."""
    gain: float
    """Factor of brightness."""
    saturation: float
    cast: tuple[float, float, float]
    """Factors of red, green and blue."""
    blur: float
    """In pixels of a 128-row image."""
    grain: float
    """Standard deviation of the camera's noise, of 255."""
    shade: float
    """How far light differs from place to place, in stops."""
    smudge: float
    """How wet or dirty the lens is: at 0.1 nowhere, at 1.1 everywhere."""


@dataclass(frozen=True)
class Look:
    """A world: its geometry, colours, shapes, frequencies and camera. Lengths in metres.

    A (low, high) pair is drawn uniformly for every scene or object; an (easy, hard) pair says
    where an image lies between a world's easiest and hardest (`conditions`).
    """

    name: str
    absent: frozenset[str]
    """Classes that this world never shows."""

    camera_height: Range
    focal: Range
    horizon: Range
    half_road: Range
    sidewalk: Range
    floors: tuple[int, int]
    bend: float

    roads: tuple[Color, ...]
    pavements: tuple[Color, ...]
    grass: tuple[Color, ...]
    leaves: tuple[Color, ...]
    facades: tuple[Color, ...]
    walls: tuple[Color, ...]
    fences: tuple[Color, ...]
    poles: tuple[Color, ...]
    cars: tuple[Color, ...]
    trucks: tuple[Color, ...]
    buses: tuple[Color, ...]
    trains: tuple[Color, ...]
    cycles: tuple[Color, ...]
    clothes: tuple[Color, ...]
    skies: tuple[tuple[Color, Color], ...]
    """(top, horizon) colours."""

    patterns: tuple[str, ...]
    """What facades are covered with: plain, brick, bands, panels or stains."""
    off_palette: float
    """How likely an object has any colour instead of one of its class's."""
    odd_shape: float
    """How likely an object has one of its class's rarer shapes."""
    cobbles: float
    """How likely the road is cobbled."""
    road_stains: float
    """Mean number of patches, stains and stray shadows on the road."""

    blocks: dict[str, float]
    """How often the street is lined by building, wall, fence, hedge or park."""
    grass_strip: float
    mean_counts: dict[str, float]
    """Mean number of things of a kind in a scene."""

    sun_strength: Range
    shadow: float
    texture: float
    """Scale of the surfaces' unevenness; 0 is flat paint."""
    vignette: float

    visibility: Range
    """(easy, hard), as are gain, saturation, blur and grain; see `Conditions`."""
    gain: Range
    saturation: Range
    cast: tuple[float, float, float]
    """Factors of red, green and blue that all images have."""
    tint: float
    """The same of one image: how far they may lie from 1 in the hardest."""
    blur: Range
    grain: Range
    shade: Range
    smudge: Range
    spread: float
    """How much each of these strays from the severity of its image: standard deviation."""
    bonnet: bool = field(default=False)

    def conditions(self, rng: np.random.Generator) -> Conditions:
        """Air, light and camera of an image: bad light seldom comes without noise and blur."""
        severity = rng.random()
        places = np.clip(severity + self.spread * rng.standard_normal(8), 0, 1)
        tints = 1 + self.tint * places[5] * rng.uniform(-1, 1, 3)
        return Conditions(
            severity,
            # Eyes and cameras judge brightness and distance by ratios.
            visibility=float(np.exp(np.interp(places[0], (0, 1), np.log(self.visibility)))),
            gain=float(np.exp(np.interp(places[1], (0, 1), np.log(self.gain)))),
            saturation=float(np.interp(places[2], (0, 1), self.saturation)),
            cast=tuple(float(c) for c in tints * self.cast),
            blur=float(np.interp(places[3], (0, 1), self.blur)),
            grain=float(np.interp(places[4], (0, 1), self.grain)),
            shade=float(np.interp(places[6], (0, 1), self.shade)),
            smudge=float(np.interp(places[7], (0, 1), self.smudge)),
        )

    def color(self, rng: np.random.Generator, palette: Sequence[Color]) -> Color:
        """An object's colour: one of the palette, slightly varied, or now and then any."""
        if rng.random() < self.off_palette:
            return tuple(int(c) for c in rng.integers(25, 225, 3))
        return self.tone(rng, palette)

    def surface(self, rng: np.random.Generator, palette: Sequence[Color]) -> Color:
        """A surface's colour: off the palette it is only tinted, as no road is purple."""
        color = self.tone(rng, palette)
        if rng.random() < self.off_palette:
            return mix(color, tuple(int(c) for c in rng.integers(40, 200, 3)), 0.25)
        return color

    def tone(self, rng: np.random.Generator, palette: Sequence[Color]) -> Color:
        """One of the palette's colours, slightly varied in brightness."""
        return scaled(pick(rng, palette), rng.uniform(0.88, 1.12))


GTA5 = Look(
    name="gta5",
    absent=frozenset(),
    camera_height=(1.5, 1.9),
    focal=(1.15, 1.4),
    horizon=(0.40, 0.46),
    half_road=(5.0, 7.0),
    sidewalk=(2.5, 4.0),
    floors=(2, 7),
    bend=0.0010,
    roads=((92, 88, 84), (80, 77, 75), (102, 97, 90)),
    pavements=((176, 164, 146), (160, 150, 138), (188, 172, 150)),
    grass=((116, 140, 52), (134, 146, 66), (98, 126, 48)),
    leaves=((66, 104, 38), (84, 118, 46), (52, 88, 36)),
    facades=((176, 98, 66), (198, 158, 112), (150, 84, 62), (206, 182, 142), (140, 118, 98),
             (184, 126, 84)),
    walls=((168, 138, 120), (150, 124, 112)),
    fences=((52, 60, 52), (92, 70, 48)),
    poles=((88, 88, 84), (70, 72, 70)),
    cars=((172, 32, 30), (34, 58, 120), (222, 220, 214), (34, 34, 38), (150, 152, 154)),
    trucks=((222, 108, 34), (86, 116, 164), (232, 150, 60)),
    buses=((206, 44, 36), (232, 228, 216)),
    trains=((60, 128, 92), (206, 200, 176)),
    cycles=((30, 30, 34), (150, 36, 30), (40, 76, 130)),
    clothes=((182, 60, 44), (60, 70, 108), (208, 190, 160), (70, 62, 56), (202, 140, 50)),
    skies=(((88, 144, 206), (196, 216, 228)), ((104, 152, 204), (232, 214, 186)),
           ((176, 190, 202), (222, 220, 212))),
    patterns=("plain", "brick", "brick", "bands"),
    off_palette=0.0,
    odd_shape=0.1,
    cobbles=0.0,
    road_stains=1.0,
    blocks={"building": 6, "wall": 1.3, "fence": 1.0, "hedge": 0.6, "park": 0.5},
    grass_strip=0.4,
    mean_counts={"car": 1.8, "parked car": 2.0, "truck": 0.5, "bus": 0.4, "train": 0.35,
                 "cyclist": 0.5, "motorcyclist": 0.45, "bicycle": 0.7, "motorcycle": 0.4,
                 "person": 4.0, "lamp": 2.5, "traffic light": 1.6, "traffic sign": 1.8,
                 "tree": 4.5, "clutter": 0.3},
    sun_strength=(0.45, 0.7),
    shadow=0.42,
    texture=1.0,
    vignette=0.0,
    visibility=(500, 150),
    gain=(1.12, 0.65),
    saturation=(1.25, 0.8),
    cast=(1.05, 1.0, 0.94),
    tint=0.1,
    blur=(0.0, 0.3),
    grain=(1.0, 3.0),
    shade=(0.0, 0.3),
    smudge=(0.0, 0.0),
    spread=0.3,
)  # fmt: skip

SYNTHIA = Look(
    name="synthia",
    absent=frozenset({"terrain", "truck", "train"}),
    camera_height=(2.1, 2.9),
    focal=(1.05, 1.25),
    horizon=(0.36, 0.42),
    half_road=(5.5, 7.5),
    sidewalk=(3.0, 5.0),
    floors=(3, 8),
    bend=0.0,
    roads=((112, 112, 122), (98, 98, 106)),
    pavements=((184, 170, 184), (170, 160, 170), (190, 180, 172)),
    grass=((100, 180, 60),),
    leaves=((60, 160, 44), (40, 134, 50), (88, 176, 56)),
    facades=((232, 112, 66), (242, 212, 134), (208, 172, 208), (238, 232, 222), (192, 76, 62),
             (164, 188, 214)),
    walls=((214, 176, 150), (190, 160, 150)),
    fences=((40, 90, 72), (70, 80, 90)),
    poles=((124, 124, 130), (104, 104, 112)),
    cars=((226, 30, 36), (34, 74, 204), (244, 244, 244), (40, 40, 44), (168, 172, 176)),
    trucks=((220, 120, 40),),
    buses=((250, 202, 24), (40, 160, 90)),
    trains=((60, 160, 120),),
    cycles=((24, 24, 30), (30, 92, 214), (214, 40, 40)),
    clothes=((224, 52, 48), (46, 84, 196), (60, 60, 76), (240, 200, 60), (120, 60, 150)),
    skies=(((70, 142, 236), (190, 222, 250)), ((104, 168, 240), (214, 232, 250)),
           ((164, 196, 230), (224, 234, 244))),
    patterns=("plain", "plain", "panels"),
    off_palette=0.0,
    odd_shape=0.1,
    cobbles=0.0,
    road_stains=0.0,
    blocks={"building": 6, "wall": 1.2, "fence": 1.3, "hedge": 0.8, "park": 0.3},
    grass_strip=0.0,
    mean_counts={"car": 2.2, "parked car": 1.6, "bus": 0.6, "cyclist": 0.7,
                 "motorcyclist": 0.5, "bicycle": 0.6, "motorcycle": 0.35, "person": 4.5,
                 "lamp": 3.0, "traffic light": 1.4, "traffic sign": 1.4, "tree": 5.5,
                 "clutter": 0.2},
    sun_strength=(0.3, 0.4),
    shadow=0.2,
    texture=0.2,
    vignette=0.0,
    visibility=(900, 200),
    gain=(1.1, 0.65),
    saturation=(1.3, 0.8),
    cast=(1.0, 1.0, 1.03),
    tint=0.1,
    blur=(0.0, 0.3),
    grain=(0.0, 3.0),
    shade=(0.0, 0.3),
    smudge=(0.0, 0.0),
    spread=0.3,
)  # fmt: skip

CITYSCAPES = Look(
    name="cityscapes",
    absent=frozenset(),
    camera_height=(1.15, 1.5),
    focal=(1.2, 1.5),
    horizon=(0.40, 0.48),
    half_road=(3.8, 6.5),
    sidewalk=(1.6, 3.6),
    floors=(3, 6),
    bend=0.0020,
    roads=GTA5.roads + ((92, 94, 92), (110, 108, 102), (76, 80, 82)),
    pavements=GTA5.pavements + ((136, 132, 128), (150, 140, 134), (120, 120, 118)),
    grass=GTA5.grass + ((104, 122, 70), (122, 124, 80), (86, 104, 62)),
    leaves=GTA5.leaves + ((62, 86, 48), (84, 98, 50), (120, 104, 56), (46, 70, 46)),
    facades=GTA5.facades + ((178, 164, 142), (152, 128, 108), (190, 184, 172), (128, 120, 112), (160, 104, 84),
             (150, 156, 140)),
    walls=GTA5.walls + ((146, 130, 122), (126, 122, 116)),
    fences=GTA5.fences + ((56, 62, 58), (110, 100, 88)),
    poles=((96, 98, 96), (76, 80, 78)),
    cars=GTA5.cars + ((44, 46, 50), (160, 162, 164), (120, 36, 36), (44, 60, 96), (206, 206, 202)),
    trucks=((196, 118, 66), (98, 118, 150), (190, 186, 176)),
    buses=((186, 66, 52), (206, 190, 120), (190, 192, 190)),
    trains=((84, 126, 104), (190, 184, 160), (176, 70, 60)),
    cycles=GTA5.cycles + ((32, 34, 36), (110, 44, 40), (54, 74, 100)),
    clothes=GTA5.clothes + ((64, 66, 78), (112, 58, 52), (92, 96, 86), (156, 146, 128), (52, 70, 96)),
    skies=GTA5.skies + (((190, 200, 204), (222, 224, 220)), ((160, 184, 204), (212, 216, 214)),
           ((206, 206, 200), (226, 224, 216))),
    patterns=("plain", "brick", "bands", "panels", "stains", "stains"),
    off_palette=0.4,
    odd_shape=0.4,
    cobbles=0.2,
    road_stains=3.0,
    blocks={"building": 5, "wall": 0.9, "fence": 1.1, "hedge": 1.2, "park": 1.0},
    grass_strip=0.45,
    mean_counts={"car": 1.8, "parked car": 3.5, "truck": 0.4, "bus": 0.4, "train": 0.35,
                 "cyclist": 0.7, "motorcyclist": 0.3, "bicycle": 1.0, "motorcycle": 0.35,
                 "person": 4.5, "lamp": 2.0, "traffic light": 1.5, "traffic sign": 2.4,
                 "tree": 5.0, "clutter": 1.5},
    sun_strength=(0.15, 0.6),
    shadow=0.3,
    texture=0.9,
    vignette=0.2,
    visibility=(225, 33),
    gain=(0.92, 0.32),
    saturation=(0.91, 0.21),
    cast=(0.95, 1.0, 0.95),
    tint=0.2,
    blur=(0.1, 0.9),
    grain=(2.0, 8.0),
    shade=(0.3, 1.4),
    smudge=(0.1, 0.65),
    spread=0.5,
    bonnet=True,
)  # fmt: skip

LOOKS = {look.name: look for look in (GTA5, SYNTHIA, CITYSCAPES)}
