"""Starts every engine, runs them in interleaved rounds, compares their answers. Used by `bench.engines` and batching.

One round runs each engine once, so that whatever else the machine does falls on all alike.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeVar

import numpy as np

from bench.engines import subjects
from bench.engines.contenders import REFERENCE, Contender
from bench.engines.flops import operations
from bench.engines.report import Row
from bench.engines.subjects import Size, Subject
from bench.engines.worker import Answer, Order, Task, Worker
from bench.statistics import median, ratio, turned
from export import parity, samples
from serve_app.detection.agreement import TOLERANCE
from serve_app.detection.model import checkpoint
from serve_app.detection.model.artifact import Precision
from serve_app.detection.spec import Pixels

_WARM_UPS = 2
Advance = Callable[[], None]
Key = TypeVar("Key")


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
        return len(self.contenders) * len(self.subject.sizes) * self.rounds

    @contextmanager
    def workers(self) -> Iterator[dict[Contender, Worker]]:
        """Export what is needed and start a worker for each contender. Raises ConfigurationError if one fails."""
        for precision in self.precisions:
            subjects.export(self.subject, precision)
        with ExitStack() as running:
            yield {contender: running.enter_context(Worker(self._order(contender))) for contender in self.contenders}

    def _order(self, contender: Contender) -> Order:
        folder = None if contender.engine == "torch" else self.subject.artifact(contender.precision)
        return Order(*contender, self.subject.checkpoint, folder, self.threads, self.spinning)


def noise(size: Size, batch: int = 1) -> Pixels:
    """Normalised images without content: the time depends on their shape alone."""
    return np.random.default_rng(0).standard_normal((batch, 3, *size), dtype=np.float32)


def run_rounds(
    workers: Mapping[Contender, Worker], tasks: Mapping[Contender, Mapping[Key, Task]], rounds: int, advance: Advance
) -> dict[Contender, dict[Key, list[Answer]]]:
    """The answers to each task in each round, after some rounds to warm up."""
    answers: dict[Contender, dict[Key, list[Answer]]] = {one: {key: [] for key in tasks[one]} for one in workers}
    for number in range(-_WARM_UPS, rounds):
        for contender in turned(list(workers), number):
            for key in turned(list(tasks[contender]), number):
                answer = workers[contender].answer(tasks[contender][key])
                if number >= 0:
                    answers[contender][key].append(answer)
                    advance()
    return answers


def measure(plan: Plan, advance: Advance) -> list[Row]:
    """Run a plan. Raises ConfigurationError when an engine does not start."""
    spec, pictures = checkpoint.read_spec(plan.subject.checkpoint), samples.load(None)[: plan.subject.compared]
    with plan.workers() as workers:
        answers = {
            size: run_rounds(workers, {one: {size: Task(noise(size))} for one in workers}, plan.rounds, advance)
            for size in plan.subject.sizes
        }
        verdicts = {  # last, as the pictures are of other sizes and would show in the memory
            contender: parity.check(workers[REFERENCE], worker, spec, pictures, TOLERANCE, exact=False)
            for contender, worker in workers.items()
        }
    return [_row(plan.subject, size, one, answers[size], verdicts[one]) for size in answers for one in workers]


def _row(
    subject: Subject,
    size: Size,
    contender: Contender,
    answers: Mapping[Contender, Mapping[Size, list[Answer]]],
    verdict: parity.Verdict,
) -> Row:
    seconds, reference = ([answer.seconds for answer in answers[one][size]] for one in (contender, REFERENCE))
    return Row(
        subject.name,
        *size,
        contender=contender.name,
        seconds=median(seconds),
        ratio=ratio(reference, seconds),
        operations=operations(subjects.shape(subject), *size, pruned=contender.engine != "torch"),
        peak_bytes=answers[contender][size][-1].peak_bytes,
        score_deviation=verdict.parity.score_deviation,
        box_deviation=verdict.parity.box_deviation,
        unmatched=sum(case.agreement.unmatched for case in verdict.cases),
    )
