"""Who uses the engine when: several inferences at once, or one at a time that takes along what has its shape.

Nobody waits for a batch to fill: whoever gets the engine takes along what is waiting by then. Called by the pipeline,
from several threads.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from serve_app.detection.spec import Detector, Pixels, RawOutputs
from serve_app.errors import EngineFailed, ServingError


class Turn(NamedTuple):
    """An image's outputs, and the seconds it waited for the engine and was in it."""

    outputs: RawOutputs
    waited: float
    inferred: float


class _Job:
    def __init__(self, pixels: Pixels, check: Callable[[str], None]) -> None:
        self.pixels, self.check = pixels, check
        self.asked = time.perf_counter()
        self.result: Turn | ServingError | None = None


class EngineQueue:
    """An engine and those who wait for it; `max_batch` 1 gives each image an inference of its own.

    Only then may there be several `at_once`: who waits may else be in another one's batch already.
    """

    def __init__(self, detector: Detector, max_batch: int = 1, at_once: int = 1) -> None:
        self._detector = detector
        self._max_batch = max_batch
        self._places = threading.Semaphore(at_once)
        self._lists_free = threading.Lock()
        self._waiting: list[_Job] = []
        self._began: list[float] = []

    @property
    def busy_s(self) -> float:
        """Seconds that the longest inference under way has lasted; 0 without one."""
        with self._lists_free:
            return time.perf_counter() - min(self._began) if self._began else 0.0

    def infer(self, pixels: Pixels, check: Callable[[str], None] = lambda step: None) -> Turn:
        """Run one image, (1, 3, height, width). `check` is called before the inference and may raise to prevent it.

        Raises what `check` does, or EngineFailed.
        """
        job = _Job(pixels, check)
        with self._lists_free:
            self._waiting.append(job)
        with self._places:
            if job.result is None:  # else an earlier turn took it along
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
        began = time.perf_counter()
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
        seconds = time.perf_counter() - began
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
