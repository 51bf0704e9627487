"""Presets: how a run's configuration is read from YAML, and where each of its fields is from.

A preset is a YAML file of `papermill_runs/` with the four keys that every notebook takes as its
parameters: `config` (the fields of `RunConfig`), `seed`, `overrides` (dotted keys) and `out`.
A run folder, or its `run.json`, may stand for the preset: the run's own record then is the preset.
A variant is a small YAML file of `papermill_runs/variants/`: what one row of a larger table changes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, ConfigDict, with_config
from typing_extensions import TypedDict

from iapc_lib.config.errors import ConfigError, checked
from iapc_lib.config.run_config import RunConfig
from iapc_lib.config.sections import SourceDomain, TargetDomain
from iapc_lib.config.yaml_text import read_yaml
from iapc_lib.files import FileError, read_json
from iapc_lib.method.settings import Section
from iapc_lib.paths import resolve, shown_path, usable_path

PRESET_KEYS = ("config", "seed", "overrides", "out")

RECORD = "run.json"
"""What a run folder says of itself."""
GONE = ("hardware.processes",)
"""Fields of earlier versions that records still have."""
_MADE_AGAIN = "delete it and run the command that made the run: it goes on with what is finished"


class _VariantFile(Section):
    """What a variant's file holds."""

    title: str
    row: str
    overrides: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = {}


@with_config(ConfigDict(extra="allow"))
class _RunRecord(TypedDict):
    """A `run.json`."""

    config: dict[str, Any]
    hardware: NotRequired[dict[str, Any]]
    origin: NotRequired[dict[str, str] | None]


def read_preset(path: str | Path) -> dict[str, Any]:
    """Reads a preset; its keys are those of `PRESET_KEYS`.

    Of a run folder (or its `run.json`) it is what made that run; `out` is the folder itself, and
    `origin` says where the fields came from.

    Raises:
        ConfigError: no such file, no YAML, or another key than those.
    """
    path = preset_path(path)
    if path.name == RECORD:
        record = read_record(path)
        config = {**record["config"], "hardware": record["hardware"]}
        return {"config": config, "out": str(path.parent.resolve()), "origin": record["origin"]}
    preset = read_yaml(path)
    if isinstance(preset, dict) and "scenarios" in preset:
        raise ConfigError(f"{path}: is a study; run it with snakemake -s papermill_runs/Snakefile")
    if isinstance(preset, dict) and "row" in preset:
        raise ConfigError(f"{path}: is a variant; name a preset, and this with --variant")
    if not isinstance(preset, dict) or "config" not in preset:
        raise ConfigError(f"{path}: needs a key 'config' that holds the run's fields")
    for key in preset:
        if key not in PRESET_KEYS:
            raise ConfigError(f"{path}: unknown key '{key}'; allowed: {', '.join(PRESET_KEYS)}")
    try:
        if (out := preset.get("out")) is not None:
            usable_path(out)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: 'out' = {out!r} is no path of a run folder: {error}") from None
    return preset


def read_record(about: Path) -> dict[str, Any]:
    """What a run's `run.json` says: `config`, `hardware` and `origin`, and what else it has.

    Fields that earlier versions had and this one has not (`GONE`) are dropped. `origin` is None where
    it was not recorded yet.

    Raises:
        ConfigError: it is not there, cannot be read, or is not the record of a run.
    """
    if about.name != RECORD or not about.exists():
        folder = about.parent if about.name == RECORD else about
        raise ConfigError(f"{folder}: is no run folder (it has no {RECORD})")
    try:
        record = {"hardware": {}, "origin": None} | read_json(about, _RunRecord)
    except FileError as error:
        again = f"; {_MADE_AGAIN}" if os.access(about, os.R_OK) else ""
        raise ConfigError(f"{error}{again}") from None
    return record | {"hardware": known_fields({"hardware": record["hardware"]})["hardware"]}


def known_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded fields without those that are gone."""
    kept = dict(fields)
    for key in GONE:
        section, _, name = key.partition(".")
        if isinstance(kept.get(section), Mapping):
            kept[section] = {k: v for k, v in kept[section].items() if k != name}
    return kept


def with_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded fields of a configuration; those that are newer than the record have defaults."""
    try:
        return load_config(known_fields(fields)).model_dump(mode="json")
    except ConfigError:
        return dict(fields)


def preset_path(path: str | Path) -> Path:
    """The file of a preset, given from here or from the project's folder; of a run, its record."""
    path = Path(path).expanduser()
    if not path.exists():
        path = resolve(path)
    return path / RECORD if path.is_dir() else path


def variant_path(variant: str | Path) -> Path:
    """The file of a variant, given by its name or its path.

    Raises:
        ConfigError: there is none; names those that there are.
    """
    folder = resolve("papermill_runs/variants")
    places = [folder / f"{variant}.yaml", Path(variant).expanduser(), resolve(variant)]
    for path in places:
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise ConfigError(
        f"variant '{variant}' does not exist; there are: {known}; or name a YAML file"
    )


def read_variant(variant: str | Path) -> dict[str, Any]:
    """Reads a variant, given by its name or its path.

    Returns:
        `title`, `row`, `overrides` (dotted keys), and its `name`.

    Raises:
        ConfigError: it does not exist, or holds other keys than those.
    """
    path = variant_path(variant)
    return checked(_VariantFile, read_yaml(path), str(path)).model_dump() | {"name": path.stem}


def load_config(
    config: str | Path | Mapping[str, Any],
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    variant: str | Path | None = None,
) -> RunConfig:
    """The run that a preset (its path) or a mapping of fields describes; see `load_with_origin`."""
    return load_with_origin(config, seed, overrides, variant)[0]


def load_with_origin(
    config: str | Path | Mapping[str, Any],
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    variant: str | Path | None = None,
) -> tuple[RunConfig, dict[str, str]]:
    """The run that a preset or a mapping of fields describes, and where each field is from.

    Args:
        config: path of a preset or of a run folder, or the mapping under a preset's `config`.
        seed: the run's seed; None takes the preset's.
        overrides: dotted keys and their values (`{"adaptation.steps": 50}`), applied last; a
            section may be given as a mapping of the fields that change.
        variant: name or path of a variant, applied before `overrides`.

    Returns:
        The run, and the origin of every field that somebody gave (dotted key -> in words); those
        that are missing there have the library's defaults.

    Raises:
        ConfigError: with a line per key or value that is not allowed.
    """
    if isinstance(config, Mapping):
        where, preset, place = "config", {"config": config}, "parameters of the notebook"
    else:
        where, preset, place = str(config), read_preset(config), shown_path(preset_path(config))
    fields = json.loads(json.dumps(preset["config"], default=str))
    if not isinstance(fields, dict):
        raise ConfigError(f"{where}: 'config' must be a mapping of fields")
    origin = dict.fromkeys(dotted(fields), place)
    if recorded := preset.get("origin"):
        origin = {key: f"{recorded.get(key, 'default')}, in {place}" for key in origin}
    if seed is not None or preset.get("seed") is not None:
        fields["seed"] = preset["seed"] if seed is None else seed
        origin["seed"] = place if seed is None else "seed (--seed)"
    changes = {f"{place}: overrides": preset.get("overrides") or {}}
    if variant is not None:
        made = read_variant(variant)
        fields["variant"] = {key: made[key] for key in ("name", "title", "row")}
        varied = f"variant {shown_path(variant_path(variant))}"
        changes[varied] = made["overrides"]
        origin |= dict.fromkeys(dotted({"variant": fields["variant"]}), varied)
    changes["overrides (--set)"] = overrides or {}
    for source, values in changes.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}: overrides must map dotted keys to values, got {values!r}")
        for key, value in values.items():
            _set_dotted(fields, str(key), value)
            whole = not isinstance(value, Mapping)
            for old in list(origin):
                if old == key or (whole and old.startswith(f"{key}.")):
                    del origin[old]
            origin |= dict.fromkeys(dotted({key: value}), source)
    _choose_checkpoint(fields)
    given = set(dotted(fields))
    _complete_from_checkpoint(fields)
    origin |= dict.fromkeys(set(dotted(fields)) - given, "description of source.checkpoint")
    changed = {key: place for key, place in origin.items() if place in changes}
    return checked(RunConfig, fields, where, changed), origin


def dotted(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested fields by their dotted keys."""
    found = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def different(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The keys whose values differ, with the value in both; None where a key is missing."""
    return {
        key: [first.get(key), second.get(key)]
        for key in {**first, **second}
        if first.get(key) != second.get(key)
    }


def _choose_checkpoint(fields: dict[str, Any]) -> None:
    """Of several source networks a run takes one by its seed: several seeds, several networks."""
    source = fields.get("source")
    if isinstance(source, dict) and isinstance(several := source.get("checkpoint"), list):
        seed = fields.get("seed", 0)
        if several and isinstance(seed, int):
            source["checkpoint"] = several[seed % len(several)]


def _complete_from_checkpoint(fields: dict[str, Any]) -> None:
    """Classes and model that are not named are those of a network of ours, if that is the source."""
    source = fields.get("source")
    if not isinstance(source, dict) or source.get("layout") or not source.get("checkpoint"):
        return
    try:
        description = read_json(resolve(source["checkpoint"]).with_suffix(".json"), dict)
        fields.setdefault("classes", len(description["classes"]))
        fields.setdefault("model", description["model"])
    except (FileError, TypeError, KeyError, ValueError):
        return  # a published network, or none: what is wrong is said when it is read


def _set_dotted(fields: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        fields = fields.setdefault(parent, {})
        if not isinstance(fields, dict):
            raise ConfigError(f"overrides: '{key}' goes through '{parent}', which is no section")
    if isinstance(value, Mapping) and isinstance(fields.get(last), dict):
        for inner, field in value.items():  # its other fields stay as they are
            _set_dotted(fields[last], str(inner), field)
    else:
        fields[last] = value


def default_values() -> dict[str, Any]:
    """The library's default of every field that has one, by dotted key."""
    sections = RunConfig.model_construct(source=SourceDomain(), target=TargetDomain())
    return dotted(sections.model_dump(mode="json"))
