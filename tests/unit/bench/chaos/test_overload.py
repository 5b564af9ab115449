"""When a service has recovered from a storm, on a clock of the test's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.chaos import overload
from bench.load.plan import Sent, Target

TARGET = Target("http://127.0.0.1:1", b"photo")


class Clock:
    """Time passes only by sleeping."""

    now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def until_normal(monkeypatch: pytest.MonkeyPatch, sent: list[Sent]) -> float:
    @contextmanager
    def clients(target: Target, count: int) -> Iterator[list[Sent]]:
        yield sent

    monkeypatch.setattr(overload, "clients", clients)
    clock = Clock()
    return overload._until_normal(TARGET, 0.2, clock.read, clock.sleep)


@pytest.mark.parametrize("sent", [Sent(0, 0.1, 503), Sent(0, 0.25, 200)], ids=["refused", "slow"])
def test_a_service_that_stays_slow_or_closed_has_not_recovered(monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    with pytest.raises(TimeoutError, match="not as quick as before"):
        until_normal(monkeypatch, [sent] * 9)


def test_recovery_ends_with_the_first_of_the_quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [Sent(103.0 + number, 103.1 + number, 200) for number in range(5)]
    answers = [Sent(101.0, 101.1, 503), Sent(102.0, 102.5, 200), *quick]
    assert until_normal(monkeypatch, answers) == pytest.approx(3.1)
