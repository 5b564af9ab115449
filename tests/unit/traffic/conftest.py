"""What the tests of the dispatcher share."""

import pytest

from tests.unit.traffic.bed import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
