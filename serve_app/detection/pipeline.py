"""The steps of one image in a backend: decode, prepare, infer, finish, each of them timed.

Called by the deployments, and directly by the benchmarks.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from PIL import Image

from serve_app.detection import imaging, processing
from serve_app.detection.engine_queue import Clock, EngineQueue
from serve_app.detection.formats.encoded import Encoded
from serve_app.detection.spec import Detector, ModelSpec, RawOutputs
from serve_app.errors import BadOutput, DeadlineExceeded, EngineFailed
from serve_app.schemas import DetectionResult, ImageSize, Options, Stage
from serve_app.settings import INFERENCE_LIMIT_S, LimitSettings


class Pipeline:
    """One engine with its pre- and post-processing. Safe for concurrent calls.

    `clock` gives seconds and never runs backwards.
    """

    def __init__(
        self,
        detector: Detector,
        spec: ModelSpec,
        limits: LimitSettings,
        max_batch: int = 1,
        inferences_at_once: int = 1,
        inference_limit_s: float = INFERENCE_LIMIT_S,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.detector = detector
        self.spec = spec
        self.images_at_once = max(max_batch, inferences_at_once)
        self._limits = limits
        self._engine = EngineQueue(detector, max_batch, inferences_at_once, clock)
        self._inference_limit_s = inference_limit_s
        self._clock = clock

    def warm_up(self, rounds: int = 2) -> None:
        """Run blank images, portrait and landscape, so that no client waits for an engine's slow first inferences.

        Raises EngineFailed and BadOutput as `detect` does.
        """
        for _ in range(rounds):
            for size in ((640, 480), (480, 640)):
                pixels = processing.prepare(Image.new("RGB", size), self.spec)
                self._check(self._engine.infer(pixels).outputs)

    def require_alive(self, at_least_s: float = 0.0) -> None:
        """Raise EngineFailed if an inference has lasted longer than its limit: it hangs. Never waits for the engine.

        `at_least_s` is the limit where `inference_limit_s` is shorter: an engine's first inferences are slow.
        """
        busy_s, limit_s = self._engine.busy_s, max(self._inference_limit_s, at_least_s)
        if busy_s > limit_s:
            raise EngineFailed(
                f"{self.detector.info.engine} has been in one inference for {busy_s:.0f} s, the limit "
                f"(inference_limit_s) is {limit_s:g} s"
            )

    def inspect(self, data: bytes) -> Encoded:
        """What one encoded image is and what it costs, before its pixels are decoded. Raises as `imaging.inspect`."""
        return imaging.inspect(data, self._limits)

    def detect(
        self,
        image: bytes | Encoded,
        options: Options,
        timeout_s: float,
        given_up: threading.Event | None = None,
        no_pixels: Callable[[], None] = lambda: None,
    ) -> DetectionResult:
        """Detect objects in one encoded image within `timeout_s` seconds, unless `given_up` is set meanwhile.

        Both are checked before the decoding and before the inference; neither is interrupted once it runs.
        `no_pixels` is called when the decoded image is gone and only the model's small input is left.
        Raises what `inspect` does for the image, and InvalidImage for damaged pixels, DeadlineExceeded for a request
        that is too late or given up, EngineFailed when the engine raises, and BadOutput when its output has a wrong
        shape or is not finite.
        """
        request = _Request(self._clock, timeout_s, given_up)
        request.check("decoding")
        stages: dict[Stage, float] = {}
        encoded = self.inspect(image) if isinstance(image, bytes) else image
        with ExitStack() as memory:
            with self._timed(stages, "decode"):
                picture = memory.enter_context(imaging.loaded(encoded))
            size = ImageSize(width=picture.width, height=picture.height)
            with self._timed(stages, "preprocess"):
                pixels = processing.prepare(picture, self.spec)
        no_pixels()
        turn = self._engine.infer(pixels, request.check)
        stages["queue"], stages["inference"] = turn.waited, turn.inferred
        self._check(turn.outputs)
        with self._timed(stages, "postprocess"):
            detections = processing.finish(turn.outputs, self.spec, size, options.threshold, options.max_detections)
        return DetectionResult(image=size, detections=detections, stages=stages)

    @contextmanager
    def _timed(self, stages: dict[Stage, float], stage: Stage) -> Iterator[None]:
        start = self._clock()
        yield
        stages[stage] = self._clock() - start

    def _check(self, raw: RawOutputs) -> None:
        queries, columns = self.spec.detection_tokens, len(self.spec.labels) + 1
        if raw.logits.shape != (1, queries, columns) or raw.boxes.shape != (1, queries, 4):
            raise BadOutput(
                f"{self.detector.info.engine} returned logits {raw.logits.shape} and boxes {raw.boxes.shape}, expected "
                f"(1, {queries}, {columns}) and (1, {queries}, 4)"
            )
        if not (np.isfinite(raw.logits).all() and np.isfinite(raw.boxes).all()):
            raise BadOutput(f"{self.detector.info.engine} returned values that are not finite")


class _Request:
    """Tells whether a request still waits for its answer."""

    def __init__(self, clock: Clock, timeout_s: float, given_up: threading.Event | None) -> None:
        self._clock, self._deadline = clock, clock() + timeout_s
        self._given_up = given_up

    def check(self, step: str) -> None:
        if self._given_up is not None and self._given_up.is_set():
            raise DeadlineExceeded(f"the request was given up before its {step} began")
        if self._clock() >= self._deadline:
            raise DeadlineExceeded(f"the deadline passed before the {step} could begin")
