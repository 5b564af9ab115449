"""Ray's private table of replicas: read where Ray 2.60 keeps it, and no error from any other Ray."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.backends import ray_internals
from serve_app.backends.ray_internals import known_replicas


@pytest.fixture(autouse=True)
def _warn_again() -> Iterator[None]:
    ray_internals._warn_once.cache_clear()
    yield
    ray_internals._warn_once.cache_clear()


def handle_with(table: Any) -> Any:
    request_router = SimpleNamespace(curr_replicas=table)
    return SimpleNamespace(_router=SimpleNamespace(_asyncio_router=SimpleNamespace(request_router=request_router)))


def test_the_ids_of_the_table() -> None:
    assert known_replicas(handle_with({"a": object(), "b": object()})) == frozenset({"a", "b"})
    assert known_replicas(handle_with({})) == frozenset()


@pytest.mark.parametrize(
    "handle",
    [
        SimpleNamespace(_router=None),
        SimpleNamespace(_router=SimpleNamespace(_asyncio_router=SimpleNamespace(request_router=None))),
    ],
)
def test_a_handle_that_is_not_connected_tells_nothing_and_is_no_surprise(
    handle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert known_replicas(handle) is None
    assert not caplog.records


class Raises:
    @property
    def _router(self) -> Any:
        raise RuntimeError("moved")


@pytest.mark.parametrize(
    "handle",
    [
        object(),
        SimpleNamespace(_router=object()),
        Raises(),
        handle_with(None),
        handle_with(lambda: {"a": 1}),
        handle_with("ab"),
        handle_with(3),
        handle_with({"a"}),
    ],
)
def test_another_ray_tells_nothing_and_the_log_says_so_once(handle: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        assert [known_replicas(handle) for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    assert "cannot be read" in caplog.text


def test_the_log_attributes_that_serves_filter_looks_for() -> None:
    assert ray_internals.THIN_LOG_RECORD == {"skip_context_filter": True, "log_to_stderr": False}
