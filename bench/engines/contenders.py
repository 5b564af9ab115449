"""The engines and precisions to compare. Used by `bench.engines`."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

from serve_app.detection.engines import cpu
from serve_app.detection.engines.open import ENGINES
from serve_app.detection.model.artifact import Precision
from serve_app.errors import ConfigurationError


class Contender(NamedTuple):
    """One engine in one precision."""

    engine: Literal["torch", "onnxruntime", "openvino"]
    precision: Precision

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.engine} {self.precision}"


REFERENCE = Contender("torch", "fp32")


def available() -> tuple[list[Contender], list[str]]:
    """The reference first, then whatever this machine runs; and a line on each that it does not."""
    wanted = [REFERENCE, Contender("torch", "bf16")]
    wanted += [Contender(engine, precision) for precision, engines in ENGINES.items() for engine in engines]
    found, missing = [], []
    for contender in wanted:
        reason = _reason_against(contender)
        if reason:
            missing.append(f"{contender.name}: {reason}")
        else:
            found.append(contender)
    return found, missing


def _reason_against(contender: Contender) -> str | None:
    if find_spec(contender.engine) is None:
        return "not installed"
    try:
        cpu.require(contender.precision)
    except ConfigurationError as error:
        return error.detail
    return None
