"""Connected pieces on which two label maps disagree."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from iapc_lib.classes import IGNORE
from iapc_lib.evaluation.pieces import changed_pieces, largest_piece, largest_wrong_piece

TRUTH = np.array([[1, 1, 2, 2, 2], [1, 1, 2, IGNORE, 2], [3, 3, 3, 3, 3]], np.uint8)


def test_the_largest_wrong_piece_is_of_one_pair_and_connected():
    called = TRUTH.copy()
    called[0, :2], called[1, 4], called[2] = 2, 1, (1, 1, 4, 1, 1)  # 2, 1, and 2 + 1 + 2 pixels
    called[1, 3] = 9  # ignored
    piece = largest_wrong_piece(TRUTH, called)
    assert (piece.first, piece.second) in ((1, 2), (3, 1)) and piece.mask.sum() == 2
    called[1, :2] = 2
    piece = largest_wrong_piece(TRUTH, called)
    assert (piece.first, piece.second) == (1, 2) and piece.share == 4 / 15
    assert piece.mask[:2, :2].all()
    assert largest_wrong_piece(TRUTH, TRUTH) is None


def test_pieces_that_were_mended_and_spoiled():
    before, after = TRUTH.copy(), TRUTH.copy()
    before[2, :3], after[0, 2:] = 1, 7
    found = changed_pieces(before, after, TRUTH)
    assert (found["mended"].first, found["mended"].second) == (3, 1)
    assert (found["spoiled"].first, found["spoiled"].second) == (2, 7)
    assert found["mended"].mask.sum() == found["spoiled"].mask.sum() == 3
    assert changed_pieces(TRUTH, TRUTH, TRUTH) == {"mended": None, "spoiled": None}


labels = arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 2, IGNORE]))


@given(labels, labels)
def test_a_piece_has_one_pair_and_lies_where_it_was_looked_for(first, second):
    chosen = first != second
    piece = largest_piece(chosen, first, second)
    assert (piece is None) == (not chosen.any())
    if piece is not None:
        assert chosen[piece.mask].all()
        assert (first[piece.mask] == piece.first).all()
        assert (second[piece.mask] == piece.second).all()
        assert ndimage.label(piece.mask)[1] == 1
        largest = max(
            np.bincount(ndimage.label(chosen & (first == a) & (second == b))[0].ravel())[1:].max(
                initial=0
            )
            for a in np.unique(first)
            for b in np.unique(second)
        )
        assert piece.mask.sum() == largest
