"""What differs between the domains."""

from collections.abc import Mapping

import numpy as np

from iapc_lib.findings.wording import listed


def frequent_and_rare(shares: Mapping[str, float]) -> str:
    """The most and the least frequent class of the source.

    Args:
        shares: of the pixels in per cent, by class; 0 or NaN where a class does not occur.
    """
    known = {name: share for name, share in shares.items() if share > 0}
    if len(known) < 2:
        return "Fewer than two classes occur."
    most, least = max(known, key=known.get), min(known, key=known.get)
    return (
        f"In the source, {most} covers {known[most]:.0f} % of the pixels and {least} "
        f"{known[least]:.2f} %: a factor of {known[most] / known[least]:.0f}."
    )


def more_often(here: Mapping[str, float], there: Mapping[str, float]) -> str:
    """Which classes the target has more often than the source, and which less.

    Args:
        here: share of the source's pixels by class.
        there: share of the target's pixels by class.
    """
    ratio = {name: there[name] / here[name] for name in here if here[name] > 0 and there[name] > 0}
    order = sorted(ratio, key=ratio.get)
    if len(order) < 4:
        return "Too few classes occur in both domains to compare."
    most, least = (
        listed([f"{name} {ratio[name]:.1f}" for name in part])
        for part in (order[:-3:-1], order[:2])
    )
    return (
        "The target's share of the pixels as a multiple of the source's: largest are "
        f"{most}, smallest {least}."
    )


def light(here: np.ndarray, there: np.ndarray) -> str:
    """How the target's light differs from the source's.

    Args:
        here: (P, 3) colours of pixels of the source, in grey levels.
        there: (P, 3) colours of pixels of the target.
    """
    mean, other_mean = here.mean(), there.mean()
    spread, other_spread = here.std(axis=0).mean(), there.std(axis=0).mean()
    return (
        f"The target's images are {'darker' if other_mean < mean else 'brighter'} (mean grey level "
        f"{other_mean:.0f} against {mean:.0f}), and their values are spread "
        f"{'wider' if other_spread > spread else 'less'} (standard deviation {other_spread:.0f} "
        f"against {spread:.0f})."
    )


def colours_left(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What one correction of all colours mends, and for which classes it leaves most.

    Args:
        before: distance of the mean colours of the two domains by class, in grey levels; NaN where
            the class does not occur in both.
        after: the same after the correction.
    """
    known = [name for name in before if np.isfinite(before[name] + after[name])]
    if not known:
        return "No class occurs in both domains."
    means = [float(np.mean([part[name] for name in known])) for part in (before, after)]
    order = sorted(known, key=lambda name: -after[name])
    said = [
        f"One correction for all colours takes the mean distance from {means[0]:.0f} to "
        f"{means[1]:.0f} grey levels.",
        f"Most is left for {listed([f'{name} ({after[name]:.0f})' for name in order[:3]])}.",
    ]
    worse = [name for name in order if after[name] > before[name] + 1]
    if worse:
        many = f"{len(worse)} classes, most of all" if len(worse) > 1 else "one class,"
        most = max(worse, key=lambda name: after[name] - before[name])
        said.append(f"For {many} {most}, the correction makes it larger.")
    return " ".join(said)
