"""What Serve says of a config file, and what it would ignore silently, such as unknown keys.

Knows nothing of this service. Called by `serve_app.config.serve_file`. Serve reads the file with the same models, but
turns text and `true` into numbers, ignores keys that it does not know, and looks into some mappings only later.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema

from serve_app.errors import one_line
from serve_app.explain import Problem, entry, explain, member, nested_model, unknown_key

_HOST = re.compile(r"[A-Za-z0-9._:-]+")


def entries(values: Any, key: str) -> list[tuple[str, dict[str, Any]]]:
    """The mappings in the list `values[key]`, each with its name in a path. Whatever else is there is left out."""
    listed = values.get(key) if isinstance(values, Mapping) else None
    found = enumerate(listed if isinstance(listed, list) else [])
    return [(entry(key, value, index), value) for index, value in found if isinstance(value, dict)]


def ignored(content: Mapping[str, Any]) -> Iterator[Problem]:
    """What Serve would take without a word, or find out only while it deploys."""
    yield from _shape(ServeDeploySchema, content, "")
    yield from _address(content)
    yield from _twice(content, "applications", "")
    for where, application in entries(content, "applications"):
        yield from _route(application, where)
        yield from _environment(application, where)
        yield from _twice(application, "deployments", where)
        for inner, deployment in entries(application, "deployments"):
            yield from _environment(deployment.get("ray_actor_options"), f"{where}.{inner}.ray_actor_options")


def refused(content: dict[str, Any]) -> list[Problem]:
    """What Serve's own models refuse, with numbers and switches taken strictly."""
    return _checked(ServeDeploySchema, _mappings_only(content, "applications", "deployments"), "")


def _mappings_only(values: dict[str, Any], key: str, *below: str) -> dict[str, Any]:
    """A copy without what is no mapping in the list `values[key]` and below: Serve's validators raise on it."""
    if not isinstance(values.get(key), list):
        return values
    listed = [value for _, value in entries(values, key)]
    return {**values, key: [_mappings_only(value, *below) for value in listed] if below else listed}


def _checked(model: type[BaseModel], values: Any, where: str) -> list[Problem]:
    text = json.dumps(values, default=str, skipkeys=True)  # as a deploy sends it; in JSON, Serve's enums are texts
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        return explain(error, model, json.loads(text), where)
    except Exception as error:  # some of Serve's validators expect the right types, and raise whatever they meet
        inside = [
            problem
            for key in values
            if (nested := nested_model(model, key))
            for at, value in entries(values, key)
            for problem in _checked(nested, value, member(where, at))
        ]
        return inside or [Problem(where, f"Serve cannot read this: {one_line(error)}")]
    return []


def _shape(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Unknown keys, entries of lists that are no mappings, and mappings that Serve would take as they are."""
    for key, value in values.items():
        at = member(where, key)
        nested = nested_model(model, key)
        if isinstance(key, str) and key not in model.model_fields:
            yield Problem(at, unknown_key(key, model))
        elif nested is None:
            continue
        elif isinstance(value, list):
            for index, one in enumerate(value):
                yield from _inside(nested, one, entry(at, one, index), unchecked=_is_any(model, key))
        elif isinstance(value, Mapping) and "List" not in str(model.model_fields[key].annotation):
            yield from _inside(nested, value, at, unchecked=_is_any(model, key))


def _inside(model: type[BaseModel], value: Any, at: str, unchecked: bool) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        keys = ", ".join(name for name, field in model.model_fields.items() if field.is_required())
        yield Problem(at, f"expected a mapping with the key {keys}, got {value!r}")
        return
    yield from _shape(model, value, at)
    if unchecked:
        yield from _checked(model, value, at)


def _is_any(model: type[BaseModel], key: str) -> bool:
    """Whether Serve's model takes any mapping for this key, and looks into it only while it deploys."""
    return "Dict" in str(model.model_fields[key].annotation)


def _address(content: Mapping[str, Any]) -> Iterator[Problem]:
    options = content.get("http_options")
    if not isinstance(options, Mapping):
        return
    host, port = options.get("host"), options.get("port")
    if isinstance(host, str) and not _HOST.fullmatch(host):
        yield Problem("http_options.host", f"expected a name or an address, such as 127.0.0.1, got {host!r}")
    if isinstance(port, int) and not 1 <= port <= 65535:
        yield Problem("http_options.port", f"expected a port from 1 to 65535, got {port}")


def _twice(values: Mapping[str, Any], key: str, where: str) -> Iterator[Problem]:
    names = Counter(name for _, value in entries(values, key) if isinstance(name := value.get("name"), str))
    for name, count in names.items():
        if count > 1:
            yield Problem(
                member(where, key), f"{name} is listed {count} times, and Serve would take the last; keep one"
            )


def _route(application: Mapping[str, Any], where: str) -> Iterator[Problem]:
    route = application.get("route_prefix")
    at = f"{where}.route_prefix"
    if not isinstance(route, str) or route == "/":
        return
    if not route.startswith("/"):
        yield Problem(at, f"must begin with a slash: write /{route.rstrip('/')}, not {route!r}")
    elif route.endswith("/"):
        yield Problem(at, f"must not end with a slash: write {route.rstrip('/') or '/'}, not {route!r}")
    elif "{" in route or "}" in route:
        yield Problem(at, f"may hold no braces, got {route!r}")


def _environment(values: Any, where: str) -> Iterator[Problem]:
    """A `runtime_env`: Serve takes any mapping, and the deploy fails later."""
    environment = values.get("runtime_env") if isinstance(values, Mapping) else None
    if not isinstance(environment, Mapping):
        return
    at = f"{where}.runtime_env"
    for key in environment:
        if key not in RuntimeEnv.known_fields:
            known = ", ".join(sorted(name for name in RuntimeEnv.known_fields if not name.startswith("_")))
            yield Problem(f"{at}.{key}", f"unknown key (known here: {known})")
    variables = environment.get("env_vars", {})
    if not isinstance(variables, Mapping):
        yield Problem(f"{at}.env_vars", f"expected a mapping of names to texts, got {variables!r}")
        return
    for name, value in variables.items():
        if not isinstance(value, str):
            yield Problem(f"{at}.env_vars.{name}", f"Ray takes only text here, got {value!r}; put it in quotes")
