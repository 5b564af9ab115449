"""Start every engine, run them in interleaved rounds, compare their answers.

Used by `bench.engines`. One round runs each engine once, so that whatever else the machine does falls on all alike.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from bench.engines import subjects
from bench.engines.contenders import REFERENCE, Contender
from bench.engines.flops import operations
from bench.engines.report import Row
from bench.engines.subjects import Subject
from bench.engines.worker import Order, Task, Worker
from bench.statistics import median, ratio, turned
from export import parity, samples
from serve_app.detection.agreement import TOLERANCE
from serve_app.detection.model import checkpoint
from serve_app.detection.model.artifact import Precision
from serve_app.detection.spec import Pixels, RawOutputs

_WARM_UPS = 2

Advance = Callable[[], None]
Size = tuple[int, int]


class Plan(NamedTuple):
    """What to measure, and how."""

    subject: Subject
    contenders: list[Contender]
    rounds: int
    threads: int
    spinning: bool

    @property
    def precisions(self) -> list[Precision]:
        """Of the artifacts it needs."""
        return sorted({contender.precision for contender in self.contenders if contender.engine != "torch"})

    @property
    def steps(self) -> int:
        """How often `measure` calls `advance`."""
        return len(self.precisions) + len(self.contenders) * len(self.subject.sizes) * self.rounds

    def start(self, running: ExitStack) -> dict[Contender, Worker]:
        """A worker for each contender, until `running` is closed."""
        return {contender: running.enter_context(Worker(self._order(contender))) for contender in self.contenders}

    def _order(self, contender: Contender) -> Order:
        folder = None if contender.engine == "torch" else self.subject.artifact(contender.precision)
        return Order(*contender, self.subject.checkpoint, folder, self.threads, self.spinning)


class Series(NamedTuple):
    """One engine at one size: the seconds of each round, and its memory at the end."""

    seconds: list[float]
    peak_bytes: int


def measure(plan: Plan, advance: Advance) -> list[Row]:
    """Run a plan. Raises ConfigurationError when an engine does not come up."""
    for precision in plan.precisions:
        subjects.export(plan.subject, precision)
        advance()
    with ExitStack() as running:
        workers = plan.start(running)
        series = {size: _rounds(workers, _noise(size), plan.rounds, advance) for size in plan.subject.sizes}
        answers = {contender: _Remembered(worker) for contender, worker in workers.items()}
        verdicts = {contender: _deviation(plan.subject, answers, contender) for contender in workers}
    return list(_rows(plan, series, verdicts))


def _noise(size: Size) -> Pixels:
    """A normalised image without content: the time depends on the size alone."""
    return np.random.default_rng(0).standard_normal((1, 3, *size), dtype=np.float32)


def _rounds(workers: dict[Contender, Worker], pixels: Pixels, rounds: int, advance: Advance) -> dict[Contender, Series]:
    for worker in workers.values():
        for _ in range(_WARM_UPS):
            worker.infer(pixels)
    seconds: dict[Contender, list[float]] = {contender: [] for contender in workers}
    peaks: dict[Contender, int] = {}
    for number in range(rounds):
        for contender in turned(list(workers), number):
            answer = workers[contender].answer(Task(pixels))
            seconds[contender].append(answer.seconds)
            peaks[contender] = answer.peak_bytes
            advance()
    return {contender: Series(seconds[contender], peaks[contender]) for contender in workers}


class _Remembered:
    """A detector that runs each image once: the reference is compared with every contender, itself included."""

    def __init__(self, worker: Worker) -> None:
        self.info = worker.info
        self._worker = worker
        self._known: dict[bytes, RawOutputs] = {}

    def infer(self, pixels: Pixels) -> RawOutputs:
        key = sha256(pixels.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._worker.infer(pixels)
        return self._known[key]


def _deviation(subject: Subject, answers: dict[Contender, _Remembered], contender: Contender) -> parity.Verdict:
    spec = checkpoint.read_spec(subject.checkpoint)
    pictures = samples.load(None)[: subject.compared]
    return parity.check(answers[REFERENCE], answers[contender], spec, pictures, TOLERANCE, exact=False)


def _rows(
    plan: Plan, series: dict[Size, dict[Contender, Series]], verdicts: dict[Contender, parity.Verdict]
) -> Iterator[Row]:
    shape = subjects.shape(plan.subject)
    for (height, width), found in series.items():
        for contender, (seconds, peak_bytes) in found.items():
            work = operations(shape, height, width, pruned=contender.engine != "torch")
            yield Row(
                model=plan.subject.name,
                height=height,
                width=width,
                contender=contender.name,
                seconds=median(seconds),
                ratio=ratio(found[REFERENCE].seconds, seconds),
                operations=work,
                peak_bytes=peak_bytes,
                score_deviation=verdicts[contender].parity.score_deviation,
                box_deviation=verdicts[contender].parity.box_deviation,
                unmatched=sum(case.agreement.unmatched for case in verdicts[contender].cases),
            )
