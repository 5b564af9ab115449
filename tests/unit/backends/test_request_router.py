"""Which replicas a call may go to: the ready ones, or all of them while none says that it is."""

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.backends.request_router import ReadyReplicas

READY, NOT_LOADED = {"state": "ready", "fingerprint": "sha256:a"}, {"state": "unavailable", "reason": "x"}
NEW: dict[str, str] = {}


def chosen(*told: Any, times: int = 60) -> set[frozenset[int]]:
    """The replicas, by position, that come out together of many choices among replicas that told Serve this."""
    router: Any = object.__new__(ReadyReplicas)
    replicas = [SimpleNamespace(routing_stats=stats, position=index) for index, stats in enumerate(told)]

    async def go() -> set[frozenset[int]]:
        found = set()
        for _ in range(times):
            [rank] = await router.choose_replicas(replicas)
            assert len({replica.position for replica in rank}) == len(rank)
            found.add(frozenset(replica.position for replica in rank))
        return found

    return asyncio.run(go())


def test_a_replica_that_is_not_ready_is_never_chosen_while_another_is() -> None:
    assert chosen(READY, NOT_LOADED) == {frozenset({0})}
    assert chosen(NOT_LOADED, NEW, READY) == {frozenset({2})}
    assert chosen(READY, NOT_LOADED, READY) == {frozenset({0, 2})}


@pytest.mark.parametrize("told", [NOT_LOADED, NEW, None, "ready", {"state": None}])
def test_while_none_says_that_it_is_ready_all_are_chosen(told: Any) -> None:
    assert chosen(told, told) == {frozenset({0, 1})}
    assert chosen(told) == {frozenset({0})}


def test_two_of_many_are_chosen_each_pair_at_times() -> None:
    pairs = {frozenset(pair) for pair in itertools.combinations(range(3), 2)}
    assert chosen(READY, READY, READY, NOT_LOADED, times=300) == pairs  # a pair is missed once in 10^52 runs


def test_a_replica_of_a_ray_that_tells_nothing_counts_as_any_other() -> None:
    router: Any = object.__new__(ReadyReplicas)
    replicas = [object(), object()]
    [rank] = asyncio.run(router.choose_replicas(replicas))
    assert set(rank) == set(replicas)


def test_a_call_that_finds_no_place_pauses_before_the_next_try() -> None:
    router: Any = object.__new__(ReadyReplicas)
    pending = SimpleNamespace(routing_context=SimpleNamespace(should_backoff=False))
    asyncio.run(router.choose_replicas([SimpleNamespace(routing_stats=READY)], pending))
    assert pending.routing_context.should_backoff
