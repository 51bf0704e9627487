"""How much memory there is, and how much was held."""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from iapc_lib.machine.device import Machine


class PeakMemory:
    """The most memory that this process holds between construction and `measured`.

    Resident memory, with all that Python and its packages occupy; processes that load images
    (`hardware.workers`) have their own and are not counted.

    Args:
        device: whose memory is measured, too, where it is a GPU.
    """

    def __init__(self, device: torch.device):
        self.device = device
        try:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again (man proc)
            self.of_process = False
        except OSError:
            self.of_process = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def measured(self) -> dict[str, Any]:
        """`peak_memory_mb`, on a GPU `peak_gpu_memory_mb` (of torch's tensors), in 10^6 bytes.

        Where the system cannot start counting anew, the first is that of the process since its
        start, and `peak_memory_since` says so.
        """
        found: dict[str, Any] = {}
        if self.of_process:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
            found["peak_memory_since"] = "start of the process"
        else:
            status = Path("/proc/self/status").read_text()
            peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        found["peak_memory_mb"] = round(peak / 1e6)
        if self.device.type == "cuda":
            found["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(self.device) / 1e6)
        return found


def total_memory(machine: Machine) -> int:
    """Bytes of memory of the machine's device that this process may have.

    On a CPU that is the machine's memory or the limit of a control group, as containers and batch
    systems set them, whichever is less.
    """
    if machine.device.type == "cuda":
        return torch.cuda.get_device_properties(machine.device).total_memory
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_group_limits()])


def _group_limits() -> Iterator[int]:
    """Memory limits of the control groups that this process is in, of either version (man cgroups)."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        inside = Path(path.lstrip("/"))
        for group in (inside, *inside.parents):
            try:
                limit = (root / group / name).read_text().strip()
            except OSError:
                continue  # none there, or seen from inside a container
            if limit.isdigit():
                yield int(limit)
