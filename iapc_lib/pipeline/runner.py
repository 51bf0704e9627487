"""Runs the notebooks of a run, in order, through papermill into its run folder."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import load_with_origin, read_preset
from iapc_lib.files import (
    FileError,
    file_hash,
    fingerprint,
    read_json,
    remove_temporaries,
    write_json,
)
from iapc_lib.machine.gpus import claimed_gpu
from iapc_lib.paths import project_root, resolve
from iapc_lib.pipeline.checking import preflight
from iapc_lib.runs.folder import (
    LOCK_WAIT_SECONDS,
    RUNNER_LOCK,
    Run,
    open_run,
    read_run,
)
from iapc_lib.runs.provenance import code_version
from iapc_lib.runs.records import read_stage
from iapc_lib.runs.sharing import reuse_stages, sibling_run

NOTEBOOKS = (
    "00_data",
    "01_source_model",
    "02_pseudo_labels",
    "03_importance_maps",
    "04_prototype_contrast",
    "05_full_adaptation",
    "06_results",
)
"""Of a run of all rows."""

VARIANT_NOTEBOOK = "07_variant"
"""The only one of a run that makes one row of a larger table."""


KERNEL_ATTEMPTS = 3
"""To start a notebook's kernel."""


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error; the message says where and shows the error."""


def run_notebooks(
    preset: str | Path,
    seed: int | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    variant: str | Path | None = None,
    base: str | Path | None = None,
    continue_from: str | Path | None = None,
    until: str | None = None,
    wait: bool = False,
) -> Run:
    """Runs the notebooks of one preset; those that are finished and unchanged are skipped.

    Args:
        preset: path of a YAML file of `papermill_runs/`, or a run folder: what made that run
            makes this one. Without `out` it is that run itself, which goes on.
        seed: None takes the preset's.
        out: the run folder; None takes the preset's, or
            `papermill_runs/<scenario>-seed<seed>[-<variant>]`.
        overrides: dotted keys and their values, after the preset's own and the variant's.
        variant: name or path of a variant: the one notebook of a variant instead of the seven.
        base: run folder whose source network and pseudo-labels are taken over; see `sharing`.
            A variant takes those of the run beside it if none is named.
        continue_from: the same, and its unfinished trainings go on, under this run's parameters.
        until: the last notebook that is run; None runs all.
        wait: wait for another process that runs notebooks into this folder, however long.

    Returns:
        The run, finished so far.

    Raises:
        ConfigError, RunFolderError, CannotStart: it cannot start; see `checking.preflight`.
        NotebookFailed: a notebook stopped with an error; those before it are kept.
    """
    given_out = read_preset(preset).get("out")
    config, origin = load_with_origin(preset, seed, overrides, variant)
    makes_one_row = config.variant is not None
    if until is not None and (makes_one_row or until not in NOTEBOOKS):
        raise ConfigError(f"--until {until}: allowed are {', '.join(NOTEBOOKS)}, and no --variant")
    if not (project_root() / "notebooks").is_dir():
        raise ConfigError(f"{project_root()}: has no notebooks; run iapc inside a checkout")
    given = base or continue_from
    taken_from = read_run(given) if given else None
    run = open_run(config, out or given_out, origin=origin)
    if not given and makes_one_row:
        taken_from = sibling_run(run)
    gpu = claimed_gpu() if run.machine.device.type == "cuda" else nullcontext()
    with run.lock(RUNNER_LOCK, -1 if wait else LOCK_WAIT_SECONDS), gpu:
        with run.lock():
            remove_temporaries(run.folder)
        if taken_from:
            reuse_stages(run, taken_from, unfinished=continue_from is not None)
        preflight(run)
        if run.machine.busy:
            tqdm.write(run.machine.busy)
        names = NOTEBOOKS[: NOTEBOOKS.index(until or NOTEBOOKS[-1]) + 1]
        parameters = {
            "config": config.model_dump(mode="json"),
            "overrides": {},
            "out": str(run.folder.resolve()),
            "seed": config.seed,
        }
        if makes_one_row:
            names = (VARIANT_NOTEBOOK,)
            parameters["variant"] = None  # it is in the configuration
        _run_all(run, names, parameters)
    return run


def _run_all(run: Run, names: Sequence[str], parameters: dict[str, Any]) -> None:
    with tqdm(names, desc=run.folder.name, unit="notebook", position=0) as bar:
        for name in bar:
            try:
                _run_notebook(run, name, parameters)
            except (OSError, FileError) as error:
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
    made_from = read_stage(record)["inputs"] if record.exists() else None
    finished = made_from == inputs and executed.exists()
    makes_results = name in (NOTEBOOKS[-1], VARIANT_NOTEBOOK)
    if finished and (not makes_results or run.path("results.json").exists()):
        return
    executed.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    try:
        _execute(source, executed, parameters)
    except PapermillExecutionError as error:
        message = error.evalue.strip().replace("\n", "\n  ")
        # A training that diverged says itself how to go on; the same command would not.
        again = "" if error.ename == "TrainingDiverged" else ", the same command goes on from there"
        raise NotebookFailed(
            f"{name} stopped in cell {error.cell_index}: {error.ename}: {message}\n"
            f"see {executed}; what was finished is kept{again}"
        ) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{name}: its kernel died, most likely for want of memory, or (then there is a "
            f"traceback above) ended because it hung; see {executed}; "
            "what was finished is kept, the same command goes on from there"
        ) from None
    write_json(record, {"inputs": inputs, "seconds": round(time.monotonic() - began, 1)})


def _execute(source: Path, executed: Path, parameters: dict[str, Any]) -> None:
    """Executes a notebook; a kernel that does not start gets a few attempts."""
    name = source.stem
    for attempt in range(1, KERNEL_ATTEMPTS + 1):
        try:
            papermill.execute_notebook(
                source,
                executed,
                parameters,
                progress_bar={"desc": name, "position": 1, "leave": False},
                cwd=project_root(),
                # Below that a kernel speaks of its own connection, which nobody here can mend.
                extra_arguments=["--log-level=CRITICAL"],
            )
            return
        except NoSuchKernel as error:
            raise NotebookFailed(
                f"{name}: Jupyter has no kernel '{error.name}' here; make it with: "
                "python -m ipykernel install --sys-prefix"
            ) from None
        except DeadKernelError:
            raise
        except RuntimeError as error:  # before the first cell: a port was taken, or time was short
            if attempt == KERNEL_ATTEMPTS:
                raise NotebookFailed(f"{name}: its kernel does not start ({error})") from None
            tqdm.write(f"{name}: its kernel did not start ({error}); trying again")


def _cells_hash(notebook: Path) -> str:
    cells = read_json(notebook, dict[str, Any])["cells"]
    return fingerprint([[cell["cell_type"], cell["source"]] for cell in cells])
