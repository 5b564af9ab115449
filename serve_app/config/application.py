"""This service's own part of a Serve config file: which application it is, its deployments, and their settings.

Called by `serve_app.config.serve_file`. Applications of others in the same file are left alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from serve_app.config import limits
from serve_app.config.serve_schema import entries
from serve_app.explain import Problem, explain, member
from serve_app.settings import AppSettings, OnnxSettings, TorchSettings, TrafficPolicy

IMPORT_PATH = "serve_app.app:app"
_OUR_MODULES = ("serve_app.", "serve_app:")
_USER_CONFIGS: dict[str, type[BaseModel]] = {
    "Router": TrafficPolicy,
    "TorchDeployment": TorchSettings,
    "OnnxDeployment": OnnxSettings,
}


def is_ours(application: Mapping[str, Any]) -> bool:
    """Whether an application is this service. Serve also takes a dot where we write the colon."""
    path = application.get("import_path")
    return isinstance(path, str) and (path == IMPORT_PATH or path == IMPORT_PATH.replace(":", "."))


def problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with our applications in a file, or that it has none."""
    applications = entries(content, "applications")
    any_of_ours = any(is_ours(application) for _, application in applications)
    for where, application in applications:
        path = application.get("import_path")
        if is_ours(application):
            yield from _problems(application, where)
        elif isinstance(path, str) and (not any_of_ours or path.startswith(_OUR_MODULES)):
            yield Problem(f"{where}.import_path", f"{path!r} is not this service, which is {IMPORT_PATH}")
    if content.get("applications") == []:
        yield Problem("applications", f"empty: a deploy would end every application; list {IMPORT_PATH}")


def _problems(application: Mapping[str, Any], where: str) -> Iterator[Problem]:
    if "route_prefix" in application and application["route_prefix"] is None:
        yield Problem(f"{where}.route_prefix", "null means that no client can reach the service; write /")
    if isinstance(args := application.get("args", {}), Mapping):
        yield from _checked(AppSettings, args, f"{where}.args")
    listed = entries(application, "deployments")
    for at, deployment in listed:
        if (name := deployment.get("name")) in _USER_CONFIGS:
            yield from _user_config(deployment, _USER_CONFIGS[name], f"{where}.{at}")
            yield from _replicas(deployment, f"{where}.{at}")
        elif name is not None:
            there = ", ".join(_USER_CONFIGS)
            yield Problem(f"{where}.{at}", f"no such deployment (there are: {there})")
    for name in _USER_CONFIGS:
        if not any(deployment.get("name") == name for _, deployment in listed):
            yield Problem(f"{where}.deployments", f"{name} is not listed; Serve would use its defaults")
    yield from limits.problems(application, where)


def _user_config(deployment: Mapping[str, Any], model: type[BaseModel], where: str) -> Iterator[Problem]:
    at = f"{where}.user_config"
    if (values := deployment.get("user_config")) is None:
        yield Problem(at, "missing; a running replica would keep its old values")
    elif isinstance(values, Mapping):
        yield from _checked(model, values, at)


def _replicas(deployment: Mapping[str, Any], where: str) -> Iterator[Problem]:
    if deployment.get("num_replicas") == 0:
        yield Problem(member(where, "num_replicas"), "0 replicas answer nobody; write at least 1")
    scaling = deployment.get("autoscaling_config")
    for key in ("min_replicas", "initial_replicas"):
        if isinstance(scaling, Mapping) and scaling.get(key) == 0:
            at = f"{where}.autoscaling_config.{key}"
            yield Problem(at, "the router gives no requests to a deployment of 0 replicas; write at least 1")


def _checked(model: type[BaseModel], values: Any, where: str) -> list[Problem]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return explain(error, model, values, where)
    return []
