"""The results as tables: `results.json` to pandas, and the short text at the end of a run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from iapc_lib.classes import CLASS_SETS
from iapc_lib.runs import Run, RunFolderError, read_json

RESULTS_FORMAT = 2
"""Of `results.json`; those of another format are set aside."""

ROW_NAMES = {
    "source_only": "source only",
    "bn_recomputed": "BatchNorm recomputed",
    "tent": "TENT",
    "self_training": "self-training",
    "self_training_confident": "self-training, confident pixels",
    "iapc": "IAPC",
    "iapc_bn_teacher": "IAPC, BN teacher (ours)",
}
"""Rows of `results.json` as people read them."""

PUBLISHED = pd.DataFrame(
    [
        ("GTA5 -> Cityscapes", 19, 36.6, 49.4),
        ("SYNTHIA -> Cityscapes", 16, 35.2, 45.3),
        ("SYNTHIA -> Cityscapes", 13, 40.5, 52.6),
    ],
    columns=["scenario", "classes", "source only", "IAPC"],
)
"""mIoU in per cent as the paper prints them; measured by its authors, not by us."""

SHOWN_CLASSES = ("road", "building", "vegetation", "car", "person", "bicycle")


def row_title(results: dict[str, Any], row: str) -> str:
    """A row of a `results.json` as people read it; a variant's has the variant's title."""
    return results["variant"]["title"] if results["variant"] else ROW_NAMES[row]


def iou_table(results: dict[str, Any]) -> pd.DataFrame:
    """IoU in per cent by row and class, `mIoU` first; NaN where a class never occurs."""
    table = pd.DataFrame(
        {
            row_title(results, row): {"mIoU": scores["miou"], **scores["iou"]}
            for row, scores in results["scores"].items()
        }
    ).T
    return table.astype(float)


def unlabelled_table(results: dict[str, Any]) -> pd.DataFrame:
    """What can be known without labels, in per cent, by row; see `unlabelled.MEASURES`."""
    table = pd.DataFrame(results["unlabelled"]).T.astype(float)
    return table.rename(index=ROW_NAMES, columns=lambda name: name.replace("_", " "))


def seeds_table(results: Iterable[dict[str, Any]], scores: str = "scores") -> pd.DataFrame:
    """mIoU over several runs: mean, standard deviation and number of seeds, by scenario and row.

    Args:
        results: contents of `results.json` files.
        scores: `scores` (on `val`) or `dev_scores`.
    """
    long = pd.DataFrame(
        [
            {"scenario": r["scenario"], "row": row_title(r, row), "mIoU": s["miou"]}
            for r in results
            for row, s in r[scores].items()
        ]
    )
    grouped = long.groupby(["scenario", "row"], sort=False)["mIoU"]
    return grouped.agg(mean="mean", std="std", seeds="count")


def format_scores(scores: dict[str, Any], format: str = "text") -> str:
    """The IoU table of one network as `text`, `json` or `latex` (booktabs).

    Args:
        scores: as `evaluation.evaluate_checkpoint` returns them.
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


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All `results.json` of the run folders directly below `folder`, in the order of their names.

    One that is damaged or of another version is left out with a warning that names it.
    """
    found = []
    for path in sorted(folder.glob("*/results.json")):
        try:
            results = read_json(path)
        except RunFolderError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        if not isinstance(results, dict) or results.get("format") != RESULTS_FORMAT:
            warnings.warn(f"left out: {path} is of another version; run it again", stacklevel=2)
            continue
        if missing := {"scenario", "seed", "variant", "scores", "provenance"} - results.keys():
            warnings.warn(f"left out: {path} has no {', '.join(sorted(missing))}", stacklevel=2)
            continue
        found.append(results)
    return found


def summary(run: Run) -> str:
    """The short text at the end of a run: the scores, and where to look."""
    results = read_json(run.path("results.json"))
    if results["scores"]:
        title = "IoU in per cent on the target's val, its mean over so many classes"
        table = iou_table(results)
        columns = [name for name in SHOWN_CLASSES if name in table.columns]
        camvid = run.config.target.layout == "camvid"
        means = {
            f"mIoU over {number}": [row[f"miou_{number}"] for row in results["scores"].values()]
            for number in CLASS_SETS
            if all(row[f"miou_{number}"] is not None for row in results["scores"].values())
            and (number == 11) == camvid
        }
        table = pd.concat([pd.DataFrame(means, table.index), table[columns]], axis=1)
    else:
        title = "no labels, so no scores; what can be known without them, in per cent"
        table = unlabelled_table(results)
    return "\n".join(
        [
            "",
            f"{results['scenario']}, seed {results['seed']}: {title}",
            table.to_string(float_format=lambda value: f"{value:.1f}"),
            "",
            f"executed notebooks  {run.path('notebooks')}",
            f"figures             {run.path('figures')}",
            f"all numbers         {run.path('results.json')}",
        ]
    )
