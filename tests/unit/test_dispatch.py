"""One request through the experiment, with arms that fail in every way a handle can: who answers, what is counted."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import pytest

from serve_app.backends import Reason
from serve_app.calls import Answer, Call, Options
from serve_app.dispatch import Dispatcher
from serve_app.errors import (
    BackendUnavailable,
    BadOutput,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    ServingError,
    TooLarge,
)
from serve_app.metrics import RouterMetrics
from serve_app.schemas import Backend
from serve_app.settings import BreakerSettings, TrafficPolicy
from tests.unit.fake_arm import ERRORS, FakeArm
from tests.unit.test_metrics import Recorder

FAILURES = [(reason, error) for reason, error in ERRORS.items() if reason != "breaker_open"]


class Bench:
    """A dispatcher between two fake arms, with its series recorded."""

    def __init__(self) -> None:
        self.torch, self.onnx = FakeArm("torch"), FakeArm("onnx")
        self.recorder = Recorder()
        self.dispatcher = Dispatcher({"torch": self.torch, "onnx": self.onnx}, RouterMetrics(self.recorder))
        self.policy()

    def policy(self, **values: Any) -> None:
        self.dispatcher.policy = TrafficPolicy(**({"onnx_fraction": 1.0} | values))

    def ask(self, timeout_s: float = 30.0, forced: Backend | None = None, key: str | None = None) -> Answer:
        return asyncio.run(self.dispatcher.detect(call(timeout_s, forced, key)))

    def counted(self, series: str) -> Counter[tuple[str, ...]]:
        return Counter(tuple(labels.values()) for _, labels in self.recorder.of(series))


def call(timeout_s: float = 30.0, forced: Backend | None = None, key: str | None = None) -> Call:
    now = time.perf_counter()
    return Call("id", b"image", Options(), now, now + timeout_s, key, forced)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_assigned_arm_answers(bench: Bench) -> None:
    answer = bench.ask()
    assert (answer.assigned, answer.backend) == ("onnx", "onnx")
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "ok"): 1}
    assert bench.counted("detect_latency_seconds") == {("onnx",): 1}
    assert not bench.counted("detect_fallbacks_total")
    assert not bench.torch.given


def test_every_reason_has_a_case_here() -> None:
    assert set(ERRORS) == set(get_args(Reason))


@pytest.mark.parametrize("reason", [reason for reason, _ in FAILURES])
def test_whatever_fails_the_other_arm_answers_once(bench: Bench, reason: Reason) -> None:
    bench.onnx.fail(reason)
    answer = bench.ask()
    assert (answer.assigned, answer.backend) == ("onnx", "torch")
    assert bench.counted("detect_requests_total") == {("onnx", "torch", "rescued"): 1}
    assert bench.counted("detect_fallbacks_total") == {("onnx", reason): 1}
    assert bench.counted("detect_latency_seconds") == {("onnx",): 1}
    assert (len(bench.onnx.given), len(bench.torch.given)) == (1, 1)


@pytest.mark.parametrize(("reason", "error"), FAILURES)
def test_if_both_fail_the_client_gets_the_assigned_arms_error(
    bench: Bench, reason: Reason, error: ServingError
) -> None:
    bench.onnx.fail(reason)
    bench.torch.fail("internal")
    with pytest.raises(type(error)) as caught:
        bench.ask()
    assert caught.value is error
    assert caught.value.status in (503, 504)
    assert (len(bench.onnx.given), len(bench.torch.given)) == (1, 1)
    outcome = {"queue_full": "overloaded", "timeout": "deadline"}.get(reason, "failed")
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", outcome): 1}


@pytest.mark.parametrize("error", [InvalidImage("no"), TooLarge("no")])
def test_a_clients_fault_is_not_tried_again(bench: Bench, error: ServingError) -> None:
    bench.onnx.gives = error
    for _ in range(30):
        with pytest.raises(type(error)):
            bench.ask()
    assert not bench.torch.given
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "invalid"): 30}
    assert not bench.dispatcher.breakers["onnx"].is_open


def test_the_first_arm_gets_its_limit_but_at_most_half_the_time(bench: Bench) -> None:
    bench.onnx.fail("engine")
    bench.policy(arm_timeout_s=4)
    bench.ask(timeout_s=30)
    bench.ask(timeout_s=2)
    assert bench.onnx.given == [pytest.approx(4), pytest.approx(1, abs=0.1)]
    assert bench.torch.given == [pytest.approx(30, abs=0.2), pytest.approx(2, abs=0.2)]


def test_a_hanging_arm_is_left_in_time(bench: Bench) -> None:
    bench.onnx.takes_s = 60
    bench.policy(arm_timeout_s=0.05)
    assert bench.ask().backend == "torch"
    assert bench.counted("detect_fallbacks_total") == {("onnx", "timeout"): 1}


def test_if_both_hang_the_deadline_is_the_answer(bench: Bench) -> None:
    bench.onnx.takes_s = bench.torch.takes_s = 60
    with pytest.raises(DeadlineExceeded, match="neither"):
        bench.ask(timeout_s=0.1)
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "deadline"): 1}


def test_a_passed_deadline_asks_nobody(bench: Bench) -> None:
    with pytest.raises(DeadlineExceeded):
        bench.ask(timeout_s=-1)
    assert not bench.onnx.given + bench.torch.given


def test_without_fallback_the_error_comes_at_once_and_all_the_time_is_the_arms(bench: Bench) -> None:
    bench.policy(fallback=False)
    bench.onnx.fail("replica_died")
    with pytest.raises(BackendUnavailable):
        bench.ask(timeout_s=20)
    assert bench.onnx.given == [pytest.approx(20, abs=0.2)]
    assert not bench.torch.given
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "failed"): 1}


def test_a_forced_request_stays_on_its_arm_and_out_of_the_series(bench: Bench) -> None:
    assert bench.ask(forced="torch").backend == "torch"
    bench.torch.fail("engine")
    with pytest.raises(EngineFailed):
        bench.ask(forced="torch")
    assert not bench.onnx.given
    assert not bench.counted("detect_requests_total")
    assert not bench.counted("detect_latency_seconds")


def test_a_cancelled_request_is_counted_as_such(bench: Bench) -> None:
    async def go() -> None:
        bench.onnx.takes_s = 60
        task = asyncio.create_task(bench.dispatcher.detect(call()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "cancelled"): 1}
    assert not bench.torch.given


def test_a_sticky_key_decides_the_arm(bench: Bench) -> None:
    bench.policy(onnx_fraction=0.5)
    for key in ("a", "b", "c", "d"):
        assert len({bench.ask(key=key).assigned for _ in range(3)}) == 1


class TestBreaker:
    def fail_often(self, bench: Bench, reason: Reason, times: int = 5) -> None:
        bench.onnx.fail(reason)
        for _ in range(times):
            bench.ask()

    def test_five_failures_open_it_and_the_other_arm_answers_at_once(self, bench: Bench) -> None:
        self.fail_often(bench, "engine", times=8)
        assert bench.dispatcher.breakers["onnx"].is_open
        assert len(bench.onnx.given) == 5
        assert bench.counted("detect_fallbacks_total") == {("onnx", "engine"): 5, ("onnx", "breaker_open"): 3}
        assert bench.counted("detect_requests_total") == {("onnx", "torch", "rescued"): 8}

    def test_a_probe_brings_the_arm_back(self, bench: Bench) -> None:
        bench.policy(breaker=BreakerSettings(probe_interval_s=0.01))
        self.fail_often(bench, "replica_died")
        bench.onnx.recover()
        time.sleep(0.02)
        assert bench.ask().backend == "onnx"
        assert not bench.dispatcher.breakers["onnx"].is_open

    @pytest.mark.parametrize("reason", ["queue_full", "message_too_large"])
    def test_what_is_not_the_arms_fault_never_opens_it(self, bench: Bench, reason: Reason) -> None:
        self.fail_often(bench, reason, times=30)
        assert not bench.dispatcher.breakers["onnx"].is_open

    def test_clients_in_a_hurry_never_open_it(self, bench: Bench) -> None:
        bench.onnx.takes_s = bench.torch.takes_s = 60
        for _ in range(10):
            with pytest.raises(DeadlineExceeded):
                bench.ask(timeout_s=0.004)
        assert not any(breaker.is_open for breaker in bench.dispatcher.breakers.values())

    def test_timeouts_of_patient_clients_open_it(self, bench: Bench) -> None:
        bench.policy(arm_timeout_s=0.01)
        bench.onnx.takes_s = 60
        for _ in range(5):
            bench.ask()
        assert bench.dispatcher.breakers["onnx"].is_open

    def test_as_the_last_resort_an_arm_is_asked_although_its_breaker_is_open(self, bench: Bench) -> None:
        self.fail_often(bench, "engine")
        bench.onnx.recover()
        bench.torch.fail("replica_died")
        bench.policy(onnx_fraction=0.0)
        answer = bench.ask()
        assert (answer.assigned, answer.backend) == ("torch", "onnx")
        assert not bench.dispatcher.breakers["onnx"].is_open

    def test_an_arm_that_was_passed_over_is_asked_if_its_rescuer_fails(self, bench: Bench) -> None:
        self.fail_often(bench, "replica_died")
        bench.onnx.recover()
        bench.torch.fail("replica_died")
        answer = bench.ask()
        assert (answer.assigned, answer.backend) == ("onnx", "onnx")
        assert bench.counted("detect_fallbacks_total")[("onnx", "breaker_open")] == 1

    def test_if_that_fails_too_the_client_gets_its_error(self, bench: Bench) -> None:
        self.fail_often(bench, "bad_output")
        bench.torch.fail("replica_died")
        with pytest.raises(BadOutput):
            bench.ask()

    def test_without_fallback_an_open_breaker_refuses(self, bench: Bench) -> None:
        self.fail_often(bench, "engine")
        bench.policy(fallback=False)
        with pytest.raises(BackendUnavailable):
            bench.ask()
        assert len(bench.onnx.given) == 5


class TestArmThatSaysItIsDown:
    def test_the_other_one_is_asked_at_once(self, bench: Bench) -> None:
        bench.onnx.is_ready = False
        assert bench.ask().backend == "torch"
        assert not bench.onnx.given
        assert bench.counted("detect_fallbacks_total") == {("onnx", "unavailable"): 1}

    def test_it_is_asked_all_the_same_if_the_other_one_fails(self, bench: Bench) -> None:
        bench.onnx.is_ready = False
        bench.torch.fail("replica_died")
        assert bench.ask().backend == "onnx"

    def test_it_is_asked_itself_if_the_other_one_is_down_too(self, bench: Bench) -> None:
        bench.onnx.is_ready = bench.torch.is_ready = False
        assert bench.ask().backend == "onnx"

    def test_it_is_the_last_resort_of_the_other_one(self, bench: Bench) -> None:
        bench.onnx.fail("engine")
        bench.torch.is_ready = False
        assert bench.ask().backend == "torch"


@pytest.mark.parametrize("log_requests", [True, False])
def test_one_log_line_a_request_if_asked_for(bench: Bench, log_requests: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    remember: Callable[..., None] = lambda message, extra: lines.append(extra)  # noqa: E731
    monkeypatch.setattr("serve_app.dispatch.logger.info", remember)
    bench.policy(log_requests=log_requests)
    bench.ask()
    assert [(line["assigned"], line["outcome"]) for line in lines] == [("onnx", "ok")] * log_requests
