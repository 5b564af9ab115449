"""Ray's private and unstable parts: used as Ray 2.60 has them, and no error from any other Ray."""

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.backends import ray_internals
from serve_app.backends.ray_internals import known_replicas, routing_options, routing_stats


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


class Id(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]


def test_what_each_replica_told_serve() -> None:
    told = {"a": {"state": "ready"}, "new": {}, "odd": None, "odder": "ready"}
    handle = handle_with({Id(unique_id=name): SimpleNamespace(routing_stats=stats) for name, stats in told.items()})
    assert routing_stats(handle) == {"a": {"state": "ready"}}


@pytest.mark.parametrize(
    "handle", [object(), handle_with(None), handle_with({"a": object()}), handle_with({Id(unique_id="a"): object()})]
)
def test_another_ray_knows_nothing_of_its_replicas(handle: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        assert [routing_stats(handle) for _ in range(3)] == [{}] * 3
    assert len(caplog.records) == 1


def test_a_handle_that_is_not_connected_knows_nothing_of_its_replicas(caplog: pytest.LogCaptureFixture) -> None:
    assert routing_stats(SimpleNamespace(_router=None)) == {}
    assert not caplog.records


def test_the_options_that_keep_calls_from_replicas_that_cannot_answer() -> None:
    config = routing_options()["request_router_config"]
    assert config.request_router_class.endswith("ReadyReplicas")
    assert config.get_request_router_class().__name__ == "ReadyReplicas"
    assert config.request_routing_stats_period_s == 1


def test_a_ray_without_that_interface_picks_replicas_as_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray.serve.request_router", None)
    monkeypatch.delitem(sys.modules, "serve_app.backends.request_router", raising=False)
    assert routing_options() == {}
    assert "also get calls" in caplog.text


def test_a_ray_whose_routers_have_to_do_more_picks_replicas_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class MustDoMore(ABC):
        @abstractmethod
        def more(self) -> None: ...

    monkeypatch.setattr("ray.serve.config.RequestRouterConfig.get_request_router_class", lambda config: MustDoMore)
    assert routing_options() == {}


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
