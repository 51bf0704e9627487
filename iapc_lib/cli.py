"""The command `iapc`. Exit status: 0 done, 1 done in part or stopped, 2 refused before any work."""

import errno
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import typer
from tqdm import tqdm
from typer.core import TyperGroup


def _path(text: str) -> Path:
    """A path as it was given; an empty one is a mistake, not the present folder."""
    if not text.strip():
        raise typer.BadParameter("is empty")
    return Path(text)


class _Commands(TyperGroup):
    """Turns what a user must mend, or stopped, into a line on stderr and an exit status."""

    def invoke(self, context: click.Context) -> Any:
        from iapc_lib.files import Refusal

        try:
            return super().invoke(context)
        except Refusal as error:
            for line in str(error).splitlines():
                _say(line)
            raise typer.Exit(2) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head`
                raise
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                _say(f"what was to be written cannot be written ({error.strerror})")
                raise typer.Exit(1) from None
            if error.filename is None:
                _say(f"{type(error).__name__}: {error}")
                raise typer.Exit(1) from None
            _say(f"{str(error.filename)[:200]}: cannot be used ({error.strerror})")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            resumes = context.invoked_subcommand in ("run", "predict")
            _say("stopped" + "; the same command goes on from here" * resumes)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
)


@app.callback()
def iapc() -> None:
    """Importance-Aware and Prototype-Contrast learning for semantic segmentation."""


Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field, such as adaptation.steps=50."),
]
Config = Annotated[
    Path,
    typer.Argument(
        help="A YAML file of papermill_runs/, or a run folder: its parameters.", parser=_path
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.", parser=_path)]
Checkpoint = Annotated[
    Path, typer.Argument(help="A network: .safetensors of a run, or .pth.", parser=_path)
]
Format = Annotated[Literal["text", "json"], typer.Option(help="Of what is printed; json has all.")]


@app.command()
def run(
    config: Config,
    seed: Annotated[int | None, typer.Option(help="Seed of the run; default: the file's.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run folder; default: papermill_runs/<scenario>-seed<seed>.", parser=_path
        ),
    ] = None,
    changes: Changes = None,
    variant: Annotated[
        str | None,
        typer.Option(help="Make one row of a larger table: name of a variant, or its file."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Take over source network and pseudo-labels of this run folder.", parser=_path
        ),
    ] = None,
    continue_from: Annotated[
        Path | None,
        typer.Option(
            help="The same, and go on with its unfinished training, as set here.", parser=_path
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop after this notebook, such as 02_pseudo_labels.")
    ] = None,
    wait: Annotated[
        bool, typer.Option(help="Wait while another process runs into the same folder.")
    ] = False,
) -> None:
    """Run the seven notebooks for a configuration; run it again to go on after a stop."""
    # Imported here so that `iapc --help` does not wait for torch.
    from iapc_lib.pipeline.results import summary
    from iapc_lib.pipeline.runner import NotebookFailed, run_notebooks

    folder = out.absolute() if out else None
    try:
        finished = run_notebooks(
            config,
            seed,
            folder,
            parse_changes(changes or []),
            variant,
            base and base.absolute(),
            continue_from and continue_from.absolute(),
            until,
            wait,
        )
    except NotebookFailed as error:
        _say(error)
        raise typer.Exit(1) from None
    typer.echo(summary(finished) if until is None else f"finished until {until}")


@app.command()
def check(
    config: Config,
    seed: Annotated[int | None, typer.Option(help="Seed of the run; default: the file's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder that `run` would get.", parser=_path)
    ] = None,
    quick: Annotated[bool, typer.Option(help="Read an even sample of each split only.")] = False,
    changes: Changes = None,
    variant: Annotated[
        str | None, typer.Option(help="Of a run of one row: name of a variant, or its file.")
    ] = None,
) -> None:
    """Read all that a run would use, and say whether it can start; nothing is written.

    Exit status 0: it can. 2: it can not, and the reasons are on stderr, a line each.
    """
    from iapc_lib.config.presets import load_config, read_preset
    from iapc_lib.paths import resolve
    from iapc_lib.pipeline import checking
    from iapc_lib.runs.folder import default_folder

    settings = load_config(config, seed, parse_changes(changes or []), variant)
    limit = checking.QUICK_IMAGES if quick else None
    given = out.absolute() if out else read_preset(config).get("out")
    folder = resolve(given) if given else default_folder(settings)
    found = checking.check(settings, folder, limit)
    typer.echo(checking.format_check(found))
    _report(found.problems, 2)
    typer.echo("\na run can start")


@app.command()
def predict(
    checkpoint: Checkpoint,
    images: Annotated[Path, typer.Argument(help="A folder of images, or one image.", parser=_path)],
    out: Annotated[
        Path, typer.Option(help="Where label maps, colours and overlays go.", parser=_path)
    ],
    ids: Annotated[
        Literal["train", "cityscapes"], typer.Option(help="Ids of the label maps.")
    ] = "train",
    confidence: Annotated[bool, typer.Option(help="Write confidence maps, too.")] = False,
    short_side: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=8192,
            help="Resize images so that their shorter side has so many pixels; 0: not at all; "
            "default: that of the images on which the network was scored.",
        ),
    ] = None,
    scales: Annotated[str, typer.Option(help="Average over scales, such as 1,1.25,0.75.")] = "1",
    flip: Annotated[bool, typer.Option(help="Average with the mirrored image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Images a forward.")] = 4,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where the network computes.")
    ] = "auto",
) -> None:
    """Label maps of images of any size; the same command goes on after a stop.

    Files that cannot be read are named on stderr, a line each, and make the exit status 1.
    """
    from iapc_lib.config.sections import Hardware
    from iapc_lib.files import FileError, file_hash
    from iapc_lib.machine.device import prepare_machine
    from iapc_lib.networks.checkpoints import image_size_of, load_ready
    from iapc_lib.prediction.folder import predict_folder
    from iapc_lib.prediction.image import PredictionSettings

    machine = prepare_machine(Hardware(device=device))
    ready = load_ready(checkpoint, machine)
    if short_side is None:
        short_side = min(image_size_of(checkpoint))
    settings = PredictionSettings(short_side or None, _scales(scales), flip)
    found, skipped = predict_folder(
        ready,
        images,
        out,
        checkpoint=file_hash(checkpoint),
        settings=settings,
        ids=ids,
        confidence=confidence,
        batch_size=batch_size,
    )
    reasons = 0
    try:
        for reason in skipped:
            reasons += 1
            _say("skipped " + _one_line(reason))
    except FileError as error:
        _say(error)
        raise typer.Exit(1) from None
    typer.echo(f"{found - reasons} images predicted, {reasons} skipped; see {out}")
    if reasons:
        raise typer.Exit(1)


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    config: Config,
    split: Annotated[str, typer.Option(help="Of the target: val, or dev.")] = "val",
    format: Annotated[
        Literal["text", "json", "latex"], typer.Option(help="Of the table.")
    ] = "text",
    changes: Changes = None,
) -> None:
    """Score a network on the target's labelled images: IoU of every class, and the means."""
    from iapc_lib.api import evaluate_checkpoint
    from iapc_lib.config.presets import load_config
    from iapc_lib.evaluation.tables import format_scores

    settings = load_config(config, None, parse_changes(changes or []))
    found = evaluate_checkpoint(checkpoint, settings, split)
    typer.echo(format_scores(found, format))


@app.command()
def show(
    run_folder: RunFolder,
    all_fields: Annotated[
        bool, typer.Option("--all", help="List the fields with the library's defaults, too.")
    ] = False,
    format: Format = "text",
) -> None:
    """What made a run: code, parameters and their origin, machine, stages, scores.

    Exit status 1: a file of the folder could not be read; it is named on stderr, the rest shown.
    """
    from iapc_lib.runs.description import describe
    from iapc_lib.runs.description_text import format_run

    run = describe(run_folder)
    text = json.dumps(run, indent=2) if format == "json" else format_run(run, all_fields)
    typer.echo(text)
    _report(run["problems"])


@app.command()
def export(
    run_folder: RunFolder,
    to: Annotated[Path, typer.Argument(help="The new file: NAME.safetensors.", parser=_path)],
) -> None:
    """Hand on the source network that a run trained: half precision, and what made it."""
    from iapc_lib.pipeline.export import export_source

    export_source(run_folder, to)
    typer.echo(f"{to} and {to.with_suffix('.json').name}: a source.checkpoint")


@app.command()
def diff(
    first: RunFolder,
    second: RunFolder,
    format: Format = "text",
) -> None:
    """What differs between two runs: parameters, code, packages, machine, inputs, scores.

    Exit status 0 whether they differ or not; 1: a file could not be read, and is named on stderr.
    """
    from iapc_lib.runs.description import compare
    from iapc_lib.runs.description_text import format_difference

    found = compare(first, second)
    text = json.dumps(found, indent=2) if format == "json" else format_difference(found)
    typer.echo(text)
    _report(found["problems"])


def _report(problems: list[str], status: int = 1) -> None:
    """Names problems, a line each; the exit status says that there are some."""
    for problem in problems:
        _say(_one_line(problem))
    if problems:
        raise typer.Exit(status)


def _say(message: object) -> None:
    """A line on stderr; names that are no text, or no single line, are written escaped."""
    text = str(message).encode("utf-8", "backslashreplace").decode()
    tqdm.write(f"iapc: {text}", file=sys.stderr)  # above a progress bar, if there is one


def _one_line(text: str) -> str:
    """For reasons that name a file: even a name with line breaks stays on its line."""
    return text.replace("\n", r"\n")


def _scales(text: str) -> tuple[float, ...]:
    from iapc_lib.config.errors import ConfigError

    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise ConfigError(f"--scales {text}: write numbers from 0.1 to 10, such as 1,1.25,0.75")
    return scales


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """`["adaptation.steps=50"]` -> `{"adaptation.steps": 50}`; see `yaml_text.parse_value`.

    Of a key that is given twice the last counts, which is said: scripts add to their own options.

    Raises:
        ConfigError: there is no `=`, or no value.
    """
    from iapc_lib.config.errors import ConfigError
    from iapc_lib.config.yaml_text import parse_value

    parsed = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {change}: write KEY=VALUE, such as adaptation.steps=50")
        if key in parsed:
            _say(f"--set {key} is given twice; the last counts: {value}")
        try:
            parsed[key] = parse_value(value)
        except ValueError as error:
            raise ConfigError(f"--set {change[:200]}: {error}") from None
    return parsed
