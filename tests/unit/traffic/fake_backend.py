"""A backend without Serve, for the tests of the dispatcher and of the shadow run."""

import asyncio

from serve_app.backends.protocol import BackendFailure, Reason
from serve_app.errors import BackendUnavailable, BadOutput, DeadlineExceeded, EngineFailed, Overloaded, ServingError
from serve_app.schemas import Backend, DetectionResult, ImageSize, Options

# What each reason tells the client if nobody else can answer.
ERRORS: dict[Reason, ServingError] = {
    "breaker_open": BackendUnavailable("left alone"),
    "queue_full": Overloaded("full"),
    "unavailable": BackendUnavailable("not loaded"),
    "replica_died": BackendUnavailable("died"),
    "engine": EngineFailed("raised"),
    "bad_output": BadOutput("NaN"),
    "timeout": DeadlineExceeded("slow"),
    "message_too_large": EngineFailed("too large"),
    "internal": EngineFailed("unexpected"),
}
NOTHING_FOUND = DetectionResult(image=ImageSize(width=4, height=3), detections=[], stages={"inference": 0.0})


class FakeBackend:
    """Answers as it is told, and remembers the arguments of each call."""

    def __init__(self, name: Backend) -> None:
        self.name = name
        self.is_ready = True
        self.fingerprints: frozenset[str] = frozenset({"sha256:same"})
        self.gives: DetectionResult | Exception = NOTHING_FOUND
        self.takes_s = 0.0
        self.given: list[float] = []
        self.only_if_idle: list[bool] = []
        self.may_wait: list[bool] = []

    async def detect(
        self,
        data: bytes,
        options: Options,
        timeout_s: float,
        *,
        only_if_idle: bool = False,
        may_wait: bool = False,
    ) -> DetectionResult:
        self.given.append(timeout_s)
        self.only_if_idle.append(only_if_idle)
        self.may_wait.append(may_wait)
        await asyncio.sleep(min(self.takes_s, timeout_s))
        if self.takes_s > timeout_s:
            raise BackendFailure("timeout", ERRORS["timeout"])
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives

    def fail(self, reason: Reason) -> None:
        self.gives = BackendFailure(reason, ERRORS[reason])

    def recover(self) -> None:
        self.gives = NOTHING_FOUND
