"""Scores of all rows, `results.json`, and the summary at the end of a run."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from iapc_lib.classes import CLASS_SETS
from iapc_lib.config.presets import RECORD
from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.fingerprints import target_fingerprint
from iapc_lib.data.layouts import severities, source_records, target_records
from iapc_lib.evaluation.scores import confusions, judged_by, score_records, scores
from iapc_lib.evaluation.tables import iou_table, unlabelled_table
from iapc_lib.evaluation.without_labels import unlabelled_measures
from iapc_lib.files import file_hash, read_json, write_json
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.pipeline import stages
from iapc_lib.rows import UNTRAINED
from iapc_lib.runs.folder import Run
from iapc_lib.runs.provenance import stages_provenance
from iapc_lib.runs.records import RESULTS_FORMAT, read_run_record

QUARTERS = 4
"""Parts of a drawn split, by severity, that are scored by themselves."""


def rows_of(config: RunConfig) -> list[str]:
    """Names of the rows of the results table, in order."""
    if config.variant is not None:
        return [config.variant.row]
    return [*UNTRAINED, *config.adaptation.methods]


def row_scores(run: Run, row: str, split: str) -> dict[str, Any]:
    """Scores of a row on the target's `dev` or `val`, evaluated once; see `scores.scores`.

    Of drawn images there is `miou_by_severity`, too: of each quarter, from the easiest images to
    the hardest.
    """

    def score(ready: ReadyNetwork) -> dict[str, Any]:
        records = target_records(run.config, split, labels=True)
        severity = severities(run.config)
        records = sorted(records, key=lambda record: severity.get(record.name, 0))
        counts = confusions(ready, records, run.config.evaluation, f"Scoring {row} on {split}")
        judged = judged_by(records)
        found = {"images": len(records)} | scores(counts.sum(dim=0), ready.classes, judged)
        if severity and len(records) >= QUARTERS:
            quarters = (
                scores(part.sum(dim=0), ready.classes, judged)
                for part in counts.tensor_split(QUARTERS)
            )
            found["miou_by_severity"] = [quarter["miou"] for quarter in quarters]
        return found

    return _measured(
        run, f"scores_{row}_{split}", row, target_fingerprint(run.config, split), score
    )


def source_val_scores(run: Run) -> dict[str, Any]:
    """Scores of the source network at home, on the source domain's validation images."""

    def score(ready: ReadyNetwork) -> dict[str, Any]:
        records = source_records(run.config)[1]
        return score_records(ready, records, run.config.evaluation, "Scoring at home")

    stage = "scores_source_home"
    return _measured(run, stage, "source_only", stages.source_data(run, stage, "val"), score)


def row_measures(run: Run, row: str) -> dict[str, float]:
    """What can be known of a row without labels, on the target's training images.

    See `without_labels.MEASURES`.
    """

    def measure(ready: ReadyNetwork) -> dict[str, float]:
        source = stages.network(run, "source_only")
        return unlabelled_measures(ready, source, *labelled, run.config.evaluation)

    labelled = stages.pseudo_labels(run)
    return _measured(run, f"unlabelled_{row}", row, target_fingerprint(run.config), measure)


def _measured(
    run: Run, stage: str, row: str, data: str, measure: Callable[[ReadyNetwork], dict[str, Any]]
) -> dict[str, Any]:
    """What a stage measures of a row's network; the network is loaded only to be measured."""
    inputs = {"network": file_hash(stages.network_file(run, row)), "data": data}

    def make() -> dict[str, Any]:
        stages.data(run)
        return measure(stages.network(run, row))

    return run.stage(stage, inputs, make)


def run_results(run: Run) -> dict[str, Any]:
    """All rows' scores on `val` (and `dev`), written to `results.json`.

    Without a labelled split there are no scores; `unlabelled` has what can be known instead.
    """
    config, rows = run.config, rows_of(run.config)
    table = {
        "format": RESULTS_FORMAT,
        "scenario": config.scenario,
        "variant": config.variant and config.variant.model_dump(),
        "seed": config.seed,
        "classes": list(config.class_set.names),
        "miou_over": {f"miou_{number}": list(s.names) for number, s in CLASS_SETS.items()},
        "scores": {row: row_scores(run, row, "val") for row in rows if config.target.val},
        "dev_scores": {row: row_scores(run, row, "dev") for row in rows if config.target.dev},
        "unlabelled": {row: row_measures(run, row) for row in rows if not config.target.val},
        "provenance": {
            **run.provenance(),
            "origin": read_run_record(run.path(RECORD))["origin"],
            "stages": stages_provenance(run.folder),
        },
    }
    write_json(run.path("results.json"), table)
    return table


SHOWN_CLASSES = ("road", "building", "vegetation", "car", "person", "bicycle")


def summary(run: Run) -> str:
    """The short text at the end of a run: the scores, and where to look."""
    results = read_json(run.path("results.json"), dict[str, Any])
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
