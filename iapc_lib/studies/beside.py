"""What lies beside a run in the same folder: other methods, under the same settings."""

from collections.abc import Sequence

import pandas as pd

from iapc_lib.config.presets import different, dotted
from iapc_lib.files import read_json
from iapc_lib.networks.checkpoints import load_ready
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.rows import ROWS, title_of
from iapc_lib.runs.folder import Run
from iapc_lib.studies.reading import read_runs
from iapc_lib.training.monitor import dev_curve


def beside(run: Run) -> pd.DataFrame:
    """The run's own lines of `reading.read_runs`, and those of comparable runs in the same folder.

    Comparable are runs of the same scenario and seed whose data, source network, pseudo-labels
    and evaluation are set alike. Without labels there is nothing to compare.
    """
    rows = read_runs(run.folder.parent, depth=1).rows
    own = rows[rows["folder"] == run.folder.name]
    alike = rows["shared_settings"].isin(own["shared_settings"])
    same = (rows["scenario"] == run.config.scenario) & (rows["seed"] == run.config.seed)
    return rows[alike & same]


def dev_scores(
    run: Run, rows: pd.DataFrame, titles: Sequence[str]
) -> tuple[dict[str, pd.Series], dict[str, float]]:
    """mIoU on `dev`, in per cent, of methods that lie beside a run.

    Args:
        run: open run folder.
        rows: of `beside`.
        titles: of the methods that are wanted; those that have no score are left out.

    Returns:
        Over the updates for methods that were trained, and one number for the others.
    """
    lines, levels = {}, {}
    for folder in rows["folder"].unique():
        results = read_json(run.folder.parent / folder / "results.json")
        for row, found in (results.get("dev_scores") or {}).items():
            title = title_of(results, row)
            if title not in titles:
                continue
            history = run.folder.parent / folder / f"history_{row}.json"
            looks = dev_curve(read_json(history)) if ROWS[row].update and history.exists() else []
            if looks:
                lines[title] = pd.Series(dict(looks))
            else:
                levels[title] = found["miou"]
    return lines, levels


def network_beside(run: Run, rows: pd.DataFrame, row: str) -> tuple[str, ReadyNetwork] | None:
    """Title and network of another method that lies beside a run; None where there is none.

    Args:
        run: open run folder.
        rows: of `beside`.
        row: name of the method.
    """
    others = rows[(rows["key"] == row) & (rows["folder"] != run.folder.name)]
    for folder, title in zip(others["folder"], others["title"], strict=True):
        path = run.folder.parent / folder / f"{ROWS[row].file}.safetensors"
        if path.exists() and path.with_suffix(".json").exists():
            return title, load_ready(path, run.machine, run.config)
    return None


def changed_settings(run: Run, base: Run, names: tuple[str, str]) -> pd.DataFrame:
    """The settings, by dotted key, in which a run differs from another one, with both values.

    Args:
        run: open run folder.
        base: open run folder of the other one.
        names: of the columns, the other one's first.
    """
    fields = [dotted(r.config.model_dump(exclude={"variant", "hardware"})) for r in (base, run)]
    return pd.DataFrame.from_dict(different(*fields), "index", object, [*names])
