"""Importance-Aware and Prototype-Contrast learning, in small readable modules.

One module answers one question; see the README for the map of notebooks and modules.
"""

__version__ = "0.1.0"
