"""What the tests of failures share: freezing a process, and reading a counter of the service from outside."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PATIENCE_S = 30.0
_QUIET_S = 5.0  # more than two of the reports by which series reach the page (serve_app/local/node.py)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process where it stands, as a hang does, for the length of a `with` block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def eventually(condition: Callable[[], bool], timeout_s: float = _PATIENCE_S) -> None:
    """Wait until `condition` holds; fails the test if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def metrics_page(client: httpx.Client) -> str:
    """The page of series. It is a 503 while Ray's agent, which answers one at a time, is too busy."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (answer := client.get("/metrics")).is_success:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.25)
    return answer.text


def counted(client: httpx.Client, series: str, **labels: str) -> int:
    """The sum of a counter's samples with these labels, over all replicas."""
    families = text_string_to_metric_families(metrics_page(client))
    samples = (sample for family in families for sample in family.samples)
    return round(
        sum(
            sample.value
            for sample in samples
            if sample.name == f"ray_{series}" and labels.items() <= sample.labels.items()
        )
    )


def settled(client: httpx.Client, series: str, **labels: str) -> int:
    """A counter that has everything from before: unchanged for longer than series take to reach the page."""
    deadline = time.monotonic() + _PATIENCE_S
    value, since = counted(client, series, **labels), time.monotonic()
    while time.monotonic() - since < _QUIET_S:
        assert time.monotonic() < deadline, f"{series} does not come to rest"
        time.sleep(0.25)
        now = counted(client, series, **labels)
        if now != value:
            value, since = now, time.monotonic()
    return value


@contextlib.contextmanager
def counts(client: httpx.Client, growth: int, series: str, **labels: str) -> Iterator[None]:
    """Expect a counter to grow by exactly `growth` within a `with` block."""
    before = settled(client, series, **labels)
    yield
    eventually(lambda: counted(client, series, **labels) - before >= growth)
    assert counted(client, series, **labels) - before == growth
