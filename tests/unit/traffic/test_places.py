"""The places at each backend: who is refused while they are taken, and when they are free again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from serve_app.errors import EngineFailed, InvalidImage, Overloaded
from serve_app.schemas import Backend
from serve_app.traffic.split import sticky_assignment
from tests.unit.traffic.bed import Bench
from tests.unit.traffic.fake_backend import ERRORS


class TestPlaces:
    """`max_inflight` requests at each backend, each holding a place where it is worked on."""

    def has_place(self, bench: Bench, key: str | None = None, forced: Backend | None = None) -> bool:
        return bench.dispatcher.has_place(key, forced)

    def hold(self, bench: Bench, backend: Backend, use: Callable[[], Awaitable[None]]) -> None:
        """Use a bench whose backend is busy with two requests, which are its limit, and answered before."""
        fraction = bench.in_force.current.onnx_fraction

        async def go() -> None:
            await bench.dispatcher.detect(bench.call(forced=backend))
            getattr(bench, backend).takes_s = 0.4
            held = [asyncio.create_task(bench.dispatcher.detect(bench.call(forced=backend))) for _ in range(2)]
            await asyncio.sleep(0.1)
            await use()
            await asyncio.gather(*held)
            assert self.has_place(bench)

        bench.policy(onnx_fraction=fraction, max_inflight=2)
        bench.clock.run(go())

    def test_a_busy_backend_refuses_and_the_other_one_is_not_asked(self, bench: Bench) -> None:
        async def use() -> None:
            for key in (None, "client"):
                with pytest.raises(Overloaded, match="max_inflight"):
                    await bench.dispatcher.detect(bench.call(key=key))

        self.hold(bench, "onnx", use)
        assert not bench.torch.given
        assert bench.counted("detect_requests_total") == {("onnx", "onnx", "overloaded"): 2}

    def test_the_other_backend_has_places_of_its_own(self, bench: Bench) -> None:
        async def use() -> None:
            assert (await bench.dispatcher.detect(bench.call())).backend == "onnx"

        self.hold(bench, "torch", use)

    @pytest.mark.parametrize(
        ("fraction", "busy", "free", "free_if_forced"),
        [
            (1.0, "onnx", False, {"torch": True, "onnx": False}),
            (1.0, "torch", True, {"torch": False, "onnx": True}),
            (0.0, "torch", False, {"torch": False, "onnx": True}),
            (0.0, "onnx", True, {"torch": True, "onnx": False}),
            (0.5, "torch", True, {"torch": False, "onnx": True}),
        ],
    )
    def test_it_is_known_before_the_draw_whether_a_place_can_be_free(
        self, bench: Bench, fraction: float, busy: Backend, free: bool, free_if_forced: dict[Backend, bool]
    ) -> None:
        async def use() -> None:
            assert self.has_place(bench) is free
            assert {name: self.has_place(bench, forced=name) for name in free_if_forced} == free_if_forced
            for key in map(str, range(20)):
                theirs = sticky_assignment(bench.in_force.current, key)
                assert self.has_place(bench, key) is (theirs != busy)

        bench.policy(onnx_fraction=fraction)
        self.hold(bench, busy, use)

    def test_while_the_weights_differ_only_torchs_places_count(self, bench: Bench) -> None:
        async def use() -> None:
            bench.onnx.fingerprints = frozenset({"sha256:other"})
            assert not self.has_place(bench)
            bench.onnx.fingerprints = bench.torch.fingerprints

        bench.policy(onnx_fraction=0.5)
        self.hold(bench, "torch", use)

    @pytest.mark.parametrize("fallback", [True, False])
    def test_a_backend_that_is_down_or_left_alone_is_not_full(self, bench: Bench, fallback: bool) -> None:
        bench.policy(fallback=fallback)
        bench.onnx.is_ready = False
        assert self.has_place(bench)
        bench.onnx.is_ready = True
        bench.onnx.fail("engine")
        for _ in range(5):
            with contextlib.suppress(EngineFailed):
                bench.ask()
        assert bench.breakers["onnx"].is_open
        assert self.has_place(bench)

    def test_a_probe_that_is_due_has_its_place_although_the_other_backend_is_busy(self, bench: Bench) -> None:
        async def use() -> None:
            assert self.has_place(bench)
            assert (await bench.dispatcher.detect(bench.call())).backend == "onnx"

        bench.onnx.takes_s = 0.07
        bench.ask()
        bench.onnx.fail("engine")
        for _ in range(5):
            bench.ask()
        bench.clock.advance(2.95)
        bench.onnx.recover()
        assert not bench.breakers["onnx"].admits
        self.hold(bench, "torch", use)

    def test_asking_for_a_place_draws_nothing(self, bench: Bench) -> None:
        bench.policy(onnx_fraction=0.5)
        drawn = []
        for _ in range(100):
            self.has_place(bench)
            drawn.append(bench.ask().assigned)
        assert drawn.count("onnx") == 50

    def test_a_rescue_needs_a_place_where_it_goes(self, bench: Bench) -> None:
        bench.onnx.fail("engine")

        async def use() -> None:
            with pytest.raises(EngineFailed):
                await bench.dispatcher.detect(bench.call())

        self.hold(bench, "torch", use)
        assert bench.counted("detect_requests_total") == {("onnx", "onnx", "failed"): 1}

    @pytest.mark.parametrize("error", [InvalidImage("no"), ERRORS["engine"], RuntimeError("a fault of ours")])
    def test_a_place_is_given_back_whatever_happens_in_it(self, bench: Bench, error: Exception) -> None:
        bench.policy(max_inflight=1, fallback=False, breaker={"consecutive_failures": 100})
        bench.onnx.gives = error
        for _ in range(5):
            with pytest.raises(type(error)):
                bench.ask()
        assert len(bench.onnx.given) == 5
