"""Which classes are taken for which, and what a change mends and spoils."""

from collections.abc import Mapping, Sequence

import numpy as np
from pandas import DataFrame
from torch import Tensor

from iapc_lib.classes import IGNORE
from iapc_lib.evaluation.pieces import changed_pieces, largest_piece, largest_wrong_piece
from iapc_lib.findings.wording import listed


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
    if (truth == IGNORE).all():
        return "nobody knows the truth"
    piece = largest_wrong_piece(truth, predicted)
    if piece is None:
        return "no pixel is wrong"
    return (
        f"the largest wrong region is a piece of {names[piece.first]} that is called "
        f"{names[piece.second]}, {piece.share:.1%} of the image"
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


def averaged(
    pair: tuple[str, str] | None, one: Tensor, many: Tensor, names: Sequence[str], maps: int
) -> str:
    """What the sum of several maps makes of the largest confusion.

    Args:
        pair: true and predicted class; None where no class is called another one.
        one: (K, K) pixels by (true, predicted) class, of one forward pass.
        many: the same of the sum.
        names: of the K classes.
        maps: that are summed.
    """
    if pair is None or not one[names.index(pair[0])].any():
        return "No class is called another one."
    true, called = pair
    before, after = (_share_called(pair, counts, names) for counts in (one, many))
    if after > before - 0.02:
        verdict = "the error is systematic, and the average keeps it"
    else:
        verdict = "the average mends a part of it"
    return (
        f"One forward pass calls {before:.0%} of {true} {called}, the sum of {maps} maps "
        f"{after:.0%}: {verdict}."
    )


def still_confused(
    pair: tuple[str, str] | None, counts: Mapping[str, Tensor], names: Sequence[str]
) -> str:
    """How much of a class each method takes for another one.

    Args:
        pair: true and predicted class; None where no class is called another one.
        counts: (K, K) pixels by (true, predicted) class, by method.
        names: of the K classes.
    """
    if pair is None:
        return "No class is called another one."
    if not any(of_method[names.index(pair[0])].any() for of_method in counts.values()):
        return f"None of these images is known to show {pair[0]}."
    shares = {title: _share_called(pair, c, names) for title, c in counts.items()}
    said = listed([f"{title} {share:.0%}" for title, share in shares.items()])
    return f"Of the pixels of {pair[0]}, as {pair[1]}: {said}."


def _share_called(pair: tuple[str, str], counts: Tensor, names: Sequence[str]) -> float:
    true, called = (names.index(name) for name in pair)
    return float(counts[true, called] / counts[true].sum())


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
    if (before == after).all():
        return "nothing changed"
    if (truth == IGNORE).all():
        piece = largest_piece(before != after, before, after)
        was, now = names[piece.first], names[piece.second]
        return f"the largest change is from {was} to {now} ({piece.share:.1%})"
    said = []
    for how, piece in changed_pieces(before, after, truth).items():
        if piece is not None:
            when = "before" if how == "mended" else "now"
            true, called = names[piece.first], names[piece.second]
            said.append(f"{how} {true}, {when} called {called} ({piece.share:.1%})")
    return ", and ".join(said) if said else "what changed is wrong before and after"


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
