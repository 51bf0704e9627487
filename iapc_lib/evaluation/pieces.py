"""Connected pieces of an image on which two label maps disagree."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from iapc_lib.classes import IGNORE


class Piece(NamedTuple):
    """Connected pixels that the first map calls one class and the second another."""

    mask: np.ndarray
    """(H, W) bool."""
    first: int
    second: int

    @property
    def share(self) -> float:
        """Of the image's pixels."""
        return float(self.mask.mean())


def largest_piece(chosen: np.ndarray, first: np.ndarray, second: np.ndarray) -> Piece | None:
    """The largest piece of one pair of labels.

    Args:
        chosen: (H, W) bool, where to look.
        first: (H, W) labels, 0 to 255; `second` alike.

    Returns:
        None where nothing is chosen.
    """
    pairs = np.where(chosen, first.astype(int) * 256 + second, -1)
    largest, best = 0, None
    found, pixels = np.unique(pairs[chosen], return_counts=True)
    for place in np.argsort(-pixels, kind="stable"):
        if pixels[place] <= largest:
            break  # no piece of this pair, or of those after it, can be larger
        pieces, _ = ndimage.label(pairs == found[place])
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        if sizes.max() > largest:
            largest, pair = sizes.max(), divmod(int(found[place]), 256)
            best = Piece(pieces == sizes.argmax(), *pair)
    return best


def largest_wrong_piece(truth: np.ndarray, predicted: np.ndarray) -> Piece | None:
    """The largest piece of one class, `first`, that is called one other, `second`.

    Args:
        truth: (H, W) labels, 255 = ignore.
        predicted: (H, W) labels.
    """
    return largest_piece((truth != predicted) & (truth != IGNORE), truth, predicted)


def changed_pieces(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray
) -> dict[str, Piece | None]:
    """The largest piece that was `mended` and the largest that was `spoiled`.

    Args:
        before: (H, W) labels.
        after: the same of another network.
        truth: (H, W), 255 = ignore.

    Returns:
        Pieces with the truth first, and then what it was called by the one that is wrong.
    """
    changed = (before != after) & (truth != IGNORE)
    return {
        "mended": largest_piece(changed & (after == truth), truth, before),
        "spoiled": largest_piece(changed & (before == truth), truth, after),
    }
