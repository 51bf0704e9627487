"""Which pixels are to be trusted, and what weighs."""

from collections.abc import Mapping, Sequence

import numpy as np

from iapc_lib.findings.wording import listed


def regimes_met(pixels: Sequence[int]) -> str:
    """How many pixels have two values above zero, as the logit form of importance supposes.

    Args:
        pixels: in the regimes s2 >= 0, s1 > 0 > s2, and both negative.
    """
    usual, *strange = pixels
    share = usual / max(usual + sum(strange), 1)
    said = f"In this network {share:.1%} of the pixels have two values above zero"
    if share > 0.99:
        return f"{said}: the logit form is harmless here."
    return f"{said}; {strange[0]} pixels count for more than 1, {strange[1]} are negative."


def right_and_wrong(values: Mapping[str, np.ndarray], right: np.ndarray) -> str:
    """Where half of the right and half of the wrong pixels lie, for each measure.

    Args:
        values: (P,) by name.
        right: (P,) bool, with both kinds.
    """
    if right.all() or not right.any():
        return "All pixels are of one kind: nothing to tell apart."
    return " ".join(
        f"{name}: half of the right pixels lie above {np.median(value[right]):.2f}, half of the wrong "
        f"ones above {np.median(value[~right]):.2f}; {(value[right] > 0.95).mean():.0%} of the right "
        "pixels lie above 0.95."
        for name, value in values.items()
    )


def best_first(areas: Mapping[str, float]) -> str:
    """Measures of trust in the order of their AUROC; NaN where nothing can be told apart."""
    if not np.isfinite(list(areas.values())).all():
        return "All pixels are of one kind: no measure can tell them apart."
    order = sorted(areas, key=areas.get, reverse=True)
    return f"From best to worst: {listed([f'{name} {areas[name]:.3f}' for name in order])}."


def said_and_found(
    values: Mapping[str, np.ndarray], right: np.ndarray, low: float = 0.4, high: float = 0.5
) -> str:
    """What one and the same value means in each measure: the share right between two limits.

    Args:
        values: (P,) by name.
        right: (P,) bool.
        low: lower limit.
        high: upper limit.
    """
    found = {}
    for name, value in values.items():
        inside = (value >= low) & (value < high)
        if inside.any():
            found[name] = f"{right[inside].mean():.0%} by {name}"
    if not found:
        return f"No pixel has a value from {low} to {high}."
    return (
        f"Of the pixels with a value from {low} to {high}, right are {listed([*found.values()])}."
    )


def order_reversed(trust: Mapping[str, float], right: Mapping[str, float]) -> str:
    """Classes that are trusted and never right, and two whose order by trust is the wrong one.

    Args:
        trust: median importance by class.
        right: share of right pixels by class; NaN where unknown.
    """
    known = [name for name in trust if np.isfinite(right.get(name, np.nan))]
    never = [name for name in known if right[name] == 0]
    said = [f"No pixel is right that is called {' or '.join(never)}."] if never else []
    pairs = [
        (a, b) for a in known for b in known if trust[a] > trust[b] and 0 < right[a] < right[b]
    ]
    if pairs:
        more, less = max(
            pairs, key=lambda p: (trust[p[0]] - trust[p[1]]) * (right[p[1]] - right[p[0]])
        )
        said.append(
            f"The importance trusts {more} more than {less} ({trust[more]:.2f} against "
            f"{trust[less]:.2f}), but {more} is right less often ({right[more]:.0%} against "
            f"{right[less]:.0%})."
        )
    elif len(known) > 1 and not never:
        said.append("The more a class is trusted, the more often it is right.")
    return " ".join(said) or "Too few classes occur to compare."


def trusted_and_wrong(
    trust: np.ndarray, right: np.ndarray, called: np.ndarray, names: Sequence[str], above: float
) -> str:
    """How many wrong pixels are trusted, and what these are called.

    Args:
        trust: (P,) importance.
        right: (P,) bool.
        called: (P,) number of the class that the pseudo-label gives.
        names: by that number.
        above: importance of a pixel that counts as trusted.
    """
    if right.all():
        return "No pixel is wrong."
    blind = ~right & (trust > above)
    share = blind.sum() / (~right).sum()
    said = f"Of the wrong pixels {share:.0%} have an importance above {above}"
    if not blind.any():
        return f"{said}."
    often = np.bincount(called[blind], minlength=len(names)) / blind.sum()
    most = [k for k in np.argsort(-often)[:2] if often[k] > 0]
    return f"{said}; they are called {listed([f'{names[k]} ({often[k]:.0%})' for k in most])}."


def sure_and_right(confidence: np.ndarray, right: np.ndarray, above: float = 0.9) -> str:
    """How many of the wrong and of the right pixels are confident, and how many of these are right.

    Args:
        confidence: (P,) within 0..1.
        right: (P,) bool.
        above: confidence of a pixel that counts as confident.
    """
    sure = confidence > above
    if not sure.any() or right.all() or not right.any():
        return f"No pixel has a confidence above {above}." if not sure.any() else "All are alike."
    return (
        f"Of the wrong pixels {np.mean(sure[~right]):.0%} have a confidence above {above}, of the "
        f"right ones {np.mean(sure[right]):.0%}. Of the pixels above {above}, "
        f"{np.mean(right[sure]):.0%} are right."
    )


def sure_of_the_error(
    confidence: np.ndarray,
    truth: np.ndarray,
    called: np.ndarray,
    pair: tuple[str, str] | None,
    name: str = "confidence",
) -> str:
    """How sure the network is where it takes one class for another.

    Args:
        confidence: (P,) any measure of trust within 0..1.
        truth: (P,) names of classes.
        called: (P,) names that the pseudo-label gives.
        pair: true and called class; None where no class is called another one.
        name: of the measure.
    """
    if pair is None:
        return "No class is called another one."
    true, other = pair
    error, right = (truth == true) & (called == other), (truth == true) & (called == true)
    if not error.any():
        return f"No {true} is called {other}."
    said = (
        f"Where {true} is called {other}, the median {name} is "
        f"{np.median(confidence[error]):.2f}, and {np.mean(confidence[error] > 0.9):.0%} of the "
        "pixels lie above 0.9"
    )
    if not right.any():
        return f"{said}; no {true} is found."
    return f"{said}; where {true} is found, it is {np.median(confidence[right]):.2f}."


def kept_above(
    threshold: float,
    kept: float,
    right: float,
    survive: Mapping[str, float],
) -> str:
    """What a threshold keeps.

    Args:
        threshold: of the confidence.
        kept: share of all pixels.
        right: share of the kept pixels that are right.
        survive: share of a class's pixels that are kept, by class.
    """
    lost = [name for name, share in survive.items() if share < 0.1]
    of_these = f", and {right:.0%} of these are right" if kept else ""
    return (
        f"At {threshold}, {kept:.0%} of the pixels are kept{of_these}. {len(lost)} of "
        f"{len(survive)} classes keep less than a tenth of their pixels: {listed(lost)}."
    )


def falls_faster(kept: Mapping[float, float], kept_by_class: Mapping[float, float]) -> str:
    """From which threshold on the classes lose more than the pixels.

    Args:
        kept: share of the pixels by threshold, in order.
        kept_by_class: mean over the classes of the share of their pixels.
    """
    below = [kept_by_class[threshold] < kept[threshold] - 0.005 for threshold in kept]
    if not below or not below[-1]:
        return "The classes lose no more than the pixels on average."
    since = len(below) - (below[::-1] + [False]).index(False)
    return (
        f"From {list(kept)[since]:.2f} on, *kept per class* is below *kept*: rare classes lose "
        "more than frequent ones."
    )


def promises(said: Mapping[str, tuple[float, float, float]]) -> str:
    """What confidences promise and keep.

    Args:
        said: mean confidence, share of right pixels and expected calibration error, by name.
    """
    parts = [
        f"{name}: confidence {confidence:.2f} on average, right {right:.2f}, "
        f"{'overconfident' if confidence > right else 'too modest'}, ECE {error:.3f}"
        for name, (confidence, right, error) in said.items()
    ]
    return "; ".join(parts) + "."


def effort(gain_right: float, gain_miou: float, maps: int) -> str:
    """What several maps bring instead of one, in points.

    Args:
        gain_right: of the share of right pixels.
        gain_miou: of the mIoU.
        maps: how many.
    """
    said = (
        f"{maps} maps instead of one change the share of right pixels by {gain_right:+.1f} points "
        f"and the mIoU by {gain_miou:+.1f}."
    )
    if gain_right > 0 > gain_miou:
        return f"{said} Frequent classes gain, rare ones pay."
    return said


def weights_by_class(weight: np.ndarray, counts: np.ndarray, names: Sequence[str]) -> str:
    """Which classes weigh more than one, and whether they are rare or absent.

    Args:
        weight: (K,) class weights of a first update.
        counts: (K,) pixels of the classes.
        names: of the K classes.
    """
    kinds = {"rare": (weight > 1) & (counts > 0), "absent": counts == 0}
    said = [
        f"{listed([names[k] for k in np.flatnonzero(chosen)])} {'are' if chosen.sum() > 1 else 'is'} "
        f"{kind} and {'weigh' if chosen.sum() > 1 else 'weighs'} {weight[chosen][0]:.1f}"
        for kind, chosen in kinds.items()
        if chosen.any()
    ]
    if not said:
        return "No class is rare: all weigh 1."
    return "; ".join(said).capitalize() + "; all others weigh 1."
