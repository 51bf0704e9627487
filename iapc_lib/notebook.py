"""What every notebook begins with."""

import ast
import sys
from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown
from pandas import DataFrame, option_context

from iapc_lib.config.errors import ConfigError
from iapc_lib.paths import shown_path
from iapc_lib.pipeline import stages
from iapc_lib.runs.folder import Run, open_run


def compare(yours: Any, expected: Any) -> None:
    """Holds what a reader's function returned against what the library gives.

    Args:
        yours: numbers, of any kind that NumPy takes; None where nothing is written yet.
        expected: the same of the library.

    Raises:
        AssertionError: they differ; says where.
    """
    if yours is None:
        print("Not written yet.")
        return
    given, wanted = (
        np.asarray(value.detach() if hasattr(value, "detach") else value, float)
        for value in (yours, expected)
    )
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)
    print("The same as the library's.")


def say(*sentences: str, when: bool = True) -> Markdown:
    """What is seen above, as a paragraph; the sentences are made from this run's numbers.

    Args:
        sentences: that belong together.
        when: whether there is something to say: without labels there often is not.
    """
    return Markdown(" ".join(sentences) if when else "(This target has no labels to compare with.)")


class Folded:
    """A long table that a reader opens with a click.

    Args:
        table: what is folded.
        summary: what stands in its place.
    """

    def __init__(self, table: DataFrame, summary: str):
        self.table, self.summary = table, summary

    def __repr__(self) -> str:
        return f"{self.summary} ({len(self.table)} lines)"

    def _repr_html_(self) -> str:
        with option_context("display.max_rows", None, "display.max_colwidth", None):
            html = self.table.to_html(max_rows=None)
        return f"<details><summary>{escape(self.summary)}</summary>{html}</details>"


def start(
    config: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    variant: str | Path | None = None,
) -> Run:
    """Opens the run of a notebook's parameters, draws its data if they are missing, says what runs.

    The arguments are those of `open_run`.

    Raises:
        ConfigError: a key, a value, or a parameter that papermill was given is not allowed.
        RunFolderError: the folder cannot be written or holds work of other parameters.
    """
    refuse_unknown_parameters()
    run = open_run(config, out, seed, overrides, variant)
    stages.data(run)
    print(f"iapc_lib {version('iapc-lib')}, torch {version('torch')}, {run.machine.description}")
    print(f"{run.config.scenario}, seed {run.config.seed}: {shown_path(run.folder)}")
    return run


def refuse_unknown_parameters() -> None:
    """papermill only warns of a misspelt parameter, and runs without it.

    Raises:
        ConfigError: papermill gave this notebook a parameter that none of its own cells sets.
    """
    ipython = sys.modules.get("IPython")  # not imported: this is no notebook
    shell = ipython.get_ipython() if ipython is not None else None
    cells = shell.user_ns.get("In", []) if shell is not None else []
    given = [place for place, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    for place in given:
        allowed = [name for cell in cells[:place] for name in _assigned_names(cell)]
        for name in _assigned_names(cells[place]):
            if name not in allowed:
                raise ConfigError(f"unknown parameter '{name}'; allowed: {', '.join(allowed)}")


def _assigned_names(cell: str) -> list[str]:
    try:
        statements = ast.parse(cell).body
    except SyntaxError:  # of a cell that someone tried in JupyterLab
        return []
    return [ast.unparse(s.targets[0]) for s in statements if isinstance(s, ast.Assign)]
