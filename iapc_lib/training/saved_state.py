"""Saving and restoring an unfinished training, so that a killed run goes on bit for bit."""

import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from iapc_lib.files import atomic_path
from iapc_lib.runs.folder import Run
from iapc_lib.runs.records import RunFolderError


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Takes over an optimiser's memory (momentum, moments), not its settings: the new ones hold.

    Args:
        optimizer: of the training that goes on.
        saved: `state_dict()` of the one that stopped.

    Raises:
        ValueError: that is of another kind, or its parameters are grouped otherwise.
    """
    kinds, layouts = [], []
    current = optimizer.state_dict()["param_groups"]
    for groups in (saved["param_groups"], current):
        kinds.append("adamw" if "betas" in groups[0] else "sgd")
        layouts.append([len(group["params"]) for group in groups])
    if kinds[0] != kinds[1]:
        raise ValueError(f"the saved optimiser is {kinds[0]}, that of this run {kinds[1]}")
    if layouts[0] != layouts[1]:
        raise ValueError("the saved optimiser groups the parameters otherwise")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": current})


STATE_FORMAT = 2
"""Of the saved states; the parts of one of another format would not fit."""

SAVE_EVERY_SECONDS = 10.0
SAVE_PAUSE = 20.0  # at least so many times the duration of the last save


class TrainingDiverged(FloatingPointError):
    """A training became NaN or infinite; the message says at which step, in what, and what to do."""


class SavedState:
    """Saves a training's state now and then, so that a killed run goes on bit for bit.

    Args:
        run: open run folder.
        name: of the training.
        section: of the configuration, named where a training diverges.
        state: is saved and restored: has `state_dict` and `load_state_dict`.
        made_from: JSON-able values (hashes) that the training depends on; a state that was
            saved under others is left aside and the training starts again.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        section: str,
        state: Any,
        made_from: Mapping[str, Any],
    ):
        self.run, self.name, self.section, self.state = run, name, section, state
        self.path = self.path_of(run, name)
        self.made_from = {"format": STATE_FORMAT, **made_from}
        self.began = self.saved = time.monotonic()
        self.save_seconds = 0.0
        self.saved_step: int | None = None

    def restore(self, steps: int | None = None) -> int:
        """Loads the saved state, if there is one; returns the step to go on with.

        Args:
            steps: of the whole training.

        Raises:
            RunFolderError: the state is damaged, of a longer training, or of another optimiser.
        """
        if not self.path.exists():
            return 0
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunFolderError(
                f"{self.path}: the saved state cannot be read ({error}); delete it to start again"
            ) from error
        if saved["made_from"] != self.made_from:
            tqdm.write(f"{self.path}: is of other data or networks; the training starts again")
            return 0
        if steps is not None and saved["step"] > steps:
            raise RunFolderError(
                f"{self.path}: is at step {saved['step']} of a training, this run has only {steps}; "
                "give it more steps, or delete this file to start again"
            )
        try:
            self.state.load_state_dict(saved["state"])
        except ValueError as error:
            raise RunFolderError(
                f"{self.path}: {error}; set the optimiser as in the run that is continued, "
                "or delete this file to start again"
            ) from None
        self.saved_step = saved["step"]
        self.run.seconds_before = saved.get("seconds", 0.0)
        return saved["step"]

    def save_if_due(self, step: int) -> None:
        """Saves when the last save is some seconds ago; `step` is the next one to run.

        A large network, slow to save, is saved less often: at most a twentieth of the time.

        Raises:
            TrainingDiverged: there is a NaN or infinite number in it; the saved one is kept.
        """
        if time.monotonic() - self.saved >= max(SAVE_EVERY_SECONDS, SAVE_PAUSE * self.save_seconds):
            self.save(step)

    def save(self, step: int) -> None:
        """Saves now."""
        self.require_finite(step)
        began = time.monotonic()
        saved = {
            "step": step,
            "made_from": self.made_from,
            "seconds": self.run.seconds_before + began - self.began,
            "state": self.state.state_dict(),
        }
        with atomic_path(self.path) as temporary:
            torch.save(saved, temporary)
        self.saved = time.monotonic()
        self.save_seconds = self.saved - began
        self.saved_step = step

    def require_finite(self, step: int) -> None:
        """Refuses a broken state, which a finite loss may hide; `step` is the next one to run.

        Raises:
            TrainingDiverged: there is a NaN or infinite number in it.
        """
        broken = list(_not_finite(self.state.state_dict()))
        if broken:
            more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
            raise self.diverged(step - 1, f"after it, in {', '.join(broken[:3])}{more}")

    def diverged(self, step: int, what: str) -> TrainingDiverged:
        """The error that says where a training broke, what is kept, and how to go on.

        Args:
            step: at which it was noticed.
            what: is not finite.
        """
        folder = shlex.quote(str(self.run.folder))
        options = ""
        if self.section == "adaptation" or self.saved_step is not None:
            options = f" --continue-from {folder}"
        rate = getattr(self.run.config, self.section).optimizer.learning_rate / 10
        kept = "no state was saved before"
        if self.saved_step is not None:
            kept = f"the last good state, of step {self.saved_step}, is kept: {self.path}"
        return TrainingDiverged(
            f"{self.name}: step {step} is not finite: {what}\n{kept}\n"
            "the same command would come to the same step; go on with other parameters, "
            "such as a lower learning rate:\n"
            f"iapc run {folder}{options} --out NEW_FOLDER --set {self.section}.optimizer.learning_rate={rate:g}"
        )

    @staticmethod
    def path_of(run: Run, name: str) -> Path:
        """Where the state of a training is saved; removed when its result is."""
        return run.path("states", f"{name}.pt")


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the tensors in nested mappings and sequences that hold NaN or infinite numbers."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and not value.isfinite().all():
            yield name
    elif isinstance(value, Mapping | list | tuple):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _not_finite(inner, f"{name}.{key}" if name else str(key))
