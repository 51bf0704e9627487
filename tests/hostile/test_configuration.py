"""Values, keys and YAML that no run can have."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml

from iapc_lib.cli import parse_changes
from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import default_values, load_config
from tests.conftest import PRESETS
from tests.hostile.surfaces import iapc, put, refused

PRESET = PRESETS / "mini_gta5.yaml"
FIELDS = default_values()
NUMBERS = {
    key: value
    for key, value in FIELDS.items()
    if isinstance(value, int | float) and not isinstance(value, bool)
}
SWITCHES = [key for key, value in FIELDS.items() if isinstance(value, bool)]
SIZES = [key for key in FIELDS if key.endswith("_size") and "batch" not in key]
NO_NUMBERS = ("abc", "true", "-1", "1e400", "nan", "9" * 300, "[]", "{}", "2024-01-01")


def changed(key: str, text: str) -> None:
    load_config(PRESET, 0, parse_changes([f"{key}={text}"]))


@pytest.mark.parametrize("key", sorted(NUMBERS))
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_a_number_is_within_its_bounds_or_named(key: str, text: str):
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        changed(key, text)


@pytest.mark.parametrize("key", sorted(SWITCHES))
@pytest.mark.parametrize("text", ["2", "maybe", "[]", "1.5"])
def test_a_switch_is_on_or_off(key: str, text: str):
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        changed(key, text)


@pytest.mark.parametrize("key", sorted(SIZES))
@pytest.mark.parametrize(
    "text",
    [
        "[128]",
        "[128, 256, 3]",
        "[0, 256]",
        "[-8, 256]",
        "[128, 1e9]",
        "[true, 256]",
        "128",
        "128x256",
    ],
)
def test_a_size_is_two_sides_that_a_machine_can_hold(key: str, text: str):
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        changed(key, text)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("adaptation.steps", "--set adaptation.steps"),
        ("=5", "--set =5"),
        ("adaptation.steps=", "--set adaptation.steps="),
        ("adaptation.steps=[1", "--set adaptation.steps=[1"),
        ("adaptation.steps={a", "--set adaptation.steps={a"),
        ("adaptation.steps='5", "--set adaptation.steps='5"),
        ("adaptation.stepz=5", "stepz"),
        ("adaptation=5", "adaptation"),
        ("nothing.at.all=5", "nothing"),
        ("adaptation.steps.more=5", "adaptation.steps.more"),
        ("seed=-1", "seed"),
        ("seed=1.5", "seed"),
        ("seed=4294967296", "seed"),
        ("scenario=", "scenario"),
        ("scenario=a/b", "scenario"),
        ("classes=20", "classes"),
        ("classes=null", "classes"),
        ("model.body=vgg", "model.body"),
        ("model.layers=[1,1,1,1000000]", "model.layers"),
        ("model.layers=[1,1,1]", "model.layers"),
        ("model.classifier_dilations=[]", "model.classifier_dilations"),
        ("model.classifier_dilations=[0]", "model.classifier_dilations"),
        ("pseudo_labels.scales=[]", "pseudo_labels.scales"),
        ("pseudo_labels.scales=[1e300]", "pseudo_labels.scales"),
        ("views.scale_range=[1]", "views.scale_range"),
        ("views.scale_range=[0, 1]", "views.scale_range"),
        ("fidelity.importance=margin", "fidelity.importance"),
        ("fidelity.revision=2022", "fidelity.revision"),
        ("fidelity.prototypes=class", "fidelity.prototypes"),
        ("adaptation.methods=[]", "methods"),
        ("adaptation.methods=[iapc]", "methods"),
        ("adaptation.methods=[iapc, self_training, iapc]", "methods"),
        ("adaptation.methods=[iapc, self_training, magic]", "adaptation.methods"),
        ("adaptation.optimizer.name=lion", "adaptation.optimizer.name"),
        ("hardware.device=tpu", "hardware.device"),
        ("hardware.precision=float16", "hardware.precision"),
        ("hardware.workers=100000", "hardware.workers"),
        ("hardware.threads=0", "hardware.threads"),
        ("source.layout=kitti", "source.layout"),
        ("target.layout=gta5", "target.layout"),
        ("target.dev_every=1", "target.dev_every"),
        ("target.val=vall", "no split vall"),
        ("adaptation.steps=9.000", "adaptation.steps"),
        ("adaptation.steps=9_000", "adaptation.steps"),
        ("adaptation.steps=9,000", "adaptation.steps"),
        ("miniature.target_val=1000000000", "miniature.folder"),
        ("miniature.folder=''", "miniature.folder"),
        ("miniature.folder=~nosuchuser/x", "miniature.folder"),
        (f"miniature.folder={'x' * 300}", "miniature.folder"),
        ("miniature.folder=a\0b", "miniature.folder"),
        ("source.checkpoint=[]", "source.checkpoint"),
        ("source.checkpoint=5", "5"),
        ("source.root=data/gta5", "source.root"),
    ],
)
def test_a_change_is_refused_by_its_name(change: str, name: str, tmp_path):
    refused(name, "check", PRESET, "--quick", "--out", tmp_path / "run", "--set", change)


def test_a_change_is_blamed_on_the_one_who_made_it(tmp_path):
    out = ("--out", tmp_path / "run")
    refused("--set): unknown key", "check", PRESET, *out, "--set", "views.magic=1")
    twice = ("--set", "adaptation.steps=5", "--set", "adaptation.steps=no")
    status, said = iapc("check", PRESET, *out, *twice)
    assert status == 2 and "adaptation.steps is given twice; the last counts: no" in said
    assert "'adaptation.steps' = 'no'" in said


@pytest.mark.parametrize("name", ["x" * 300, "/".join("x" * 200 for _ in range(25)), "out"])
def test_a_folder_that_cannot_be_is_refused_by_its_name(name: str, tmp_path):
    put(tmp_path / "file", "no folder")
    folder = tmp_path / ("file/out" if name == "out" else name)
    for command in (("check", PRESET, "--quick", "--out"), ("run", PRESET, "--out"), ("show",)):
        refused(name[:100], *command, folder)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("#1", "#1"),
        ("a # b", "a # b"),
        ("a: b", "a: b"),
        ("007", "007"),
        ("7", "7"),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("on", "on"),
        ("&a", "&a"),
        ("*a", "*a"),
        ("!!int 5", "!!int 5"),
        ("- a", "- a"),
        ("'null'", "null"),
        ("%x", "%x"),
        ("@x", "@x"),
        ("0x10", "0x10"),
    ],
)
def test_a_text_is_what_a_shell_user_typed(typed: str, meant: str):
    changes = parse_changes([f"miniature.folder={typed}"])
    assert load_config(PRESET, 0, changes).miniature.folder == meant


def text_of(**changes: Any) -> str:
    return yaml.safe_dump(yaml.safe_load(PRESET.read_text()) | changes)


WHOLE = PRESET.read_text()
YAML = {
    "nothing": "",
    "null": "null",
    "a number": "5",
    "a list": "- 1",
    "a text": "run please",
    "no config": "seed: 0",
    "config of no fields": "config: 5",
    "config as a list": "config: [1]",
    "an unknown key": WHOLE + "\nsteps: 5\n",
    "a section twice": WHOLE.replace("  adaptation:", "  views: {}\n  adaptation:"),
    "a key twice": WHOLE.replace("    steps: 120", "    steps: 5\n    steps: 120"),
    "seed twice": WHOLE + "\nseed: 1\n",
    "anchors": "config: &c {scenario: x}\nother: *c\n",
    "a circle": "config: &c {a: *c}\n",
    "doubling": "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(9)),
    "brackets": "[" * 100_000,
    "braces": "{a: " * 20_000,
    "a tag": "config: !!python/object/apply:os.system [true]",
    "a tab": "config:\n\tscenario: x",
    "no end": "config: {a: 1",
    "a quote": "config: 'x",
    "two documents": "config: {}\n---\nconfig: {}\n",
    "NUL": "config: \0",
    "a long number": "config: " + "9" * 5000,
    "no text": b"\xff\xfe\x00\x01",
    "a key that is a list": "? [a]\n: 1",
    "out is a number": text_of(out=5),
    "out is a list": text_of(out=["a"]),
    "out of 300 bytes": text_of(out="x" * 300),
    "seed is a text": text_of(seed="zero"),
    "seed is a switch": WHOLE.replace("\nseed: 0", "\nseed: true"),
    "overrides are a list": text_of(overrides=[1]),
    "overrides of no field": text_of(overrides={"adaptation.stepz": 1}),
    "a variant": "title: x\nrow: iapc\n",
    "a study": "scenarios: [a]\n",
}


@pytest.mark.parametrize("kind", YAML)
def test_a_preset_that_is_none_is_refused_by_its_file(kind: str, tmp_path):
    preset = put(tmp_path / "preset.yaml", YAML[kind])
    refused("preset.yaml", "check", preset, "--quick", "--out", tmp_path / "run")


@pytest.mark.parametrize("place", ["missing.yaml", "folder.yaml", "pipe.yaml", "zero.yaml"])
def test_what_is_no_file_is_never_waited_for(place: str, tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    refused(
        place.partition(".")[0], "check", tmp_path / place, "--quick", "--out", tmp_path / "run"
    )


VARIANTS = {
    "nothing": "",
    "no row": "title: x\n",
    "an unknown row": "title: x\nrow: magic\n",
    "an unknown key": "title: x\nrow: iapc\nsteps: 5\n",
    "a title of no text": "title: [x]\nrow: iapc\n",
    "overrides of no field": "title: x\nrow: iapc\noverrides: {losses.magic: 1}\n",
    "overrides as a text": "title: x\nrow: iapc\noverrides: more\n",
    "a key twice": "title: x\nrow: iapc\nrow: iapc\n",
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_variant_that_is_none_is_refused(kind: str, tmp_path):
    variant = put(tmp_path / "odd.yaml", VARIANTS[kind])
    names = {"an unknown row": "variant", "overrides of no field": "losses.magic"}
    refused(
        names.get(kind, "odd.yaml"),
        "check",
        PRESET,
        "--quick",
        "--variant",
        variant,
        "--out",
        tmp_path / "run",
    )
