"""How many bodies a router replica receives at once, and whether it is worth receiving another. Called by `http.api`.

The requests being answered are counted apart, in `traffic.lane`: slow senders take no place from them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve_app.errors import Overloaded
from serve_app.settings import TrafficPolicy


class Admission:
    """Counts bodies. Over the limit it refuses at once, before a byte of the body is read."""

    def __init__(self, on_refused: Callable[[], None]) -> None:
        self._on_refused = on_refused
        self._receiving = 0

    @contextmanager
    def receive(self, policy: TrafficPolicy, has_place: bool) -> Iterator[None]:
        """Hold a place for one body, or raise Overloaded, also where the request could not be answered afterwards."""
        if self._receiving >= policy.max_uploads:
            self._refuse(f"{self._receiving} bodies are being received, the limit is {policy.max_uploads}")
        if not has_place:
            self._refuse(f"each backend in use has its requests under way, the limit is {policy.max_inflight}")
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    def _refuse(self, why: str) -> None:
        self._on_refused()
        raise Overloaded(why)
