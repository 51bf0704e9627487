"""`python -m tests.parity DIRECTORY`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from . import networks, tensors
from .report import CannotCheck, Report, Vectors

CHECKS = {
    "model": networks.check_model,
    "prototypes": tensors.check_prototypes,
    "losses": tensors.check_losses,
    "class_weights": tensors.check_class_weights,
    "steps": networks.check_steps,
    "schedule": tensors.check_schedule,
    "pseudo_labels": networks.check_pseudo_labels,
    "preprocess": tensors.check_preprocess,
    "augment": tensors.check_augment,
    "miou": tensors.check_miou,
    "evaluate": networks.check_evaluate,
}
"""What checks a file, by its name without `_f64`."""


def check_file(path: Path, report: Report) -> None:
    """Checks every array of a vector file.

    Raises:
        CannotCheck: it is of another format: unknown name, missing, unknown or misshapen arrays.
    """
    kind = path.stem.removesuffix("_f64")
    if kind not in CHECKS:
        raise CannotCheck(f"unknown kind of file; known: {', '.join(CHECKS)}")
    expected = inputs = Vectors(path)
    if path.stem != kind:
        beside = path.with_stem(kind)
        if not beside.exists():
            raise CannotCheck(f"{beside.name} with its inputs must lie beside it")
        inputs = Vectors(beside)
    for name in ("revision", "weight_seed"):
        if len(expected.text(name)) != 1 or expected.text(name) != inputs.text(name):
            raise CannotCheck(f"{name} must be one text, the same as in {inputs.path.name}")
    if expected.text("revision")[0] not in ("2023", "2024"):
        raise CannotCheck(f"unknown revision {expected.text('revision')[0]}")
    dtype = torch.float32 if expected is inputs else torch.float64
    try:
        CHECKS[kind](expected, inputs, dtype, report)
    except CannotCheck:
        raise
    except Exception as error:
        raise CannotCheck(f"is not in the format ({type(error).__name__}: {error})") from error
    for name in expected.never_asked():
        if expected is not inputs and name in inputs:  # an input that the file repeats
            _check_repeated(name, expected, inputs, report)
    if unknown := expected.never_asked():
        raise CannotCheck(f"has arrays that nothing checks: {', '.join(unknown)}")


def _check_repeated(name: str, expected: Vectors, inputs: Vectors, report: Report) -> None:
    compare = report.same if expected[name].dtype.kind == "U" else report.close
    compare(f"{name} (repeated)", np.atleast_1d(inputs[name]), np.atleast_1d(expected[name]))


def check_directory(directory: Path, report: Report | None = None) -> int:
    """Checks all vector files below a directory; returns the exit status."""
    files = sorted(directory.rglob("*.npz"))
    report, impossible = report or Report(), []
    for path in files:
        report.prefix = str(path.relative_to(directory))
        try:
            check_file(path, report)
        except CannotCheck as error:
            impossible.append(f"{report.prefix}: {error}")
            print(f"{report.prefix:24} CANNOT BE CHECKED: {error}", flush=True)
    if not files:
        impossible.append(f"{directory}: holds no vector files (.npz)")
    print(f"\n{len(report.compared)} quantities of {len(files)} files: {len(report.failed)} failed")
    for line in (*report.failed, *impossible):
        print(f"  {line}")
    return 2 if impossible else int(bool(report.failed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    if not directory.is_dir():
        parser.error(f"{directory}: no such directory")
    torch.use_deterministic_algorithms(True)
    sys.exit(check_directory(directory))
