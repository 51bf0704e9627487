"""What an adaptation does on the way."""

from collections.abc import Mapping, Sequence

from pandas import DataFrame, Series
from torch import Tensor

from iapc_lib.findings.wording import formula, listed
from iapc_lib.method.objective import TERMS


def pulls(ours: Mapping[str, float], reference: Mapping[str, float], name: str, other: str) -> str:
    """Which term pulls hardest in two methods, and which one of them lacks.

    Args:
        ours: length of the weighted gradient by symbol of the term.
        reference: the same of the other method.
        name: of the first method.
        other: of the other one.
    """
    lacks = [term for term in ours if ours[term] == 0 < reference[term]]
    hardest = [max(lengths, key=lengths.get) for lengths in (reference, ours)]
    said = f"In {other} {hardest[0]} pulls hardest"
    if name == other:
        return f"{said}."
    said += f", in {name} {hardest[1]}." if any(ours.values()) else f"; {name} has no pull at all."
    return f"{said} {name} lacks {listed(lacks)}." if lacks else said


def colours_moved(before: Tensor, after: Tensor) -> str:
    """How far AutoAugment moves the colours of a view.

    Args:
        before: (N, 3, H, W) uint8 RGB.
        after: the same pixels in other colours.
    """
    moved = (after.float() - before.float()).abs().mean().item()
    if moved == 0:
        return "AutoAugment is off here: student and source network see the same picture."
    return (
        f"AutoAugment moves the colours by {moved:.0f} of 255 grey levels on average, and no pixel."
    )


def followed(weight: DataFrame) -> str:
    """How far one weight of the memory network follows that of the student.

    Args:
        weight: columns `student` and `memory network`, by update; may be empty.
    """
    if len(weight) < 2:
        return "This run kept no networks on the way."
    student, memory = weight.iloc[-1] - weight.iloc[0]
    part = f", {memory / student:.0%} of that" if student else ""
    return (
        f"After {weight.index[-1]} updates the student's weight has moved by {student:+.4f}, the "
        f"memory network's by {memory:+.4f}{part}."
    )


def collapse(shares: DataFrame) -> str:
    """Which class swallows the others.

    Args:
        shares: of the pixels, by update (index) and class (columns).
    """
    first, last = shares.iloc[0], shares.iloc[-1]
    winner = (last - first).idxmax()
    return (
        f"In {len(shares)} updates {winner} grows from {first[winner]:.0%} to {last[winner]:.0%} of the "
        f"pixels. Classes with more than a hundredth of them: {(first > 0.01).sum()} before, "
        f"{(last > 0.01).sum()} after."
    )


def size_and_pull(sizes: Mapping[str, float], pulls: Mapping[str, float]) -> str:
    """Which terms pull less, and which more, than their part of the loss would say.

    Args:
        sizes: share of the loss by symbol of the term, in per cent.
        pulls: share of the gradients' lengths, in per cent.
    """
    order = sorted((t for t in sizes if sizes[t] > 0), key=lambda t: pulls[t] / sizes[t])
    if not order:
        return "No term has a weight here."
    said = [
        f"{formula(t)} makes {sizes[t]:.0f} % of the loss and {pulls[t]:.1f} % of the pull"
        for t in dict.fromkeys((order[0], order[-1]))
    ]
    return f"{'; '.join(said)}."


def terms_moved(history: Sequence[Mapping[str, float]], window: int = 20) -> str:
    """How much each term changed in the course of a training.

    Args:
        history: of the training; entries of updates have `loss`, the weighted terms by name, and
            `agreement`.
        window: updates of the running mean.
    """
    frame = DataFrame([entry for entry in history if "loss" in entry])
    means = frame.rolling(window, min_periods=1).mean()
    first, last = means.iloc[0], means.iloc[-1]
    change = (last / first - 1)[[name for name in TERMS if first.get(name, 0) > 0]].sort_values()
    moved = listed([f"{formula(TERMS[name])} ({by:+.0%})" for name, by in change.items()])
    return (
        f"From the first to the last updates: {moved}. Prototype and pseudo-label agree in "
        f"{first['agreement']:.0%} of the pixels, then in {last['agreement']:.0%}."
    )


def course(title: str, curve: Series, level: float) -> str:
    """How a method's score went.

    Args:
        title: of the method.
        curve: mIoU in per cent by update.
        level: of BatchNorm recomputed.
    """
    return (
        f"{title[0].upper()}{title[1:]} goes from {curve.iloc[0]:.1f} to {curve.iloc[-1]:.1f}, "
        f"{curve.iloc[-1] - level:+.1f} against BatchNorm recomputed."
    )


def share_of_gain(scores: Mapping[str, float], start: str, part: str, whole: str) -> str:
    """How much of a method's gain another one has alone; scores in per cent by title."""
    if not {start, part, whole} <= set(scores) or scores[whole] <= scores[start]:
        return f"{whole} gains nothing here that could be divided."
    gained, alone = scores[whole] - scores[start], scores[part] - scores[start]
    return (
        f"{part} alone brings {alone:+.1f} of {whole}'s {gained:+.1f} points, {alone / gained:.0%}."
    )
