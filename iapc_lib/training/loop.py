"""The one training loop: what source training and adaptation do between every two updates.

It starts or goes on, looks at how far the training is, sets the rates, updates, refuses what is not
finite, remembers and saves. What is trained, and how, it is told.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from iapc_lib.machine.stalls import StallWatch
from iapc_lib.method.optimizer import set_learning_rate
from iapc_lib.runs.folder import Run
from iapc_lib.training.logs import TrainingLog
from iapc_lib.training.saved_state import SavedState

Look = Callable[[int], tuple[dict[str, Any], Mapping[str, np.ndarray]]]
"""Looks at a training before a step: what goes into the history, and pictures for TensorBoard."""


class TrainingState(Protocol):
    """What a stopped training needs to go on."""

    optimizer: torch.optim.Optimizer
    history: list[dict[str, Any]]

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Training:
    """Which training this is."""

    name: str
    """Of its saved state."""
    log: str
    """Of its log."""
    title: str
    """As people read it."""
    section: str
    """Of the configuration, with `steps`, `batch_size` and `optimizer`."""
    made_from: Mapping[str, Any]
    """JSON-able values (hashes) that it depends on; with others it starts again."""


def train(
    run: Run,
    training: Training,
    state: TrainingState,
    dataset: Dataset,
    update: Callable[[dict[str, Tensor], int], Mapping[str, Tensor]],
    *,
    begin: Callable[[], None] | None = None,
    look: Look | None = None,
    look_every: int = 50,
) -> list[dict[str, Any]]:
    """Trains from the first step, or from where a stopped training was.

    Args:
        run: open run folder; gives machine and settings.
        training: which one.
        state: is changed; saved now and then.
        dataset: item `position` is what the training sees there, a mapping of tensors; position
            is step * batch size + place in the batch.
        update: one update on a batch on the device, at a step; returns `loss` first, then what
            else is to be remembered of the step, all detached scalars.
        begin: called once the state is restored, before the first update.
        look: called every `look_every` steps, before the update, and at the end.
        look_every: steps.

    Returns:
        The history: a dict a step with `step`, what `update` returned, and the rates
        `learning_rate` and `learning_rate_head`; and a dict a look with `step` and `watched`.

    Raises:
        TrainingDiverged: it became NaN or infinite; names the step and the numbers.
        StallError: a step took longer than `hardware.stall_seconds`.
    """
    wanted = getattr(run.config, training.section)
    with StallWatch(training.title, run.config.hardware.stall_seconds) as stall:
        saved = SavedState(run, training.name, training.section, state, training.made_from)
        start = saved.restore(wanted.steps)
        with TrainingLog(run, training.log, start, state.history) as log:
            if begin is not None:
                begin()

            def remember(
                entry: dict[str, Any], pictures: Mapping[str, np.ndarray] | None = None
            ) -> None:
                state.history.append(entry)
                log.write(entry, pictures)

            def look_at(step: int) -> None:
                stall.phase(step, "looking at the score")
                found, pictures = look(step)
                remember({"step": step, "watched": found}, pictures)

            positions = range(start * wanted.batch_size, wanted.steps * wanted.batch_size)
            loader = run.machine.load(dataset, wanted.batch_size, positions)
            stall.phase(start, "loading its batch")
            # A client that reads only once a cell has ended, as nbval does, loses what a kernel sent
            # beyond some 1,000 messages, the end of the cell too: a bar may not move at each step.
            bar = tqdm(
                loader,
                training.title.capitalize(),
                initial=start,
                total=wanted.steps,
                mininterval=1,
            )
            for step, batch in enumerate(bar, start=start):
                if look is not None and step % look_every == 0:
                    look_at(step)
                stall.phase(step, "computing")
                body_rate, head_rate = set_learning_rate(state.optimizer, wanted.optimizer, step)
                numbers = _one_transfer(update(run.machine.to_device(batch), step))
                if broken := [f"{n} = {v}" for n, v in numbers.items() if not math.isfinite(v)]:
                    raise saved.diverged(step, ", ".join(broken))
                rates = {"learning_rate": body_rate, "learning_rate_head": head_rate}
                remember({"step": step, **numbers, **rates})
                if step % 10 == 0:
                    bar.set_postfix(loss=f"{numbers['loss']:.3f}", refresh=False)
                stall.phase(step, "saving its state")
                saved.save_if_due(step + 1)
                stall.phase(step + 1, "loading its batch")
            saved.require_finite(wanted.steps)
            if look is not None:
                look_at(wanted.steps)
    return state.history


def _one_transfer(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Numbers of scalars; one transfer for all, for every other would make a GPU wait again."""
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
