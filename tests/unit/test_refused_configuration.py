"""A configuration that does not load throws no working model away: the last good one goes on exactly as it was."""

import asyncio
import json
import os
import shutil
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.deployments import BackendDeployment, OnnxDeployment, TorchDeployment
from serve_app.detection.engines import threads
from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import Pixels, RawOutputs
from serve_app.errors import ConfigurationError, EngineFailed
from serve_app.schemas import BackendStatus
from serve_app.settings import DEFAULT_ARTIFACT, DEFAULT_CHECKPOINT, LimitSettings
from tests.unit.test_deployments import SPEC, FakeDeployment, FakeDetector, detect, inference_began, submitted

ROOT = Path(__file__).parents[2]
DEPLOYMENTS: list[type[BackendDeployment]] = [TorchDeployment, OnnxDeployment]


def told(deployment: BackendDeployment) -> BackendStatus:
    return asyncio.run(deployment.status())


@pytest.fixture
def deployment() -> FakeDeployment:
    deployment = FakeDeployment()
    deployment.reconfigure({"reload": 1, "threads": 3, "inference_limit_s": 10})
    deployment.detector.inferences = 0
    deployment.detector.started = threading.Semaphore(0)
    return deployment


@pytest.fixture
def fresh(deployment: FakeDeployment) -> FakeDetector:
    """The engine that the next configuration would bring."""
    deployment.detector = FakeDetector()
    return deployment.detector


class Panic(BaseException):
    """What a library in Rust raises when it gives up, and what sys.exit() does: no Exception."""


class Broken(FakeDetector):
    def infer(self, pixels: Pixels) -> RawOutputs:
        return RawOutputs(np.full((1, 3, 2), np.nan, np.float32), np.zeros((1, 3, 4), np.float32))


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("no artifact: artifacts/x is missing; run: python -m export"),
        FileNotFoundError("model.onnx"),
        ModuleNotFoundError("No module named 'fakelib'"),
        MemoryError(),
        Panic("unwrap on None"),
        SystemExit(1),
    ],
)
def test_the_last_good_model_goes_on_and_the_error_stands_beside_it(
    deployment: FakeDeployment, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    before = told(deployment)
    deployment.raises = error
    deployment.reconfigure({"reload": 2})
    after = told(deployment)
    assert after.configuration_error is not None
    assert "change FakeDeployment.user_config.reload" in after.configuration_error
    assert after.model_copy(update={"configuration_error": None, "reload": 1}) == before
    assert after.reload == 2  # who waits for this configuration learns that it was tried
    assert after.configuration_error in caplog.text
    asyncio.run(detect(deployment))
    asyncio.run(deployment.check_health())
    deployment.raises = None
    deployment.reconfigure({"reload": 3})
    assert (told(deployment).configuration_error, told(deployment).reload) == (None, 3)


def test_a_typo_is_named(deployment: FakeDeployment) -> None:
    deployment.reconfigure({"thread": 2})
    error = told(deployment).configuration_error or ""
    assert error.startswith("Fake.user_config.thread: unknown key")
    assert told(deployment).state == "ready"


@pytest.mark.parametrize("engine", [Broken, FakeDetector])
def test_an_engine_that_fails_its_warm_up_does_not_replace_the_one_that_works(
    deployment: FakeDeployment, engine: type[FakeDetector]
) -> None:
    good, bad = deployment.detector, engine()
    bad.raises = RuntimeError("no kernel")
    deployment.detector = bad
    deployment.reconfigure({"reload": 2})
    assert told(deployment).state == "ready"
    assert "failed" in (told(deployment).configuration_error or "") or engine is Broken
    inferences = good.inferences
    asyncio.run(detect(deployment))
    assert good.inferences == inferences + 1


def test_an_engine_that_hangs_in_its_warm_up_does_not_keep_the_one_that_works_from_its_work(
    deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.deployments._LOOK_S", 0.001)
    good, hanging = deployment.detector, FakeDetector()
    hanging.go_on.clear()
    deployment.detector = hanging

    async def go() -> None:
        loading = asyncio.create_task(asyncio.to_thread(deployment.reconfigure, {"reload": 2, "inference_limit_s": 1}))
        await inference_began(deployment)
        deployment.clock.advance(59)  # the first inferences of an engine are slow
        deployment.clock.advance(2)
        await loading

    asyncio.run(go())
    assert told(deployment).state == "ready"
    assert "fake has been in one inference for 61 s" in (told(deployment).configuration_error or "")
    asyncio.run(detect(deployment))
    assert good.inferences == 1
    hanging.go_on.set()


def test_a_second_refusal_replaces_the_first_ones_reason(deployment: FakeDeployment) -> None:
    for number in (2, 3):
        deployment.raises = ConfigurationError(f"wrong {number}")
        deployment.reconfigure({"reload": number})
        assert (told(deployment).configuration_error or "").startswith(f"wrong {number};")


def test_its_limits_are_those_it_was_loaded_with(deployment: FakeDeployment, fresh: FakeDetector) -> None:
    """`inferences_at_once`, the number of threads and `inference_limit_s` of a refused configuration take no effect."""
    fresh.raises = RuntimeError("no kernel")
    good = deployment._loaded
    assert good is not None
    deployment.reconfigure({"inferences_at_once": 4, "inference_limit_s": 3600})
    assert deployment._loaded is good
    engine = good.pipeline.detector
    assert isinstance(engine, FakeDetector)

    async def go() -> None:
        engine.go_on.clear()
        first, second = (asyncio.ensure_future(detect(deployment)) for _ in range(2))
        await asyncio.to_thread(engine.started.acquire, timeout=60)
        await submitted()
        deployment.clock.advance(11)
        with pytest.raises(EngineFailed, match=r"the limit \(inference_limit_s\) is 10 s"):
            await deployment.check_health()
        engine.go_on.set()
        await asyncio.gather(first, second)

    asyncio.run(go())
    assert engine.most_at_once == 1


def test_a_hung_engine_fails_the_health_check_also_after_a_refusal(deployment: FakeDeployment) -> None:
    async def go() -> None:
        deployment.detector.go_on.clear()
        hanging = asyncio.ensure_future(detect(deployment))
        await inference_began(deployment)
        deployment.clock.advance(11)
        deployment.raises = ConfigurationError("wrong")
        await asyncio.to_thread(deployment.reconfigure, {"reload": 2})
        with pytest.raises(EngineFailed):
            await deployment.check_health()
        status = await deployment.status()
        assert status.state == "unavailable"
        assert "one inference" in (status.reason or "")
        assert (status.configuration_error or "").startswith("wrong")
        deployment.detector.go_on.set()
        await hanging

    asyncio.run(go())


class Cyclic(FakeDetector):
    """Engines lie in reference cycles, which only the garbage collector ends."""

    def __init__(self) -> None:
        super().__init__()
        self.itself = self


@pytest.mark.parametrize("error", [RuntimeError("no kernel"), None])
def test_an_engine_that_was_loaded_in_vain_is_let_go(deployment: FakeDeployment, error: Exception | None) -> None:
    """Also where someone keeps the error with its traceback, as the handlers of the log do in this test."""
    fresh = [Cyclic()]
    fresh[0].raises = error
    given_up = weakref.ref(fresh[0])

    def load(user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        pipeline = Pipeline(fresh.pop(), SPEC, LimitSettings())
        if error is None:
            raise ConfigurationError("the next step failed")
        return pipeline, ""

    deployment._load = load  # type: ignore[method-assign]
    deployment.reconfigure({"reload": 2})
    assert told(deployment).configuration_error
    assert given_up() is None


def test_a_model_that_was_replaced_is_let_go(deployment: FakeDeployment) -> None:
    deployment.detector = Cyclic()
    deployment.reconfigure({"reload": 2})
    asyncio.run(detect(deployment))
    replaced = weakref.ref(deployment.detector)
    deployment.detector = FakeDetector()
    deployment.reconfigure({"reload": 3})
    assert told(deployment).configuration_error is None
    assert replaced() is None


def _typo(folder: Path) -> dict[str, Any]:
    return {"thread": 2}


def _wrong_type(folder: Path) -> dict[str, Any]:
    return {"threads": "many"}


def _odd_keys(folder: Path) -> dict[str, Any]:
    return {"_fields_set": 1, "checkpoint": None}


def _vanished_weights(folder: Path) -> dict[str, Any]:
    (folder / "checkpoint/model.safetensors").unlink()
    return {}


def _vanished_folder(folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder / "checkpoint")
    return {}


def _truncated_weights(folder: Path) -> dict[str, Any]:
    weights = folder / "checkpoint/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    return {}


def _overwritten_weights(folder: Path) -> dict[str, Any]:
    """In place, so that a mapped file changes under the model that goes on."""
    for name in ("checkpoint/model.safetensors", "artifact/model.onnx", "artifact/position_embeddings.npz"):
        with (folder / name).open("r+b") as file:
            file.write(b"\xff" * (folder / name).stat().st_size)
    return {}


def _truncated_artifact(folder: Path) -> dict[str, Any]:
    for path in (folder / "artifact").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    return _truncated_weights(folder)


def _damaged_json(folder: Path) -> dict[str, Any]:
    (folder / "checkpoint/config.json").write_text("{")
    return {}


def _another_size(folder: Path) -> dict[str, Any]:
    config = folder / "checkpoint/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 1, "hidden_size": 64}))
    return {}


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize(
    "spoil",
    [
        _typo,
        _wrong_type,
        _odd_keys,
        _vanished_weights,
        _vanished_folder,
        _truncated_weights,
        _truncated_artifact,
        _overwritten_weights,
        _damaged_json,
        _another_size,
    ],
)
def test_the_real_engines_answer_as_before(
    deployment: type[BackendDeployment],
    spoil: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    shutil.copytree(ROOT / DEFAULT_CHECKPOINT, tmp_path / "checkpoint")
    shutil.copytree(ROOT / DEFAULT_ARTIFACT, tmp_path / "artifact")
    good = {"checkpoint": str(tmp_path / "checkpoint"), "threads": 1}
    if deployment is OnnxDeployment:
        good["artifact"] = str(tmp_path / "artifact")
    serving = deployment(LimitSettings())
    serving.reconfigure(good | {"reload": 1})
    environment, before = dict(os.environ), told(serving)
    assert before.state == "ready", before
    answer = asyncio.run(_answer(serving))
    serving.reconfigure({**good, "threads": 2, "reload": 2} | spoil(tmp_path))
    after = told(serving)
    assert (after.state, after.threads, after.reload) == ("ready", 1, 2)
    assert after.fingerprint == before.fingerprint
    assert f"{deployment.__name__}.user_config" in (after.configuration_error or "")
    assert asyncio.run(_answer(serving)) == answer
    assert dict(os.environ) == environment


async def _answer(serving: BackendDeployment) -> Any:
    from serve_app.schemas import Options

    result = await serving.detect((ROOT / "demo/photos/scene-2.jpg").read_bytes(), Options(), 60)
    return result.detections


def test_an_import_that_fails_puts_no_model_out(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = TorchDeployment(LimitSettings())
    serving.reconfigure({"reload": 1})
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "serve_app.detection.engines.torch", None)
        serving.reconfigure({"reload": 2})
    assert told(serving).state == "ready"
    assert "pip install --force-reinstall" in (told(serving).configuration_error or "")
    asyncio.run(_answer(serving))


@pytest.mark.parametrize("values", [{}, {"checkpoint": "./mine", "artifact": "./made"}])
def test_an_error_that_nobody_expects_still_ends_with_the_command(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(settings: Any) -> Any:
        raise OSError("disk")

    monkeypatch.setattr("serve_app.detection.model.artifact.find", raises)
    serving = OnnxDeployment(LimitSettings())
    serving.reconfigure(values)
    made = (
        f"--checkpoint {values.get('checkpoint', DEFAULT_CHECKPOINT)} --out {values.get('artifact', DEFAULT_ARTIFACT)}"
    )
    assert told(serving).reason == (
        f"OSError: disk; run: python -m export {made}, then change OnnxDeployment.user_config.reload"
    )


def test_torch_goes_on_with_the_threads_of_the_model_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's number of threads belongs to the process: a model that failed its warm-up must leave nothing of it."""
    import torch

    serving = TorchDeployment(LimitSettings())
    serving.reconfigure({"threads": 1})
    used: list[int] = []
    assert serving._loaded is not None
    model: Any = serving._loaded.pipeline.detector
    model._model.register_forward_hook(lambda *_: used.append(torch.get_num_threads()))

    def fails_after_its_inferences(pipeline: Pipeline, rounds: int = 2) -> None:
        pipeline.detector.infer(np.zeros((1, 3, 64, 64), np.float32))
        assert torch.get_num_threads() == 2
        raise EngineFailed("no kernel")

    with monkeypatch.context() as failing:
        failing.setattr(Pipeline, "warm_up", fails_after_its_inferences)
        serving.reconfigure({"threads": 2})
    assert told(serving).configuration_error
    asyncio.run(_answer(serving))
    assert used == [1]


def test_the_environment_is_put_back_only_on_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    with pytest.raises(RuntimeError, match="no kernel"):
        _fail_after_reserving()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "KMP_BLOCKTIME" not in os.environ
    with threads.put_back_on_failure():
        threads.reserve(3, spinning=True)
    assert os.environ["OMP_NUM_THREADS"] == "3"


def _fail_after_reserving() -> None:
    with threads.put_back_on_failure():
        threads.reserve(3, spinning=True)
        raise RuntimeError("no kernel")
