"""Whose turn it is on a GPU: two runs never share one by accident."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

LOOK_EVERY_SECONDS = 5.0


def visible_gpus() -> list[str]:
    """Numbers or UUIDs of the GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def claimed_gpu() -> Iterator[str]:
    """Waits for a free GPU and keeps it for this process and those that it starts.

    `CUDA_VISIBLE_DEVICES` names it alone meanwhile. A claim is a locked file in the system's folder
    for temporary files, which the system lifts when the process dies. Slurm jobs that were given
    GPUs may number them alike: there a claim holds among the processes of one job.
    """
    gpus, waiting = visible_gpus(), False
    while True:
        for gpu in gpus:
            lock = _lock_of(gpu)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            before = os.environ.get("CUDA_VISIBLE_DEVICES")
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            try:
                yield gpu
            finally:
                if before is None:
                    del os.environ["CUDA_VISIBLE_DEVICES"]
                else:
                    os.environ["CUDA_VISIBLE_DEVICES"] = before
                lock.release()
            return
        if not waiting:
            tqdm.write(f"waiting for one of the GPUs {', '.join(gpus)}: others use them")
            waiting = True
        time.sleep(LOOK_EVERY_SECONDS)


def _lock_of(gpu: str) -> FileLock:
    given = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("SLURM_STEP_GPUS")
    job = os.environ.get("SLURM_JOB_ID", "") if given else ""
    return FileLock(Path(tempfile.gettempdir()) / f"iapc-gpu-{job}-{gpu}.lock", mode=0o666)
