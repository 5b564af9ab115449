"""What the tests of failures share: freezing a process, and reading a counter of the service from outside."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PATIENCE_S = 30.0


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


def counted(client: httpx.Client, series: str, **labels: str) -> int:
    """The sum of a counter's samples with these labels, over all replicas."""
    page = client.get("/metrics").raise_for_status().text
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return round(
        sum(
            sample.value
            for sample in samples
            if sample.name == f"ray_{series}" and labels.items() <= sample.labels.items()
        )
    )


@contextlib.contextmanager
def counts(client: httpx.Client, growth: int, series: str, **labels: str) -> Iterator[None]:
    """Expect a counter to grow by `growth` within a `with` block; series reach the page within a second or two."""
    before = counted(client, series, **labels)
    yield
    eventually(lambda: counted(client, series, **labels) - before >= growth)
    assert counted(client, series, **labels) - before == growth
