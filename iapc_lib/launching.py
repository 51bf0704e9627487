"""Starts the processes that train together, and waits for them.

They leave a saved state (`resume`) at the last step, from which the process that started them goes
on as if it had trained alone: in a notebook, too, whose kernel holds a GPU already.
"""

from __future__ import annotations

import codecs
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

from iapc_lib.config import RunConfig
from iapc_lib.presets import ConfigError
from iapc_lib.runs import Run
from iapc_lib.sections import AdaptedRow

TAIL = 2000
"""Characters of output that are shown when processes die without a word."""


def trainings(config: RunConfig) -> list[str]:
    """What a run of this configuration trains: `source_training`, and rows that are adapted."""
    trained = [] if config.source.checkpoint else ["source_training"]
    rows = [config.variant.row] if config.variant else config.adaptation.methods
    return trained + [row for row in rows if row in get_args(AdaptedRow)]


def training_processes(config: RunConfig, training: str) -> int:
    """How many processes share a training.

    A batch of one image cannot be divided: it is trained on in one process, as is published for
    the source network.

    Args:
        config: of the run.
        training: `source_training`, or a row of the results that is adapted.

    Raises:
        ConfigError: the batch cannot be divided evenly.
    """
    section = "source_training" if training == "source_training" else "adaptation"
    batch_size, processes = getattr(config, section).batch_size, config.hardware.processes
    if batch_size == 1:
        return 1
    if batch_size % processes:
        raise ConfigError(
            f"{section}.batch_size {batch_size} cannot be divided among hardware.processes "
            f"{processes}: every process takes as many images; choose a divisor of the batch size"
        )
    return processes


def train_together(run: Run, training: str) -> float:
    """Trains in `hardware.processes` processes; does nothing where one is enough.

    Args:
        run: open run folder, whose lock this process holds.
        training: as in `training_processes`; what it starts from is in the folder.

    Returns:
        Seconds that it took.

    Raises:
        Exception: whatever the first process that failed raised.
        RuntimeError: the processes died without raising anything, such as for want of memory.
    """
    processes = training_processes(run.config, training)
    if processes == 1:
        return 0.0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        failure = Path(folder) / "failure.pickle"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes), "-m", "iapc_lib.training_process"]
        command += [str(run.folder.resolve()), training, "--failure", str(failure)]
        command += ["--hardware", run.config.hardware.model_dump_json()]
        threads = max(1, (os.cpu_count() or 1) // processes)
        status, tail = _run(command, {"OMP_NUM_THREADS": str(threads), **os.environ})
        if failure.exists():
            raise pickle.loads(failure.read_bytes())
    if status:
        raise RuntimeError(
            f"{training}: its {processes} processes ended with status {status}, most likely for "
            f"want of memory; what was saved is kept, the same command goes on from there\n{tail}"
        )
    return time.monotonic() - began


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Shows what a command writes while it runs; returns its status and the last of that."""
    # The processes end when their standard input does: when this process dies, however.
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    decoder, tail = codecs.getincrementaldecoder("utf-8")("replace"), ""
    try:
        while written := process.stdout.read1():
            text = decoder.decode(written)
            tail = (tail + text)[-TAIL:]
            sys.stderr.write(text)
            sys.stderr.flush()
        return process.wait(), tail
    finally:
        process.stdin.close()
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()
