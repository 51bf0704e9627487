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

OTHER_PAPERS = pd.DataFrame(
    [
        ("SFDA (Liu et al.)", 2021, "no", "DeepLab-v2, ResNet-101", 43.2, 39.2),
        ("URMA (Sivaprasad, Fleuret)", 2021, "no", "DeepLab-v2, ResNet-101", 45.1, 39.6),
        ("HCL (Huang et al.)", 2021, "no", "DeepLab-v2, ResNet-101", 48.1, 43.5),
        ("IAPC (Cao et al.)", 2023, "no", "DeepLab-v2, ResNet-101", 49.4, 45.3),
        ("ProDA (Zhang et al.)", 2021, "yes", "DeepLab-v2, ResNet-101", 57.5, 55.5),
        ("DAFormer (Hoyer et al.)", 2022, "yes", "DAFormer, MiT-B5", 68.3, 60.9),
        ("HRDA (Hoyer et al.)", 2022, "yes", "DAFormer, MiT-B5", 73.8, 65.8),
        ("MIC (Hoyer et al.)", 2023, "yes", "DAFormer, MiT-B5", 75.9, 67.3),
    ],
    columns=[
        "method",
        "year",
        "source images",
        "network",
        "GTA5 (19 classes)",
        "SYNTHIA (16 classes)",
    ],
).set_index("method")
"""mIoU in per cent on Cityscapes, as the papers of these authors print them; not measured by us.

A selection; source networks that were trained with adaptation in mind are left out.
"""


def iou_table(results: dict[str, Any]) -> pd.DataFrame:
    """IoU in per cent by row and class, `mIoU` first.

    NaN where a class never occurs, and everywhere if the target has no labels.
    """
    unknown = {"miou": None, "iou": dict.fromkeys(results["classes"])}
    scores = results["scores"] or dict.fromkeys(results["unlabelled"], unknown)
    table = {title_of(results, row): {"mIoU": s["miou"], **s["iou"]} for row, s in scores.items()}
    return pd.DataFrame(table).T.astype(float)


def score_table(results: dict[str, Any]) -> pd.DataFrame:
    """`iou_table` or, if the target has no labels, `unlabelled_table`."""
    return iou_table(results) if results["scores"] else unlabelled_table(results)


QUARTERS = ("easiest quarter", "second", "third", "hardest quarter")
"""Parts of the images, sorted by severity."""


def severity_table(results: dict[str, Any]) -> pd.DataFrame:
    """mIoU in per cent by quarter of the images (index) and row; no column unless they are drawn."""
    scores = (results["scores"] or {}).items()
    table = {
        title_of(results, row): found["miou_by_severity"]
        for row, found in scores
        if "miou_by_severity" in found
    }
    return pd.DataFrame(table, QUARTERS, dtype=float)


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
