"""The published code's update, pseudo-label loop and loader beside ours: ratios of medians.

    .venv/bin/python -m benchmarks.against_published published
    .venv/bin/python -m benchmarks.against_published published --parts update --device cuda --batch 6 --size 256 512

Both sides work on the same weights, images and labels, in a process each, and take turns (theirs,
ours, ours, theirs, ...) while the other waits. Nothing of the published folder is changed: what
today's numpy and torch took away is given back from outside. A ratio is printed only where both
sides computed the same. Without a folder our side is timed alone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import random
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from iapc_lib.config.presets import load_config
from iapc_lib.config.sections import Hardware
from iapc_lib.data.cache import cached_records, training_sizes
from iapc_lib.data.layouts import Record
from iapc_lib.data.target_views import ViewsDataset
from iapc_lib.machine.device import Machine, prepare_machine
from iapc_lib.method.deeplab import PIXEL_MEAN, network_input
from iapc_lib.method.optimizer import make_optimizer, set_learning_rate
from iapc_lib.method.settings import StepSettings
from iapc_lib.method.step import Networks, adaptation_step
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.paths import project_root
from iapc_lib.training.adapt import STATISTICS_MEMORY
from iapc_lib.training.monitor import LOOKS_PER_RUN
from iapc_lib.training.pseudo_labels import write_pseudo_labels
from tests.parity.weights import network_with_weights

CLASSES = 19
VIEWS = ("plain", "rescaled", "augmented", "clean")
PARTS = ("update", "pseudo_labels", "views")
LOADER_BATCH = 6
"""Images of a batch of views, as published."""


@dataclass(frozen=True)
class Task:
    """What both sides are to do."""

    published: Path | None
    """Folder with `trainer.py`; None times our side alone."""
    scratch: Path
    part: str
    device: str
    threads: int
    batch: int
    size: tuple[int, int]

    @property
    def config(self):
        """The published settings, as our preset has them."""
        return load_config(
            project_root() / "papermill_runs/gta5.yaml",
            overrides={"hardware.precision": "float32"},
        )

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The same random batches on both sides; noise takes as long as streets."""
        draw = torch.Generator().manual_seed(0)
        shape = self.batch, 3, *self.size
        while True:
            batch = {v: torch.randint(0, 256, shape, generator=draw).byte() for v in VIEWS}
            # Labels in blocks: a network's pseudo-labels are no noise.
            coarse = torch.randint(
                0, CLASSES, (self.batch, *(s // 16 for s in self.size)), generator=draw
            )
            batch["label"] = coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)
            yield batch


Turn = Callable[[], dict[str, Any]]
"""One turn of a side: does the work and returns `seconds` (by what was done) and what to compare."""


def clock(device: str) -> float:
    """Seconds, once the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# The published side -------------------------------------------------------------------------


def give_back(task: Task) -> None:
    """What the published code needs of an older numpy and of a GPU."""
    for name, kind in (("int", int), ("str", str)):
        if name not in np.__dict__:
            setattr(np, name, kind)
    if task.device == "cpu":
        torch.Tensor.cuda = nn.Module.cuda = lambda self, *args, **kwargs: self
    sys.path.insert(0, str(task.published))
    sys.argv = ["published"]
    warnings.filterwarnings("ignore")


def published_module(task: Task, name: str) -> types.ModuleType:
    """A module of theirs, and no other of the same name."""
    module = importlib.import_module(name)
    if task.published not in Path(module.__file__).resolve().parents:
        raise SystemExit(f"{name} was imported from {module.__file__}, not from {task.published}")
    return module


def published_update(task: Task) -> Turn:
    """Turns of one update of `AD_Trainer`."""
    trainer, tool = published_module(task, "trainer"), published_module(task, "utils.tool")
    arguments = types.SimpleNamespace(
        num_classes=CLASSES,
        crop_size=task.size,
        model="DeepLab",
        restore_from="weights",
        learning_rate=1e-4,
        momentum=0.9,
        weight_decay=5e-4,
        power=0.9,
        num_steps=100_000,
        warm_up=5000,
        class_balance=True,
        often_balance=True,
        max_value=7,
        lambda_loss_pseudo_label=0.2,
        lambda_loss_clustering_label=0.5,
        lambda_loss_clustering_sym_label=0.04,
        lambda_loss_prediction_self=2.0,
        fp16=False,
        multi_gpu=False,
        snapshot_dir=str(task.scratch),
        only_hard_label=0,
    )
    weights = network_with_weights("published", torch.float32).state_dict()
    load, torch.load = torch.load, lambda *args, **kwargs: {"state_dict": weights}
    theirs = trainer.AD_Trainer(arguments)
    torch.load = load
    batches, step = task.batches(), iter(range(10**9))

    def turn() -> dict[str, Any]:
        batch, number = next(batches), next(step)
        label = batch.pop("label").to(task.device)
        plain, rescaled, augmented, clean = (
            network_input(batch[view]).to(task.device) for view in VIEWS
        )
        began = clock(task.device)
        tool.adjust_learning_rate(theirs.gen_opt, number, arguments)
        _, _, total, _ = theirs.gen_update(
            plain, clean, label, label, number, rescaled, label, augmented, label
        )
        return {"seconds": {"update": clock(task.device) - began}, "same": float(total.detach())}

    turn.about = {"revision": published_revision(theirs)}
    return turn


def published_revision(trainer: Any) -> str:
    """Which layout of the prototype similarities a clone has (method.md, 5)."""
    draw = torch.Generator().manual_seed(0)
    memory, features = (torch.randn(1, 1024, 5, 9, generator=draw) for _ in range(2))
    labels = [torch.randint(0, CLASSES, (1, 40, 72), generator=draw) for _ in range(3)]
    if next(trainer.G.parameters()).is_cuda:
        memory, features = memory.cuda(), features.cuda()
        labels = [label.cuda() for label in labels]
    nearest, similarity = trainer.update_centroids_label(
        memory, labels[0], features, labels[1], labels[2]
    )[:2]
    same = similarity.argmax(dim=1).cpu() == nearest.cpu()
    return "2024" if same.all() else "2023"


def published_pseudo_labels(task: Task) -> Turn:
    """Turns of `generate_plabel_cityscapes.main()` over the drawn images."""
    (task.scratch / "data/Cityscapes").mkdir(parents=True, exist_ok=True)
    os.chdir(task.scratch)
    script = published_module(task, "generate_plabel_cityscapes")
    network_module = published_module(task, "model.deeplab_advent_no_p")
    network = network_module.get_deeplab_v2(num_classes=CLASSES, multi_level=False)
    network.load_state_dict(network_with_weights("published", torch.float32).state_dict())
    script.get_deeplab_v2 = lambda *args, **kwargs: network
    began = []

    class Loader(DataLoader):
        """In this process, like ours; says when the loop begins."""

        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **(kwargs | {"num_workers": 0, "pin_memory": False}))

        def __iter__(self) -> Iterator[Any]:
            began.append(clock(task.device))
            return super().__iter__()

    script.data = types.SimpleNamespace(DataLoader=Loader)
    out = task.scratch / "theirs"
    out.mkdir(exist_ok=True)
    sys.argv = ["generate_plabel_cityscapes.py", "--data-dir", str(task.scratch)]
    sys.argv += ["--data-list", str(task.scratch / "list.txt"), "--save", str(out)]
    sys.argv += ["--restore-from", "weights", "--set", "train"]

    def turn() -> dict[str, Any]:
        began.clear()
        load, torch.load = torch.load, lambda *args, **kwargs: {"state_dict": {}}
        try:
            script.main()
        finally:
            torch.load = load
        seconds = clock(task.device) - began[0]
        labels = sorted(path for path in out.rglob("*.png") if "_color" not in path.name)
        return {"seconds": {"pseudo-labels": seconds}, "same": [str(path) for path in labels]}

    return turn


def published_views(task: Task) -> Turn:
    """Turns of one batch of each of the two training loaders, in this process."""
    main = published_module(task, "dataset.cityscapes_pseudo_dataset").cityscapes_pseudo_DataSet
    other = published_module(task, "dataset.cityscapes_dataset").cityscapesDataSet
    mean = np.array(PIXEL_MEAN[::-1], np.float32)
    paths = str(task.scratch), str(task.scratch / "labels"), str(task.scratch / "list.txt")
    many = {"max_iters": 60 * LOADER_BATCH, "crop_size": (256, 512), "mean": mean, "set": "train"}
    sets = {
        "main loader": main(
            *paths, resize_size=(1280, 640), scale=True, mirror=True, autoaug=True, **many
        ),
        "both loaders": other(
            paths[0], paths[2], resize_size=(1024, 512), scale=False, mirror=False, **many
        ),
    }
    random.seed(0)
    loaders = {name: iter(DataLoader(s, LOADER_BATCH, shuffle=True)) for name, s in sets.items()}

    def turn() -> dict[str, Any]:
        began, seconds = time.process_time(), {}
        for name, loader in loaders.items():
            next(loader)
            seconds[name] = time.process_time() - began
        return {"seconds": seconds, "same": None}

    return turn


# Our side -----------------------------------------------------------------------------------


def our_update(task: Task, machine: Machine) -> Turn:
    """Turns of one update, with and without the clean forward."""
    config = task.config
    network = network_with_weights("published", torch.float32).to(machine.device)
    networks = Networks(network)
    optimizer = make_optimizer(networks.student, config.adaptation.optimizer, repeated_visits=True)
    absence = torch.ones(CLASSES, device=machine.device)
    batches, step = task.batches(), iter(range(10**9))

    def update(settings: StepSettings, read: bool) -> tuple[float, float]:
        """Seconds and loss."""
        nonlocal absence
        batch = machine.to_device(next(batches))
        began = clock(task.device)
        set_learning_rate(optimizer, config.adaptation.optimizer, next(step))
        made = adaptation_step(
            networks,
            optimizer,
            batch,
            absence,
            settings,
            machine.forward,
            statistics_read=read,
        )
        absence = made.terms.absence
        loss = float(made.terms.total.detach())
        return clock(task.device) - began, loss

    def turn(revision: str) -> dict[str, Any]:
        fidelity = config.fidelity.model_copy(update={"revision": revision})
        settings = config.step_settings.model_copy(update={"fidelity": fidelity})
        full, loss = update(settings, True)
        without, _ = update(settings, False)
        looks = LOOKS_PER_RUN * STATISTICS_MEMORY / config.adaptation.steps
        return {
            "seconds": {
                "update": (1 - looks) * without + looks * full,
                "update, clean forward always": full,
                "update, no clean forward": without,
            },
            "same": loss,
        }

    return turn


def our_pseudo_labels(task: Task, machine: Machine) -> Turn:
    """Turns of `write_pseudo_labels` over the drawn images."""
    config = task.config
    network = network_with_weights("published", torch.float32).to(machine.device).eval()
    ready = ReadyNetwork(network, config.class_set, machine)
    records = drawn_records(task)
    out = task.scratch / "ours"

    def turn() -> dict[str, Any]:
        for path in out.rglob("*.png"):
            path.unlink()
        began = clock(task.device)
        write_pseudo_labels(ready, records, config.pseudo_labels, out)
        seconds = clock(task.device) - began
        return {
            "seconds": {"pseudo-labels": seconds},
            "same": [str(path) for path in sorted(out.rglob("*.png"))],
        }

    return turn


def our_views(task: Task, machine: Machine) -> Turn:
    """Turns of one batch of views, with a warm cache and without any."""
    config, records = task.config, drawn_records(task)
    sizes, original = training_sizes(config, "target")
    cached = cached_records(records, task.scratch / "cache", sizes, original)
    labels = [task.scratch / "labels/train" / record.name for record in records]
    make = partial(
        ViewsDataset,
        pseudo_labels=labels,
        views=config.views,
        classes=config.class_set,
        seed=0,
        length=60 * LOADER_BATCH,
    )
    loaders = {
        name: iter(machine.load(make(which), LOADER_BATCH))
        for name, which in (("from the cache", cached), ("without a cache", records))
    }

    def turn() -> dict[str, Any]:
        seconds = {}
        for name, loader in loaders.items():
            began = time.process_time()
            next(loader)
            seconds[name] = time.process_time() - began
        return {"seconds": seconds, "same": None}

    return turn


def drawn_records(task: Task) -> list[Record]:
    """The drawn images as records."""
    names = (task.scratch / "list.txt").read_text().split()
    return [
        Record(name, task.scratch / "leftImg8bit/train" / name, None, "cityscapes")
        for name in names
    ]


# Both ---------------------------------------------------------------------------------------


def draw_images(scratch: Path, number: int) -> None:
    """Images and labels in Cityscapes' layout: rectangles of all classes, with a sensor's noise.

    Without the noise a PNG would have a tenth of a real one's bytes, and decode several times
    faster.
    """
    draw = np.random.default_rng(0)
    names = [f"drawn/drawn_{i:06d}_000019_leftImg8bit.png" for i in range(number)]
    (scratch / "list.txt").write_text("\n".join(names) + "\n")
    for name in names:
        label = np.zeros((1024, 2048), np.uint8)
        image = np.zeros((1024, 2048, 3))
        for _ in range(700):
            top, left = draw.integers(0, 1024), draw.integers(0, 2048)
            height, width = draw.integers(10, 160, 2)
            place = np.s_[top : top + height, left : left + width]
            label[place], image[place] = draw.integers(0, CLASSES), draw.integers(0, 256, 3)
        noisy = np.clip(image + draw.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
        truth = name.replace("leftImg8bit", "gtFine_labelIds")
        for folder, name_there, array in (
            ("leftImg8bit/train", name, noisy),
            ("labels/train", name, label),
            ("gtFine/train", truth, label + 7),  # label ids of some classes; never used
        ):
            path = scratch / folder / name_there
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def serve(side: str, task: Task, pipe: Any) -> None:
    """Does a turn whenever it is asked, and waits without working in between."""
    try:
        torch.set_num_threads(task.threads)
        torch.set_num_interop_threads(1)
        with contextlib.redirect_stdout(io.StringIO()):
            if side == "theirs":
                give_back(task)
                turn = globals()[f"published_{task.part}"](task)
            else:
                hardware = Hardware(device=task.device, precision="float32", threads=task.threads)
                turn = globals()[f"our_{task.part}"](task, prepare_machine(hardware))
            pipe.send(getattr(turn, "about", {}))
            while (arguments := pipe.recv()) is not None:
                pipe.send(turn(**arguments))
    except BaseException:
        pipe.send({"error": traceback.format_exc()})


def ask(pipe: Any, message: Any = None) -> Any:
    """What a side answers."""
    if message is not None:
        pipe.send(message)
    answer = pipe.recv()
    if "error" in answer:
        raise SystemExit(answer["error"])
    return answer


def compared(task: Task, theirs: Any, ours: Any) -> str:
    """How far both sides computed the same; ends the benchmark where they did not."""
    if task.part == "update":
        difference = abs(theirs - ours)
        if difference > 5e-5:
            raise SystemExit(f"the first losses differ: {theirs} (theirs), {ours} (ours)")
        return f"first losses {theirs:.6f} and {ours:.6f}"
    if task.part == "pseudo_labels":
        pairs = [
            [np.array(Image.open(path)) for path in both] for both in zip(theirs, ours, strict=True)
        ]
        different = np.mean([np.mean(a != b) for a, b in pairs])
        if different > 1e-4:
            raise SystemExit(f"{different:.2%} of the pseudo-labels' pixels differ")
        number = len(np.unique(np.concatenate([a.ravel() for a, _ in pairs])))
        return f"{different:.1e} of the pixels differ; {number} classes occur"
    return "views are drawn by each side's own random numbers"


def measure(task: Task, turns: int) -> pd.DataFrame:
    """Seconds by side, what was done and turn."""
    os.environ["TQDM_DISABLE"] = "1"  # read where a side imports it
    context = multiprocessing.get_context("spawn")
    sides, about = {}, {}
    names = ("theirs", "ours") if task.published else ("ours",)
    for side in names:
        pipe, other = context.Pipe()
        context.Process(target=serve, args=(side, task, other), daemon=True).start()
        sides[side] = pipe
        about |= ask(pipe)
    ours = about or ({"revision": "2024"} if task.part == "update" else {})
    extra = {"theirs": {}, "ours": ours}
    first = {side: ask(pipe, extra[side]) for side, pipe in sides.items()}  # warms up, too
    if task.published:
        same = compared(task, first["theirs"]["same"], first["ours"]["same"])
        print(f"{task.part}: {same}" + "".join(f"; revision {r}" for r in about.values()))
    rows = []
    for number in range(turns):
        for side in names if number % 2 == 0 else names[::-1]:
            done = ask(sides[side], extra[side])["seconds"]
            rows += [{"side": side, "what": what, "s": value} for what, value in done.items()]
    for pipe in sides.values():
        pipe.send(None)
    return pd.DataFrame(rows)


def report(task: Task, seconds: pd.DataFrame) -> str:
    """Medians with their spread, and their ratios to what the published code took."""
    table = seconds.groupby(["side", "what"], sort=False)["s"].agg(["median", "min", "max"])
    if task.published:
        table["ratio"] = table["median"] / table.loc["theirs", "median"].iloc[-1]
    return table.round(4).to_string()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("published", type=Path, nargs="?", help="the clone, or its folder GTA5")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=2, help="images of an update")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=2, help="of a turn of pseudo-labels")
    parser.add_argument("--turns", type=int, default=7, help="of each side")
    parser.add_argument("--scratch", type=Path, default=Path("build/against_published"))
    arguments = parser.parse_args()
    published = arguments.published and arguments.published.resolve()
    if published and not (published / "trainer.py").exists():
        published /= "GTA5"
        if not (published / "trainer.py").exists():
            raise SystemExit(f"{arguments.published}: has no trainer.py, and no GTA5/trainer.py")
    print(
        f"{os.cpu_count()} cores, {arguments.threads} threads, torch {torch.__version__}, "
        f"{torch.cuda.get_device_name() if arguments.device == 'cuda' else 'CPU'}"
    )
    for part in arguments.parts:
        scratch = (arguments.scratch / part).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        if part != "update" and not (scratch / "gtFine").exists():
            draw_images(scratch, arguments.images if part == "pseudo_labels" else LOADER_BATCH)
        task = Task(
            published,
            scratch,
            part,
            arguments.device,
            arguments.threads,
            arguments.batch,
            tuple(arguments.size),
        )
        print(report(task, measure(task, arguments.turns)), end="\n\n")


if __name__ == "__main__":
    main()
