"""Pictures show what they are given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from iapc_lib import figures
from iapc_lib.evaluation.pieces import largest_wrong_piece


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_a_piece_is_outlined_and_the_legend_says_what_the_line_is():
    truth, called = np.zeros((8, 16), np.uint8), np.zeros((8, 16), np.uint8)
    called[2:5, 3:9] = 13
    piece = largest_wrong_piece(truth, called)
    plain = figures.panels([[figures.label_panel("a", called)]])
    outlined = figures.panels([[figures.label_panel("a", called, outline=piece)]])
    labels = [[t.get_text() for t in f.legends[0].get_texts()] for f in (plain, outlined)]
    assert labels[0] == ["road", "car"] and labels[1] == ["road", "car", "largest piece"]
    (axes,) = outlined.axes
    corners = np.concatenate([p.vertices for c in axes.collections for p in c.get_paths()])
    assert corners.min(axis=0) == pytest.approx([2.5, 1.5]) and corners.max(axis=0) == (
        pytest.approx([8.5, 4.5])
    )


def test_a_chart_without_values_says_so():
    empty = figures.curves(pd.DataFrame(columns=["student", "memory"]), "update", "weight")
    assert empty.axes[0].get_legend() is None
    assert [text.get_text() for text in empty.axes[0].texts] == ["no values"]
    full = figures.curves({"student": pd.Series([1.0, 2.0])}, "update", "weight")
    assert full.axes[0].get_legend() is not None and not full.axes[0].texts
