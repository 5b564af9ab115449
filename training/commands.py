"""How bad input ends a command of this package. Used by `train`, `evaluate` and `scenes`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from training.errors import BadInputError


@contextmanager
def bad_input_ends_command() -> Iterator[None]:
    """Turn a `BadInputError` into one line on stderr and exit code 2."""
    try:
        yield
    except BadInputError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(2) from None
