"""Sentences that say what is seen, filled from data: they stay true for another run."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pandas import DataFrame, Series
from scipy import ndimage
from torch import Tensor

from iapc_lib.classes import IGNORE
from iapc_lib.method.objective import TERMS


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`; `none` of nothing."""
    *others, last = parts or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def swallowed(counts: Tensor, names: Sequence[str], most: int = 4, share: float = 0.25) -> str:
    """Which class swallows which, and which two the wrong pixels flee to.

    Args:
        counts: (K, K) pixels by (true, predicted) class.
        names: of the K classes.
        most: pairs that are named, those with the largest share first.
        share: of a class's pixels that must be called the other.
    """
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    shares.fill_diagonal_(0)
    order = shares.flatten().argsort(descending=True)[:most].tolist()
    pairs = [divmod(place, len(names)) for place in order]
    found = [
        f"{names[true]} is called {names[called]} ({shares[true, called]:.0%})"
        for true, called in pairs
        if shares[true, called] >= share
    ]
    if not found:
        return f"No class has {share:.0%} of its pixels called another one."
    wrong = (counts - counts.diagonal().diag()).sum(dim=0).double()
    first, second = wrong.argsort(descending=True)[:2].tolist()
    return (
        f"{listed(found).capitalize()}. Of all wrong pixels {wrong[first] / wrong.sum():.0%} are "
        f"called {names[first]} and {wrong[second] / wrong.sum():.0%} {names[second]}."
    )


def largest_wrong_region(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> str:
    """The largest connected piece of one class that is called one other; half a sentence.

    Args:
        truth: (H, W) channel numbers, 255 = ignore.
        predicted: (H, W) channel numbers.
        names: of the classes.
    """
    pairs = np.where(
        (truth != predicted) & (truth != IGNORE), truth.astype(int) * len(names) + predicted, -1
    )
    largest, which = 0, None
    for pair in np.unique(pairs[pairs >= 0]):
        pieces, _ = ndimage.label(pairs == pair)
        size = np.bincount(pieces.ravel())[1:].max()
        if size > largest:
            largest, which = size, divmod(int(pair), len(names))
    if (truth == IGNORE).all():
        return "nobody knows the truth"
    if which is None:
        return "no pixel is wrong"
    true, called = which
    return (
        f"the largest wrong region is a piece of {names[true]} that is called {names[called]}, "
        f"{largest / truth.size:.1%} of the image"
    )


def frequencies(predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> str:
    """Which classes a prediction likes too much, and which it loses.

    Args:
        predicted: (K,) share of the pixels that are called a class.
        true: (K,) share of the pixels that are it.
        names: of the K classes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(true > 0, predicted / true, np.nan)
    order = [k for k in np.argsort(ratio) if np.isfinite(ratio[k])]
    if len(order) < 4:
        return "Too few classes occur to compare."
    rare = [f"{names[k]} ({predicted[k]:.1f} of {true[k]:.1f} %)" for k in order[:3]]
    often = [f"{names[k]} ({predicted[k]:.1f} for {true[k]:.1f} %)" for k in order[:-3:-1]]
    return f"Nearly lost: {listed(rare)}. Called too often: {listed(often)}."


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


def change_of_classes(before: np.ndarray, after: np.ndarray, names: Sequence[str]) -> str:
    """Which classes gain and lose most from one network to another.

    Args:
        before: (K,) IoU in per cent; NaN where a class never occurs.
        after: the same.
        names: of the K classes.
    """
    change = np.asarray(after, float) - np.asarray(before, float)
    order = [k for k in np.argsort(change) if np.isfinite(change[k])]
    gained = [f"{names[k]} ({change[k]:+.0f})" for k in order[::-1][:3] if change[k] >= 0.5]
    lost = [f"{names[k]} ({change[k]:+.0f})" for k in order[:3] if change[k] <= -0.5]
    if not order:
        return "There is nothing to compare."
    if not gained and not lost:
        return "No class's IoU changes by half a point."
    ups, downs = (change[order] > 0).sum(), (change[order] < 0).sum()
    return (
        f"IoU rises in {ups} and falls in {downs} classes. Most, in points: "
        f"{'; '.join(listed(part) for part in (gained, lost) if part)}."
    )


def relabelled(before: np.ndarray, after: np.ndarray, names: Sequence[str]) -> str:
    """What pixels that change their class change most often from and to.

    Args:
        before: (P,) channel numbers.
        after: the same pixels.
        names: of the classes.
    """
    changed = before != after
    if not changed.any():
        return "No pixel changes its class."
    pairs = np.bincount(before[changed].astype(int) * len(names) + after[changed])
    order = [p for p in np.argsort(-pairs)[:2] if pairs[p]]
    most = [
        f"from {names[p // len(names)]} to {names[p % len(names)]} ({pairs[p] / changed.sum():.0%})"
        for p in order
    ]
    return f"{changed.mean():.1%} of the pixels change their class, most often {listed(most)}."


def alike(maps: np.ndarray, names: Sequence[str]) -> str:
    """Which two of some maps are bright in the same places, and which apart.

    Args:
        maps: (n, h, w) cosines.
        names: of the n classes.
    """
    said = f"The cosines lie between {maps.min():.2f} and {maps.max():.2f}."
    if len(maps) < 2:
        return said
    correlation = np.corrcoef(maps.reshape(len(maps), -1))
    pairs = [(i, j) for i in range(len(maps)) for j in range(i)]
    near, far = (pick(pairs, key=lambda p: correlation[p]) for pick in (max, min))
    return (
        f"{said} Most alike are the maps of {names[near[1]]} and {names[near[0]]} (correlation "
        f"{correlation[near]:.2f}), least those of {names[far[1]]} and {names[far[0]]} "
        f"({correlation[far]:.2f})."
    )


def second_opinion(pseudo_right: np.ndarray, prototype_right: np.ndarray) -> str:
    """Whether the errors of two opinions are copies of one another.

    Args:
        pseudo_right: (P,) bool, of the pseudo-label.
        prototype_right: (P,) bool, of the nearest prototype.
    """
    if pseudo_right.all() or not pseudo_right.any():
        return "The pseudo-labels are all of one kind."
    return (
        f"The nearest prototype is right in {prototype_right.mean():.0%} of the pixels, the "
        f"pseudo-label in {pseudo_right.mean():.0%}. Where the pseudo-label is wrong, the prototype "
        f"is right in {prototype_right[~pseudo_right].mean():.0%}; where it is right, the prototype "
        f"is wrong in {1 - prototype_right[pseudo_right].mean():.0%}."
    )


def agreement(agree: np.ndarray, right: np.ndarray) -> str:
    """How often pseudo-labels are right where the second opinion agrees, and where it does not.

    Args:
        agree: (P,) bool.
        right: (P,) bool, of the pseudo-label.
    """
    if agree.all() or not agree.any():
        return "The two agree everywhere or nowhere."
    return (
        f"They agree in {agree.mean():.0%} of the pixels. There {right[agree].mean():.0%} of the "
        f"pseudo-labels are right, elsewhere {right[~agree].mean():.0%}."
    )


def agreement_of_classes(
    agreeing: Mapping[str, float], otherwise: Mapping[str, float], agrees: Mapping[str, float]
) -> str:
    """For which classes agreement is evidence, for which not, and which it hardly leaves.

    Args:
        agreeing: share right where they agree, in per cent by class; NaN where there is no pixel.
        otherwise: share right where they disagree.
        agrees: share of the class's pixels that agree.
    """
    gap = {name: agreeing[name] - otherwise[name] for name in agreeing}
    order = sorted((name for name in gap if np.isfinite(gap[name])), key=gap.get)
    if not order:
        return "No class has pixels of both kinds."

    def named(names: Sequence[str]) -> str:
        return listed([f"{n} ({agreeing[n]:.0f} against {otherwise[n]:.0f} %)" for n in names])

    helped = [name for name in order[::-1] if gap[name] > 0]
    said = [f"Agreement tells most about {named(helped[:2])}."] if helped else []
    empty = [name for name in order if gap[name] <= 0]
    if empty:
        said.append(f"It is no evidence for {named(empty[:3])}.")
    least = min(agrees, key=agrees.get)
    said.append(f"Least is left of {least}: {agrees[least]:.0f} % of its pixels agree.")
    return " ".join(said)


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


def mended(before: np.ndarray, after: np.ndarray, truth: np.ndarray, name: str) -> str:
    """How two predictions of an image differ, and which of them is right there; half a sentence.

    Args:
        before: (H, W) channel numbers.
        after: the same of the other network.
        truth: (H, W), 255 = ignore.
        name: of the other network.
    """
    differ = (before != after) & (truth != IGNORE)
    if not differ.any():
        return "they do not differ" if (truth != IGNORE).any() else "its truth is not known"
    mends, spoils = (after == truth)[differ].mean(), (before == truth)[differ].mean()
    return (
        f"they differ in {differ.sum()} pixels ({differ.sum() / truth.size:.0%}), of which {name} "
        f"mends {mends:.0%} and spoils {spoils:.0%}"
    )


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


def undecided(value: float, number: int) -> str:
    """L_PS2 beside the two values that one should know.

    Args:
        value: of the term, in nats.
        number: of classes.
    """
    good = math.log(1 + (number - 1) / math.e)
    return (
        f"$L_{{PS2}}$ is {value:.2f}. A guess among {number} classes costs {math.log(number):.2f}; a "
        f"similarity of 1 with the right class and of 0 with all others still costs {good:.2f}, and "
        f"of -1 with all others {math.log(1 + (number - 1) / math.e**2):.2f}."
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
        f"pixels. Of {(first > 0.01).sum()} classes {(last[first > 0.01] > 0.01).sum()} keep more than "
        "a hundredth."
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
        f"{_formula(t)} makes {sizes[t]:.0f} % of the loss and {pulls[t]:.1f} % of the pull"
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
    moved = listed([f"{_formula(TERMS[name])} ({by:+.0%})" for name, by in change.items()])
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


def pieces_changed(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, names: Sequence[str]
) -> str:
    """The largest piece of an image that was mended, and the largest that was spoiled; half a sentence.

    Args:
        before: (H, W) channel numbers.
        after: the same of the other network.
        truth: (H, W), 255 = ignore; where all is, the largest piece that changed is named.
        names: of the classes.
    """
    number = 256
    changed, known = before != after, truth != IGNORE
    if not changed.any():
        return "nothing changed"
    if not known.any():
        size, (was, now) = _largest_piece(
            np.where(changed, before.astype(int) * number + after, -1)
        )
        return f"the largest change is from {names[was]} to {names[now]} ({size / truth.size:.1%})"
    said = []
    for how, other, chosen in (
        ("mended", before, changed & (after == truth)),
        ("spoiled", after, changed & (before == truth)),
    ):
        pairs = np.where(chosen & known, truth.astype(int) * number + other, -1)
        if chosen.any():
            size, (true, called) = _largest_piece(pairs)
            when = "before" if how == "mended" else "now"
            said.append(
                f"{how} {names[true]}, {when} called {names[called]} ({size / truth.size:.1%})"
            )
    return ", and ".join(said) if said else "what changed is wrong before and after"


def _largest_piece(pairs: np.ndarray, number: int = 256) -> tuple[int, tuple[int, int]]:
    """Pixels of the largest connected piece of one pair, and the pair; -1 is no pair."""
    largest, which = 0, 0
    for pair in np.unique(pairs[pairs >= 0]):
        pieces, _ = ndimage.label(pairs == pair)
        size = int(np.bincount(pieces.ravel())[1:].max())
        if size > largest:
            largest, which = size, int(pair)
    return largest, divmod(which, number)


def _formula(symbol: str) -> str:
    """`L_IA` as it stands in formulas."""
    return f"$L_{{{symbol.removeprefix('L_')}}}$"


def gain_explained(gain: Mapping[str, float], published: Sequence[float]) -> str:
    """How much of the gain recomputed statistics alone would bring.

    Args:
        gain: over source only, in points, by title.
        published: gains that others measured on other data, in points.
    """
    iapc, recomputed = gain["IAPC"], gain["BatchNorm recomputed"]
    part = f", {recomputed / iapc:.0%} of that" if iapc > 0 else ""
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


def called_otherwise(called: DataFrame, name: str) -> str:
    """What became of a class's pixels from one method to another.

    Args:
        called: share of the class's pixels in per cent, by what they are called (index); a column
            a method, the earlier one first.
        name: of the class.
    """
    if called.empty:
        return "Nothing is labelled."
    first, second = called.columns
    change = (called[second] - called[first]).drop(name)
    taker = change.idxmax()
    return (
        f"{first} finds {called.loc[name, first]:.0f} % of the pixels of {name}, {second} "
        f"{called.loc[name, second]:.0f} %. What grows most is {taker}: {second} calls "
        f"{called.loc[taker, second]:.0f} % of them so, {first} {called.loc[taker, first]:.0f} %."
    )


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


def difference(table: DataFrame, key: str, other: str) -> str:
    """Whether one method is above another, in every scenario, with its interval.

    Args:
        table: of `studies.tables.paired_differences` to the other method.
        key: of the method.
        other: title of the other one.
    """
    if key not in table.index.get_level_values("key"):
        return ""
    here = table.xs(key, level="key").dropna(subset=["difference"])
    if here.empty:
        return ""
    above, below = (here["low"] > 0).all(), (here["high"] < 0).all()
    verdict = (
        "is above" if above else "is below" if below else "cannot be told in every scenario from"
    )
    numbers = [
        f"{row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f}) in {scenario}"
        for scenario, row in here.iterrows()
    ]
    title = here["title"].iloc[0]
    return f"**{title[0].upper()}{title[1:]}** {verdict} {other}: {listed(numbers)}."


def every_seed(gains: DataFrame) -> str:
    """Which methods gain with every seed, lose with every seed, or do either.

    Args:
        gains: in points, by method (index) and seed (columns, of any number of levels).
    """
    up, down = (gains > 0).all(axis=1), (gains < 0).all(axis=1)
    kinds = {
        "Gain with every seed": up,
        "Loss with every seed": down,
        "Now one, now the other": ~(up | down),
    }
    return " ".join(
        f"{what}: {listed(list(gains.index[chosen]))}."
        for what, chosen in kinds.items()
        if chosen.any()
    )


def left_over(gap: Series, scenario: str) -> str:
    """In which classes a method is furthest from the oracle; half a sentence.

    Args:
        gap: points of IoU by class.
        scenario: its name.
    """
    most = gap.dropna().nlargest(3)
    return f"in {scenario} {listed([f'{name} ({points:.0f})' for name, points in most.items()])}"


def missing_runs(names: Sequence[str]) -> str:
    """Which runs of a study are missing, by what follows the seed in their names.

    Args:
        names: of run folders, `<scenario>-seed<seed>-<variant>`.
    """
    if not len(names):
        return "No run is missing."
    kinds = Series(names).str.replace(r"^.*-seed\d+-?", "", regex=True).value_counts(sort=False)
    counts = sorted(set(kinds))
    each = f"{counts[0]} each" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} each"
    return f"{len(names)} runs that the study describes are missing ({each}): {listed(list(kinds.index))}."


def shared_starts(scores: DataFrame) -> str:
    """Which seeds begin with one source network: they are no independent experiments.

    Args:
        scores: of `studies.reading.read_runs`.
    """
    source = scores[scores["key"] == "source_only"]
    found = {
        tuple(sorted(group["seed"]))
        for _, group in source.groupby(["scenario", "miou"])
        if len(group) > 1
    }
    if not found:
        return "Every seed has a source network of its own."
    groups = listed([f"seeds {listed([str(seed) for seed in seeds])}" for seeds in sorted(found)])
    return (
        f"Each of these groups begins with one source network: {groups}. They are no independent experiments, "
        "and the intervals are a little too narrow."
    )


def clear_of_zero(table: DataFrame) -> str:
    """How many intervals keep clear of zero, and how many would by chance.

    Args:
        table: of `studies.tables.paired_differences`.
    """
    intervals = table[table["pairs"] > 1]
    above, below = (intervals["low"] > 0).sum(), (intervals["high"] < 0).sum()
    return (
        f"Of {len(intervals)} intervals {above} lie above zero and {below} below; "
        f"{0.05 * len(intervals):.1f} would keep clear of it by chance alone."
    )


def pairing(spreads: DataFrame) -> str:
    """Whether subtraction within a seed narrows the spread of a difference.

    Args:
        spreads: standard deviations `paired` and `as if independent`, by scenario and what is
            compared; may be empty.
    """
    spreads = spreads.dropna()
    if spreads.empty:
        return "Pairing needs two methods with two seeds."
    ratio = spreads["paired"] / spreads["as if independent"]

    def told(place: tuple[str, str]) -> str:
        row = spreads.loc[place]
        return f"{place[1]} in {place[0]}, {row.iloc[0]:.2f} instead of {row.iloc[1]:.2f}"

    said = [f"Pairing narrows the spread in {(ratio < 1).sum()} of {len(ratio)} comparisons"]
    said[0] += f", most for {told(ratio.idxmin())}." if ratio.min() < 1 else "."
    if ratio.max() >= 1:
        said.append(f"It widens it for {told(ratio.idxmax())}.")
    return " ".join(said)


def all_alike(changes: DataFrame) -> str:
    """Which classes every method helps, which none does, and the largest change of all.

    Args:
        changes: of `studies.tables.class_changes`; may be empty.
    """
    values = changes.drop(columns="title", errors="ignore").astype(float)
    if values.stack().dropna().empty:
        return "There is nothing to compare."
    titles, said = changes["title"], []
    for scenario, here in values.groupby(level="scenario", sort=False):
        here = here.dropna(axis=1, how="all").dropna(how="all")
        up, down = (list(here.columns[(sign * here > 0).all()]) for sign in (1, -1))
        place = here.abs().stack().idxmax()
        most = f"{titles[place[:2]]} changes {place[2]} most ({here.loc[place[:2], place[2]]:+.0f})"
        kinds = {"every method helps": up, "every method harms": down}
        alike = [f"{what} {listed(names)}" for what, names in kinds.items() if names]
        said.append(f"In {scenario} {' and '.join(alike) or 'no class fares alike'}; {most}.")
    return " ".join(said)


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


def where_influence_lies(influence: np.ndarray, field: int) -> str:
    """How near the pixels are that matter most for one logit.

    Args:
        influence: (H, W) of every pixel, not negative.
        field: side of the receptive field in pixels.
    """
    height, width = influence.shape
    if not influence.any():
        return "No pixel has any influence on this logit."
    rows, columns = np.indices(influence.shape)
    weights = influence / influence.sum()
    distance = np.hypot(rows - (weights * rows).sum(), columns - (weights * columns).sum())
    order = distance.ravel().argsort()
    reached = weights.ravel()[order].cumsum()
    half, most = (distance.ravel()[order][np.searchsorted(reached, s)] for s in (0.5, 0.9))
    fits = "larger than the image" if field > max(height, width) else "inside the image"
    return (
        f"The receptive field, {field} pixels wide, is {fits} ({height} x {width}). Half of the "
        f"influence comes from within {half:.0f} pixels of its middle, nine tenths from within "
        f"{most:.0f}."
    )


def nearest_to_the_sum(agreement: Mapping[int, float]) -> str:
    """Which branch of the head comes closest to the sum of all.

    Args:
        agreement: share of the pixels at which a branch alone names the class of the sum, by its
            dilation.
    """
    if len(agreement) < 2:
        return "The head has one branch only."
    best, worst = max(agreement, key=agreement.get), min(agreement, key=agreement.get)
    return (
        f"Alone, the branch with dilation {best} names the same class as the sum at "
        f"{agreement[best]:.0%} of the pixels, that with dilation {worst} at {agreement[worst]:.0%}."
    )


def course_of_loss(losses: Mapping[int, float]) -> str:
    """How a training's loss falls.

    Args:
        losses: by update, in order; may be empty.
    """
    if not losses:
        return "Nobody wrote down how this network's training went."
    if len(losses) == 1:
        return "The training is too short for a curve."
    updates, values = list(losses), list(losses.values())
    first, last = values[0], values[-1]
    if last >= first:
        return f"The loss does not fall: {first:.2f} at the start, {last:.2f} at the end."
    there = next(
        u for u, value in zip(updates, values, strict=True) if value <= 0.9 * last + 0.1 * first
    )
    return (
        f"The loss falls from {first:.2f} to {last:.2f}; after {there:.0f} of {updates[-1]:.0f} "
        "updates it has done nine tenths of that way."
    )


def largest_confusion(counts: Tensor) -> tuple[int, int] | None:
    """The (true, predicted) pair with the largest share of a true class's pixels, if one is wrong.

    It is the one that `swallowed` names first.

    Args:
        counts: (K, K) pixels by (true, predicted) class.
    """
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    shares.fill_diagonal_(0)
    if not shares.any():
        return None
    true, called = divmod(int(shares.argmax()), len(counts))
    return true, called


def averaged(
    pair: tuple[int, int] | None, one: Tensor, many: Tensor, names: Sequence[str], maps: int
) -> str:
    """What the sum of several maps makes of the largest confusion.

    Args:
        pair: (true, predicted) channel numbers.
        one: (K, K) pixels by (true, predicted) class, of one forward pass.
        many: the same of the sum.
        names: of the K classes.
        maps: that are summed.
    """
    if pair is None or not one[pair[0]].any():
        return "No class is called another one."
    true, called = (names[channel] for channel in pair)
    before, after = (float(c[pair] / c[pair[0]].sum()) for c in (one, many))
    if after > before - 0.02:
        verdict = "the error is systematic, and the average keeps it"
    else:
        verdict = "the average mends a part of it"
    return (
        f"One forward pass calls {before:.0%} of {true} {called}, the sum of {maps} maps "
        f"{after:.0%}: {verdict}."
    )


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
    confidence: np.ndarray, truth: np.ndarray, called: np.ndarray, pair: tuple[str, str]
) -> str:
    """How sure the network is where it takes one class for another.

    Args:
        confidence: (P,) within 0..1.
        truth: (P,) names of classes.
        called: (P,) names that the pseudo-label gives.
        pair: true and called class.
    """
    true, other = pair
    error, right = (truth == true) & (called == other), (truth == true) & (called == true)
    if not error.any():
        return f"No {true} is called {other}."
    said = (
        f"Where {true} is called {other}, the median confidence is "
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


def way_to_the_oracle(table: DataFrame) -> str:
    """Which part of the oracle's gain IAPC has.

    Args:
        table: of `studies.tables.paired_differences` to source only.
    """
    wide = table["difference"].unstack("key", sort=False)
    if not {"iapc", "oracle"} <= set(wide):
        return ""
    parts = (wide["iapc"] / wide["oracle"]).dropna()
    said = listed([f"{part:.0%} in {scenario}" for scenario, part in parts.items()])
    return f"IAPC goes {said} of the oracle's way."


def over_classes(means: Mapping[int, float], title: str) -> str:
    """One network's mIoU over several sets of classes.

    Args:
        means: in per cent by number of classes; NaN where the network does not know them all.
        title: of the method.
    """
    known = {number: mean for number, mean in means.items() if np.isfinite(mean)}
    said = listed([f"{mean:.1f} over {number} classes" for number, mean in known.items()])
    return f"The same predictions of {title} have an mIoU of {said}."


def same_seed_first(scores: DataFrame) -> str:
    """Whether one seed is lowest in all methods of a scenario: then all inherit its luck.

    Args:
        scores: of `studies.reading.read_runs`.
    """
    said = []
    for scenario, group in scores.groupby("scenario", sort=False):
        table = group.pivot_table("miou", "key", "seed").dropna()
        if table.shape[1] > 1 and len(table):
            lowest = table.idxmin(axis=1).value_counts()
            how_many = f"{lowest.iloc[0]} of {len(table)} methods of {scenario}"
            said.append(f"seed {lowest.index[0]} is the lowest in {how_many}")
    return f"Most often {listed(said)}." if said else "There is only one seed."


def neighbours(alike: Mapping[str, float]) -> str:
    """How often the most similar feature belongs to the same class, before and after.

    Args:
        alike: share within 0..1 by title, two of them.
    """
    (first, before), (second, after) = alike.items()
    return (
        f"The feature that is most similar to a place's own belongs to the same class in "
        f"{before:.0%} of the places before ({first}) and in {after:.0%} after ({second})."
    )


def measured_means(rows: DataFrame, titles: Sequence[str]) -> str:
    """Mean mIoU over the measured seeds of some methods; see `studies.reading.read_runs`.

    Args:
        rows: of `read_runs`.
        titles: of the methods; those that nobody measured are left out.
    """
    said = []
    for scenario, here in rows[rows["title"].isin(titles)].groupby("scenario", sort=False):
        means, seeds = here.groupby("title")["miou"].mean(), here["seed"].nunique()
        scores = [f"{title} {means[title]:.1f}" for title in titles if title in means]
        said.append(f"in {scenario} {listed(scores)} ({seeds} seed{'s' * (seeds != 1)})")
    return f"Mean mIoU {listed(said)}." if said else "Nobody has measured these methods."


def share_of_gain(scores: Mapping[str, float], start: str, part: str, whole: str) -> str:
    """How much of a method's gain another one has alone; scores in per cent by title."""
    if not {start, part, whole} <= set(scores) or scores[whole] <= scores[start]:
        return f"{whole} gains nothing here that could be divided."
    gained, alone = scores[whole] - scores[start], scores[part] - scores[start]
    return (
        f"{part} alone brings {alone:+.1f} of {whole}'s {gained:+.1f} points, {alone / gained:.0%}."
    )
