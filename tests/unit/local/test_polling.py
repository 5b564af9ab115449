"""How often something is tried within a limit."""

import pytest

from serve_app.local.polling import attempts
from tests.unit.local.clocks import FakeClock


@pytest.mark.parametrize(
    ("timeout_s", "pause_s", "at"), [(0, 1, [0]), (2, 1, [0, 1, 2]), (2.5, 1, [0, 1, 2, 3]), (1, 5, [0, 5])]
)
def test_it_is_tried_at_once_after_each_pause_and_a_last_time_when_time_is_over(
    timeout_s: float, pause_s: float, at: list[float]
) -> None:
    clock = FakeClock()
    began = clock.now
    assert [clock.now - began for _ in attempts(timeout_s, pause_s, clock)] == at
