"""What can be watched while a training runs: a line of JSON a step, and TensorBoard.

logs/NAME.jsonl           a line a step and a line a look at the score
logs/tensorboard/NAME/    the same as curves, and pictures

The source of truth is the training's history, which its saved state keeps: the lines are the
history's entries as they arise, and `history_NAME.json` is the whole of it once the training is
done. Nothing is ever read back from the logs, so they change no number of a run.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from iapc_lib.files import atomic_path, writing
from iapc_lib.method.objective import TERMS
from iapc_lib.runs.folder import Run

FLUSH_SECONDS = 2
"""Of TensorBoard's events; lines are written at once."""


class TrainingLog:
    """The log of one training, to be used in a `with` block.

    A training that goes on drops what was logged at or after its step, which it does again. Where
    it goes on in another run folder, its earlier curves are written there, too.

    Args:
        run: open run folder.
        name: of the training: `source`, or a row of the results.
        step: the next one.
        history: entries of the steps before.

    Raises:
        FileError: a log cannot be written (no permission, disk full).
    """

    def __init__(self, run: Run, name: str, step: int, history: Sequence[Mapping[str, Any]]):
        # It takes seconds to import, which a reader of results should not wait for.
        from torch.utils.tensorboard import SummaryWriter

        self.lines_path = run.path("logs", f"{name}.jsonl")
        self.events_folder = run.path("logs", "tensorboard", name)
        with atomic_path(self.lines_path) as temporary:
            temporary.write_text("".join(map(_line, history)))
        with writing(self.lines_path):
            self._lines = self.lines_path.open("a", buffering=1)
        with writing(self.events_folder):
            known = any(self.events_folder.glob("events.*"))
            purge = step if known else None
            self._events = SummaryWriter(
                self.events_folder, purge_step=purge, flush_secs=FLUSH_SECONDS
            )
            for entry in () if known else history:
                self._draw(entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._events.close()

    def write(
        self, entry: Mapping[str, Any], pictures: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Logs a new entry of the history.

        Args:
            entry: `step`, and the numbers of a step, or of a look as `watched`.
            pictures: (H, W, 3) uint8 RGB by name, of a look.
        """
        with writing(self.lines_path):
            self._lines.write(_line(entry))
        with writing(self.events_folder):
            self._draw(entry)
            for name, picture in (pictures or {}).items():
                self._events.add_image(f"watched/{name}", picture, entry["step"], dataformats="HWC")

    def _draw(self, entry: Mapping[str, Any]) -> None:
        for name, value in {**entry, **entry.get("watched", {})}.items():
            if name not in ("step", "watched") and value is not None:
                group = "terms/" if name in TERMS else ""
                self._events.add_scalar(group + name, value, entry["step"])


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"
