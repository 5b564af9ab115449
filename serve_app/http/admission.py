"""How many requests a router replica holds at once: bodies being received, and requests being answered.

Called by `http.api`. Counted apart, so that slow senders take no place from requests that could be answered.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve_app.errors import Overloaded
from serve_app.settings import TrafficPolicy


class Admission:
    """Counts bodies and requests. Over a limit it refuses at once, before a byte of the body is read."""

    def __init__(self, on_refused: Callable[[], None]) -> None:
        self._on_refused = on_refused
        self._receiving = 0
        self._answering = 0

    @contextmanager
    def receive(self, policy: TrafficPolicy) -> Iterator[None]:
        """Hold a place for one body, or raise Overloaded, also where the request could not be answered afterwards."""
        self._refuse_if(self._receiving, policy.max_uploads, "bodies are being received")
        self._refuse_if(self._answering, policy.max_inflight, "requests are under way")
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    @contextmanager
    def admit(self, policy: TrafficPolicy) -> Iterator[None]:
        """Hold a place for one request that is being answered, or raise Overloaded."""
        self._refuse_if(self._answering, policy.max_inflight, "requests are under way")
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1

    def _refuse_if(self, count: int, limit: int, what: str) -> None:
        if count >= limit:
            self._on_refused()
            raise Overloaded(f"{count} {what}, the limit is {limit}")
