"""Typed configuration: everything a person may write in `serve_config.yaml`. Unknown keys are refused by name."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve_app.errors import ConfigurationError
from serve_app.explain import explain

DEFAULT_CHECKPOINT = "demo/checkpoint"
DEFAULT_ARTIFACT = "artifacts/demo"
INFERENCE_LIMIT_S = 60.0  # a YOLOS-small takes 1 to 3 s on two cores
LONGEST_AUTO_S = 10.0  # of arm_timeout_s
MOST_SECONDS = 3600

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Engine = Literal["onnxruntime", "openvino"]
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)]


class _Settings(BaseModel):
    # strict: neither `true` nor "12" is a number, and 1 is no switch. A whole number is still a right float.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BreakerSettings(_Settings):
    """When a backend is left alone for a while, and how often it is tried again."""

    consecutive_failures: int = Field(5, ge=1, description="Failures in a row that open the breaker.")
    failure_share: Fraction = Field(0.5, description="Share of failures in the window above which it opens.")
    window: int = Field(20, ge=2, le=1000, description="Number of latest calls the share is taken over.")
    probe_interval_s: Seconds = Field(3.0, description="Seconds between the single probes of an open breaker.")


class TrafficPolicy(_Settings):
    """The Router's `user_config`: who answers, and what happens when they cannot."""

    onnx_fraction: Fraction = Field(0.0, description="Share of requests assigned to ONNX; 0 is the rollback.")
    experiment: str = Field("default", min_length=1, max_length=64, description="Salt of the sticky assignment.")
    sticky_header: str = Field("x-client-id", pattern=r"^[A-Za-z0-9-]{1,64}$", description="Header with a client key.")
    fallback: Literal[True, False, "always"] = Field(
        True,
        description="Who answers when the assigned backend fails: true is the other one, ONNX only while onnx_fraction "
        "is over 0; always is the other one at any share; false is nobody.",
    )
    allow_different_weights: bool = Field(
        False, description="Let ONNX carry traffic while its fingerprint differs from Torch's."
    )
    shadow_fraction: Fraction = Field(0.0, description="Share of requests also sent to the other backend.")
    shadow_noise_share: Fraction = Field(0.1, description="Share of those sent back to Torch: the noise floor.")
    shadow_concurrency: int = Field(1, ge=1, le=64, description="Shadow calls under way at once; more are dropped.")
    allow_override: bool = Field(False, description="Honour the X-Backend request header.")
    deadline_s: Seconds = Field(30.0, description="Longest time a request may take.")
    arm_timeout_s: float | Literal["auto"] = Field(
        "auto",
        description="Longest time for the assigned backend before the other one, in seconds; auto follows what the "
        "backend usually takes.",
    )
    max_inflight: int = Field(
        12, ge=1, le=10_000, description="Requests under way at one backend, from one router; more get 503."
    )
    max_uploads: int = Field(64, ge=1, le=10_000, description="Bodies being received at once; more get 503.")
    log_requests: bool = Field(False, description="Write one log line per request.")
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)

    @field_validator("arm_timeout_s", mode="before")
    @classmethod
    def _seconds_or_auto(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value == "auto" or (number and 0 < value <= MOST_SECONDS):
            return value
        raise ValueError(f"give seconds (over 0, at most {MOST_SECONDS}) or auto, not {value!r}")

    @property
    def longest_attempt_s(self) -> float:
        """`arm_timeout_s` where it is a number, else the most that `auto` may come to."""
        return min(LONGEST_AUTO_S, self.deadline_s / 2) if self.arm_timeout_s == "auto" else self.arm_timeout_s


class LimitSettings(_Settings):
    """What a client may send. Part of the application's `args`."""

    max_body_bytes: int = Field(20_000_000, ge=1_000, description="Largest request body.")
    max_pixels: int = Field(50_000_000, ge=1, description="Largest image that is decoded, width times height.")
    max_side: int = Field(65_535, ge=1, description="Longest width or height of an image.")
    max_decode_bytes: int = Field(
        256_000_000,
        ge=10_000_000,
        description="Memory for the pixels of all images that one replica decodes at once. A JPEG that would take more "
        "alone is decoded reduced; other images are refused.",
    )
    body_timeout_s: Seconds = Field(15.0, description="Longest time a client may take to send its body.")


class AppSettings(_Settings):
    """The application's `args`: read once at start; a change restarts every deployment."""

    limits: LimitSettings = Field(default_factory=LimitSettings)


class BackendSettings(_Settings):
    """What the `user_config` of both backends has."""

    checkpoint: str = Field(DEFAULT_CHECKPOINT, min_length=1, description="Folder or hub id of the YOLOS checkpoint.")
    revision: str | None = Field(None, description="Commit or tag, for a hub id.")
    threads: int = Field(2, ge=1, le=256, description="Threads of one inference; give both backends the same.")
    max_batch: int = Field(
        1, ge=1, le=64, description="Waiting images of one shape that one inference takes together; 1 is off."
    )
    inferences_at_once: int = Field(
        1, ge=1, le=16, description="Inferences that run in parallel; 2 helps a small model that leaves cores idle."
    )
    inference_limit_s: Seconds = Field(
        INFERENCE_LIMIT_S, description="An inference that lasts longer counts as hung, and Serve replaces the replica."
    )
    spinning: bool = Field(
        False, description="Waiting threads spin instead of sleeping; only for cores that nothing else uses."
    )
    reload: int = Field(0, description="Change it to load again without touching anything else.")

    @model_validator(mode="after")
    def _batches_or_inferences(self) -> Self:
        if self.max_batch > 1 and self.inferences_at_once > 1:
            raise ValueError(
                f"max_batch {self.max_batch} and inferences_at_once {self.inferences_at_once} "
                "take each other's images: leave one of them at 1"
            )
        return self


class TorchSettings(BackendSettings):
    """`user_config` of TorchDeployment."""

    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where the model runs.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Type of weights and arithmetic.")


class OnnxSettings(BackendSettings):
    """`user_config` of OnnxDeployment. The checkpoint is only read for its fingerprint."""

    artifact: str = Field(DEFAULT_ARTIFACT, min_length=1, description="Folder that `python -m export` wrote.")
    engine: Engine = Field("onnxruntime", description="What runs the artifact.")
    providers: list[str] = Field(
        ["CPUExecutionProvider"], min_length=1, description="ONNX Runtime's execution providers, in order."
    )

    @model_validator(mode="after")
    def _one_with_openvino(self) -> Self:
        # With more, OpenVINO divides the threads among them, even while only one runs.
        if self.engine == "openvino" and self.inferences_at_once > 1:
            raise ValueError(f"engine openvino runs one inference at once, not {self.inferences_at_once}: set 1")
        return self


S = TypeVar("S", bound=BaseModel)


def parse(model: type[S], values: Mapping[str, Any], where: str) -> S:
    """Validate `values` as `model`; raises ConfigurationError with one line per wrong key, named from `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(str, explain(error, model, values, where)))) from None
