"""What the tests of the dispatcher share."""

import pytest

from tests.unit.traffic.bed import Bench


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes, so what an arm is given is exact."""
    monkeypatch.setattr("time.perf_counter", lambda: 1000.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()
