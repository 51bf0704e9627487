"""A study: scenarios x seeds x variants, as `papermill_runs/Snakefile` runs them."""

import json
import os.path
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from iapc_lib.config.errors import ConfigError, checked
from iapc_lib.config.presets import dotted, load_config, read_variant, variant_path
from iapc_lib.config.run_config import SHARED_FIELDS
from iapc_lib.config.sections import PathText
from iapc_lib.config.yaml_text import read_yaml
from iapc_lib.method.settings import Count, Section, Seed
from iapc_lib.paths import resolve, shown_path

Place = Annotated[PathText, AfterValidator(os.path.expanduser)]

OF_THE_STUDY = ("scenario", "seed", "variant")
"""Fields of a run that its study chooses."""


class Study(Section):
    """The description of a study, a YAML file of `papermill_runs/studies`."""

    folder: Annotated[Place, Field(pattern=r"^[^{}]*$")]
    """Where run folders and tables go; snakemake takes braces for names of its own."""
    scenarios: Annotated[tuple[Place, ...], Field(min_length=1)]
    """Paths of presets."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Seeds of the runs."""
    variants: Annotated[tuple[Place, ...], Field(min_length=1)]
    """Names or paths of variants; the order of the tables."""
    overrides: dict[str, Any] = {}
    """Dotted keys and values for every run."""
    gpu: Annotated[int, Field(ge=0, le=1)] = 0
    """Whether a job needs a GPU."""
    mem_mb: Count = 4000
    """Memory of a job, in MB."""
    runtime: Count = 240
    """Minutes that a job may take on a cluster."""

    @cached_property
    def presets(self) -> dict[str, str]:
        """Scenario -> path of its preset."""
        return {load_config(preset, 0).scenario: preset for preset in self.scenarios}

    @cached_property
    def variant_paths(self) -> dict[str, str]:
        """Name of a variant -> its file."""
        paths = [variant_path(variant) for variant in self.variants]
        return {path.stem: shown_path(path) for path in paths}

    @property
    def changes(self) -> str:
        """`overrides` as options of `iapc run`."""
        items = self.overrides.items()
        return " ".join(f"--set {quote(f'{key}={json.dumps(value)}')}" for key, value in items)


def read_study(study: str | Path | Mapping[str, Any]) -> Study:
    """Checks the description of a study, down to the configuration of every run.

    Args:
        study: its YAML file, or its fields.

    Raises:
        ConfigError: with a line for each key, variant or value that is not allowed.
    """
    fields = study if isinstance(study, Mapping) else read_yaml(resolve(study))
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{study}: describes no study (it has no keys)")
    study = checked(Study, {k: v for k, v in fields.items() if v is not None}, "study")
    overrides = dotted(study.overrides)
    problems = []
    if chosen_here := _overlapping(overrides, OF_THE_STUDY):
        problems.append(f"study: overrides {chosen_here} are what the study itself sets")
    for variant in study.variants:
        try:
            changes = dotted(read_variant(variant)["overrides"])
            if changed := _overlapping(overrides, changes):
                problems.append(f"study: overrides {changed} are what '{variant}' changes")
            if shared := _overlapping(changes, (*SHARED_FIELDS, *OF_THE_STUDY)):
                problems.append(
                    f"{variant_path(variant)}: {shared} are the same for all variants, which share "
                    "source network, pseudo-labels and evaluation; make it a preset (a scenario)"
                )
            for preset in study.scenarios:
                load_config(preset, study.seeds[0], study.overrides, variant)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    for kind, names in (("scenario", study.presets), ("variant", study.variant_paths)):
        if len(names) < len(getattr(study, f"{kind}s")):
            raise ConfigError(f"study: two of its {kind}s have the same name")
    if len(set(study.seeds)) < len(study.seeds):
        raise ConfigError("study: a seed is named twice")
    return study


def _overlapping(keys: Iterable[str], others: Iterable[str]) -> list[str]:
    """The dotted keys that name a field of `others`, a section around one, or a part of one."""
    return sorted(
        key
        for key in keys
        if any(f"{key}.".startswith(f"{o}.") or f"{o}.".startswith(f"{key}.") for o in others)
    )
