"""A JupyterLab and a Voila server of the tests' own: private settings, a free port, a log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "browser-tests"
START_SECONDS = 120
STOP_SECONDS = 30

SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Every cell is in the page, whether it is in sight or not.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}


@dataclass
class Server:
    """A running server; `kind` is `lab` or `voila`."""

    kind: str
    address: str
    log: Path

    def request(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        """Asks the server's REST interface; what it answers, None for an empty answer.

        Raises:
            OSError: no answer, or one that is an error.
        """
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def output(self, characters: int = 6000) -> str:
        """The end of what the server printed."""
        return self.log.read_text(errors="replace")[-characters:]


def jupyter_lab(root: Path, private: Path):
    """A JupyterLab server on a folder, as a context; `private` is for its settings and log."""
    settings = private / "settings" / "@jupyterlab"
    for name, content in SETTINGS.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    # Or it asks node.js for seconds whether it should be built anew.
    page = private / "config/labconfig/page_config.json"
    page.parent.mkdir(parents=True)
    page.write_text(json.dumps({"buildCheck": False, "buildAvailable": False}))
    port = _free_port()
    command = [
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={root}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    return _serve("lab", command, port, "/api", root, private)


def voila(root: Path, private: Path):
    """A Voila server on a folder, as a context; `private` is for its settings and log."""
    port = _free_port()
    command = [
        "voila",
        str(root),
        "--no-browser",
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
        f"--token={TOKEN}",
        "--show_tracebacks=True",
    ]
    return _serve("voila", command, port, "/voila/tree", root, private)


@contextmanager
def _serve(
    kind: str, command: list[str], port: int, ready: str, root: Path, private: Path
) -> Iterator[Server]:
    private.mkdir(parents=True, exist_ok=True)
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = {**os.environ, **{name: str(private / f) for name, f in folders.items()}}
    server = Server(kind, f"http://127.0.0.1:{port}", private / "server.log")
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(server, process, ready)
        yield server
    finally:
        # On SIGTERM a server ends its kernels, too; a kernel whose server died ends itself.
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(server: Server, process: subprocess.Popen, path: str) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            request = urllib.request.Request(
                server.address + path, headers={"Authorization": f"token {TOKEN}"}
            )
            urllib.request.urlopen(request, timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise RuntimeError(f"The {server.kind} server does not answer. It printed:\n{server.output()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
