"""The shipped configuration with changes, for the tests of what checks it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.config.serve_file import check_config
from serve_app.errors import ConfigurationError

SHIPPED = (Path(__file__).parents[3] / "serve_config.yaml").read_text()
PATH = Path("c.yaml")

Change = Callable[[dict[str, Any]], Any]


def changed(*changes: Change) -> str:
    """The text of the shipped file after `changes` to its content."""
    content = yaml.safe_load(SHIPPED)
    for change in changes:
        change(content)
    return yaml.safe_dump(content, sort_keys=False)


def application(**values: Any) -> Change:
    """Sets keys of the application; None removes one."""
    return lambda content: _set(content["applications"][0], values)


def options(name: str, **values: Any) -> Change:
    """Sets options of a deployment; None removes one."""
    return lambda content: _set(_deployment(content, name), values)


def user_config(name: str, **values: Any) -> Change:
    """Sets values of a deployment's `user_config`; None removes one."""
    return lambda content: _set(_deployment(content, name)["user_config"], values)


def limits(**values: Any) -> Change:
    """Sets the limits in the application's `args`."""
    return lambda content: _set(content["applications"][0]["args"]["limits"], values)


def problems(text: str) -> list[str]:
    """What a check finds, one line each, without the name of the file."""
    with pytest.raises(ConfigurationError) as caught:
        check_config(text, PATH)
    lines = caught.value.detail.splitlines()
    assert all(line.startswith(f"{PATH}: ") for line in lines)
    return [line.removeprefix(f"{PATH}: ") for line in lines]


def right(text: str) -> bool:
    """Whether a check passes; an error is raised."""
    return bool(check_config(text, PATH))


def _deployment(content: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in content["applications"][0]["deployments"] if one["name"] == name)
    return found


def _set(target: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if value is None:
            del target[key]
        else:
            target[key] = value
