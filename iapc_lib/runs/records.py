"""What `run.json` and the executed notebooks of a run folder say, and the records' formats."""

from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import read_record
from iapc_lib.files import FileError, read_json, visible_files

RUN_FORMAT = 1
"""Of `run.json`."""
RESULTS_FORMAT = 2
"""Of `results.json`; those of another format are set aside."""


class RunFolderError(FileError):
    """A run folder that cannot be used as asked; the message names it and says what to do."""


_MORE = ConfigDict(extra="allow")


@with_config(_MORE)
class Provenance(TypedDict, total=False):
    """What made something; see `provenance.provenance`. Earlier versions recorded less."""

    code: dict[str, Any] | None
    config: dict[str, Any]
    packages: dict[str, Any]
    time: str | None


@with_config(_MORE)
class StageRecord(TypedDict):
    """A file of `stages/`: what a finished stage, or notebook, was made from."""

    inputs: dict[str, Any]
    facts: NotRequired[dict[str, Any]]
    outputs: NotRequired[dict[str, str]]
    provenance: NotRequired[Provenance]


@with_config(_MORE)
class Score(TypedDict, total=False):
    """Of a row on a split; see `scores.scores`."""

    miou: float | None
    iou: dict[str, float | None]


@with_config(_MORE)
class Results(TypedDict, total=False):
    """A `results.json`; see `results.run_results`."""

    scores: dict[str, Score]
    dev_scores: dict[str, Score]
    unlabelled: dict[str, dict[str, float | None]]
    variant: dict[str, Any] | None
    provenance: Provenance


class _Cell(TypedDict):
    outputs: NotRequired[list[dict[str, Any]]]


class ExecutedNotebook(TypedDict):
    """What of an executed notebook says how it ended."""

    cells: list[_Cell]


def read_stage(path: Path) -> StageRecord:
    """The record of a stage or a notebook.

    Raises:
        FileError: it is damaged; names file and field.
    """
    try:
        return read_json(path, StageRecord)
    except FileError as error:
        raise FileError(f"{error}; delete it to make it again") from None


NOT_PROVENANCE = ("stage", "facts", "outputs", "provenance")
"""Keys of a stage's record that lists of what made it leave out, or show elsewhere."""


def stage_records(folder: Path) -> dict[str, StageRecord]:
    """The records of a run folder by the names of their stages, and notebooks.

    Raises:
        FileError: one of them is damaged; names file and field.
    """
    paths = visible_files(folder / "stages", "*.json")
    return {path.stem: read_stage(path) for path in paths}


def read_run_record(about: Path) -> dict[str, Any]:
    """A `run.json`; see `presets.read_record`, which reads it where it stands for a preset.

    Raises:
        RunFolderError: it is not there, cannot be read, or is not the record of a run.
    """
    try:
        return read_record(about)
    except ConfigError as error:
        raise RunFolderError(str(error)) from None


def notebook_error(path: Path) -> str | None:
    """Name and message of the last error in an executed notebook.

    Raises:
        FileError: it cannot be read, such as one that was half written.
    """
    outputs = [
        output
        for cell in read_json(path, ExecutedNotebook)["cells"]
        for output in cell.get("outputs", [])
        if output.get("output_type") == "error"
    ]
    return f"{outputs[-1].get('ename')}: {outputs[-1].get('evalue')}" if outputs else None
