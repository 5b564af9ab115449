"""One request through the experiment, with backends that fail in every way: who answers, and what is counted."""

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest

from serve_app.backends.protocol import Reason
from serve_app.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    ServingError,
    TooLarge,
    UnsupportedMediaType,
)
from serve_app.schemas import Answer
from tests.unit.traffic.bed import Bench
from tests.unit.traffic.fake_backend import ERRORS

FAILURES = [(reason, error) for reason, error in ERRORS.items() if reason != "breaker_open"]
BOTH_FAIL = [(reason, error) for reason, error in FAILURES if reason != "timeout"]


def test_the_assigned_backend_answers(bench: Bench) -> None:
    answer = bench.ask()
    assert (answer.assigned, answer.backend) == ("onnx", "onnx")
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "ok"): 1}
    assert bench.counted("detect_latency_seconds") == {("onnx",): 1}
    assert not bench.counted("detect_fallbacks_total")
    assert not bench.torch.given


def test_every_reason_has_a_case_here() -> None:
    assert set(ERRORS) == set(get_args(Reason))


@pytest.mark.parametrize("reason", [reason for reason, _ in FAILURES])
def test_whatever_fails_the_other_backend_answers_once(bench: Bench, reason: Reason) -> None:
    bench.onnx.fail(reason)
    answer = bench.ask()
    assert (answer.assigned, answer.backend) == ("onnx", "torch")
    assert bench.counted("detect_requests_total") == {("onnx", "torch", "rescued"): 1}
    assert bench.counted("detect_fallbacks_total") == {("onnx", reason): 1}
    assert bench.counted("detect_latency_seconds") == {("onnx",): 1}
    assert (len(bench.onnx.given), len(bench.torch.given)) == (1, 1)


@pytest.mark.parametrize(("reason", "error"), BOTH_FAIL)
def test_if_both_fail_the_client_gets_the_assigned_backends_error(
    bench: Bench, reason: Reason, error: ServingError
) -> None:
    bench.onnx.fail(reason)
    bench.torch.fail("internal")
    with pytest.raises(type(error)) as caught:
        bench.ask()
    assert caught.value is error
    assert caught.value.status == 503
    assert (len(bench.onnx.given), len(bench.torch.given)) == (1, 1)
    outcome = "overloaded" if reason == "queue_full" else "failed"
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", outcome): 1}


def test_a_backends_own_limit_is_no_deadline_of_the_client(bench: Bench) -> None:
    bench.onnx.takes_s = 60
    bench.policy(arm_timeout_s=0.05)
    bench.torch.fail("engine")
    with pytest.raises(BackendUnavailable, match="onnx did not answer in time, and torch failed"):
        bench.ask(timeout_s=30)
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "failed"): 1}


@pytest.mark.parametrize("error", [InvalidImage("no"), TooLarge("no"), UnsupportedMediaType("no")])
def test_a_clients_fault_is_not_tried_again(bench: Bench, error: ServingError) -> None:
    bench.onnx.gives = error
    for _ in range(30):
        with pytest.raises(type(error)):
            bench.ask()
    assert not bench.torch.given
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "invalid"): 30}
    assert not bench.breakers["onnx"].is_open


def test_the_first_backend_gets_its_limit_but_at_most_half_the_time(bench: Bench) -> None:
    bench.onnx.fail("engine")
    bench.policy(arm_timeout_s=4)
    bench.ask(timeout_s=30)
    bench.ask(timeout_s=2)
    assert bench.onnx.given == [4, 1]
    assert bench.torch.given == [30, 2]


def test_the_second_has_what_the_first_left(bench: Bench) -> None:
    bench.onnx.takes_s = 60
    bench.policy(arm_timeout_s=4)
    bench.ask(timeout_s=30)
    assert bench.torch.given == [26]


def test_a_hanging_backend_is_left_in_time(bench: Bench) -> None:
    bench.onnx.takes_s = 60
    bench.policy(arm_timeout_s=0.05)
    assert bench.ask().backend == "torch"
    assert bench.counted("detect_fallbacks_total") == {("onnx", "timeout"): 1}


def test_if_both_hang_the_deadline_is_the_answer(bench: Bench) -> None:
    bench.onnx.fail("timeout")
    bench.torch.fail("timeout")
    with pytest.raises(DeadlineExceeded, match="neither"):
        bench.ask(timeout_s=2)
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "deadline"): 1}


def test_only_a_client_that_allows_a_fair_time_counts_against_the_backend(bench: Bench) -> None:
    bench.onnx.takes_s = bench.torch.takes_s = 60
    bench.policy(arm_timeout_s=0.2)  # of which half is fair
    for timeout_s in (0.05, 0.3):
        with pytest.raises(DeadlineExceeded):
            bench.ask(timeout_s)
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "hurried"): 1, ("onnx", "onnx", "deadline"): 1}


def test_if_the_second_has_no_time_to_answer_the_deadline_is_the_answer(bench: Bench) -> None:
    bench.onnx.fail("engine")
    bench.torch.fail("timeout")
    with pytest.raises(DeadlineExceeded, match="neither"):
        bench.ask()
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "deadline"): 1}


def test_a_backend_that_was_asked_alone_is_not_called_two(bench: Bench) -> None:
    bench.onnx.fail("timeout")
    bench.policy(fallback=False)
    for forced in (None, "onnx"):
        with pytest.raises(DeadlineExceeded) as caught:
            bench.ask(forced=forced)
        assert caught.value is ERRORS["timeout"]


@pytest.mark.parametrize("timeout_s", [-1, 0])
def test_a_passed_deadline_asks_nobody(bench: Bench, timeout_s: float) -> None:
    with pytest.raises(DeadlineExceeded, match="passed"):
        bench.ask(timeout_s)
    assert not bench.onnx.given + bench.torch.given


def test_without_fallback_the_error_comes_at_once_and_all_the_time_is_the_backends(bench: Bench) -> None:
    bench.policy(fallback=False)
    bench.onnx.fail("replica_died")
    with pytest.raises(BackendUnavailable):
        bench.ask(timeout_s=20)
    assert bench.onnx.given == [20]
    assert not bench.torch.given
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "failed"): 1}


def test_a_forced_request_stays_on_its_backend_and_out_of_the_series(bench: Bench) -> None:
    assert bench.ask(forced="torch").backend == "torch"
    bench.torch.fail("engine")
    with pytest.raises(EngineFailed):
        bench.ask(forced="torch")
    assert not bench.onnx.given
    assert not bench.counted("detect_requests_total")
    assert not bench.counted("detect_latency_seconds")


def test_a_fault_of_ours_counts_as_failed(bench: Bench) -> None:
    bench.onnx.gives = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError):
        bench.ask()
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "failed"): 1}


def test_the_latency_is_all_the_time_since_the_request_arrived(bench: Bench) -> None:
    bench.onnx.takes_s = 60
    bench.torch.takes_s = 0.25
    bench.policy(arm_timeout_s=4)
    late = bench.call()
    bench.clock.advance(0.5)  # its body took so long
    bench.clock.run(bench.dispatcher.detect(late))
    assert list(bench.recorder.of("detect_latency_seconds")) == [(4.75, {"assigned": "onnx"})]


def test_a_cancelled_request_is_counted_as_such(bench: Bench) -> None:
    async def go() -> None:
        bench.onnx.takes_s = 60
        task = asyncio.create_task(bench.dispatcher.detect(bench.call()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    bench.clock.run(go())
    assert bench.counted("detect_requests_total") == {("onnx", "onnx", "cancelled"): 1}
    assert not bench.torch.given


def test_a_sticky_key_decides_the_backend(bench: Bench) -> None:
    bench.policy(onnx_fraction=0.5)
    for key in ("a", "b", "c", "d"):
        assert len({bench.ask(key=key).assigned for _ in range(3)}) == 1


@pytest.mark.parametrize("log_requests", [True, False])
def test_one_log_line_a_request_if_asked_for(bench: Bench, log_requests: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    remember: Callable[..., None] = lambda message, extra: lines.append(extra)  # noqa: E731
    monkeypatch.setattr("serve_app.traffic.accounting.logger.info", remember)
    bench.policy(log_requests=log_requests)
    bench.ask()
    assert [(line["assigned"], line["outcome"]) for line in lines] == [("onnx", "ok")] * log_requests


class TestShareZero:
    """`onnx_fraction: 0` is the rollback: ONNX answers nobody, whatever becomes of Torch."""

    @pytest.mark.parametrize("reason", [reason for reason, _ in BOTH_FAIL])
    def test_onnx_does_not_answer_for_torch(self, bench: Bench, reason: Reason) -> None:
        bench.policy(onnx_fraction=0.0)
        bench.torch.fail(reason)
        for key in (None, "client"):
            with pytest.raises(type(ERRORS[reason])):
                bench.ask(key=key)
        assert not bench.onnx.given
        assert not bench.counted("detect_fallbacks_total")

    def test_nor_while_torch_is_away(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.0)
        bench.torch.is_ready = False
        assert bench.ask(timeout_s=20).backend == "torch"
        assert (bench.torch.given, bench.torch.may_wait) == ([20], [True])

    def test_nor_while_torch_hangs_or_is_left_alone(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.0)
        bench.torch.takes_s = 600
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                bench.ask()
        assert bench.torch.given == [30] * 5

        async def two_more() -> list[Answer | BaseException]:
            calls = (bench.dispatcher.detect(bench.call()) for _ in range(2))
            return await asyncio.gather(*calls, return_exceptions=True)

        probe, other = bench.clock.run(two_more())
        assert isinstance(probe, DeadlineExceeded)
        assert isinstance(other, BackendUnavailable)
        assert "left alone" in other.detail
        assert not bench.onnx.given

    def test_a_torch_that_is_replaced_is_waited_for_although_its_calls_died(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.0)
        bench.torch.fail("replica_died")
        for _ in range(5):
            with pytest.raises(BackendUnavailable, match="died"):
                bench.ask()
        bench.torch.is_ready = False
        bench.torch.recover()
        assert bench.ask().backend == "torch"

    def test_who_insists_on_onnx_gets_it(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.0, allow_override=True)
        assert bench.ask(forced="onnx").backend == "onnx"

    def test_always_lets_it_answer(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.0, fallback="always")
        bench.torch.fail("engine")
        assert bench.ask().backend == "onnx"

    def test_torch_the_incumbent_answers_for_onnx_at_any_share(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=1.0)
        bench.onnx.fail("engine")
        assert bench.ask().backend == "torch"


class TestDifferentWeights:
    """An ONNX with another fingerprint than Torch's carries no traffic."""

    @pytest.fixture(autouse=True)
    def _differ(self, bench: Bench) -> None:
        bench.onnx.fingerprints = frozenset({"sha256:other"})

    def test_nobody_is_assigned_to_it(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=1.0)
        for key in (None, "client"):
            answer = bench.ask(key=key)
            assert (answer.assigned, answer.backend) == ("torch", "torch")
        assert not bench.onnx.given

    @pytest.mark.parametrize("fallback", [True, "always"])
    def test_it_answers_for_nobody(self, bench: Bench, fallback: Any) -> None:
        bench.policy(onnx_fraction=0.5, fallback=fallback)
        bench.torch.fail("engine")
        with pytest.raises(EngineFailed):
            bench.ask()
        assert not bench.onnx.given

    def test_who_insists_on_it_is_told_why_not(self, bench: Bench) -> None:
        with pytest.raises(BackendUnavailable, match=r"Router\.user_config\.allow_different_weights"):
            bench.ask(forced="onnx")
        assert bench.ask(forced="torch").backend == "torch"
        assert not bench.onnx.given

    def test_the_policy_may_allow_it(self, bench: Bench) -> None:
        bench.policy(allow_different_weights=True)
        assert bench.ask().backend == "onnx"
        assert bench.dispatcher.barred is None

    def test_the_split_goes_on_where_it_was(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.5)
        bench.onnx.fingerprints = bench.torch.fingerprints
        before = [bench.ask().assigned for _ in range(50)]
        bench.onnx.fingerprints = frozenset({"sha256:other"})
        assert {bench.ask().assigned for _ in range(50)} == {"torch"}
        bench.onnx.fingerprints = bench.torch.fingerprints
        after = [bench.ask().assigned for _ in range(50)]
        assert (before + after).count("onnx") == 50  # one whole block
