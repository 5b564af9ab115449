"""Backends that failed too often or are down: who is asked instead, for how long, and how they come back."""

import pytest

from serve_app.backends.protocol import Reason
from serve_app.errors import (
    BackendUnavailable,
    BadOutput,
    DeadlineExceeded,
)
from serve_app.settings import BreakerSettings
from tests.unit.traffic.bed import Bench


class TestBreaker:
    def fail_often(self, bench: Bench, reason: Reason, times: int = 5) -> None:
        bench.onnx.fail(reason)
        for _ in range(times):
            bench.ask()

    def test_five_failures_open_it_and_the_other_backend_answers_at_once(self, bench: Bench) -> None:
        self.fail_often(bench, "engine", times=8)
        assert bench.breakers["onnx"].is_open
        assert len(bench.onnx.given) == 5
        assert bench.counted("detect_fallbacks_total") == {("onnx", "engine"): 5, ("onnx", "breaker_open"): 3}
        assert bench.counted("detect_requests_total") == {("onnx", "torch", "rescued"): 8}

    def test_a_probe_brings_the_backend_back(self, bench: Bench) -> None:
        bench.policy(breaker=BreakerSettings(probe_interval_s=0.01))
        self.fail_often(bench, "replica_died")
        bench.onnx.recover()
        bench.clock.advance(0.02)
        assert bench.ask().backend == "onnx"
        assert not bench.breakers["onnx"].is_open

    def test_no_probe_is_spent_while_the_backend_is_down(self, bench: Bench) -> None:
        bench.policy(breaker=BreakerSettings(probe_interval_s=0.5))
        self.fail_often(bench, "replica_died")
        bench.onnx.is_ready = False
        bench.clock.advance(0.6)
        assert bench.ask().backend == "torch"
        bench.onnx.recover()
        bench.onnx.is_ready = True
        assert bench.ask().backend == "onnx"

    @pytest.mark.parametrize("reason", ["queue_full", "message_too_large"])
    def test_what_is_not_the_backends_fault_never_opens_it(self, bench: Bench, reason: Reason) -> None:
        self.fail_often(bench, reason, times=30)
        assert not bench.breakers["onnx"].is_open

    def test_clients_in_a_hurry_never_open_it(self, bench: Bench) -> None:
        bench.onnx.takes_s = bench.torch.takes_s = 60
        for _ in range(10):
            with pytest.raises(DeadlineExceeded):
                bench.ask(timeout_s=0.004)
        assert not any(breaker.is_open for breaker in bench.breakers.values())

    def test_timeouts_of_patient_clients_open_it(self, bench: Bench) -> None:
        bench.policy(arm_timeout_s=0.01)
        bench.onnx.takes_s = 60
        for _ in range(5):
            bench.ask()
        assert bench.breakers["onnx"].is_open

    def test_as_the_last_resort_a_backend_is_asked_although_its_breaker_is_open(self, bench: Bench) -> None:
        self.fail_often(bench, "engine")
        bench.onnx.recover()
        bench.torch.fail("replica_died")
        bench.policy(onnx_fraction=0.0, fallback="always")
        answer = bench.ask()
        assert (answer.assigned, answer.backend) == ("torch", "onnx")
        assert not bench.breakers["onnx"].is_open

    def test_a_backend_that_was_passed_over_is_asked_if_its_rescuer_fails(self, bench: Bench) -> None:
        self.fail_often(bench, "replica_died")
        bench.onnx.recover()
        bench.torch.fail("replica_died")
        answer = bench.ask()
        assert (answer.assigned, answer.backend) == ("onnx", "onnx")
        assert bench.counted("detect_fallbacks_total")[("onnx", "breaker_open")] == 1

    @pytest.mark.parametrize("fraction", [0.0, 1.0])
    def test_with_one_left_alone_the_other_backend_has_half_of_the_time_whatever_its_limit(
        self, bench: Bench, fraction: float
    ) -> None:
        self.fail_often(bench, "engine")
        bench.policy(onnx_fraction=fraction, arm_timeout_s=1, fallback="always")
        assert bench.ask(timeout_s=20).backend == "torch"
        assert bench.torch.given[-1] == 10
        assert not bench.torch.may_wait[-1]  # should it lose its replica, the one left alone is still there

    def test_a_probe_has_its_limit(self, bench: Bench) -> None:
        bench.policy(breaker=BreakerSettings(probe_interval_s=0.01), arm_timeout_s=1)
        self.fail_often(bench, "engine")
        bench.clock.advance(0.02)
        bench.ask(timeout_s=20)
        assert bench.onnx.given[-1] == 1

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


class TestBackendThatSaysItIsDown:
    def test_the_other_one_is_asked_at_once(self, bench: Bench) -> None:
        bench.onnx.is_ready = False
        assert bench.ask().backend == "torch"
        assert not bench.onnx.given
        assert bench.counted("detect_fallbacks_total") == {("onnx", "unavailable"): 1}

    @pytest.mark.parametrize("fraction", [0.0, 1.0])
    def test_the_other_one_has_all_the_time_and_may_wait_for_a_replica(self, bench: Bench, fraction: float) -> None:
        bench.policy(onnx_fraction=fraction, arm_timeout_s=1, fallback="always")
        bench.onnx.is_ready = False
        assert bench.ask(timeout_s=20).backend == "torch"
        assert bench.torch.given == [20]
        assert bench.torch.may_wait == [True]

    def test_it_is_asked_all_the_same_if_the_other_one_fails(self, bench: Bench) -> None:
        bench.onnx.is_ready = False
        bench.torch.fail("replica_died")
        assert bench.ask().backend == "onnx"

    def test_it_is_asked_itself_if_the_other_one_is_down_too(self, bench: Bench) -> None:
        bench.onnx.is_ready = bench.torch.is_ready = False
        assert bench.ask(timeout_s=8).backend == "onnx"
        # It may wait for its next replica, but the other one may be back first.
        assert bench.onnx.given == [4]
        assert bench.onnx.may_wait == [True]

    def test_it_is_the_last_resort_of_the_other_one(self, bench: Bench) -> None:
        bench.onnx.fail("engine")
        bench.torch.is_ready = False
        assert bench.ask().backend == "torch"
