"""What a result is made with: the code, the packages, the processor, and the memory it takes."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import iapc_lib

PACKAGES = (
    "torch",
    "torchvision",
    "torchmetrics",
    "numpy",
    "pillow",
    "safetensors",
    "pydantic",
    "pandas",
    "papermill",
)
"""Those that touch a number, or what a number is read from and written to."""


@functools.cache
def code_version() -> dict[str, Any]:
    """The library's version, its git commit, whether it was changed since, and a hash of it.

    `modified` is about the library's Python files, those that git does not know yet included; it
    is None where there is no git or no checkout. Notebooks do not count, because executing one
    changes its file: the run folder has a hash of each one's cells (`runner`). What a modified
    library looked like, only `sources_sha256` tells.
    """
    package = Path(iapc_lib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    # A library that is installed inside somebody else's checkout is not part of it.
    tracked = _git(package, "ls-files", "--", "__init__.py")
    changed = _git(package, "status", "--porcelain", "--untracked-files=all", "--", "*.py")
    return {
        "iapc_lib": iapc_lib.__version__,
        "git": _git(package, "describe", "--always", "--abbrev=12") if tracked else None,
        "modified": bool(changed) if tracked and changed is not None else None,
        "sources_sha256": digest.hexdigest()[:16],
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints; None where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def package_versions() -> dict[str, str]:
    """Versions of those of `PACKAGES` that are installed, and of CUDA if torch was built with it."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions | ({"cuda": torch.version.cuda} if torch.version.cuda else {})


@functools.cache
def processor() -> str:
    """Name of the processor; another one rounds differently."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


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
