"""What is written with every result: which code, parameters, versions and machine made it."""

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from iapc_lib.config.run_config import RunConfig
from iapc_lib.machine.device import Machine
from iapc_lib.runs.records import NOT_PROVENANCE, stage_records

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


def provenance(config: RunConfig, machine: Machine) -> dict[str, Any]:
    """Which code, parameters, seed, versions and machine make what is made now."""
    return {
        "code": code_version(),
        "config": config.model_dump(mode="json"),
        "config_fingerprint": config.fingerprint,
        "seed": config.seed,
        "python": platform.python_version(),
        "packages": package_versions(),
        "system": platform.platform(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "device": machine.description,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def stages_provenance(folder: Path) -> dict[str, Any]:
    """What made every finished stage of a run, which may be older than now, and what that took."""
    return {
        name: {
            **{key: record["provenance"].get(key) for key in ("code", "device", "time")},
            **{k: v for k, v in record.items() if k not in NOT_PROVENANCE},
        }
        for name, record in stage_records(folder).items()
        if "provenance" in record
    }


@functools.cache
def code_version(package: Path = Path(__file__).parents[1]) -> dict[str, Any]:
    """The library's version, its git commit, whether it was changed since, and a hash of it.

    `modified` is about the library's Python files, those that git does not know yet included; it
    is None where there is no git or no checkout. Notebooks do not count, because executing one
    changes its file: the run folder has a hash of each one's cells. What a modified
    library looked like, only `sources_sha256` tells.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    # A library that is installed inside somebody else's checkout is not part of it.
    tracked = _git(package, "ls-files", "--", "__init__.py")
    changed = _git(package, "status", "--porcelain", "--untracked-files=all", "--", "*.py")
    return {
        "iapc_lib": importlib.metadata.version("iapc-lib"),
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
