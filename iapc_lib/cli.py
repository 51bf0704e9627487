"""The command `iapc`. Exit status: 0 done, 1 a notebook failed, 2 refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback()
def iapc() -> None:
    """Importance-Aware and Prototype-Contrast learning for semantic segmentation."""


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML file of papermill_runs/.")],
    seed: Annotated[int | None, typer.Option(help="Seed of the run; default: the file's.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder; default: papermill_runs/<scenario>-seed<seed>."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a field, such as adaptation.steps=50."
        ),
    ] = None,
) -> None:
    """Run the seven notebooks for a configuration; run it again to go on after a stop."""
    # Imported here so that `iapc --help` does not wait for torch.
    from iapc_lib.runner import REFUSALS, NotebookFailed, run_notebooks
    from iapc_lib.tables import summary

    try:
        folder = out.absolute() if out else None
        finished = run_notebooks(config, seed, folder, parse_changes(changes or []))
    except REFUSALS as error:
        for line in str(error).splitlines():
            typer.echo(f"iapc: {line}", err=True)
        raise typer.Exit(2) from None
    except NotebookFailed as error:
        typer.echo(f"iapc: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("iapc: stopped; the same command goes on from here", err=True)
        raise typer.Exit(1) from None
    typer.echo(summary(finished))


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """`["adaptation.steps=50"]` -> `{"adaptation.steps": 50}`; values are read as YAML.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    from iapc_lib.presets import ConfigError

    parsed = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {change}: write KEY=VALUE, such as adaptation.steps=50")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {change}: '{value}' is not a YAML value") from None
    return parsed
