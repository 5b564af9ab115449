"""Giving memory back works where the C library can, and is nothing elsewhere."""

import ctypes

import pytest

from serve_app.detection import heap


def test_memory_is_given_back() -> None:
    assert heap.give_back(0) in (0, 1)


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_a_library_that_cannot_is_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert heap._trim()(0) == 0
