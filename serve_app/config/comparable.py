"""Whether the two backends of a valid config can be compared: they need the same weights and the same means.

Gives warnings, never refusals: such a config can serve, and a rollback must go on. Called by
`serve_app.config.serve_file`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.settings import OnnxSettings, TorchSettings

_WEIGHTS = ("checkpoint", "revision")
_MEANS = ("threads", "max_batch", "inferences_at_once", "spinning")


def warnings(application: Mapping[str, Any]) -> list[str]:
    """One line for each setting that the backends of a checked application should share and do not."""
    listed = {deployment["name"]: deployment["user_config"] for deployment in application["deployments"]}
    torch = TorchSettings.model_validate(listed["TorchDeployment"])
    onnx = OnnxSettings.model_validate(listed["OnnxDeployment"])
    found = [f"{line}: the backends answer from different weights" for line in _different(torch, onnx, _WEIGHTS)]
    if torch.device == "cpu":
        found += [f"{line}: their latencies do not compare the engines" for line in _different(torch, onnx, _MEANS)]
    return found


def _different(torch: TorchSettings, onnx: OnnxSettings, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        one, two = getattr(torch, key), getattr(onnx, key)
        if one != two:
            yield f"user_config.{key} is {one!r} for TorchDeployment, {two!r} for OnnxDeployment"
