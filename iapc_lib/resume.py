"""Saving and restoring an unfinished training, so that a killed run goes on bit for bit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from iapc_lib.runs import Run, RunFolderError, atomic_path

STATE_FORMAT = 2
"""Of the saved states; the parts of one of another format would not fit."""
SAVE_EVERY_SECONDS = 10.0
SAVE_PAUSE = 20  # at least so many times the duration of the last save


class Stateful(Protocol):
    """What can be stopped and resumed."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> Any: ...


class Checkpointer:
    """Saves a training's state now and then, so that a killed run goes on bit for bit.

    Args:
        run: open run folder.
        name: of the training.
        state: what is saved and restored.
        made_from: JSON-able values (hashes) that the training depends on; a state that was
            saved under others is left aside and the training starts again.
    """

    def __init__(self, run: Run, name: str, state: Stateful, made_from: Mapping[str, Any]):
        self.path = self.path_of(run, name)
        self.state = state
        self.made_from = {"format": STATE_FORMAT, **made_from}
        self.run = run
        self.began = self.saved = time.monotonic()
        self.save_seconds = 0.0

    def restore(self) -> int:
        """Loads the saved state, if there is one; returns the step to go on with."""
        if not self.path.exists():
            return 0
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunFolderError(
                f"{self.path}: the saved state cannot be read ({error}); delete it to start again"
            ) from error
        if saved["made_from"] != self.made_from:
            return 0
        self.state.load_state_dict(saved["state"])
        self.run.seconds_before = saved.get("seconds", 0.0)
        return saved["step"]

    def save_if_due(self, step: int) -> None:
        """Saves when the last save is some seconds ago; `step` is the next one to run.

        A large network, slow to save, is saved less often: at most a twentieth of the time.
        """
        began = time.monotonic()
        if began - self.saved < max(SAVE_EVERY_SECONDS, SAVE_PAUSE * self.save_seconds):
            return
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

    @staticmethod
    def path_of(run: Run, name: str) -> Path:
        """Where the state of a training is saved; removed when its result is."""
        return run.path("states", f"{name}.pt")
