"""What runs share: a variant takes the source network and pseudo-labels of another run folder.

Files are linked, not copied, where the disk can; nothing is ever written through such a link,
because every file of a run folder is replaced as a whole.
"""

import os
import shutil
from pathlib import Path

from iapc_lib.config.presets import RECORD
from iapc_lib.config.run_config import SHARED_FIELDS
from iapc_lib.files import atomic_path, visible_files, write_json
from iapc_lib.runs.folder import Run, read_run
from iapc_lib.runs.records import RunFolderError, read_run_record, read_stage

SHARED_STAGES = {
    "source_network": ("source.safetensors", "source.json", "history_source.json"),
    "bn_recomputed": ("adapted_bn_recomputed.safetensors", "adapted_bn_recomputed.json"),
    "pseudo_labels": ("pseudo_labels",),
    "pseudo_labels_bn_teacher": ("pseudo_labels_bn_teacher",),
}
"""Stages that come before adaptation, and their files and folders."""


def reuse_stages(run: Run, base: Run, unfinished: bool = False) -> list[str]:
    """Takes what another run has made before its adaptation, unless this run has it.

    Args:
        run: open run folder.
        base: open run folder with the same `run_config.SHARED_FIELDS`.
        unfinished: take the saved states of its unfinished trainings, too: they go on here,
            under this run's parameters. The training of its source network may be one of them;
            then `source_training` may differ.

    Returns:
        Names of the stages and states that were taken.

    Raises:
        RunFolderError: the settings differ, or the base has no source network.
    """
    trained = base.path("stages", "source_network.json").exists()
    training = unfinished and not trained and base.path("states", "source_training.pt").exists()
    same = [key for key in SHARED_FIELDS if not (training and key == "source_training")]
    different = [key for key in same if getattr(run.config, key) != getattr(base.config, key)]
    if different:
        raise RunFolderError(
            f"{base.folder}: cannot be the base of {run.folder}: they differ in "
            f"{', '.join(different)}; choose another one with --base, or leave it out"
        )
    if not trained and not training:
        raise RunFolderError(
            f"{base.folder}: has no finished source network to take over; run it first, "
            "or leave out --base"
        )
    taken = []
    with run.lock():
        for stage, names in SHARED_STAGES.items():
            record, mine = (r.path("stages", f"{stage}.json") for r in (base, run))
            if mine.exists() or not record.exists():
                continue
            for name in names:
                _link(base.path(name), run.path(name))
            made = read_stage(record)
            write_json(mine, {**made, "taken_from": os.path.relpath(base.folder, run.folder)})
            taken.append(stage)
        states = visible_files(base.path("states"), "*.pt") if unfinished else []
        states = [state for state in states if not run.path("states", state.name).exists()]
        if states:
            # Written first: what goes on from there is not made by this run's parameters alone.
            record = read_run_record(run.path(RECORD))
            going_on = {state.stem: os.path.relpath(base.folder, run.folder) for state in states}
            record["continued_from"] = record.get("continued_from", {}) | going_on
            write_json(run.path(RECORD), record)
        for state in states:
            _link(state, run.path("states", state.name))
            taken.append(f"unfinished {state.stem}")
    return taken


def sibling_run(run: Run) -> Run | None:
    """The run of all rows in the folder beside a variant's, if it has the same settings."""
    folder = run.folder.parent / f"{run.config.scenario}-seed{run.config.seed}"
    if folder == run.folder or not (folder / "stages" / "source_network.json").exists():
        return None
    base = read_run(folder)
    same = all(getattr(run.config, key) == getattr(base.config, key) for key in SHARED_FIELDS)
    return base if same else None


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        for path in visible_files(source, "**/*"):
            if path.is_file():
                _link(path, target / path.relative_to(source))
        return
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # another disk, or one without links
            shutil.copy2(source, temporary)
