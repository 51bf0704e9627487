"""Tables over many runs: means, differences within a seed, classes; and their export.

All take the rows of `reading.read_runs`, and return tables with the index (scenario, key), in the
order of those rows. All numbers are in per cent, or in points (differences of per cent).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from iapc_lib.evaluation.tables import PUBLISHED, QUARTERS, severity_table
from iapc_lib.files import atomic_path, read_json
from iapc_lib.paths import resolve
from iapc_lib.studies.reading import CLASS_PREFIX, Runs

GROUP = ["scenario", "key"]


def mean_table(rows: pd.DataFrame, value: str = "miou") -> pd.DataFrame:
    """Mean, sample standard deviation (n - 1; NaN for one seed) and number of seeds.

    Args:
        rows: of `reading.read_runs`.
        value: the column; one of `reading.MIOU`.

    Returns:
        Columns `title`, `mean`, `std`, `seeds`.
    """
    return rows.groupby(GROUP, sort=False).agg(
        title=("title", "first"), mean=(value, "mean"), std=(value, "std"), seeds=(value, "count")
    )


def paired_differences(
    rows: pd.DataFrame, reference: str, value: str = "miou", confidence: float = 0.95
) -> pd.DataFrame:
    """Mean difference to a reference row of the same scenario and seed, with its t interval.

    The interval is mean ± t(n - 1) s / sqrt(n) over the n seeds that both rows have: it takes the
    differences for independent draws of a normal distribution.

    Args:
        rows: of `reading.read_runs`.
        reference: key of the row that the others are compared with.
        value: the column; one of `reading.MIOU`.
        confidence: that the interval holds the true mean.

    Returns:
        Columns `title`, `difference`, `low`, `high` (NaN below two pairs), `pairs` (0 where the
        scenario has no reference); no line for the reference itself.
    """
    from scipy import stats  # takes a second

    differences = _differences(rows, [value], reference)
    grouped = differences.groupby(GROUP, sort=False)
    pairs = grouped[value].count()
    half = grouped[value].sem() * stats.t.ppf(
        0.5 + confidence / 2, (pairs - 1).where(pairs > 1).to_numpy(float)
    )
    mean = grouped[value].mean()
    table = {"title": grouped["title"].first(), "difference": mean}
    return pd.DataFrame(table | {"low": mean - half, "high": mean + half, "pairs": pairs})


def paired_spreads(
    rows: pd.DataFrame, pairs: Sequence[tuple[str, str]], value: str = "miou"
) -> pd.DataFrame:
    """Whether subtraction within a seed takes out what both rows of a pair share.

    Args:
        rows: of `reading.read_runs`.
        pairs: keys of the rows that are compared; one that a scenario lacks is left out of it.
        value: the column; one of `reading.MIOU`.

    Returns:
        Standard deviations over seeds, by scenario and pair (`A minus B`): `paired`, of the
        differences within a seed, and `as if independent`, what they would have if the two rows
        shared nothing. NaN below two seeds.
    """
    titles = rows.drop_duplicates("key").set_index("key")["title"]
    lines = {}
    for scenario, group in rows.groupby("scenario", sort=False):
        scores = group.pivot_table(value, "seed", "key")
        for key, other in pairs:
            if key in scores and other in scores:
                both = scores[[key, other]].dropna()
                lines[scenario, f"{titles[key]} minus {titles[other]}"] = {
                    "paired": (both[key] - both[other]).std(),
                    "as if independent": both.var().sum(skipna=False) ** 0.5,
                }
    columns = ["paired", "as if independent"]
    index = pd.MultiIndex.from_tuples(lines, names=["scenario", "what"]) if lines else None
    return pd.DataFrame(list(lines.values()), index, columns, dtype=float)


def class_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean IoU over seeds by class (columns, after `title`); NaN where it never occurs."""
    return _class_means(rows, _class_columns(rows))


def class_changes(rows: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Mean difference to the reference row of the same seed by class; columns of `class_table`."""
    classes = _class_columns(rows)
    return _class_means(_differences(rows, classes, reference), classes)


def overview(means: pd.DataFrame) -> pd.DataFrame:
    """A `mean_table` for readers: rows by scenarios, `mean ± std (seeds)` in each cell."""
    cells = means.apply(
        lambda row: (
            f"{row['mean']:.1f}"
            + (f" ± {row['std']:.1f}" if row["seeds"] > 1 else "")
            + f" ({row['seeds']})"
        ),
        axis=1,
    )
    table = means.assign(cell=cells.astype(object)).reset_index()
    titles = table.drop_duplicates("key").set_index("key")["title"]
    wide = table.pivot(index="key", columns="scenario", values="cell")
    wide = wide.reindex(index=titles.index, columns=table["scenario"].unique())
    return wide.set_axis(titles, axis=0).rename_axis(index="method", columns=None).fillna("--")


def severity_means(folder: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Mean mIoU over seeds by quarter of the images, sorted by severity.

    Args:
        folder: that the rows were read from.
        rows: of `reading.read_runs`; those whose images have no severity are left out.

    Returns:
        A line for each scenario and title, a column for each quarter.
    """
    found = []
    for (scenario, place), group in rows.groupby(["scenario", "folder"], sort=False):
        table = severity_table(read_json(resolve(folder) / place / "results.json")).T
        titles = [title for title in group["title"] if title in table.index]
        found.append(table.loc[titles].assign(scenario=scenario))
    table = pd.concat(found) if found else pd.DataFrame(columns=[*QUARTERS, "scenario"])
    table.index.name = "method"
    return table.groupby(["scenario", "method"], sort=False)[list(QUARTERS)].mean()


def study_tables(rows: pd.DataFrame, references: Sequence[str]) -> dict[str, pd.DataFrame]:
    """All tables by name, as `export` writes them; the published rows are one of their own."""
    means = mean_table(rows)
    tables = {"means": means, "overview": overview(means), "classes": class_table(rows)}
    for name in references:
        tables[f"differences_to_{name}"] = paired_differences(rows, name)
        tables[f"class_changes_to_{name}"] = class_changes(rows, name)
    return tables | {"published": PUBLISHED}


def export(runs: Runs, tables: Mapping[str, pd.DataFrame], folder: str | Path) -> list[Path]:
    """Writes tables as CSV (all digits), Markdown and LaTeX (booktabs; one decimal each).

    `problems.csv` names what was set aside, failed or is missing. `runs.csv`, written last, has
    every single score with its run folder and code version.

    Raises:
        FileError: a file cannot be written.
    """
    folder = resolve(folder)
    texts = {}
    for name, table in tables.items():
        flat = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
        texts[f"{name}.csv"] = flat.to_csv(index=False)
        shown = flat.drop(columns="key", errors="ignore")
        texts[f"{name}.md"] = shown.to_markdown(index=False, floatfmt=".1f", missingval="--") + "\n"
        texts[f"{name}.tex"] = _latex(shown)
    problems = [
        runs.set_aside.rename(columns={"path": "run"}).assign(state="set aside"),
        runs.unfinished,
    ]
    texts["problems.csv"] = pd.concat(problems)[["run", "state", "reason"]].to_csv(index=False)
    texts["runs.csv"] = runs.rows.to_csv(index=False)
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text)
    return [folder / name for name in texts]


def _latex(table: pd.DataFrame) -> str:
    styler = table.style.hide(axis="index").format(precision=1, na_rep="--", escape="latex")
    styler = styler.format_index(axis="columns", escape="latex")
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    columns = "".join("r" if is_number else "l" for is_number in numeric)
    text = styler.to_latex(hrules=True, column_format=columns)
    return text.replace("->", r"$\rightarrow$").replace("±", r"$\pm$")


def _class_columns(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows if name.startswith(CLASS_PREFIX)]


def _class_means(rows: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    means = {"title": "first"} | dict.fromkeys(classes, "mean")
    table = rows.groupby(GROUP, sort=False)[list(means)].agg(means)
    return table.rename(columns=lambda name: name.removeprefix(CLASS_PREFIX))


def _differences(rows: pd.DataFrame, values: list[str], reference: str) -> pd.DataFrame:
    """Every row but the reference, its `values` minus those of the reference of its seed."""
    pair = ["scenario", "seed"]
    references = rows[rows["key"] == reference].set_index(pair)[values]
    others = rows[rows["key"] != reference].reset_index(drop=True)
    theirs = references.reindex(pd.MultiIndex.from_frame(others[pair])).to_numpy(float)
    changes = pd.DataFrame(others[values].to_numpy(float) - theirs, columns=values)
    return pd.concat([others[[*GROUP, "seed", "title"]], changes], axis=1)
