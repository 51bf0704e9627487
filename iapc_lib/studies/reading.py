"""Many runs: reads every `results.json` under a folder, and says what is not there, and why.

The tables over what was read are those of `tables`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from iapc_lib.config.presets import read_variant, with_defaults
from iapc_lib.config.run_config import SHARED_FIELDS
from iapc_lib.files import FileError, fingerprint, read_json, visible_files
from iapc_lib.paths import resolve
from iapc_lib.rows import ORDER, UNTRAINED, title_of
from iapc_lib.runs.records import RESULTS_FORMAT, notebook_error
from iapc_lib.studies.plan import Study, read_study

MIOU = ("miou", "miou_19", "miou_16", "miou_13", "miou_11")
"""Columns of means over classes; `miou` is over the classes of the run."""

CLASS_PREFIX = "IoU "
"""Of the columns of single classes."""

COLUMNS = (
    *("scenario", "seed", "key", "title", *MIOU, "folder"),
    *("commit", "modified", "sources", "stage_commits", "settings", "shared_settings", "time"),
)


@dataclass(frozen=True)
class Runs:
    """What `read_runs` found.

    `rows`: a line a score, with the columns of `COLUMNS`, then those of the classes
    (`CLASS_PREFIX`). IoU is in per cent, NaN where a class never occurs. `key` is the name of the
    variant, or of the row where a run has several. `folder` is the run's, relative to that of the
    study. `commit`: the code that wrote the scores; `stage_commits`, `sources` (hashes): all the
    code that was at work, from source training on; `modified`: some of it had changes that no
    commit holds. `settings` and `shared_settings` are fingerprints of the configuration, see
    `remarks`; a run with other settings than most of its `key` is kept apart, as `key [2]`.

    `set_aside`: files that were not used (`path`, `reason`). `unfinished`: runs without scores
    (`run`, `state`: failed, unfinished or missing, `reason`).
    """

    rows: pd.DataFrame
    set_aside: pd.DataFrame
    unfinished: pd.DataFrame

    @property
    def remarks(self) -> list[str]:
        """What a reader of the tables has to know: sentences, none if all runs are alike."""
        found = []
        for scenario, group in self.rows.groupby("scenario", sort=False):
            if group["shared_settings"].nunique() > 1:
                found.append(
                    f"{scenario}: data, source training or evaluation were set differently in "
                    f"{_grouped(group, 'shared_settings')}; their scores cannot be compared"
                )
        for (scenario, key), group in self.rows.groupby(["scenario", "key"], sort=False):
            if key.endswith("]"):
                found.append(
                    f"{scenario}, {key}: {', '.join(group['folder'])} ran with other settings than "
                    f"most runs of {key.rpartition(' [')[0]}, and are kept apart"
                )
        runs = self.rows.drop_duplicates("folder")
        if len({version for versions in runs["sources"] for version in versions.split()}) > 1:
            commits = ", ".join(
                f"{names or 'no commit'} ({number} runs)"
                for names, number in runs.groupby("stage_commits").size().items()
            )
            found.append(f"several versions of the library's code were at work: {commits}")
        if runs["modified"].any():
            found.append(
                f"{runs['modified'].sum()} of {len(runs)} runs were made by code with changes that "
                "no commit holds (`modified` in the list of runs): they cannot be repeated exactly"
            )
        return found


def read_runs(
    folder: str | Path,
    study: str | Path | Mapping[str, Any] | None = None,
    depth: int | None = None,
) -> Runs:
    """Reads all finished runs under a folder.

    What cannot be used is set aside, never an error: files that are damaged, of another format or
    without scores. A row that two runs have for the same scenario and seed is taken from the
    first of them (by path), and the other is set aside.

    Args:
        folder: holds run folders, or folders with nothing but their `results.json`.
        study: YAML file of a study, or its fields; names the order of the rows and the runs that
            are expected. None: nothing is.
        depth: how many levels below `folder` the run folders lie; None: on any.

    Raises:
        FileError: there is no such folder.
        ConfigError: the study is none.
    """
    folder = resolve(folder)
    if not folder.is_dir():
        raise FileError(f"{folder}: is no folder; name one that holds run folders")
    expected = None if study is None else read_study(study)
    below = "**/" if depth is None else "*/" * depth
    lines: dict[tuple, dict[str, Any]] = {}
    set_aside = []
    for path in sorted(folder.glob(f"{below}results.json")):
        place = path.relative_to(folder).as_posix()
        try:
            found = list(
                _lines(read_json(path, dict[str, Any]), path.parent.relative_to(folder).as_posix())
            )
        except FileError as error:
            set_aside.append((place, str(error).removeprefix(f"{path}: ")))
        except ValueError as error:
            set_aside.append((place, str(error)))
        else:
            for line in found:
                same = ("scenario", "seed", "key", "settings")
                first = lines.setdefault(tuple(line[name] for name in same), line)
                if first is not line:
                    set_aside.append((place, _conflict(first, line)))
    rows = _sorted(pd.DataFrame(_kept_apart(list(lines.values()))), expected)
    return Runs(
        rows,
        pd.DataFrame(set_aside, columns=["path", "reason"]),
        _unfinished(folder, below, rows, [Path(place) for place, _ in set_aside], expected),
    )


def _lines(results: Mapping[str, Any], folder: str) -> Iterator[dict[str, Any]]:
    """The lines of one `results.json`; ValueError says why it has none."""
    if "format" not in results:
        raise ValueError("is no results of a run (it names no format)")
    if results["format"] != RESULTS_FORMAT:
        raise ValueError(
            f"is of format {results['format']}, not {RESULTS_FORMAT}; run it again to renew it"
        )
    try:
        if not results["scores"]:
            raise ValueError("has no scores: its target has no labels")
        provenance = results["provenance"]
        code = provenance["code"]
        made_by = [code, *(stage["code"] for stage in provenance["stages"].values())]
        commits = sorted({version["git"] for version in made_by if version["git"]})
        config = with_defaults(provenance["config"])
        if not (isinstance(results["scenario"], str) and isinstance(results["seed"], int)):
            raise ValueError("damaged: its scenario or seed is none")
        settings = fingerprint(_settings(config))
        shared = fingerprint(_settings({k: config[k] for k in SHARED_FIELDS}))
        about = {
            "folder": folder,
            "commit": code["git"],
            "modified": any(
                version.get("modified") or str(version["git"]).endswith("-dirty")
                for version in made_by
            ),
            "sources": " ".join(sorted({version["sources_sha256"] for version in made_by})),
            "stage_commits": " ".join(commits),
            "shared_settings": shared,
            "time": provenance["time"],
        }
        for row, scores in results["scores"].items():
            yield {
                "scenario": results["scenario"],
                "seed": results["seed"],
                "key": results["variant"]["name"] if results["variant"] else row,
                "title": title_of(results, row),
                **pd.Series({name: scores[name] for name in MIOU}, dtype=float),
                **about,
                # Nothing else matters where nothing is adapted.
                "settings": shared if row in UNTRAINED else settings,
                **pd.Series(scores["iou"], dtype=float).add_prefix(CLASS_PREFIX),
            }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged: lacks a part that results have ({error})") from None


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what may differ between comparable runs: seed, rows and places."""
    # The run's own seed: that of `miniature` says which world is drawn.
    aside = ("seed", "hardware", "variant")
    return {key: _without_places(value) for key, value in config.items() if key not in aside}


def _without_places(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    aside = ("methods", "snapshots", "folder", "root", "checkpoint")  # seeds may have networks each
    return {key: _without_places(inner) for key, inner in value.items() if key not in aside}


def _kept_apart(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines with other settings than most of their key get a key of their own: no mean mixes them."""
    kinds: dict[tuple, Counter] = defaultdict(Counter)
    for line in lines:
        kinds[line["scenario"], line["key"]][line["settings"]] += 1
    for line in lines:
        ranked = [kind for kind, _ in kinds[line["scenario"], line["key"]].most_common()]
        if (number := ranked.index(line["settings"])) > 0:
            line["key"] += f" [{number + 1}]"
            line["title"] += f" [{number + 1}]"
    return lines


def _conflict(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    same = "the same mIoU" if first["miou"] == second["miou"] else "another mIoU"
    return (
        f"{first['scenario']}, seed {first['seed']}, {first['key']}: is in {first['folder']} "
        f"already, with {same} ({first['miou']:.2f} there, {second['miou']:.2f} here)"
    )


def _grouped(rows: pd.DataFrame, column: str) -> str:
    groups = rows.groupby(column, sort=False)["folder"].unique()
    return " | ".join(", ".join(folders) for folders in groups)


def _sorted(rows: pd.DataFrame, study: Study | None) -> pd.DataFrame:
    """Lines in the study's order of scenarios and variants, else that of `ORDER`; then by seed."""
    if rows.empty:
        kinds = dict.fromkeys(MIOU, float) | {"seed": int, "modified": bool}
        return pd.DataFrame(columns=COLUMNS).astype(kinds)
    scenarios = list(study.presets) if study else []
    keys = list(dict.fromkeys([*(study.variant_paths if study else ()), *ORDER]))
    last = len(keys)
    order = rows.assign(
        _scenario=[scenarios.index(s) if s in scenarios else last for s in rows["scenario"]],
        _key=[keys.index(k) if k in keys else last for k in rows["key"]],
    ).sort_values(["_scenario", "scenario", "_key", "key", "seed"])
    return rows.loc[order.index].reset_index(drop=True)


def _unfinished(
    folder: Path, below: str, rows: pd.DataFrame, set_aside: list[Path], study: Study | None
) -> pd.DataFrame:
    """Runs without scores: those that left a folder, then those that a study expects besides."""
    scenarios = list(study.presets) if study else []
    bases = {f"{name}-seed{seed}" for name in scenarios for seed in (study.seeds if study else ())}
    found = []
    for about in sorted(folder.glob(f"{below}run.json")):
        run = about.parent
        if run.joinpath("results.json").exists():
            continue
        error = _notebook_error(run)
        is_base = run.name in bases or any(run.parent.glob(f"{run.name}-*/run.json"))
        done = sorted(
            visible_files(run / "stages", "*.json"), key=lambda path: path.stat().st_mtime
        )
        done = [path.stem for path in done if not path.stem.startswith("notebook_")]
        if error:
            found.append((run.relative_to(folder).as_posix(), "failed", error))
        elif not (is_base and "pseudo_labels" in done):
            last = f"last finished stage: {done[-1]}" if done else "no stage is finished"
            found.append((run.relative_to(folder).as_posix(), "unfinished", last))
    known = {Path(name).name for name, _, _ in found} | {path.parent.name for path in set_aside}
    scored = set(zip(rows["scenario"], rows["seed"], rows["key"], strict=True))
    for scenario in scenarios:
        for seed in study.seeds:
            for variant in study.variant_paths:
                name = f"{scenario}-seed{seed}-{variant}"
                if name not in known and (scenario, seed, variant) not in scored:
                    title = read_variant(study.variant_paths[variant])["title"]
                    found.append((name, "missing", f"the study expects it: {title}"))
    return pd.DataFrame(found, columns=["run", "state", "reason"])


def _notebook_error(run: Path) -> str | None:
    """Notebook, name and first line of the last error in a run's executed notebooks."""
    last = None
    for path in visible_files(run / "notebooks", "*.ipynb"):
        try:
            error = notebook_error(path)
        except FileError:
            continue  # half written when the run was killed: not finished, and that is all
        if error:
            last = f"{path.stem}: {error.splitlines()[0]}"
    return last
