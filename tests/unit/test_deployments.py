"""A deployment without Ray: what it reports when it cannot load, how it recovers, and which work it never begins."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_app.deployments import BackendDeployment, OnnxDeployment, TorchDeployment
from serve_app.detection import imaging
from serve_app.detection.formats.encoded import Encoded
from serve_app.detection.picture import Picture
from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import EngineInfo, ModelSpec, Pixels, RawOutputs, ResizeRule
from serve_app.errors import (
    BackendUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    Overloaded,
    TooLarge,
)
from serve_app.schemas import BackendStatus, DetectionResult, Options
from serve_app.settings import BackendSettings, LimitSettings, parse
from tests.unit.detection.hostile import flat_jpeg, scan_bomb
from tests.unit.virtual_time import VirtualClock

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
        self.started = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.raises: BaseException | None = None
        self.together: threading.Barrier | None = None
        self.most_at_once = 0
        self._inside = 0
        self._counting = threading.Lock()

    def infer(self, pixels: Pixels) -> RawOutputs:
        with self._counting:
            self.inferences += 1
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        self.started.release()
        if self.together:
            self.together.wait(timeout=60)
        assert self.go_on.wait(timeout=60)
        with self._counting:
            self._inside -= 1
        if self.raises:
            raise self.raises
        return RawOutputs(np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 4), np.float32))


class FakeDeployment(BackendDeployment):
    """A deployment whose loading does what it is told, on a clock that the tests move."""

    name = "Fake"
    library = "fakelib"

    def __init__(self) -> None:
        self.clock = VirtualClock()
        super().__init__(LimitSettings(), clock=self.clock)
        self.detector = FakeDetector()
        self.raises: BaseException | None = None

    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        return "put it right"

    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        if self.raises:
            raise self.raises
        settings = parse(BackendSettings, user_config, "Fake.user_config")
        return self._pipeline_of(self.detector, SPEC, settings), "sha256:abc"


@pytest.fixture
def deployment() -> FakeDeployment:
    deployment = FakeDeployment()
    deployment.reconfigure(RELOAD)
    deployment.detector.inferences = 0
    deployment.detector.started = threading.Semaphore(0)
    return deployment


def status(deployment: BackendDeployment) -> tuple[str, str]:
    told = asyncio.run(deployment.status())
    return told.state, told.reason or ""


def detect(deployment: BackendDeployment, timeout_s: float = 30, only_if_idle: bool = False) -> Any:
    return deployment.detect(IMAGE, Options(), timeout_s, only_if_idle)


async def inference_began(deployment: FakeDeployment) -> None:
    """Wait until the engine's thread is inside one more inference."""
    assert await asyncio.to_thread(deployment.detector.started.acquire, timeout=60)


async def submitted() -> None:
    """Let the tasks that were just created hand their work to the threads."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_loaded_deployment_says_what_it_runs_and_answers(deployment: FakeDeployment) -> None:
    told = asyncio.run(deployment.status())
    assert (told.state, told.fingerprint, told.engine, told.threads) == ("ready", "sha256:abc", "fake", 1)
    result = asyncio.run(detect(deployment))
    assert (result.image.width, result.image.height) == (64, 48)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ConfigurationError("no artifact; run: x, then change FakeDeployment.user_config.reload"),
            "no artifact; run: x, then change FakeDeployment.user_config.reload",
        ),
        (
            ConfigurationError("c/config.json: not valid JSON"),
            "c/config.json: not valid JSON; then change FakeDeployment.user_config.reload",
        ),
        (
            ConfigurationError("FakeDeployment.user_config.thread: unknown key"),
            "FakeDeployment.user_config.thread: unknown key; correct it and deploy",
        ),
        (
            ModuleNotFoundError("No module named 'fakelib'"),
            "ModuleNotFoundError: No module named 'fakelib'; run: pip install --force-reinstall -c constraints.txt "
            "fakelib, then change FakeDeployment.user_config.reload",
        ),
        (
            RuntimeError("cannot"),
            "RuntimeError: cannot; put it right, then change FakeDeployment.user_config.reload",
        ),
    ],
)
def test_what_keeps_it_from_loading_becomes_its_status_with_the_remedy(error: Exception, reason: str) -> None:
    deployment = FakeDeployment()
    deployment.raises = error
    deployment.reconfigure(RELOAD)
    assert status(deployment) == ("unavailable", reason)
    with pytest.raises(BackendUnavailable):
        asyncio.run(detect(deployment))
    deployment.raises = None
    deployment.reconfigure({"reload": 2})
    assert status(deployment) == ("ready", "")
    assert asyncio.run(deployment.status()).reload == 2
    asyncio.run(detect(deployment))


def test_an_engine_that_fails_its_warm_up_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    deployment = FakeDeployment()
    deployment.detector.raises = RuntimeError("no kernel")
    deployment.reconfigure(RELOAD)
    assert status(deployment)[0] == "unavailable"
    assert "no kernel" not in status(deployment)[1]
    assert "RuntimeError: no kernel" in caplog.text


def test_a_name_that_is_no_utf8_still_makes_a_status() -> None:
    deployment = FakeDeployment()
    deployment.raises = OSError("cannot open model\udcff.onnx")  # as Python names a file whose name is Latin-1
    deployment.reconfigure(RELOAD)
    assert "cannot open model\\udcff.onnx" in status(deployment)[1]


def test_a_deployment_before_its_first_configuration_is_unavailable() -> None:
    assert status(FakeDeployment()) == ("unavailable", "Fake: no user_config yet")


def test_work_that_was_cancelled_before_it_began_never_begins(deployment: FakeDeployment) -> None:
    async def go() -> None:
        deployment.detector.go_on.clear()
        running = asyncio.ensure_future(detect(deployment))
        await inference_began(deployment)
        waiting = [asyncio.ensure_future(detect(deployment)) for _ in range(6)]
        await submitted()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        deployment.detector.go_on.set()
        await running
        await detect(deployment)

    asyncio.run(go())
    assert deployment.detector.inferences == 2


def test_work_whose_deadline_passed_while_it_waited_is_dropped(deployment: FakeDeployment) -> None:
    async def go() -> None:
        deployment.detector.go_on.clear()
        running = asyncio.ensure_future(detect(deployment))
        await inference_began(deployment)
        late = [asyncio.ensure_future(detect(deployment, timeout_s=5)) for _ in range(5)]
        await submitted()
        deployment.clock.advance(6)
        deployment.detector.go_on.set()
        await running
        for task in late:
            with pytest.raises(DeadlineExceeded):
                await task

    asyncio.run(go())
    assert deployment.detector.inferences == 1


def test_what_is_only_wanted_when_idle_is_refused_while_busy(deployment: FakeDeployment) -> None:
    async def go() -> None:
        deployment.detector.go_on.clear()
        running = asyncio.ensure_future(detect(deployment))
        await inference_began(deployment)
        with pytest.raises(Overloaded):
            await detect(deployment, only_if_idle=True)
        deployment.detector.go_on.set()
        await running
        await detect(deployment, only_if_idle=True)

    asyncio.run(go())
    assert deployment.detector.inferences == 2


def test_two_inferences_run_at_once_where_the_configuration_says_so(deployment: FakeDeployment) -> None:
    deployment.reconfigure({"inferences_at_once": 2})
    detector = deployment.detector
    detector.together = threading.Barrier(2)  # an inference alone would wait for ever

    async def go() -> None:
        await asyncio.gather(*(detect(deployment) for _ in range(4)))

    asyncio.run(go())
    assert detector.most_at_once == 2


def test_a_bad_image_is_refused_while_all_threads_are_taken(deployment: FakeDeployment) -> None:
    async def go() -> None:
        deployment.detector.go_on.clear()
        running = [asyncio.ensure_future(detect(deployment)) for _ in range(5)]
        await inference_began(deployment)
        for data, error in ((b"no image", InvalidImage), (scan_bomb(7000, 7000, 1000), TooLarge)):
            with pytest.raises(error):
                await deployment.detect(data, Options(), 30)
        deployment.detector.go_on.set()
        await asyncio.gather(*running)

    asyncio.run(go())


def test_good_photos_are_answered_while_the_worst_images_are_decoded(
    deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding, go_on = threading.Semaphore(0), threading.Event()
    load = imaging.loaded

    def held(encoded: Encoded) -> AbstractContextManager[Picture]:
        if encoded.width > 1000:
            decoding.release()
            assert go_on.wait(timeout=60)
        return load(encoded)

    async def go() -> None:
        monkeypatch.setattr(imaging, "loaded", held)
        worst = [asyncio.ensure_future(deployment.detect(flat_jpeg(7000, 7000), Options(), 30)) for _ in range(12)]
        for _ in range(2):  # of the three threads
            assert await asyncio.to_thread(decoding.acquire, timeout=60)
        await asyncio.gather(*(detect(deployment) for _ in range(3)))
        assert sum(task.done() for task in worst) == 8  # refused; two are decoded, two wait
        go_on.set()
        ended = await asyncio.gather(*worst, return_exceptions=True)
        assert sum(isinstance(each, Overloaded) for each in ended) == 8
        assert sum(isinstance(each, DetectionResult) for each in ended) == 4

    asyncio.run(go())


def test_an_engine_error_names_no_internals(deployment: FakeDeployment) -> None:
    deployment.detector.raises = RuntimeError("/srv/model: address 0x7f")
    with pytest.raises(EngineFailed, match=r"^fake failed: RuntimeError$"):
        asyncio.run(detect(deployment))
    deployment.detector.raises = None
    asyncio.run(detect(deployment))


def test_an_engine_that_hangs_fails_the_health_check_until_it_comes_back(deployment: FakeDeployment) -> None:
    deployment.reconfigure({"inference_limit_s": 10})
    deployment.detector.started = threading.Semaphore(0)

    async def go() -> None:
        deployment.detector.go_on.clear()
        await deployment.check_health()
        hanging = asyncio.ensure_future(detect(deployment))
        await inference_began(deployment)
        deployment.clock.advance(9)
        await deployment.check_health()
        deployment.clock.advance(2)
        with pytest.raises(EngineFailed, match="fake has been in one inference for"):
            await deployment.check_health()
        told = await deployment.status()
        assert (told.state, "inference_limit_s" in (told.reason or "")) == ("unavailable", True)
        deployment.detector.go_on.set()
        await hanging
        await deployment.check_health()
        assert (await deployment.status()).state == "ready"

    asyncio.run(go())


def test_serve_is_told_the_status_as_plain_values(deployment: FakeDeployment) -> None:
    told = asyncio.run(deployment.record_routing_stats())
    assert BackendStatus.model_validate(told) == asyncio.run(deployment.status())
    assert json.loads(json.dumps(told)) == told
    assert told["state"] == "ready"


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
def test_the_real_deployments_never_raise_while_loading(
    deployment: type[BackendDeployment], config: Mapping[str, Any], reason: str
) -> None:
    loading = deployment(LimitSettings())
    loading.reconfigure(config)
    state, told = status(loading)
    assert state == "unavailable"
    assert reason in told
    assert f"{deployment.__name__}.user_config" in told


def test_a_library_that_does_not_import_is_a_status_and_can_be_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = TorchDeployment(LimitSettings())
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "transformers", None)
        broken.delitem(sys.modules, "serve_app.detection.engines.torch", raising=False)
        deployment.reconfigure({"reload": 1})
        state, reason = status(deployment)
    assert state == "unavailable"
    assert "run: pip install --force-reinstall -c constraints.txt torch transformers" in reason
    deployment.reconfigure({"reload": 2})
    assert status(deployment) == ("ready", "")


def test_the_clock_of_a_waiting_call_runs_while_all_threads_are_taken(deployment: FakeDeployment) -> None:
    async def go() -> None:
        deployment.detector.go_on.clear()
        running = [asyncio.ensure_future(detect(deployment)) for _ in range(3)]
        await inference_began(deployment)
        late = asyncio.ensure_future(detect(deployment, timeout_s=5))
        await submitted()
        deployment.clock.advance(6)
        deployment.detector.go_on.set()
        await asyncio.gather(*running)
        with pytest.raises(DeadlineExceeded):
            await late

    asyncio.run(go())
    assert deployment.detector.inferences == 3
