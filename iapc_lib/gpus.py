"""Whose turn it is on a GPU: two runs never share one by accident."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from iapc_lib.presets import ConfigError

LOOK_EVERY_SECONDS = 5.0


def visible_gpus() -> list[str]:
    """Numbers or UUIDs of the GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def claimed_gpus(number: int) -> Iterator[list[str]]:
    """Waits for free GPUs and keeps them for this process and those that it starts.

    `CUDA_VISIBLE_DEVICES` names them alone meanwhile. A claim is a locked file in the system's
    folder for temporary files, which the system lifts when the process dies. Slurm jobs that were
    given GPUs may number them alike: there a claim holds among the processes of one job.

    Args:
        number: of GPUs; 0 claims none.

    Raises:
        ConfigError: there are not so many.
    """
    if number == 0:
        yield []
        return
    gpus = visible_gpus()
    if number > len(gpus):
        raise ConfigError(f"hardware.processes: {number} GPUs are wanted, {len(gpus)} visible")
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    waiting = False
    while True:
        with ExitStack() as claims:
            mine = []
            for gpu in gpus:
                if len(mine) < number and _claim(gpu, claims):
                    mine.append(gpu)
            if len(mine) == number:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
                try:
                    yield mine
                finally:
                    if before is None:
                        del os.environ["CUDA_VISIBLE_DEVICES"]
                    else:
                        os.environ["CUDA_VISIBLE_DEVICES"] = before
                return
        if not waiting:
            tqdm.write(f"waiting for {number} of the GPUs {', '.join(gpus)}: others use them")
            waiting = True
        time.sleep(LOOK_EVERY_SECONDS)


def _claim(gpu: str, claims: ExitStack) -> bool:
    given = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("SLURM_STEP_GPUS")
    job = os.environ.get("SLURM_JOB_ID", "") if given else ""
    name = f"iapc-gpu-{job}-{gpu}.lock"
    lock = FileLock(Path(tempfile.gettempdir()) / name, mode=0o666)
    try:
        claims.enter_context(lock.acquire(timeout=0))
    except Timeout:
        return False
    return True
