"""The published method and nothing else, to be read in the order of `__init__.pyi`.

Settings; the network; importance; prototypes; the losses; from the outputs of three networks to one
number; the optimiser; one update. It needs torch, pydantic (for the settings) and the table of
classes, no run folder, no device policy and no file: the folder can be lifted into another project.
"""

import lazy_loader

# The settings are read where nothing is computed, and torch takes two seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
