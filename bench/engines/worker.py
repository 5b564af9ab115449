"""One engine in a process of its own, so that engines do not fight over threads and each one's memory can be told.

Used by `bench.engines.measure` and `bench.batching`.
"""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

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
    spinning: bool


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


class Worker:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Loaded(NamedTuple):
    """Lives in the worker's process. The threads are kept, as OpenMP starts a team for each thread that calls it."""

    detector: Detector
    helpers: ThreadPoolExecutor


_loaded: list[_Loaded] = []


def _load(order: Order) -> EngineInfo:
    threads.reserve(order.threads, order.spinning)
    _loaded.append(_Loaded(_open(order), ThreadPoolExecutor()))
    return _loaded[0].detector.info


def _open(order: Order) -> Detector:
    """The detector of an order; imports the library of that engine only."""
    if order.artifact is None:
        from serve_app.detection.engines.torch import TorchDetector

        settings = TorchSettings(threads=order.threads, spinning=order.spinning, precision=order.precision)
        return TorchDetector(order.checkpoint, settings)
    from serve_app.detection.engines.open import open_engine

    wanted = OnnxSettings(threads=order.threads, spinning=order.spinning, engine=order.engine)
    return open_engine(order.artifact, artifact.load_manifest(order.artifact, ""), wanted)


def _answer(task: Task) -> Answer:
    detector, helpers = _loaded[0]
    start = time.perf_counter()
    helping = [helpers.submit(_repeat, detector, task) for _ in range(task.at_once - 1)]
    outputs = _repeat(detector, task)
    for helper in helping:
        helper.result()
    return Answer(outputs, time.perf_counter() - start, _peak_bytes())


def _repeat(detector: Detector, task: Task) -> RawOutputs:
    for _ in range(task.repeats - 1):
        detector.infer(task.pixels)
    return detector.infer(task.pixels)


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the parent's memory from before the exec
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
