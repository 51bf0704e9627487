"""Charts over many runs; all take tables of `studies.reading` and `studies.tables`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from iapc_lib.figures.charts import COLORS

ROW_HEIGHT = 0.32  # inches


def _panels(table: pd.DataFrame, titles: list[str]) -> tuple[Figure, dict[str, plt.Axes]]:
    """A panel per scenario side by side, with the same rows (`titles`, downwards) on y."""
    scenarios = list(table["scenario"].unique())
    figure, grid = plt.subplots(
        1,
        max(len(scenarios), 1),
        figsize=(3.2 + 3.4 * max(len(scenarios), 1), 1.1 + ROW_HEIGHT * max(len(titles), 2)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.set_yticks(range(len(titles)), titles)
        axes.set_ylim(max(len(titles), 1) - 0.5, -0.5)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    for axes, scenario in zip(grid.flat, scenarios, strict=False):
        axes.set_title(scenario)
    return figure, dict(zip(scenarios, grid.flat, strict=False))


def _titles(table: pd.DataFrame) -> pd.Series:
    """Title by key, in the table's order."""
    return table.drop_duplicates("key").set_index("key")["title"]


def ablation_chart(
    rows: pd.DataFrame, reference: str = "source_only", value: str = "miou"
) -> Figure:
    """Every seed's score as a dot, mean and standard deviation in black, a panel per scenario.

    Args:
        rows: of `reading.read_runs`.
        reference: key of the row whose mean is the dashed line.
        value: the column that is shown, in per cent.
    """
    titles = _titles(rows)
    seeds = sorted(rows["seed"].unique())
    figure, panels = _panels(rows, titles.tolist())
    for scenario, axes in panels.items():
        here = rows[rows["scenario"] == scenario]
        places = titles.index.get_indexer(here["key"])
        for number, seed in enumerate(seeds):
            of_seed = (here["seed"] == seed).to_numpy()
            axes.scatter(
                here[value][of_seed],
                places[of_seed] + 0.18,
                s=16,
                color=COLORS[number % len(COLORS)],
                marker="osD^vP*"[number % 7],
                label=f"seed {seed}",
            )
        means = here.groupby("key")[value].agg(["mean", "std"])
        axes.errorbar(
            means["mean"],
            titles.index.get_indexer(means.index) - 0.12,
            xerr=means["std"].fillna(0),
            fmt="|",
            markersize=9,
            color="black",
            capsize=2,
            label="mean ± std over seeds",
        )
        if reference in means.index:
            line = means.loc[reference, "mean"]
            axes.axvline(line, color="0.4", linestyle="--", linewidth=1, label=titles[reference])
        axes.set_xlabel("mIoU on val (%)")
    if panels:
        handles, labels = next(iter(panels.values())).get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure


def difference_chart(differences: pd.DataFrame, label: str) -> Figure:
    """Mean differences with their intervals, a panel per scenario; the dashed line is zero.

    Args:
        differences: of `tables.paired_differences`. A row without an interval (one pair)
            is an empty dot.
        label: what is compared with what, for the axis.
    """
    table = differences.reset_index()
    titles = _titles(table)
    figure, panels = _panels(table, titles.tolist())
    for scenario, axes in panels.items():
        here = table[table["scenario"] == scenario]
        axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
        for row in here[here["pairs"] > 0].itertuples():
            place = titles.index.get_loc(row.key)
            clear = row.low > 0 or row.high < 0
            color = COLORS[0] if clear else "0.45"
            if row.pairs > 1:
                axes.plot([row.low, row.high], [place, place], color=color, linewidth=2)
            filled = color if row.pairs > 1 else "none"
            axes.scatter(row.difference, place, s=30, color=filled, edgecolor=color, zorder=3)
        axes.set_xlabel(label)
    return figure


def class_change_map(changes: pd.DataFrame) -> Figure:
    """Change of every class's IoU by row, in points, below one another by scenario.

    Args:
        changes: of `tables.class_changes`. Classes that never occur in a scenario, and rows
            without a pair, are left out.
    """
    import seaborn as sns

    changes = changes[changes.drop(columns="title").notna().any(axis=1)]
    scenarios = changes.index.get_level_values("scenario").unique()
    heights = [len(changes.loc[name]) for name in scenarios]
    figure, grid = plt.subplots(
        max(len(scenarios), 1),
        1,
        figsize=(10.5, 1.6 + sum(0.9 + ROW_HEIGHT * height for height in heights)),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": [height + 1 for height in heights] or None},
    )
    values = changes.drop(columns="title").astype(float)
    limit = np.nanmax(np.abs(values.to_numpy()), initial=1.0)
    for axes, scenario in zip(grid.flat, scenarios, strict=False):
        here = (values.round() + 0.0).loc[scenario].set_axis(changes.loc[scenario, "title"], axis=0)
        here = here.loc[:, here.notna().any()]
        sns.heatmap(
            here,
            ax=axes,
            cmap="PuOr",
            vmin=-limit,
            vmax=limit,
            annot=True,
            fmt=".0f",
            annot_kws={"fontsize": 7},
            linewidths=0.5,
            cbar_kws={"label": "change of IoU (points)", "pad": 0.01},
        )
        axes.set(xlabel="", ylabel="", title=scenario)
        axes.tick_params(length=0, labelsize=8)
        plt.setp(axes.get_xticklabels(), rotation=45, ha="right")
    return figure
