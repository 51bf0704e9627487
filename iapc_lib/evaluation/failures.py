"""Where a network fails that another does not, class by class."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from iapc_lib.evaluation.scores import iou_by_class


def failures(before: Tensor, after: Tensor, names: Sequence[str], number: int = 6) -> pd.DataFrame:
    """The classes that lose most, each with the image in which most of it is lost.

    Args:
        before: (N, K, K) counts of every image by (true, predicted) class, of one network.
        after: the same, of the other.
        names: of the K classes.
        number: of classes, at most.

    Returns:
        By class, the largest loss first: `change` of its IoU in points, `image` (position), and
        `lost`: by how many pixels fewer the second network finds it there. Empty if none loses.
    """
    changes = 100 * (iou_by_class(after.sum(dim=0)) - iou_by_class(before.sum(dim=0)))
    found = {}
    for channel in changes.argsort().tolist()[:number]:
        if changes[channel] < 0:  # NaN is not
            lost = before[:, channel, channel] - after[:, channel, channel]
            image = int(lost.argmax())
            found[names[channel]] = (float(changes[channel]), image, int(lost[image]))
    return pd.DataFrame.from_dict(found, "index", columns=["change", "image", "lost"])
