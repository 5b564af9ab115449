"""A file of YAML as text and as values. What YAML would take silently, or a deploy could not send, is named by line.

Called by `serve_app.config.serve_file`, and by `serve_app.config.fraction`, which edits the text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from serve_app.errors import ConfigurationError, one_line
from serve_app.explain import Problem, entry, member

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")}
_KEYS = {f"{_TAG}str", f"{_TAG}merge"}


def read_text(path: Path) -> str:
    """The text of a file, with its line ends as they are. Raises ConfigurationError, which names the file in full."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.absolute()}: not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"{path.absolute()}: {error.strerror}") from None


def parse_yaml(text: str) -> tuple[Any, list[Problem]]:
    """The values of a YAML text, and what is wrong in it. A key that is given twice has its last value, as for Serve.

    Raises ConfigurationError for a text that is not valid YAML.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None, []
        problems = list(_problems(root, "", [], set()))
        return loader.construct_document(root), problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigurationError(
            f"not valid YAML: {where}{', '.join(filter(None, (error.context, error.problem)))}"
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, such as 2020-13-45
        raise ConfigurationError(f"not valid YAML: {one_line(error)}") from None
    except RecursionError:
        raise ConfigurationError("not valid YAML: it is nested too deeply") from None


def _problems(node: yaml.Node, path: str, above: list[yaml.Node], seen: set[yaml.Node]) -> Iterator[Problem]:
    if node in above:
        raise yaml.MarkedYAMLError(problem=f"{path} contains itself", problem_mark=node.start_mark)
    if node in seen:
        return
    seen.add(node)
    if node.tag not in _PLAIN:
        kind = "a date" if node.tag == f"{_TAG}timestamp" else f"of the type {node.tag.removeprefix(_TAG)}"
        shown = f" {node.value}" if isinstance(node, yaml.ScalarNode) else ""
        yield Problem(
            path, f"line {_line(node)}: YAML reads{shown} as {kind}, which Serve cannot take; put it in quotes"
        )
    elif isinstance(node, yaml.ScalarNode):
        if node.tag == f"{_TAG}float" and node.value.lower().lstrip("+-") in (".nan", ".inf"):
            yield Problem(path, f"line {_line(node)}: {node.value} is no number that Serve can take")
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _problems(value, entry(path, _named(value), index), [*above, node], seen)
    else:
        yield from _keys(node, path)
        for key, value in node.value:
            yield from _problems(value, member(path, key.value), [*above, node], seen)


def _keys(node: yaml.Node, path: str) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEYS:
            shown = f" {key.value}" if isinstance(key, yaml.ScalarNode) else ""
            kind = key.tag.removeprefix(_TAG)
            yield Problem(
                path, f"line {_line(key)}: YAML reads the key{shown} as {kind}, not as text; put it in quotes"
            )
        elif (identity := (key.tag, key.value)) in first:
            twice = f"the key {key.value!r} is given twice, first in line {first[identity]}; remove one"
            yield Problem(member(path, key.value), f"line {_line(key)}: {twice}")
        else:
            first[identity] = _line(key)


def _named(node: yaml.Node) -> dict[str, str]:
    """The `name` that a mapping has, as `entry` looks for it."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value.value for key, value in node.value if key.value == "name"}


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
