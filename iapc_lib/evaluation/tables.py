"""The results as tables: `results.json` to pandas, the scores of one network, the published numbers."""

import json
from typing import Any

import pandas as pd

from iapc_lib.classes import CLASS_SETS
from iapc_lib.rows import title_of

PUBLISHED = pd.DataFrame(
    [
        ("GTA5 -> Cityscapes", 19, 36.6, 49.4),
        ("SYNTHIA -> Cityscapes", 16, 35.2, 45.3),
        ("SYNTHIA -> Cityscapes", 13, 40.5, 52.6),
    ],
    columns=["scenario", "classes", "source only", "IAPC"],
)
"""mIoU in per cent as the paper prints them; measured by its authors, not by us."""


def iou_table(results: dict[str, Any]) -> pd.DataFrame:
    """IoU in per cent by row and class, `mIoU` first.

    NaN where a class never occurs, and everywhere if the target has no labels.
    """
    unknown = {"miou": None, "iou": dict.fromkeys(results["classes"])}
    scores = results["scores"] or dict.fromkeys(results["unlabelled"], unknown)
    table = {title_of(results, row): {"mIoU": s["miou"], **s["iou"]} for row, s in scores.items()}
    return pd.DataFrame(table).T.astype(float)


def unlabelled_table(results: dict[str, Any]) -> pd.DataFrame:
    """What can be known without labels, in per cent, by row; see `without_labels.MEASURES`."""
    table = pd.DataFrame(results["unlabelled"]).T.astype(float)
    titles = {row: title_of(results, row) for row in table.index}
    return table.rename(index=titles, columns=lambda name: name.replace("_", " "))


def format_scores(scores: dict[str, Any], format: str = "text") -> str:
    """The IoU table of one network as `text`, `json` or `latex` (booktabs).

    Args:
        scores: as `api.evaluate_checkpoint` returns them.
        format: of the result.
    """
    if format == "json":
        return json.dumps(scores, indent=2)
    means = {
        f"mIoU over {number}": scores[f"miou_{number}"]
        for number in CLASS_SETS
        if scores[f"miou_{number}"] is not None
    }
    table = pd.DataFrame({"IoU in per cent": means | scores["iou"]}, dtype=float)
    if format == "latex":
        return table.style.format(precision=1, na_rep="--").to_latex(hrules=True).rstrip()
    return table.to_string(float_format=lambda value: f"{value:.1f}", na_rep="-")
