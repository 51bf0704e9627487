"""Every notebook in JupyterLab: Run All Cells, and no cell fails."""

from __future__ import annotations

import pytest

from tests.browser import views
from tests.conftest import PROJECT

NOTEBOOKS = sorted(
    path.relative_to(PROJECT).as_posix()
    for path in (PROJECT / "notebooks").rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)


@pytest.fixture
def opened(request, browser, running_servers, run):
    """A notebook in JupyterLab, nothing run yet."""
    with views.in_lab(browser, running_servers["lab"], request.param) as view:
        yield view


@pytest.mark.parametrize("opened", NOTEBOOKS, indirect=True)
def test_every_cell_runs(opened):
    views.run_all(opened)
