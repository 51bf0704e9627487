"""What `run.json` and the executed notebooks of a run folder say, and the records' formats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import read_record
from iapc_lib.files import FileError

RUN_FORMAT = 1
"""Of `run.json`."""
RESULTS_FORMAT = 2
"""Of `results.json`; those of another format are set aside."""


class RunFolderError(FileError):
    """A run folder that cannot be used as asked; the message names it and says what to do."""


def read_run_record(about: Path) -> dict[str, Any]:
    """A `run.json`; see `presets.read_record`, which reads it where it stands for a preset.

    Raises:
        RunFolderError: it is not there, cannot be read, or is not the record of a run.
    """
    try:
        return read_record(about)
    except ConfigError as error:
        raise RunFolderError(str(error)) from None


def notebook_error(notebook: Mapping[str, Any]) -> str | None:
    """Name and message of the last error in an executed notebook, given as its JSON."""
    outputs = [
        output
        for cell in notebook.get("cells", [])
        for output in cell.get("outputs", [])
        if output.get("output_type") == "error"
    ]
    return f"{outputs[-1]['ename']}: {outputs[-1]['evalue']}" if outputs else None
