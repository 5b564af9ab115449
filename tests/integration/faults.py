"""What the tests of failures share: freezing a process, and reading the service's counters from outside."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.service import Service

# Only a test that fails waits this long: a busy machine may take most of a minute to start a replica.
PATIENCE_S = 120.0
# Options of a deployment whose replica is frozen for a while: Serve must not replace it meanwhile.
PATIENT = {"health_check_timeout_s": 60}


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process where it stands, as a hang does, for the length of a `with` block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def eventually(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds; fails the test if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {timeout_s:g} s"
        time.sleep(0.05)


class Grows:
    """The expectation that a counter grows by exactly `by`, summed over all replicas and all labels not named."""

    def __init__(self, by: int, series: str, **labels: str) -> None:
        self.by, self.series, self.labels = by, series, labels

    def __repr__(self) -> str:
        return f"{self.series}{self.labels} by {self.by}"


@contextlib.contextmanager
def counts(service: Service, *expected: Grows) -> Iterator[None]:
    """Check these expectations of a `with` block, with the page of series up to date before and after it."""

    def readings() -> list[int]:
        return [counted(service, one.series, **one.labels) for one in expected]

    catch_up(service)
    before = readings()
    yield
    catch_up(service)
    grown = [after - earlier for after, earlier in zip(readings(), before, strict=True)]
    assert grown == [one.by for one in expected], f"expected {expected}, got {grown}"


def counted(service: Service, series: str, **labels: str) -> int:
    """The sum of a series' samples with these labels, over all replicas, as Ray's agent has it."""
    page = _page(service)
    lines = [line for line in page.splitlines(keepends=True) if line.startswith(f"ray_{series}{{")]
    samples = [sample for family in text_string_to_metric_families("".join(lines)) for sample in family.samples]
    return round(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))


def catch_up(service: Service) -> None:
    """Wait until the agent shows everything that the router counted before this call.

    A router reports its series together, every other second, and Ray counts the router's requests among them: once a
    later request shows, so do the earlier ones. Twice, as the page may be read while a report is being taken in.
    """
    for _ in range(2):
        before = _health_requests(service)
        _get(f"{service.url}/healthz").raise_for_status()
        eventually(lambda before=before: _health_requests(service) > before)  # type: ignore[misc]


def _health_requests(service: Service) -> int:
    return counted(service, "serve_deployment_request_counter_total", deployment="Router", route="/healthz")


def _page(service: Service) -> str:
    """What Ray's agent shows. It answers one reader at a time, and a busy machine makes it slow."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            return _get(f"http://127.0.0.1:{service.node.ports.metrics}/metrics").raise_for_status().text
        assert time.monotonic() < deadline, "Ray's agent shows no series"
        time.sleep(0.25)


def _get(url: str) -> httpx.Response:
    # To read the machine's certificates would cost more than the request, which is plain HTTP.
    return httpx.get(url, timeout=60, trust_env=False, verify=False)
