"""`python -m serve_app.check serve_config.yaml`: check a Serve config file before it is deployed."""

import os
from pathlib import Path
from typing import Annotated

import typer

from serve_app import use_onnx
from serve_app.config.serve_file import incomparable, load_config, not_checked
from serve_app.errors import ConfigurationError


def main(path: Annotated[Path, typer.Argument(help="The Serve config file to check.")]) -> None:
    """Report unknown keys, wrong values, missing deployments, and backends that cannot be compared."""
    try:
        content = load_config(path)
    except ConfigurationError as error:
        typer.echo(error.detail, err=True)
        raise typer.Exit(2) from None
    for note in not_checked(content):
        typer.echo(f"{path}: note: {note}", err=True)
    for warning in incomparable(content):
        typer.echo(f"{path}: warning: {warning}", err=True)
    for warning in use_onnx.warnings(os.environ, content):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{path}: ok")


if __name__ == "__main__":
    typer.run(main)
