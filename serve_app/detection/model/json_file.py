"""A JSON file of a checkpoint as a typed model. Called by `architecture` and `preprocessor`."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from serve_app.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], path: Path) -> M:
    """Validate the JSON object in the file at `path`. A wrong key is a ConfigurationError with its name and value."""
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    problem = error.errors()[0]
    if not problem["loc"]:
        return "expected a JSON object" if problem["type"] == "model_type" else problem["msg"]
    key = ".".join(map(str, problem["loc"]))
    return f"{key} is {json.dumps(problem['input'])}; {problem['msg'][0].lower()}{problem['msg'][1:]}"
