"""A training that can be watched, and that stops with a clear error when it breaks or hangs."""

from __future__ import annotations

import copy
import json
import math
import signal
import subprocess
import sys
import threading
import time

import nbformat
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from iapc_lib.classes import colorize
from iapc_lib.data.images import read_image, read_train_ids
from iapc_lib.data.target_views import ViewsDataset
from iapc_lib.files import FileError, read_json
from iapc_lib.machine import stalls
from iapc_lib.machine.stalls import StallError, StallWatch
from iapc_lib.method.optimizer import make_optimizer, set_learning_rate
from iapc_lib.pipeline import runner, stages
from iapc_lib.rows import ROWS
from iapc_lib.runs.folder import open_run
from iapc_lib.runs.records import RunFolderError
from iapc_lib.runs.sharing import reuse_stages
from iapc_lib.training import adapt, loop, saved_state
from iapc_lib.training.monitor import Monitor, dev_curve
from iapc_lib.training.saved_state import TrainingDiverged, restore_optimizer
from tests.conftest import PRESETS, PROJECT, tiny_overrides

PRESET = PRESETS / "mini_gta5.yaml"


class Killed(Exception):
    """Stands for a kill: nothing of the product catches it."""


def log_of(run, name):
    return [json.loads(line) for line in run.path("logs", f"{name}.jsonl").read_text().splitlines()]


def events_of(run, name):
    found = EventAccumulator(
        str(run.path("logs", "tensorboard", name)), size_guidance={"images": 0}
    )
    found.Reload()
    return found


def scalars(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


KIND = {"source": "adamw", "iapc": "sgd"}
"""The optimiser tells the trainings of the miniature apart."""


def stop_at(monkeypatch, log, step, action=None):
    """Makes the training of that log do `action` (by default die) just before a step."""
    real = loop.set_learning_rate

    def at_step(optimizer, config, now):
        if now == step and config.name == KIND[log]:
            if action is None:
                raise Killed
            action(optimizer)
        return real(optimizer, config, now)

    monkeypatch.setattr(loop, "set_learning_rate", at_step)


@pytest.fixture
def save_always(monkeypatch):
    monkeypatch.setattr(saved_state, "SAVE_EVERY_SECONDS", 0)
    monkeypatch.setattr(saved_state, "SAVE_PAUSE", 0)


def test_logs_say_what_the_history_says_in_lines_and_in_tensorboard(tiny_run):
    stages.network_file(tiny_run, "iapc")
    for name in ("source", "iapc"):
        assert log_of(tiny_run, name) == read_json(tiny_run.path(f"history_{name}.json"))
    history = log_of(tiny_run, "iapc")
    steps = [entry for entry in history if "loss" in entry]
    looks = [entry for entry in history if "watched" in entry]
    assert len(steps) == 6 and len(looks) == 7
    config = tiny_run.config.adaptation.optimizer
    assert steps[0]["learning_rate_head"] == pytest.approx(
        steps[0]["learning_rate"] * config.head_factor
    )
    events = events_of(tiny_run, "iapc")
    for tag, key in (
        ("loss", "loss"),
        ("importance", "importance"),
        ("agreement", "agreement"),
        ("learning_rate", "learning_rate"),
        ("learning_rate_head", "learning_rate_head"),
        ("terms/prototype_enhanced", "prototype_enhanced"),
    ):
        expected = [(entry["step"], pytest.approx(entry[key], rel=1e-6)) for entry in steps]
        assert scalars(events, tag) == expected
    expected = [(step, pytest.approx(miou, rel=1e-6)) for step, miou in dev_curve(history)]
    assert len(expected) == len(looks) and scalars(events, "dev_miou") == expected
    assert [picture.step for picture in events.Images("watched/0")] == list(range(7))
    height, width = tiny_run.config.evaluation.image_size
    first = events.Images("watched/1")[0]
    assert (first.height, first.width) == (height, 3 * width)  # image, student, memory
    assert scalars(events_of(tiny_run, "source"), "loss")[-1][0] == 5


def test_watched_pictures_show_image_student_and_memory(tiny_run):
    stages.network_file(tiny_run, "iapc")
    records = stages.monitored_records(tiny_run)
    picture = Monitor(tiny_run, ROWS["iapc"], records).pictures(0)["0"]
    image, student, memory = np.split(picture, 3, axis=1)
    assert np.array_equal(image, np.asarray(read_image(records[0].image)))
    for name, shown in (("0", student), ("memory/0", memory)):
        labels = read_train_ids(tiny_run.path("predictions", "iapc", f"{name}_000000.png"))
        assert np.array_equal(shown, colorize(labels))


@pytest.mark.parametrize("name", KIND)
def test_interrupted_training_has_the_same_lines_and_curves(
    tiny_run, tmp_path, data_folder, monkeypatch, save_always, name
):
    stages.network_file(tiny_run, "iapc")
    other = open_run(PRESET, tmp_path / "stopped", 0, tiny_overrides(data_folder))
    with monkeypatch.context() as patch:
        stop_at(patch, name, 4)
        with pytest.raises(Killed):
            stages.network_file(other, "iapc")
    # A kill later than the last saved state: a line and an event too many, the line cut off.
    with other.path("logs", f"{name}.jsonl").open("a") as lines:
        lines.write('{"step": 4, "loss": 9}\n{"step": 5, "lo')
    stages.network_file(other, "iapc")
    for log in ("source", "iapc"):
        lines = [run.path("logs", f"{log}.jsonl").read_bytes() for run in (tiny_run, other)]
        assert lines[0] == lines[1]
        whole, resumed = (events_of(run, log) for run in (tiny_run, other))
        assert whole.Tags()["scalars"] == resumed.Tags()["scalars"]
        for tag in whole.Tags()["scalars"]:
            assert scalars(whole, tag) == scalars(resumed, tag)
    pictures = [event.step for event in events_of(other, "iapc").Images("watched/0")]
    assert pictures == list(range(7))


def test_log_that_cannot_be_written_is_named(tiny_run):
    stages.pseudo_labels(tiny_run)
    tiny_run.path("logs", "tensorboard").mkdir(parents=True, exist_ok=True)
    tiny_run.path("logs", "tensorboard", "iapc").write_text("in the way")
    with pytest.raises(FileError, match="logs/tensorboard/iapc: cannot be written"):
        stages.network_file(tiny_run, "iapc")


def poison(optimizer):
    for group in optimizer.param_groups:
        group["params"][0].data[...] = math.inf


def assert_finite(value):
    if isinstance(value, torch.Tensor):
        assert not value.is_floating_point() or value.isfinite().all()
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            assert_finite(inner)


@pytest.mark.parametrize("row", ["iapc", "self_training"])
def test_broken_adaptation_names_step_terms_and_what_to_do(
    tiny_run, tmp_path, data_folder, monkeypatch, save_always, row
):
    stop_at(monkeypatch, "iapc", 3, poison)
    with pytest.raises(TrainingDiverged) as raised:
        stages.network_file(tiny_run, row)
    message = str(raised.value)
    path = tiny_run.path("states", f"adaptation_{row}.pt")
    assert f"adaptation_{row}: step 3 is not finite: loss = nan" in message
    assert ("information_maximization = nan" in message) == (row == "iapc")
    assert f"the last good state, of step 3, is kept: {path}" in message
    command = message.splitlines()[-1].split()
    assert command[command.index("--continue-from") + 1] == str(tiny_run.folder)
    (setting,) = command[command.index("--set") + 1 :]
    saved = torch.load(path, weights_only=True)
    assert saved["step"] == 3
    assert_finite(saved["state"])
    monkeypatch.undo()
    # The command that the message gives works: the state goes on under the other parameter.
    key, value = setting.split("=")
    changed = tiny_overrides(data_folder) | {key: float(value)}
    other = open_run(PRESET, tmp_path / "other", 0, changed)
    assert f"unfinished adaptation_{row}" in reuse_stages(other, tiny_run, unfinished=True)
    stages.network_file(other, row)
    assert [e["step"] for e in log_of(other, row) if "loss" in e] == list(range(6))
    before, after = (log_of(run, row) for run in (tiny_run, other))
    assert after[: len(before) - 1] == before[:-1]  # the look before the broken step comes twice
    rates = [e["learning_rate"] for e in after if "loss" in e]
    assert rates[3] < rates[2] / 9
    assert [step for step, _ in scalars(events_of(other, row), "loss")] == list(range(6))


def test_broken_source_training_is_kept_and_goes_on_elsewhere(
    tiny_run, tmp_path, data_folder, monkeypatch, save_always
):
    stop_at(monkeypatch, "source", 2, poison)
    with pytest.raises(TrainingDiverged, match="source_training: step 2 is not finite: loss = nan"):
        stages.network_file(tiny_run, "source_only")
    saved = torch.load(tiny_run.path("states", "source_training.pt"), weights_only=True)
    assert saved["step"] == 2
    assert_finite(saved["state"])
    monkeypatch.undo()
    changed = tiny_overrides(data_folder) | {"source_training.optimizer.learning_rate": 1e-5}
    other = open_run(PRESET, tmp_path / "other", 0, changed)
    with pytest.raises(RunFolderError, match="they differ in source_training"):
        reuse_stages(other, tiny_run)
    assert reuse_stages(other, tiny_run, unfinished=True) == ["unfinished source_training"]
    stages.network_file(other, "source_only")
    rates = [e["learning_rate"] for e in log_of(other, "source")]
    assert rates[1] > 1e-5 >= rates[2]


def test_absurd_learning_rate_breaks_before_anything_was_saved(tmp_path, data_folder):
    rate = {"source_training.optimizer.learning_rate": 1e6}
    run = open_run(PRESET, tmp_path / "run", 0, tiny_overrides(data_folder) | rate)
    with pytest.raises(TrainingDiverged, match="no state was saved before") as raised:
        stages.network_file(run, "source_only")
    assert "--continue-from" not in str(raised.value)  # nothing to go on from
    assert not run.path("source.safetensors").exists()


def break_student_after(losses: int, monkeypatch) -> None:
    """Makes the update that follows so many losses leave a weight that is no number."""

    def breaking(row, state, *arguments):
        result = real(row, state, *arguments)
        if sum("loss" in entry for entry in state.history) == losses:
            state.networks.student.conv1.weight.data[0] = math.nan
        return result

    real = adapt.update
    monkeypatch.setattr(adapt, "update", breaking)


def test_broken_update_behind_a_finite_loss_never_replaces_a_good_state(
    tiny_run, monkeypatch, save_always
):
    break_student_after(2, monkeypatch)
    with pytest.raises(TrainingDiverged, match="step 2 is not finite: after it, in student.conv1"):
        stages.network_file(tiny_run, "iapc")
    saved = torch.load(tiny_run.path("states", "adaptation_iapc.pt"), weights_only=True)
    assert saved["step"] == 2
    assert_finite(saved["state"])


def test_broken_last_update_makes_no_result(tiny_run, monkeypatch):
    break_student_after(5, monkeypatch)
    with pytest.raises(TrainingDiverged, match="step 5 is not finite: after it"):
        stages.network_file(tiny_run, "iapc")
    assert not tiny_run.path("adapted.safetensors").exists()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_resumed_optimizer_has_its_memory_and_the_new_settings(tiny_run, kind):
    network = stages.network(tiny_run, "source_only").network.train()
    old = tiny_run.config.adaptation.optimizer.model_copy(
        update={"name": kind, "learning_rate": 1e-3, "weight_decay": 0.0, "momentum": 0.9}
    )
    new = old.model_copy(update={"learning_rate": 3e-3, "weight_decay": 0.1, "momentum": 0.5})

    def step(optimizer, config, number):
        set_learning_rate(optimizer, config, number)
        generator = torch.Generator().manual_seed(number)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    first = make_optimizer(network, old)
    step(first, old, 0)
    # Expected: the same optimiser object goes on, its settings changed by hand.
    expected, resumed = copy.deepcopy(network), copy.deepcopy(network)
    by_hand, restored = make_optimizer(expected, old), make_optimizer(resumed, new)
    by_hand.load_state_dict(copy.deepcopy(first.state_dict()))
    for group in by_hand.param_groups:
        group["weight_decay"] = 0.1
        if kind == "sgd":
            group["momentum"] = 0.5
    restore_optimizer(restored, copy.deepcopy(first.state_dict()))
    step(by_hand, new, 1)
    step(restored, new, 1)
    for ours, theirs in zip(resumed.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    unchanged = copy.deepcopy(network)  # that the settings matter at all
    under_old = make_optimizer(unchanged, old)
    under_old.load_state_dict(copy.deepcopy(first.state_dict()))
    step(under_old, old, 1)
    assert not torch.equal(unchanged.conv1.weight, resumed.conv1.weight)


def test_state_of_another_optimizer_or_of_a_longer_training_is_refused(
    tiny_run, tmp_path, data_folder, monkeypatch, save_always
):
    stop_at(monkeypatch, "iapc", 4)
    with pytest.raises(Killed):
        stages.network_file(tiny_run, "iapc")
    monkeypatch.undo()
    used = tiny_run.config.adaptation.optimizer.name
    other = "sgd" if used == "adamw" else "adamw"
    for number, (change, message) in enumerate(
        (
            ({"adaptation.optimizer.name": other}, f"saved optimiser is {used}, .* run {other}"),
            ({"adaptation.steps": 3}, "at step 4 of a training, this run has only 3"),
        )
    ):
        overrides = tiny_overrides(data_folder) | change
        run = open_run(PRESET, tmp_path / f"other{number}", 0, overrides)
        reuse_stages(run, tiny_run, unfinished=True)
        with pytest.raises(RunFolderError, match=f"adaptation_iapc.pt: .*{message}"):
            stages.network_file(run, "iapc")


def test_sleeping_data_set_is_a_stall_and_the_training_goes_on_later(
    tiny_run, monkeypatch, save_always
):
    stages.pseudo_labels(tiny_run)
    real = ViewsDataset.__getitem__
    handler, threads = signal.getsignal(signal.SIGALRM), threading.active_count()

    def sleeping(dataset, position):
        if position == 3 * tiny_run.config.adaptation.batch_size:
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # instead of half an hour
            time.sleep(600)
        return real(dataset, position)

    with monkeypatch.context() as patch:
        patch.setattr(ViewsDataset, "__getitem__", sleeping)
        with pytest.raises(
            StallError,
            match=r"adaptation \(iapc\): no progress for 1800 seconds at step 3, while loading its",
        ):
            stages.network_file(tiny_run, "iapc")
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert threading.active_count() == threads
    saved = torch.load(tiny_run.path("states", "adaptation_iapc.pt"), weights_only=True)
    assert saved["step"] == 3
    stages.network_file(tiny_run, "iapc")
    assert [e["step"] for e in log_of(tiny_run, "iapc") if "loss" in e] == list(range(6))


def test_stall_names_its_phase_and_survives_being_caught():
    with pytest.raises(StallError, match="at step 7, while looking at the score"):  # noqa: SIM117
        with StallWatch("x", 600) as stall:
            stall.phase(7, "looking at the score")
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                time.sleep(600)
            except Exception as error:  # as a reader does with a damaged file
                raise ValueError("damaged") from error


def test_progress_begins_the_time_anew_and_no_limit_watches_nothing():
    with StallWatch("x", 6000) as stall:
        stall.phase(0, "looking at the score")
        signal.setitimer(signal.ITIMER_REAL, 1000)
        stalls.heartbeat()
        assert 1000 < signal.getitimer(signal.ITIMER_REAL)[0] <= 6000
    with StallWatch("x", None) as stall:
        stall.phase(0, "computing")
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    stalls.heartbeat()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


UNINTERRUPTIBLE = """
import signal, time
from iapc_lib.machine import stalls
stalls.GRACE_SECONDS = 3
def hung_on_the_gpu():
    time.sleep(600)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
with stalls.StallWatch("x", 0.5) as stall:
    stall.phase(3, "computing")
    hung_on_the_gpu()
"""


def test_process_that_cannot_be_interrupted_is_ended_with_its_traceback():
    ended = subprocess.run(
        [sys.executable, "-c", UNINTERRUPTIBLE], capture_output=True, text=True, cwd=PROJECT
    )
    assert ended.returncode == 1
    assert "hung_on_the_gpu" in ended.stderr


STALLED_CELL = """
import time
from iapc_lib.training.saved_state import TrainingDiverged
from iapc_lib.machine.stalls import StallError, StallWatch
try:
    with StallWatch("x", 0.2):
        time.sleep(600)
except StallError as error:
    stalled = str(error)
"""


def test_notebook_kernel_stalls_and_shows_the_whole_message(tiny_run, monkeypatch, tmp_path):
    message = "adaptation_iapc: step 3 is not finite\nkept\niapc run CONFIG"
    cells = [STALLED_CELL, f"assert 'no progress' in stalled\nraise TrainingDiverged({message!r})"]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "05_full_adaptation.ipynb")
    monkeypatch.setattr(runner, "project_root", lambda: tmp_path)
    with pytest.raises(runner.NotebookFailed) as raised:
        runner._run_notebook(tiny_run, "05_full_adaptation", {})
    text = str(raised.value)
    assert ": TrainingDiverged: " + message.replace("\n", "\n  ") + "\nsee" in text
    assert "the same command goes on" not in text
