"""The command `iapc` as a user runs it: refusals, and the whole set on a tiny setting."""

from __future__ import annotations

import json
import shutil

import papermill
import pytest
import yaml
from papermill.exceptions import PapermillExecutionError
from PIL import Image
from typer.testing import CliRunner

from iapc_lib.cli import app
from iapc_lib.config.presets import load_config
from iapc_lib.data.layouts import domain_root
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.networks.checkpoints import save_network
from iapc_lib.pipeline import checking, runner, stages
from iapc_lib.runs.folder import open_run
from tests.conftest import PRESETS, tiny_overrides

PRESET = str(PRESETS / "mini_gta5.yaml")


def settings(overrides: dict) -> list[str]:
    return [
        part for key, value in overrides.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]


def iapc(*arguments: str):
    result = CliRunner().invoke(app, ["run", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*arguments: str) -> str:
    result = iapc(*arguments)
    assert result.exit_code == 2, result.output
    assert all(line.startswith("iapc: ") for line in result.stderr.splitlines())
    return result.stderr


def test_bad_configurations_are_refused_with_exit_2(tmp_path):
    out = ("--out", tmp_path / "run")
    assert "unknown key 'adaptation.stepz'" in refused(PRESET, *out, "--set", "adaptation.stepz=5")
    assert "write KEY=VALUE" in refused(PRESET, *out, "--set", "adaptation.steps")
    assert "'seed' = -1 is not allowed" in refused(PRESET, *out, "--seed", "-1")
    assert "cannot be read" in refused(tmp_path / "missing.yaml", *out)
    preset = yaml.safe_load((PRESETS / "mini_gta5.yaml").read_text())
    preset["config"]["lossses"] = {}
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(preset))
    assert "unknown key 'lossses'; allowed: scenario" in refused(tmp_path / "typo.yaml", *out)
    assert not (tmp_path / "run").exists()


def test_bad_data_is_refused_by_file_before_any_work(tmp_path):
    overrides = tiny_overrides(tmp_path / "data")
    arguments = (PRESET, "--out", tmp_path / "run", *settings(overrides))
    scratch = open_run(PRESET, tmp_path / "scratch", 0, overrides)
    stages.data(scratch)
    root = domain_root(scratch.config, "source")
    label = root / "labels" / "00002.png"
    Image.open(label).resize((20, 10), 0).save(label)
    (root / "images" / "00004.png").write_bytes(b"no image")
    lines = refused(*arguments).splitlines()
    assert len(lines) == 2
    assert "00002.png: the label is 20x10, its image 00002.png 128x64" in lines[0]
    assert "00004.png: cannot be read as an image" in lines[1]
    assert not (tmp_path / "run" / "notebooks").exists()


@pytest.mark.parametrize(
    ("preset", "site", "path"),
    [
        ("gta5", "visinf.tu-darmstadt.de", "labels/00001.png"),
        ("synthia", "synthia-dataset.net", "GT/LABELS/0000000.png"),
    ],
)
def test_missing_data_sets_are_named_with_their_site_and_layout(tmp_path, preset, site, path):
    roots = {"source.root": str(tmp_path / "s"), "target.root": str(tmp_path / "t")}
    message = refused(PRESETS / f"{preset}.yaml", "--out", tmp_path / "run", *settings(roots))
    source, target = message.splitlines()
    assert str(tmp_path / "s") in source and site in source and f"/s/{path} exist" in source
    assert "www.cityscapes-dataset.com" in target and "/t/gtFine/train/aachen" in target
    assert "--set source.root=DIR" in source and "--set target.root=DIR" in target


def test_bad_folders_and_checkpoints_are_refused(tmp_path, data_folder, monkeypatch):
    overrides = tiny_overrides(data_folder)
    run = (PRESET, "--out", tmp_path / "run")
    config = load_config(PRESET, 0, overrides)
    net = tmp_path / "net.safetensors"
    save_network(net, DeepLabV2(16, config.model), config.model_copy(update={"classes": 16}))
    message = refused(*run, *settings({**overrides, "source.checkpoint": str(net)}))
    assert "net.safetensors: is of another architecture: it has 16 classes" in message
    # Nothing was made there: the corrected command may use the same folder.
    stages.network_file(open_run(PRESET, tmp_path / "run", 0, overrides), "source_only")
    assert "was made with other parameters" in refused(*run, *settings(overrides), "--seed", "3")
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(PRESET, "--out", tmp_path / "file" / "run")
    monkeypatch.setattr(checking, "free_megabytes", lambda _: 12.0)
    assert "the disk has 12 MB free" in refused(
        PRESET, "--out", tmp_path / "new", *settings(overrides)
    )


@pytest.mark.parametrize("preset", ["mini_gta5", "mini_synthia"])
def test_the_set_runs_from_end_to_end_and_a_second_time_at_once(tmp_path, data_folder, preset):
    arguments = (PRESETS / f"{preset}.yaml", "--seed", "7", "--out", tmp_path / "run")
    arguments += tuple(settings(tiny_overrides(data_folder)))
    first = iapc(*arguments)
    assert first.exit_code == 0, first.output
    assert "source only" in first.stdout and "IAPC" in first.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["seed"] == 7 and results["scenario"] == preset
    executed = sorted(path.stem for path in (tmp_path / "run" / "notebooks").glob("*.ipynb"))
    assert executed == list(runner.NOTEBOOKS)
    assert len(list((tmp_path / "run" / "figures").glob("*.png"))) >= 10

    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.suffix != ".lock"}
    again = iapc(*arguments)
    assert again.exit_code == 0 and again.stdout == first.stdout
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path.is_file())


def test_one_notebook_alone_makes_what_it_needs_and_refuses_a_misspelt_parameter(
    tmp_path, data_folder
):
    preset = yaml.safe_load((PRESETS / "mini_gta5.yaml").read_text())  # as `papermill -f` does
    preset |= {"overrides": tiny_overrides(data_folder), "out": str(tmp_path / "run")}
    notebooks = PRESETS.parent / "notebooks"
    executed = tmp_path / "executed.ipynb"

    def execute(name: str, **parameters):
        source = notebooks / f"{name}.ipynb"
        papermill.execute_notebook(source, executed, parameters, progress_bar=False, cwd=notebooks)

    execute("06_results", **preset)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["scores"]["iapc"]
    with pytest.raises(PapermillExecutionError, match="unknown parameter 'sede'; allowed: config"):
        execute("00_data", **preset, sede=3)
    with pytest.raises(PapermillExecutionError, match="unknown parameter 'variant'; allowed: conf"):
        execute("00_data", **preset, variant="ia")
    with pytest.raises(PapermillExecutionError, match="unknown parameter 'refrence'; allowed: fol"):
        execute("08_many_runs", refrence="ia")


@pytest.mark.parametrize(
    "variant",
    [
        {"fidelity.prototypes": "momentum", "fidelity.importance": "first"},
        {"fidelity.prototypes": "dataset", "fidelity.importance": "second"},
        {"fidelity.revision": "2023", "fidelity.parameter_visits": "published"},
    ],
)
def test_notebook_of_one_update_holds_for_the_variants(tmp_path, data_folder, variant):
    parameters = yaml.safe_load((PRESETS / "mini_gta5.yaml").read_text())
    overrides = tiny_overrides(data_folder) | {"adaptation.steps": 2} | variant
    parameters |= {"overrides": overrides, "out": str(tmp_path / "run")}
    papermill.execute_notebook(
        PRESETS.parent / "notebooks" / "05_full_adaptation.ipynb",
        tmp_path / "executed.ipynb",
        parameters,
        progress_bar=False,
        cwd=PRESETS.parent,
    )


def test_failing_notebook_is_named_with_its_error_and_exit_1(tmp_path, data_folder, monkeypatch):
    project = tmp_path / "project"
    (project / "papermill_runs").mkdir(parents=True)
    shutil.copytree(PRESETS.parent / "notebooks", project / "notebooks")
    broken = project / "notebooks" / "00_data.ipynb"
    notebook = json.loads(broken.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[0]["source"] = ["raise ValueError('out of chalk')"]
    broken.write_text(json.dumps(notebook))
    monkeypatch.chdir(project)
    result = iapc(PRESET, "--out", tmp_path / "run", *settings(tiny_overrides(data_folder)))
    assert result.exit_code == 1
    assert (
        "00_data stopped in cell" in result.stderr and "ValueError: out of chalk" in result.stderr
    )
    assert "run/notebooks/00_data.ipynb" in result.stderr
