"""One engine in a process of its own, so that engines do not fight over threads and each one's memory is known.

Used by `bench.engines.measure`.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.load.generator import ignore_interrupts
from serve_app.detection.engines import threads
from serve_app.detection.model import artifact
from serve_app.detection.spec import Detector, EngineInfo, Pixels, RawOutputs
from serve_app.errors import ConfigurationError
from serve_app.settings import OnnxSettings, TorchSettings

T = TypeVar("T")


class Order(NamedTuple):
    """What a worker loads."""

    engine: Any
    precision: Any
    checkpoint: Path
    artifact: Path | None
    threads: int


class Task(NamedTuple):
    """The same pixels `repeats` times in each of `at_once` threads."""

    pixels: Pixels
    at_once: int = 1
    repeats: int = 1


class Answer(NamedTuple):
    """A task's outputs (of one inference), how long all of it took, and the most memory this process ever held."""

    outputs: RawOutputs
    seconds: float
    peak_bytes: int


class Worker(AbstractContextManager["Worker", None]):
    """A detector like any other that also says what a call cost; its process ends with the `with` block."""

    def __init__(self, order: Order) -> None:
        """Raises ConfigurationError if the engine cannot be loaded."""
        self._name = f"{order.engine} {order.precision}"
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), ignore_interrupts)
        try:
            self.info: EngineInfo = self._ask(_load, order)
        except BaseException:
            self.__exit__()
            raise

    def infer(self, pixels: Pixels) -> RawOutputs:
        """Run the worker's engine."""
        return self.answer(Task(pixels)).outputs

    def answer(self, task: Task) -> Answer:
        """Run the worker's engine, and say what it cost."""
        return self._ask(_answer, task)

    def _ask(self, function: Callable[[Any], T], argument: object) -> T:
        try:
            return self._pool.submit(function, argument).result()
        except Exception as error:
            raise ConfigurationError(f"{self._name}: {error}") from None

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


# What the worker's process keeps. The threads stay, as OpenMP starts a team of its own for each thread that calls it.
_detector: list[Detector] = []
_helpers = ThreadPoolExecutor()


def _load(order: Order) -> EngineInfo:
    """Import the library of that engine only, and load."""
    threads.reserve(order.threads, spinning=False)
    if order.artifact is None:
        from serve_app.detection.engines.torch import TorchDetector

        settings = TorchSettings(threads=order.threads, precision=order.precision)
        _detector[:] = [TorchDetector(order.checkpoint, settings)]
    else:
        from serve_app.detection.engines.open import open_engine

        wanted = OnnxSettings(threads=order.threads, engine=order.engine)
        manifest = artifact.load_manifest(order.artifact, "")
        _detector[:] = [open_engine(artifact.read(order.artifact, manifest, ""), manifest, wanted)]
    return _detector[0].info


def _answer(task: Task) -> Answer:
    start = time.perf_counter()
    helping = [_helpers.submit(_repeat, task) for _ in range(task.at_once - 1)]
    outputs = [_repeat(task), *(helper.result() for helper in helping)][0]
    seconds = time.perf_counter() - start
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Answer(outputs, seconds, peak_bytes=1024 * int(status["VmHWM"].split()[0]))


def _repeat(task: Task) -> RawOutputs:
    return [_detector[0].infer(task.pixels) for _ in range(task.repeats)][-1]
