"""Starts every engine, runs them in interleaved rounds, compares their answers. Used by `bench.engines` and batching.

One round runs each engine once, so that whatever else the machine does falls on all alike.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import numpy as np

from bench.engines import subjects
from bench.engines.flops import operations
from bench.engines.report import Row
from bench.engines.subjects import REFERENCE, Contender, Size, Subject
from bench.engines.worker import Answer, Order, Task, Worker
from bench.statistics import median, ratio, turned
from export import parity, samples
from serve_app.detection.agreement import TOLERANCE
from serve_app.detection.model import checkpoint
from serve_app.detection.spec import Pixels

_WARM_UPS = 2
Advance = Callable[[], None]
Measured = Mapping[Contender, Mapping[Size, list[Answer]]]
Key = TypeVar("Key")


@contextmanager
def workers(subject: Subject, contenders: list[Contender], threads: int) -> Iterator[dict[Contender, Worker]]:
    """Export what is needed and start a worker for each contender. Raises ConfigurationError if one fails."""
    for precision in sorted({one.precision for one in contenders if one.engine != "torch"}):
        subjects.export(subject, precision)
    with ExitStack() as running:
        started: dict[Contender, Worker] = {}
        for one in contenders:
            folder = None if one.engine == "torch" else subject.artifact(one.precision)
            started[one] = running.enter_context(Worker(Order(*one, subject.checkpoint, folder, threads)))
        yield started


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


def measure(subject: Subject, contenders: list[Contender], rounds: int, threads: int, advance: Advance) -> list[Row]:
    """Run every contender at every size. Raises ConfigurationError when an engine does not start."""
    spec, pictures = checkpoint.read_spec(subject.checkpoint), samples.load(None)[: subject.compared]
    with workers(subject, contenders, threads) as running:
        answers = {
            size: run_rounds(running, {one: {size: Task(noise(size))} for one in running}, rounds, advance)
            for size in subject.sizes
        }
        verdicts = {  # last, as the pictures are of other sizes and would show in the memory
            contender: parity.check(running[REFERENCE], worker, spec, pictures, TOLERANCE, exact=False)
            for contender, worker in running.items()
        }
    return [_row(subject, size, one, found, verdicts[one]) for size, found in answers.items() for one in running]


def _row(subject: Subject, size: Size, contender: Contender, answers: Measured, verdict: parity.Verdict) -> Row:
    seconds, reference = ([answer.seconds for answer in answers[one][size]] for one in (contender, REFERENCE))
    return Row(
        subject.name,
        *size,
        contender=contender.name,
        seconds=median(seconds),
        ratio=ratio(reference, seconds),
        operations=operations(subject.checkpoint, *size, pruned=contender.engine != "torch"),
        peak_bytes=answers[contender][size][-1].peak_bytes,
        score_deviation=verdict.parity.score_deviation,
        box_deviation=verdict.parity.box_deviation,
        unmatched=sum(case.agreement.unmatched for case in verdict.cases),
    )
