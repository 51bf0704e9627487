"""A small finished run, servers and a browser for the browser tests.

They take minutes and want Chromium, so they run only when `make test-browser` asks for them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, sync_playwright

from iapc_lib.explorers.gallery import Gallery, open_gallery
from iapc_lib.pipeline.results import run_results
from iapc_lib.runs.folder import Run, open_run
from tests.browser import servers, views
from tests.conftest import PRESETS, PROJECT, tiny_overrides

WANTED = "IAPC_BROWSER_TESTS"
"""Environment variable that asks for these tests."""
SCREENSHOTS = "IAPC_SCREENSHOTS"
"""Environment variable: folder for the screenshots; else they go to a temporary one."""

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-default-apps",
]


if not os.environ.get(WANTED):
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter) -> None:
    """Says in one line that the browser tests were left out."""
    if not os.environ.get(WANTED):
        missing = "" if shutil.which("chromium") else "there is no Chromium here, and "
        terminalreporter.write_line(
            f"Browser tests skipped: {missing}only `make test-browser` runs them."
        )


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser."""
    path = shutil.which("chromium")
    assert path, "no `chromium` on the PATH; on Debian: apt-get install chromium"
    return path


@pytest.fixture(scope="session")
def project(tmp_path_factory, chromium) -> Path:
    """A project folder with the notebooks, in which the miniature's preset is a run of seconds."""
    folder = tmp_path_factory.mktemp("project")
    hidden = shutil.ignore_patterns(".ipynb_checkpoints")
    shutil.copytree(PROJECT / "notebooks", folder / "notebooks", ignore=hidden)
    for name in ("variants", "studies", "measured", "measured_camvid"):
        shutil.copytree(PRESETS / name, folder / "papermill_runs" / name)
    for preset in PRESETS.glob("*.yaml"):
        fields = yaml.safe_load(preset.read_text())
        if preset.stem == "mini_gta5":
            # Just enough training that the network tells some classes apart.
            fields["overrides"] = tiny_overrides(folder / "data") | {
                "source_training.steps": 150,
                "source_training.batch_size": 4,
            }
        (folder / "papermill_runs" / preset.name).write_text(yaml.safe_dump(fields))
    return folder


@pytest.fixture(scope="session")
def run(project) -> Run:
    """The finished run that the notebooks of the project folder open."""
    run = open_run(
        project / "papermill_runs/mini_gta5.yaml", project / "papermill_runs/mini_gta5-seed0"
    )
    run_results(run)
    return run


@pytest.fixture(scope="session")
def gallery(run) -> Gallery:
    """What the explorers of the project folder look at."""
    return open_gallery(run)


@pytest.fixture(scope="session")
def running_servers(project, tmp_path_factory) -> Iterator[dict[str, servers.Server]]:
    """JupyterLab (`lab`) and Voila (`voila`) on the project folder."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serve(project, tmp_path_factory.mktemp(name)))
            for name, serve in (("lab", servers.jupyter_lab), ("voila", servers.voila))
        }


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Folder for screenshots."""
    named = os.environ.get(SCREENSHOTS)
    folder = Path(named).resolve() if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser(chromium, screenshots) -> Iterator[Browser]:
    """Chromium; where a test fails, what it shows goes to `screenshots`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["lab", "voila"])
def view(request, browser, running_servers, run) -> Iterator[views.View]:
    """The module's `NOTEBOOK` on the finished run: in JupyterLab, all cells run, then in Voila."""
    kind, notebook = request.param, request.module.NOTEBOOK
    opener = {"lab": views.in_lab, "voila": views.in_voila}[kind]
    with opener(browser, running_servers[kind], notebook) as view:
        if kind == "lab":
            views.run_all(view)
        yield view


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test's report has pictures of the open pages and what the servers printed."""
    report = yield
    found = getattr(item, "funcargs", {})
    if report.failed and "browser" in found:
        pages = [page for context in found["browser"].contexts for page in context.pages]
        for number, page in enumerate(pages):
            path = found["screenshots"] / f"failed_{item.name}_{call.when}_{number}.png"
            page.screenshot(path=path)
            report.sections.append(("page as it was", str(path)))
    if report.failed:
        for name, server in found.get("running_servers", {}).items():
            report.sections.append((f"{name} server's output", server.output()))
    return report
