"""Runs the seven notebooks, in order, through papermill into one run folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import papermill
import torch
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from iapc_lib.checkpoints import CheckpointError, imagenet_file, load_network
from iapc_lib.config import RunConfig
from iapc_lib.data.dataset import check_records
from iapc_lib.data.layouts import DataError, Record, domain_root, source_records, target_records
from iapc_lib.deeplab import DeepLabV2
from iapc_lib.presets import ConfigError, project_root, read_preset, resolve
from iapc_lib.runs import (
    Run,
    RunFolderError,
    code_version,
    file_hash,
    free_megabytes,
    open_run,
    read_json,
    write_json,
)

REFUSALS = (ConfigError, DataError, CheckpointError, RunFolderError)
"""What is raised before any work when a run cannot start; each says why."""

CHECKED_IMAGES = 600
"""Images of each split that are read before a run starts, evenly spread over it."""

NOTEBOOKS = (
    "00_data",
    "01_source_model",
    "02_pseudo_labels",
    "03_importance_maps",
    "04_prototype_contrast",
    "05_full_adaptation",
    "06_results",
)


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error; the message says where and shows the error."""


def run_notebooks(
    preset: str | Path,
    seed: int | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Run:
    """Runs the set for one preset; notebooks that are finished and unchanged are skipped.

    Args:
        preset: path of a YAML file of `papermill_runs/`.
        seed: None takes the preset's.
        out: the run folder; None takes the preset's, or `papermill_runs/<scenario>-seed<seed>`.
        overrides: dotted keys and their values, after the preset's own.

    Returns:
        The finished run.

    Raises:
        ConfigError, DataError, RunFolderError: it cannot start; see `preflight`.
        NotebookFailed: a notebook stopped with an error; those before it are kept.
    """
    fields = read_preset(preset)
    if not (project_root() / "notebooks").is_dir():
        raise ConfigError(f"{project_root()}: has no notebooks; run iapc inside a checkout")
    run = open_run(preset, out or fields.get("out"), seed, overrides)
    with run.lock(".runner.lock"):
        preflight(run)
        _run_all(run, fields, overrides)
    return run


def _run_all(run: Run, fields: dict[str, Any], overrides: Mapping[str, Any] | None) -> None:
    parameters = {
        "config": fields["config"],
        "out": str(run.folder.resolve()),
        "seed": run.config.seed,
        "overrides": {**(fields.get("overrides") or {}), **(overrides or {})},
    }
    with tqdm(NOTEBOOKS, desc=run.folder.name, unit="notebook", position=0) as bar:
        for name in bar:
            try:
                _run_notebook(run, name, parameters)
            except (OSError, RunFolderError) as error:
                raise NotebookFailed(f"{name}: {error}") from None


def _run_notebook(run: Run, name: str, parameters: dict[str, Any]) -> None:
    source = project_root() / "notebooks" / f"{name}.ipynb"
    executed = run.path("notebooks", f"{name}.ipynb")
    record = run.path("stages", f"notebook_{name}.json")
    given = run.config.source.checkpoint
    inputs = {
        "cells": _cells_hash(source),
        "library": code_version()["sources_sha256"],
        "checkpoint": file_hash(resolve(given)) if given else None,
    }
    finished = record.exists() and read_json(record)["inputs"] == inputs and executed.exists()
    if finished and (name != NOTEBOOKS[-1] or run.path("results.json").exists()):
        return
    executed.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    try:
        papermill.execute_notebook(
            source,
            executed,
            parameters,
            progress_bar={"desc": name, "position": 1, "leave": False},
            cwd=project_root(),
        )
    except PapermillExecutionError as error:
        raise NotebookFailed(
            f"{name} stopped in cell {error.cell_index}: {error.ename}: {error.evalue}\n"
            f"see {executed}; what was finished is kept, the same command goes on from there"
        ) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{name}: its kernel died, most likely for want of memory; see {executed}; "
            "what was finished is kept, the same command goes on from there"
        ) from None
    write_json(record, {"inputs": inputs, "seconds": round(time.monotonic() - began, 1)})


def _cells_hash(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    text = json.dumps([[cell["cell_type"], cell["source"]] for cell in cells])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def preflight(run: Run) -> None:
    """Looks at all that could stop the run later: device, disk, checkpoint, images and labels.

    Raises:
        ConfigError: a GPU is asked for and not there.
        RunFolderError: the disk is too full.
        DataError: images, labels or weights are missing or cannot be used; a line per reason.
    """
    config = run.config
    run.machine  # noqa: B018  refuses a GPU that is not there
    with torch.device("meta"):
        weights = sum(
            v.numel() for v in DeepLabV2(config.classes, config.model).state_dict().values()
        )
    networks = 2 * len(config.adaptation.methods) + 8  # results, and the state of one training
    needed = networks * weights * 4 / 1e6 + 50
    if (free := free_megabytes(run.folder)) < needed:
        raise RunFolderError(
            f"{run.folder}: the disk has {free:.0f} MB free, this run needs about {needed:.0f} MB"
        )
    records, problems = _records_to_check(config)
    bar = tqdm(records, desc="Checking files", leave=False, disable=None)
    problems += check_records(bar)
    try:
        if config.source.checkpoint:
            load_network(resolve(config.source.checkpoint), config)
        elif not problems and not run.path("source.safetensors").exists():
            imagenet_file(config)
    except CheckpointError as error:
        problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))


def _records_to_check(config: RunConfig) -> tuple[list[Record], list[str]]:
    """A sample of all splits, and the reasons why some have none."""
    target_splits = [
        (split, labels)
        for split, labels in (("train", False), ("dev", True), ("val", True))
        if getattr(config.target, split) is not None
    ]
    readers = {
        "source": lambda: source_records(config),
        "target": lambda: [target_records(config, *split) for split in target_splits],
    }
    sample, problems = [], []
    for domain, read in readers.items():
        if config.miniature is not None and not domain_root(config, domain).exists():
            continue  # will be drawn
        try:
            for records in read():
                sample += records[:: -(-len(records) // CHECKED_IMAGES)]
        except DataError as error:
            problems.append(str(error))
    return sample, problems
