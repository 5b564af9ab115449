"""A backend that hangs under open-loop load with the shipped policy: few requests are late, none is refused."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from serve_app.backends.protocol import BackendFailure
from serve_app.config.serve_file import load_config
from serve_app.errors import DeadlineExceeded, InvalidImage, ServingError, TooLarge, UnsupportedMediaType
from serve_app.schemas import Backend, other
from tests.unit.traffic.bed import Bench
from tests.unit.traffic.fake_backend import ERRORS, NOTHING_FOUND

RATE = 20.0
SECONDS = 16.0
USUAL_S = 0.07
LATE_S = 0.5
PLACES = 16
SHIPPED: dict[str, Any] = load_config(Path("serve_config.yaml"))["applications"][0]["deployments"][0]["user_config"]


class Seen(NamedTuple):
    outcome: str
    seconds: float


def send(bench: Bench, seconds: float, timeout_s: float = 30.0, rate: float = RATE) -> list[Seen]:
    """An open loop: requests leave at their time, whatever comes back."""
    seen: list[Seen] = []

    async def one() -> None:
        began = bench.clock()
        try:
            outcome = str((await bench.dispatcher.detect(bench.call(timeout_s))).backend)
        except ServingError as error:
            outcome = error.code
        seen.append(Seen(outcome, bench.clock() - began))

    async def go() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(round(seconds * rate)):
                tasks.create_task(one())
                await asyncio.sleep(1 / rate)

    bench.clock.run(go())
    return seen


def late(seen: list[Seen]) -> list[float]:
    return [one.seconds for one in seen if one.seconds > LATE_S]


def hang(bench: Bench, backend: Backend) -> None:
    getattr(bench, backend).takes_s = 600


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.torch.takes_s = bench.onnx.takes_s = USUAL_S
    return bench


def with_shipped_policy(bench: Bench, **changes: Any) -> None:
    bench.policy(**(SHIPPED | changes))


# The share of the backend that hangs; of 320 requests, those late in its places and as probes; the longest probe.
@pytest.mark.parametrize(
    ("backend", "share", "late_ones", "longest_s"),
    [
        ("onnx", 0.1, 6 + 3, 4.1),
        ("onnx", 0.5, 11 + 4, 8.1),
        ("torch", 0.1, 7 + 3, 4.1),
        ("torch", 0.5, 12 + 4, 8.1),
        ("torch", 0.9, 15 + 4, 8.1),
    ],
)
def test_a_backend_that_worked_before(
    bench: Bench, backend: Backend, share: float, late_ones: int, longest_s: float
) -> None:
    with_shipped_policy(bench, onnx_fraction=share if backend == "onnx" else 1 - share)
    assert late(send(bench, 10)) == []
    hang(bench, backend)
    seen = send(bench, SECONDS)
    assert Counter(one.outcome for one in seen) == {other(backend): RATE * SECONDS}
    assert (len(late(seen)), round(max(late(seen)), 1)) == (late_ones, longest_s)
    assert bench.breakers[backend].is_open


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_a_backend_that_never_answered_yet(bench: Bench, fraction: float) -> None:
    with_shipped_policy(bench, onnx_fraction=fraction)
    hang(bench, "onnx")
    seen = send(bench, SECONDS)
    assert Counter(one.outcome for one in seen) == {"torch": RATE * SECONDS}
    assert len(late(seen)) <= PLACES + 1
    assert bench.breakers["onnx"].is_open


@pytest.mark.parametrize("timeout_s", [2.0, 3.0, 5.0, 9.0])
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("rate", [1.0, RATE])
def test_clients_that_allow_few_seconds_open_the_breaker_too(
    bench: Bench, timeout_s: float, warm: bool, rate: float
) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    if warm:
        send(bench, 10)
    hang(bench, "onnx")
    seen = send(bench, 200 / rate, timeout_s, rate)
    assert Counter(one.outcome for one in seen) == {"torch": 200}
    assert bench.breakers["onnx"].is_open
    assert bench.counted("detect_fallbacks_total")["onnx", "breaker_open"] >= 100


def test_overdue_calls_count_before_they_end(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0, arm_timeout_s=10)
    send(bench, 10)
    hang(bench, "onnx")
    assert not bench.breakers["onnx"].is_open
    send(bench, 1)
    assert bench.counted("detect_fallbacks_total")["onnx", "breaker_open"] >= 5  # of those 20, before any time-out


def test_a_call_that_is_overdue_and_fails_counts_once(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0, breaker={"consecutive_failures": 6, "window": 1000})
    send(bench, 10)
    hang(bench, "onnx")
    for expected in (False, False, False, False, False, True):
        bench.ask()
        assert bench.breakers["onnx"].is_open is expected


@pytest.mark.parametrize("idle_s", [0, 60])  # with nothing to do, it was not silent
def test_a_silent_backend_has_no_queue_worth_waiting_for(bench: Bench, idle_s: float) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    send(bench, 10)
    bench.clock.advance(idle_s)
    lane, policy = bench.lanes["onnx"], bench.in_force.current
    hang(bench, "onnx")
    timeouts = []

    async def go() -> None:
        held = [asyncio.create_task(bench.dispatcher.detect(bench.call())) for _ in range(11)]
        for seconds in (0.4, 0.2):
            await asyncio.sleep(seconds)
            timeouts.append(lane.timeout_s(policy))
        await asyncio.gather(*held)

    bench.clock.run(go())
    assert timeouts[0] > 1.5
    assert timeouts[1] == 1


def test_a_hurried_client_asks_its_own_backend_first_while_that_works(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    send(bench, 10)
    with pytest.raises(DeadlineExceeded):
        bench.ask(timeout_s=0.02)
    assert bench.onnx.given[-1] == pytest.approx(0.01)
    assert not bench.counted("detect_fallbacks_total")["onnx", "breaker_open"]


def test_the_wait_in_a_queue_is_no_work(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    bench.onnx.gives = NOTHING_FOUND.model_copy(update={"stages": {"queue": 5.0, "decode": 0.1, "inference": 0.2}})
    bench.ask()
    assert bench.lanes["onnx"].usual.least_s == pytest.approx(0.3)


def test_hurried_clients_neither_open_a_breaker_nor_count(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=0.5)
    send(bench, 10)
    for timeout_s in (0.001, 0.05):
        assert {one.outcome for one in send(bench, 10, timeout_s)} == {"deadline_exceeded"}
    assert not any(breaker.is_open for breaker in bench.breakers.values())
    outcomes = Counter(outcome for _, _, outcome in bench.counted("detect_requests_total").elements())
    assert outcomes == {"ok": 10 * RATE, "hurried": 2 * 10 * RATE}


def test_who_allows_what_is_usual_counts_as_a_deadline(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    send(bench, 10)
    hang(bench, "onnx")
    hang(bench, "torch")
    for timeout_s in (0.49, 0.51):
        with pytest.raises(DeadlineExceeded):
            bench.ask(timeout_s)
    counted = bench.counted("detect_requests_total")
    assert (counted["onnx", "onnx", "hurried"], counted["onnx", "onnx", "deadline"]) == (1, 1)


class OneAtATime:
    """Makes a fake backend work off its calls one after the other, as an engine does."""

    def __init__(self, bench: Bench, backend: Backend) -> None:
        self._fake = getattr(bench, backend)
        self._detect = self._fake.detect
        self._free = asyncio.Lock()
        self._fake.detect = self.detect

    async def detect(self, data: bytes, options: Any, timeout_s: float, **how: Any) -> Any:
        try:
            async with asyncio.timeout(timeout_s), self._free:
                return await self._detect(data, options, timeout_s, **how)
        except TimeoutError:
            raise BackendFailure("timeout", ERRORS["timeout"]) from None


@pytest.mark.parametrize("slower", [1, 4])
def test_mere_load_is_refused_and_not_taken_for_a_hang(bench: Bench, slower: int) -> None:
    """Four times what a backend can do, after a quiet time in which it was up to four times as quick."""
    with_shipped_policy(bench, onnx_fraction=1.0)
    OneAtATime(bench, "onnx")
    send(bench, 10, rate=5)
    bench.onnx.takes_s *= slower
    capacity = 1 / bench.onnx.takes_s
    seen = Counter(one.outcome for one in send(bench, 30, rate=4 * capacity))
    assert seen.keys() == {"onnx", "overloaded"}
    assert seen["onnx"] >= 30 * capacity * 0.95
    assert not bench.breakers["onnx"].is_open
    assert not bench.torch.given


def test_clients_too_hurried_for_the_queue_do_not_open_a_breaker(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    OneAtATime(bench, "onnx")
    send(bench, 10, rate=5)

    async def go() -> list[Backend]:
        calls = (bench.dispatcher.detect(bench.call(timeout_s=1.2)) for _ in range(PLACES))
        return [answer.backend for answer in await asyncio.gather(*calls)]

    assert Counter(bench.clock.run(go())) == {"onnx": 8, "torch": 8}  # 8 are done within half of their time
    assert not bench.breakers["onnx"].is_open


def test_a_router_that_slept_blames_nobody(bench: Bench) -> None:
    with_shipped_policy(bench, onnx_fraction=1.0)
    send(bench, 10)

    async def go() -> None:
        calls = [asyncio.create_task(bench.dispatcher.detect(bench.call())) for _ in range(8)]
        await asyncio.sleep(USUAL_S / 2)
        bench.clock.advance(0.8)  # longer than a call may be silent; no answer could be heard meanwhile
        assert {(await call).backend for call in calls} == {"onnx"}

    bench.clock.run(go())
    assert not bench.breakers["onnx"].is_open


class TestProbe:
    """The single call to a backend that was left alone."""

    @contextmanager
    def due(self, bench: Bench) -> Iterator[None]:
        """A known backend whose breaker is open; its probe is due in the block, and still is after it."""
        with_shipped_policy(bench, onnx_fraction=1.0)
        send(bench, 10)
        bench.onnx.fail("engine")
        for _ in range(5):
            bench.ask()
        assert bench.breakers["onnx"].is_open
        bench.clock.advance(3)
        yield
        assert bench.breakers["onnx"].admits
        bench.onnx.recover()
        bench.onnx.takes_s = USUAL_S
        assert bench.ask().backend == "onnx"
        assert not bench.breakers["onnx"].is_open

    @pytest.mark.parametrize("error", [InvalidImage("no"), TooLarge("no"), UnsupportedMediaType("no")])
    @pytest.mark.parametrize("takes_s", [0, 0.9])
    def test_a_bad_image_gives_it_back(self, bench: Bench, error: ServingError, takes_s: float) -> None:
        with self.due(bench):
            bench.onnx.gives, bench.onnx.takes_s = error, takes_s
            for _ in range(3):
                with pytest.raises(type(error)):
                    bench.ask()

    @pytest.mark.parametrize("reason", ["queue_full", "message_too_large"])
    def test_so_does_a_failure_that_is_not_the_backends(self, bench: Bench, reason: Any) -> None:
        with self.due(bench):
            bench.onnx.fail(reason)
            assert bench.ask().backend == "torch"

    def test_so_does_a_client_that_goes_away(self, bench: Bench) -> None:
        async def go() -> None:
            task = asyncio.create_task(bench.dispatcher.detect(bench.call()))
            await asyncio.sleep(LATE_S / 2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        with self.due(bench):
            hang(bench, "onnx")
            bench.clock.run(go())

    def test_a_client_too_hurried_for_any_answer_is_none(self, bench: Bench) -> None:
        with self.due(bench):
            for _ in range(3):
                with pytest.raises(DeadlineExceeded):
                    bench.ask(timeout_s=0.01)
            assert bench.torch.given[-3:] == pytest.approx([0.005] * 3)  # it was the first to be asked

    def test_half_of_the_clients_time_has_to_do_for_it(self, bench: Bench) -> None:
        with self.due(bench):
            lane, policy = bench.lanes["onnx"], bench.in_force.current
            for seconds, expected in ((1.9 * lane.usual.least_s, False), (2.1 * lane.usual.least_s, True)):
                assert lane.state(policy, seconds).admits is expected

    def test_a_client_that_leaves_a_hung_backend_spends_it(self, bench: Bench) -> None:
        with self.due(bench):
            pass
        hang(bench, "onnx")
        send(bench, 2)
        bench.clock.advance(3)

        async def go() -> None:
            task = asyncio.create_task(bench.dispatcher.detect(bench.call()))
            await asyncio.sleep(0.9)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        assert bench.breakers["onnx"].admits
        bench.clock.run(go())
        assert not bench.breakers["onnx"].admits

    def test_only_one_is_under_way(self, bench: Bench) -> None:
        with self.due(bench):
            calls = len(bench.onnx.given)
            bench.onnx.recover()
            bench.onnx.takes_s = 0.4

            async def go() -> None:
                answers = await asyncio.gather(*(bench.dispatcher.detect(bench.call()) for _ in range(5)))
                assert Counter(answer.backend for answer in answers) == {"onnx": 1, "torch": 4}

            bench.clock.run(go())
            assert len(bench.onnx.given) == calls + 1

    def test_each_that_is_cut_off_gives_the_next_one_twice_the_time(self, bench: Bench) -> None:
        with self.due(bench):
            hang(bench, "onnx")
            bench.onnx.recover()
            given, shown = [], []
            for _ in range(6):
                shown.append(bench.lanes["onnx"].timeout_s(bench.in_force.current))
                assert bench.ask().backend == "torch"
                given.append(bench.onnx.given[-1])
                bench.clock.advance(3)
            assert given == shown == pytest.approx([1, 2, 4, 8, 10, 10])
        assert bench.lanes["onnx"].timeout_s(bench.in_force.current) < 2


class TestReplicaThatIsReplaced:
    """The wait for it says nothing about the backend."""

    def test_calls_that_wait_for_it_are_not_overdue(self, bench: Bench) -> None:
        with_shipped_policy(bench, onnx_fraction=0.0)
        send(bench, 10)
        bench.torch.is_ready = False
        bench.torch.takes_s = 8
        assert {one.outcome for one in send(bench, 1, rate=10)} == {"torch"}
        assert not bench.breakers["torch"].is_open

    def test_a_replica_that_hangs_from_its_begin_is_seen(self, bench: Bench) -> None:
        with_shipped_policy(bench, onnx_fraction=0.0)
        send(bench, 10)
        bench.torch.is_ready = False
        hang(bench, "torch")

        async def go() -> None:
            waiting = [asyncio.create_task(bench.dispatcher.detect(bench.call())) for _ in range(5)]
            states = []
            for ready, seconds in ((False, 8), (True, 1.1)):
                bench.torch.is_ready = ready
                await asyncio.sleep(seconds)
                states.append(bench.breakers["torch"].is_open)
            assert states == [False, True]
            await asyncio.gather(*waiting, return_exceptions=True)

        bench.clock.run(go())

    def test_nor_is_the_wait_what_it_usually_takes(self, bench: Bench) -> None:
        with_shipped_policy(bench, onnx_fraction=0.0)
        send(bench, 10)
        before = bench.lanes["torch"].usual.least_s
        bench.torch.is_ready = False
        bench.torch.takes_s = 8
        bench.ask()
        assert bench.lanes["torch"].usual.least_s == before

    def test_nor_does_a_time_out_of_that_wait_count(self, bench: Bench) -> None:
        with_shipped_policy(bench, onnx_fraction=0.0)
        bench.torch.is_ready = False
        bench.torch.takes_s = 60
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                bench.ask(timeout_s=20)
        assert not bench.breakers["torch"].is_open
