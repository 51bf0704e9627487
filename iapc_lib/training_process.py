"""One of the processes that train together: `torchrun -m iapc_lib.training_process RUN TRAINING`.

Stages start it (`launching`); by hand, and from accelerate's notebook launcher, it does the same.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any, get_args

from accelerate import PartialState
from tqdm import tqdm as TextBar
from tqdm.auto import tqdm

from iapc_lib import stages
from iapc_lib.launching import training_processes
from iapc_lib.runs import Run, RunFolderError, read_run
from iapc_lib.sections import AdaptedRow, Hardware
from iapc_lib.world import AcceleratedWorld

TRAININGS = ("source_training", *get_args(AdaptedRow))


def train_part(
    folder: str | Path,
    training: str,
    hardware: Mapping[str, Any] | None = None,
    locked: bool = False,
) -> None:
    """Takes part in a training, with all processes that the launcher started.

    At the end there is a saved state, from which the run's notebooks, `iapc run` or the functions
    of `stages` make the network, in however many processes.

    Args:
        folder: run folder; the trainings and pseudo-labels before this one are in it.
        training: one of `TRAININGS`.
        hardware: fields of `hardware`; `processes` is the number that was started.
        locked: whether another process holds the folder's lock for this one.

    Raises:
        ConfigError: the batch cannot be divided, or there are too few GPUs.
        RunFolderError: something before this training is missing, or another process writes.
    """
    started = int(os.environ.get("WORLD_SIZE", 1))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", started))
    run = read_run(folder)
    fields = {**(hardware or {}), "processes": here}
    run.config = run.config.model_copy(update={"hardware": Hardware(**fields)})
    machine = run.machine  # refuses missing GPUs
    run.config = run.config.model_copy(
        update={"hardware": Hardware(**{**fields, "processes": started})}
    )
    if training_processes(run.config, training) < started:
        raise RunFolderError(f"{run.folder}: {training} has a batch of one image: one process")
    _refuse_unprepared(run, training)
    world = AcceleratedWorld(cpu=machine.device.type == "cpu")
    run.machine = replace(machine, world=world)
    # One bar is enough, as text: a widget would use the sockets of the kernel that was forked.
    tqdm.__bases__ = (TextBar,)
    if not world.main:
        TextBar.__init__ = partialmethod(TextBar.__init__, disable=True)
    with run.lock() if world.main and not locked else nullcontext():
        with world.accelerator.main_process_first():  # it makes the decoded copies, if any
            prepared = stages.training_inputs(run, training)
        stages.train(run, training, *prepared)
        world.accelerator.wait_for_everyone()


def _refuse_unprepared(run: Run, training: str) -> None:
    """What comes before a training is the work of one process."""
    before = ["source_network", "pseudo_labels"]
    if training == "source_training":
        before = []
    elif training == "iapc_bn_teacher":
        before = ["source_network", "bn_recomputed", "pseudo_labels_bn_teacher"]
    missing = [name for name in before if not run.path("stages", f"{name}.json").exists()]
    if missing:
        raise RunFolderError(
            f"{run.folder}: {training} needs {', '.join(missing)} first, which one process makes: "
            "run the notebooks before, or `iapc run` with `hardware.processes`"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="iapc_lib.training_process", description=__doc__)
    parser.add_argument("folder", help="run folder")
    parser.add_argument("training", choices=TRAININGS)
    parser.add_argument("--hardware", type=json.loads, default={}, help="JSON: fields of hardware")
    parser.add_argument("--failure", type=Path, help="of a stage: where to leave an exception")
    given = parser.parse_args(arguments)
    if given.failure:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        train_part(given.folder, given.training, given.hardware, locked=bool(given.failure))
    except Exception as error:
        if given.failure:
            _leave(error, given.failure)
        raise
    PartialState().destroy_process_group()


def _end_with_parent() -> None:
    # Not through sys.stdin, whose buffer this thread would hold when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)


def _leave(error: Exception, path: Path) -> None:
    """The first failure counts: the others only lose the connection."""
    try:
        pickle.loads(kept := pickle.dumps(error))
    except Exception:  # its arguments are not its text's
        kept = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    with suppress(FileExistsError), path.open("xb") as file:
        file.write(kept)


if __name__ == "__main__":
    main()
