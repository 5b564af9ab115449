"""What is wrong with a value, in one line for a person: pydantic's errors with path, value and remedy.

Used by `serve_app.settings` for our own models, and by `serve_app.config` for Serve's.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

_LONGEST_VALUE = 100


class Problem(NamedTuple):
    """One thing that is wrong. `path` leads to the value, such as `applications[detect].route_prefix`."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def explain(error: ValidationError, model: type[BaseModel], values: Any, where: str) -> list[Problem]:
    """The problems that pydantic found in `values`, which were to become a `model`. Paths begin with `where`."""
    found: dict[str, list[Any]] = {}
    owners: dict[str, type[BaseModel]] = {}
    for problem in error.errors():
        path, owner = _locate(problem, model, values, where)
        found.setdefault(path, []).append(problem)
        owners[path] = owner
    return [Problem(path, _text(alternatives, owners[path])) for path, alternatives in found.items()]


def unknown_key(key: Any, model: type[BaseModel]) -> str:
    """What to say of a key that `model` does not have."""
    close = get_close_matches(str(key), model.model_fields, n=1)
    return (
        f"unknown key, did you mean {close[0]}?"
        if close
        else f"unknown key (known here: {', '.join(model.model_fields)})"
    )


def nested_model(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model that describes the value, or the entries, of a field; None for a plain value or an unknown key."""
    field = model.model_fields.get(key)
    return next(_models(field.annotation), None) if field else None


def entry(path: str, value: Any, index: int) -> str:
    """The path of one entry of a list: by its name where it has one."""
    name = value.get("name") if isinstance(value, Mapping) else None
    return f"{path}[{name if isinstance(name, str) else index}]"


def member(path: str, key: Any) -> str:
    """The path of one value of a mapping."""
    return f"{path}.{key}" if path else str(key)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _locate(problem: Any, model: type[BaseModel], values: Any, where: str) -> tuple[str, type[BaseModel]]:
    """The path of a problem, and the model that it was checked against.

    Of a union, pydantic's location also names the alternative, which is no part of the file.
    """
    path, owner, last = where, model, len(problem["loc"]) - 1
    for depth, part in enumerate(problem["loc"]):
        if isinstance(values, list) and isinstance(part, int):
            values = values[part]
            path = entry(path, values, part)
        elif isinstance(values, Mapping) and (part in values or (problem["type"] == "missing" and depth == last)):
            values = values.get(part)
            path = member(path, part)
            owner = (nested_model(owner, part) or owner) if depth < last else owner
    return path, owner


def _text(alternatives: list[Any], owner: type[BaseModel]) -> str:
    problem = alternatives[0]
    match problem["type"]:
        case "extra_forbidden":
            return unknown_key(problem["loc"][-1], owner)
        case "value_error":  # raised by a validator of the model, with the values in its text
            return " ".join(str(problem["ctx"]["error"]).split())
        case "missing":
            return "missing"
    first, *others = dict.fromkeys(alternative["msg"] for alternative in alternatives)
    expected = " or ".join([first, *(other.removeprefix("Input should be ") for other in others)])
    value = repr(problem["input"])
    shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
    return f"{expected}, got {shown}{_remedy(problem)}"


def _remedy(problem: Any) -> str:
    """What to do about a value that YAML reads as another type than its writer may think."""
    kind, value = problem["type"], problem["input"]
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if kind == "bool_type" and isinstance(value, str | int):
        return "; write true or false, without quotes"
    if kind in ("float_type", "int_type") and isinstance(value, str) and _is_number(value):
        return "; write it without quotes" + (", and a power of ten as 1.0e-2" if "e" in value.lower() else "")
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
