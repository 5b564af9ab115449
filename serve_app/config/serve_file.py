"""Reading a Serve config file and checking every key. Serve itself would silently ignore what it does not know.

Called by `python -m serve_app.check`, and before every deploy by `make serve` and `make split`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from serve_app.config import application, serve_schema
from serve_app.config.comparable import warnings
from serve_app.config.document import parse_yaml, read_text
from serve_app.config.serve_schema import entries
from serve_app.errors import ConfigurationError
from serve_app.explain import Problem


def load_config(path: Path) -> dict[str, Any]:
    """Read and check a Serve config file. Raises a ConfigurationError that lists everything that is wrong with it."""
    return check_config(read_text(path), path)


def check_config(text: str, path: Path) -> dict[str, Any]:
    """The content of a Serve config file, whose errors are told as `path`'s. Raises ConfigurationError as above."""
    try:
        content, flaws = parse_yaml(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error.detail}") from None
    if not isinstance(content, dict):
        given = "the file is empty" if content is None else f"got {str(content)[:60]!r}"
        raise ConfigurationError(f"{path}: expected a mapping with the key applications, {given}")
    ours = [*serve_schema.ignored(content), *application.problems(content)]
    problems = list(_each_once(flaws, ours, serve_schema.refused(content)))
    if problems:
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems))
    return content


def incomparable(content: Mapping[str, Any]) -> list[str]:
    """Why the backends of a config from `load_config` cannot be compared, one line per reason."""
    ours = [one for _, one in entries(content, "applications") if application.is_ours(one)]
    return [warning for one in ours for warning in warnings(one)]


def not_checked(content: Mapping[str, Any]) -> list[str]:
    """The applications of others in a config from `load_config`, one line each."""
    others = [(where, one) for where, one in entries(content, "applications") if not application.is_ours(one)]
    return [
        f"{where} ({one['import_path']}) is not this service: only Serve's keys are checked" for where, one in others
    ]


def _each_once(*sources: Iterable[Problem]) -> Iterator[Problem]:
    """All problems, without those of a path of which an earlier source, which explains it better, has told."""
    told: set[str] = set()
    for source in sources:
        fresh = [problem for problem in source if problem.path not in told]
        yield from fresh
        told |= {problem.path for problem in fresh}
