"""Stops a training that makes no progress: a hung data loader, file system or GPU."""

import faulthandler
import signal
import sys
import threading
from types import FrameType
from typing import Self

GRACE_SECONDS = 60.0
"""For a stalled training to stop by itself; then its process is ended."""


class StallError(Exception):
    """A training made no progress for too long; names the training, its step and the phase."""


class StallWatch:
    """Raises `StallError` in a `with` block whose phases take too long.

    The system's timer (SIGALRM) interrupts whatever the main thread waits for, in a script as in a
    notebook's kernel. What cannot be interrupted, such as a hung GPU, never comes back to Python:
    after `GRACE_SECONDS` more the traceback is written to stderr and the process ended with exit
    status 1, so that a batch job ends and frees its GPU. Outside the main thread nothing is
    watched, because signals reach only that one.

    Args:
        training: what is said of it.
        seconds: that a phase may take; None: as long as it likes.
    """

    def __init__(self, training: str, seconds: float | None):
        self.training = training
        in_main_thread = threading.current_thread() is threading.main_thread()
        self.seconds = seconds if in_main_thread else None
        self.step, self.what = 0, "starting"
        self._stalled = False

    def __enter__(self) -> Self:
        global _current
        if self.seconds is not None:
            self._previous = signal.signal(signal.SIGALRM, self._stop) or signal.SIG_DFL
            _current = self
            self._arm()
        return self

    def phase(self, step: int, what: str) -> None:
        """Begins a phase of a step, such as `computing`; the time counts anew."""
        self.step, self.what = step, what
        self._arm()

    def _arm(self) -> None:
        if self._stalled:  # something caught the first one
            raise self._error()
        if self.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
            # A notebook's kernel keeps the terminal's stderr under this name.
            stderr = getattr(sys.stderr, "_original_stdstream_copy", None) or sys.__stderr__
            faulthandler.dump_traceback_later(self.seconds + GRACE_SECONDS, exit=True, file=stderr)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._stalled = True
        raise self._error()

    def _error(self) -> StallError:
        return StallError(
            f"{self.training}: no progress for {self.seconds:g} seconds at step {self.step}, while "
            f"{self.what}; the last saved state is kept. If that is how long it takes, set "
            "hardware.stall_seconds higher, or to null"
        )

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        global _current
        if self.seconds is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, self._previous)
        _current = None
        if self._stalled and error is not None and not isinstance(error, StallError):
            # A reader took it for a damaged file, say.
            raise self._error() from error


_current: StallWatch | None = None


def heartbeat() -> None:
    """Something was done in a long phase of the training that is watched, if there is one."""
    if _current is not None:
        _current._arm()
