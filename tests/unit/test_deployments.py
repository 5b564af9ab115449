"""An arm without Ray: what it reports when it cannot load, how it recovers, and what it does not even begin."""

import asyncio
import io
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_app.calls import Options
from serve_app.deployments import Arm, OnnxDeployment, TorchDeployment
from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import EngineInfo, ModelSpec, Pixels, RawOutputs, ResizeRule
from serve_app.errors import BackendUnavailable, ConfigurationError, DeadlineExceeded, EngineFailed, Overloaded
from serve_app.settings import ArmSettings, LimitSettings, parse

SPEC = ModelSpec(
    labels=["shirt"],
    resize=ResizeRule(height=32, width=32),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    patch_size=16,
    position_grid=(2, 2),
    detection_tokens=3,
)
RELOAD = {"reload": 1}


def jpeg(width: int, height: int) -> bytes:
    with io.BytesIO() as buffer:
        Image.new("RGB", (width, height)).save(buffer, "JPEG")
        return buffer.getvalue()


IMAGE = jpeg(64, 48)


class FakeDetector:
    """An engine that can be held inside an inference, and counts them."""

    info = EngineInfo("fake", "cpu", "fp32", 1, {"fake": "1"})

    def __init__(self) -> None:
        self.inferences = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.raises: Exception | None = None

    def infer(self, pixels: Pixels) -> RawOutputs:
        self.inferences += 1
        assert self.go_on.wait(timeout=30)
        if self.raises:
            raise self.raises
        return RawOutputs(np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 4), np.float32))


class FakeArm(Arm):
    """An arm whose loading does what it is told."""

    name = "Fake"
    library = "fakelib"

    def __init__(self) -> None:
        super().__init__(LimitSettings())
        self.detector = FakeDetector()
        self.raises: Exception | None = None

    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        return "put it right"

    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        if self.raises:
            raise self.raises
        settings = parse(ArmSettings, user_config, "Fake.user_config")
        return self._pipeline_of(self.detector, SPEC, settings), "sha256:abc"


@pytest.fixture
def arm() -> FakeArm:
    arm = FakeArm()
    arm.reconfigure(RELOAD)
    arm.detector.inferences = 0
    return arm


def status(arm: Arm) -> tuple[str, str]:
    told = asyncio.run(arm.status())
    return told.state, told.reason or ""


def detect(arm: Arm, timeout_s: float = 30, only_if_idle: bool = False) -> Any:
    return arm.detect(IMAGE, Options(), timeout_s, only_if_idle)


async def until(condition: Any) -> None:
    """Wait for something another thread does."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def test_a_loaded_arm_says_what_it_runs_and_answers(arm: FakeArm) -> None:
    told = asyncio.run(arm.status())
    assert (told.state, told.fingerprint, told.engine, told.threads) == ("ready", "sha256:abc", "fake", 1)
    result = asyncio.run(detect(arm))
    assert (result.image.width, result.image.height) == (64, 48)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ConfigurationError("no artifact; run: x, then change FakeArm.user_config.reload"),
            "no artifact; run: x, then change FakeArm.user_config.reload",
        ),
        (
            ConfigurationError("c/config.json: not valid JSON"),
            "c/config.json: not valid JSON; then change FakeArm.user_config.reload",
        ),
        (
            ConfigurationError("FakeArm.user_config.thread: unknown key"),
            "FakeArm.user_config.thread: unknown key; correct it and deploy",
        ),
        (
            ModuleNotFoundError("No module named 'fakelib'"),
            "ModuleNotFoundError: No module named 'fakelib'; run: pip install --force-reinstall -c constraints.txt "
            "fakelib, then change FakeArm.user_config.reload",
        ),
        (
            RuntimeError("cannot"),
            "RuntimeError: cannot; put it right, then change FakeArm.user_config.reload",
        ),
    ],
)
def test_what_keeps_it_from_loading_becomes_its_status_with_the_remedy(
    arm: FakeArm, error: Exception, reason: str
) -> None:
    arm.raises = error
    arm.reconfigure(RELOAD)
    assert status(arm) == ("unavailable", reason)
    with pytest.raises(BackendUnavailable):
        asyncio.run(detect(arm))
    arm.raises = None
    arm.reconfigure({"reload": 2})
    assert status(arm) == ("ready", "")
    assert asyncio.run(arm.status()).reload == 2
    asyncio.run(detect(arm))


def test_an_engine_that_fails_its_warm_up_is_not_ready(arm: FakeArm) -> None:
    arm.detector.raises = RuntimeError("no kernel")
    arm.reconfigure(RELOAD)
    assert status(arm)[0] == "unavailable"
    assert "no kernel" not in status(arm)[1]  # the log has it, with its traceback


def test_an_arm_before_its_first_configuration_is_unavailable() -> None:
    assert status(FakeArm()) == ("unavailable", "Fake: no user_config yet")


def test_work_that_was_cancelled_before_it_began_never_begins(arm: FakeArm) -> None:
    async def go() -> None:
        arm.detector.go_on.clear()
        running = asyncio.ensure_future(detect(arm))
        await until(lambda: arm.detector.inferences == 1)
        waiting = [asyncio.ensure_future(detect(arm)) for _ in range(6)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        arm.detector.go_on.set()
        await running
        await detect(arm)

    asyncio.run(go())
    assert arm.detector.inferences == 2


def test_work_whose_deadline_passed_while_it_waited_is_dropped(arm: FakeArm) -> None:
    async def go() -> None:
        arm.detector.go_on.clear()
        running = asyncio.ensure_future(detect(arm))
        await until(lambda: arm.detector.inferences == 1)
        late = [asyncio.ensure_future(detect(arm, timeout_s=0.05)) for _ in range(5)]
        await asyncio.sleep(0.1)
        arm.detector.go_on.set()
        await running
        for task in late:
            with pytest.raises(DeadlineExceeded):
                await task

    asyncio.run(go())
    assert arm.detector.inferences == 1


def test_what_is_only_wanted_when_idle_is_refused_while_busy(arm: FakeArm) -> None:
    async def go() -> None:
        arm.detector.go_on.clear()
        running = asyncio.ensure_future(detect(arm))
        await until(lambda: arm.detector.inferences == 1)
        with pytest.raises(Overloaded):
            await detect(arm, only_if_idle=True)
        arm.detector.go_on.set()
        await running
        await detect(arm, only_if_idle=True)

    asyncio.run(go())
    assert arm.detector.inferences == 2


def test_two_inferences_run_at_once_where_the_configuration_says_so(arm: FakeArm) -> None:
    arm.reconfigure({"inferences_at_once": 2})
    arm.detector.inferences = 0

    async def go() -> None:
        arm.detector.go_on.clear()
        running = [asyncio.ensure_future(detect(arm)) for _ in range(4)]
        await until(lambda: arm.detector.inferences == 2)
        await asyncio.sleep(0.05)
        assert arm.detector.inferences == 2
        arm.detector.go_on.set()
        await asyncio.gather(*running)

    asyncio.run(go())


def test_an_engine_error_names_no_internals(arm: FakeArm) -> None:
    arm.detector.raises = RuntimeError("/srv/model: address 0x7f")
    with pytest.raises(EngineFailed, match=r"^fake failed: RuntimeError$"):
        asyncio.run(detect(arm))
    arm.detector.raises = None
    asyncio.run(detect(arm))


def test_an_engine_that_hangs_fails_the_health_check_until_it_comes_back(arm: FakeArm) -> None:
    arm.reconfigure({"inference_limit_s": 0.05})
    arm.detector.inferences = 0

    async def go() -> None:
        arm.detector.go_on.clear()
        await arm.check_health()
        hanging = asyncio.ensure_future(detect(arm))
        await until(lambda: arm.detector.inferences == 1)
        await asyncio.sleep(0.1)
        with pytest.raises(EngineFailed, match="fake has been in one inference for"):
            await arm.check_health()
        told = await arm.status()
        assert (told.state, "inference_limit_s" in (told.reason or "")) == ("unavailable", True)
        arm.detector.go_on.set()
        await hanging
        await arm.check_health()
        assert (await arm.status()).state == "ready"

    asyncio.run(go())


@pytest.mark.parametrize(
    ("deployment", "config", "reason"),
    [
        (TorchDeployment, {"checkpoint": "./nowhere"}, "checkpoint ./nowhere: no such folder"),
        (TorchDeployment, {"chekpoint": "x"}, "TorchDeployment.user_config.chekpoint: unknown key"),
        (OnnxDeployment, {"artifact": "./nowhere"}, "run: python -m export --checkpoint demo/checkpoint"),
        (OnnxDeployment, {"threads": 0}, "OnnxDeployment.user_config.threads"),
        (OnnxDeployment, {"reload": "often", "checkpoint": 7}, "OnnxDeployment.user_config.reload"),
    ],
)
def test_the_real_arms_never_raise_while_loading(deployment: type[Arm], config: Mapping[str, Any], reason: str) -> None:
    arm = deployment(LimitSettings())
    arm.reconfigure(config)
    state, told = status(arm)
    assert state == "unavailable"
    assert reason in told
    assert f"{deployment.__name__}.user_config" in told


def test_a_library_that_does_not_import_is_a_status_and_can_be_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = TorchDeployment(LimitSettings())
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "transformers", None)
        broken.delitem(sys.modules, "serve_app.detection.engines.torch", raising=False)
        arm.reconfigure({"reload": 1})
        state, reason = status(arm)
    assert state == "unavailable"
    assert "run: pip install --force-reinstall -c constraints.txt torch transformers" in reason
    arm.reconfigure({"reload": 2})
    assert status(arm) == ("ready", "")


def test_the_clock_of_a_waiting_call_runs_while_all_threads_are_taken(arm: FakeArm) -> None:
    async def go() -> float:
        arm.detector.go_on.clear()
        running = [asyncio.ensure_future(detect(arm)) for _ in range(3)]
        await until(lambda: arm.detector.inferences == 1)
        late = asyncio.ensure_future(detect(arm, timeout_s=0.05))
        await asyncio.sleep(0.1)
        arm.detector.go_on.set()
        began = time.monotonic()
        await asyncio.gather(*running)
        with pytest.raises(DeadlineExceeded):
            await late
        return time.monotonic() - began

    assert asyncio.run(go()) < 20
    assert arm.detector.inferences == 3
