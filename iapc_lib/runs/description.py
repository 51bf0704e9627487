"""What made a run, and what differs between two: read from run folders, never written.

A folder is read as it lies there, whether its run is finished or not, and of whatever version; what
was not recorded is missing or None.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iapc_lib.config.presets import default_values, different, dotted, preset_path
from iapc_lib.files import FileError, fingerprint, read_json, visible_files
from iapc_lib.runs.records import (
    NOT_PROVENANCE,
    Results,
    StageRecord,
    notebook_error,
    read_run_record,
)

MACHINE = ("device", "processor", "threads", "system", "python")
"""Of a stage's provenance: where it was made."""

SCORES = {"val": "scores", "dev": "dev_scores"}
"""Keys of `results.json` by split."""


def describe(folder: str | Path) -> dict[str, Any]:
    """What made a run: JSON-able, and complete; `description_text` has it as text.

    Args:
        folder: a run folder, or its `run.json`.

    Returns:
        `folder`, `scenario`, `seed`, `variant`, `finished`; `parameters` (dotted key -> `value`,
        `default`, whether it `is_default`, `origin`); `hardware`; `code`, `packages` and `machine`
        (lists of a distinct value each with the `stages` that it made); `stages` (in the order
        they were made: `stage`, `time`, `seconds`, `peak_memory_mb`, `inputs`, `taken_from`, ...);
        `notebooks` (`notebook`, `seconds`, `error`); `unfinished` trainings; `continued_from`
        (training -> the other run that began it); `scores` (split -> row -> scores);
        `unlabelled` (row -> what is known without labels); `problems`: what could not be read.

    Raises:
        RunFolderError: it is no run folder, or its `run.json` is damaged.
    """
    about = preset_path(folder)
    run = read_run_record(about)
    folder, problems = about.parent, []
    config, origin = run["config"], run.get("origin")
    records = {
        path.stem: _read(path, StageRecord, problems)
        for path in visible_files(folder / "stages", "*.json")
    }
    stages = [
        _stage(name, record)
        for name, record in records.items()
        if isinstance(record.get("provenance"), dict)
    ]
    stages.sort(key=lambda stage: (stage["time"] or "", stage["stage"]))
    results = folder / "results.json"
    found = _read(results, Results, problems) if results.exists() else {}
    scores = {split: found.get(key, {}) for split, key in SCORES.items()}
    return {
        "folder": str(folder),
        "scenario": config.get("scenario"),
        "seed": config.get("seed"),
        "variant": config.get("variant"),
        "finished": results.exists(),
        "parameters": _parameters(config, origin),
        "hardware": run.get("hardware"),
        **{kind: _distinct(stages, kind) for kind in ("code", "packages", "machine")},
        "stages": stages,
        "notebooks": list(_notebooks(folder, records, problems)),
        "continued_from": run.get("continued_from") or {},
        "unfinished": [path.stem for path in visible_files(folder / "states", "*.pt")],
        "scores": scores,
        "unlabelled": found.get("unlabelled") or {},
        "problems": problems,
    }


def compare(first: str | Path, second: str | Path) -> dict[str, Any]:
    """What differs between two runs.

    Returns:
        `runs`: both folders. `parameters`, `hardware`, `machine`, `packages`, `code`, `inputs`:
        what differs, each with its value in both runs, in that order; empty if nothing does.
        `stages`: those that only one of the runs has. `scores`: split -> row -> `miou` of both,
        in per cent, and `difference`, second minus first, in points. `unlabelled`: the measures
        without labels that differ. `same_scores`: whether both runs have the same scores and
        measures of the same rows, to the last digit. `problems`: files that
        could not be read.

    Raises:
        RunFolderError: one of them is no run folder.
    """
    runs = [describe(folder) for folder in (first, second)]
    return {
        "runs": [run["folder"] for run in runs],
        "parameters": different(
            *({key: field["value"] for key, field in run["parameters"].items()} for run in runs)
        ),
        "hardware": different(*(run["hardware"] or {} for run in runs)),
        **{
            kind: different(*(_merged(run[kind]) for run in runs))
            for kind in ("machine", "packages", "code")
        },
        "stages": different(*({s["stage"]: True for s in run["stages"]} for run in runs)),
        "inputs": different(*_common_inputs(*runs)),
        "scores": {split: _score_differences(*runs, split) for split in SCORES},
        "unlabelled": different(*(dotted(run["unlabelled"]) for run in runs)),
        "same_scores": all(runs[0][key] == runs[1][key] for key in ("scores", "unlabelled")),
        "problems": [problem for run in runs for problem in run["problems"]],
    }


def _read(path: Path, shape: Any, problems: list[str]) -> dict[str, Any]:
    """A record; what cannot be read is a problem, and empty."""
    try:
        return read_json(path, shape)
    except FileError as error:
        problems.append(str(error))
        return {}


def _parameters(config: Mapping[str, Any], origin: Mapping[str, str] | None) -> dict[str, Any]:
    defaults = default_values()
    return {
        key: {
            "value": value,
            "default": defaults.get(key),
            "is_default": key in defaults and defaults[key] == value,
            "origin": None if origin is None else origin.get(key, "default"),
        }
        for key, value in dotted(config).items()
    }


def _stage(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    made = record["provenance"]
    machine = {key: made[key] for key in MACHINE if key in made}
    hardware = (made.get("config") or {}).get("hardware") or {}
    if "precision" in hardware:  # it may change between two starts, and can move a number
        machine["precision"] = hardware["precision"]
    kept = {k: v for k, v in record.items() if k not in NOT_PROVENANCE}
    return {
        "stage": name,
        "time": made.get("time"),
        **kept,
        "code": made.get("code"),
        "packages": made.get("packages"),
        "machine": machine,
    }


def _distinct(stages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The different values of the stages, in order, each with the names of its stages."""
    groups: dict[str, dict[str, Any]] = {}
    for stage in stages:
        value = stage[kind]
        group = groups.setdefault(fingerprint(value), {"value": value, "stages": []})
        group["stages"].append(stage["stage"])
    return list(groups.values())


def _notebooks(
    folder: Path, records: Mapping[str, Mapping[str, Any]], problems: list[str]
) -> Iterator[dict[str, Any]]:
    for path in visible_files(folder / "notebooks", "*.ipynb"):
        try:
            error = notebook_error(path)
        except FileError as damaged:
            problems.append(str(damaged))
            error = None
        seconds = records.get(f"notebook_{path.stem}", {}).get("seconds")
        yield {"notebook": path.stem, "seconds": seconds, "error": error}


def _merged(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """By key, the one value of all stages, or the sorted list of their different ones."""
    merged: dict[str, list[Any]] = {}
    for group in groups:
        for key, value in (group["value"] or {}).items():
            if value not in merged.setdefault(key, []):
                merged[key].append(value)
    return {
        key: values[0] if len(values) == 1 else sorted(values, key=str)
        for key, values in merged.items()
    }


def _common_inputs(*runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`stage: input` -> its value, of the stages that all runs have."""
    by_stage = [{s["stage"]: s.get("inputs") or {} for s in run["stages"]} for run in runs]
    common = set(by_stage[0]).intersection(*by_stage[1:])
    return [
        {
            f"{stage}: {name}": value
            for stage, inputs in stages.items()
            if stage in common
            for name, value in inputs.items()
        }
        for stages in by_stage
    ]


def _score_differences(
    first: Mapping[str, Any], second: Mapping[str, Any], split: str
) -> dict[str, Any]:
    tables = [run["scores"][split] for run in (first, second)]
    rows = {}
    for row in {**tables[0], **tables[1]}:
        a, b = (table.get(row, {}).get("miou") for table in tables)
        rows[row] = {"miou": [a, b], "difference": None if None in (a, b) else b - a}
    return rows
