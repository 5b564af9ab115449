"""The arms that only wait."""

import asyncio
import inspect
import time

import pytest

from bench.scaling.app import FakeArm, result
from bench.scaling.measure import body
from serve_app.deployments import Arm
from serve_app.schemas import STAGES, Options


def arm(service_s: float) -> FakeArm:
    made = FakeArm()
    made.reconfigure({"service_s": service_s, "reload": 3, "checkpoint": "somewhere"})
    return made


@pytest.mark.parametrize("method", ["detect", "status", "reconfigure"])
def test_it_is_called_as_a_real_arm_is(method: str) -> None:
    assert inspect.signature(getattr(FakeArm, method)) == inspect.signature(getattr(Arm, method))


def test_one_request_after_the_other() -> None:
    async def three() -> float:
        waiting = arm(0.05)
        began = time.perf_counter()
        await asyncio.gather(*(waiting.detect(b"image", Options(), 10) for _ in range(3)))
        return time.perf_counter() - began

    assert asyncio.run(three()) >= 0.15


def test_without_work_it_answers_at_once() -> None:
    assert asyncio.run(arm(0).detect(b"image", Options(), 10)) == result(0)


def test_it_tells_every_stage_as_the_router_counts_them() -> None:
    assert list(result(0.04).stages) == list(STAGES)
    assert result(0.04).stages["inference"] == 0.04


def test_it_is_ready_and_says_which_configuration_it_has() -> None:
    status = asyncio.run(arm(0).status())
    assert (status.state, status.reload) == ("ready", 3)


def test_the_body_is_a_jpeg_of_nearly_200_kb() -> None:
    data = body()
    assert data.startswith(b"\xff\xd8")
    assert 180_000 < len(data) <= 200_000
