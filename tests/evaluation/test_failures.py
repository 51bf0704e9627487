"""Where a network fails, class by class."""

from __future__ import annotations

import pytest
import torch

from iapc_lib.evaluation.failures import failures


def test_the_largest_loss_comes_first_with_the_image_where_it_happens():
    before = torch.zeros(2, 3, 3, dtype=torch.int64)
    before[:, 0, 0], before[:, 1, 1] = 50, 10  # class 2 never occurs
    after = before.clone()
    after[0, 0, 0], after[0, 0, 1] = 45, 5
    after[1, 1, 1], after[1, 1, 0] = 2, 8
    found = failures(before, after, ["road", "car", "bus"])
    assert list(found.index) == ["car", "road"]
    assert found["image"].tolist() == [1, 0] and found["lost"].tolist() == [8, 5]
    assert found.loc["road", "change"] == pytest.approx(100 * (95 / 108 - 1))
    after[1, 0, 0], after[1, 0, 1] = 30, 20  # most of the road is lost where the car is, too
    assert failures(before, after, ["road", "car", "bus"])["image"].tolist() == [1, 0]
    assert failures(before, before, ["road", "car", "bus"]).empty
