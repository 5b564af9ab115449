"""TorchDeployment and OnnxDeployment: each carries a pipeline for the router. No model logic here.

A deployment never fails to start: what keeps its engine from loading becomes its status, with the remedy, and the
other arm answers meanwhile. A change of its `user_config` loads again, with nothing else restarted.
"""

import asyncio
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serve_app.calls import Options
from serve_app.detection import artifact, checkpoint, threads
from serve_app.detection.pipeline import Pipeline
from serve_app.errors import BackendUnavailable, Overloaded, ServingError
from serve_app.schemas import BackendStatus, DetectionResult
from serve_app.settings import LimitSettings, OnnxSettings, TorchSettings, parse

logger = logging.getLogger("ray.serve")

# Beside the images in the engine, one is being prepared for it, one finished. Each may hold `max_pixels` decoded.
_OTHER_WORKERS = 2


class Arm(ABC):
    """What both deployments do; a subclass only knows how to build its pipeline."""

    name: str
    library: str

    def __init__(self, limits: LimitSettings, niceness: int = 0) -> None:
        os.nice(niceness)
        self._limits = limits
        self._pipeline: Pipeline | None = None
        self._status = BackendStatus(state="unavailable", reason=f"{self.name}: no user_config yet")
        self._workers = self._new_workers(max_batch=1)
        self._under_way = 0

    @abstractmethod
    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        """Build the pipeline and give the fingerprint of its weights; may raise anything."""

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load what `user_config` names and warm it up. Never raises: Serve would kill the replica and try for ever."""
        given = user_config.get("reload")
        reload = given if isinstance(given, int) else None
        try:
            pipeline, fingerprint = self._load(user_config)
            pipeline.warm_up()
        except Exception as error:
            self._pipeline = None
            reason = self._reason(error, user_config)
            self._status = BackendStatus(state="unavailable", reason=reason, reload=reload, pid=os.getpid())
            logger.error("%s unavailable: %s", self.name, self._status.reason, exc_info=not _is_expected(error))
            return
        info = pipeline.detector.info
        self._status = BackendStatus(
            state="ready", reload=reload, fingerprint=fingerprint, pid=os.getpid(), **info._asdict()
        )
        self._pipeline = pipeline
        # Not shut down: a request may just be handing it work. Its threads end once nobody holds it.
        self._workers = self._new_workers(pipeline.max_batch)
        logger.info("%s ready: %s", self.name, self._status.model_dump_json(exclude={"state", "reason"}))

    def _new_workers(self, max_batch: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_batch + _OTHER_WORKERS, thread_name_prefix=self.name)

    def _reason(self, error: Exception, user_config: Mapping[str, Any]) -> str:
        text = str(error) if _is_expected(error) else f"{type(error).__name__}: {error}"
        reason = " ".join(text.split())  # onnxruntime's messages have several lines
        if "run: " in reason:
            return reason
        remedy = self._remedy(user_config)
        if isinstance(error, ImportError):
            remedy = f"run: pip install --force-reinstall -c constraints.txt {self.library}"
        return f"{reason}; {remedy}, then change {type(self).__name__}.user_config.reload"

    @abstractmethod
    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        """What to do about a model that does not load."""

    async def detect(
        self, data: bytes, options: Options, timeout_s: float, only_if_idle: bool = False
    ) -> DetectionResult:
        """Detect objects in one encoded image, in a thread. Cancelling drops the work if it has not begun.

        Raises what Pipeline.detect does, BackendUnavailable without an engine, Overloaded if only wanted when idle.
        """
        pipeline = self._pipeline
        if pipeline is None:
            raise BackendUnavailable(self._status.reason or f"{self.name} is not loaded")
        if only_if_idle and self._under_way:
            raise Overloaded(f"{self.name} is busy")
        given_up = threading.Event()
        job = (pipeline, data, options, timeout_s, time.perf_counter(), given_up)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, _run, *job)
        finally:
            self._under_way -= 1
            given_up.set()

    async def status(self) -> BackendStatus:
        """What `/readyz` shows of this arm."""
        return self._status


def _run(
    pipeline: Pipeline, data: bytes, options: Options, timeout_s: float, asked: float, given_up: threading.Event
) -> DetectionResult:
    waited = time.perf_counter() - asked
    return pipeline.detect(data, options, timeout_s - waited, given_up)


def _is_expected(error: Exception) -> bool:
    return isinstance(error, ServingError)


class TorchDeployment(Arm):
    """The incumbent."""

    name = "Torch"
    library = "torch transformers"

    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        settings = parse(TorchSettings, user_config, "TorchDeployment.user_config")
        folder = checkpoint.resolve(settings.checkpoint, settings.revision)
        spec = checkpoint.read_spec(folder)
        # Only here: the process of the other arm must never load PyTorch.
        threads.reserve(settings.threads, settings.spinning)
        from serve_app.detection.torch_detector import TorchDetector

        engine = TorchDetector(folder, settings)
        return Pipeline(engine, spec, self._limits, settings.max_batch), checkpoint.fingerprint(folder)

    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        named = TorchSettings.model_construct(**user_config)
        return f"put config.json, model.safetensors and preprocessor_config.json of {named.checkpoint} right"


class OnnxDeployment(Arm):
    """The candidate."""

    name = "ONNX"
    library = "onnxruntime"

    def _load(self, user_config: Mapping[str, Any]) -> tuple[Pipeline, str]:
        settings = parse(OnnxSettings, user_config, "OnnxDeployment.user_config")
        folder, manifest = artifact.find(settings)
        # Only here: an onnxruntime that does not import is this arm's status, not the application's end.
        threads.reserve(settings.threads, settings.spinning)
        from serve_app.detection.engines import open_engine

        engine = open_engine(folder, manifest, settings)
        return Pipeline(engine, manifest.spec, self._limits, settings.max_batch), manifest.fingerprint

    def _remedy(self, user_config: Mapping[str, Any]) -> str:
        named = OnnxSettings.model_construct(**user_config)
        return f"run: python -m export --checkpoint {named.checkpoint} --out {named.artifact}"
