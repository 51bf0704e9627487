"""Every solution that a notebook folds away is run, at its place, after the cells before it.

It needs the finished run of `mini_gta5`, which nbval makes: `make test` runs it last.
"""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("0*.ipynb"))
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions_hold(path):
    notebook = nbformat.read(path, as_version=4)
    cells, solutions = [], 0
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            for folded in FOLDED.findall(cell.source):
                for code in CODE.findall(folded):
                    cells.append(nbformat.v4.new_code_cell(code))
                    solutions += 1
    assert solutions >= 4
    notebook.cells = cells
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    said = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    stubs = sum("Not written yet." in text for text in said)
    held = sum("The same as the library's." in text for text in said)
    assert stubs == held == 2
