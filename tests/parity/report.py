"""Vector files, tolerances, and a line for every quantity."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch


class CannotCheck(Exception):
    """A vector file that cannot be checked; the message says why."""


class Vectors:
    """The arrays of one file; remembers which were asked for, so that none goes unchecked."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with np.load(path, allow_pickle=False) as file:
                self.arrays = {name: file[name] for name in file.files}
        except Exception as error:  # a damaged file can raise nearly anything
            reason = f"{type(error).__name__}: {error}"
            raise CannotCheck(f"{path.name} cannot be read as a vector file ({reason})") from None
        self.asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise CannotCheck(f"{self.path.name} has no array {name}")
        self.asked.add(name)
        return self.arrays[name]

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """An array as a tensor of `dtype` (its own if None)."""
        return torch.from_numpy(self[name]).to(dtype)

    def text(self, name: str) -> list[str]:
        """An array of strings."""
        return [str(value) for value in np.atleast_1d(self[name])]

    def starting_with(self, prefix: str) -> list[str]:
        """Names of the arrays that start so, in the order of the file."""
        return [name for name in self.arrays if name.startswith(prefix)]

    def never_asked(self) -> list[str]:
        """Names of the arrays that nobody has asked for."""
        return [name for name in self.arrays if name not in self.asked]


@dataclass(frozen=True)
class Tolerance:
    """The error that an element may have: the sum of the parts that are given."""

    absolute: float | np.ndarray = 0.0
    relative: float = 0.0
    """Times the element's own size."""
    of_largest: float = 0.0
    """Times the largest element of the array."""
    median: float | None = None
    """The median of the elements' relative errors must be below this, too."""

    def __str__(self) -> str:
        parts = [
            f"{np.max(value):.0e} {name}"
            for value, name in (
                (self.absolute, "abs"),
                (self.relative, "rel"),
                (self.of_largest, "of max"),
                (self.median, "median"),
            )
            if value is not None and np.any(value)
        ]
        return " + ".join(parts) or "exact"


EXACT = Tolerance()


@dataclass
class Report:
    """Prints a line for every compared quantity and remembers what was compared."""

    compared: list[tuple] = field(default_factory=list)
    """(method, name, ours, expected, further arguments) of every comparison."""
    failed: list[str] = field(default_factory=list)
    prefix: str = ""

    def close(self, name: str, ours, expected, tolerance: Tolerance = EXACT) -> None:
        """Compares numbers of any shape; NaN equals NaN, and infinity itself."""
        ours, expected = _numbers(name, ours, expected)
        self.compared.append((self.close, name, ours, expected, tolerance))
        equal = (ours == expected) | (np.isnan(ours) & np.isnan(expected))
        finite = np.isfinite(ours) & np.isfinite(expected)
        with np.errstate(invalid="ignore"):
            error = np.where(equal, 0.0, np.where(finite, np.abs(ours - expected), np.inf))
        size = np.where(finite, np.abs(expected), 0.0)
        relative = np.divide(error, size, out=np.where(error > 0, np.inf, 0.0), where=size > 0)
        allowed = (
            tolerance.absolute
            + tolerance.relative * size
            + tolerance.of_largest * size.max(initial=0)
        )
        holds = bool((error <= allowed).all())
        if tolerance.median is not None and relative.size:
            holds &= bool(np.median(relative) <= tolerance.median)
        self._line(name, _max(error), _max(relative), str(tolerance), holds)

    def labels(self, name: str, ours, expected, scores=None, gap: float = 0.0) -> None:
        """Compares class labels (or other integers).

        Args:
            scores: (N, K, ...) ours, whose largest gave our labels (N, ...). A label may differ
                where its score is within `gap` of the best: there rounding decides. Where both
                are exactly 0 (absent classes) nothing was rounded, and the first must have won.
            gap: of two scores that rounding can exchange.
        """
        ours, expected = _numbers(name, ours, expected)
        self.compared.append((self.labels, name, ours, expected, scores, gap))
        different = ours != expected
        wrong = different
        if scores is not None and different.any():
            scores = np.asarray(torch.as_tensor(scores).detach())
            known = np.clip(expected, 0, scores.shape[1] - 1)
            best, theirs = (
                np.take_along_axis(scores, index[:, None].astype(np.int64), 1)[:, 0]
                for index in (ours, known)
            )
            rounded = (best - theirs <= gap) & ((best != 0) | (theirs != 0))
            wrong = different & ~(rounded & (known == expected))
        tolerance = f"ties {gap:.0e}" if gap else "exact"
        self._line(name, int(different.sum()), float(different.mean()), tolerance, not wrong.any())

    def same(self, name: str, ours, expected) -> None:
        """Compares texts."""
        ours, expected = list(map(str, ours)), list(map(str, expected))
        self.compared.append((self.same, name, ours, expected))
        different = sum(a != b for a, b in zip(ours, expected, strict=False))
        different += abs(len(ours) - len(expected))
        self._line(name, different, different / max(1, len(expected)), "exact", not different)

    def _line(self, name, absolute, relative, tolerance, holds) -> None:
        if not holds:
            self.failed.append(f"{self.prefix} {name}")
        verdict = "ok" if holds else "FAIL"
        print(
            f"{self.prefix:24} {name:46} abs {absolute:8.1e}  rel {relative:8.1e}  "
            f"tolerance {tolerance:24} {verdict}",
            flush=True,
        )


def _numbers(name: str, ours, expected) -> tuple[np.ndarray, np.ndarray]:
    ours, expected = (
        np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        for value in (ours, expected)
    )
    if ours.shape != expected.shape:
        raise CannotCheck(f"{name} has shape {expected.shape}, ours has {ours.shape}")
    return ours.astype(np.float64), expected.astype(np.float64)


def _max(values: np.ndarray) -> float:
    return float(values.max(initial=0))
