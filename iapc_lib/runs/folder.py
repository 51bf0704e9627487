"""The run folder: what a run has made, what made it, and how it goes on after a stop.

run.json                  the configuration that the folder belongs to, and where each field is from
source.safetensors        networks, each with a JSON beside it
adapted*.safetensors
pseudo_labels/            PNGs of train ids
predictions/              predictions during adaptation
snapshots/                networks during adaptation, where they are kept
stages/NAME.json          one record a finished stage: its inputs, facts, seconds and provenance
states/NAME.pt            where an unfinished training goes on; removed when it is done
logs/                     what can be watched while a training runs; see `training.logs`
figures/, notebooks/      pictures and executed notebooks
results.json              the scores
.made                     Snakemake's mark that its job for this folder is done
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout
from tqdm.auto import tqdm

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import (
    RECORD,
    different,
    dotted,
    load_config,
    load_with_origin,
    with_defaults,
)
from iapc_lib.config.run_config import RunConfig
from iapc_lib.files import file_hash, only_writer, visible_files, write_json
from iapc_lib.machine.device import Machine, prepare_machine
from iapc_lib.machine.memory import PeakMemory
from iapc_lib.paths import project_root, resolve
from iapc_lib.runs.provenance import provenance
from iapc_lib.runs.records import (
    RUN_FORMAT,
    RunFolderError,
    StageRecord,
    read_run_record,
    read_stage,
    stage_records,
)

LOCK_WAIT_SECONDS = 15.0
RUNNER_LOCK = ".runner.lock"
"""Held while `iapc run` sends notebooks through the folder; a stage has a lock of its own."""


@dataclass
class Run:
    """An open run folder with its configuration. Use `open_run`."""

    folder: Path
    config: RunConfig
    seconds_before: float = 0.0
    """What the running stage took in earlier processes, which were stopped."""

    @functools.cached_property
    def machine(self) -> Machine:
        """Device and precision of this run."""
        return prepare_machine(self.config.hardware)

    def path(self, *parts: str) -> Path:
        """A path in the run folder."""
        return self.folder.joinpath(*parts)

    def provenance(self) -> dict[str, Any]:
        """What makes what is made now; see `provenance.provenance`."""
        return provenance(self.config, self.machine)

    def stage(
        self,
        name: str,
        inputs: Mapping[str, Any],
        make: Callable[..., Mapping[str, Any] | None],
        outputs: Sequence[Path] = (),
        prepare: Callable[[], tuple] = tuple,
    ) -> dict[str, Any]:
        """Runs `make` unless this stage is finished with the same inputs; returns its facts.

        Args:
            name: of the stage; one record file each.
            inputs: JSON-able values (hashes of files) that the stage depends on, besides the
                run's configuration. The stage is made again when they change.
            make: does the work and returns JSON-able facts about it. Its files are in place
                before the record is written, so a stop in between only makes it again.
            outputs: files that it makes; it is made again when one is gone or was changed since.
            prepare: makes what `make` takes, from earlier stages; called only if it must be made.

        Raises:
            RunFolderError: another process writes to this folder.
        """
        record_path = self.path("stages", f"{name}.json")
        if (facts := self._finished(record_path, inputs, outputs)) is not None:
            return facts
        prepared = prepare()
        with self.lock():
            if (facts := self._finished(record_path, inputs, outputs)) is not None:
                return facts
            self._forget_if_changed(record_path)
            if record_path.exists():
                made_from = read_stage(record_path)["inputs"]
                changed = [key for key in inputs if made_from.get(key) != inputs[key]]
                tqdm.write(f"{name}: {', '.join(changed) or 'something'} changed; it is made again")
            memory, began = PeakMemory(self.machine.device), time.monotonic()
            self.seconds_before = 0.0
            facts = dict(make(*prepared) or {})
            record = {
                "stage": name,
                "inputs": dict(inputs),
                "facts": facts,
                "outputs": {
                    path.relative_to(self.folder).as_posix(): file_hash(path) for path in outputs
                },
                "seconds": round(self.seconds_before + time.monotonic() - began, 1),
                **memory.measured(),
                "provenance": self.provenance(),
            }
            write_json(record_path, record)
        return facts

    def _finished(
        self, record_path: Path, inputs: Mapping[str, Any], outputs: Sequence[Path]
    ) -> dict[str, Any] | None:
        if not record_path.exists() or not all(path.exists() for path in outputs):
            return None
        record = read_stage(record_path)
        current = record["inputs"] == dict(inputs) and not self._changed(record)
        return record.get("facts") if current else None

    def forget(self, stage: str) -> None:
        """Drops a stage's record before its files are replaced: a stop must not find it beside others."""
        self.path("stages", f"{stage}.json").unlink(missing_ok=True)

    def _changed(self, record: StageRecord) -> list[Path]:
        """Files that are not, or no longer, what a stage made; earlier versions recorded none."""
        names = record.get("outputs", {})
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
            raise RunFolderError(f"{self.folder}: the record of a stage names files elsewhere")
        made = {self.path(name): sha256 for name, sha256 in names.items()}
        if folders := [path for path in made if path.is_dir()]:
            raise RunFolderError(f"{folders[0]}: is a folder in the place of a file; remove it")
        return [p for p, sha256 in made.items() if not p.is_file() or file_hash(p) != sha256]

    def _forget_if_changed(self, record_path: Path) -> None:
        """Removes the files of a finished stage that were changed, and its record; says so."""
        record = read_stage(record_path) if record_path.exists() else None
        changed = self._changed(record) if record else []
        for path in changed:
            tqdm.write(f"{path}: is not what {record_path.stem} made; it is made again")
            path.unlink(missing_ok=True)
        if changed:
            record_path.unlink()

    def forget_changed(self) -> None:
        """Forgets what somebody changed since it was made, so that it is made again, and says so.

        Notebooks are run again then; those whose stages are unchanged take a few seconds.
        """
        if not any(map(self._changed, stage_records(self.folder).values())):
            return
        with self.lock():
            for path in visible_files(self.path("stages"), "*.json"):
                self._forget_if_changed(path)
            for path in visible_files(self.path("stages"), "notebook_*.json"):
                path.unlink()

    @contextmanager
    def lock(self, name: str = ".lock", wait: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
        """Keeps other writers away from the folder; the system lifts it when a process dies.

        Args:
            wait: seconds for another writer to finish; -1: however long it takes.

        Raises:
            RunFolderError: another process holds it, or the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                # A killed run's notebook kernel needs a moment to notice that its parent is gone.
                stack.enter_context(only_writer(self.path(name), wait))
            except Timeout:
                raise RunFolderError(
                    f"{self.folder}: another process is writing to this run folder; "
                    "wait for it to finish or choose another folder with `out` (--out)"
                ) from None
            except OSError as error:
                raise RunFolderError(
                    f"{self.folder}: cannot be written ({error.strerror})"
                ) from None
            yield


def open_run(
    config: str | Path | Mapping[str, Any] | RunConfig,
    out: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    variant: str | Path | None = None,
    origin: Mapping[str, str] | None = None,
) -> Run:
    """Opens (or makes) the run folder of a configuration.

    What was changed there since it was made is forgotten, so that it is made again.

    Args:
        config: path of a preset, the mapping under its key `config`, or a `RunConfig`.
        out: the run folder; None takes `papermill_runs/<scenario>-seed<seed>[-<variant>]`.
        seed: None takes the preset's.
        overrides: dotted keys and their values.
        variant: name or path of a variant: the run makes that row of a larger table only.
        origin: of a `RunConfig`: where its fields are from, by dotted key.

    Raises:
        ConfigError: a key or a value is not allowed.
        RunFolderError: the folder cannot be written or holds work of other parameters.
    """
    if not isinstance(config, RunConfig):
        config, origin = load_with_origin(config, seed, overrides, variant)
    elif origin is None:
        origin = dict.fromkeys(dotted(config.model_dump(exclude_unset=True)), "a RunConfig")
    folder = default_folder(config) if out is None else resolve(out)
    about = folder / RECORD
    described = _described(config)
    record = {
        "format": RUN_FORMAT,
        "config": described,
        "hardware": config.hardware.model_dump(mode="json"),
        "origin": {key: place for key, place in origin.items() if key in dotted(described)},
    }
    run = Run(folder, config)
    changed = refuse_other_folder(folder, config)
    if not about.exists():
        write_json(about, record)
    elif changed:
        with run.lock(RUNNER_LOCK, 0), run.lock(wait=0):  # nobody is at work there
            write_json(about, record)
    run.forget_changed()
    return run


def _described(config: RunConfig) -> dict[str, Any]:
    """What of a configuration a run folder belongs to."""
    return config.model_dump(mode="json", exclude={"hardware"})


def refuse_other_folder(folder: Path, config: RunConfig) -> bool:
    """Refuses a folder that a run of this configuration cannot use; nothing is written.

    Returns:
        Whether the folder has a record of other parameters that nothing was made with yet.

    Raises:
        RunFolderError: it holds work of other parameters or of somebody else, or lies among the
            images, where a run's pictures would be taken for photographs.
    """
    about, described = folder / RECORD, _described(config)
    if config.target.layout == "folder":
        images = resolve(config.target.root) / config.target.train
        if folder.resolve().is_relative_to(images.resolve()):
            raise RunFolderError(
                f"{folder}: lies in the folder of the images, {images}, and would be searched for "
                "them; choose a folder beside it with `out` (--out)"
            )
    if about.exists():
        recorded = with_defaults(read_run_record(about)["config"])
        recorded.pop("hardware", None)
        changes = different(dotted(described), dotted(recorded))
        begun = any((folder / name).exists() for name in ("stages", "states"))
        if changes and begun:
            said = (f"{key} is {now!r}, there {then!r}" for key, (now, then) in changes.items())
            raise RunFolderError(
                f"{folder}: was made with other parameters ({'; '.join(said)}); "
                "choose another folder with `out` (--out), or delete it"
            )
        return bool(changes)
    full = any(not path.is_dir() for path in visible_files(folder, "**/*"))
    if full and not _made_by(folder, described):
        raise RunFolderError(
            f"{folder}: is not empty and no run folder (it has no run.json); choose another one"
        )
    return False


def _made_by(folder: Path, described: Mapping[str, Any]) -> bool:
    """Whether a folder's stages were made with this configuration, and no other."""
    configs = [
        with_defaults(record["provenance"]["config"])
        for record in stage_records(folder).values()
        if "taken_from" not in record
        and isinstance(record.get("provenance", {}).get("config"), dict)
    ]
    for config in configs:
        config.pop("hardware", None)
    return bool(configs) and all(config == dict(described) for config in configs)


def read_run(folder: str | Path) -> Run:
    """Opens an existing run folder with the configuration that it was made with.

    Raises:
        RunFolderError: it is no run folder, or its configuration is of another version.
    """
    about = resolve(folder) / RECORD
    fields = read_run_record(about)["config"]
    try:
        return Run(about.parent, load_config(fields))
    except ConfigError as error:
        raise RunFolderError(f"{about}: describes no run of this version ({error})") from None


def default_folder(config: RunConfig) -> Path:
    """The run folder of a configuration that names no other."""
    variant = f"-{config.variant.name}" if config.variant else ""
    return project_root() / "papermill_runs" / f"{config.scenario}-seed{config.seed}{variant}"
