"""Miniature worlds: drawn street scenes that stand in for GTA5, SYNTHIA and Cityscapes.

`write_world` writes a world to disk in the layout and encoding of the data set it stands in
for; `draw_scene` draws a single scene. `looks.py` says what a world looks like, `scene.py`
composes a scene from the street (`street.py`), its furniture, traffic and people on a `canvas`
measured in metres, and `finish.py` takes the photograph.
"""

from .looks import LOOKS, Look
from .scene import draw_scene
from .write import write_world

__all__ = ["LOOKS", "Look", "draw_scene", "write_world"]
