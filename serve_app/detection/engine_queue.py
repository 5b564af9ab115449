"""The queue in front of an engine: a limited number of inferences at once, waiting images of one shape in a batch.

A batch is never waited for. An image whose turn comes takes along the waiting images of its shape, up to the limit.
Called by the pipeline, from several threads.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from serve_app.detection.spec import Detector, Pixels, RawOutputs
from serve_app.errors import EngineFailed, ServingError

Clock = Callable[[], float]


class Turn(NamedTuple):
    """An image's outputs, the seconds it waited for the engine, and the seconds its inference took."""

    outputs: RawOutputs
    waited: float
    inferred: float


class _Job:
    def __init__(self, pixels: Pixels, check: Callable[[str], None], asked: float) -> None:
        self.pixels, self.check, self.asked = pixels, check, asked
        self.result: Turn | ServingError | None = None


class EngineQueue:
    """An engine and the images that wait for it. `clock` gives seconds and never runs backwards.

    Either `max_batch` or `at_once` may be above 1. With both, an image that waits for a free place could already be
    part of another image's batch.
    """

    def __init__(
        self, detector: Detector, max_batch: int = 1, at_once: int = 1, clock: Clock = time.perf_counter
    ) -> None:
        self._detector = detector
        self._max_batch = max_batch
        self._clock = clock
        self._places = threading.Semaphore(at_once)
        self._lists_free = threading.Lock()
        self._waiting: list[_Job] = []
        self._began: list[float] = []

    @property
    def busy_s(self) -> float:
        """Seconds that the longest inference under way has lasted; 0 if there is none."""
        with self._lists_free:
            return self._clock() - min(self._began) if self._began else 0.0

    def infer(self, pixels: Pixels, check: Callable[[str], None] = lambda step: None) -> Turn:
        """Run one image, (1, 3, height, width). `check` is called before the inference and may raise to prevent it.

        Raises the ServingError that `check` raises, or EngineFailed.
        """
        job = _Job(pixels, check, self._clock())
        with self._lists_free:
            self._waiting.append(job)
        with self._places:
            if job.result is None:  # otherwise it was part of an earlier image's batch
                self._run(self._next_batch(job))
        if not isinstance(job.result, Turn):
            raise job.result or EngineFailed(f"{self._detector.info.engine} gave no answer")
        return job.result

    def _next_batch(self, first: _Job) -> list[_Job]:
        with self._lists_free:
            alike = [job for job in self._waiting if job is not first and job.pixels.shape == first.pixels.shape]
            batch = [first, *alike[: self._max_batch - 1]]
            self._waiting = [job for job in self._waiting if job not in batch]
        return batch

    def _run(self, batch: list[_Job]) -> None:
        wanted = [job for job in batch if self._is_wanted(job)]
        if not wanted:
            return
        began = self._clock()
        try:
            with self._under_way(began):
                together = self._detector.infer(
                    np.concatenate([job.pixels for job in wanted]) if wanted[1:] else wanted[0].pixels
                )
        except Exception as error:  # whatever an engine raises is the engine's failure, never the client's
            for job in wanted:
                job.result = EngineFailed(f"{self._detector.info.engine} failed: {type(error).__name__}")
                job.result.__cause__ = error
            return
        seconds = self._clock() - began
        for row, job in enumerate(wanted):
            own = together if not wanted[1:] else RawOutputs(*(part[row : row + 1] for part in together))
            job.result = Turn(own, began - job.asked, seconds)

    @contextmanager
    def _under_way(self, began: float) -> Iterator[None]:
        with self._lists_free:
            self._began.append(began)
        try:
            yield
        finally:
            with self._lists_free:
                self._began.remove(began)

    def _is_wanted(self, job: _Job) -> bool:
        try:
            job.check("inference")
        except ServingError as error:
            job.result = error
            return False
        return True
