"""Explorers: importance, prototypes, adaptation and losses, to click on and slide through.

from iapc_lib.explorers import ImportanceExplorer, open_gallery

ImportanceExplorer(open_gallery("papermill_runs/mini_gta5-seed0"))
"""

from iapc_lib.explorers.adaptation.explorer import AdaptationExplorer
from iapc_lib.explorers.gallery import Gallery, open_gallery
from iapc_lib.explorers.importance.explorer import ImportanceExplorer
from iapc_lib.explorers.playground.explorer import LossPlayground
from iapc_lib.explorers.prototypes.explorer import PrototypesExplorer

__all__ = [
    "AdaptationExplorer",
    "Gallery",
    "ImportanceExplorer",
    "LossPlayground",
    "PrototypesExplorer",
    "open_gallery",
]
