"""What the chaos benchmark says of a storm: recovery only where there is one, quantiles as everybody counts them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.chaos import overload
from bench.chaos.clients import Sent, Target, quantile

TARGET = Target("http://127.0.0.1:1", b"photo")


def answering(monkeypatch: pytest.MonkeyPatch, sent: list[Sent]) -> None:
    @contextmanager
    def clients(target: Target, count: int) -> Iterator[list[Sent]]:
        yield sent

    monkeypatch.setattr(overload, "clients", clients)
    monkeypatch.setattr(overload, "_RECOVERY_TIMEOUT_S", 0.2)


@pytest.mark.parametrize("sent", [Sent(0, 0.1, 503), Sent(0, 0.25, 200)], ids=["refused", "slow"])
def test_a_service_that_stays_slow_or_closed_has_not_recovered(monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    answering(monkeypatch, [sent] * 9)
    with pytest.raises(TimeoutError, match="not as quick as before"):
        overload._until_normal(TARGET, quick_s=0.2)


def test_recovery_ends_with_the_first_of_the_quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    quick = [Sent(103.0 + number, 0.1, 200) for number in range(5)]
    answering(monkeypatch, [Sent(101.0, 0.1, 503), Sent(102.0, 0.5, 200), *quick])
    assert overload._until_normal(TARGET, quick_s=0.2) == pytest.approx(3.1)


def test_the_median_of_two_lies_between_them() -> None:
    assert quantile([1, 3], 0.5) == 2
    assert quantile([], 0.5) == 0
