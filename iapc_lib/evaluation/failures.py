"""Where a network fails that another does not, class by class."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from iapc_lib.evaluation.scores import iou_by_class


def failures(before: Tensor, after: Tensor, names: Sequence[str], number: int = 6) -> pd.DataFrame:
    """The classes that lose most, each with the image in which most of it is lost.

    No image is named twice while another shows a loss, too.

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
    found, used = {}, []
    for channel in changes.argsort().tolist()[:number]:
        if changes[channel] < 0:  # NaN is not
            lost = before[:, channel, channel] - after[:, channel, channel]
            others = lost.index_fill(0, torch.tensor(used, dtype=torch.int64), 0)
            image = int((others if (others > 0).any() else lost).argmax())
            used.append(image)
            found[names[channel]] = (float(changes[channel]), image, int(lost[image]))
    return pd.DataFrame.from_dict(found, "index", columns=["change", "image", "lost"])
