"""TorchDeployment and OnnxDeployment: each carries a pipeline for the router. No model logic here.

Each runs in a process of its own. A deployment never fails to start: an error while its engine loads becomes its
status, with the remedy, and the other backend answers meanwhile. A change of its `user_config` loads again, and
nothing else restarts. A configuration that does not load is refused: the last good model goes on as it was.
"""

import asyncio
import gc
import logging
import os
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from serve_app.detection.engines import threads
from serve_app.detection.model import artifact, checkpoint
from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import Detector, ModelSpec
from serve_app.detection.workers import Workers
from serve_app.errors import (
    BackendUnavailable,
    ConfigurationError,
    EngineFailed,
    Overloaded,
    ServingError,
    UnreadableModel,
)
from serve_app.schemas import BackendStatus, DetectionResult, Options
from serve_app.settings import (
    DEFAULT_ARTIFACT,
    DEFAULT_CHECKPOINT,
    INFERENCE_LIMIT_S,
    BackendSettings,
    LimitSettings,
    OnnxSettings,
    TorchSettings,
    parse,
)

logger = logging.getLogger("ray.serve")

# Beside the images in the engine, one is prepared and one is finished.
_OTHER_WORKERS = 2
_LOOK_S = 1.0


class _Loaded(NamedTuple):
    """A model with the threads that work for it. Replaced as a whole, so that no request sees half of two."""

    pipeline: Pipeline
    workers: Workers


class BackendDeployment(ABC):
    """What both deployments do. A subclass only knows how to build its pipeline."""

    name: str
    library: str

    def __init__(
        self, limits: LimitSettings, niceness: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        os.nice(niceness)
        self._clock = clock
        self._limits = limits
        self._loaded: _Loaded | None = None
        self._status = BackendStatus(state="unavailable", reason=f"{self.name}: no user_config yet")
        self._under_way = 0

    @abstractmethod
    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        """Build the pipeline and give the fingerprint of its weights; may raise anything."""

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load what `user_config` names and warm it up; if that fails, keep the last good model as it was.

        Never raises: Serve would kill the replica and try for ever.
        """
        given = user_config.get("reload")
        reload = given if isinstance(given, int) else None
        try:
            with threads.put_back_on_failure():
                self._take(user_config, reload)
        except BaseException as error:  # sys.exit() in a library, and a panic in Rust code, are no Exception
            self._refuse(error, user_config, reload)
            _let_go(error)
        # An engine that was given up may lie in a reference cycle with its error, and is as large as the one in force.
        gc.collect()

    def _take(self, user_config: Mapping[str, Any], reload: int | None) -> None:
        pipeline, fingerprint = self._load(user_config)
        _warm_up(pipeline)
        status = BackendStatus(
            state="ready", reload=reload, fingerprint=fingerprint, pid=os.getpid(), **pipeline.detector.info._asdict()
        )
        workers = Workers(pipeline.images_at_once + _OTHER_WORKERS, self._limits.max_decode_bytes, self.name)
        # The old pool is not shut down: a request may be handing it work. Its threads end with its last reference.
        self._loaded, self._status = _Loaded(pipeline, workers), status
        logger.info("%s ready: %s", self.name, status.model_dump_json(exclude={"state", "reason"}))

    def _refuse(self, error: BaseException, user_config: Mapping[str, Any], reload: int | None) -> None:
        reason = self._reason(error, user_config)
        if self._loaded is None:
            self._status = BackendStatus(state="unavailable", reason=reason, reload=reload, pid=os.getpid())
            log = "%s unavailable: %s"
        else:
            self._status = self._status.model_copy(update={"configuration_error": reason, "reload": reload})
            log = "%s keeps its last good model, the new user_config is refused: %s"
        logger.error(log, self.name, reason, exc_info=None if isinstance(error, ConfigurationError) else error)

    def _pipeline_of(self, engine: Detector, spec: ModelSpec, settings: BackendSettings) -> Pipeline:
        return Pipeline(
            engine,
            spec,
            self._limits,
            settings.max_batch,
            settings.inferences_at_once,
            settings.inference_limit_s,
            clock=self._clock,
        )

    def _reason(self, error: BaseException, user_config: Mapping[str, Any]) -> str:
        text = str(error) if isinstance(error, ServingError) else f"{type(error).__name__}: {error}"
        text = text.encode(errors="backslashreplace").decode()  # a file's name may be no UTF-8, a status has to be
        reason = " ".join(text.split())  # onnxruntime's messages have several lines
        if isinstance(error, ConfigurationError) and not isinstance(error, UnreadableModel):  # its text has the remedy
            if "reload" in reason:
                return reason
            wrong_key = reason.startswith(f"{type(self).__name__}.user_config")
            return f"{reason}; {'correct it and deploy' if wrong_key else self._then_reload()}"
        remedy = self._remedy(user_config)
        if isinstance(error, ImportError):
            remedy = f"run: pip install --force-reinstall -c constraints.txt {self.library}"
        return f"{reason}; {remedy}, {self._then_reload()}"

    def _then_reload(self) -> str:
        return f"then change {type(self).__name__}.user_config.reload"

    @abstractmethod
    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        """What to do about a model that does not load."""

    async def detect(
        self, data: bytes, options: Options, timeout_s: float, only_if_idle: bool = False
    ) -> DetectionResult:
        """Detect objects in one encoded image, in a thread. Cancelling drops the work if it has not begun.

        Raises what Pipeline.detect does, BackendUnavailable without an engine, and Overloaded if it is only wanted when
        idle, or if too many images wait.
        """
        loaded = self._loaded
        if loaded is None:
            raise BackendUnavailable(self._status.reason or f"{self.name} is not loaded")
        if only_if_idle and self._under_way:
            raise Overloaded(f"{self.name} is busy")
        given_up = threading.Event()
        deadline = self._clock() + timeout_s  # runs also while all threads are taken
        self._under_way += 1
        try:
            image = await asyncio.to_thread(loaded.pipeline.inspect, data)

            def work(no_pixels: Callable[[], None]) -> DetectionResult:
                return loaded.pipeline.detect(image, options, deadline - self._clock(), given_up, no_pixels)

            return await loaded.workers.run(work, image.bytes_to_decode, len(data), timeout_s / 2)
        finally:
            self._under_way -= 1
            given_up.set()

    async def status(self) -> BackendStatus:
        """What `/readyz` shows of this backend."""
        try:
            await self.check_health()
        except EngineFailed as error:
            return self._status.model_copy(update={"state": "unavailable", "reason": error.detail})
        return self._status

    async def record_routing_stats(self) -> dict[str, Any]:
        """The status for Serve, which asks every second and hands it to the routers: they pick replicas by it."""
        return (await self.status()).model_dump(exclude_none=True)

    async def check_health(self) -> None:
        """Raise EngineFailed while an inference hangs. Serve asks, and replaces the replica after three failures.

        There is no other way out: no engine can be interrupted.
        """
        if self._loaded is not None:
            self._loaded.pipeline.require_alive()


def _warm_up(pipeline: Pipeline) -> None:
    """Warm up in a thread of its own. Raises what `Pipeline.warm_up` does, and EngineFailed for an engine that hangs.

    A replica gets no requests while it loads: the last good model would wait for an engine that never answers.
    """
    errors: list[BaseException] = []
    thread = threading.Thread(target=_try, args=(pipeline.warm_up, errors), name="warm-up", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_S)
        pipeline.require_alive(at_least_s=INFERENCE_LIMIT_S)
    if errors:
        raise errors[0]


def _try(step: Callable[[], None], errors: list[BaseException]) -> None:  # no closure: `_let_go` could not empty it
    try:
        step()
    except BaseException as error:
        errors.append(error)


def _let_go(error: BaseException) -> None:
    """Empty the frames of an error and of its causes: whoever keeps it, as log handlers do, would keep the engine."""
    reason: BaseException | None = error
    while reason is not None:
        traceback.clear_frames(reason.__traceback__)
        reason = reason.__cause__ or reason.__context__


class TorchDeployment(BackendDeployment):
    """The incumbent."""

    name = "Torch"
    library = "torch transformers"

    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        settings = parse(TorchSettings, user_config, "TorchDeployment.user_config")
        folder = checkpoint.resolve(settings.checkpoint, settings.revision)
        spec = checkpoint.read_spec(folder)
        # Imported only here: the process of the other backend must never load PyTorch.
        threads.reserve(settings.threads, settings.spinning)
        from serve_app.detection.engines.torch import TorchDetector

        engine = TorchDetector(folder, settings)
        return self._pipeline_of(engine, spec, settings), checkpoint.fingerprint(folder)

    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        named = user_config.get("checkpoint", DEFAULT_CHECKPOINT)
        return f"put config.json, model.safetensors and preprocessor_config.json of {named} right"


class OnnxDeployment(BackendDeployment):
    """The candidate."""

    name = "ONNX"
    library = "onnxruntime"

    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        settings = parse(OnnxSettings, user_config, "OnnxDeployment.user_config")
        files, manifest = artifact.find(settings)
        # Imported only here: an onnxruntime that does not import becomes a status, and the application still starts.
        threads.reserve(settings.threads, settings.spinning)
        from serve_app.detection.engines.open import open_engine

        engine = open_engine(files, manifest, settings)
        return self._pipeline_of(engine, manifest.spec, settings), manifest.fingerprint

    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        named, folder = user_config.get("checkpoint", DEFAULT_CHECKPOINT), user_config.get("artifact", DEFAULT_ARTIFACT)
        return f"run: python -m export --checkpoint {named} --out {folder}"
