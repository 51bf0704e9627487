"""The surfaces that are attacked, and what every attack must end in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from iapc_lib.cli import app


def iapc(*arguments: Any) -> tuple[int, str]:
    """Exit status of a command, and all that it says."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def refused(name: str, *arguments: Any) -> None:
    """The command ends with 2 and one of its lines holds the name of what is wrong."""
    status, said = iapc(*arguments)
    assert status == 2, said
    assert any(name in line for line in said.splitlines()), said


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
