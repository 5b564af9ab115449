"""The variable USE_ONNX, with which older services chose their engine. Never acted on, and not passed over either.

Called by `check` and `local`, which deploy, and by the router at its start.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_NAME = "USE_ONNX"
_ON = ("1", "true", "yes", "on")


def warnings(environment: Mapping[str, str], config: Mapping[str, Any] | None = None) -> list[str]:
    """One line for each value that the environment, or the content of a Serve config file, gives to USE_ONNX."""
    given = [environment[_NAME]] if _NAME in environment else []
    values = dict.fromkeys(str(value) for value in [*given, *_in_config(config)])
    return [
        f"{_NAME}={value[:40]!r} is set and changes nothing: onnx_fraction in the Router's user_config moves the "
        f"traffic (make split ONNX={int(value.strip().lower() in _ON)})"
        for value in values
    ]


def _in_config(content: Any) -> Iterator[Any]:
    """The values in every `env_vars`, at whatever depth: an application, a deployment and a replica may have them."""
    if isinstance(content, list):
        for entry in content:
            yield from _in_config(entry)
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if key == "env_vars" and isinstance(value, Mapping) and _NAME in value:
                yield value[_NAME]
            yield from _in_config(value)
