"""What the router needs of a backend, and how a backend fails. Used by `traffic`, implemented by `backends.client`."""

from typing import Literal, Protocol

from serve_app.errors import ServingError
from serve_app.schemas import Backend, DetectionResult, Options

Reason = Literal[
    "breaker_open",
    "queue_full",
    "unavailable",
    "replica_died",
    "engine",
    "bad_output",
    "timeout",
    "message_too_large",
    "internal",
]


class BackendFailure(Exception):
    """A backend could not answer, through no fault of the client.

    `reason` is a label for the series, `error` what the client gets if no other backend answers.
    """

    def __init__(self, reason: Reason, error: ServingError) -> None:
        super().__init__(f"{reason}: {error.detail}")
        self.reason: Reason = reason
        self.error = error


class BackendClient(Protocol):
    """One backend, ready to be asked."""

    name: Backend

    @property
    def is_ready(self) -> bool:
        """Whether the backend last reported that it can answer."""
        ...

    @property
    def fingerprints(self) -> frozenset[str]:
        """The weights of the replicas that take traffic; the last known ones while it is down, empty before that."""
        ...

    async def detect(
        self,
        data: bytes,
        options: Options,
        timeout_s: float,
        *,
        only_if_idle: bool = False,
        may_wait: bool = False,
    ) -> DetectionResult:
        """Detect objects in one encoded image within `timeout_s` seconds.

        `only_if_idle` refuses to queue behind other calls. `may_wait` keeps the call waiting for a replica that is
        being replaced. Raises BackendFailure, or RefusedImage for what the client sent.
        """
        ...
