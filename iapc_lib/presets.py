"""Presets: how a run's configuration is read from YAML, and where the project's paths begin.

A preset is a YAML file of `papermill_runs/` with the four keys that every notebook takes as its
parameters: `config` (the fields of `RunConfig`), `seed`, `overrides` (dotted keys) and `out`.
A run folder, or its `run.json`, may stand for the preset: the run's own record then is the preset.
A variant is a small YAML file of `papermill_runs/variants/`: what one row of a larger table changes.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from iapc_lib.config import RunConfig

PRESET_KEYS = ("config", "seed", "overrides", "out")
VARIANT_KEYS = ("title", "row", "overrides")
RECORD = "run.json"
"""What a run folder says of itself."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message has one line per reason."""


def project_root() -> Path:
    """The nearest folder, upwards from here, that holds `papermill_runs` and `notebooks`.

    Outside a checkout it is the folder that holds the library.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "papermill_runs").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parents[1]


def resolve(path: str | Path) -> Path:
    """A path of the configuration: absolute, or relative to the project."""
    return project_root() / Path(path).expanduser()


def read_preset(path: str | Path) -> dict[str, Any]:
    """Reads a preset; its keys are those of `PRESET_KEYS`.

    Of a run folder (or its `run.json`) it is what made that run; `out` is the folder itself, and
    `origin` says where the fields came from.

    Raises:
        ConfigError: no such file, no YAML, or another key than those.
    """
    path = preset_path(path)
    if path.name == RECORD:
        return _read_record(path)
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
    return preset


def _read_record(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError(f"{path.parent}: is no run folder (it has no {RECORD})")
    try:
        record = json.loads(path.read_text())
        config = {**record["config"], "hardware": record.get("hardware", {})}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is not the record of a run ({error!r})") from None
    return {"config": config, "out": str(path.parent.resolve()), "origin": record.get("origin", {})}


def preset_path(path: str | Path) -> Path:
    """The file of a preset, given from here or from the project's folder; of a run, its record."""
    path = Path(path).expanduser()
    if not path.exists():
        path = resolve(path)
    return path / RECORD if path.is_dir() else path


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        ConfigError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML ({' '.join(str(error).split())})") from None


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
        ConfigError: it does not exist, or holds other keys than `VARIANT_KEYS`.
    """
    path = variant_path(variant)
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: a variant has the keys {', '.join(VARIANT_KEYS)}")
    if unknown := sorted(map(str, fields.keys() - set(VARIANT_KEYS))):
        raise ConfigError(f"{path}: unknown key '{unknown[0]}'; allowed: {', '.join(VARIANT_KEYS)}")
    if missing := sorted({"title", "row"} - fields.keys()):
        raise ConfigError(f"{path}: '{missing[0]}' is missing")
    fields["overrides"] = fields.get("overrides") or {}
    if not isinstance(fields["overrides"], dict):
        raise ConfigError(f"{path}: overrides must map dotted keys to values")
    return fields | {"name": path.stem}


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
        where, preset, place = str(config), read_preset(config), _shown(preset_path(config))
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
        varied = f"variant {_shown(variant_path(variant))}"
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
    given = set(dotted(fields))
    _complete_from_checkpoint(fields)
    origin |= dict.fromkeys(set(dotted(fields)) - given, "description of source.checkpoint")
    try:
        return RunConfig.model_validate(fields), origin
    except ValidationError as error:
        raise ConfigError("\n".join(explain(where, e) for e in error.errors())) from None


def dotted(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested fields by their dotted keys."""
    found = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def refuse_unknown_parameters() -> None:
    """For notebooks: papermill only warns of a misspelt parameter, and runs without it.

    Raises:
        ConfigError: papermill gave this notebook a parameter that none of its own cells sets.
    """
    ipython = sys.modules.get("IPython")  # not imported: this is no notebook
    shell = ipython.get_ipython() if ipython is not None else None
    cells = shell.user_ns.get("In", []) if shell is not None else []
    given = [place for place, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    for place in given:
        allowed = [name for cell in cells[:place] for name in _assigned_names(cell)]
        for name in _assigned_names(cells[place]):
            if name not in allowed:
                raise ConfigError(f"unknown parameter '{name}'; allowed: {', '.join(allowed)}")


def _assigned_names(cell: str) -> list[str]:
    try:
        statements = ast.parse(cell).body
    except SyntaxError:  # of a cell that someone tried in JupyterLab
        return []
    return [ast.unparse(s.targets[0]) for s in statements if isinstance(s, ast.Assign)]


def _shown(path: Path) -> str:
    """A path as people read it: from the project's folder where it is in there."""
    path, root = path.resolve(), project_root()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _complete_from_checkpoint(fields: dict[str, Any]) -> None:
    """Classes and model that are not named are those of a network of ours, if that is the source."""
    source = fields.get("source")
    if not isinstance(source, dict) or source.get("layout") or not source.get("checkpoint"):
        return
    try:
        description = json.loads(resolve(source["checkpoint"]).with_suffix(".json").read_text())
        fields.setdefault("classes", len(description["classes"]))
        fields.setdefault("model", description["model"])
    except (OSError, TypeError, KeyError, ValueError):
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


def explain(where: str, error: dict[str, Any], root: Any = RunConfig) -> str:
    """One of pydantic's errors in the words of a configuration's user.

    Args:
        where: file, or whatever the fields are from.
        error: of `ValidationError.errors()`.
        root: the section that was validated.
    """
    location = [part for part in error["loc"] if isinstance(part, str)]
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        section = root
        for part in location[:-1]:
            annotation = section.model_fields[part].annotation
            section = next(
                a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)
            )
        return f"{where}: unknown key '{key}'; allowed: {', '.join(section.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: '{key}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "tuple_type":
        message = "write a list, such as [1, 2]"
    if not key:
        return f"{where}: {message}"
    if isinstance(error["input"], dict):
        return f"{where}: '{key}': {message}"
    return f"{where}: '{key}' = {error['input']!r} is not allowed: {message}"
