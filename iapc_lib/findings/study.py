"""What many runs say together."""

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame, Series

from iapc_lib.findings.wording import listed


def difference(table: DataFrame, key: str, other: str) -> str:
    """Whether one method is above another, in every scenario, with its interval.

    Args:
        table: of `studies.tables.paired_differences` to the other method.
        key: of the method.
        other: title of the other one.
    """
    if key not in table.index.get_level_values("key"):
        return ""
    here = table.xs(key, level="key").dropna(subset=["difference"])
    if here.empty:
        return ""
    verdicts = np.select(
        [here["low"] > 0, here["high"] < 0], ["is above", "is below"], "cannot be told from"
    )
    rounded = here[["difference", "low", "high"]].round(1) + 0.0  # no -0.0
    numbers = [
        f"{row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f}) in {scenario}"
        for scenario, row in rounded.iterrows()
    ]
    title = here["title"].iloc[0]
    title = f"**{title[0].upper()}{title[1:]}**"
    if len(set(verdicts)) == 1:
        return f"{title} {verdicts[0]} {other}: {listed(numbers)}."
    pairs = zip(verdicts, numbers, strict=True)
    return f"{title} {listed([f'{verdict} {other}: {number}' for verdict, number in pairs])}."


def every_seed(gains: DataFrame) -> str:
    """Which methods gain with every seed, lose with every seed, or do either.

    Args:
        gains: in points, by method (index) and seed (columns, of any number of levels).
    """
    up, down = (gains > 0).all(axis=1), (gains < 0).all(axis=1)
    kinds = {
        "Gain with every seed": up,
        "Loss with every seed": down,
        "Now one, now the other": ~(up | down),
    }
    return " ".join(
        f"{what}: {listed(list(gains.index[chosen]))}."
        for what, chosen in kinds.items()
        if chosen.any()
    )


def missing_runs(names: Sequence[str]) -> str:
    """Which runs of a study are missing, by what follows the seed in their names.

    Args:
        names: of run folders, `<scenario>-seed<seed>-<variant>`.
    """
    if not len(names):
        return "No run is missing."
    kinds = Series(names).str.replace(r"^.*-seed\d+-?", "", regex=True).value_counts(sort=False)
    counts = sorted(set(kinds))
    each = f"{counts[0]} each" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} each"
    return f"{len(names)} runs that the study describes are missing ({each}): {listed(list(kinds.index))}."


def shared_starts(scores: DataFrame) -> str:
    """Which seeds begin with one source network: they are no independent experiments.

    Args:
        scores: of `studies.reading.read_runs`.
    """
    source = scores[scores["key"] == "source_only"]
    found = {
        tuple(sorted(group["seed"]))
        for _, group in source.groupby(["scenario", "miou"])
        if len(group) > 1
    }
    if not found:
        return "Every seed has a source network of its own."
    groups = listed([f"seeds {listed([str(seed) for seed in seeds])}" for seeds in sorted(found)])
    return (
        f"Each of these groups begins with one source network: {groups}. They are no independent experiments, "
        "and the intervals are a little too narrow."
    )


def clear_of_zero(table: DataFrame) -> str:
    """How many intervals keep clear of zero, and how many would by chance.

    Args:
        table: of `studies.tables.paired_differences`.
    """
    intervals = table[table["pairs"] > 1]
    above, below = (intervals["low"] > 0).sum(), (intervals["high"] < 0).sum()
    return (
        f"Of {len(intervals)} intervals {above} lie above zero and {below} below; "
        f"{0.05 * len(intervals):.1f} would keep clear of it by chance alone."
    )


def pairing(spreads: DataFrame) -> str:
    """Whether subtraction within a seed narrows the spread of a difference.

    Args:
        spreads: standard deviations `paired` and `as if independent`, by scenario and what is
            compared; may be empty.
    """
    spreads = spreads.dropna()
    if spreads.empty:
        return "Pairing needs two methods with two seeds."
    ratio = spreads["paired"] / spreads["as if independent"]

    def told(place: tuple[str, str]) -> str:
        row = spreads.loc[place]
        return f"{place[1]} in {place[0]}, {row.iloc[0]:.2f} instead of {row.iloc[1]:.2f}"

    said = [f"Pairing narrows the spread in {(ratio < 1).sum()} of {len(ratio)} comparisons"]
    said[0] += f", most for {told(ratio.idxmin())}." if ratio.min() < 1 else "."
    if ratio.max() >= 1:
        said.append(f"It widens it for {told(ratio.idxmax())}.")
    return " ".join(said)


def all_alike(changes: DataFrame) -> str:
    """Which classes every method helps, which none does, and the largest change of all.

    Args:
        changes: of `studies.tables.class_changes`; may be empty.
    """
    values = changes.drop(columns="title", errors="ignore").astype(float)
    if values.stack().dropna().empty:
        return "There is nothing to compare."
    titles, said = changes["title"], []
    for scenario, here in values.groupby(level="scenario", sort=False):
        here = here.dropna(axis=1, how="all").dropna(how="all")
        up, down = (list(here.columns[(sign * here > 0).all()]) for sign in (1, -1))
        place = here.abs().stack().idxmax()
        most = f"{titles[place[:2]]} changes {place[2]} most ({here.loc[place[:2], place[2]]:+.0f})"
        kinds = {"every method helps": up, "every method harms": down}
        alike = [f"{what} {listed(names)}" for what, names in kinds.items() if names]
        said.append(f"In {scenario} {' and '.join(alike) or 'no class fares alike'}; {most}.")
    return " ".join(said)


def way_to_the_oracle(table: DataFrame) -> str:
    """Which part of the oracle's gain IAPC has.

    Args:
        table: of `studies.tables.paired_differences` to source only.
    """
    wide = table["difference"].unstack("key", sort=False)
    if not {"iapc", "oracle"} <= set(wide):
        return ""
    parts = (wide["iapc"] / wide["oracle"]).dropna()
    said = listed([f"{part:.0%} in {scenario}" for scenario, part in parts.items()])
    return f"IAPC goes {said} of the oracle's way."


def same_seed_first(scores: DataFrame) -> str:
    """Whether one seed is lowest in all methods of a scenario: then all inherit its luck.

    Args:
        scores: of `studies.reading.read_runs`.
    """
    said = []
    for scenario, group in scores.groupby("scenario", sort=False):
        table = group.pivot_table("miou", "key", "seed").dropna()
        if table.shape[1] > 1 and len(table):
            lowest = table.idxmin(axis=1).value_counts()
            how_many = f"{lowest.iloc[0]} of {len(table)} methods of {scenario}"
            said.append(f"seed {lowest.index[0]} is the lowest in {how_many}")
    return f"Most often {listed(said)}." if said else "There is only one seed."


def measured_means(rows: DataFrame, titles: Sequence[str]) -> str:
    """Mean mIoU over the measured seeds of some methods; see `studies.reading.read_runs`.

    Args:
        rows: of `read_runs`.
        titles: of the methods; those that nobody measured are left out.
    """
    said = []
    for scenario, here in rows[rows["title"].isin(titles)].groupby("scenario", sort=False):
        means, seeds = here.groupby("title")["miou"].mean(), here["seed"].nunique()
        scores = [f"{title} {means[title]:.1f}" for title in titles if title in means]
        said.append(f"in {scenario} {listed(scores)} ({seeds} seed{'s' * (seeds != 1)})")
    return f"Mean mIoU {listed(said)}." if said else "Nobody has measured these methods."


def against_recomputed(scores: DataFrame) -> str:
    """IAPC beside the two networks that nothing was trained for, seed by seed.

    Args:
        scores: mIoU in per cent by seed (index) and title of the method (columns).
    """
    others = [name for name in ("source only", "BatchNorm recomputed") if name in scores]
    if "IAPC" not in scores or not others or scores.empty:
        return "Nobody has measured this."
    said = []
    for other in others:
        gain = scores["IAPC"] - scores[other]
        side = (
            "above" if gain.gt(0).all() else "below" if gain.lt(0).all() else "now above, now below"
        )
        low, high = sorted((gain.abs().min(), gain.abs().max()))
        said.append(f"{side} {other} by {low:.1f} to {high:.1f} points")
    return f"Seed by seed IAPC is {listed(said)}."
