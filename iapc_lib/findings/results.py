"""What one run's scores say."""

from collections.abc import Mapping, Sequence

import numpy as np
from pandas import DataFrame, Series

from iapc_lib.findings.wording import listed


def compared(scores: Mapping[str, float], name: str) -> str:
    """One method's score beside those of others.

    Args:
        scores: mIoU in per cent by title.
        name: title of the method that is judged.
    """
    if name not in scores:
        return f"{name} has no score here."
    beside = [
        f"{abs(points):.1f} {'more' if points >= 0 else 'less'} than {other}"
        for other in scores
        if other != name
        for points in [scores[name] - scores[other]]
    ]
    said = f"{name} reaches {scores[name]:.1f} % mIoU"
    return (
        f"{said}: in points, {listed(beside)}."
        if beside
        else f"{said}; there is no other score to compare."
    )


def gain_explained(gain: Mapping[str, float], published: Sequence[float]) -> str:
    """How much of the gain recomputed statistics alone would bring.

    Args:
        gain: over source only, in points, by title.
        published: gains that others measured on other data, in points.
    """
    iapc, recomputed = gain["IAPC"], gain["BatchNorm recomputed"]
    part = f", {recomputed / iapc:.0%} of that" if iapc >= 0.5 else ""  # of next to nothing, none
    return (
        f"IAPC gains {iapc:.1f} points over source only. Recomputing BatchNorm alone gains "
        f"{recomputed:.1f}{part}. The authors report gains of {min(published):.1f} to "
        f"{max(published):.1f} points, on other data."
    )


def wins(by_class: DataFrame) -> str:
    """Which method is best in how many classes.

    Args:
        by_class: IoU by method (index) and class (columns), NaN where a class never occurs.
    """
    best = by_class.dropna(axis=1).idxmax().value_counts()
    if best.empty:
        return "No class has a score."
    said = [f"{t} in {n} {'classes' if n > 1 else 'class'}" for t, n in best.items()]
    return f"The best method is {listed(said)}."


def by_difficulty(quarters: DataFrame) -> str:
    """Where a method helps: on the easiest quarter of the images, and on the hardest.

    Args:
        quarters: mIoU by quarter (index, easiest first) and method (columns); may be empty.
    """
    if quarters.empty or "IAPC" not in quarters:
        return "These images come without a severity."
    easy, hard = quarters.iloc[0], quarters.iloc[-1]
    said = (
        f"Source only falls from {easy['source only']:.1f} on the easiest quarter to "
        f"{hard['source only']:.1f} on the hardest. IAPC changes that by "
        f"{easy['IAPC'] - easy['source only']:+.1f} points on the easiest and by "
        f"{hard['IAPC'] - hard['source only']:+.1f} on the hardest."
    )
    if "oracle" in quarters:
        said += f" There the oracle is another {hard['oracle'] - hard['IAPC']:.1f} points above it."
    return said


def same_order(by_split: DataFrame) -> str:
    """Whether two splits put the methods in the same order.

    Args:
        by_split: mIoU by method (index) and split (columns).
    """
    if by_split.shape[1] < 2:
        return "There is one split only."
    ranks = by_split.rank()
    agree = bool((ranks.iloc[:, 0] == ranks.iloc[:, 1]).all())
    lower = (by_split.iloc[:, 1] < by_split.iloc[:, 0]).all()
    aside = f" All scores on {by_split.columns[1]} are lower: other images." if lower else ""
    return f"The two splits {'agree' if agree else 'do not agree'} on the order.{aside}"


def over_classes(means: Mapping[int, float], title: str) -> str:
    """One network's mIoU over several sets of classes.

    Args:
        means: in per cent by number of classes; NaN where the network does not know them all.
        title: of the method.
    """
    known = {number: mean for number, mean in means.items() if np.isfinite(mean)}
    said = listed([f"{mean:.1f} over {number} classes" for number, mean in known.items()])
    return f"The same predictions of {title} have an mIoU of {said}."


def left_over(gap: Series, scenario: str) -> str:
    """In which classes a method is furthest from the oracle; half a sentence.

    Args:
        gap: points of IoU by class.
        scenario: its name.
    """
    most = gap.dropna().nlargest(3)
    return f"in {scenario} {listed([f'{name} ({points:.0f})' for name, points in most.items()])}"
