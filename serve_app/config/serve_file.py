"""Reading a Serve config file and checking every key. Serve itself would silently ignore what it does not know.

Called by `python -m serve_app.check`, and before every deploy by `make serve` and `make split`.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from serve_app.config.comparable import warnings
from serve_app.errors import ConfigurationError
from serve_app.settings import AppSettings, OnnxSettings, TorchSettings, TrafficPolicy, parse

IMPORT_PATH = "serve_app.app:app"
_USER_CONFIGS: dict[str, type[BaseModel]] = {
    "Router": TrafficPolicy,
    "TorchDeployment": TorchSettings,
    "OnnxDeployment": OnnxSettings,
}
_NESTED: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    (ServeDeploySchema, "http_options"): HTTPOptionsSchema,
    (ServeDeploySchema, "logging_config"): LoggingConfig,
    (ServeDeploySchema, "applications"): ServeApplicationSchema,
    (ServeApplicationSchema, "logging_config"): LoggingConfig,
    (ServeApplicationSchema, "deployments"): DeploymentSchema,
    (DeploymentSchema, "logging_config"): LoggingConfig,
    (DeploymentSchema, "ray_actor_options"): RayActorOptionsSchema,
}


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice. By default the last one silently wins."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigurationError(f"line {node.start_mark.line + 1}: the key {key!r} is given twice")
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_config(path: Path) -> dict[str, Any]:
    """Read and check a Serve config file. Raises a ConfigurationError that lists everything that is wrong with it."""
    try:
        content = yaml.load(path.read_bytes(), Loader=_StrictLoader)
    except OSError as error:
        raise ConfigurationError(f"{path.absolute()}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, such as 2020-13-45
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error.detail}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected a mapping with the key applications")
    problems = list(_problems(content))
    if problems:
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems))
    return content


def incomparable(content: Mapping[str, Any]) -> list[str]:
    """Why the backends of a config from `load_config` cannot be compared, one line per reason."""
    ours = [application for application in content["applications"] if application.get("import_path") == IMPORT_PATH]
    return [warning for application in ours for warning in warnings(application)]


def _problems(content: dict[str, Any]) -> Iterator[str]:
    unknown = list(_unknown_keys(ServeDeploySchema, content, ""))
    yield from unknown
    if unknown:
        return
    try:
        ServeDeploySchema.model_validate(content)
    except ValidationError as error:
        for problem in error.errors():
            yield f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        return
    for application in content["applications"]:
        if application.get("import_path") == IMPORT_PATH:
            yield from _our_problems(application)


def _unknown_keys(model: type[BaseModel], values: Any, where: str) -> Iterator[str]:
    if isinstance(values, list):
        for index, entry in enumerate(values):
            name = entry.get("name", index) if isinstance(entry, Mapping) else index
            yield from _unknown_keys(model, entry, f"{where}[{name}]")
        return
    if not isinstance(values, Mapping):
        return
    for key, value in values.items():
        at = f"{where}.{key}" if where else str(key)
        if key not in model.model_fields:
            close = get_close_matches(str(key), model.model_fields, n=1)
            yield f"{at}: unknown key" + (f", did you mean {close[0]}?" if close else "")
        elif nested := _NESTED.get((model, key)):
            yield from _unknown_keys(nested, value, at)


def _our_problems(application: Mapping[str, Any]) -> Iterator[str]:
    where = f"applications[{application.get('name', 'default')}]"
    yield from _problems_of(AppSettings, application.get("args", {}), f"{where}.args")
    listed = {deployment["name"]: deployment for deployment in application.get("deployments", [])}
    for name in listed.keys() - _USER_CONFIGS.keys():
        yield f"{where}.deployments[{name}]: no such deployment (there are: {', '.join(_USER_CONFIGS)})"
    for name, model in _USER_CONFIGS.items():
        if name not in listed:
            yield f"{where}.deployments: {name} is not listed; Serve would use its defaults"
        elif (user_config := listed[name].get("user_config")) is None:
            yield f"{where}.deployments[{name}].user_config: missing; a running replica would keep its old values"
        else:
            yield from _problems_of(model, user_config, f"{where}.deployments[{name}].user_config")


def _problems_of(model: type[BaseModel], values: Any, where: str) -> Iterator[str]:
    try:
        parse(model, values, where)
    except ConfigurationError as error:
        yield from error.detail.split("; ")
