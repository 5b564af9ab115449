"""The fields of `Options` as parameters: parsed for `http.request_body`, documented for `http.openapi`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serve_app.errors import MalformedRequest
from serve_app.schemas import Options

NAMES = tuple(Options.model_fields)
_LONGEST = 100  # characters of a number: to read a longer one takes time, and no client means it
_KINDS = {"number": "a number", "integer": "a whole number"}


def parse_options(values: Mapping[str, Any]) -> Options:
    """Options from a query, a form or JSON. Raises MalformedRequest that names the first wrong one and its value."""
    name = next((name for name, value in values.items() if isinstance(value, str) and len(value) > _LONGEST), None)
    if name is None:
        try:
            return Options.model_validate(values)
        except ValidationError as error:
            name = str(error.errors(include_input=False)[0]["loc"][0])
    schema = option_schemas()[name]
    raise MalformedRequest(
        f"{name} must be {_KINDS[schema['type']]} from {schema['minimum']:g} to {schema['maximum']:g}, "
        f"got {_shown(values[name])}"
    )


def option_schemas() -> dict[str, dict[str, Any]]:
    """The JSON schema of each option, by name."""
    properties: dict[str, dict[str, Any]] = Options.model_json_schema()["properties"]
    return {
        name: {key: value for key, value in schema.items() if key != "title"} for name, schema in properties.items()
    }


def _shown(value: Any) -> str:
    # Only short values: the text of deeply nested lists would exhaust the stack, that of a long string the memory.
    if isinstance(value, str):
        return repr(value[:80])
    plain = value is None or isinstance(value, int | float)
    return repr(value)[:80] if plain else f"a {type(value).__name__}"
