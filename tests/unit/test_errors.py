"""The error family survives what happens to it between processes."""

import pickle

import pytest

from serve_app import errors

FAMILY = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.ServingError)
]


@pytest.mark.parametrize("error", FAMILY)
def test_an_error_crosses_processes_whole(error: type[errors.ServingError]) -> None:
    copy = pickle.loads(pickle.dumps(error("what went wrong")))
    assert type(copy) is error
    assert (copy.detail, copy.status, copy.code) == ("what went wrong", error.status, error.code)


def test_the_clients_faults_and_ours_are_apart() -> None:
    ours = {error.__name__ for error in FAMILY if error.status >= 500}
    assert ours == {
        "ServingError", "Overloaded", "BackendUnavailable", "EngineFailed", "BadOutput", "DeadlineExceeded",
        "ConfigurationError", "UnreadableModel",
    }  # fmt: skip


@pytest.mark.parametrize("error", [error for error in FAMILY if error.status == 503])
def test_what_may_be_tried_again_says_when(error: type[errors.ServingError]) -> None:
    assert error.retry_after_s


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("two\n  lines"), "two lines"), (KeyError(), "KeyError"), (OSError("x" * 999), "x" * 200)],
)
def test_another_librarys_error_fits_on_one_line(error: Exception, told: str) -> None:
    assert errors.one_line(error) == told
