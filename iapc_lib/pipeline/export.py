"""A source network that is handed on without its data, as the published ones are."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from iapc_lib.files import file_hash, read_json
from iapc_lib.networks.checkpoints import load_network, save_network
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.runs.folder import read_run
from iapc_lib.runs.records import read_stage

CURVE_STEPS = 10
"""Of so many steps each point of the loss curve that goes with the network is a mean."""


def export_source(run_folder: Path, path: Path) -> None:
    """Writes a run's source network in half precision, with a JSON that says what made it.

    That is half its size; read again it computes in full precision. The JSON has the scores at
    home, the loss curve, and code, parameters, seed and versions.

    Args:
        run_folder: of a run that trained its source network.
        path: of the new `.safetensors`.

    Raises:
        CheckpointError: the network is not there, was not trained there, or does not fit half
            precision; or the path names another kind of file, or one that is there.
        RunFolderError: the folder holds no run.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: name a file that ends in .safetensors")
    for there in (path, path.with_suffix(".json")):
        if there.exists():
            raise CheckpointError(f"{there}: is there already; name another file, or delete it")
    run = read_run(Path(run_folder).absolute())
    trained = run.path("source.safetensors")
    if run.config.source.checkpoint or not trained.exists():
        raise CheckpointError(
            f"{run_folder}: has no source network that was trained there; "
            "make one with: iapc run PRESET --set source.checkpoint=null --until 01_source_model"
        )
    network = load_network(trained, run.config)[0].half()
    broken = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise CheckpointError(f"{trained}: too large for half precision: {', '.join(broken)}")
    scored = run.path("stages", "scores_source_home.json")
    scores = read_stage(scored) if scored.exists() else {"inputs": {}}
    if scores["inputs"].get("network") != file_hash(trained):
        raise CheckpointError(
            f"{trained}: has not been scored at home yet; run it first, until 01_source_model"
        )
    history = read_json(run.path("history_source.json"), list[dict[str, Any]])
    made = read_stage(run.path("stages", "source_network.json"))
    description = read_json(trained.with_suffix(".json"), dict[str, Any])
    save_network(
        path,
        network,
        run.config,
        what=description["what"],
        precision=str(torch.float16).removeprefix("torch."),
        scores_at_home=scores["facts"],
        curve=_curve(history),
        imagenet_sha256=made["facts"].get("imagenet_sha256"),
        provenance=description["provenance"],
    )


def _curve(history: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean loss of every few steps of a source training."""
    frame = pd.DataFrame(history)[["step", "loss"]]
    return frame.groupby(frame["step"] // CURVE_STEPS).mean().round(4).to_dict("list")
