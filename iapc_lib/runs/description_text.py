"""`description.describe` and `description.compare` as text, for `iapc show` and `iapc diff`."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from iapc_lib.rows import TITLES


def format_run(run: Mapping[str, Any], all_fields: bool = False) -> str:
    """What made a run, for people.

    Args:
        run: as `description.describe` returns it.
        all_fields: list every parameter, not only those that differ from the library's defaults.
    """
    paragraphs = [_head(run), _warning(run), _parameters(run["parameters"], all_fields)]
    if run["stages"]:
        paragraphs.append(_stages(run["stages"]))
    if run["continued_from"]:
        rows = list(run["continued_from"].items())
        paragraphs.append(
            "begun by another run, so not made by these parameters alone\n" + _columns(rows)
        )
    if run["unfinished"]:
        paragraphs.append(f"unfinished trainings: {', '.join(run['unfinished'])}")
    if failed := [n for n in run["notebooks"] if n["error"]]:
        lines = [f"  {n['notebook']}  {_one_line(n['error'])}" for n in failed]
        paragraphs.append("\n".join(["notebooks that ended with an error", *lines]))
    paragraphs.append(_scores(run["scores"]))
    paragraphs.append(_unlabelled(run["unlabelled"]))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def format_difference(found: Mapping[str, Any]) -> str:
    """What differs between two runs, for people.

    Args:
        found: as `description.compare` returns it.
    """
    first, second = found["runs"]
    paragraphs = [f"A  {first}\nB  {second}"]
    for kind in ("parameters", "hardware", "code", "packages", "machine"):
        if found[kind]:
            rows = [("", "A", "B"), *((k, *map(_value, v)) for k, v in found[kind].items())]
            paragraphs.append(f"{kind}\n{_columns(rows)}")
    if found["inputs"]:
        paragraphs.append(f"inputs of stages\n{_inputs(found['inputs'])}")
    for place, name in enumerate("AB"):
        if only := [stage for stage, has in found["stages"].items() if has[place]]:
            paragraphs.append(f"stages that only {name} has: {', '.join(only)}")
    if not found["same_scores"]:
        paragraphs.append(_score_differences(found["scores"]))
    if found["unlabelled"]:
        rows = [("", "A", "B"), *((k, *map(_percent, v)) for k, v in found["unlabelled"].items())]
        paragraphs.append(f"without labels, in per cent\n{_columns(rows)}")
    same = [
        kind
        for kind in ("parameters", "hardware", "code", "packages", "machine", "inputs", "stages")
        if not found[kind]
    ] + ["scores"] * found["same_scores"]
    if same:
        paragraphs.append(f"no difference in {', '.join(same)}")
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _head(run: Mapping[str, Any]) -> str:
    variant = run["variant"]
    what = f"{run['scenario']}, seed {run['seed']}"
    if variant:
        what += f", variant {variant['name']} ({variant['title']}), row {variant['row']}"
    rows = [("run", run["folder"]), ("scenario", what)]
    rows.append(("state", "finished" if run["finished"] else "has no results yet"))
    rows += [("code", _code(group["value"])) for group in run["code"]]
    rows += [
        ("machine", ", ".join(f"{key} {value}" for key, value in (group["value"] or {}).items()))
        for group in run["machine"]
    ]
    for group in run["packages"]:
        versions = (group["value"] or {}).items()
        rows.append(("packages", ", ".join(f"{name} {version}" for name, version in versions)))
    if run["hardware"]:
        asked = [f"{key} {_value(value)}" for key, value in run["hardware"].items()]
        rows.append(("hardware", f"asked for: {', '.join(asked)}"))
    return _columns(rows, indent="")


def _code(code: Mapping[str, Any] | None) -> str:
    if not code:
        return "not recorded"
    commit, modified = code.get("git"), code.get("modified")
    if commit is None:
        where = "no git checkout"
    elif commit.endswith("-dirty"):  # before `modified` was recorded
        where = f"commit {commit.removesuffix('-dirty')}, and some file of the checkout modified"
    else:
        state = {True: ", library modified", False: ", not modified"}.get(modified, "")
        where = f"commit {commit}{state}"
    return f"iapc_lib {code.get('iapc_lib')}, {where} (sources {code.get('sources_sha256')})"


def _warning(run: Mapping[str, Any]) -> str:
    stages: dict[str, list[str]] = {}
    for group in run["code"]:
        key = (group["value"] or {}).get("sources_sha256") or "not recorded"
        stages.setdefault(key, []).extend(group["stages"])
    if len(stages) < 2:
        return ""
    rows = [(f"sources {key}", ", ".join(names)) for key, names in stages.items()]
    return f"warning: {len(stages)} versions of the library made this run\n{_columns(rows)}"


def _parameters(parameters: Mapping[str, Mapping[str, Any]], all_fields: bool) -> str:
    shown = {
        key: field for key, field in parameters.items() if all_fields or not field["is_default"]
    }
    title = f"parameters, {len(parameters)} fields"
    if not all_fields:
        title = (
            f"parameters, {len(shown)} of {len(parameters)} fields: "
            "those that differ from the library's defaults"
        )
    rows = [
        (key, _value(field["value"]), field["origin"] or "origin not recorded")
        for key, field in shown.items()
    ]
    return f"{title}\n{_columns(rows)}"


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    of_process = any("peak_memory_since" in stage for stage in stages)
    memory = "MB since start of process" if of_process else "peak MB"
    gpu = any("peak_gpu_memory_mb" in stage for stage in stages)
    rows = [("", "made", "seconds", memory, *(["peak GPU MB"] * gpu), "inputs")]
    for stage in stages:
        inputs = [f"{key} {_value(value)}" for key, value in (stage.get("inputs") or {}).items()]
        if stage.get("taken_from"):
            inputs.append(f"taken from {stage['taken_from']}")
        numbers = ["seconds", "peak_memory_mb", *(["peak_gpu_memory_mb"] * gpu)]
        rows.append(
            (
                stage["stage"],
                (stage["time"] or "-").replace("+00:00", "Z"),
                *(_value(stage.get(key)) for key in numbers),
                ", ".join(inputs),
            )
        )
    total = sum(stage.get("seconds") or 0 for stage in stages)
    return f"stages, {total:.0f} seconds in all\n{_columns(rows)}"


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> str:
    splits = [split for split, rows in scores.items() if rows]
    names = list(dict.fromkeys(row for split in splits for row in scores[split]))
    rows = [
        (TITLES.get(row, row), *(_percent(scores[s].get(row, {}).get("miou")) for s in splits))
        for row in names
    ]
    return f"mIoU in per cent\n{_columns([('', *splits), *rows])}" if rows else ""


def _unlabelled(rows: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for measures in rows.values() for name in measures))
    lines = [
        (TITLES.get(row, row), *(_percent(measures.get(name)) for name in names))
        for row, measures in rows.items()
    ]
    head = ("", *(name.replace("_", " ") for name in names))
    return f"without labels, in per cent\n{_columns([head, *lines])}" if rows else ""


def _score_differences(scores: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (split, TITLES.get(row, row), *map(_percent, score["miou"]), _points(score))
        for split, found in scores.items()
        for row, score in found.items()
    ]
    return f"mIoU in per cent\n{_columns([('', '', 'A', 'B', 'B - A'), *rows])}" if rows else ""


def _inputs(inputs: Mapping[str, Sequence[Any]]) -> str:
    """One line a pair of values, with all stages that it goes into."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for key, values in inputs.items():
        stage, _, name = key.rpartition(": ")
        lines.setdefault((name, *map(_value, values)), []).append(stage)
    rows = [(*line, ", ".join(stages)) for line, stages in lines.items()]
    return _columns([("", "A", "B", "of"), *rows])


def _columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Aligned columns; numbers to the right, below the first row."""
    numbers = re.compile(r"-|[-+]?\d[\d.e+-]*")
    align = [
        "right" if all(map(numbers.fullmatch, column[1:])) else "left"
        for column in zip(*rows, strict=True)
    ]
    # What looks like a number may be a hash.
    table = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)
    return textwrap.indent(table, indent)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        # Twelve digits of a file's hash tell files apart.
        return value[:12] if re.fullmatch(r"[0-9a-f]{64}", value) else _one_line(value)
    return json.dumps(value, ensure_ascii=False)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _points(score: Mapping[str, Any]) -> str:
    difference = score["difference"]
    if difference is None:
        return "-"
    small = 0 < abs(difference) < 0.005
    return f"{difference:+.0e}" if small else f"{difference:+.2f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
