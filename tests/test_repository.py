"""The repository's files agree with one another."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml

from iapc_lib.config.presets import load_config
from iapc_lib.pipeline.runner import NOTEBOOKS, VARIANT_NOTEBOOK
from tests.conftest import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def test_environment_yml_is_a_shell_over_pyproject():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert f"python{PYPROJECT['requires-python']}" in environment["dependencies"]
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    (install,) = pip
    assert install.startswith("-e .[")
    extras = install[5:-1].split(",")
    assert set(extras) <= set(PYPROJECT["optional-dependencies"])
    conda_only = {d for d in environment["dependencies"] if isinstance(d, str)}
    assert {name_of(d) for d in conda_only} == {"python", "pip"}


def test_lock_pins_every_requirement_with_a_hash_and_names_no_registry():
    lock = (PROJECT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE))
    extras = [r for group in PYPROJECT["optional-dependencies"].values() for r in group]
    assert {name_of(r) for r in PYPROJECT["dependencies"] + extras} <= pinned
    entries = re.split(r"\n(?=[a-z])", lock)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry.partition("\n")[0])
    assert "://" not in lock and "--index-url" not in lock


@pytest.mark.parametrize(
    ("name", "parameters"),
    [(name, ["config", "out", "seed", "overrides"]) for name in NOTEBOOKS]
    + [
        (VARIANT_NOTEBOOK, ["config", "out", "seed", "overrides", "variant"]),
        ("08_many_runs", ["folder", "study", "reference", "out"]),
    ],
)
def test_notebooks_are_executed_small_and_take_their_parameters(name, parameters):
    path = PROJECT / "notebooks" / f"{name}.ipynb"
    assert path.stat().st_size < 2e6
    cells = json.loads(path.read_text())["cells"]
    (cell,) = (c for c in cells if "parameters" in c["metadata"].get("tags", []))
    assigned = re.findall(r"^(\w+) =", "".join(cell["source"]), re.MULTILINE)
    assert assigned == parameters
    code = [c for c in cells if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in code)
    assert not any(o["output_type"] == "error" for c in code for o in c["outputs"])


@pytest.mark.parametrize("name", ["gta5", "synthia"])
def test_every_key_of_the_real_presets_says_what_it_is_and_where_its_value_comes_from(name):
    preset = (PROJECT / "papermill_runs" / f"{name}.yaml").read_text()
    keys = [line for line in preset.splitlines() if not line.startswith("#")]
    assert len(keys) == len(yaml_keys(yaml.safe_load(preset)))
    for line in keys:
        value, _, comment = line.partition(" #")
        is_section = value.rstrip().endswith(":")
        assert len(comment) > 5 and (is_section or re.search(r"\([CPRO]\)$", comment)), line
    every_field = load_config(PROJECT / "papermill_runs" / f"{name}.yaml").model_dump()
    given = yaml.safe_load(preset)["config"]
    missing = set(yaml_keys(every_field)) - set(yaml_keys(given)) - {"seed", "miniature", "variant"}
    assert not missing


def yaml_keys(value: dict, prefix: str = "") -> list[str]:
    """Dotted names of all keys of a nested mapping."""
    keys = []
    for key, inner in value.items():
        keys.append(prefix + key)
        if isinstance(inner, dict):
            keys += yaml_keys(inner, f"{prefix}{key}.")
    return keys
