"""Importance-Aware and Prototype-Contrast learning, in small readable modules.

`method` is the published method alone; docs/architecture.md says where everything else is.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`iapc_lib.load`, imported when it is first asked for: `import iapc_lib` stays quick."""
    if name == "load":
        from iapc_lib.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
