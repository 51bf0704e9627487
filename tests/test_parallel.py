"""Two gloo processes on the CPU train as one process does, and go on where it stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
import torch

from iapc_lib import stages
from iapc_lib.checking import CannotStart, preflight
from iapc_lib.config import RunConfig
from iapc_lib.launching import training_processes
from iapc_lib.losses import class_weights
from iapc_lib.resume import Checkpointer
from iapc_lib.runs import Run, RunFolderError, open_run, read_json
from iapc_lib.world import World
from tests.conftest import PRESETS, PROJECT, tiny_overrides

CLOSE = dict(rtol=0, atol=1e-5)
STOP = 3
"""Step at which trainings are stopped and go on in another number of processes."""


def changes(data_folder: Path) -> dict:
    """A batch of four, so that two processes hold two images each, and every state there is."""
    return tiny_overrides(data_folder) | {
        "source_training.batch_size": 4,
        "source_training.class_weight_power": 0.3,
        # AdamW turns the rounding of a gradient near zero into a whole step.
        "source_training.optimizer.name": "sgd",
        "source_training.optimizer.learning_rate": 1e-4,
        "adaptation.batch_size": 4,
        # Larger steps make rounding errors grow tenfold a step, in one process as in two.
        "adaptation.optimizer.learning_rate": 1e-5,
        "adaptation.methods": ["tent", "self_training", "iapc"],
        "fidelity.prototypes": "momentum",
    }


def open_two(folder: Path, data_folder: Path, **more) -> Run:
    overrides = changes(data_folder) | {"hardware.processes": 2} | more
    return open_run(PRESETS / "mini_gta5.yaml", folder, 0, overrides)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, data_folder) -> Run:
    """Trained in one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    run = open_run(PRESETS / "mini_gta5.yaml", folder, 0, changes(data_folder))
    for row in ("source_only", "tent", "self_training", "iapc"):
        stages.adapted_network(run, row)
    return run


def prepared(alone: Run, folder: Path) -> Path:
    """A copy of the run as it was before any adaptation."""
    shutil.copytree(alone.folder, folder)
    for path in [*folder.glob("adapted_*"), *folder.glob("adapted.*")]:
        path.unlink()
    for path in folder.glob("stages/adaptation_*"):
        path.unlink()
    return folder


def history(run: Run, training: str) -> list[dict]:
    return read_json(run.path(f"history_{training}.json"))


def assert_same_training(run: Run, alone: Run, row: str) -> None:
    name = "source" if row == "source_only" else row
    ours, reference = history(run, name), history(alone, name)
    assert [entry.keys() for entry in ours] == [entry.keys() for entry in reference]
    numbers = [[v for v in entry.values() if not isinstance(v, dict)] for entry in ours]
    wanted = [[v for v in entry.values() if not isinstance(v, dict)] for entry in reference]
    for got, want in zip(numbers, wanted, strict=True):
        torch.testing.assert_close(torch.tensor(got), torch.tensor(want), **CLOSE)
    found = stages.adapted_network(run, row).state_dict()
    expected = stages.adapted_network(alone, row).state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        size = max(1.0, value.abs().max().item())  # statistics are in grey levels
        torch.testing.assert_close(found[key] / size, value / size, rtol=0, atol=1e-4, msg=key)


def test_source_training_is_that_of_one_process(alone, tmp_path, data_folder, capfd):
    run = open_two(tmp_path / "run", data_folder)
    stages.source_network(run)
    assert capfd.readouterr().err.count("Source training: 100%") >= 1
    assert_same_training(run, alone, "source_only")


NOTEBOOK = f"""
import socket

import accelerate

def train(folder):
    cpu = {{"device": "cpu"}}
    from iapc_lib.resume import Checkpointer
    from iapc_lib.training_process import train_part

    train_part(folder, "tent", cpu)
    train_part(folder, "iapc", cpu)
    # As if it were stopped there: nothing is saved any more.
    save = Checkpointer.save
    Checkpointer.save_if_due = lambda checkpointer, step: checkpointer.save(step)
    Checkpointer.save = lambda checkpointer, step: step == {STOP} and save(checkpointer, step)
    train_part(folder, "self_training", cpu)

with socket.socket() as free:  # port 0 would be taken literally
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
accelerate.notebook_launcher(train, (folder,), num_processes=2, use_port=str(port))
"""


@pytest.fixture(scope="module")
def notebook_run(alone, tmp_path_factory, data_folder) -> Run:
    """Adapted by accelerate's launcher in a notebook: `iapc` was begun by one process."""
    temporary = tmp_path_factory.mktemp("notebook")
    folder = prepared(alone, temporary / "run")
    run = open_run(PRESETS / "mini_gta5.yaml", folder, 0, changes(data_folder))
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):

        def stop(checkpointer, step):
            if step == STOP:
                checkpointer.save(step)
                raise KeyboardInterrupt

        patched.setattr(Checkpointer, "save_if_due", stop)
        stages.adapted_network(run, "iapc")
    assert torch.load(Checkpointer.path_of(run, "adaptation_iapc"))["step"] == STOP
    cells = [
        nbformat.v4.new_code_cell("folder = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(NOTEBOOK),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), temporary / "n.ipynb")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACCELERATE_USE_CPU", "true")
        patched.setenv("PYTHONPATH", str(PROJECT))
        papermill.execute_notebook(
            temporary / "n.ipynb",
            temporary / "executed.ipynb",
            {"folder": str(folder)},
            progress_bar=False,
        )
    return run


@pytest.mark.parametrize(("row", "step"), [("tent", 6), ("iapc", 6), ("self_training", STOP)])
def test_adaptation_is_that_of_one_process_in_any_number(alone, notebook_run, row, step):
    """`iapc` goes from one process to two, `self_training` from two to one."""
    saved = torch.load(Checkpointer.path_of(notebook_run, f"adaptation_{row}"))
    assert saved["step"] == step
    assert not any("module" in key for key in saved["state"]["student"])
    stages.adapted_network(notebook_run, row)
    assert_same_training(notebook_run, alone, row)


def test_failure_of_a_process_is_raised_here(alone, tmp_path, data_folder):
    run = open_two(
        tmp_path / "run", data_folder, **{"source_training.optimizer.learning_rate": 1e38}
    )
    with pytest.raises(FloatingPointError, match="source_training: step . is not finite"):
        stages.source_network(run)


def test_processes_end_with_the_one_that_started_them(tmp_path, data_folder):
    run = open_two(tmp_path / "run", data_folder, **{"source_training.steps": 100_000})
    code = (
        "import sys; from iapc_lib import stages; from iapc_lib.runs import open_run; import json\n"
        "config = json.loads(sys.argv[2])\n"
        "stages.source_network(open_run(config, sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(run.folder), run.config.model_dump_json()]
    with (tmp_path / "output").open("wb") as output:
        parent = subprocess.Popen(
            command, stderr=output, env={**os.environ, "PYTHONPATH": str(PROJECT)}
        )
    while parent.poll() is None and "loss" not in (tmp_path / "output").read_text():
        time.sleep(0.1)
    mine = [path for path in Path("/proc").glob("[0-9]*") if str(run.folder) in _command(path)]
    assert len(mine) == 4  # this one's child, torchrun and its two
    parent.kill()
    parent.wait()
    while any(str(run.folder) in _command(path) for path in mine):
        time.sleep(0.1)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def test_unprepared_folder_is_refused(tmp_path, data_folder):
    from iapc_lib.training_process import train_part

    run = open_run(PRESETS / "mini_gta5.yaml", tmp_path / "run", 0, changes(data_folder))
    with pytest.raises(RunFolderError, match="iapc needs source_network, pseudo_labels first"):
        train_part(run.folder, "iapc")


def test_undividable_batch_is_refused_before_any_work(tmp_path, data_folder):
    run = open_two(tmp_path / "run", data_folder, **{"hardware.processes": 3})
    with pytest.raises(CannotStart, match="source_training.batch_size 4 .*hardware.processes 3"):
        preflight(run)
    more = {"hardware.processes": 3, "source_training.batch_size": 3}
    run = open_two(tmp_path / "other", data_folder, **more)
    with pytest.raises(CannotStart, match="adaptation.batch_size 4 .*hardware.processes 3"):
        preflight(run)
    assert not list(run.folder.glob("s*"))
    run = open_run(
        PRESETS / "mini_gta5.yaml",
        tmp_path / "variant",
        0,
        changes(data_folder) | {"hardware.processes": 3, "adaptation.batch_size": 3},
        "ia",
    )
    with pytest.raises(CannotStart, match="source_training.batch_size 4"):
        preflight(run)
    # Taken over from another run, it is not trained here.
    run.path("source.safetensors").touch()
    preflight(run)


def test_batch_of_one_takes_one_process(tmp_path, data_folder):
    config: RunConfig = open_two(
        tmp_path / "run", data_folder, **{"source_training.batch_size": 1}
    ).config
    assert training_processes(config, "source_training") == 1
    assert training_processes(config, "iapc") == 2


class Second(World):
    """The second of two processes whose images are the same."""

    processes, rank = 2, 1

    def sum(self, tensor):
        return 2 * tensor


def test_processes_share_out_the_places_of_a_batch():
    assert World().positions(range(2, 4), 4) == list(range(8, 16))
    assert Second().positions(range(2, 4), 4) == [10, 11, 14, 15]


def test_class_weights_count_the_whole_batch():
    labels = torch.tensor([[[0, 0, 0, 1]]])
    whole = class_weights(labels.repeat(2, 1, 1), torch.ones(3), 7, 2)
    share = class_weights(labels, torch.ones(3), 7, 2, Second())
    torch.testing.assert_close(share, whole)
